package index

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"batpak/event"
	"batpak/segment"
)

// One writer appends, publishes, rotates and seals while readers check that what they see is whole: every sequence up
// to their view's end, once, with the right content.
func TestReadersSeeWholeViewsWhileTheWriterWorks(t *testing.T) {
	shape := testShape{entities: 20, scopes: 2, kinds: 3, lanes: 1, sparse: true, payload: 20}
	l := newTestLog(t, memDir(t), 11, shape)
	var done atomic.Bool
	var readers sync.WaitGroup
	for n := range 3 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(n), 4))
			for !done.Load() {
				readView(t, l.set, r, shape.entities)
			}
		})
	}
	for round := range 30 {
		for range 10 {
			l.add(7)
			l.show()
		}
		l.rotate()
		if round > 1 {
			l.seal(uint64(round)) // one segment behind stays in memory
		}
	}
	done.Store(true)
	readers.Wait()
	v := l.set.Acquire()
	want := naive(l, &Query{}, l.seq)
	if got := l.run(t, v.Scan(Query{}, false), false); len(got) != len(want) {
		t.Errorf("%d events in the end, want %d", len(got), len(want))
	}
	v.Release()
	if err := l.set.Close(); err != nil {
		t.Error(err)
	}
}

// readView checks one view in several ways that must agree.
func readView(t *testing.T, set *Set, r *rand.Rand, entities int) {
	v := set.Acquire()
	defer v.Release()
	next := uint64(1)
	var ids []event.ID
	c := v.Scan(Query{}, true)
	for c.Next() {
		if c.Raw().Seq != next {
			t.Errorf("sequence %d, want %d", c.Raw().Seq, next)
			return
		}
		if next++; r.IntN(50) == 0 {
			ids = append(ids, c.Raw().ID)
		}
	}
	if c.Err() != nil || next != v.Visible()+1 {
		t.Errorf("scan ended at %d of %d: %v", next-1, v.Visible(), c.Err())
	}
	if n, err := v.Count(Query{EntityPrefix: "o"}, 0); err != nil || n > v.Visible() {
		t.Errorf("Count = %d, %v", n, err)
	}
	sum := uint64(0)
	for e := range entities {
		for c := v.Scan(Query{Entity: testEntity(e), Reverse: true}, true); c.Next(); {
			sum++
		}
	}
	if sum != v.Visible() {
		t.Errorf("streams hold %d events, want %d", sum, v.Visible())
	}
	for _, id := range ids {
		if _, ok, err := v.EventByID(id); !ok || err != nil {
			t.Errorf("EventByID = %v, %v", ok, err)
		}
	}
}

func TestCloseWaitsForNoReaderAndReadersStayWhole(t *testing.T) {
	l := mixed(t, memDir(t), 12, everything, 200)
	v := l.set.Acquire()
	c := v.Scan(Query{System: true}, true)
	c.Next()
	if err := l.set.Close(); err != nil {
		t.Fatal(err)
	}
	if l.set.Acquire() != nil {
		t.Error("Acquire of a closed set")
	}
	n := 1
	for c.Next() {
		n++
	}
	if c.Err() != nil || n != len(l.events) {
		t.Errorf("%d events, %v, want %d", n, c.Err(), len(l.events))
	}
	if _, err := l.file.Size(); err != nil {
		t.Errorf("the active file was closed under a reader: %v", err)
	}
	v.Release()
	if _, err := l.file.Size(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("the active file is open after the last release: %v", err)
	}
	if err := l.set.Close(); err != nil {
		t.Error(err)
	}
	late := NewActive(&segment.Header{Segment: 99, FirstSeq: l.seq + 1}, l.file)
	l.set.Rotate(late) // after Close: given up at once
	if l.set.Acquire() != nil {
		t.Error("Rotate opened a closed set")
	}
}

