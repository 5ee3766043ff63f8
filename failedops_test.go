package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"batpak"
	"batpak/internal/vfs"
)

// The failures that each call to the file system is made to have.
var failures = []struct {
	name string
	d    vfs.Decision
}{
	{"EIO", vfs.Decision{Err: syscall.EIO}},
	{"ENOSPC", vfs.Decision{Err: syscall.ENOSPC}},
	{"short", vfs.FullDisk},
	{"EINTR", vfs.Decision{Err: syscall.EINTR}},
	{"EMFILE", vfs.Decision{Err: syscall.EMFILE}},
	{"EROFS", vfs.Decision{Err: syscall.EROFS}},
	{"late", vfs.Decision{Err: syscall.EIO, Apply: true}},
}

// A failing is one run of a workload in which calls fail.
type failing struct {
	w     workload
	name  string
	d     vfs.Decision
	n     int  // first call that fails
	ever  bool // all later ones fail, too
	power bool // afterwards the power fails; otherwise the process dies and the cache stays
}

func (f *failing) String() string {
	until := "once"
	if f.ever {
		until = "ever"
	}
	after := "kill"
	if f.power {
		after = "power"
	}
	return fmt.Sprintf("%s/%d/%s/%s/%s", f.w.name, f.n, f.name, until, after)
}

// failingWorkloads are the workloads of which every call is made to fail.
func failingWorkloads() []workload {
	return []workload{
		{"W1", batpak.Options{}, singles},
		{"W1-fill", batpak.Options{FillAhead: 2 << 10}, singles},
		{"W2", batpak.Options{SegmentSize: 64 << 10}, smallGroups},
		{"W2-joined", batpak.Options{}, joinedGroups},
		{"W3", batpak.Options{SegmentSize: 32 << 10}, batches},
		{"W4", batpak.Options{}, rotations},
		{"W4-fill", batpak.Options{FillAhead: 2 << 10}, rotations},
		{"W9", batpak.Options{}, crashes},
		{"W10", batpak.Options{IndexEvery: 1}, checkpoints},
		{"W11", batpak.Options{}, fences},
		{"W12", batpak.Options{}, fenceCrashes},
	}
}

// smallGroups is W2 with fewer groups.
func smallGroups(r *rig) error {
	for range 2 {
		requests := [][]batpak.Draft{
			{r.draft(streamA, 0)}, {r.draft(streamA, 0)}, {r.draft(streamA, 0), r.draft(streamB, 0)}, {r.draft(streamB, 0)},
		}
		if err := r.group(requests); err != nil {
			return err
		}
	}
	return nil
}

// callsOf returns how many calls to the file system a workload makes when none fails.
func callsOf(w *workload) (int, error) {
	r := newRig(w.opts)
	var total atomic.Int64
	r.intercept = func(vfs.Call) vfs.Decision { total.Add(1); return vfs.Decision{} }
	if err := r.open(); err != nil {
		return 0, err
	}
	if err := w.do(r); err != nil {
		return 0, err
	}
	if r.st != nil {
		r.settle()
		if err := r.close(); err != nil {
			return 0, err
		}
	}
	return int(total.Load()), nil
}

// run lets the workload fail, checks what its callers were told while it lives, and then what a healthy file system
// holds of it.
func (f *failing) run() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	r := newRig(f.w.opts)
	r.mem.SetMode(vfs.Ext4Rewrite)
	r.lenient = f.d.Err
	var calls atomic.Int64
	var healthy atomic.Bool
	r.intercept = func(vfs.Call) vfs.Decision {
		if n := int(calls.Add(1)); healthy.Load() || n < f.n || n > f.n && !f.ever {
			return vfs.Decision{}
		}
		return f.d
	}
	err = r.open()
	if err != nil && r.forgive(err) == nil && !f.ever {
		err = r.open() // once is over
	}
	if err == nil {
		err = f.w.do(r)
	}
	if err = r.forgive(err); err != nil {
		return err
	}
	if r.st != nil {
		healthy.Store(!f.ever)
		if err := f.goOn(r); err != nil {
			return err
		}
	}
	r.kill()
	healthy.Store(true)
	if len(r.failures) > 0 {
		return r.failures[0]
	}
	if f.power {
		return f.afterPowerCut(r)
	}
	return f.afterKill(r)
}

