package coldstart

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync/atomic"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// compactionStates choose the crash states of a compaction.
func compactionStates(name string) vfs.StateOptions {
	return vfs.StateOptions{
		Workload: name, Seed: 11, Random: 4, MaxTorn: 6, MaxEach: 16, Seen: map[[sha256.Size]byte]bool{},
	}
}

// TestCrashInsideCompaction crashes after each operation of a compaction, from its begin to its end.
func TestCrashInsideCompaction(t *testing.T) {
	for i := range reworks {
		states, why := crashCompaction(t, &reworks[i])
		if why != "" {
			t.Errorf("%s: %s", reworks[i].name, why)
		}
		t.Logf("%s: %d states", reworks[i].name, states)
	}
}

func crashCompaction(t testing.TB, w *rework) (states int, why string) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	from := m.OpCount()
	if _, err := w.run(s, stepFinished); err != nil {
		return 0, err.Error()
	}
	want := maps.Clone(s.events)
	s.crash()
	o := compactionStates(w.name)
	for ops := from; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, o) {
			states++
			if why := resolves(t, state.FS(), want); why != "" {
				return states, state.Name + ": " + why
			}
		}
	}
	return states, ""
}

// TestCrashInsideResolve crashes the open that follows a crash of a compaction, after each operation of it.
func TestCrashInsideResolve(t *testing.T) {
	for i := range reworks {
		states, why := crashResolve(t, &reworks[i], sample(8))
		if why != "" {
			t.Errorf("%s: %s", reworks[i].name, why)
		}
		t.Logf("%s: %d states", reworks[i].name, states)
	}
}

// crashResolve tries one outer state of every.
func crashResolve(t testing.TB, w *rework, every int) (states int, why string) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	from := m.OpCount()
	if _, err := w.run(s, stepFinished); err != nil {
		return 0, err.Error()
	}
	want := maps.Clone(s.events)
	s.crash()
	outer, inner := compactionStates(w.name), compactionStates("resolve")
	outer.MaxTorn, outer.Random, inner.MaxTorn = 1, 2, 3
	for ops := from; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, outer) {
			if sum := state.Hash(); int(sum[0])%every > 0 {
				continue
			}
			n, why := crashAgain(state, want, inner)
			if states += n; why != "" {
				return states, why
			}
		}
	}
	return states, ""
}

// crashAgain opens one state and crashes inside that.
func crashAgain(outer vfs.State, want model, o vfs.StateOptions) (states int, why string) {
	m := outer.FS()
	if got, _, err := reopen(m, false); err != nil || !maps.Equal(got, want) {
		return 0, fmt.Sprintf("%s: %d events, want %d, %v", outer.Name, len(got), len(want), err)
	}
	for ops := 0; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, o) {
			states++
			again := state.FS()
			got, report, err := reopen(again, false)
			if err != nil || !maps.Equal(got, want) {
				return states, fmt.Sprintf("%s, %s: %d events, want %d, %v\n%v", outer.Name, state.Name, len(got), len(want), err, report)
			}
			if why := unresolved(again); why != "" {
				return states, fmt.Sprintf("%s, %s: %s", outer.Name, state.Name, why)
			}
		}
	}
	return states, ""
}

// failuresOfCalls are how one call may end.
var failuresOfCalls = map[string]vfs.Decision{
	"EIO":             {Err: syscall.EIO},
	"ENOSPC, half":    vfs.FullDisk,
	"EIO, but it did": {Err: syscall.EIO, Apply: true},
}

// TestResolveFails fails each call of an open that resolves a compaction. The next open, without a reboot, finishes it,
// and what that has shown survives a power loss.
func TestResolveFails(t *testing.T) {
	for i := range reworks {
		for step := stepPrepared; step <= stepPlaced; step++ {
			for name, d := range failuresOfCalls {
				states := 0
				for n := 1; ; n++ {
					m, want := reworks[i].stopped(t, step)
					faulty := vfs.Inject(m, vfs.FailAt(n, d))
					leaked, err := openFailing(faulty, false)
					if faulty.Count() < n {
						t.Logf("%s, step %d, %s: %d calls, %d states", reworks[i].name, step, name, n-1, states)
						break
					}
					if err != nil && !errors.Is(err, d.Err) {
						t.Errorf("%s, step %d, call %d, %s: Open = %v", reworks[i].name, step, n, name, err)
					}
					if leaked > 12 || leaked < 0 {
						t.Errorf("%s, step %d, call %d, %s: %d files stay open", reworks[i].name, step, n, name, leaked)
					}
					more, why := powerLoss(m, want, n%sample(3) == 0)
					if states += more; why != "" {
						t.Fatalf("%s, step %d, call %d, %s: %s", reworks[i].name, step, n, name, why)
					}
				}
			}
		}
	}
}

// powerLoss opens m as it stands, finishes what is to be finished, and, to try it, pulls the plug.
func powerLoss(m *vfs.Mem, want model, try bool) (states int, why string) {
	got, report, err := reopen(m, false)
	if err != nil || !maps.Equal(got, want) {
		return 0, fmt.Sprintf("opened again: %d events, want %d, %v\n%v", len(got), len(want), err, report)
	}
	if why := unresolved(m); why != "" || !try {
		return 0, why
	}
	for state := range m.CrashStates(m.OpCount(), vfs.StateOptions{Workload: "power", Seed: 5, Random: 1, MaxTorn: 1, MaxEach: 4}) {
		states++
		again := state.FS()
		got, report, err := reopen(again, false)
		if err != nil || !maps.Equal(got, want) {
			return states, fmt.Sprintf("%s: %d events, want %d, %v\n%v", state.Name, len(got), len(want), err, report)
		}
		if why := unresolved(again); why != "" {
			return states, state.Name + ": " + why
		}
	}
	return states, ""
}

