package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// matches is what a query means for one event, the slow way; After and Before are not looked at.
func matches(q *batpak.Query, e *event.Event) bool {
	entity, category := e.Coordinate.Entity(), e.Kind.Category()
	begins := func(p string) bool { return strings.HasPrefix(entity, p) }
	named := slices.Contains(q.Kinds, e.Kind) || slices.Contains(q.Categories, category)
	switch {
	case q.Entity != "" && entity != q.Entity,
		len(q.Entities) > 0 && !slices.Contains(q.Entities, entity),
		!begins(q.EntityPrefix),
		len(q.EntityPrefixes) > 0 && !slices.ContainsFunc(q.EntityPrefixes, begins),
		q.Scope != "" && e.Coordinate.Scope() != q.Scope,
		len(q.Kinds)+len(q.Categories) > 0 && !named,
		e.Kind.Reserved() && !named && !q.System,
		q.Lane != nil && e.Lane != *q.Lane,
		q.Correlation != event.ID{} && e.Correlation != q.Correlation,
		q.Causation != event.ID{} && e.Causation != q.Causation,
		e.HLC < q.FromHLC, q.ToHLC != 0 && e.HLC >= q.ToHLC:
		return false
	}
	return !slices.ContainsFunc(q.Tags, func(tag string) bool { return !slices.Contains(e.Tags, tag) })
}

// A queryLog is a store of events of every sort, and a list of what reads must see.
type queryLog struct {
	t     *testing.T
	r     *rand.Rand
	st    *batpak.Store
	dir   string
	shown []event.Event
}

func newQueryLog(t *testing.T) *queryLog {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	l := &queryLog{t: t, r: rand.New(rand.NewPCG(seed, 5)), dir: t.TempDir()}
	l.open()
	t.Cleanup(func() { l.st.Close() })
	return l
}

// open opens the store anew. A gate refuses drafts with the tag "deny" and records it.
func (l *queryLog) open() {
	l.t.Helper()
	if l.st != nil {
		if err := l.st.Close(); err != nil {
			l.t.Fatal(err)
		}
	}
	deny := batpak.Gate{Name: "tags", Check: func(_ *batpak.GateView, d *batpak.Draft) *batpak.Denial {
		if slices.Contains(d.Tags, "deny") {
			return &batpak.Denial{Code: "no"}
		}
		return nil
	}}
	l.st = openAt(l.t, l.dir, &batpak.Options{Sync: batpak.SyncNever, SegmentSize: 24 << 10, Gates: []batpak.Gate{deny}})
}

// draft returns a random draft.
func (l *queryLog) draft() batpak.Draft {
	r := l.r
	entity := []string{"order:%d", "order:1%d", "customer:%d", "o%d"}[r.IntN(4)]
	d := batpak.Draft{
		Coordinate: coordinate.MustNew(fmt.Sprintf(entity, r.IntN(12)), fmt.Sprintf("scope-%d", r.IntN(3))),
		Kind:       event.MustKind([]int{1, 2, 15}[r.IntN(3)], r.IntN(4)),
		Payload:    make([]byte, r.IntN(200)),
		Lane:       r.Uint32N(3) * r.Uint32N(2),
	}
	for _, tag := range []string{"a", "b", "c"} {
		if r.IntN(3) == 0 {
			d.Tags = append(d.Tags, tag)
		}
	}
	if n := len(l.shown); n > 0 && r.IntN(3) == 0 {
		d.Causation = l.shown[n-1-r.IntN(min(n, 20))].ID
		d.Correlation = l.shown[r.IntN(min(n, 6))].ID
	}
	return d
}