// goOn checks the store that has seen failures: reads go on; appends go on when the failure is over, unless one of
// them has left an unknown outcome.
func (f *failing) goOn(r *rig) error {
	if f.ever {
		return nil
	}
	r.settle()
	_, err := r.append(r.draft(streamA, 0))
	_ = err // forgiven or not, the rig knows
	d := r.draft(streamB, 0)
	begun := r.mem.OpCount()
	rcpt, err := r.st.Append(context.Background(), d)
	r.record([]batpak.Draft{d}, []batpak.Receipt{rcpt}, begun, err)
	if err != nil && !errors.Is(err, batpak.ErrPoisoned) {
		return fmt.Errorf("append when the failure is over: %w", err)
	}
	if _, err := r.st.Append(context.Background(), d); r.poison != nil && !errors.Is(err, batpak.ErrPoisoned) {
		return fmt.Errorf("append to a poisoned store: %w", err)
	} else if err == nil {
		return r.repeated(d)
	}
	got, err := collect(r.st, batpak.Query{})
	if err != nil {
		return fmt.Errorf("read when the failure is over: %w", err)
	}
	c := claim{want: r.history(), least: len(r.told), most: len(r.told)}
	for _, fate := range r.fates {
		c.reader = c.reader || fate.acked == never // it may be open still
	}
	if c.reader {
		c.least = 0
	}
	return second(c.fits(got, len(c.want)))
}

// repeated takes an append that was made once more into the record.
func (r *rig) repeated(d batpak.Draft) error {
	got, err := collect(r.st, batpak.Query{Reverse: true, Limit: 1})
	if err != nil {
		return err
	}
	ev := got[0]
	rcpt := batpak.Receipt{ID: ev.ID, Seq: ev.Seq, Clock: ev.Clock, HLC: ev.HLC, Hash: ev.Hash}
	t := tell([]batpak.Draft{d}, []batpak.Receipt{rcpt})[0]
	t.begun, t.acked, t.durable = 0, r.mem.OpCount(), r.mem.OpCount()
	r.told = append(r.told, t)
	return nil
}

// afterKill opens the store again with the cache as it is.
func (f *failing) afterKill(r *rig) error {
	if err := r.open(); err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	r.settle()
	r.kill() // and once more: what was shown stays
	l := &life{opts: r.opts, mem: r.mem, compare: true}
	h := r.history()
	_, err := l.live(claim{want: h, least: len(h), most: len(h), murky: r.murky})
	return err
}

// afterPowerCut opens some of the states that a power failure leaves.
func (f *failing) afterPowerCut(r *rig) error {
	ops := r.mem.OpCount()
	o := vfs.StateOptions{
		Workload: f.String(), Seed: 1, Random: 1, MaxTorn: 1, MaxEach: 2,
		Settled: func(name string) bool { return name == ".lock" },
	}
	for state := range r.mem.CrashStates(ops, o) {
		if err := f.survives(r, state, ops); err != nil {
			return fmt.Errorf("state %s: %w", state.Name, err)
		}
	}
	return nil
}

// survives checks one state.
func (f *failing) survives(r *rig, state vfs.State, ops int) error {
	l := &life{opts: r.opts, mem: state.FS()}
	st, err := l.open()
	if err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	got, err := collect(st, batpak.Query{})
	if err = errors.Join(err, st.Close()); err != nil {
		return err
	}
	landed, _, err := sortOut(got, r.unknown)
	if err != nil {
		return err
	}
	after := &rig{told: append(r.history(), landed...), murky: r.murky}
	_, err = l.live(after.claimAt(after.history(), ops))
	return err
}

// TestFailedOps lets every call to the file system fail, in six ways and late, once and for ever.
func TestFailedOps(t *testing.T) {
	t.Parallel()
	stride := envInt(t, "BATPAK_STRIDE", thinned(23, 5, 1))
	only := os.Getenv("BATPAK_STATE") // one run, by the name that a failure prints
	started, runs, calls := time.Now(), atomic.Int64{}, 0
	var wrong findings
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, w := range failingWorkloads() {
		n, err := callsOf(&w)
		if err != nil {
			t.Fatal(err)
		}
		calls += n
		number := 0
		for at := 1; at <= n; at++ {
			for _, fail := range failures {
				for _, ever := range []bool{false, true} {
					for _, power := range []bool{false, true} {
						f := failing{w: w, name: fail.name, d: fail.d, n: at, ever: ever, power: power}
						if number++; only == "" && number%stride != 0 || only != "" && f.String() != only {
							continue
						}
						g.Go(func() error {
							runs.Add(1)
							if err := f.run(); err != nil {
								wrong.add(fmt.Errorf("%v: %w", &f, err))
							}
							return nil
						})
					}
				}
			}
		}
	}
	_ = g.Wait()
	wrong.report(t)
	t.Logf("%d calls of %d workloads, %d failures × once and for ever × kill and power cut: %d runs in %v",
		calls, len(failingWorkloads()), len(failures), runs.Load(), time.Since(started).Round(time.Millisecond))
}
