package batpak_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

// A feast is a random history of writers, fences and consumers side by side, cut short by a kill, again and again.
type feast struct {
	rng *rand.Rand

	mu     sync.Mutex
	ate    map[string]map[uint64]bool // by diner: what was handled, or passed over
	left   *vfs.Mem                   // what a killed process leaves
	killIn int                        // handled events until then
}

// night runs one process on mem until everybody has finished, or was killed, and returns what it leaves.
func (f *feast) night(t *testing.T, mem *vfs.Mem, o batpak.Options) *vfs.Mem {
	synctest.Test(t, func(t *testing.T) {
		o.SetFS(mem)
		st := openAt(t, vfs.MemDir, &o)
		ctx, cancel := context.WithCancel(context.Background())
		var writers, diners sync.WaitGroup
		seeds := [5]uint64{f.rng.Uint64(), f.rng.Uint64(), f.rng.Uint64(), f.rng.Uint64(), f.rng.Uint64()}
		f.killIn = f.rng.IntN(60)
		for i := range 3 {
			writers.Go(func() { f.write(t, st, rand.New(rand.NewPCG(seeds[i], 0))) })
		}
		for i, name := range []string{"run", "react"} {
			diners.Go(func() { f.dine(t, ctx, st, name, mem, rand.New(rand.NewPCG(seeds[3+i], 0))) })
		}
		writers.Wait()
		<-time.After(time.Hour)
		cancel()
		diners.Wait()
		mustClose(t, st)
	})
	if f.left == nil {
		return mem
	}
	left := f.left
	f.left = nil
	return left
}

// write appends for a while, some of it through fences, some of it large.
func (f *feast) write(t *testing.T, st *batpak.Store, rng *rand.Rand) {
	ctx := context.Background()
	for range 12 {
		<-time.After(time.Duration(rng.IntN(50)) * time.Millisecond)
		d := batpak.Draft{Coordinate: source, Kind: kindOne, Payload: []byte(strings.Repeat("x", rng.IntN(3)*200))}
		var err error
		switch rng.IntN(6) {
		case 0:
			_, err = st.AppendBatch(ctx, []batpak.Draft{d, d, d})
		case 1, 2:
			fence := openFence(t, st)
			_, err = fence.Append(ctx, d)
			<-time.After(time.Duration(rng.IntN(100)) * time.Millisecond)
			if rng.IntN(2) == 0 {
				err = errors.Join(err, fence.Commit(ctx))
			} else {
				err = errors.Join(err, fence.Cancel(ctx))
			}
		case 3:
			d.Payload = []byte(poison)
			fallthrough
		default:
			_, err = st.Append(ctx, d)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// dine runs a consumer that is slow, fails and panics, and checks that events ascend.
func (f *feast) dine(t *testing.T, ctx context.Context, st *batpak.Store, name string, mem *vfs.Mem, rng *rand.Rand) {
	o := dinerOptions()
	o.SaveEvents, o.SaveEvery, o.Seed = 5, time.Second, rng.Uint64()
	o.MaxAttempts, o.Pause, o.MaxPause = 12, 10*time.Millisecond, 100*time.Millisecond
	c := consumer(t, st, name, o)
	last, done := uint64(0), false
	handle := func(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		if ev.Seq < last || ev.Seq == last && done {
			t.Errorf("%q: event %d after %d", name, ev.Seq, last)
		}
		last, done = ev.Seq, false
		switch n := rng.IntN(10); {
		case isPoison(&ev):
			if rng.IntN(2) == 0 {
				panic(poison)
			}
			return nil, errPoison
		case n == 0:
			panic("now and then")
		case n == 1:
			return nil, errors.New("not now")
		}
		if f.killIn--; f.killIn == 0 {
			f.left = mem.Clone()
		}
		done = true
		if f.left == nil {
			f.ate[name][ev.Seq] = true
		}
		return replies(&ev), nil
	}
	var err error
	if name == "run" {
		err = c.Run(ctx, func(ctx context.Context, ev event.Event) error { return second(handle(ctx, ev)) })
	} else {
		err = c.React(ctx, handle)
	}
	if err != context.Canceled {
		t.Errorf("%q ended with %v", name, err)
	}
}

// TestConsumerModel: after any number of kills, everything that is there was handled or is parked, in order, and has one
// answer.
func TestConsumerModel(t *testing.T) {
	t.Parallel()
	runs := sized(4, 12, 100)
	if racing {
		runs = 1
	}
	for run := range runs {
		s := seed(t) + uint64(run)
		f := &feast{rng: rand.New(rand.NewPCG(s, 0)), ate: map[string]map[uint64]bool{"run": {}, "react": {}}}
		o := batpak.Options{SegmentSize: smallSegment, FillAhead: -1}
		mem := vfs.NewMem()
		for range 4 {
			mem = f.night(t, mem, o)
		}
		f.killIn = 0
		o.SetFS(mem)
		synctest.Test(t, func(t *testing.T) { f.sums(t, openAt(t, vfs.MemDir, &o), mem) })
		if t.Failed() {
			t.Fatalf("seed %d", s)
		}
	}
}

// sums lets everybody finish and checks the whole history.
func (f *feast) sums(t *testing.T, st *batpak.Store, mem *vfs.Mem) {
	defer mustClose(t, st)
	ctx, cancel := context.WithCancel(context.Background())
	var diners sync.WaitGroup
	for _, name := range []string{"run", "react"} {
		diners.Go(func() { f.dine(t, ctx, st, name, mem, rand.New(rand.NewPCG(f.rng.Uint64(), 0))) })
		synctest.Wait()
	}
	<-time.After(time.Hour)
	cancel()
	diners.Wait()
	events, err := collect(st, batpak.Query{Entity: "src"})
	if err == nil {
		err = answeredOnce(st, events)
	}
	if err != nil {
		t.Error(err)
	}
	for _, name := range []string{"run", "react"} {
		parked, err := st.Parked(context.Background(), name)
		if err != nil {
			t.Error(err)
		}
		for i := range events {
			ev := &events[i]
			is := slices.ContainsFunc(parked, func(p batpak.Parked) bool { return p.Seq == ev.Seq })
			if is != isPoison(ev) || !is && !f.ate[name][ev.Seq] {
				t.Errorf("%q: event %d of %d handled: %v, parked: %v", name, ev.Seq, len(events), f.ate[name][ev.Seq], is)
			}
		}
	}
}
