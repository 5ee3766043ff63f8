package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/event"
	"batpak/internal/vfs"
)

// readerOf opens the store in mem read-only.
func readerOf(t testing.TB, fs vfs.FS) *batpak.Store {
	t.Helper()
	o := &batpak.Options{ReadOnly: true}
	o.SetFS(fs)
	return openAt(t, vfs.MemDir, o)
}

// refreshed refreshes a reader that must.
func refreshed(t testing.TB, st *batpak.Store) bool {
	t.Helper()
	changed, err := st.Refresh(t.Context())
	if err != nil {
		t.Fatalf("refresh: %v", err)
	}
	return changed
}

// sameShown checks that two stores show the same.
func sameShown(t testing.TB, got, want *batpak.Store) []event.Event {
	t.Helper()
	a, err := collect(got, batpak.Query{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := collect(want, batpak.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if err := sameEvents(a, b); err != nil {
		t.Fatal(err)
	}
	x, y := got.Stats(), want.Stats()
	if x.Events != y.Events || x.FirstSeq != y.FirstSeq || x.LastSeq != y.LastSeq || x.Visible != y.Visible {
		t.Fatalf("stats %+v, want %+v", x, y)
	}
	return a
}

func TestRefreshFollows(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			mem := vfs.NewMem()
			o := &batpak.Options{Sync: mode, SegmentSize: 4 << 10}
			o.SetFS(mem)
			st := openAt(t, vfs.MemDir, o)
			defer mustClose(t, st)
			ro := &batpak.Options{ReadOnly: true, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))}
			ro.SetFS(mem)
			r := openAt(t, vfs.MemDir, ro)
			defer mustClose(t, r)
			if refreshed(t, r) {
				t.Error("something new in an empty store")
			}
			for i, n := range []int{1, 10, 1, 60, 3, 200, 1} {
				fillStore(t, st, n)
				if i%2 == 0 {
					st.WaitIdle()
				}
				if !refreshed(t, r) {
					t.Fatalf("step %d: nothing new", i)
				}
				sameShown(t, r, st)
				st.WaitIdle()
				if refreshed(t, r) {
					t.Errorf("step %d: something new", i)
				}
				fresh := readerOf(t, mem)
				sameShown(t, r, fresh)
				mustClose(t, fresh)
			}
			if n := r.Builds(); n > 0 {
				t.Errorf("built anew %d times", n)
			}
			if got := r.Stats(); got.Sealed < 5 {
				t.Errorf("%d segments are served by their footers", got.Sealed)
			}
			if changed, err := st.Refresh(t.Context()); changed || err != nil {
				t.Errorf("refresh of a writable store: %v, %v", changed, err)
			}
		})
	}
}

func TestRefreshKeepsViews(t *testing.T) {
	mem := vfs.NewMem()
	o := &batpak.Options{SegmentSize: 4 << 10}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, o)
	defer mustClose(t, st)
	fillStore(t, st, 150)
	r := readerOf(t, mem)
	defer mustClose(t, r)
	n := 0
	for ev, err := range r.Read(t.Context(), batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; ev.Seq != uint64(n) {
			t.Fatalf("event %d at place %d", ev.Seq, n)
		}
		if n%20 == 0 {
			fillStore(t, st, 30)
			st.WaitIdle()
			if !refreshed(t, r) {
				t.Error("nothing new")
			}
		}
	}
	if n != 150 {
		t.Errorf("the read has %d events, want 150", n)
	}
	sameShown(t, r, st)
}

func TestRefreshCanceledAndClosed(t *testing.T) {
	mem := vfs.NewMem()
	o := &batpak.Options{}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, o)
	defer mustClose(t, st)
	fillStore(t, st, 10)
	r := readerOf(t, mem)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Refresh(ctx); !errors.Is(err, batpak.ErrCanceled) || !errors.Is(err, context.Canceled) {
		t.Errorf("ended context: %v", err)
	}
	var wg sync.WaitGroup
	begun := make(chan struct{}, 200)
	for range 4 {
		wg.Go(func() {
			for range 50 {
				begun <- struct{}{}
				if _, err := r.Refresh(t.Context()); err != nil && !errors.Is(err, batpak.ErrClosed) {
					t.Errorf("beside Close: %v", err)
				}
			}
		})
	}
	wg.Go(func() { fillStore(t, st, 100) })
	for range 20 {
		<-begun
	}
	mustClose(t, r)
	wg.Wait()
	if _, err := r.Refresh(t.Context()); !errors.Is(err, batpak.ErrClosed) {
		t.Errorf("closed store: %v", err)
	}
}

