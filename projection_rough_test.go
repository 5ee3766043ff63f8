package batpak_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// TestProjectionSeldomStored: a state that is to be stored as good as never is stored when that is asked for, and keeps
// going.
func TestProjectionSeldomStored(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	def := foldingDef("seldom", batpak.Query{})
	def.SnapshotEvery = math.MaxUint64
	p := project(t, st, def)
	for range 3 {
		put(t, st, 5)
		if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
			t.Fatal(err)
		}
	}
	if s := p.Status(); s.At != 15 || s.Snapshot != 15 {
		t.Errorf("%+v", s)
	}
}

// TestProjectionWhileItOpens: a projection that is still being opened has a status, and closing the store then leaves
// nothing open.
func TestProjectionWhileItOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := foldStore(t, vfs.NewMem(), batpak.Options{})
		closed := make(chan error, 1)
		def := foldingDef("opening", batpak.Query{})
		def.Init = func() folding {
			if all := st.Projections(); len(all) != 1 || all[0].At != 0 {
				t.Errorf("Projections = %+v", all)
			}
			go func() { closed <- st.Close() }()
			synctest.Wait()
			return folding{PerName: map[string]int{}}
		}
		if _, err := batpak.NewProjection(st, def); !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("NewProjection = %v, want ErrClosed", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// TestProjectionResetOfClosed: who resets a projection that is closed removes nothing.
func TestProjectionResetOfClosed(t *testing.T) {
	m := storedStates(t, batpak.Query{}, 20)
	st := foldStore(t, m, batpak.Options{})
	p := project(t, st, foldingDef("stored", batpak.Query{}))
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	for range 32 {
		if err := p.Reset(t.Context()); !errors.Is(err, batpak.ErrClosed) {
			t.Fatalf("Reset = %v, want ErrClosed", err)
		}
	}
	if files := stateFiles(m); len(files) != 1 {
		t.Errorf("files %v", files)
	}
}

// TestProjectionCloseEndsWaits: a wait for an event that nobody has appended ends with its projection.
func TestProjectionCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := foldStore(t, vfs.NewMem(), batpak.Options{})
		p := project(t, st, foldingDef("waited for", batpak.Query{}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- p.Wait(ctx, 1000) }()
		synctest.Wait()
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("Wait = %v, want ErrClosed", err)
		}
		st.Close()
	})
}

// TestProjectionSweepsOnce: left-overs are removed before any projection may be writing, and not later.
func TestProjectionSweepsOnce(t *testing.T) {
	m := vfs.NewMem()
	st := foldStore(t, m, batpak.Options{})
	p := project(t, st, foldingDef("first", batpak.Query{}))
	put(t, st, 10)
	if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
		t.Fatal(err)
	}
	m.SetFile(stateFiles(m)[0]+".tmp", []byte("being written"))
	project(t, st, foldingDef("second", batpak.Query{}))
	if files := stateFiles(m); len(files) != 2 {
		t.Errorf("files %v: what is being written was removed", files)
	}
}

// TestProjectionStoresAfterEviction: a state that was folded anew since events were evicted is stored in the place of the
// one that it replaces, when that is asked for and when it is due.
func TestProjectionStoresAfterEviction(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store func(p *batpak.Projection[folding]) error
	}{
		{"seen and asked for", func(p *batpak.Projection[folding]) error {
			return errors.Join(p.CatchUp(context.Background()), p.Snapshot(context.Background()))
		}},
		{"asked for", func(p *batpak.Projection[folding]) error { return p.Snapshot(context.Background()) }},
		{"due", func(p *batpak.Projection[folding]) error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			defer cancel()
			if err := p.CatchUp(ctx); err != nil {
				return err
			}
			if err := p.Run(ctx); !errors.Is(err, batpak.ErrCanceled) {
				return err
			}
			return nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := foldStore(t, vfs.NewMem(), batpak.Options{})
				put(t, st, 100)
				st.WaitSealed()
				def := foldingDef("evicted", batpak.Query{})
				p := project(t, st, def)
				if err := errors.Join(p.CatchUp(t.Context()), p.Snapshot(t.Context())); err != nil {
					t.Fatal(err)
				}
				st.Evict(2)
				if err := tt.store(p); err != nil {
					t.Fatal(err)
				}
				def.Name, def.Fold = "evicted", func(*folding, event.Event) error { return errors.New("folded again") }
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
				upToDate(t, st, project(t, st, def), batpak.Query{})
				st.Close()
			})
		})
	}
}

