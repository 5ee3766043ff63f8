package index

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"batpak/event"
	"batpak/segment"
)

// naive selects from the model what a query should, by looking at every event.
func naive(l *testLog, q *Query, visible uint64) []uint64 {
	want := []uint64{}
	for i := range l.events {
		e := &l.events[i]
		if e.Seq > visible || e.Seq <= q.After || q.Before != 0 && e.Seq >= q.Before ||
			e.HLC < q.FromHLC || q.ToHLC != 0 && e.HLC >= q.ToHLC ||
			q.Hidden != nil && q.Hidden(e.Seq) || !naiveNames(q, e) {
			continue
		}
		want = append(want, e.Seq)
	}
	if q.Reverse {
		slices.Reverse(want)
	}
	return want
}

// naiveNames reports whether e is what q names.
func naiveNames(q *Query, e *testEvent) bool {
	entity, k := e.Coordinate.Entity(), e.Kind
	switch begins := func(p string) bool { return strings.HasPrefix(entity, p) }; {
	case q.Entity != "" && entity != q.Entity,
		len(q.Entities) > 0 && !slices.Contains(q.Entities, entity),
		!begins(q.EntityPrefix),
		len(q.EntityPrefixes) > 0 && !slices.ContainsFunc(q.EntityPrefixes, begins),
		q.Scope != "" && e.Coordinate.Scope() != q.Scope,
		(len(q.Kinds) > 0 || q.Categories != 0) && !slices.Contains(q.Kinds, k) && !q.Categories.Has(k.Category()),
		!q.System && k.Reserved(),
		q.Lane != nil && *q.Lane != e.Lane,
		q.Correlation != event.ID{} && q.Correlation != e.Correlation,
		q.Causation != event.ID{} && q.Causation != e.Causation:
		return false
	}
	return !slices.ContainsFunc(q.Tags, func(tag string) bool { return !slices.Contains(e.Tags, tag) })
}

// randomQuery sets each field of a query now and then.
func randomQuery(l *testLog, r *rand.Rand) Query {
	some := func() *testEvent { return &l.events[r.IntN(len(l.events))] }
	rarely := func(n int) bool { return r.IntN(n) == 0 }
	q := Query{Reverse: rarely(2), System: rarely(3)}
	randomEntities(&q, r, func() string { return some().Coordinate.Entity() })
	if rarely(4) {
		q.Scope = some().Coordinate.Scope()
	}
	for rarely(3) {
		q.Kinds = append(q.Kinds, some().Kind)
	}
	if rarely(12) {
		for range 12 {
			q.Kinds = append(q.Kinds, some().Kind)
		}
	}
	for rarely(4) {
		q.Categories |= 1 << some().Kind.Category()
	}
	for rarely(4) {
		q.Tags = append(q.Tags, fmt.Sprintf("tag%d", r.IntN(5)))
	}
	if rarely(4) {
		lane := r.Uint32N(4)
		q.Lane = &lane
	}
	if rarely(8) {
		q.Correlation = some().Correlation
	}
	if rarely(8) {
		q.Causation = some().Causation
	}
	if rarely(3) {
		q.After = some().Seq - r.Uint64N(2)
	}
	if rarely(3) {
		q.Before = some().Seq + r.Uint64N(2)
	}
	if rarely(5) {
		q.FromHLC = some().HLC + event.HLC(r.IntN(2))
	}
	if rarely(5) {
		q.ToHLC = some().HLC + event.HLC(r.IntN(2))
	}
	if rarely(5) {
		randomHidden(&q, r, some().Seq)
	}
	return q
}

// randomHidden hides a few ranges behind from, some of which touch.
func randomHidden(q *Query, r *rand.Rand, from uint64) {
	to := from + 1 + r.Uint64N(40)
	gap, next := r.Uint64N(30), to+1+r.Uint64N(200)
	q.Hidden = func(seq uint64) bool { return seq >= from && seq < to || seq >= to+gap && seq < next+gap }
	if r.IntN(3) > 0 {
		q.NextHidden = func(seq uint64) (uint64, uint64) {
			switch {
			case seq < to:
				return from, to
			case seq < next+gap:
				return to + gap, next + gap
			}
			return math.MaxUint64, math.MaxUint64
		}
	}
}

