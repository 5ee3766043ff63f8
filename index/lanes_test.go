package index

import (
	"maps"
	"testing"

	"batpak/event"
)

// naiveLanes returns the heads of all lanes of each entity.
func (l *testLog) naiveLanes() map[string]map[uint32]Head {
	all := make(map[string]map[uint32]Head)
	for i := range l.events {
		e := &l.events[i]
		name := e.Coordinate.Entity()
		if all[name] == nil {
			all[name] = make(map[uint32]Head)
		}
		all[name][e.Lane] = Head{e.Seq, e.Clock, e.ID, e.hash}
	}
	return all
}

// checkLanes compares what the log's set says of every entity's lanes with the events.
func (l *testLog) checkLanes(t *testing.T) {
	t.Helper()
	v := l.set.Acquire()
	defer v.Release()
	all := l.naiveLanes()
	all["nobody"] = map[uint32]Head{}
	for name, want := range all {
		if got, err := v.Lanes(name); err != nil || !maps.Equal(got, want) {
			t.Errorf("Lanes(%q) = %+v, %v, want %+v", name, got, err, want)
		}
		most := uint32(0)
		for lane := range want {
			most = max(most, lane)
		}
		if got, err := v.TopLane(name); err != nil || got != most {
			t.Errorf("TopLane(%q) = %d, %v, want %d", name, got, err, most)
		}
	}
}

func TestLanes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		lanes uint32
	}{{"main lane only", 1}, {"few lanes", 3}, {"many lanes", 4000}} {
		t.Run(tt.name, func(t *testing.T) {
			shape := everything
			shape.lanes = tt.lanes
			l := mixed(t, memDir(t), uint64(tt.lanes), shape, 300)
			defer l.set.Close()
			l.checkLanes(t)
		})
	}
}

// Segments without lanes are not mapped to find lanes in them.
func TestLanesPassOverSegmentsWithoutAny(t *testing.T) {
	shape := everything
	shape.lanes = 1
	l := newTestLog(t, memDir(t), 3, shape)
	defer l.set.Close()
	for id := range uint64(4) {
		l.add(50)
		l.rotate()
		l.seal(id + 1)
		sum := l.set.Footers(id + 1)[0]
		l.set.ReplaceSealed(id+1, NewSealed(l.dir, &sum)) // not mapped yet
	}
	h := l.random()
	l.addEvent(h) // so that lane 0 need not be looked for
	h.Lane = 9
	l.addEvent(h)
	l.flush()
	l.show()
	v := l.set.Acquire()
	defer v.Release()
	if top, err := v.TopLane(h.Coordinate.Entity()); err != nil || top != 9 {
		t.Fatalf("TopLane = %d, %v, want 9", top, err)
	}
	if lanes, err := v.Lanes(h.Coordinate.Entity()); err != nil || len(lanes) != 2 {
		t.Fatalf("Lanes = %+v, %v, want 2", lanes, err)
	}
	for _, s := range v.e.sealed {
		if s.mapped.Load() != nil {
			t.Errorf("segment %d was mapped", s.sum.Segment)
		}
	}
}

// FindID finds what is published, visible or not, and belongs to the caller.
func TestFindIDBeyondTheVisibleEnd(t *testing.T) {
	l := mixed(t, memDir(t), 5, everything, 100)
	defer l.set.Close()
	l.add(10)
	l.active.Publish()
	v := l.set.Acquire()
	defer v.Release()
	found := make([]event.Raw, len(l.events))
	for i := range l.events {
		raw, ok, err := v.FindID(l.events[i].ID)
		if err != nil || !ok {
			t.Fatalf("FindID(%v) = %v, %v", l.events[i].ID, ok, err)
		}
		found[i] = raw
	}
	for i := range l.events {
		if e := &l.events[i]; found[i].Seq != e.Seq || string(found[i].Entity) != e.Coordinate.Entity() || found[i].Lane != e.Lane {
			t.Errorf("FindID(%v) = event %d of %q", e.ID, found[i].Seq, found[i].Entity)
		}
	}
	if _, ok, err := v.FindID(event.ID{1}); ok || err != nil {
		t.Errorf("FindID of an unknown ID = %v, %v", ok, err)
	}
}