// TestProjectionResetForgets: after a reset nothing is answered from states that were folded before it, or during it.
func TestProjectionResetForgets(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	var wrong atomic.Bool
	var began atomic.Bool
	var p *batpak.Projection[folding]
	def := foldingDef("reset", batpak.Query{})
	def.SnapshotEvery = 10
	def.Fold = func(state *folding, ev event.Event) error {
		if wrong.Load() {
			state.N += 1000
			return foldAll(state, ev)
		}
		if began.CompareAndSwap(false, true) { // the old state goes on serving
			putTo(t, st, "e1", 31)
			done := make(chan error)
			go func() { done <- p.CatchUp(context.Background()) }()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		return foldAll(state, ev)
	}
	wrong.Store(true)
	p = project(t, st, def)
	put(t, st, 30)
	if err := p.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	wrong.Store(false)
	if err := p.Reset(t.Context()); err != nil {
		t.Fatal(err)
	}
	upToDate(t, st, p, batpak.Query{})
	for seq := uint64(1); seq <= 31; seq++ {
		if got, err := p.At(t.Context(), seq); err != nil || !sameFolding(got, naive(t, st, batpak.Query{}, seq)) {
			t.Fatalf("At(%d) = %+v, %v", seq, got, err)
		}
	}
}

// TestProjectionRebuildsOverlap: a rebuild that another one has overtaken leaves no version behind.
func TestProjectionRebuildsOverlap(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	put(t, st, 5)
	def := foldingDef("rebuilt", batpak.Query{})
	p := project(t, st, def)
	second, third := def, def
	second.Version, third.Version = 2, 3
	var once sync.Once
	third.Fold = func(state *folding, ev event.Event) error {
		once.Do(func() {
			done := make(chan error)
			go func() { done <- p.Rebuild(context.Background(), second) }()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		return foldAll(state, ev)
	}
	if err := p.Rebuild(t.Context(), third); err != nil {
		t.Fatal(err)
	}
	upToDate(t, st, p, batpak.Query{})
	project(t, st, def)
	project(t, st, second)
	if _, err := batpak.NewProjection(st, third); !errors.Is(err, batpak.ErrProjectionOpen) {
		t.Errorf("NewProjection of the version that is open = %v", err)
	}
}

// TestProjectionLeavesItsGroup: a member that is closed need not wait for what the others still have to fold.
func TestProjectionLeavesItsGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := foldStore(t, vfs.NewMem(), batpak.Options{SegmentSize: 1 << 20})
		var drafts []batpak.Draft
		for i := range 4096 {
			drafts = append(drafts, batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, i%5)})
		}
		if _, err := st.AppendBatch(t.Context(), drafts); err != nil {
			t.Fatal(err)
		}
		closed := make(chan error, 1)
		var leaves *batpak.Projection[folding]
		leaving, staying := foldingDef("leaves", batpak.Query{}), foldingDef("stays", batpak.Query{})
		leaving.Fold = func(state *folding, ev event.Event) error {
			if ev.Seq == 1 {
				go func() { closed <- leaves.Close() }()
				synctest.Wait() // it waits
			}
			return foldAll(state, ev)
		}
		staying.Fold = func(state *folding, ev event.Event) error {
			if ev.Seq == 3000 {
				select {
				case err := <-closed:
					closed <- err
				case <-time.After(time.Hour):
					t.Error("Close waits for the whole pass")
				}
			}
			return foldAll(state, ev)
		}
		leaves = project(t, st, leaving)
		stays := project(t, st, staying)
		g, err := batpak.GroupOf(leaves, stays)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.CatchUp(t.Context()); !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("CatchUp = %v, want ErrClosed of the one that has left", err)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if s := stays.Status(); s.At != 4096 || s.Applied != 4096 {
			t.Errorf("the one that stays: %+v", s)
		}
		st.Close()
	})
}

// TestProjectionTagsAreEachOnes: of an event that goes to several projections, each has tags of its own.
func TestProjectionTagsAreEachOnes(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{})
	put(t, st, 20)
	var kept [][]string
	def := foldingDef("sorts", batpak.Query{})
	def.Fold = func(state *folding, ev event.Event) error {
		for i := range ev.Tags {
			ev.Tags[i] = strings.ToUpper(ev.Tags[i])
		}
		return nil
	}
	keeping := foldingDef("keeps", batpak.Query{})
	keeping.Fold = func(state *folding, ev event.Event) error { kept = append(kept, ev.Tags); return foldAll(state, ev) }
	sorts, keeps := project(t, st, def), project(t, st, keeping)
	g, err := batpak.GroupOf(sorts, keeps)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	upToDate(t, st, keeps, batpak.Query{})
	if i := slices.IndexFunc(kept, func(tags []string) bool { return strings.ToLower(tags[0]) != tags[0] }); i >= 0 {
		t.Errorf("event %d has tags %q", i+1, kept[i])
	}
}

// TestProjectionFailsInGroup: the last good state of a member that has failed is shown again before the others have gone
// over the rest of the log, and never another error than the fold's meanwhile.
func TestProjectionFailsInGroup(t *testing.T) {
	st := foldStore(t, vfs.NewMem(), batpak.Options{SegmentSize: 1 << 20})
	var drafts []batpak.Draft
	for i := range 4096 {
		drafts = append(drafts, batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, i%5)})
	}
	if _, err := st.AppendBatch(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	begun := 0
	failing, other := foldingDef("fails", batpak.Query{}), foldingDef("goes on", batpak.Query{})
	failing.Fold = func(state *folding, ev event.Event) error {
		switch ev.Seq {
		case 1:
			begun++
		case 10:
			return errors.New("no")
		}
		return foldAll(state, ev)
	}
	fails := project(t, st, failing)
	seen := make(chan error, 1)
	other.Fold = func(state *folding, ev event.Event) error {
		switch ev.Seq {
		case 11:
			go func() { seen <- fails.View(func(*folding, uint64) {}) }()
		case 3000:
			if begun != 2 {
				t.Errorf("the state before the event that was refused was made %d times, want once more", begun)
			}
		}
		return foldAll(state, ev)
	}
	g, err := batpak.GroupOf(fails, project(t, st, other))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.CatchUp(t.Context()); !errors.Is(err, batpak.ErrFold) {
		t.Errorf("CatchUp = %v", err)
	}
	if err := <-seen; err != nil && !errors.As(err, new(*batpak.ProjectionError)) {
		t.Errorf("View = %v, want *ProjectionError or nil", err)
	}
}