// randomEntities sets each of the fields that name entities now and then.
func randomEntities(q *Query, r *rand.Rand, some func() string) {
	rarely := func(n int) bool { return r.IntN(n) == 0 }
	prefix := func() string {
		name := some()
		return name[:r.IntN(len(name)+1)]
	}
	if rarely(5) {
		q.Entity = some()
	}
	if rarely(5) {
		q.EntityPrefix = prefix()
	}
	if rarely(5) {
		for range 1 + r.IntN(1+r.IntN(300)) {
			q.Entities = append(q.Entities, some())
		}
		if rarely(3) {
			q.Entities = append(q.Entities, "nobody")
		}
		if q.Entity != "" && rarely(2) {
			q.Entities[r.IntN(len(q.Entities))] = q.Entity
		}
	}
	if rarely(5) {
		for range 1 + r.IntN(4) {
			q.EntityPrefixes = append(q.EntityPrefixes, prefix())
		}
	}
}

func describe(q *Query) string {
	lane := "any"
	if q.Lane != nil {
		lane = fmt.Sprint(*q.Lane)
	}
	return fmt.Sprintf("%+v lane %s hidden %v", *q, lane, q.Hidden != nil)
}

// run collects what a cursor yields and checks each event against the model.
func (l *testLog) run(t *testing.T, c *Cursor, borrow bool) []uint64 {
	t.Helper()
	got := []uint64{}
	var kept []event.Raw
	for c.Next() {
		r := c.Raw()
		got = append(got, r.Seq)
		l.checkEvent(t, r)
		if !borrow {
			kept = append(kept, *r)
		}
	}
	if err := c.Err(); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for i := range kept { // what was not borrowed must have stayed
		l.checkEvent(t, &kept[i])
	}
	return got
}

func (l *testLog) find(seq uint64) *testEvent {
	i, ok := slices.BinarySearchFunc(l.events, seq, func(e testEvent, seq uint64) int {
		if e.Seq < seq {
			return -1
		}
		return int(min(e.Seq-seq, 1))
	})
	if !ok {
		return nil
	}
	return &l.events[i]
}

func (l *testLog) checkEvent(t *testing.T, r *event.Raw) {
	t.Helper()
	e := l.find(r.Seq)
	if e == nil || e.ID != r.ID || e.hash != r.Hash || e.Kind != r.Kind || e.payload != string(r.Payload) ||
		e.Coordinate.Entity() != string(r.Entity) || e.Coordinate.Scope() != string(r.Scope) || e.Clock != r.Clock {
		t.Fatalf("event at sequence %d = %+v, want %+v", r.Seq, r, e)
	}
}

func TestScanIsWhatANaiveFilterSelects(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for name, shape := range map[string]testShape{
		"everything":    everything,
		"many entities": {entities: 3000, scopes: 2, kinds: 3, lanes: 2, sparse: true, system: true, payload: 300},
		"plain":         {entities: 5, scopes: 1, kinds: 1, lanes: 1, payload: 2000},
		"dense":         {entities: 2, scopes: 2, kinds: 2, lanes: 2, sparse: true, system: true, payload: 50},
	} {
		t.Run(name, func(t *testing.T) {
			l := mixed(t, memDir(t), seed, shape, 700)
			defer l.set.Close()
			r := rand.New(rand.NewPCG(seed, 3))
			queries := 600
			if testing.Short() {
				queries = 150
			}
			for i := range queries {
				if i%50 == 0 {
					l.set.visible.Store(l.events[r.IntN(len(l.events))].Seq) // it may be anywhere
				}
				if i == queries/2 {
					l.set.visible.Store(l.seq)
				}
				l.checkQuery(t, randomQuery(l, r), i%2 == 0)
			}
		})
	}
}

func (l *testLog) checkQuery(t *testing.T, q Query, borrow bool) {
	t.Helper()
	v := l.set.Acquire()
	defer v.Release()
	want := naive(l, &q, v.Visible())
	if got := l.run(t, v.Scan(q, borrow), borrow); !slices.Equal(got, want) {
		t.Fatalf("Scan(%s) = %d events %v, want %d %v", describe(&q), len(got), got, len(want), want)
	}
	if n, err := v.Count(q, 0); err != nil || n != uint64(len(want)) {
		t.Fatalf("Count(%s) = %d, %v, want %d", describe(&q), n, err, len(want))
	}
}

