package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// A folding is the state of the projections under test: what it holds depends on which events were folded, how often and
// in which order.
type folding struct {
	N       int
	PerName map[string]int
	Seqs    []uint64
	Text    string
}

// foldAll folds anything; the names and tags that it keeps are not copied.
func foldAll(state *folding, ev event.Event) error {
	state.N++
	state.PerName[ev.Coordinate.Entity()]++
	for _, tag := range ev.Tags {
		state.PerName["#"+tag]++
		state.PerName[tag]++
	}
	state.Seqs = append(state.Seqs, ev.Seq)
	state.Text = string(ev.Payload)
	return nil
}

func foldingDef(name string, q batpak.Query) batpak.ProjectionDef[folding] {
	return batpak.ProjectionDef[folding]{
		Name: name, Version: 1, Query: q, Fold: foldAll,
		Init: func() folding { return folding{PerName: map[string]int{}} },
	}
}

// naive folds what a read of q up to seq yields.
func naive(t testing.TB, st *batpak.Store, q batpak.Query, seq uint64) folding {
	t.Helper()
	state := folding{PerName: map[string]int{}}
	if q.Before == 0 || q.Before > seq+1 {
		q.Before = seq + 1
	}
	for ev, err := range st.Read(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		foldAll(&state, ev)
	}
	return state
}

func sameFolding(a, b folding) bool {
	return a.N == b.N && a.Text == b.Text && slices.Equal(a.Seqs, b.Seqs) && maps.Equal(a.PerName, b.PerName)
}

// upToDate ends the test unless p, brought up to date, is what a naive fold of q is.
func upToDate(t testing.TB, st *batpak.Store, p *batpak.Projection[folding], q batpak.Query) {
	t.Helper()
	got, at, err := p.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := naive(t, st, q, at); !sameFolding(got, want) || at > st.Visible() {
		t.Fatalf("at %d: %+v, want %+v", at, got, want)
	}
}

// foldStore opens a store in memory with small segments.
func foldStore(t testing.TB, m *vfs.Mem, o batpak.Options) *batpak.Store {
	t.Helper()
	if o.SegmentSize == 0 {
		o.SegmentSize = smallSegment
	}
	o.FillAhead = -1
	o.SetFS(m)
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	return st
}

// put appends events to entities e0, e1, …, n in all.
func put(t testing.TB, st *batpak.Store, n int) (last batpak.Receipt) {
	t.Helper()
	for i := range n {
		last = putTo(t, st, fmt.Sprintf("e%d", i%7), i)
	}
	return last
}

