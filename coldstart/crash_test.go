package coldstart

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"syscall"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// A history is a workload that was run once on a Mem, with what had to be there after each op.
type history struct {
	fs    *vfs.Mem
	steps []step
	all   model // every event ever written
	// batches are the batches written: first and last sequence.
	batches [][2]uint64
}

// A step says what must survive a crash after the first ops ops.
type step struct {
	ops     int
	durable model
}

// note records what must survive from now on.
func (h *history) note(s *testStore) {
	maps.Copy(h.all, s.events)
	h.steps = append(h.steps, step{h.fs.OpCount(), maps.Clone(s.durable)})
}

func (h *history) batch(s *testStore, n, size int) {
	first := s.seq + 1
	s.write(s.group(n, true, size))
	h.batches = append(h.batches, [2]uint64{first, s.seq})
}

// at returns what must be there after a crash at an op.
func (h *history) at(ops int) model {
	var m model
	for _, s := range h.steps {
		if s.ops <= ops {
			m = s.durable
		}
	}
	return m
}

// check says what is wrong with what an open after a crash has found, or "".
func (h *history) check(got model, ops int) string {
	if why := got.contains(h.at(ops)); why != "" {
		return why
	}
	if why := got.prefixOf(h.all); why != "" {
		return why
	}
	for _, b := range h.batches {
		_, first := got[b[0]]
		_, last := got[b[1]]
		if first != last {
			return fmt.Sprintf("batch %d–%d is there in part", b[0], b[1])
		}
	}
	return ""
}

// workload runs appends, batches, a rotation with its seal, and a clean close.
func workload(t testing.TB, relaxed bool) *history {
	h := &history{fs: vfs.NewMem(), all: model{}}
	cfg := testConfig(h.fs)
	cfg.Relaxed = relaxed
	s := openTest(t, cfg)
	h.note(s)
	s.append(1)
	h.note(s)
	h.batch(s, 3, 300)
	h.note(s)
	s.sync()
	h.note(s)
	s.write(s.group(2, false, 16))
	s.write(s.group(1, false, 600))
	h.note(s)
	s.sync()
	h.note(s)
	u := s.rotate()
	s.append(1)
	h.note(s)
	s.seal(u)
	s.append(2)
	h.note(s)
	h.batch(s, 2, 16)
	h.note(s)
	s.close()
	h.note(s)
	s = openTest(t, cfg)
	s.append(1)
	h.note(s)
	s.crash()
	h.note(s)
	return h
}

var crashOptions = vfs.StateOptions{Workload: "coldstart", Seed: 7, Random: 4}

// TestCrashAnywhere opens the store in every state that a crash after any op may leave, goes on with it, and closes it.
func TestCrashAnywhere(t *testing.T) {
	for _, relaxed := range []bool{false, true} {
		t.Run(fmt.Sprintf("relaxed=%v", relaxed), func(t *testing.T) {
			t.Parallel()
			h := workload(t, relaxed)
			verdicts, why := crashAnywhere(t, h, sample(3))
			if why != "" {
				t.Error(why)
			}
			t.Logf("%d ops, verdicts %v", h.fs.OpCount(), verdicts)
		})
	}
}

// crashAnywhere tries one state of every, and returns how often each verdict was given.
func crashAnywhere(t testing.TB, h *history, every int) (verdicts map[string]int, why string) {
	o := crashOptions
	o.Seen, verdicts = map[[sha256.Size]byte]bool{}, map[string]int{}
	for ops := 0; ops <= h.fs.OpCount(); ops++ {
		for state := range h.fs.CrashStates(ops, o) {
			if sum := state.Hash(); int(sum[0])%every > 0 {
				continue
			}
			label, why := h.survive(t, state, ops)
			if verdicts[label]++; why != "" {
				return verdicts, fmt.Sprintf("%s (%s): %s", state.Name, label, why)
			}
		}
	}
	return verdicts, ""
}

