package batpak_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"batpak"
	"batpak/internal/vfs"
)

// A sweep takes a workload's trace, lets the power fail behind each of its operations, and checks every state in which
// a disk may then be.
type sweep struct {
	w      workload
	beacon bool        // the lock file is in doubt, too; otherwise it always survives
	mode   vfs.MemMode // of the disk
	random int         // random states for each operation
	nested int         // every so many states the trace of their recovery is swept as well; 0 means none
	every  int         // one of so many states is checked; 0 means all
	seed   uint64
	limit  int // states to check at the most; 0 means all

	tally *tally
}

// A tally counts what sweeps have done. Safe for concurrent use.
type tally struct {
	workloads, ops, states, nested, refused, events atomic.Int64
}

func (t *tally) String() string {
	return fmt.Sprintf("%d workloads, %d operations, %d distinct states (%d of them nested in recovery), %d events checked, %d typed refusals",
		t.workloads.Load(), t.ops.Load(), t.states.Load(), t.nested.Load(), t.events.Load(), t.refused.Load())
}

func (s *sweep) options(name string) vfs.StateOptions {
	o := vfs.StateOptions{Workload: name, Seed: s.seed, Random: s.random, Seen: map[[sha256.Size]byte]bool{}}
	if !s.beacon {
		o.Settled = func(name string) bool { return name == ".lock" }
	}
	return o
}

// run runs the workload and hands the check of each state to check. An error of the check names the state.
func (s *sweep) run(check func(func() error) (goOn bool)) error {
	r, err := s.w.runOn(s.mode)
	if err != nil {
		return err
	}
	s.tally.workloads.Add(1)
	history := r.history()
	o := s.options(s.w.name)
	n := 0
	for ops := 0; ops <= r.mem.OpCount(); ops++ {
		s.tally.ops.Add(1)
		c := r.claimAt(history, ops)
		if s.mode&vfs.LyingSync != 0 {
			c.least, c.shown = 0, 0
		}
		for state := range r.mem.CrashStates(ops, o) {
			n++
			if s.limit > 0 && n > s.limit {
				return nil
			}
			if s.every > 0 && n%s.every > 0 {
				continue
			}
			deep := s.nested > 0 && n%s.nested == 0
			goOn := check(func() error {
				if err := s.check(state, c, deep); err != nil {
					return &stateError{state, err}
				}
				return nil
			})
			if !goOn {
				return nil
			}
		}
	}
	return nil
}

// runOn is run on a file system in a mode.
func (w *workload) runOn(mode vfs.MemMode) (*rig, error) {
	if mode == 0 {
		return w.run()
	}
	mw := *w
	mw.do = func(r *rig) error {
		r.mem.SetMode(mode)
		return w.do(r)
	}
	return mw.run()
}

// A stateError names a disk state that the store does not survive.
type stateError struct {
	state vfs.State
	err   error
}

func (e *stateError) Error() string { return fmt.Sprintf("state %s: %v", e.state.Name, e.err) }
func (e *stateError) Unwrap() error { return e.err }

// check lives on after one state; deep sweeps the recovery's own trace, too.
func (s *sweep) check(state vfs.State, c claim, deep bool) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	s.tally.states.Add(1)
	l := &life{opts: s.reopened(), mem: state.FS(), lied: s.mode&vfs.LyingSync != 0, compare: state.Hash()[0]%8 == 0}
	n, err := l.live(c)
	switch {
	case errors.Is(err, errRefused):
		s.tally.refused.Add(1)
		return nil
	case err != nil:
		return err
	}
	s.tally.events.Add(int64(n))
	if !deep {
		return nil
	}
	return s.recovery(state, l, c, n)
}

// reopened returns the options of the next process: those of the workload as a rig sets them.
func (s *sweep) reopened() batpak.Options { return newRig(s.w.opts).opts }

// recovery checks the states in which a power failure may leave the disk while it is recovered, and while the store goes
// on beside the work that recovery has left to the background. What the open showed, shown events, must not vanish any
// more once it has returned.
func (s *sweep) recovery(state vfs.State, l *life, c claim, shown int) error {
	o := s.options(state.Name + "~")
	o.Random = min(o.Random, 2)
	for ops := 1; ops <= l.mem.OpCount(); ops++ {
		nc := c
		nc.most = max(shown, c.least) // recovery never makes events
		if ops >= l.opened {
			nc = claimAt(l.told, 0, ops)
			nc.shown, nc.murky = max(nc.shown, c.shown), c.murky
		}
		if s.mode&vfs.LyingSync != 0 {
			nc.least, nc.shown = 0, 0
		}
		for inner := range l.mem.CrashStates(ops, o) {
			s.tally.nested.Add(1)
			if err := s.check(inner, nc, false); err != nil {
				return fmt.Errorf("nested state %s: %w", inner.Name, err)
			}
		}
	}
	return nil
}

// sweepAll runs sweeps on all cores and reports the first failure.
func sweepAll(t *testing.T, sweeps []sweep) {
	t.Helper()
	var tl tally
	started := time.Now()
	if err := runSweeps(sweeps, &tl); err != nil {
		t.Error(explain(t, err))
	}
	t.Logf("%v, in %v", &tl, time.Since(started).Round(time.Millisecond))
}