// add appends n random events: alone, in batches, through fences of which some are cancelled; some are denied.
func (l *queryLog) add(n int) {
	l.t.Helper()
	ctx := context.Background()
	for range n {
		drafts := make([]batpak.Draft, 1+l.r.IntN(3))
		for i := range drafts {
			drafts[i] = l.draft()
		}
		var err error
		var receipts []batpak.Receipt
		switch l.r.IntN(8) {
		case 0, 1:
			receipts, err = l.fenced(drafts)
		case 2:
			var denied *batpak.DeniedError
			d := drafts[0]
			d.Tags, d.RecordDenial = append(d.Tags, "deny"), true
			if _, err := l.st.Append(ctx, d); !errors.As(err, &denied) || denied.Receipt == nil {
				l.t.Fatalf("a draft that is denied: %v", err)
			}
			ev, err := l.st.EventAt(ctx, denied.Receipt.Seq)
			if err != nil {
				l.t.Fatal(err)
			}
			l.shown = append(l.shown, ev)
			continue
		default:
			receipts, err = l.st.AppendBatch(ctx, drafts)
		}
		if err != nil {
			l.t.Fatal(err)
		}
		for _, told := range tell(drafts[:len(receipts)], receipts) {
			l.shown = append(l.shown, told.Event)
		}
	}
}

// fenced appends drafts through a fence and ends it. It returns no receipts when the fence was cancelled.
func (l *queryLog) fenced(drafts []batpak.Draft) ([]batpak.Receipt, error) {
	ctx := context.Background()
	f, err := l.st.Fence(ctx)
	if err != nil {
		return nil, err
	}
	receipts, err := f.AppendBatch(ctx, drafts)
	if err != nil {
		return nil, err
	}
	if l.r.IntN(2) == 0 {
		return nil, f.Cancel(ctx)
	}
	return receipts, f.Commit(ctx)
}

// query returns a random query.
func (l *queryLog) query() batpak.Query {
	r := l.r
	some := func() *event.Event { return &l.shown[r.IntN(len(l.shown))] }
	rarely := func(n int) bool { return r.IntN(n) == 0 }
	q := batpak.Query{Reverse: rarely(2), Borrow: rarely(2), System: rarely(4), Limit: r.IntN(3) * r.IntN(9)}
	l.queryEntities(&q)
	if rarely(5) {
		q.Scope = some().Coordinate.Scope()
	}
	for rarely(4) {
		q.Kinds = append(q.Kinds, some().Kind)
	}
	for rarely(4) {
		q.Categories = append(q.Categories, r.IntN(16))
	}
	for rarely(4) {
		q.Tags = append(q.Tags, string("abcd"[r.IntN(4)]))
	}
	if rarely(5) {
		lane := r.Uint32N(4)
		q.Lane = &lane
	}
	if rarely(6) {
		q.Correlation = some().Correlation
	}
	if rarely(6) {
		q.Causation = some().Causation
	}
	if rarely(5) {
		q.FromHLC = some().HLC + event.HLC(r.IntN(2))
	}
	if rarely(5) {
		q.ToHLC = some().HLC + event.HLC(r.IntN(2))
	}
	if rarely(4) {
		q.After = some().Seq - r.Uint64N(2)
	}
	if rarely(4) {
		q.Before = some().Seq + r.Uint64N(2)
	}
	return q
}

func (l *queryLog) queryEntities(q *batpak.Query) {
	r := l.r
	some := func() string { return l.shown[r.IntN(len(l.shown))].Coordinate.Entity() }
	prefix := func() string { name := some(); return name[:r.IntN(len(name)+1)] }
	switch r.IntN(10) {
	case 0:
		q.Entity = some()
	case 1:
		for range 1 + r.IntN(40) {
			q.Entities = append(q.Entities, some())
		}
	case 2:
		q.EntityPrefix = prefix()
	case 3:
		for range 1 + r.IntN(4) {
			q.EntityPrefixes = append(q.EntityPrefixes, prefix())
		}
	case 4:
		q.Entities, q.EntityPrefix = []string{some(), some(), "nobody"}, prefix()
	case 5:
		q.EntityPrefix, q.EntityPrefixes = prefix(), []string{prefix(), "\xff", prefix()}
	}
}

