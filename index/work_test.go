package index

import (
	"fmt"
	"math"
	"testing"

	"batpak/coordinate"
	"batpak/event"
)

// A workLog is five sealed segments and one in memory of workRows events each, of a shape that tempts a planner:
//
//	entities  one of 500 by turns, "e:000" to "e:499"; but every 1,000th is of "rare:1"
//	kinds     1:1 in the first half of each segment, 2:1 in the second; 15:1 once in 100; reserved in one stretch of each
//	tags      "rare" on one event in 1,000, "often" on every third
//	scopes    "s", and "t" on every 50th
//	groups    ten events of one group in each segment
const (
	workRows     = 4000
	workSegments = 6
)

func newWorkLog(t testing.TB) *testLog {
	l := newTestLog(t, memDir(t), 7, testShape{payload: 20})
	for s := range workSegments {
		for i := range workRows {
			l.addEvent(workEvent(s*workRows + i))
		}
		if l.flush(); s < workSegments-1 {
			l.rotate()
			l.seal(uint64(s + 1))
		}
	}
	l.show()
	return l
}

func workEvent(i int) event.Header {
	entity, scope, kind := fmt.Sprintf("e:%03d", i%500), "s", event.MustKind(1, 1)
	if i%1000 == 999 {
		entity = "rare:1"
	}
	if i%50 == 0 {
		scope = "t"
	}
	switch in := i % workRows; {
	case i%100 == 1:
		kind = event.MustKind(15, 1)
	case in >= 3000 && in < 3900:
		kind = event.Kind(event.CategorySystem<<12 | 1)
	case in >= workRows/2:
		kind = event.MustKind(2, 1)
	}
	h := event.Header{Coordinate: coordinate.MustNew(entity, scope), Kind: kind}
	if i%3 == 0 {
		h.Tags = append(h.Tags, "often")
	}
	if i%1000 == 77 {
		h.Tags = append(h.Tags, "rare")
	}
	if i%400 == 5 {
		h.Correlation = workGroup
	}
	return h
}

var workGroup = event.NewID(1, 1)

// within reports whether w is not above most, field by field.
func (w Work) within(most Work) bool {
	return w.Runs <= most.Runs && w.Blocks <= most.Blocks && w.Rows <= most.Rows && w.Frames <= most.Frames
}

// ahead5 is how many rows are looked at for a page of five: 1, 3 and 7 at a time, and what was left of the run before.
const ahead5 = 1 + 3 + 7 + 4

