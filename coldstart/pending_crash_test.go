package coldstart

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"sync"
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
			if states++; states%sample(1) > 0 {
				continue
			}
			m, sum := state.FS(), state.Hash()
			why := resolves(m, want)
			if why == "" && int(sum[0])%sample(4) == 0 {
				why = goesOn(t, m, want)
			}
			if why != "" {
				return states, state.Name + ": " + why
			}
		}
	}
	return states, ""
}

// TestCrashInsideResolve crashes the open that follows a crash of a compaction, after each operation of it.
func TestCrashInsideResolve(t *testing.T) {
	for i := range reworks {
		states, why := crashResolve(t, &reworks[i], sample(16))
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

// A failingDisk fails one call, and remembers which kind it was.
type failingDisk struct {
	mu    sync.Mutex // an open reads several segments at once
	nth   int        // 0 for none
	how   vfs.Decision
	calls int
	kind  vfs.OpKind // of the call that failed
}

func (d *failingDisk) before(c vfs.Call) vfs.Decision {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.nth == 0 {
		return vfs.Decision{}
	}
	if d.calls++; d.calls != d.nth {
		return vfs.Decision{}
	}
	d.kind = c.Kind
	return d.how
}

// TestResolveFails fails each call of an open that resolves a compaction. The next open, without a reboot, finishes it,
// and what that has shown survives a power loss.
func TestResolveFails(t *testing.T) {
	for i := range reworks {
		for step := stepPrepared; step <= stepPlaced; step++ {
			for name, how := range failuresOfCalls {
				calls, states, why := resolveFails(t, &reworks[i], step, how)
				if why != "" {
					t.Errorf("%s, step %d, %s: %s", reworks[i].name, step, name, why)
				}
				t.Logf("%s, step %d, %s: %d calls, %d states", reworks[i].name, step, name, calls, states)
			}
		}
	}
}

func resolveFails(t testing.TB, w *rework, step int, how vfs.Decision) (calls, states int, why string) {
	m, _ := w.stopped(t, step)
	absent, err := openFailing(vfs.Inject(m, nil), false)
	if err != nil {
		return 0, 0, err.Error()
	}
	for n := 1; ; n += sample(1) {
		m, want := w.stopped(t, step)
		disk := &failingDisk{nth: n, how: how}
		leaked, err := openFailing(vfs.Inject(m, disk.before), false)
		if disk.calls < n {
			return n - 1, states, ""
		}
		if err != nil && !errors.Is(err, how.Err) || leaked > absent+1 || leaked < 0 {
			return n, states, fmt.Sprintf("call %d: Open = %v, %d files stay open", n, err, leaked)
		}
		more, why := powerLoss(m, want, disk.kind, n)
		if states += more; why != "" {
			return n, states, fmt.Sprintf("call %d, %v (%v): %s", n, disk.kind, err, why)
		}
	}
}

// powerLoss opens m as it stands behind a call that failed, finishes what is to be finished, and pulls the plug: at the
// end, and, behind a failed sync, which leaves on the disk what nobody can see, after each operation.
func powerLoss(m *vfs.Mem, want model, failed vfs.OpKind, n int) (states int, why string) {
	from := m.OpCount()
	got, report, err := reopen(m, false)
	if err != nil || !maps.Equal(got, want) {
		return 0, fmt.Sprintf("opened again: %d events, want %d, %v\n%v", len(got), len(want), err, report)
	}
	if why := unresolved(m); why != "" {
		return 0, why
	}
	if failed != vfs.OpSync && failed != vfs.OpDirSync {
		if n%sample(3) > 0 {
			return 0, ""
		}
		from = m.OpCount()
	}
	o := vfs.StateOptions{
		Workload: "power", Seed: 5, Random: 2, MaxTorn: 1, MaxEach: 4, Seen: map[[sha256.Size]byte]bool{},
		Settled: func(name string) bool { return name == lockName },
	}
	for ops := from; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, o) {
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
	}
	return states, ""
}

// TestReplaceFails fails each call of a compaction, gives it up if that can be, and opens again without a reboot.
func TestReplaceFails(t *testing.T) {
	for i := range reworks {
		for name, how := range failuresOfCalls {
			calls, undone, states, why := replaceFails(t, &reworks[i], how)
			if why != "" {
				t.Errorf("%s, %s: %s", reworks[i].name, name, why)
			}
			t.Logf("%s, %s: %d calls, %d undone, %d states", reworks[i].name, name, calls, undone, states)
		}
	}
}

func replaceFails(t testing.TB, w *rework, how vfs.Decision) (calls, undone, states int, why string) {
	for n := 1; ; n += sample(1) {
		m, disk := vfs.NewMem(), &failingDisk{how: how}
		s := fourSegments(t, vfs.Inject(m, disk.before))
		files := w.files(s)
		disk.nth = n
		abandoned, err := compactOrAbandon(s, w, files)
		disk.nth = 0
		if disk.calls < n {
			return n - 1, undone, states, ""
		}
		if err != nil && !errors.Is(err, how.Err) && !errors.Is(err, ErrPending) {
			return n, undone, states, fmt.Sprintf("call %d: %v", n, err)
		}
		if abandoned {
			undone++
		}
		s.crash()
		more, why := powerLoss(m, s.events, disk.kind, n)
		if states += more; why != "" {
			return n, undone, states, fmt.Sprintf("call %d, %v (%v): %s", n, disk.kind, err, why)
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