// survive opens one state, checks it, appends, closes cleanly, opens again, and says what is wrong, or "".
func (h *history) survive(t testing.TB, state vfs.State, ops int) (label, why string) {
	fsys := state.FS()
	seen, _, err := reopen(fsys, true)
	if err != nil && ops > h.steps[0].ops {
		return "", fmt.Sprintf("read-only Open = %v", err)
	}
	got, report, err := reopen(fsys, false)
	if err != nil {
		return "", fmt.Sprintf("Open = %v", err)
	}
	if why := h.check(got, ops); why != "" {
		return report.Verdict, why
	}
	if why := got.contains(seen); why != "" {
		return report.Verdict, "a reader saw more: " + why
	}
	again, second, err := reopen(fsys, false)
	if err != nil || !maps.Equal(got, again) {
		return report.Verdict, fmt.Sprintf("opened again: %d events, want %d, %v", len(again), len(got), err)
	}
	s := openTest(t, testConfig(fsys))
	s.append(2)
	want := maps.Clone(s.events)
	for _, u := range s.st.Pending {
		s.seal(u)
	}
	s.close()
	last, third, err := reopen(fsys, false)
	if err != nil || !maps.Equal(last, want) {
		return report.Verdict, fmt.Sprintf("after appends: %d events, want %d, %v\n%v\n%v\n%v", len(last), len(want), err, report, second, third)
	}
	return report.Verdict, ""
}

// TestCrashInsideOpen crashes the Open that follows a crash, at every op of it, and opens again: what the first one
// would have shown, had it come to its end, may be there or not, but nothing that was durable is lost, and once it has
// shown it, it stays.
func TestCrashInsideOpen(t *testing.T) {
	for _, relaxed := range []bool{false, true} {
		t.Run(fmt.Sprintf("relaxed=%v", relaxed), func(t *testing.T) {
			t.Parallel()
			states, why := crashInsideOpen(workload(t, relaxed), sample(6))
			if why != "" {
				t.Error(why)
			}
			t.Logf("%d states", states)
		})
	}
}

// crashInsideOpen tries one state of every.
func crashInsideOpen(h *history, every int) (states int, why string) {
	outer := crashOptions
	outer.Seen, outer.MaxTorn, outer.MaxEach = map[[sha256.Size]byte]bool{}, 4, 4
	inner := vfs.StateOptions{
		Workload: "open", Seed: 8, Random: 2, MaxTorn: 4, MaxEach: 8, Seen: map[[sha256.Size]byte]bool{},
	}
	for ops := 1; ops <= h.fs.OpCount(); ops++ {
		for state := range h.fs.CrashStates(ops, outer) {
			if sum := state.Hash(); int(sum[0])%every > 0 {
				continue
			}
			n, why := h.crashOpen(state, ops, inner)
			if states += n; why != "" {
				return states, why
			}
		}
	}
	return states, ""
}

// crashOpen opens one state and crashes inside that. It returns how many states it tried, and what is wrong, or "".
func (h *history) crashOpen(state vfs.State, ops int, o vfs.StateOptions) (states int, why string) {
	fsys := state.FS()
	shown, _, err := reopen(fsys, false)
	if err != nil {
		return 0, fmt.Sprintf("%s: Open = %v", state.Name, err)
	}
	end := fsys.OpCount()
	for at := 0; at <= end; at++ {
		for nested := range fsys.CrashStates(at, o) {
			states++
			got, report, err := reopen(nested.FS(), false)
			if err != nil {
				return states, fmt.Sprintf("%s, %s: Open = %v", state.Name, nested.Name, err)
			}
			why := h.check(got, ops)
			if at == end && why == "" {
				why = got.contains(shown)
			}
			if why != "" {
				return states, fmt.Sprintf("%s, %s (%s): %s", state.Name, nested.Name, report.Verdict, why)
			}
		}
	}
	return states, ""
}

// TestFailedSync lets a sync fail, so that the page cache holds what the disk does not, opens again without a reboot,
// and only then pulls the plug: what the second open has shown must be there.
func TestFailedSync(t *testing.T) {
	for _, mode := range []vfs.MemMode{0, vfs.Ext4Rewrite} {
		states, why := failedSync(t, mode)
		if why != "" {
			t.Error(why)
		}
		t.Logf("mode %d: %d states", mode, states)
	}
}