// check compares Read, Count and Exists with a filter over the list.
func (l *queryLog) check(q batpak.Query) {
	l.t.Helper()
	var want []event.Event
	for i := range l.shown {
		if selects(&q, &l.shown[i]) {
			want = append(want, l.shown[i])
		}
	}
	if q.Reverse {
		slices.Reverse(want)
	}
	if q.Limit > 0 {
		want = want[:min(q.Limit, len(want))]
	}
	if err := reads(l.st, q, want); err != nil {
		l.t.Fatalf("Read(%+v): %v", q, err)
	}
	if n, err := l.st.Count(l.t.Context(), q); err != nil || n != uint64(len(want)) {
		l.t.Fatalf("Count(%+v) = %d, %v, want %d", q, n, err, len(want))
	}
	if ok, err := l.st.Exists(l.t.Context(), q); err != nil || ok != (len(want) > 0) {
		l.t.Fatalf("Exists(%+v) = %v, %v, want %v", q, ok, err, len(want) > 0)
	}
}

// Every query is what a filter over all events selects: over sealed segments and the active one, lanes, tags, hidden
// ranges, and after the store was opened again.
func TestQueryIsWhatANaiveFilterSelects(t *testing.T) {
	l := newQueryLog(t)
	for range 3 {
		l.add(sized(120, 300, 1000))
		for range sized(250, 600, 5000) {
			l.check(l.query())
		}
		if l.r.IntN(2) == 0 {
			l.open()
		}
	}
	if n := l.st.Stats().Segments; n < 4 {
		t.Errorf("%d segments: the test needs several", n)
	}
}

// A condition takes every field of a query that a read takes: against the log, and against what is staged before it in
// the same write group.
func TestUnlessTakesEveryFieldOfAQuery(t *testing.T) {
	l := newQueryLog(t)
	l.add(60)
	ctx := t.Context()
	refused := 0
	for range sized(150, 400, 2000) {
		q, before := l.query(), l.st.Visible()
		first := l.draft()
		one, err := l.st.Submit(ctx, first)
		if err != nil {
			t.Fatal(err)
		}
		two, err := l.st.Submit(ctx, batpak.Draft{
			Coordinate: coordinate.MustNew("decided", "s"), Kind: event.MustKind(3, 1), Unless: []batpak.Unless{{Query: q, Seq: before}},
		})
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := one.Wait(ctx)
		if err != nil {
			t.Fatal(err)
		}
		ev := tell([]batpak.Draft{first}, []batpak.Receipt{receipt})[0].Event
		l.shown = append(l.shown, ev)
		decided, err := two.Wait(ctx)
		if err == nil {
			ev, _ := l.st.EventAt(ctx, decided.Seq)
			l.shown = append(l.shown, ev)
		}
		if want := matches(&q, &ev); want != errors.Is(err, batpak.ErrConflict) || !want && err != nil {
			t.Fatalf("Unless(%+v) behind %+v: %v, want a conflict: %v", q, ev, err, want)
		}
		if err != nil {
			refused++
		}
	}
	if refused == 0 {
		t.Error("no condition came true")
	}
}

// A decision is overtaken by what its query selects, whatever field says so, and by nothing else.
func TestDecideTakesEveryFieldOfAQuery(t *testing.T) {
	l := newQueryLog(t)
	l.add(40)
	for range sized(60, 200, 1000) {
		q := l.query()
		q.Before = 0
		tries, overtaken := 0, false
		_, err := l.st.Decide(t.Context(), q, func(d batpak.Decision) ([]batpak.Draft, error) {
			for _, err := range d.Events {
				if err != nil {
					return nil, err
				}
			}
			if tries++; tries == 1 {
				draft := l.draft()
				receipt, err := l.st.Append(t.Context(), draft)
				if err != nil {
					return nil, err
				}
				ev := tell([]batpak.Draft{draft}, []batpak.Receipt{receipt})[0].Event
				l.shown = append(l.shown, ev)
				overtaken = matches(&q, &ev)
			}
			return []batpak.Draft{{Coordinate: coordinate.MustNew("decided", "s"), Kind: event.MustKind(3, 1)}}, nil
		})
		if want := 1 + map[bool]int{true: 1}[overtaken]; err != nil || tries != want {
			t.Fatalf("Decide(%+v) took %d tries, %v, want %d", q, tries, err, want)
		}
	}
}