func TestScanOfNothing(t *testing.T) {
	set := NewSet(nil, nil)
	v := set.Acquire()
	if c := v.Scan(Query{}, false); c.Next() || c.Err() != nil {
		t.Errorf("Scan of an empty set: %v", c.Err())
	}
	if _, ok, err := v.EventBySeq(1); ok || err != nil {
		t.Errorf("EventBySeq = %v, %v", ok, err)
	}
	if _, ok, err := v.EventByID(event.NewID(1, 1)); ok || err != nil {
		t.Errorf("EventByID = %v, %v", ok, err)
	}
	v.Release()
	l := mixed(t, memDir(t), 1, everything, 50)
	for _, q := range []Query{
		{Entity: "none"}, {Scope: "none"}, {Kinds: []event.Kind{0xfff}}, {Tags: []string{"none"}}, {EntityPrefix: "zzz"},
		{Kinds: []event.Kind{1}}, {After: l.seq}, {After: ^uint64(0)}, {Before: 1}, {After: 5, Before: 6},
		{Entity: testEntity(1), EntityPrefix: "x"}, {Entities: []string{"none", "not"}}, {Entities: []string{""}},
		{Entity: testEntity(1), Entities: []string{testEntity(2)}}, {EntityPrefixes: []string{"x", "y"}},
		{EntityPrefix: "order", EntityPrefixes: []string{"c", "orders"}}, {Categories: 1 << 15}, {Categories: 1},
		{Correlation: event.ID{1}}, {Causation: event.ID{1}}, {FromHLC: 9, ToHLC: 3}, {FromHLC: 1 << 60}, {ToHLC: 1}, {FromHLC: 9, ToHLC: 9},
	} {
		l.checkQuery(t, q, true)
	}
}

// Runs without events, in memory and sealed, hide nothing of the run behind them.
func TestRunsWithoutEvents(t *testing.T) {
	shape := everything
	shape.gaps = false
	l := newTestLog(t, memDir(t), 8, shape)
	defer l.set.Close()
	l.rotate()
	l.rotate()
	l.seal(2)
	l.add(20)
	l.rotate()
	l.rotate()
	l.add(20)
	l.rotate()
	l.show()
	for i := range l.events {
		e := &l.events[i]
		v := l.set.Acquire()
		if got, ok, err := v.EventBySeq(e.Seq); err != nil || !ok || got.ID != e.ID {
			t.Errorf("EventBySeq(%d) = %v, %v", e.Seq, ok, err)
		}
		v.Release()
		for _, reverse := range []bool{false, true} {
			l.checkQuery(t, Query{System: true, After: e.Seq - 1, Reverse: reverse}, true)
			l.checkQuery(t, Query{System: true, Before: e.Seq + 1, Reverse: reverse}, true)
		}
	}
}

func TestPointReads(t *testing.T) {
	l := mixed(t, memDir(t), 5, everything, 300)
	defer l.set.Close()
	v := l.set.Acquire()
	defer v.Release()
	newest := map[[16]byte]*testEvent{}
	heads := map[string]*testEvent{}
	for i := range l.events {
		e := &l.events[i]
		newest[e.Key.Hash] = e
		heads[fmt.Sprint(e.Coordinate.Entity(), e.Lane)] = e
	}
	for i := range l.events {
		e := &l.events[i]
		if got, ok, err := v.EventByID(e.ID); err != nil || !ok || got.Seq != e.Seq || string(got.Payload) != e.payload {
			t.Fatalf("EventByID(%d) = %+v, %v, %v", e.Seq, got, ok, err)
		}
		if got, ok, err := v.EventBySeq(e.Seq); err != nil || !ok || got.ID != e.ID || got.Coordinate != e.Coordinate {
			t.Fatalf("EventBySeq(%d) = %+v, %v, %v", e.Seq, got, ok, err)
		}
		if _, ok, err := v.EventBySeq(e.Seq + 1); err != nil || ok != (l.find(e.Seq+1) != nil) {
			t.Fatalf("EventBySeq(%d) = %v, %v", e.Seq+1, ok, err)
		}
		want := heads[fmt.Sprint(e.Coordinate.Entity(), e.Lane)]
		if h, ok, err := v.Head(e.Coordinate.Entity(), e.Lane); err != nil || !ok || h != (Head{want.Seq, want.Clock, want.ID, want.hash}) {
			t.Fatalf("Head(%v, %d) = %+v, %v, %v, want %+v", e.Coordinate, e.Lane, h, ok, err, want)
		}
		raw, ok, err := findKeyOf(v, e.Key.Hash, 0, nil)
		if keyed := e.Key.Hash != [16]byte{}; err != nil || ok != keyed || ok && raw.Seq != newest[e.Key.Hash].Seq {
			t.Fatalf("FindKey(%x) = %d, %v, %v", e.Key.Hash, raw.Seq, ok, err)
		}
		for by, of := range map[segment.Relation]func(*testEvent) event.ID{
			segment.ByCausation:   func(e *testEvent) event.ID { return e.Causation },
			segment.ByCorrelation: func(e *testEvent) event.ID { return e.Correlation },
		} {
			want := []uint64{}
			for j := range l.events {
				if of(&l.events[j]) == e.ID {
					want = append(want, l.events[j].Seq)
				}
			}
			if got := l.run(t, v.Children(e.ID, by, false), false); !slices.Equal(got, want) {
				t.Fatalf("Children(%d, %d) = %v, want %v", e.Seq, by, got, want)
			}
		}
	}
	if _, ok, err := v.Head("nobody", 0); ok || err != nil {
		t.Errorf("Head(nobody) = %v, %v", ok, err)
	}
}