// TestReplaceFails fails each call of a compaction, gives it up if that can be, and opens again without a reboot.
func TestReplaceFails(t *testing.T) {
	for i := range reworks {
		for name, d := range failuresOfCalls {
			states, undone := 0, 0
			for n := 1; ; n++ {
				m := vfs.NewMem()
				var calls, at atomic.Int64
				faulty := vfs.Inject(m, func(vfs.Call) vfs.Decision {
					if at.Load() > 0 && calls.Add(1) == at.Load() {
						return d
					}
					return vfs.Decision{}
				})
				s := fourSegments(t, faulty)
				files := reworks[i].files(s)
				at.Store(int64(n))
				abandoned, err := compactOrAbandon(s, &reworks[i], files)
				at.Store(0)
				if calls.Load() < int64(n) {
					t.Logf("%s, %s: %d calls, %d undone, %d states", reworks[i].name, name, n-1, undone, states)
					break
				}
				if err != nil && !errors.Is(err, d.Err) && !errors.Is(err, ErrPending) {
					t.Errorf("%s, %s, call %d: %v", reworks[i].name, name, n, err)
				}
				if abandoned {
					undone++
				}
				s.crash()
				more, why := powerLoss(m, s.events, n%sample(2) == 0)
				if states += more; why != "" {
					t.Fatalf("%s, %s, call %d (%v): %s", reworks[i].name, name, n, err, why)
				}
			}
		}
	}
}

// compactOrAbandon is what a compaction's owner does.
func compactOrAbandon(s *testStore, w *rework, files map[uint64][]byte) (abandoned bool, err error) {
	ctx := context.Background()
	r, err := s.st.PrepareReplacement(ctx, 7, w.sources)
	if err != nil {
		return false, err
	}
	if err = w.write(r, files); err == nil {
		err = r.Commit(ctx)
	}
	if err != nil {
		return r.Abandon() == nil, err
	}
	if err := r.Place(ctx); err != nil {
		return false, err
	}
	return false, r.Finish()
}

// TestReadBesideCompaction opens read-only, and verifies, before each call of a compaction, and of a resolving open.
func TestReadBesideCompaction(t *testing.T) {
	for i := range reworks {
		m := vfs.NewMem()
		reads := 0
		var want model
		look := func(c vfs.Call) vfs.Decision {
			if want == nil || c.Kind == vfs.OpRead {
				return vfs.Decision{}
			}
			reads++
			if got, report, err := reopen(m, true); err != nil || !maps.Equal(got, want) {
				t.Errorf("%s, before %v %s: %d events, want %d, %v\n%v", reworks[i].name, c.Kind, c.Name, len(got), len(want), err, report)
			}
			if report, err := Verify(context.Background(), VerifyConfig{FS: m, Dir: vfs.MemDir}); err != nil || !report.Clean() {
				t.Errorf("%s, before %v %s: %v, %v", reworks[i].name, c.Kind, c.Name, report, err)
			}
			return vfs.Decision{}
		}
		s := fourSegments(t, vfs.Inject(m, look))
		want = s.events
		if _, err := reworks[i].run(s, stepFinished); err != nil {
			t.Fatal(err)
		}
		want = nil
		s.crash()
		for step := stepPrepared; step <= stepPlaced; step++ {
			var all model
			if m, all = reworks[i].stopped(t, step); true {
				want = all
			}
			if _, _, err := reopen(vfs.Inject(m, look), false); err != nil {
				t.Fatal(err)
			}
			want = nil
		}
		t.Logf("%s: %d looks", reworks[i].name, reads)
	}
}

// TestCompactionBesideReader carries a compaction on, to one step or another, before each call of a read-only open.
func TestCompactionBesideReader(t *testing.T) {
	for i := range reworks {
		tried := 0
		for from := 0; from <= stepPlaced; from++ {
			for to := from + 1; to <= stepFinished; to++ {
				for n := 1; ; n++ {
					calls, why := besideReader(t, &reworks[i], from, to, n)
					if why != "" {
						t.Fatalf("%s, from step %d to %d before call %d: %s", reworks[i].name, from, to, n, why)
					}
					if tried++; calls < n {
						break
					}
				}
			}
		}
		t.Logf("%s: %d opens", reworks[i].name, tried)
	}
}

// besideReader opens read-only where w has come to a step; before the nth call w goes on to another one.
func besideReader(t testing.TB, w *rework, from, to, n int) (calls int, why string) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	ctx, files := context.Background(), w.files(s)
	var r *Replacement
	steps := []func() error{
		func() (err error) { r, err = s.st.PrepareReplacement(ctx, 7, w.sources); return err },
		func() error { return w.write(r, files) },
		func() error { return r.Commit(ctx) },
		func() error { return r.Place(ctx) },
		func() error { return r.Finish() },
	}
	take := func(steps []func() error) {
		for _, step := range steps {
			if err := step(); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	take(steps[:from])
	faulty := vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if c.Index == n {
			take(steps[from:to])
		}
		return vfs.Decision{}
	})
	got, report, err := reopen(faulty, true)
	if err != nil || !maps.Equal(got, s.events) {
		return 0, fmt.Sprintf("%d events, want %d, %v\n%v", len(got), len(s.events), err, report)
	}
	s.crash()
	return faulty.Count(), ""
}