func TestSegmentIsUnmappedWithItsLastView(t *testing.T) {
	l := mixed(t, memDir(t), 13, everything, 100)
	sealed := l.set.current.Load().sealed[0]
	gone := 0
	sealed.OnGone(func() { gone++ })
	before := l.set.Acquire()
	if before.Runs() != 5 || before.Sealed() != 3 || l.set.Visible() != l.seq {
		t.Errorf("%d runs, %d sealed, visible %d, want 5, 3, %d", before.Runs(), before.Sealed(), l.set.Visible(), l.seq)
	}
	n := l.run(t, before.Scan(Query{System: true}, true), true)
	l.set.Replace([]uint64{1})
	if gone != 0 || sealed.mapped.Load() == nil {
		t.Error("unmapped under a view")
	}
	if again := l.run(t, before.Scan(Query{System: true}, true), true); len(again) != len(n) {
		t.Errorf("the view changed: %d events, want %d", len(again), len(n))
	}
	after := l.set.Acquire()
	if fewer := l.run(t, after.Scan(Query{System: true}, true), true); len(fewer) != len(n)-100 {
		t.Errorf("%d events after Replace, want %d", len(fewer), len(n)-100)
	}
	before.Release()
	if gone != 1 || sealed.mapped.Load() != nil {
		t.Error("still mapped after the last view")
	}
	after.Release()
	if err := l.set.Close(); err != nil || gone != 1 {
		t.Error(err, gone)
	}
}

func TestNewSealedMapsOnFirstUse(t *testing.T) {
	dir := memDir(t)
	l := mixed(t, dir, 14, everything, 100)
	l.set.Close()
	first, err := OpenSealed(dir, l.store, 1)
	if err != nil {
		t.Fatal(err)
	}
	sum := *first.Summary()
	first.Close()
	s := NewSealed(dir, &sum)
	if s.mapped.Load() != nil {
		t.Error("NewSealed mapped the file")
	}
	set := NewSet([]*Sealed{s}, nil)
	set.SetVisible(sum.LastSeq)
	v := set.Acquire()
	if n, err := v.Count(Query{System: true}, 0); n != sum.Events || err != nil {
		t.Errorf("Count = %d, %v, want %d", n, err, sum.Events)
	}
	v.Release()
	set.Close()

	sum.LastSeq++ // not what the file says
	set = NewSet([]*Sealed{NewSealed(dir, &sum)}, nil)
	set.SetVisible(sum.LastSeq)
	v = set.Acquire()
	var fe *segment.FooterError
	if _, err := v.Count(Query{}, 0); !errors.As(err, &fe) || !errors.Is(err, segment.ErrDamaged) {
		t.Errorf("Count over another footer than recorded: %v", err)
	}
	if _, err := OpenSealed(dir, l.store, 6); !errors.Is(err, segment.ErrAbsent) {
		t.Errorf("OpenSealed of an active segment: %v, want ErrAbsent", err)
	}
	if _, err := OpenSealed(dir, l.store, 77); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenSealed of no file: %v, want fs.ErrNotExist", err)
	}
	v.Release()
	set.Close()
}

func TestActiveRefusesWhatDoesNotAscend(t *testing.T) {
	h := segment.Header{Segment: 3, FirstSeq: 10}
	raw := event.Raw{Seq: 12, HLC: 7, Clock: 1, Kind: 0x1001, Entity: []byte("e"), Scope: []byte("s")}
	a := NewActive(&h, nil)
	if err := a.Add(&raw, 100, 50); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]event.Raw{
		"sequence": {Seq: 12, HLC: 8, Entity: []byte("x"), Scope: []byte("s")},
		"HLC":      {Seq: 13, HLC: 7, Entity: []byte("x"), Scope: []byte("s")},
	} {
		var fe *segment.FrameError
		if err := a.Add(&bad, 200, 50); !errors.As(err, &fe) || fe.Offset != 200 || a.Added() != 1 {
			t.Errorf("%s: Add = %v, %d added", name, err, a.Added())
		}
	}
	low := event.Raw{Seq: 9, HLC: 1, Entity: []byte("x"), Scope: []byte("s")}
	if err := NewActive(&h, nil).Add(&low, 100, 50); err == nil {
		t.Error("Add took a sequence below the segment's first")
	}
}
