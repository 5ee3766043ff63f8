//go:build faultinject

package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/fault"
	"batpak/internal/vfs"
)

// errFault is what the injector returns: a fault must come out as itself, and nothing else may fail.
var errFault = errors.New("a fault of the test")

// What a caller hears of a fault.
const (
	hearsNothing = "nothing"           // the store goes on; what failed costs time at a later open
	hearsOpen    = "Open fails"        // and the next Open succeeds
	hearsRefusal = "append not landed" // and the store goes on
	hearsPoison  = "writer poisoned"   // the outcome is unknown until the store is opened again
	hearsAtClose = "Close fails"       // everything acknowledged is durable all the same
)

// heardAt says for each point what its fault may do, as Append, Open and Close document it.
var heardAt = map[fault.Point][]string{
	fault.StoreLocked:    {hearsOpen},
	fault.MetaWritten:    {hearsOpen},
	fault.SegmentScanned: {hearsOpen},
	fault.TailCopied:     {hearsOpen},
	fault.TailSynced:     {hearsOpen},
	fault.SegmentCreated: {hearsOpen, hearsPoison}, // the new file may come back with a crash, and end the old one
	fault.GroupStamped:   {hearsRefusal},
	fault.GroupWritten:   {hearsPoison},
	fault.GroupSynced:    {hearsPoison, hearsAtClose}, // Close syncs, too
	fault.GroupPublished: {hearsNothing},
	fault.FooterWritten:  {hearsNothing},
	fault.SegmentSealed:  {hearsNothing},
	fault.SegmentRotated: {hearsOpen, hearsRefusal},
	fault.AnchorWritten:  {hearsNothing, hearsOpen, hearsAtClose},
	fault.StoreClosed:    {hearsAtClose},

	fault.HiddenWritten: {hearsNothing, hearsRefusal, hearsAtClose},
	fault.FencesMarked:  {hearsRefusal},

	// Caches: the next open does without.
	fault.BlockWritten:      {hearsNothing},
	fault.SnapshotWritten:   {hearsNothing},
	fault.CheckpointWritten: {hearsNothing},

	// Compactions: package coldstart meets these.
	fault.CompactionPrepared: nil, fault.KeysWritten: nil, fault.CompactionCommitted: nil, fault.CompactionPlaced: nil,
	fault.CompactionEnded: nil,
}

// A faultRun is a workload that goes on after a fault as an application would, and keeps what it heard.
type faultRun struct {
	*rig
	counter fault.Counter
	heard   string
}

// hear takes note of an error that comes from the fault, and returns any other one.
func (f *faultRun) hear(what string, err error) error {
	if err != nil && !errors.Is(err, errFault) {
		return err
	}
	if err != nil && f.heard != hearsPoison {
		f.heard = what
	}
	return nil
}

// start opens the store, once more if the fault was in the way.
func (f *faultRun) start() error {
	err := f.open()
	if err != nil {
		if err = f.hear(hearsOpen, err); err == nil {
			err = f.open()
		}
	}
	if err == nil {
		f.settle()
	}
	return err
}

// add appends; a poisoned store says so for ever, and still reads.
func (f *faultRun) add(size int) error {
	_, err := f.append(f.draft(streamA, size))
	if err == nil {
		_, err = f.batch([]batpak.Draft{f.full(streamB), f.draft(streamA, 0)})
	}
	return f.goesOn(err)
}

// fenced stages through a fence, appends behind it, and commits it; a fence that a fault keeps open is committed again.
func (f *faultRun) fenced() error {
	fence, err := f.fence()
	if err == nil {
		_, err = fence.append(fence.staged(0))
	}
	if err == nil {
		_, err = f.append(f.draft(streamA, 0))
	}
	if err == nil {
		if err = fence.commit(); errors.Is(err, batpak.ErrNotLanded) {
			f.hear(hearsRefusal, err)
			err = fence.commit()
		}
	}
	return f.goesOn(err)
}

// goesOn hears of err, and checks what the store shows.
func (f *faultRun) goesOn(err error) error {
	f.settle()
	switch {
	case errors.Is(err, batpak.ErrPoisoned):
		if f.st.Stats().Failed == nil {
			return fmt.Errorf("a healthy writer says: %w", err)
		}
		err = f.hear(hearsPoison, err)
	case errors.Is(err, batpak.ErrNotLanded):
		err = f.hear(hearsRefusal, err)
	}
	if err != nil {
		return err
	}
	c := claim{want: f.history(), most: len(f.told), least: len(f.told)}
	_, _, err = c.holds(f.st)
	return err
}

