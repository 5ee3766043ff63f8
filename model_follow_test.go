package batpak_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// TestFollowModel has followers with random queries read beside writers, in the writers' process and in another one,
// while fences open and end, segments rotate, processes die and the power fails. They pause, break off and resume where
// they were. What each of them has got in the end, put together, is what a naive filter leaves of the final log.
func TestFollowModel(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			first := seed(t)
			for i := range sized(6, 15, 400) {
				if t.Failed() {
					break
				}
				followModel(t, mode, first+uint64(i))
			}
		})
	}
}

// A followWorld is a store, its writers, and those who follow.
type followWorld struct {
	mode batpak.SyncMode
	rng  *rand.Rand
	mem  *vfs.Mem
	all  []*modelFollower

	mu  sync.Mutex
	ids []event.ID // that were appended, to cause others

	findings
}

// A modelFollower follows, whatever happens, and keeps what it gets.
type modelFollower struct {
	q        batpak.Query
	readOnly bool
	rng      *rand.Rand
	got      []event.Event
	resumed  int
}

func followModel(t *testing.T, mode batpak.SyncMode, seed uint64) {
	t.Helper()
	w := &followWorld{mode: mode, rng: rand.New(rand.NewPCG(seed, 21)), mem: vfs.NewMem()}
	for i := range 8 {
		rng := rand.New(rand.NewPCG(seed, uint64(100+i)))
		w.all = append(w.all, &modelFollower{q: randomFollow(rng), readOnly: i >= 6, rng: rng})
	}
	for round := range 4 {
		if err := w.round(t, round); err != nil {
			t.Fatalf("seed %d, round %d: %v", seed, round, err)
		}
	}
	w.finish(t)
	w.report(t)
	if t.Failed() {
		t.Logf("seed %d", seed)
	}
}

// options returns the options of a store over a file system.
func (w *followWorld) options(fs vfs.FS, readOnly bool) *batpak.Options {
	o := &batpak.Options{
		Sync: w.mode, SegmentSize: smallSegment, FillAhead: -1, ReadOnly: readOnly, FollowEvery: time.Millisecond,
		MaxPending: 1 << 16,
	}
	o.SetFS(fs)
	return o
}

// round opens the store, lets everybody work, and ends it in one of several ways.
func (w *followWorld) round(t *testing.T, round int) error {
	dead := new(atomic.Bool)
	st, err := batpak.Open(vfs.MemDir, w.options(vfs.Inject(w.mem, func(vfs.Call) vfs.Decision {
		if dead.Load() {
			return vfs.Decision{Err: syscall.EINTR}
		}
		return vfs.Decision{}
	}), false))
	if err != nil {
		return err
	}
	reader, err := batpak.Open(vfs.MemDir, w.options(w.mem, true))
	if err != nil {
		return errors.Join(err, st.Close())
	}
	var following sync.WaitGroup
	for _, f := range w.all {
		following.Go(func() {
			if f.readOnly {
				w.add2(f.follow(reader, 0))
			} else {
				w.add2(f.follow(st, 0))
			}
		})
	}
	var writing sync.WaitGroup
	for i := range 3 {
		rng := rand.New(rand.NewPCG(w.rng.Uint64(), uint64(i)))
		writing.Go(func() { w.write(st, rng, 25) })
	}
	ending := w.rng.IntN(3) // Close, the death of the process, and a power failure
	if ending > 0 && w.rng.IntN(2) == 0 {
		ctx, cancel := context.WithCancel(context.Background())
		go func() { writing.Wait(); cancel() }()
		_ = st.WaitVisible(ctx, st.Visible()+uint64(w.rng.IntN(60)))
		cancel()
		dead.Store(true) // in the middle of it
	}
	writing.Wait()
	dead.Store(ending > 0)
	err = st.Close()
	if ending == 0 && err != nil {
		return fmt.Errorf("close: %w", err)
	}
	w.add2(reader.Close())
	following.Wait()
	if ending == 2 && w.mode == batpak.SyncAlways {
		w.mem = w.powerFailure()
	}
	return nil
}

// add2 keeps an error, if it is one.
func (w *followWorld) add2(err error) {
	if err != nil {
		w.add(err)
	}
}

// powerFailure returns what a disk may hold now.
func (w *followWorld) powerFailure() *vfs.Mem {
	o := vfs.StateOptions{Workload: "follow", Seed: w.rng.Uint64(), Random: 3, MaxTorn: 3, MaxEach: 8}
	states := slices.Collect(w.mem.CrashStates(w.mem.OpCount(), o))
	return states[w.rng.IntN(len(states))].FS()
}

// write appends n times, in every way that there is.
func (w *followWorld) write(st *batpak.Store, rng *rand.Rand, n int) {
	ctx := context.Background()
	for range n {
		var err error
		switch rng.IntN(8) {
		case 0:
			_, err = st.AppendBatch(ctx, []batpak.Draft{w.draft(rng), w.draft(rng), w.draft(rng)})
		case 1, 2:
			err = w.fence(st, rng)
		default:
			var rcpt batpak.Receipt
			if rcpt, err = st.Append(ctx, w.draft(rng)); err == nil {
				w.mu.Lock()
				w.ids = append(w.ids, rcpt.ID)
				w.mu.Unlock()
			}
		}
		if err != nil {
			if !errors.Is(err, batpak.ErrPoisoned) && !errors.Is(err, batpak.ErrNotLanded) && !errors.Is(err, syscall.EINTR) {
				w.add(fmt.Errorf("append: %w", err))
			}
			return
		}
		for range rng.IntN(4) {
			runtime.Gosched()
		}
	}
}