func TestNothingBeyondTheVisibleEndIsSeen(t *testing.T) {
	l := newTestLog(t, memDir(t), 6, everything)
	defer l.set.Close()
	l.add(10)
	v := l.set.Acquire()
	if c := v.Scan(Query{System: true}, false); c.Next() {
		t.Error("an unpublished event is seen")
	}
	l.show()
	if n, _ := v.Count(Query{System: true}, 0); n != 0 {
		t.Error("a view moved")
	}
	v.Release()
	shown := l.seq
	l.add(10)
	l.active.Publish() // published, not visible
	v = l.set.Acquire()
	defer v.Release()
	if n, err := v.Count(Query{System: true}, 0); n != 10 || err != nil {
		t.Errorf("Count = %d, %v, want 10", n, err)
	}
	for i := range l.events {
		e := &l.events[i]
		_, byID, _ := v.EventByID(e.ID)
		_, bySeq, _ := v.EventBySeq(e.Seq)
		if want := e.Seq <= shown; byID != want || bySeq != want {
			t.Errorf("sequence %d: by ID %v, by sequence %v, want %v", e.Seq, byID, bySeq, want)
		}
	}
}

// Two runs whose IDs do not ascend from one to the next are searched one by one.
func TestEventByIDWhenIDsDoNotAscend(t *testing.T) {
	l := mixed(t, memDir(t), 9, everything, 100)
	defer l.set.Close()
	l.set.current.Load().byID = false
	v := l.set.Acquire()
	defer v.Release()
	for i := range l.events {
		if got, ok, err := v.EventByID(l.events[i].ID); err != nil || !ok || got.Seq != l.events[i].Seq {
			t.Fatalf("EventByID(%d) = %v, %v", l.events[i].Seq, ok, err)
		}
	}
}

// In memory, IDs are searched in the rows as long as they ascend, and from then on in a table.
func TestEventByIDInMemoryWhenIDsDoNotAscend(t *testing.T) {
	l := newTestLog(t, memDir(t), 10, everything)
	defer l.set.Close()
	l.add(100)
	l.show()
	check := func() {
		t.Helper()
		v := l.set.Acquire()
		defer v.Release()
		for i := range l.events {
			if got, ok, err := v.EventByID(l.events[i].ID); err != nil || !ok || got.Seq != l.events[i].Seq {
				t.Fatalf("EventByID(%d) = %v, %v", l.events[i].Seq, ok, err)
			}
		}
		if _, ok, err := v.EventByID(event.NewID(3, 3)); ok || err != nil {
			t.Fatalf("EventByID(absent) = %v, %v", ok, err)
		}
	}
	check()
	if l.active.ids.Load() != nil {
		t.Error("a table of IDs that ascend")
	}
	l.mixIDs = true
	l.add(100)
	l.show()
	check()
	if l.active.ids.Load() == nil {
		t.Error("no table of IDs that do not ascend")
	}
	l.rotate()
	l.seal(1)
	check()
}