// What a caller does with its slices after a call is its own business.
func TestQueryIsTheCallersAgainAfterSubmit(t *testing.T) {
	st := openAt(t, t.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
	defer st.Close()
	at := coordinate.MustNew("e:1", "s")
	if _, err := st.Append(t.Context(), batpak.Draft{Coordinate: at, Kind: event.MustKind(1, 1), Tags: []string{"x"}}); err != nil {
		t.Fatal(err)
	}
	lane := uint32(0)
	q := batpak.Query{
		Entities: []string{"e:2", "e:1"}, EntityPrefixes: []string{"f", "e"}, Kinds: []event.Kind{event.MustKind(1, 2)},
		Categories: []int{2, 1}, Tags: []string{"x"}, Lane: &lane,
	}
	ticket, err := st.Submit(t.Context(), batpak.Draft{
		Coordinate: at, Kind: event.MustKind(1, 1), Unless: []batpak.Unless{{Query: q}},
	})
	if err != nil {
		t.Fatal(err)
	}
	clear(q.Entities)
	clear(q.EntityPrefixes)
	clear(q.Kinds)
	clear(q.Categories)
	clear(q.Tags)
	lane = 7
	if _, err := ticket.Wait(t.Context()); !errors.Is(err, batpak.ErrConflict) {
		t.Errorf("the condition was changed under way: %v", err)
	}
}

func TestQueriesThatCannotBe(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	defer st.Close()
	for _, tt := range []struct {
		name  string
		q     batpak.Query
		field string
		want  error
	}{
		{"limit", batpak.Query{Limit: -1}, "Limit", batpak.ErrInvalid},
		{"entity", batpak.Query{Entity: "\n"}, "Entity", batpak.ErrInvalid},
		{"empty name in a list", batpak.Query{Entities: []string{"a", ""}}, "Entities", batpak.ErrInvalid},
		{"scope", batpak.Query{Scope: strings.Repeat("x", 1025)}, "Scope", batpak.ErrInvalid},
		{"tag", batpak.Query{Tags: []string{"a", "\x00"}}, "Tags", batpak.ErrInvalid},
		{"category below", batpak.Query{Categories: []int{3, -1}}, "Categories", batpak.ErrInvalid},
		{"category above", batpak.Query{Categories: []int{16}}, "Categories", batpak.ErrInvalid},
		{"entities", batpak.Query{Entities: make([]string, 1025)}, "query entities", batpak.ErrLimit},
		{"prefixes", batpak.Query{EntityPrefixes: make([]string, 1025)}, "query entity prefixes", batpak.ErrLimit},
		{"kinds", batpak.Query{Kinds: make([]event.Kind, 1025)}, "query kinds", batpak.ErrLimit},
		{"categories", batpak.Query{Categories: make([]int, 17)}, "query categories", batpak.ErrLimit},
		{"tags", batpak.Query{Tags: make([]string, 65)}, "query tags", batpak.ErrLimit},
	} {
		_, countErr := st.Count(t.Context(), tt.q)
		_, existsErr := st.Exists(t.Context(), tt.q)
		_, readErr := collect(st, tt.q)
		for call, err := range map[string]error{"Read": readErr, "Count": countErr, "Exists": existsErr} {
			var invalid *batpak.DraftError
			var limit *batpak.LimitError
			named := errors.As(err, &invalid) && invalid.Field == tt.field || errors.As(err, &limit) && limit.Field == tt.field
			if !errors.Is(err, tt.want) || !named {
				t.Errorf("%s: %s: %v, want %v about %s", tt.name, call, err, tt.want, tt.field)
			}
		}
	}
	for _, q := range []batpak.Query{
		{EntityPrefix: "\xff\x00"}, {EntityPrefixes: []string{"", "\xfe"}}, {FromHLC: 5, ToHLC: 5}, {FromHLC: 6, ToHLC: 5},
		{Entities: slices.Repeat([]string{"a"}, 1024)}, {Categories: []int{0, 15}}, {After: 9, Before: 2},
	} {
		if ok, err := st.Exists(t.Context(), q); ok || err != nil {
			t.Errorf("Exists(%+v) = %v, %v, want nothing and no error", q, ok, err)
		}
	}
}
