package index

import (
	"errors"
	"slices"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// collision returns an ID of no event whose slot can be taken for that of event e.
func collision(t *testing.T, foot *segment.Footer, e *testEvent) event.ID {
	t.Helper()
	for random := range uint64(1 << 22) {
		if id := event.NewID(e.HLC, random); foot.SameSlot(&id, &e.ID) {
			return id
		}
	}
	t.Fatal("no collision among 4 million IDs")
	return event.ID{}
}

// An ID whose slot can be taken for another one's is not found, and once that other event is damaged the answer is the
// damage: nobody can tell any more whose ID the frame held.
func TestEventByIDOfACollision(t *testing.T) {
	mem := vfs.NewMem()
	dir, err := mem.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	shape := everything
	shape.entities, shape.payload = 3, 20
	l := newTestLog(t, dir, 31, shape)
	l.add(5)
	l.rotate()
	foot, err := l.seal(1).Footer()
	if err != nil {
		t.Fatal(err)
	}
	l.show()
	name, known := segment.Name(1), &l.events[2]
	good, at := mem.Files()[name], l.frames[0].events[2]
	// The slots of five IDs are one bucket: wherever an ID hashes to, its search meets them all.
	id := collision(t, foot, known)
	v := l.set.Acquire()
	defer v.Release()
	if ev, ok, err := v.EventByID(id); ok || err != nil {
		t.Errorf("EventByID(%v) = %v, %v, %v, want not found", id, ev, ok, err)
	}
	for i := int(at.offset); i < int(at.offset+at.length); i++ {
		b := slices.Clone(good)
		b[i] ^= 0x10
		mem.SetFile(name, b)
		set := NewSet([]*Sealed{NewSealed(dir, foot.Summary())}, nil)
		set.SetVisible(l.seq)
		v := set.Acquire()
		for _, id := range []event.ID{id, known.ID} {
			var frame *segment.FrameError
			if ev, ok, err := v.EventByID(id); !errors.As(err, &frame) || frame.Offset != int64(at.offset) {
				t.Fatalf("byte %d: EventByID(%v) = %v, %v, %v, want *FrameError at offset %d", i, id, ev, ok, err, at.offset)
			}
		}
		v.Release()
		set.Close()
	}
}

// Frames that are longer than a slot of the index can say are found as well.
func TestEventByIDOfLongFrames(t *testing.T) {
	l := newTestLog(t, memDir(t), 32, testShape{entities: 3, scopes: 1, kinds: 1, lanes: 1})
	const most = 1<<16 - 1 // what a slot can say
	for _, length := range []int{1000, most - 1, most, most + 1, most + 2, 300_000} {
		h := l.random()
		l.seq, l.hlc = l.seq+1, l.hlc+1
		h.Seq, h.HLC, h.Clock, h.ID = l.seq, l.hlc, l.seq, event.NewID(l.hlc, 1)
		body := append(event.AppendMeta(nil, &h), make([]byte, event.HashLen)...)
		body = append(body, make([]byte, length-len(body)-segment.FrameHeaderLen)...)
		l.commit(body)
		l.events = append(l.events, testEvent{Header: h, payload: string(body)})
	}
	l.flush()
	l.rotate()
	l.seal(1)
	l.show()
	v := l.set.Acquire()
	defer v.Release()
	for i, e := range l.events {
		length := int(l.frames[0].events[i].length)
		if ev, ok, err := v.EventByID(e.ID); !ok || err != nil || ev.Seq != e.Seq {
			t.Errorf("EventByID of a frame of %d bytes = %d, %v, %v, want sequence %d", length, ev.Seq, ok, err, e.Seq)
		}
	}
}
