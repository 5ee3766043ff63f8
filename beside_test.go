package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

// filmed is a workload that has run.
type filmed struct {
	name    string
	sync    batpak.SyncMode
	ops     []vfs.Op
	history []told
	fenced  bool
	from    int // when there is a store
}

// least returns how many events a reader must show that begins when there are ops.
func (w *filmed) least(ops int) (n int) {
	for i := range w.history {
		if t := &w.history[i]; t.durable <= ops || t.acked > 0 && t.acked <= ops {
			n = i + 1
		}
	}
	return n
}

// most returns how many events there may be when there are ops.
func (w *filmed) most(ops int) (n int) {
	for i := range w.history {
		if t := &w.history[i]; t.begun < ops {
			n = i + 1
		}
	}
	return n
}

// shows checks what a reader shows that began when there were from ops.
func (w *filmed) shows(f *film, st *batpak.Store, from int) (int, error) {
	got, err := collect(st, batpak.Query{})
	if err != nil || w.fenced {
		return len(got), err
	}
	_, now := f.shown()
	c := claim{want: w.history, least: w.least(from), most: w.most(now), reader: true}
	return len(got), second(c.fits(got, -1))
}

// beside are what readers do.
var beside = []struct {
	name string
	do   func(w *filmed, f *film) error
}{
	{"verify", func(_ *filmed, f *film) error {
		r, err := batpak.Verify(context.Background(), vfs.MemDir, f.options())
		if err == nil && !r.Clean() {
			err = fmt.Errorf("%v", r)
		}
		return err
	}},
	{"open", func(w *filmed, f *film) error {
		from, _ := f.shown()
		st, err := batpak.Open(vfs.MemDir, f.options())
		if err != nil {
			return err
		}
		_, err = w.shows(f, st, from)
		return errors.Join(err, st.Close())
	}},
	{"refresh", followFilm},
	{"look around", func(_ *filmed, f *film) error {
		st, err := batpak.Open(vfs.MemDir, f.options())
		if err != nil {
			return err
		}
		return errors.Join(lookAround(st), st.Close())
	}},
}

// lookAround asks a store for what reading all of it does not ask for.
func lookAround(st *batpak.Store) error {
	ctx := context.Background()
	_, counted := st.Count(ctx, batpak.Query{EntityPrefix: "account:"})
	_, headed := st.Head(ctx, streamA.Entity(), 0)
	if errors.Is(headed, batpak.ErrNotFound) {
		headed = nil
	}
	infos, listed := st.Consumers(ctx)
	for _, info := range infos {
		listed = errors.Join(listed, info.Err)
	}
	p, folded := sumOf(st)
	if folded == nil {
		folded = p.View(func(*int, uint64) {})
	}
	return errors.Join(counted, headed, listed, folded)
}

// sumOf returns a projection that counts.
func sumOf(st *batpak.Store) (*batpak.Projection[int], error) {
	return batpak.NewProjection(st, batpak.ProjectionDef[int]{
		Name: "sum", Version: 1, Init: func() int { return 0 },
		Fold: func(s *int, _ event.Event) error { *s++; return nil },
	})
}

// busy is a workload that waits for nothing: what the background does it does when it comes to it.
func busy(r *rig) error {
	for i := range 60 {
		var err error
		switch i % 12 {
		case 3:
			err = second(r.batch([]batpak.Draft{r.full(streamB), r.draft(streamA, 100)}))
		case 5:
			err = r.checkpoint()
		case 7:
			err = consumeSome(r)
		case 9:
			var p *batpak.Projection[int]
			if p, err = sumOf(r.st); err == nil {
				err = p.Snapshot(context.Background())
			}
		case 11:
			if i == 35 { // once: the same again would make the first file again
				r.st.WaitSealed()
				if err = r.st.Rewrite(context.Background(), 1); err == nil {
					r.kill()
					err = r.open()
				}
			}
		case 10:
			if i%24 < 12 {
				err = r.close()
			} else {
				r.kill()
			}
			if err == nil {
				err = r.open()
			}
		default:
			err = second(r.append(r.draft(streamA, 90*(i%9))))
		}
		if err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// consumeSome has a consumer handle some events.
func consumeSome(r *rig) error {
	c, err := r.st.Consumer("some", batpak.ConsumerOptions{Query: batpak.Query{EntityPrefix: "account:"}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	n := 0
	err = c.Run(ctx, func(context.Context, event.Event) error {
		if n++; n == 5 {
			cancel()
		}
		return nil
	})
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// followFilm refreshes a reader until the film is over.
func followFilm(w *filmed, f *film) error {
	st, err := batpak.Open(vfs.MemDir, f.options())
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer st.Close()
	for seen, over := 0, false; !over; {
		from, _ := f.shown()
		over = from == len(f.ops)
		if _, err := st.Refresh(context.Background()); err != nil {
			return fmt.Errorf("refresh: %w", err)
		}
		n, err := w.shows(f, st, from)
		if err == nil && n < seen {
			err = fmt.Errorf("%d events, %d before", n, seen)
		}
		if err != nil {
			return fmt.Errorf("after a refresh: %w", err)
		}
		seen = n
	}
	return nil
}

// filmWorkload runs a workload.
func filmWorkload(t *testing.T, w *workload) *filmed {
	r, err := w.run()
	if err != nil {
		t.Fatal(err)
	}
	f := &filmed{name: w.name, sync: w.opts.Sync, ops: r.mem.Ops(), history: r.history()}
	for i := range f.history {
		f.fenced = f.fenced || f.history[i].fence != nil
	}
	f.from = f.history[0].begun
	return f
}

// TestReadersBesideEveryStep has readers look at stores while those do what they do, in orders that nobody waits for.
// What a reader sees may be any state in between, but never damage, and never less than was promised when it began.
func TestReadersBesideEveryStep(t *testing.T) {
	times := 60
	switch {
	case racing:
		times = 10
	case testing.Short():
		times = 20
	}
	wait := batpak.Options{FillAhead: 2 << 10, IndexEvery: 1}
	relaxed := wait
	relaxed.Sync = batpak.SyncNever
	for _, w := range append(longWorkloads(), workload{"busy", wait, busy}, workload{"busy-never", relaxed, busy}) {
		t.Run(w.name, func(t *testing.T) {
			f := filmWorkload(t, &w)
			for _, b := range beside {
				for seed := range uint64(times) {
					rng := rand.New(rand.NewPCG(seed, 2))
					from := f.from + rng.IntN(len(f.ops)-f.from)
					if err := b.do(f, newFilm(f.ops, from, seed)); err != nil {
						t.Errorf("%s, seed %d, from op %d of %d (%v): %v", b.name, seed, from, len(f.ops), &f.ops[from], err)
					}
				}
			}
		})
	}
}