// runSweeps runs sweeps, checks their states on all cores, and returns the first failure.
func runSweeps(sweeps []sweep, tl *tally) error {
	g, ctx := errgroup.WithContext(context.Background())
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range sweeps {
		s := &sweeps[i]
		s.tally = tl
		err := s.run(func(check func() error) bool {
			g.Go(check)
			return ctx.Err() == nil
		})
		if err != nil {
			return errors.Join(g.Wait(), err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return g.Wait()
}

// explain says how to see a failing state again, and writes it out as a directory.
func explain(t *testing.T, err error) string {
	var se *stateError
	if !errors.As(err, &se) {
		return err.Error()
	}
	msg := fmt.Sprintf("%v\nagain: BATPAK_STATE='%s' go test -run '%s' .", err, se.state.Name, t.Name())
	dir := filepath.Join(t.ArtifactDir(), "state")
	if mkErr := os.MkdirAll(dir, 0o700); mkErr != nil {
		return msg
	}
	if wErr := se.state.WriteTo(dir); wErr != nil {
		return msg
	}
	return msg + "\nwritten to the test's artifact directory (go test -artifacts keeps it)"
}

// oneState checks the state that BATPAK_STATE names, if any, with the first sweep that knows it.
func oneState(t *testing.T, sweeps []sweep) bool {
	t.Helper()
	name := os.Getenv("BATPAK_STATE")
	if name == "" {
		return false
	}
	outer, _, _ := strings.Cut(name, "~")
	for _, s := range sweeps {
		if !strings.HasPrefix(name, s.w.name+"/") {
			continue
		}
		s.tally = new(tally)
		r, err := s.w.runOn(s.mode)
		if err != nil {
			t.Fatal(err)
		}
		state, ok := r.mem.CrashState(outer, s.options(s.w.name))
		if !ok {
			t.Fatalf("no state %s", outer)
		}
		var ops int
		if _, err := fmt.Sscanf(strings.TrimPrefix(outer, s.w.name+"/"), "%d/", &ops); err != nil {
			t.Fatal(err)
		}
		for _, op := range r.mem.Ops()[max(0, ops-40):ops] {
			t.Log(op)
		}
		c := r.claimAt(r.history(), ops)
		t.Logf("claim: %d to %d events", c.least, c.most)
		if err := s.check(state, c, true); err != nil {
			t.Error(&stateError{state, err})
		}
		return true
	}
	t.Skipf("NOT TESTED: no workload here has the state %s: another test has, or nothing was checked", name)
	return true
}

// seed returns the seed of the run, and says it.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := envInt(t, "BATPAK_SEED", 1)
	t.Logf("seed %d", n)
	return uint64(n)
}

// TestCrashStatesShort sweeps sequences of up to three calls: all of them at night, an even choice otherwise.
func TestCrashStatesShort(t *testing.T) {
	t.Parallel()
	all := shortWorkloads()
	share := envInt(t, "BATPAK_SHARE", thinned(12, 8, 1)) // one of so many sequences
	var sweeps []sweep
	for i, w := range all {
		if i%share == 0 || len(w.name) <= len("short-xy") && !racing || os.Getenv("BATPAK_STATE") != "" {
			sweeps = append(sweeps, sweep{w: w, seed: seed1, random: sized(2, 2, 8), nested: thinned(197, 97, 7)})
		}
	}
	if oneState(t, sweeps) {
		return
	}
	t.Logf("%d of %d sequences", len(sweeps), len(all))
	sweepAll(t, sweeps)
}

const seed1 = 1

// TestCrashStatesLong sweeps the long workloads.
func TestCrashStatesLong(t *testing.T) {
	t.Parallel()
	every := sized(4, 1, 1)
	var sweeps []sweep
	for _, w := range longWorkloads() {
		nested := thinned(396, 131, 11)
		if slices.Contains([]string{"W9-never", "W10-never", "W11-never", "W12-never"}, w.name) {
			nested *= sized(12, 8, 1) // recoveries with nothing synced: by far the most states, each with the longest trace
		}
		sweeps = append(sweeps, sweep{w: w, seed: seed(t), random: sized(2, 4, 64), limit: unlessRacing(0), nested: nested, every: every})
	}
	for _, beacon := range []workload{{"W4-beacon", batpak.Options{}, rotations}, {"W9-beacon", batpak.Options{}, crashes}} {
		sweeps = append(sweeps, sweep{w: beacon, beacon: true, seed: seed(t), random: sized(2, 4, 64), limit: unlessRacing(0), nested: thinned(396, 131, 11), every: every})
	}
	if oneState(t, sweeps) {
		return
	}
	sweepAll(t, sweeps)
}

// TestCrashStatesLyingSync sweeps on a disk that says it synced and did not: nothing is promised then, but what is left
// is a prefix, or a typed refusal.
func TestCrashStatesLyingSync(t *testing.T) {
	t.Parallel()
	var sweeps []sweep
	for _, w := range longWorkloads() {
		if strings.HasPrefix(w.name, "W1") || strings.HasPrefix(w.name, "W4") || strings.HasPrefix(w.name, "W9") {
			w.name += "-lying"
			sweeps = append(sweeps, sweep{w: w, mode: vfs.LyingSync, seed: seed(t), random: sized(4, 4, 64), limit: unlessRacing(sized(700, 1000, 0))})
		}
	}
	if oneState(t, sweeps) {
		return
	}
	sweepAll(t, sweeps)
}