// stop closes the store; crash lets its process die.
func (f *faultRun) stop() error { return f.hear(hearsAtClose, f.close()) }

func (f *faultRun) crash() error { f.kill(); return nil }

// faultWorkloads meet every point at least once.
var faultWorkloads = []struct {
	name  string
	opts  batpak.Options
	steps func(f *faultRun) []func() error
}{
	{"close", batpak.Options{}, func(f *faultRun) []func() error {
		return []func() error{f.start, f.small, f.big, f.small, f.big, f.stop, f.start, f.small, f.stop}
	}},
	{"crash", batpak.Options{}, func(f *faultRun) []func() error {
		return []func() error{f.start, f.small, f.crash, f.start, f.big, f.big, f.crash, f.start, f.small, f.crash}
	}},
	{"index blocks", batpak.Options{IndexEvery: 1}, func(f *faultRun) []func() error {
		return []func() error{f.start, f.small, f.stop, f.start, f.small, f.crash, f.start, f.small, f.stop}
	}},
	{"fences", batpak.Options{}, func(f *faultRun) []func() error {
		return []func() error{f.start, f.small, f.fenced, f.big, f.big, f.fenced, f.stop, f.start, f.fenced, f.crash, f.start, f.fenced, f.stop}
	}},
	{"fence, close", batpak.Options{}, func(f *faultRun) []func() error {
		return []func() error{f.start, f.fenced, f.stop, f.start, f.fenced, f.stop}
	}},
	{"doubtful tail", batpak.Options{Sync: batpak.SyncNever}, func(f *faultRun) []func() error {
		return []func() error{f.start, f.small, f.crash, f.start, f.small, f.big, f.crash, f.start, f.big, f.stop}
	}},
}

func (f *faultRun) small() error { return f.add(0) }
func (f *faultRun) big() error   { return f.add(1700) }