// A query costs what it returns: pages of five events at every depth, wherever in the log what is asked for is.
func TestWorkOfPages(t *testing.T) {
	l := newWorkLog(t)
	defer l.set.Close()
	lane := uint32(0)
	for _, tt := range []struct {
		name string
		q    Query
		most Work
	}{
		{"everything", Query{}, Work{Runs: 2, Rows: 1800 + 2*ahead5, Frames: 5}},
		{"everything, the store's own, too", Query{System: true}, Work{2, 0, ahead5, 5}},
		{"entity", Query{Entity: "e:123"}, Work{2, 16, ahead5, 5}},
		{"rare entity", Query{Entity: "rare:1"}, Work{3, 24, ahead5, 5}},
		{"rare entity of a dense scope", Query{Entity: "rare:1", Scope: "s"}, Work{3, 24, ahead5, 5}},
		{"entity and lane", Query{Entity: "e:123", Lane: &lane}, Work{2, 16, ahead5, 5}},
		{"two entities", Query{Entities: []string{"e:007", "rare:1"}}, Work{2, 40, ahead5, 5}},
		{"one entity of a union is everywhere", Query{Entities: []string{"rare:1", "e:011", "no:1", "no:2"}}, Work{2, 40, ahead5, 5}},
		{"prefix of many entities", Query{EntityPrefix: "e:"}, Work{2, 0, 1800 + 2*ahead5, 5}},
		{"prefix of a hundred", Query{EntityPrefix: "e:1"}, Work{2, 200, 1800 + 2*ahead5*500/100, 5}},
		{"prefix of ten", Query{EntityPrefix: "e:12"}, Work{2, 160, 3 * ahead5, 5}},
		{"two prefixes", Query{EntityPrefixes: []string{"rare", "e:12"}}, Work{2, 160, 3 * ahead5, 5}},
		{"scope", Query{Scope: "t"}, Work{2, 24, 4 * ahead5, 5}},
		{"kind in half of each run", Query{Kinds: []event.Kind{event.MustKind(1, 1)}}, Work{2, 40, ahead5, 5}},
		{"category", Query{Categories: 1 << 2}, Work{2, 40, ahead5, 5}},
		{"categories", Query{Categories: 1<<2 | 1<<15}, Work{2, 60, ahead5, 5}},
		{"rare kind", Query{Kinds: []event.Kind{event.MustKind(15, 1)}}, Work{2, 30, ahead5, 5}},
		{"tag", Query{Tags: []string{"often"}, System: true}, Work{2, 30, ahead5, 5}},
		{"rare tag", Query{Tags: []string{"rare"}, System: true}, Work{3, 30, ahead5, 5}},
		{"rare tag in a dense kind", Query{Tags: []string{"rare"}, Kinds: []event.Kind{event.MustKind(1, 1)}}, Work{6, 90, ahead5, 5}},
		{"rare tag and dense tag", Query{Tags: []string{"rare", "often"}, System: true}, Work{6, 200, ahead5, 5}},
		{"group", Query{Correlation: workGroup, System: true}, Work{2, 30, ahead5, 5}},
		{"tag that is nowhere", Query{Tags: []string{"none"}, Kinds: []event.Kind{event.MustKind(1, 1)}}, Work{Runs: 6}},
	} {
		for depth := range 10 {
			for _, tt.q.Reverse = range []bool{false, true} {
				tt.q.After, tt.q.Before = uint64(depth*workRows*workSegments/10), 0
				if tt.q.Reverse {
					tt.q.After, tt.q.Before = 0, l.seq-tt.q.After
				}
				if n, got := l.page(t, tt.q, 5); !got.within(tt.most) {
					t.Errorf("%s, depth %d, reverse %v: %+v for %d events, want at most %+v", tt.name, depth, tt.q.Reverse, got, n, tt.most)
				}
			}
		}
	}
}

// page reads up to n events and returns how many there were, and what they cost.
func (l *testLog) page(t *testing.T, q Query, n int) (int, Work) {
	t.Helper()
	v := l.set.Acquire()
	defer v.Release()
	c, got := v.Scan(q, true), 0
	for got < n && c.Next() {
		got++
	}
	if c.Close(); c.Err() != nil {
		t.Fatal(c.Err())
	}
	return got, c.Work()
}

// What lies outside of a range, or is hidden, is not looked at.
func TestWorkOfRanges(t *testing.T) {
	l := newWorkLog(t)
	defer l.set.Close()
	at := func(seq uint64) event.HLC { return l.find(seq).HLC }
	all := uint64(workRows * workSegments)
	hide := func(from, to uint64) Query {
		return Query{
			System: true, Hidden: func(seq uint64) bool { return seq >= from && seq < to },
			NextHidden: func(seq uint64) (uint64, uint64) {
				if seq < to {
					return from, to
				}
				return math.MaxUint64, math.MaxUint64
			},
		}
	}
	with := func(q Query, fn func(q *Query)) Query { fn(&q); return q }
	for _, tt := range []struct {
		name string
		q    Query
		n    int // events read, and to be found
		most Work
	}{
		{"newest", Query{System: true, Reverse: true}, 1, Work{1, 0, 1, 1}},
		{"newest of an entity", Query{Entity: "e:123", Reverse: true}, 1, Work{1, 1, 3, 1}},
		{"time of one run", Query{FromHLC: at(9000), ToHLC: at(9005), System: true}, 5, Work{1, 0, 0, 5}},
		{"time of one run, reverse", Query{FromHLC: at(9000), ToHLC: at(9005), System: true, Reverse: true}, 5, Work{1, 0, ahead5, 5}},
		{"time behind the end", Query{FromHLC: l.hlc + 1}, 0, Work{}},
		{"time before the beginning", Query{ToHLC: at(1)}, 0, Work{}},
		{"time across two runs", Query{FromHLC: at(3999), ToHLC: at(4003), System: true}, 4, Work{2, 0, 0, 4}},
		{"entity and time", Query{Entity: "e:123", FromHLC: at(20001)}, 3, Work{1, 6, ahead5, 3}},
		{"hidden beginning", hide(1, all-2), 3, Work{6, 0, 6, 3 + 6}},
		{"hidden end", with(hide(3, all+1), func(q *Query) { q.Reverse = true }), 2, Work{6, 0, 6 + ahead5, 2}},
		{"hidden middle of a kind", with(hide(3, all-9), func(q *Query) { q.Categories = 1 << 1; q.System = false }), 1, Work{1, 2, 1, 1}},
		{"hidden and an entity", with(hide(200, all-600), func(q *Query) { q.Entity = "e:123" }), 2, Work{6, 24, 8 + ahead5, 2}},
	} {
		if n, got := l.page(t, tt.q, max(tt.n, 1)); n != tt.n || !got.within(tt.most) {
			t.Errorf("%s: %+v for %d events, want at most %+v for %d", tt.name, got, n, tt.most, tt.n)
		}
	}
}