func failedSync(t testing.TB, mode vfs.MemMode) (states int, why string) {
	mem := vfs.NewMem()
	mem.SetMode(mode)
	fail := false
	fsys := vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		if fail && c.Kind == vfs.OpSync {
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	s := openTest(t, testConfig(fsys))
	s.append(2)
	s.write(s.group(2, false, 16))
	s.write(s.group(3, true, 16))
	fail = true
	if err := s.st.Writer.Sync(); !errors.Is(err, syscall.EIO) {
		return 0, fmt.Sprintf("Sync = %v", err)
	}
	fail = false
	s.crash()

	s = openTest(t, testConfig(mem))
	if len(s.events) != 7 {
		return 0, fmt.Sprintf("%d events, %v", len(s.events), s.st.Report)
	}
	s.append(1)
	for state := range mem.CrashStates(mem.OpCount(), crashOptions) {
		states++
		got, _, err := reopen(state.FS(), false)
		if err != nil {
			return states, fmt.Sprintf("%s: Open = %v", state.Name, err)
		}
		if why := got.contains(s.durable); why != "" {
			return states, state.Name + ": " + why
		}
	}
	s.crash()
	return states, ""
}

// TestDoubtfulFramesAreVerified has sound frames in doubt that do not continue their chain: nothing has ever vouched for
// them, and no crash leaves them.
func TestDoubtfulFramesAreVerified(t *testing.T) {
	fsys := vfs.NewMem()
	s, _ := threeSegments(t, fsys)
	head := s.heads["e0"]
	head.Hash[0] ^= 1
	s.heads["e0"] = head
	s.write(s.group(1, false, 16))
	s.crash()
	fsys.SetFile("anchor.tmp", nil)
	fsys.SetFile(segment.Name(4), nil)
	before := withoutLock(fsys.Files())
	_, _, err := reopen(fsys, false)
	if e := (*CorruptError)(nil); !errors.As(err, &e) || e.FirstSeq != s.seq || e.Segment != 3 {
		t.Errorf("Open = %v, want *CorruptError for event %d", err, s.seq)
	}
	if !sameFiles(before, withoutLock(fsys.Files())) {
		t.Error("the refusal changed the directory")
	}
}

// TestManyCrashesInARow crashes with something in doubt, again and again.
func TestManyCrashesInARow(t *testing.T) {
	fsys := vfs.NewMem()
	all := model{}
	for i := range 12 {
		s := openTest(t, testConfig(fsys))
		if why := s.events.contains(all); why != "" {
			t.Fatalf("round %d: %s", i, why)
		}
		s.write(s.group(1+i%3, i%2 == 0, 16)) // never synced
		if i%4 == 3 {
			s.append(1)
		}
		all = maps.Clone(s.events)
		s.crash()
	}
	got, report, err := reopen(fsys, false)
	if err != nil || !maps.Equal(got, all) {
		t.Fatalf("%d events, want %d, %v\n%v", len(got), len(all), err, report)
	}
	n := len(names(fsys.Files()))
	for range 3 {
		if _, _, err := reopen(fsys, false); err != nil {
			t.Fatal(err)
		}
	}
	if now := len(names(fsys.Files())); now != n {
		t.Errorf("opening alone added files: %d, then %d", n, now)
	}
}

// TestSequencesAreNotReused loses what a relaxed writer had shown.
func TestSequencesAreNotReused(t *testing.T) {
	if why := sequencesReused(t); why != "" {
		t.Error(why)
	}
}

func sequencesReused(t testing.TB) string {
	fsys := vfs.NewMem()
	cfg := testConfig(fsys)
	cfg.Relaxed = true
	s := openTest(t, cfg)
	s.append(2)
	at := fsys.OpCount()
	s.write(s.group(40, false, 16))
	shown := s.seq
	s.crash()
	for state := range fsys.CrashStates(at, crashOptions) {
		again := state.FS()
		cfg.FS = again
		s := openTest(t, cfg)
		if s.st.NextSeq <= shown || s.st.LastSeq != 2 || s.st.Report.SkippedSeqs == 0 {
			return fmt.Sprintf("%s: next sequence %d after %d was shown\n%v", state.Name, s.st.NextSeq, shown, s.st.Report)
		}
		s.append(3)
		first := s.seq - 2
		s.close()
		got, report, err := reopen(again, false)
		if err != nil || len(got) != 5 || report.SkippedSeqs != 0 || got[first].IsZero() {
			return fmt.Sprintf("%s: %d events, %v\n%v", state.Name, len(got), err, report)
		}
	}
	return ""
}