// runFault runs a workload with an injector, kills it, and checks what an Open without the injector finds.
func runFault(opts batpak.Options, inject fault.Injector, steps func(*faultRun) []func() error) (*faultRun, error) {
	f := &faultRun{heard: hearsNothing}
	f.counter.Next = inject
	opts.InjectFaults(&f.counter)
	f.rig = newRig(opts)
	for i, step := range steps(f) {
		if err := step(); err != nil {
			f.kill()
			return f, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	f.kill()
	if len(f.failures) > 0 {
		return f, f.failures[0]
	}
	f.rig.opts.InjectFaults(nil)
	if opts.Sync == batpak.SyncAlways {
		for state := range f.mem.CrashStates(f.mem.OpCount(), vfs.StateOptions{Seed: 1, Random: 1, MaxTorn: 2, MaxEach: 4}) {
			if err := (&failing{}).survives(f.rig, state, f.mem.OpCount()); err != nil {
				return f, fmt.Errorf("state %s: %w", state.Name, err)
			}
		}
	}
	if err := f.open(); err != nil {
		return f, fmt.Errorf("open without the injector: %w", err)
	}
	f.settle()
	f.kill()
	h := f.history()
	l := &life{opts: f.rig.opts, mem: f.mem, compare: true}
	_, err := l.live(claim{want: h, least: len(h), most: len(h)})
	return f, err
}

// TestFaultPoints fails the first and the second arrival at every point in every workload: the store goes on or is
// poisoned as documented, and what was acknowledged is there without the injector. A point that no workload meets fails
// the test, and so does one that it knows nothing about.
func TestFaultPoints(t *testing.T) {
	heard := map[fault.Point]map[string]int{}
	for _, w := range faultWorkloads {
		healthy, err := runFault(w.opts, nil, w.steps)
		if err != nil || healthy.heard != hearsNothing {
			t.Fatalf("%s without a fault: %v, heard %q", w.name, err, healthy.heard)
		}
		for _, p := range fault.Points() {
			for n := 1; n <= min(2, healthy.counter.Count(p)); n++ {
				f, err := runFault(w.opts, fault.At(p, n, errFault), w.steps)
				if err != nil {
					t.Errorf("%s, %v, arrival %d: %v", w.name, p, n, err)
				}
				if heard[p] == nil {
					heard[p] = map[string]int{}
				}
				heard[p][f.heard]++
				if !slices.Contains(heardAt[p], f.heard) {
					t.Errorf("%s, %v, arrival %d: the caller hears %q, want one of %q", w.name, p, n, f.heard, heardAt[p])
				}
			}
		}
	}
	for _, p := range fault.Points() {
		if allowed, known := heardAt[p]; known && allowed == nil {
			continue
		}
		if len(heard[p]) == 0 {
			t.Errorf("no workload reaches %v", p)
		}
		for _, want := range heardAt[p] {
			if heard[p][want] == 0 {
				t.Errorf("%v: no workload hears %q", p, want)
			}
		}
		t.Logf("%-14v %v", p, heard[p])
	}
}

// TestFaultsForEver lets every arrival at a point fail: nothing that was acknowledged is lost, and the store opens again
// without the injector.
func TestFaultsForEver(t *testing.T) {
	for _, p := range fault.Points() {
		for _, w := range faultWorkloads {
			opts := w.opts
			opts.InjectFaults(fault.Always(p, errFault))
			r := newRig(opts)
			for range 3 {
				if err := r.open(); err != nil {
					if !errors.Is(err, errFault) {
						t.Errorf("%v: open: %v", p, err)
					}
					continue
				}
				for _, size := range []int{0, 1700, 1700} {
					if _, err := r.append(r.draft(streamA, size)); err != nil && !errors.Is(err, errFault) {
						t.Errorf("%v: append: %v", p, err)
					}
				}
				r.settle()
				r.kill()
			}
			r.opts.InjectFaults(nil)
			if err := r.open(); err != nil {
				t.Errorf("%v, %s: open without the injector: %v", p, w.name, err)
				continue
			}
			h := r.history()
			c := claim{want: h, least: len(h), most: len(h)}
			if _, _, err := c.holds(r.st); err != nil {
				t.Errorf("%v, %s: %v", p, w.name, err)
			}
			r.kill()
		}
	}
}

// TestInjectFaultsInDirectory uses the injector as an application's test would: on a directory, by exported names only.
func TestInjectFaultsInDirectory(t *testing.T) {
	dir, ctx, lost := t.TempDir(), t.Context(), errors.New("the cable was pulled")
	opts := new(batpak.Options)
	opts.InjectFaults(fault.At(fault.GroupWritten, 3, lost))
	st, err := batpak.Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	draft := batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed}
	for n := 1; n <= 5; n++ {
		switch _, err := st.Append(ctx, draft); {
		case n < 3 && err != nil:
			t.Errorf("append %d: %v", n, err)
		case n >= 3 && (!errors.Is(err, batpak.ErrPoisoned) || !errors.Is(err, lost)):
			t.Errorf("append %d: %v, want %v because %v", n, err, batpak.ErrPoisoned, lost)
		}
	}
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 2 {
		t.Errorf("the poisoned store reads %d events, %v, want 2", len(got), err)
	}
	if err := st.Close(); !errors.Is(err, lost) {
		t.Errorf("Close = %v, want %v", err, lost)
	}
	if st, err = batpak.Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	// The third one was with the operating system, and this process lives: it is there, and durable now.
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 3 {
		t.Errorf("opened again: %d events, %v, want 3", len(got), err)
	}
	if _, err := st.Append(ctx, draft); err != nil {
		t.Errorf("opened again: append: %v", err)
	}
}

func ExampleOptions_InjectFaults() {
	dir, remove := tempDir()
	defer remove()

	opts := new(batpak.Options)
	opts.InjectFaults(fault.At(fault.GroupWritten, 3, errors.New("power failure")))
	st, err := batpak.Open(dir, opts)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	order := coordinate.MustNew("order:1042", "eu")
	for range 3 {
		_, err := st.Append(context.Background(), batpak.Draft{Coordinate: order, Kind: placed})
		fmt.Println(errors.Is(err, batpak.ErrPoisoned), strings.HasSuffix(fmt.Sprint(err), "power failure"))
	}
	// Output:
	// false false
	// false false
	// true true
}