// fence stages events and commits them, cancels them, or leaves the fence open for whatever comes.
func (w *followWorld) fence(st *batpak.Store, rng *rand.Rand) error {
	f, err := st.Fence(context.Background())
	if err != nil {
		return err
	}
	for range 1 + rng.IntN(3) {
		if _, err := f.Append(context.Background(), w.draft(rng)); err != nil {
			return err
		}
		for range rng.IntN(20) {
			runtime.Gosched()
		}
	}
	switch rng.IntN(12) {
	case 0: // Close, or death, cancels it
		return nil
	case 1, 2, 3, 4:
		return f.Cancel(context.Background())
	}
	return f.Commit(context.Background())
}

// Names that few share.
func followEntity(rng *rand.Rand) string {
	return [...]string{"order:", "order:eu:", "cart:"}[rng.IntN(3)] + string(rune('a'+rng.IntN(4)))
}
func followScope(rng *rand.Rand) string { return [...]string{"eu", "us"}[rng.IntN(2)] }
func followTag(rng *rand.Rand) string   { return [...]string{"late", "big", "new"}[rng.IntN(3)] }
func followKind(rng *rand.Rand) event.Kind {
	return event.MustKind(1+rng.IntN(2), 1+rng.IntN(2))
}

// draft returns a draft with some of the names.
func (w *followWorld) draft(rng *rand.Rand) batpak.Draft {
	d := batpak.Draft{
		Coordinate: coordinate.MustNew(followEntity(rng), followScope(rng)), Kind: followKind(rng),
		Payload: make([]byte, rng.IntN(200)),
	}
	for rng.IntN(3) == 0 && len(d.Tags) < 2 {
		d.Tags = append(d.Tags, followTag(rng))
	}
	if rng.IntN(3) == 0 {
		d.Correlation = followGroup(rng)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.ids) > 0 && rng.IntN(3) == 0 {
		d.Causation = w.ids[rng.IntN(len(w.ids))]
	}
	return d
}

func followGroup(rng *rand.Rand) event.ID { return event.NewID(1<<20, uint64(1+rng.IntN(3))) }

// randomFollow returns a query with up to three of its fields.
func randomFollow(rng *rand.Rand) (q batpak.Query) {
	for range rng.IntN(4) {
		switch rng.IntN(9) {
		case 0:
			q.Entity = followEntity(rng)
		case 1:
			q.EntityPrefix = [...]string{"o", "order:", "order:eu:", "cart:a", "none"}[rng.IntN(5)]
		case 2:
			q.Scope = followScope(rng)
		case 3:
			q.Kinds = []event.Kind{followKind(rng), followKind(rng)}
		case 4:
			q.Tags = append(q.Tags, followTag(rng))
		case 5:
			q.Correlation = followGroup(rng)
		case 6:
			q.Categories = []int{1 + rng.IntN(2)}
		case 7:
			q.Entities = []string{followEntity(rng), followEntity(rng)}
		default:
			q.EntityPrefixes = []string{"cart:", "order:eu:" + string(rune('a'+rng.IntN(4)))}
		}
	}
	q.Borrow = rng.IntN(2) == 0
	return q
}

// follow follows st until it ends, or, unless last is zero, up to that sequence. It breaks off now and then.
func (f *modelFollower) follow(st *batpak.Store, last uint64) error {
	for {
		q := f.q
		if n := len(f.got); n > 0 {
			q.After = f.got[n-1].Seq
		}
		if f.rng.IntN(3) == 0 {
			q.Limit = 1 + f.rng.IntN(5)
		}
		if last > 0 {
			q.Before = last + 1
		}
		ended, err := f.once(st, q)
		switch {
		case errors.Is(err, batpak.ErrClosed), errors.Is(err, batpak.ErrPoisoned), errors.Is(err, syscall.EINTR):
			return nil
		case err != nil:
			return fmt.Errorf("follow %+v: %w", q, err)
		case ended && last > 0:
			return nil
		case ended:
			return fmt.Errorf("follow %+v: ended", q)
		}
		f.resumed++
	}
}

// once follows once. ended is whether nobody but Follow ended it.
func (f *modelFollower) once(st *batpak.Store, q batpak.Query) (ended bool, err error) {
	n := 0
	for ev, err := range st.Follow(context.Background(), q) {
		if err != nil {
			return false, err
		}
		f.got = append(f.got, event.Event{Seq: ev.Seq, ID: ev.ID, Hash: ev.Hash})
		n++
		for range f.rng.IntN(30) {
			runtime.Gosched()
		}
		if f.rng.IntN(10) == 0 {
			return false, nil
		}
	}
	return q.Limit == 0 || n < q.Limit, nil
}

// finish opens the store once more, lets everybody come to the end of the log and compares.
func (w *followWorld) finish(t *testing.T) {
	t.Helper()
	st, err := batpak.Open(vfs.MemDir, w.options(w.mem, false))
	if err != nil {
		t.Fatal(err)
	}
	defer mustClose(t, st)
	log, err := collect(st, batpak.Query{System: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range w.all {
		if err := f.follow(st, max(1, st.Visible())); err != nil {
			t.Error(err)
			continue
		}
		var want []event.Event
		for j := range log {
			if matches(&f.q, &log[j]) {
				want = append(want, log[j])
			}
		}
		sameID := func(a, b event.Event) bool { return cmp.Compare(a.Seq, b.Seq) == 0 && a.ID == b.ID && a.Hash == b.Hash }
		if !slices.EqualFunc(f.got, want, sameID) {
			t.Errorf("follower %d, %+v, resumed %d times: got %d events, want %d", i, f.q, f.resumed, len(f.got), len(want))
			for j := range max(len(f.got), len(want)) {
				if j >= len(f.got) || j >= len(want) || !sameID(f.got[j], want[j]) {
					t.Errorf("first difference at place %d", j)
					break
				}
			}
		}
	}
}
