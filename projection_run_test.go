package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

// TestReadWeakness05_FencedEvents: what a fence stages is in no state before its commit, neither in a live one nor in one
// that is stored meanwhile, and in all of them after it (R5, R6). A cancelled fence leaves nothing.
func TestReadWeakness05_FencedEvents(t *testing.T) {
	for _, commit := range []bool{true, false} {
		t.Run(fmt.Sprintf("commit=%v", commit), func(t *testing.T) {
			st := foldStore(t, vfs.NewMem(), batpak.Options{})
			put(t, st, 10)
			p := project(t, st, foldingDef("fenced", batpak.Query{}))
			f := openFence(t, st)
			appendAll(t, f, "one", "two")
			put(t, st, 5)
			upToDate(t, st, p, batpak.Query{})
			if s := p.Status(); s.Applied != 10 || s.At != 10 {
				t.Errorf("in front of the fence: %+v", s)
			}
			if err := p.Snapshot(t.Context()); err != nil {
				t.Fatal(err)
			}
			end, want := f.Commit, 17
			if !commit {
				end, want = f.Cancel, 15
			}
			if err := end(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := p.Wait(t.Context(), 17); err != nil {
				t.Fatal(err)
			}
			upToDate(t, st, p, batpak.Query{})
			p.Close()
			again := project(t, st, foldingDef("fenced", batpak.Query{}))
			upToDate(t, st, again, batpak.Query{})
			if n := again.Status().Applied; n != uint64(want) {
				t.Errorf("%d events are applied, want %d", n, want)
			}
		})
	}
}

// TestReadWeakness07_CommitOrder: several lanes in one millisecond, with a clock that goes back: events are applied in
// commit order, once, however a state is cut into passes.
func TestReadWeakness07_CommitOrder(t *testing.T) {
	var ticks atomic.Int64
	st := foldStore(t, vfs.NewMem(), batpak.Options{Clock: func() time.Time {
		return time.UnixMilli(testEpoch - ticks.Add(1)/50)
	}})
	p := project(t, st, foldingDef("ordered", batpak.Query{}))
	for i := range 60 {
		d := plain(fmt.Sprint(i))
		d.Lane = uint32(i * 7 % 5)
		mustAppend(t, st, d)
		if i%7 == 0 {
			upToDate(t, st, p, batpak.Query{})
		}
	}
	upToDate(t, st, p, batpak.Query{})
	err := p.View(func(state *folding, _ uint64) {
		for i, seq := range state.Seqs {
			if seq != uint64(i+1) {
				t.Fatalf("event %d was applied in place %d", seq, i+1)
			}
		}
	})
	if err != nil {
		t.Error(err)
	}
}

// TestReadWeakness29_PositionOnlyGrows: a position is a sequence: it grows over everything that writers, fences,
// rebuilding and resetting do, and Wait never returns before what it waits for is shown (R28, R29, R30).
func TestReadWeakness29_PositionOnlyGrows(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{SegmentSize: 16 << 10})
	p := project(t, st, foldingDef("grows", batpak.Query{}))
	ctx, cancel := context.WithCancel(t.Context())
	var all, writers sync.WaitGroup
	all.Go(func() {
		if err := p.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("Run = %v, want the context's error", err)
		}
	})
	for w := range 3 {
		writers.Go(func() {
			for i := range 40 {
				r := putTo(t, st, fmt.Sprintf("w%d", w), i)
				if err := p.Wait(ctx, r.Seq); err != nil {
					t.Error(err)
				}
				err := p.View(func(state *folding, at uint64) {
					if at < r.Seq || state.PerName[fmt.Sprintf("w%d", w)] < i+1 {
						t.Errorf("after Wait(%d) it shows %d events of writer %d at %d", r.Seq, state.PerName[fmt.Sprintf("w%d", w)], w, at)
					}
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Go(func() {
		for last := uint64(0); ctx.Err() == nil; {
			err := p.View(func(state *folding, at uint64) {
				if at < last || state.N < int(last) || len(state.Seqs) != state.N {
					t.Errorf("it shows %d events at %d, after %d", state.N, at, last)
				}
				last = at
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	for version := uint32(2); version < 6; version++ {
		def := foldingDef("grows", batpak.Query{})
		def.Version = version
		if err := errors.Join(p.Rebuild(ctx, def), p.Reset(ctx)); err != nil {
			t.Error(err)
		}
	}
	writers.Wait()
	upToDate(t, st, p, batpak.Query{})
	cancel()
	all.Wait()
	if s := p.Status(); s.Version != 5 || s.Applied != 120 {
		t.Errorf("Status = %+v", s)
	}
}

// TestProjectionRebuild: the old state serves while the new one is folded, one that fails leaves the old, and states of
// older versions go.
func TestProjectionRebuild(t *testing.T) {
	m := vfs.NewMem()
	st := foldStore(t, m, batpak.Options{})
	put(t, st, 50)
	p := project(t, st, foldingDef("rebuilt", batpak.Query{}))
	if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
		t.Fatal(err)
	}
	next := foldingDef("rebuilt", batpak.Query{Tags: []string{"t1"}})
	next.Version = 2
	looked := 0
	next.Fold = func(state *folding, ev event.Event) error {
		if looked++; looked == 5 {
			putTo(t, st, "beside", 1) // while the new state is folded
			if err := errors.Join(p.CatchUp(t.Context()), p.View(func(state *folding, at uint64) {
				if state.N != 51 || at != 51 {
					t.Errorf("beside the new one, the old state shows %d events at %d", state.N, at)
				}
			})); err != nil {
				t.Error(err)
			}
		}
		return foldAll(state, ev)
	}
	if err := p.Rebuild(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if s := p.Status(); s.Version != 2 || s.At != 51 {
		t.Errorf("Status = %+v", s)
	}
	upToDate(t, st, p, next.Query)
	if files := stateFiles(m); len(files) != 1 {
		t.Errorf("states: %v, want that of version 2", files)
	}
	bad := next
	bad.Version = 3
	bad.Fold = func(*folding, event.Event) error { return errors.New("no") }
	if err := p.Rebuild(t.Context(), bad); !errors.Is(err, batpak.ErrFold) || p.Status().Version != 2 {
		t.Errorf("Rebuild with a fold that fails = %v, version %d", err, p.Status().Version)
	}
	upToDate(t, st, p, next.Query)
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Rebuild(canceled, bad); !errors.Is(err, batpak.ErrCanceled) {
		t.Errorf("Rebuild with an ended context = %v, want ErrCanceled", err)
	}
}

// TestProjectionGroup: projections that begin at different positions get what each selects from one pass over the log,
// and one that fails does not stop the others.
func TestProjectionGroup(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{SegmentSize: 1 << 20})
	put(t, st, 70)
	queries := []batpak.Query{{}, {Entity: "e2"}, {Kinds: []event.Kind{event.MustKind(1, 3)}}, {Tags: []string{"t0"}, After: 20}}
	var ps []*batpak.Projection[folding]
	var members []batpak.AnyProjection
	for i, q := range queries {
		p := project(t, st, foldingDef(fmt.Sprint(i), q))
		ps, members = append(ps, p), append(members, p)
	}
	if err := ps[1].CatchUp(t.Context()); err != nil { // it begins further on
		t.Fatal(err)
	}
	put(t, st, 30)
	failing := foldingDef("failing", batpak.Query{})
	failing.Fold = func(state *folding, ev event.Event) error {
		if ev.Seq == 33 {
			panic("no")
		}
		return foldAll(state, ev)
	}
	g, err := batpak.GroupOf(append(members, project(t, st, failing), ps[0])...)
	if err != nil {
		t.Fatal(err)
	}
	before := st.ProjectedFrames()
	var failed *batpak.ProjectionError
	if err := g.CatchUp(t.Context()); !errors.As(err, &failed) || failed.Seq != 33 || failed.Projection != "failing" {
		t.Errorf("CatchUp = %v, want the failure at 33", err)
	}
	// What the failed one costs is making its state again.
	if read := st.ProjectedFrames() - before; read > 100+32+1 {
		t.Errorf("the group has read %d frames, of a log of 100", read)
	}
	for i, p := range ps {
		if s := p.Status(); s.At != 100 {
			t.Errorf("projection %d stands at %d", i, s.At)
		}
		upToDate(t, st, p, queries[i])
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- g.Run(ctx) }()
	last := putTo(t, st, "e2", 3)
	for i, p := range ps {
		if err := p.Wait(ctx, last.Seq); err != nil {
			t.Errorf("projection %d: %v", i, err)
		}
		upToDate(t, st, p, queries[i])
	}
	ps[3].Close() // the others go on
	last = putTo(t, st, "e2", 4)
	if err := ps[0].Wait(ctx, last.Seq); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || !errors.As(err, &failed) {
		t.Errorf("Run = %v, want the context's error and the failure", err)
	}
	if _, err := batpak.GroupOf(); err == nil {
		t.Error("a group of none")
	}
	other := foldStore(t, vfs.NewMem(), batpak.Options{})
	if _, err := batpak.GroupOf(ps[0], project(t, other, foldingDef("0", batpak.Query{}))); err == nil {
		t.Error("a group of two stores")
	}
}

// TestProjectionRunStoresStates: a projection that is kept up to date stores its state by count, by time and at its end;
// it sleeps while nothing happens, ends with its store, and wakes for what a new definition wants.
func TestProjectionRunStoresStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := vfs.NewMem()
		st := foldStore(t, m, batpak.Options{})
		def := foldingDef("stores", batpak.Query{EntityPrefix: "e"})
		def.SnapshotEvery, def.SnapshotAfter = 10, time.Minute
		p := project(t, st, def)
		done := make(chan error)
		go func() { done <- p.Run(t.Context()) }()
		put(t, st, 25)
		synctest.Wait()
		if s := p.Status(); s.At != 25 || s.Snapshot < 10 {
			t.Errorf("by count: %+v", s)
		}
		if err := p.Snapshot(t.Context()); err != nil { // from here on it is known when the next one is due
			t.Fatal(err)
		}
		putTo(t, st, "e1", 1)
		synctest.Wait()
		if s := p.Status(); s.At != 26 || s.Snapshot >= 26 {
			t.Errorf("before its time: %+v", s)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if s := p.Status(); s.Snapshot != 26 {
			t.Errorf("by time: %+v", s)
		}
		putTo(t, st, "other", 1) // it concerns nobody
		synctest.Wait()
		if s := p.Status(); s.At != 26 || s.Behind != 1 {
			t.Errorf("after an event that it does not select: %+v", s)
		}
		def.Version, def.Query = 2, batpak.Query{}
		if err := p.Rebuild(t.Context(), def); err != nil {
			t.Fatal(err)
		}
		putTo(t, st, "other", 2)
		synctest.Wait()
		if s := p.Status(); s.At != 28 || s.Applied != 28 {
			t.Errorf("with a definition that selects all: %+v", s)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("Run = %v, want ErrClosed", err)
		}
		again := foldStore(t, m, batpak.Options{})
		if s := project(t, again, def).Status(); s.At != 28 {
			t.Errorf("it begins at %d", s.At)
		}
		again.Close()
	})
}

// TestProjectionOfReader: a projection of a read-only store uses what the writer has stored, writes nothing, and follows.
func TestProjectionOfReader(t *testing.T) {
	m := vfs.NewMem()
	st := foldStore(t, m, batpak.Options{})
	p := project(t, st, foldingDef("shared", batpak.Query{}))
	put(t, st, 20)
	if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
		t.Fatal(err)
	}
	reader := foldStore(t, m, batpak.Options{ReadOnly: true, FollowEvery: time.Millisecond})
	files := len(stateFiles(m))
	q := project(t, reader, foldingDef("shared", batpak.Query{}))
	if s := q.Status(); s.At != 20 {
		t.Errorf("the reader begins at %d with %v", s.At, s.Findings)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- q.Run(ctx) }()
	last := put(t, st, 30)
	if err := q.Wait(ctx, last.Seq); err != nil {
		t.Error(err)
	}
	upToDate(t, reader, q, batpak.Query{})
	if err := q.Snapshot(ctx); !errors.Is(err, batpak.ErrReadOnly) {
		t.Errorf("Snapshot = %v, want ErrReadOnly", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v", err)
	}
	if err := q.Close(); err != nil || len(stateFiles(m)) != files {
		t.Errorf("Close = %v; the reader has left %d files of %d", err, len(stateFiles(m)), files)
	}
}

// TestProjectionTakesNoMemory: folding an event allocates nothing of its own, but the blocks that names stand in.
func TestProjectionTakesNoMemory(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{SegmentSize: 1 << 20})
	drafts := make([]batpak.Draft, 2000)
	for i := range drafts {
		drafts[i] = batpak.Draft{Coordinate: benchDrafts(100)[i%100].Coordinate, Kind: event.MustKind(1, i%5), Payload: []byte("x")}
	}
	if _, err := st.AppendBatch(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	allocs := testing.AllocsPerRun(5, func() {
		p := project(t, st, countingDef("counts"))
		if err := p.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.Close()
	})
	if allocs > 200 {
		t.Errorf("%.0f allocations for 2,000 events", allocs)
	}
}
