package index

import (
	"testing"

	"batpak/event"
)

// Reading without borrowing costs one allocation per event, with it none; a lookup costs the View and the event.
func TestAllocationsPerEvent(t *testing.T) {
	shape := testShape{entities: 50, scopes: 2, kinds: 3, lanes: 1, payload: 100}
	l := mixed(t, memDir(t), 31, shape, 2000)
	defer l.set.Close()
	scan := func(q Query, borrow bool) (perEvent float64) {
		n := 0
		allocs := testing.AllocsPerRun(2, func() {
			v := l.set.Acquire()
			c := v.Scan(q, borrow)
			for n = 0; c.Next(); n++ {
			}
			v.Release()
		})
		const fixed = 300 // cursor, plans, lists and blocks of six runs
		return max(0, allocs-fixed) / float64(n)
	}
	for _, q := range []Query{{}, {Reverse: true}, {Scope: "scope-1"}, {EntityPrefix: "o"}, {Scope: "scope-0", Reverse: true}} {
		if got := scan(q, true); got != 0 {
			t.Errorf("%s: %.3f allocations per borrowed event, want 0", describe(&q), got)
		}
		if got := scan(q, false); got > 1 {
			t.Errorf("%s: %.3f allocations per event, want 1", describe(&q), got)
		}
	}
	id, seq, entity := l.events[10].ID, l.events[10].Seq, l.events[10].Coordinate.Entity()
	for name, want := range map[string]struct {
		most float64
		fn   func(v *View)
	}{
		"EventByID":  {2, func(v *View) { v.EventByID(id) }},
		"EventBySeq": {2, func(v *View) { v.EventBySeq(seq) }},
		"Head":       {4, func(v *View) { v.Head(entity, 0) }},
	} {
		if got := testing.AllocsPerRun(100, func() {
			v := l.set.Acquire()
			want.fn(v)
			v.Release()
		}); got > want.most {
			t.Errorf("%s: %v allocations, want at most %v", name, got, want.most)
		}
	}
}

func TestActiveAddAllocatesNoObjectPerEvent(t *testing.T) {
	const n = 4000
	l := newTestLog(t, memDir(t), 32, testShape{entities: 50, scopes: 2, kinds: 3, lanes: 1, payload: 100})
	l.add(4 * n)
	raws := make([]event.Raw, 0, 4*n)
	for _, p := range l.frames[0].events {
		raw, err := event.DecodeBody(p.body)
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, raw)
	}
	a, at := NewActive(&l.header, l.file), 0
	got := testing.AllocsPerRun(2, func() {
		for range n {
			if err := a.Add(&raws[at], uint32(at), 100); err != nil {
				t.Fatal(err)
			}
			at++
		}
		a.Publish()
	})
	if per := got / n; per > 0.02 {
		t.Errorf("%.3f allocations per event, want chunks only", per)
	}
}