// TestRefreshModel lets a writer do everything that writers do, crashes among it, while readers that were opened at
// some time look again at random points.
func TestRefreshModel(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		for _, fill := range []int64{-1, 2 << 10} {
			t.Run(fmt.Sprintf("%v, fill %d", mode, fill), func(t *testing.T) {
				t.Parallel()
				looks, builds, first := 0, uint64(0), seed(t)
				for i := range sized(10, 15, 200) {
					l, b := refreshModel(t, mode, fill, first+uint64(i))
					looks, builds = looks+l, builds+b
				}
				t.Logf("%d looks, %d of them built everything anew", looks, builds)
			})
		}
	}
}

// A followed is a reader, and what it has shown.
type followed struct {
	st   *batpak.Store
	seen uint64
}

// refreshModel returns how often readers looked, and how often they had to build everything anew.
func refreshModel(t *testing.T, mode batpak.SyncMode, fill int64, seed uint64) (looks int, builds uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 11))
	r := newRig(batpak.Options{Sync: mode, FillAhead: fill, NoSnapshot: rng.IntN(2) == 0, NoCheckpoint: rng.IntN(2) == 0})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	fs := vfs.Inject(r.mem, nil)
	var readers []*followed
	for i := range 150 {
		if err := refreshStep(r, rng); err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, i, err)
		}
		if rng.IntN(20) == 0 && len(readers) < 4 {
			readers = append(readers, &followed{st: readerOf(t, fs)})
		}
		for n, f := range readers {
			if rng.IntN(4) > 0 {
				continue
			}
			looks++
			if err := f.look(r, mode); err != nil {
				t.Fatalf("seed %d, step %d, reader %d: %v", seed, i, n, err)
			}
		}
	}
	for n, f := range readers {
		if err := f.look(r, mode); err != nil {
			t.Fatalf("seed %d, at the end, reader %d: %v", seed, n, err)
		}
		sameShown(t, f.st, r.st)
		builds += f.st.Builds()
		mustClose(t, f.st)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	return looks, builds
}

// refreshStep is one thing that a writer does.
func refreshStep(r *rig, rng *rand.Rand) error {
	switch rng.IntN(16) {
	case 0:
		r.settle()
	case 1:
		return r.st.Checkpoint(context.Background())
	case 2:
		if err := r.close(); err != nil {
			return err
		}
		return r.open()
	case 3:
		r.kill()
		return r.open()
	case 4, 5, 6:
		drafts := make([]batpak.Draft, 1+rng.IntN(6))
		for i := range drafts {
			drafts[i] = r.draft(streamB, rng.IntN(100))
		}
		_, err := r.batch(drafts)
		return err
	case 7:
		return r.flush()
	default:
		_, err := r.append(r.draft(streamA, rng.IntN(600)))
		return err
	}
	return nil
}

// look refreshes, and checks what is shown: a prefix of the history, never less than before, and everything that was
// durable, or in a relaxed store written, before the call.
func (f *followed) look(r *rig, mode batpak.SyncMode) error {
	if _, err := f.st.Refresh(context.Background()); err != nil {
		return err
	}
	got, err := collect(f.st, batpak.Query{})
	if err != nil {
		return err
	}
	c := claim{want: r.history()}
	c.least, c.most = len(c.want), len(c.want)
	if _, err := c.fits(got, -1); err != nil {
		return err
	}
	if uint64(len(got)) < f.seen {
		return fmt.Errorf("%d events, %d before", len(got), f.seen)
	}
	f.seen = uint64(len(got))
	s := f.st.Stats()
	if s.Events != f.seen || mode == batpak.SyncAlways && s.Durable != s.Visible || s.Durable > s.Visible {
		return fmt.Errorf("stats %+v of %d events", s, f.seen)
	}
	for _, i := range []int{0, len(got) / 2, len(got) - 1} {
		if i < 0 || i >= len(got) {
			continue
		}
		ev, err := f.st.Event(context.Background(), got[i].ID)
		if err != nil {
			return err
		}
		if err := sameEvent(&ev, &got[i]); err != nil {
			return err
		}
	}
	return nil
}

// TestRefreshEveryCallFails lets each call to the file system that a refresh makes fail once.
func TestRefreshEveryCallFails(t *testing.T) {
	everyCall := 1
	if racing {
		everyCall = 7
	}
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			for n := 1; ; n += everyCall {
				if refreshFails(t, mode, n) {
					t.Logf("%d calls", n-1)
					return
				}
			}
		})
	}
}

