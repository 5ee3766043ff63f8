package batpak_test

import (
	"context"
	"errors"
	"fmt"

	"batpak"
	"batpak/coordinate"
)

// A fate is what callers know of a fence: whether its events must be shown, or may be.
type fate struct {
	first   uint64 // sequence that it staged first; 0 before
	begun   int    // length of the trace when its Commit began; never before
	acked   int    // when that returned; never before, and when its outcome is unknown
	durable int    // when its durability was promised
}

// openFate is the fate of a fence that nobody has committed, and of one that was lost.
func openFate() fate { return fate{begun: never, acked: never, durable: never} }

// lostFate is that of every fence that is known to be hidden.
var lostFate = openFate()

// shows reports whether the events of the fence must be shown, and whether they may be, when the trace has a length, plus 1,
// and readers had seen the events up to a sequence. 0 is the end of the trace: nothing but the process was lost.
func (f *fate) shows(ops int, visible uint64) (must, may bool) {
	if ops == 0 {
		return f.acked < never, f.begun < never
	}
	may = f.begun < ops-1
	return f.durable <= ops-1 || may && f.first > 0 && f.first <= visible, may
}

// A fencing is a fence of a rig.
type fencing struct {
	r *rig
	f *batpak.Fence
	*fate
	stop context.CancelFunc // ends its context
}

// fence opens a fence.
func (r *rig) fence() (*fencing, error) {
	ctx, stop := context.WithCancel(context.Background())
	f, err := r.st.Fence(ctx)
	if err != nil {
		stop()
		return nil, err
	}
	t := openFate()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fates = append(r.fates, &t)
	return &fencing{r, f, &t, stop}, nil
}

// append appends one draft through the fence and records the outcome.
func (f *fencing) append(d batpak.Draft) (batpak.Receipt, error) {
	begun := f.r.mem.OpCount()
	rcpt, err := f.f.Append(context.Background(), d)
	f.record([]batpak.Draft{d}, []batpak.Receipt{rcpt}, begun, err)
	return rcpt, f.r.forgive(err)
}

// batch appends a batch through the fence and records the outcome.
func (f *fencing) batch(drafts []batpak.Draft) ([]batpak.Receipt, error) {
	begun := f.r.mem.OpCount()
	rcpts, err := f.f.AppendBatch(context.Background(), drafts)
	f.record(drafts, rcpts, begun, err)
	return rcpts, f.r.forgive(err)
}

// record notes what the caller of an append through the fence was told.
func (f *fencing) record(drafts []batpak.Draft, receipts []batpak.Receipt, begun int, err error) {
	r := f.r
	if err != nil && mayLand(err) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.murky == nil {
			r.murky = map[streamName]bool{}
		}
		for i := range drafts { // what is there of it is hidden: a fence that met an unknown outcome cannot be committed
			r.murky[streamName{drafts[i].Coordinate.Entity(), drafts[i].Lane}] = true
		}
		r.judge(err)
		return
	}
	r.record(drafts, receipts, begun, err)
	if err != nil || receipts[0].Replayed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.told) - len(receipts); i < len(r.told); i++ {
		r.told[i].fence, r.told[i].number = f.fate, f.f.Number()
	}
	if f.first == 0 {
		f.first = receipts[0].Seq
	}
}

// commit commits the fence and records the outcome. A lenient workload tries twice.
func (f *fencing) commit() error { return f.r.twice(f.commitOnce) }

// cancel is commit for Cancel.
func (f *fencing) cancel() error { return f.r.twice(f.cancelOnce) }

// twice calls end, and once more after an error that is forgiven.
func (r *rig) twice(end func() error) error {
	err := end()
	if err != nil && r.forgive(err) == nil {
		err = end()
	}
	return r.forgive(err)
}

func (f *fencing) commitOnce() error {
	r := f.r
	r.mu.Lock()
	before := f.begun // of a Commit with an unknown outcome
	f.begun = min(f.begun, r.mem.OpCount())
	r.mu.Unlock()
	err := f.f.Commit(context.Background())
	ops := r.mem.OpCount()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judge(err)
	switch {
	case err == nil:
		if f.acked = ops; r.opts.Sync == batpak.SyncAlways {
			f.durable = ops
		}
	case !mayLand(err):
		f.begun = before // a failed write leaves no trace
	}
	return err
}

func (f *fencing) cancelOnce() error {
	err := f.f.Cancel(context.Background())
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.r.judge(err)
	return err
}

// resolveFates finds out, when the store was opened again, what became of commits whose outcome was unknown.
func (r *rig) resolveFates() error {
	for _, f := range r.fates {
		if f.begun == never || f.acked < never {
			continue
		}
		f.begun = never
		for i := range r.told {
			if r.told[i].fence != f {
				continue
			}
			_, err := r.st.EventAt(context.Background(), r.told[i].Seq)
			if err == nil {
				f.begun, f.acked, f.durable = 0, r.mem.OpCount(), r.mem.OpCount()
			} else if !errors.Is(err, batpak.ErrNotFound) {
				return err
			}
			break
		}
	}
	return nil
}

// settled returns what is known of told events when a store has shown which of them it shows.
func settled(want []told, shown []bool) []told {
	out := make([]told, len(want))
	for i := range want {
		if out[i] = want[i]; out[i].fence == nil {
			continue
		}
		if out[i].fence = &lostFate; shown[i] {
			out[i].fence = nil
		}
	}
	return out
}