// Counting reads no frame, unless the question is about children and the run is sealed.
func TestWorkOfCounts(t *testing.T) {
	l := newWorkLog(t)
	defer l.set.Close()
	lane := uint32(0)
	one := []event.Kind{event.MustKind(1, 1)}
	for _, tt := range []struct {
		name string
		q    Query
		most uint64
		work Work
	}{
		{"everything", Query{System: true}, 0, Work{Runs: 6}},
		{"without the store's own", Query{}, 0, Work{Runs: 6}},
		{"entity", Query{Entity: "e:123", System: true}, 0, Work{6, 12, 0, 0}},
		{"a kind", Query{Kinds: one}, 0, Work{6, 36, 0, 0}},
		{"a kind between", Query{Kinds: one, After: 700, Before: 12_000}, 0, Work{3, 36, 0, 0}},
		{"tag", Query{Tags: []string{"often"}, System: true}, 0, Work{6, 36, 0, 0}},
		{"prefix of ten", Query{EntityPrefix: "e:12", System: true}, 0, Work{6, 120, 0, 0}},
		{"prefix of many", Query{EntityPrefix: "e:", System: true}, 0, Work{6, 0, workRows * workSegments, 0}},
		{"entity and lane", Query{Entity: "e:123", Lane: &lane}, 0, Work{6, 12, 48, 0}},
		{"is there any", Query{EntityPrefix: "e:1", Scope: "t"}, 1, Work{1, 12, 400, 0}},
		{"is there a rare one", Query{Tags: []string{"rare"}, Kinds: one}, 1, Work{1, 12, 1, 0}},
		{"is there any of a group", Query{Correlation: workGroup, System: true}, 1, Work{1, 2, 1, 1}},
		{"children of a group", Query{Correlation: workGroup, System: true}, 0, Work{6, 12, 60, 50}},
	} {
		v := l.set.Acquire()
		c := v.Scan(tt.q, true)
		got, err := c.count(tt.most)
		c.Close()
		v.Release()
		want := uint64(len(naive(l, &tt.q, l.seq)))
		if tt.most > 0 {
			want = min(want, tt.most)
		}
		if work := c.Work(); err != nil || got != want || !work.within(tt.work) {
			t.Errorf("%s: %d, %v at %+v, want %d at most at %+v", tt.name, got, err, work, want, tt.work)
		}
	}
}

// Where every other event is hidden, finding out that there is one costs what the first ones cost.
func TestWorkOfExistsAmongHiddenRanges(t *testing.T) {
	l := newWorkLog(t)
	defer l.set.Close()
	asked := 0
	q := Query{Tags: []string{"often"}, System: true, Hidden: func(seq uint64) bool { return seq%2 == 0 }}
	q.NextHidden = func(seq uint64) (from, to uint64) {
		asked++
		from = seq + seq%2
		return from, from + 1
	}
	v := l.set.Acquire()
	defer v.Release()
	if n, err := v.Count(q, 1); n != 1 || err != nil || asked > 10 {
		t.Errorf("%d, %v, after %d hidden ranges, want 1 after few", n, err, asked)
	}
}