// refreshFails lets call n of some refreshes fail; done says that there is no such call.
func refreshFails(t *testing.T, mode batpak.SyncMode, n int) (done bool) {
	mem := vfs.NewMem()
	o := &batpak.Options{Sync: mode, SegmentSize: 4 << 10}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, o)
	defer mustClose(t, st)
	fillStore(t, st, 30)
	st.WaitIdle()
	calls, failed := 0, false
	armed := false
	var mu sync.Mutex
	r := readerOf(t, vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		mu.Lock()
		defer mu.Unlock()
		if !armed {
			return vfs.Decision{}
		}
		if calls++; calls == n {
			failed = true
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	}))
	defer func() {
		if err := r.Close(); err != nil && !errors.Is(err, syscall.EIO) { // it tells of a file that did not close before
			t.Error(err)
		}
	}()
	arm := func(on bool) { mu.Lock(); armed = on; mu.Unlock() }
	for _, more := range []int{5, 0, 60, 1, 150} {
		if more > 0 {
			fillStore(t, st, more)
		}
		if more != 60 {
			st.WaitIdle()
		}
		before, _ := collect(r, batpak.Query{})
		arm(true)
		_, err := r.Refresh(t.Context())
		arm(false)
		after, readErr := collect(r, batpak.Query{})
		if readErr != nil {
			t.Fatalf("call %d failed: %v; then the store cannot be read: %v", n, err, readErr)
		}
		if err != nil {
			if err := sameEvents(after, before); err != nil {
				t.Fatalf("call %d: after a failure the store shows something else: %v", n, err)
			}
			if !failed || !errors.Is(err, syscall.EIO) {
				t.Fatalf("call %d: %v", n, err)
			}
			refreshed(t, r)
		}
		sameShown(t, r, st)
	}
	return !failed
}

// TestReadOnlyOpenBesideRotations lets the writer rotate at every append, and append twice before each read of the
// reader.
func TestReadOnlyOpenBesideRotations(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			mem := vfs.NewMem()
			o := &batpak.Options{Sync: mode, SegmentSize: 4 << 10, FillAhead: 2 << 10}
			o.SetFS(mem)
			st := openAt(t, vfs.MemDir, o)
			defer mustClose(t, st)
			large := plain(string(make([]byte, 1500)))
			write := func() {
				for range 2 {
					if _, err := st.Append(t.Context(), large); err != nil {
						t.Error(err)
					}
					st.WaitSealed()
				}
			}
			write()
			each := int64(100)
			if racing {
				each = 30
			}
			var budget atomic.Int64 // each read meets new segments, which the next look reads in its turn
			fs := vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
				if c.Kind == vfs.OpRead && budget.Add(-1) >= 0 {
					write()
				}
				return vfs.Decision{}
			})
			for range 3 {
				least := st.Stats().LastSeq
				budget.Store(each)
				r := readerOf(t, fs)
				if got := r.Stats().Visible; got < least {
					t.Errorf("%d events, want at least %d", got, least)
				}
				for range 3 {
					least := st.Stats().LastSeq
					budget.Store(each)
					refreshed(t, r)
					if got := r.Stats().Visible; got < least {
						t.Errorf("after a refresh %d events, want at least %d", got, least)
					}
				}
				budget.Store(0)
				refreshed(t, r)
				sameShown(t, r, st)
				mustClose(t, r)
			}
		})
	}
}

func TestRefreshRolledBack(t *testing.T) {
	mem := vfs.NewMem()
	o := &batpak.Options{SegmentSize: 4 << 10}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, o)
	fillStore(t, st, 100)
	mustClose(t, st)
	backup := mem.Files()
	st = openAt(t, vfs.MemDir, o)
	r := readerOf(t, mem)
	defer mustClose(t, r)
	fillStore(t, st, 50)
	mustClose(t, st)
	refreshed(t, r)
	shown, err := collect(r, batpak.Query{})
	if err != nil || len(shown) != 150 {
		t.Fatal(len(shown), err)
	}
	restore := func() {
		for name := range mem.Files() {
			mem.DeleteFile(name)
		}
		for name, b := range backup {
			mem.SetFile(name, b)
		}
	}
	restore()
	var missing *coldstart.TailMissingError
	if _, err := r.Refresh(t.Context()); !errors.As(err, &missing) {
		t.Errorf("refresh of a directory that was rolled back: %v", err)
	}
	got, err := collect(r, batpak.Query{})
	if err == nil {
		err = sameEvents(got, shown)
	}
	if err != nil {
		t.Errorf("after that: %v", err)
	}
	st = openAt(t, vfs.MemDir, o)
	fillStore(t, st, 80) // past what was shown
	mustClose(t, st)
	var other *coldstart.HeadMismatchError
	if _, err := r.Refresh(t.Context()); !errors.As(err, &other) {
		t.Errorf("refresh of another history: %v", err)
	}
}