func putTo(t testing.TB, st *batpak.Store, entity string, i int) batpak.Receipt {
	t.Helper()
	r, err := st.Append(context.Background(), batpak.Draft{
		Coordinate: coordinate.MustNew(entity, fmt.Sprintf("s%d", i%2)), Kind: event.MustKind(1, i%5),
		Payload: fmt.Appendf(nil, `{"i":%d}`, i), Tags: []string{fmt.Sprintf("t%d", i%3)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestProjectionAppliesOnce: a cold projection folds everything once, a repeat nothing, and three new events are three
// calls.
func TestProjectionAppliesOnce(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	put(t, st, 100)
	calls := 0
	def := foldingDef("counted", batpak.Query{})
	def.Fold = func(state *folding, ev event.Event) error { calls++; return foldAll(state, ev) }
	p := project(t, st, def)
	for _, step := range []struct{ more, want int }{{0, 100}, {0, 100}, {3, 103}, {0, 103}} {
		put(t, st, step.more)
		if upToDate(t, st, p, batpak.Query{}); calls != step.want {
			t.Errorf("%d calls, want %d", calls, step.want)
		}
	}
	if s := p.Status(); s.Applied != 103 || s.At != 103 || s.Behind != 0 || s.Failed != nil {
		t.Errorf("Status = %+v", s)
	}
	frames := st.ProjectedFrames()
	if err := p.CatchUp(t.Context()); err != nil || st.ProjectedFrames() != frames {
		t.Errorf("a repeat has read %d frames, %v", st.ProjectedFrames()-frames, err)
	}
}

// TestReadWeakness27_AnyQuery: a projection is over any query, any number of entities and one lane; R17: names may be of
// any length.
func TestReadWeakness27_AnyQuery(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{SegmentSize: 16 << 10})
	lane, long := uint32(3), strings.Repeat("long", 200)
	put(t, st, 60)
	putTo(t, st, long, 1)
	if _, err := st.Append(t.Context(), batpak.Draft{Coordinate: coordinate.MustNew("e1", "s"), Kind: event.MustKind(2, 1), Lane: lane}); err != nil {
		t.Fatal(err)
	}
	for name, q := range map[string]batpak.Query{
		"all":        {},
		"entity":     {Entity: "e3"},
		"entities":   {Entities: []string{"e3", "e1", "nobody"}},
		"prefix":     {EntityPrefix: "e"},
		"scope":      {Scope: "s1"},
		"kinds":      {Kinds: []event.Kind{event.MustKind(1, 4), event.MustKind(1, 2)}},
		"categories": {Categories: []int{2}},
		"tags":       {Tags: []string{"t2"}},
		"lane":       {Lane: &lane},
		"range":      {After: 10, Before: 40},
		"time":       {FromHLC: eventAt(t, st, 20).HLC, ToHLC: eventAt(t, st, 30).HLC},
		long:         {Entity: long},
	} {
		p := project(t, st, foldingDef(name, q))
		upToDate(t, st, p, q)
		putTo(t, st, "e3", 2)
		upToDate(t, st, p, q)
		if err := p.Snapshot(t.Context()); err != nil && p.Status().Snapshot == 0 {
			t.Error(err)
		}
		p.Close()
		again := project(t, st, foldingDef(name, q))
		if s := again.Status(); len(s.Findings) > 0 || s.At == 0 {
			t.Errorf("%.10s: reopened at %d with %v", name, s.At, s.Findings)
		}
		upToDate(t, st, again, q)
		again.Close()
	}
}

func eventAt(t testing.TB, st *batpak.Store, seq uint64) event.Event {
	t.Helper()
	ev, err := st.EventAt(t.Context(), seq)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestProjectionAtEverySequence: the state as of any sequence, with stored states and without, and whatever the live
// state does.
func TestProjectionAtEverySequence(t *testing.T) {
	m := vfs.NewMem()
	st := foldStore(t, m, batpak.Options{})
	q := batpak.Query{EntityPrefix: "e"}
	p := project(t, st, foldingDef("as of", q))
	for range 6 {
		put(t, st, 9)
		if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	put(t, st, 5)
	before := p.Status().At
	for seq := range st.Visible() + 1 {
		got, err := p.At(t.Context(), seq)
		if want := naive(t, st, q, seq); err != nil || !sameFolding(got, want) {
			t.Errorf("At(%d) = %+v, %v, want %+v", seq, got, err, want)
		}
	}
	if _, err := p.At(t.Context(), st.Visible()+1); !errors.Is(err, batpak.ErrNotFound) {
		t.Errorf("At behind the visible end = %v, want ErrNotFound", err)
	}
	if after := p.Status().At; after != before {
		t.Errorf("At has moved the projection from %d to %d", before, after)
	}
	frames := st.ProjectedFrames()
	if _, err := p.At(t.Context(), before); err != nil || st.ProjectedFrames() != frames {
		t.Errorf("At a stored state has read %d frames, %v", st.ProjectedFrames()-frames, err)
	}
}

// TestProjectionFails: a fold that refuses an event, or panics, leaves the projection behind the event before, with the
// state of that, although the fold had spoiled it half-way; the error names the event.
func TestProjectionFails(t *testing.T) {
	cause := errors.New("no such order")
	for name, refuse := range map[string]func() error{
		"error": func() error { return cause },
		"panic": func() error { panic(cause) },
	} {
		t.Run(name, func(t *testing.T) {
			st := foldStore(t, vfs.NewMem(), batpak.Options{})
			bad := put(t, st, 31)
			put(t, st, 20)
			def := foldingDef("fails", batpak.Query{})
			def.Fold = func(state *folding, ev event.Event) error {
				if ev.Seq == bad.Seq {
					state.N += 1000
					state.PerName["spoiled"]++
					return refuse()
				}
				return foldAll(state, ev)
			}
			p := project(t, st, def)
			for range 2 {
				err := p.CatchUp(t.Context())
				var failed *batpak.ProjectionError
				if !errors.As(err, &failed) || !errors.Is(err, batpak.ErrFold) || !errors.Is(err, cause) {
					t.Fatalf("CatchUp = %v, want a *ProjectionError with the cause", err)
				}
				if failed.Seq != bad.Seq || failed.ID != bad.ID || failed.Entity != "e2" || failed.Kind != event.MustKind(1, 0) || failed.Projection != "fails" {
					t.Errorf("the error names %+v, want event %d", failed, bad.Seq)
				}
				if name == "panic" && !errors.As(err, new(*batpak.PanicError)) {
					t.Errorf("%v is no *PanicError", err)
				}
			}
			viewed := p.View(func(state *folding, at uint64) {
				if want := naive(t, st, batpak.Query{}, bad.Seq-1); at != bad.Seq-1 || !sameFolding(*state, want) {
					t.Errorf("View at %d: %+v, want %+v", at, *state, want)
				}
			})
			if err := errors.Join(viewed, p.Wait(t.Context(), bad.Seq-1)); err != nil {
				t.Error(err)
			}
			if err := p.Wait(t.Context(), bad.Seq); !errors.Is(err, cause) {
				t.Errorf("Wait for the event = %v, want the failure", err)
			}
			if err := p.Run(t.Context()); !errors.Is(err, cause) {
				t.Errorf("Run = %v, want the failure", err)
			}
			if err := p.Reset(t.Context()); !errors.Is(err, cause) || p.Status().At != bad.Seq-1 {
				t.Errorf("Reset = %v at %d, want the failure again", err, p.Status().At)
			}
			mended := foldingDef("fails", batpak.Query{})
			if err := p.Rebuild(t.Context(), mended); !errors.As(err, new(*batpak.OptionError)) {
				t.Errorf("Rebuild with the same version = %v, want *OptionError", err)
			}
			mended.Version = 2
			if err := p.Rebuild(t.Context(), mended); err != nil {
				t.Fatal(err)
			}
			upToDate(t, st, p, batpak.Query{})
		})
	}
}

// TestReadWeakness13_FoldsCanFail: one event that cannot be decoded is an error that names it, and the projection goes on
// with a registry that knows it.
func TestReadWeakness13_FoldsCanFail(t *testing.T) {
	type placed struct{ Total int }
	kind := event.MustKind(3, 1)
	reg, err := batpak.NewRegistry(batpak.Bind[placed](kind, 1))
	if err != nil {
		t.Fatal(err)
	}
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	at := coordinate.MustNew("order:1", "eu")
	for i := range 4 {
		if _, err := batpak.AppendAs(t.Context(), st, reg, batpak.Draft{Coordinate: at}, placed{i}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, st, 3) // of other kinds
	decoded := 0
	def := batpak.ProjectionDef[int]{
		Name: "total", Version: 1, Query: batpak.Query{EntityPrefix: "order:"},
		Fold: batpak.FoldAs(reg, func(sum *int, ev batpak.EventOf[placed]) error {
			decoded++
			*sum += ev.Value.Total
			return nil
		}),
	}
	p := project(t, st, def)
	if sum, _, err := p.State(t.Context()); sum != 6 || err != nil || decoded != 4 {
		t.Errorf("State = %d, %v after %d values, want 6 after 4", sum, err, decoded)
	}
	bad, err := st.Append(t.Context(), batpak.Draft{Coordinate: at, Kind: kind, Payload: []byte("no JSON"), PayloadVersion: 1})
	if err != nil {
		t.Fatal(err)
	}
	var failed *batpak.ProjectionError
	var undecoded *batpak.DecodeError
	if err := p.CatchUp(t.Context()); !errors.As(err, &failed) || failed.Seq != bad.Seq || !errors.As(err, &undecoded) {
		t.Errorf("CatchUp = %v, want a *ProjectionError at %d with a *DecodeError", err, bad.Seq)
	}
	if err := p.View(func(sum *int, _ uint64) {
		if *sum != 6 {
			t.Errorf("the state is %d, want 6", *sum)
		}
	}); err != nil {
		t.Error(err)
	}
	any := batpak.ProjectionDef[int]{
		Name: "any", Version: 1, Query: batpak.Query{Entity: "order:1", Before: bad.Seq},
		Fold: batpak.FoldAs(reg, func(n *int, ev batpak.EventOf[any]) error { *n += ev.Value.(placed).Total; return nil }),
	}
	if sum, _, err := project(t, st, any).State(t.Context()); sum != 6 || err != nil {
		t.Errorf("State = %d, %v, want 6", sum, err)
	}
	unbound := batpak.ProjectionDef[int]{
		Name: "unbound", Version: 1, Fold: batpak.FoldAs(reg, func(*int, batpak.EventOf[string]) error { return nil }),
	}
	if err := project(t, st, unbound).CatchUp(t.Context()); !errors.Is(err, batpak.ErrUnknownType) {
		t.Errorf("a type that is not bound: %v, want ErrUnknownType", err)
	}
}

// TestReadWeakness30_OnlyRegistered: there is no projection but those that are open, under a name of their own, and a wait
// for one ends whatever others do.
func TestReadWeakness30_OnlyRegistered(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	slow, fast := project(t, st, foldingDef("slow", batpak.Query{})), project(t, st, foldingDef("fast", batpak.Query{}))
	last := put(t, st, 10)
	if err := fast.Wait(t.Context(), last.Seq); err != nil {
		t.Fatal(err)
	}
	all := st.Projections()
	if len(all) != 2 || all[0].Name != "slow" || all[0].Behind != 10 || all[1].At != last.Seq {
		t.Errorf("Projections = %+v", all)
	}
	if _, err := batpak.NewProjection(st, foldingDef("slow", batpak.Query{})); !errors.Is(err, batpak.ErrProjectionOpen) {
		t.Errorf("a second one of that name: %v, want ErrProjectionOpen", err)
	}
	if err := slow.Close(); err != nil {
		t.Error(err)
	}
	if err := errors.Join(slow.Close()); err != nil || len(st.Projections()) != 1 {
		t.Errorf("closed twice: %v; %d are open", err, len(st.Projections()))
	}
	for what, err := range map[string]error{
		"CatchUp": slow.CatchUp(t.Context()), "Wait": slow.Wait(t.Context(), last.Seq), "Run": slow.Run(t.Context()),
		"Reset": slow.Reset(t.Context()), "Snapshot": slow.Snapshot(t.Context()),
	} {
		if !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("%s = %v, want ErrClosed", what, err)
		}
	}
	again := project(t, st, foldingDef("slow", batpak.Query{}))
	upToDate(t, st, again, batpak.Query{})
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := batpak.NewProjection(st, foldingDef("late", batpak.Query{})); !errors.Is(err, batpak.ErrClosed) {
		t.Errorf("in a closed store: %v, want ErrClosed", err)
	}
	if err := again.View(func(state *folding, _ uint64) {
		if state.N != 10 {
			t.Errorf("View of a closed one shows %d events", state.N)
		}
	}); err != nil {
		t.Error(err)
	}
}

func TestProjectionDefIsChecked(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	ok := foldingDef("checked", batpak.Query{})
	for _, tt := range []struct {
		name   string
		change func(*batpak.ProjectionDef[folding])
		want   any
	}{
		{"no name", func(d *batpak.ProjectionDef[folding]) { d.Name = "" }, new(*batpak.OptionError)},
		{"control character", func(d *batpak.ProjectionDef[folding]) { d.Name = "a\x00" }, new(*batpak.OptionError)},
		{"version 0", func(d *batpak.ProjectionDef[folding]) { d.Version = 0 }, new(*batpak.OptionError)},
		{"no fold", func(d *batpak.ProjectionDef[folding]) { d.Fold = nil }, new(*batpak.OptionError)},
		{"limit", func(d *batpak.ProjectionDef[folding]) { d.Query.Limit = 3 }, new(*batpak.DraftError)},
		{"reverse", func(d *batpak.ProjectionDef[folding]) { d.Query.Reverse = true }, new(*batpak.DraftError)},
		{"entity", func(d *batpak.ProjectionDef[folding]) { d.Query.Entity = "\n" }, new(*batpak.DraftError)},
		{"keep", func(d *batpak.ProjectionDef[folding]) { d.KeepSnapshots = -1 }, new(*batpak.OptionError)},
		{"time", func(d *batpak.ProjectionDef[folding]) { d.SnapshotAfter = -1 }, new(*batpak.OptionError)},
		{"size", func(d *batpak.ProjectionDef[folding]) { d.SnapshotLimit = -1 }, new(*batpak.OptionError)},
		{"panic", func(d *batpak.ProjectionDef[folding]) { d.Init = func() folding { panic("no") } }, new(*batpak.PanicError)},
	} {
		def := ok
		tt.change(&def)
		if _, err := batpak.NewProjection(st, def); err == nil || !errors.As(err, tt.want) {
			t.Errorf("%s: NewProjection = %v, want %T", tt.name, err, tt.want)
		}
	}
	if len(st.Projections()) != 0 {
		t.Errorf("%d are open after refusals", len(st.Projections()))
	}
	lossy(t, st, batpak.ProjectionDef[struct{ n int }]{Fold: func(*struct{ n int }, event.Event) error { return nil }})
	type number int
	type inner struct{ N int }
	lossy(t, st, batpak.ProjectionDef[struct{ number }]{Fold: func(*struct{ number }, event.Event) error { return nil }})
	lossy(t, st, batpak.ProjectionDef[struct{ *inner }]{Fold: func(*struct{ *inner }, event.Event) error { return nil }})
	lossy(t, st, batpak.ProjectionDef[map[string]any]{Fold: func(*map[string]any, event.Event) error { return nil }})
	lossy(t, st, batpak.ProjectionDef[sync.Mutex]{Fold: func(*sync.Mutex, event.Event) error { return nil }})
}

// lossy ends the test unless def, whose states JSON would not give back, is refused with JSON and taken without.
func lossy[S any](t *testing.T, st *batpak.Store, def batpak.ProjectionDef[S]) {
	t.Helper()
	def.Name, def.Version = "lossy", 1
	var wrong *batpak.OptionError
	if _, err := batpak.NewProjection(st, def); !errors.As(err, &wrong) || wrong.Field != "Codec" {
		t.Errorf("%T: %v, want *OptionError for Codec", def, err)
	}
	def.NoSnapshots, def.Clone = true, func(state *S) S { return *state }
	p, err := batpak.NewProjection(st, def)
	if err != nil {
		t.Fatal(err)
	}
	p.Close()
}