// staged returns a draft for the stream of a fence, which is used by no other.
func (f *fencing) staged(size int) batpak.Draft {
	return f.r.draft(coordinate.MustNew(fmt.Sprintf("fence:%d", f.f.Number()), "eu"), size)
}

// fenceStream is one that fences share, and nobody else uses: after an append of unknown outcome nobody knows its clock.
var fenceStream = coordinate.MustNew("fence:all", "eu")

// fences is W11: the first fence of a store, and several that are open over a rotation, with batches and keys, and end in
// another order than they began.
func fences(r *rig) error {
	r.settle() // what Open leaves for later writes hidden ranges when there are some
	if _, err := r.append(r.draft(streamA, 0)); err != nil {
		return err
	}
	a, err := r.fence()
	if err != nil {
		return err
	}
	b, err := r.fence()
	if err != nil {
		return err
	}
	keyed := b.staged(0)
	keyed.IdempotencyKey = []byte("of a fence")
	for _, step := range []func() error{
		func() error { return second(a.append(a.staged(30))) },
		func() error { return second(b.append(keyed)) },
		func() error { return second(r.append(r.full(streamB))) },
		func() error {
			return second(a.batch([]batpak.Draft{a.staged(0), r.draft(fenceStream, 200), a.staged(0)}))
		},
		func() error { return second(r.append(r.draft(streamB, 1500))) },
		func() error { r.settle(); return nil },
		func() error { return second(b.batch([]batpak.Draft{b.staged(1400), r.draft(fenceStream, 0)})) },
		func() error { r.settle(); return nil },
		a.commit,
		func() error { return second(r.append(r.draft(streamA, 0))) },
		b.cancel,
		func() error { r.settle(); return nil },
		func() error { return second(r.append(keyed)) },
		func() error { return second(r.append(keyed)) },
		func() error { return r.fencedTwice(keyed) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return r.close()
}

// fencedTwice uses a key that is known through a fence, and another one through one fence after the other.
func (r *rig) fencedTwice(known batpak.Draft) error {
	for i := range 2 {
		f, err := r.fence()
		if err != nil {
			return err
		}
		d := r.draft(fenceStream, 0)
		d.Payload, d.IdempotencyKey = []byte("again and again"), []byte("through one after the other")
		if _, err := f.append(d); err != nil {
			return err
		}
		if _, err := f.append(known); err != nil {
			return err
		}
		if i == 0 {
			err = f.cancel()
		} else {
			err = f.commit()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newFencedSpecimen writes a small store with fences that were committed and cancelled, and one that is open at its end: a
// crash, or Close, hides what it has staged.
func newFencedSpecimen(name string, crashed bool) (*specimen, error) {
	r := newRig(batpak.Options{})
	if err := r.open(); err != nil {
		return nil, err
	}
	for i := range 2 {
		a, err1 := r.fence()
		b, err2 := r.fence()
		if err := errors.Join(
			err1, err2, second(r.append(r.draft(streamA, 40))), second(a.append(a.staged(0))),
			second(b.batch([]batpak.Draft{r.draft(fenceStream, 0), b.staged(0)})), second(a.append(r.draft(fenceStream, 600))),
			second(r.append(r.draft(streamB, 1400))), b.cancel(), a.commit(), second(r.append(r.full(streamA))),
		); err != nil {
			return nil, err
		}
		if r.settle(); i == 1 {
			break
		}
		if err := stepReopen(r); err != nil {
			return nil, err
		}
	}
	open, err := r.fence()
	if err := errors.Join(err, second(open.append(open.staged(10))), second(open.append(open.staged(20)))); err != nil {
		return nil, err
	}
	if crashed {
		r.kill()
	} else if err := r.close(); err != nil {
		return nil, err
	}
	s := &specimen{name: name, opts: r.opts, files: r.mem.Files()}
	for _, t := range r.history() {
		if t.fence == nil || t.fence.acked < never {
			s.told = append(s.told, t)
		}
	}
	return s, chained(r.history())
}

// fenceCrashes is W12: the process dies with open fences, twice in a row, and right after a commit; the store is closed with
// an open fence, and opened to one that was closed so.
func fenceCrashes(r *rig) error {
	r.settle()
	for i, end := range []func(*rig) error{stepKill, stepKill, stepReopen, stepKill} {
		f, err := r.fence()
		if err != nil {
			return err
		}
		g, err := r.fence()
		if err != nil {
			return err
		}
		for _, step := range []func() error{
			func() error { return second(r.append(r.draft(streamA, 0))) },
			func() error { return second(f.append(f.staged(100))) },
			func() error { return second(g.batch([]batpak.Draft{g.staged(0), g.staged(500)})) },
			func() error { return second(f.append(f.staged(0))) },
			func() error { return second(r.append(r.draft(streamB, 0))) },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		if i%2 == 1 {
			if err := g.commit(); err != nil {
				return err
			}
		}
		if i == 3 {
			if err := second(r.append(r.draft(streamA, 1600))); err != nil {
				return err
			}
			r.settle()
		}
		if err := end(r); err != nil {
			return err
		}
		if i == 0 {
			if err := stepKill(r); err != nil {
				return err
			}
		}
	}
	return nil
}
