package batpak_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

// writeWeaknesses says for each weakness of the older system's write path which tests our design passes and its design would
// fail. Those that concern an open are in weaknesses_test.go.
var writeWeaknesses = [...]weakness{
	1:  {"frame bloat", "TestPlainFrameOverhead TestAllocationsPerEvent"},
	2:  {"the chain is not a chain", "TestBodyHash TestEveryBitIsHashed TestVerifyEveryBit"},
	3:  {"acknowledged before durable", "TestI1_AcknowledgedIsThereAfterAnyCrash TestI3_NothingVisibleCanVanish"},
	4:  {"condition before key", "TestWeaknessW04_KeyBeforeCondition"},
	5:  {"expectation 0 is ambiguous", "TestWeaknessW05_AbsentIsNotOne"},
	6:  {"groups do not share syncs, and need keys", "TestStrictestSyncOfAGroupWins TestWeaknessW06_GroupSharesItsSync"},
	7:  {"encoding and waiting under one lock", "TestReadersDoNotWaitForTheWriter TestSubmitRefuses"},
	8:  {"everything in memory", "TestActiveAddAllocatesNoObjectPerEvent TestFindAllocatesNothing"},
	9:  {"failed writes are not taken back", "TestFailedWriteIsCutBack TestFailedWriteReachesTheWholeGroup TestFailedOps"},
	10: {"sync errors are swallowed", "TestFailedSyncPoisons TestWeaknessW10_FailedSyncInTheBackground"},
	11: {"fences show what was not committed", "TestFenceOfADeadProcess TestFenceAndKeys TestCrashStatesLong TestLinearizable"},
	12: {"keys are not bound to requests", "TestKeyConflicts TestWeaknessW12_KeysAreAKindOfTheirOwn"},
	13: {"keys get lost in compaction", "TestReadIdempEveryDamage TestWeaknessW13_DamagedKeysAreRefused TestI7_KnownKeyNeverWritesTwice"},
	14: {"waiting for durability asks for no sync; a retry fails", "TestFrontier TestWaitsForLaterEvents TestWeaknessW14_RetryBehindAnEvictedEvent"},
	15: {"receipts", "TestWeaknessW15_Receipts"},
	16: {"clocks begin anew after retention", "TestWeaknessW16_HeadsStay TestHiddenEventsKeepTheirPlace"},
	17: {"opens write, readers exclude", "TestReadOnlyWritesNothing TestReadOnlyBesideLiveWriter TestOpenCloseManyTimes"},
	18: {"hybrid clock in name only", "TestHLCStrictlyIncreases TestWeaknessW18_CounterCounts TestClocksMayJump"},
	19: {"payload version lost", "TestWeaknessW19_EveryPathKeepsEveryField"},
	20: {"batch flags lost", "TestI2_BatchIsThereWholeOrNotAtAll"},
	21: {"sequence not in the frame", "TestWeakness02_SequencesStableOverGaps TestSequencesAreNotReused"},
	22: {"linear steps", "TestContainsAllocatesNothing TestFind"},
	23: {"survivors of compaction", "TestReplaceKeepsThePlace"},
	24: {"flush under a fence hangs", "TestWeaknessW24_FlushUnderAnOpenFence TestCloseCommitsWhatWasSubmitted"},
	25: {"shutdown skips the queue and the footer", "TestCloseCommitsWhatWasSubmitted TestCloseDuringAppendsAndReads"},
	26: {"everybody is woken", "TestWaitsForLaterEvents TestWeaknessW26_WaitersSleep"},
	27: {"gate results are not recorded", "TestRecordedDenial"},
	28: {"reactors cost the writer", "TestReadersDoNotWaitForTheWriter"},
	29: {"lanes out of order", "TestWeaknessW29_LanesInCommitOrder"},
	30: {"error shapes", "TestRefusedAppends TestBadOptions TestBadQueries"},
	31: {"lifecycle events among the user's", "TestWeaknessW31_NothingOfOurOwn"},
	32: {"lenient decoding", "TestReservedKindsAreCounted TestCheckRefuses TestDecodeRefuses"},
	33: {"a batch may be smaller than an event", "TestWeaknessW33_OneEventFitsABatch"},
	34: {"explicit causation is overridden", "TestWeaknessW34_CauseIsNotOverridden"},
}

// A weakness is one of the older system's.
type weakness struct {
	what  string
	tests string // names, or why there is nothing to test
}

// TestWriteWeaknesses: every one is named, and so are tests that exist.
func TestWriteWeaknesses(t *testing.T) { checkWeaknesses(t, "W", writeWeaknesses[:], 34) }

// checkWeaknesses checks a table of n weaknesses, which begins with 1.
func checkWeaknesses(t *testing.T, letter string, table []weakness, n int) {
	t.Helper()
	if len(table) != n+1 {
		t.Fatalf("%d weaknesses, want %d", len(table)-1, n)
	}
	exist := testNames(t)
	for i, w := range table[1:] {
		number := i + 1
		if why, ok := strings.CutPrefix(w.tests, "-: "); ok {
			t.Logf("%s%d, %s: %s", letter, number, w.what, why)
			continue
		}
		for _, name := range strings.Fields(w.tests) {
			if !exist[name] {
				t.Errorf("%s%d, %s: there is no %s", letter, number, w.what, name)
			}
		}
		if w.tests == "" {
			t.Errorf("%s%d has no test", letter, number)
		}
	}
}

// testNames returns the names of all tests of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	test := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range test.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWeaknessW04_KeyBeforeCondition(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	d := plain("x")
	d.IdempotencyKey, d.Expect = []byte("k"), batpak.Absent()
	first, err := st.Append(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	again, err := st.Append(context.Background(), d)
	if err != nil || !again.Replayed || again.Seq != first.Seq {
		t.Errorf("retry of an append with a condition: %+v, %v", again, err)
	}
}

func TestWeaknessW05_AbsentIsNotOne(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	for i, tt := range []struct {
		expect batpak.Expect
		holds  bool
	}{{batpak.Clock(1), false}, {batpak.Absent(), true}, {batpak.Absent(), false}, {batpak.Clock(0), false}, {batpak.Clock(1), true}, {batpak.Any(), true}} {
		d := plain("x")
		d.Expect = tt.expect
		if _, err := st.Append(context.Background(), d); (err == nil) != tt.holds || !tt.holds && !errors.Is(err, batpak.ErrConflict) {
			t.Errorf("append %d with %v: %v", i, tt.expect, err)
		}
	}
}

func TestWeaknessW06_GroupSharesItsSync(t *testing.T) {
	err := withRig(batpak.Options{}, func(r *rig) error {
		syncs := 0
		r.intercept = func(c vfs.Call) vfs.Decision {
			if c.Kind == vfs.OpSync && strings.HasSuffix(c.Name, ".fbat") {
				syncs++
			}
			return vfs.Decision{}
		}
		var requests [][]batpak.Draft
		for range 9 {
			requests = append(requests, []batpak.Draft{r.draft(streamA, 0)})
		}
		if err := r.group(requests); err != nil {
			return err
		}
		if syncs != 2 {
			t.Errorf("%d syncs for a leader and a group of eight, want 2", syncs)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWeaknessW10_FailedSyncInTheBackground(t *testing.T) {
	err := withRig(batpak.Options{Sync: batpak.SyncNever}, func(r *rig) error {
		r.intercept = func(c vfs.Call) vfs.Decision {
			if c.Kind == vfs.OpSync && strings.HasSuffix(c.Name, ".fbat") {
				return vfs.Decision{Err: syscall.EIO}
			}
			return vfs.Decision{}
		}
		rcpt, err := r.append(r.draft(streamA, 0))
		if err != nil {
			return err
		}
		var failed *batpak.WriteError
		if err := r.st.WaitDurable(context.Background(), rcpt.Seq); !errors.As(err, &failed) || !failed.Poisoned {
			t.Errorf("WaitDurable: %v", err)
		}
		r.intercept = nil
		for _, call := range []func() error{
			func() error { return second(r.append(r.draft(streamA, 0))) }, r.flush, r.checkpoint,
			func() error { return r.st.WaitDurable(context.Background(), rcpt.Seq) },
		} {
			if err := call(); !errors.Is(err, batpak.ErrPoisoned) {
				t.Errorf("after a failed sync: %v", err)
			}
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func TestWeaknessW18_CounterCounts(t *testing.T) {
	now := time.UnixMilli(testEpoch)
	st := openAt(t, t.TempDir(), &batpak.Options{Clock: func() time.Time { return now }})
	defer mustClose(t, st)
	for i, rcpt := range appendAll(t, st, "a", "b", "c") {
		if want := event.HLCAt(now) + event.HLC(i); rcpt.HLC != want {
			t.Errorf("event %d: %v, want %v", i, rcpt.HLC, want)
		}
	}
}

// Every way to append keeps every field.
func TestWeaknessW19_EveryPathKeepsEveryField(t *testing.T) {
	ctx := context.Background()
	r := newRig(batpak.Options{})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	defer r.kill()
	f := openFence(t, r.st)
	defer f.Cancel(ctx)
	for name, path := range map[string]func(batpak.Draft) (batpak.Receipt, error){
		"Append": func(d batpak.Draft) (batpak.Receipt, error) { return r.st.Append(ctx, d) },
		"AppendBatch": func(d batpak.Draft) (batpak.Receipt, error) {
			receipts, err := r.st.AppendBatch(ctx, []batpak.Draft{d})
			return receipts[0], err
		},
		"Submit": func(d batpak.Draft) (batpak.Receipt, error) {
			ticket, err := r.st.Submit(ctx, d)
			if err != nil {
				return batpak.Receipt{}, err
			}
			return ticket.Wait(ctx)
		},
		"Fence": func(d batpak.Draft) (batpak.Receipt, error) {
			f := openFence(t, r.st)
			rcpt, err := f.Append(ctx, d)
			return rcpt, errors.Join(err, f.Commit(ctx))
		},
	} {
		d := r.full(streamA)
		rcpt, err := path(d)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		ev, err := r.st.Event(ctx, rcpt.ID)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := tell([]batpak.Draft{d}, []batpak.Receipt{rcpt})
		if err := sameEvent(&ev, &want[0].Event); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Flush, Checkpoint and WaitDurable do not wait for fences, and the fence can be committed by who called them.
func TestWeaknessW24_FlushUnderAnOpenFence(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
	defer mustClose(t, st)
	f := openFence(t, st)
	rcpt := appendAll(t, f, "a")[0]
	for name, call := range map[string]func() error{
		"Flush": func() error { return st.Flush(ctx) }, "Checkpoint": func() error { return st.Checkpoint(ctx) },
		"WaitDurable": func() error { return st.WaitDurable(ctx, rcpt.Seq) },
	} {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := f.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	shows(t, st, "a")
}

// Who waits for a later event is not woken by an earlier one.
func TestWeaknessW26_WaitersSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openAt(t, t.TempDir(), nil)
		defer mustClose(t, st)
		woken := make(chan uint64, 3)
		for _, seq := range []uint64{1, 3} {
			go func() {
				if err := st.WaitVisible(context.Background(), seq); err != nil {
					t.Error(err)
				}
				woken <- seq
			}()
		}
		synctest.Wait()
		appendAll(t, st, "a", "b")
		synctest.Wait()
		if n := len(woken); n != 1 {
			t.Errorf("%d are awake, want 1", n)
		}
		appendAll(t, st, "c")
		if first, then := <-woken, <-woken; first != 1 || then != 3 {
			t.Errorf("woken for %d, then %d", first, then)
		}
	})
}

// Opens, closes and fences leave no event.
func TestWeaknessW31_NothingOfOurOwn(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		st := openAt(t, dir, nil)
		f := openFence(t, st)
		if err := f.Commit(context.Background()); err != nil {
			t.Fatal(err)
		}
		if s := st.Stats(); s.Events != 0 || st.Visible() != 0 {
			t.Errorf("%+v", s)
		}
		mustClose(t, st)
	}
}

// An event of the largest size that may be appended alone may be appended in a batch, also where only one of the limits is set.
func TestWeaknessW33_OneEventFitsABatch(t *testing.T) {
	for name, o := range map[string]batpak.Options{
		"defaults": {}, "large events": {MaxEventBytes: 24 << 20}, "small segments": {SegmentSize: 64 << 10, MaxEventBytes: 16 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			largest := o.MaxEventBytes
			if largest == 0 {
				largest = 16 << 20
			}
			o.Sync = batpak.SyncNever
			o.SetFS(vfs.NewMem())
			st := openAt(t, vfs.MemDir, &o)
			defer mustClose(t, st)
			d := plain("x")
			d.Payload = make([]byte, largest)
			if _, err := st.Append(context.Background(), d); err != nil {
				t.Fatalf("alone: %v", err)
			}
			if _, err := st.AppendBatch(context.Background(), []batpak.Draft{d}); err != nil {
				t.Errorf("in a batch: %v", err)
			}
			d.Payload = append(d.Payload, 0)
			var limit *batpak.LimitError
			if _, err := st.Append(context.Background(), d); !errors.As(err, &limit) {
				t.Errorf("one byte more: %v", err)
			}
		})
	}
}

func TestWeaknessW34_CauseIsNotOverridden(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	cause := appendAll(t, st, "a")[0].ID
	caused := plain("b")
	caused.Causation = cause
	receipts, err := st.AppendBatch(ctx, []batpak.Draft{plain("c"), caused})
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := st.Event(ctx, receipts[1].ID); err != nil || ev.Causation != cause {
		t.Errorf("cause %v, %v; want %v", ev.Causation, err, cause)
	}
	caused.CausedByDraft = batpak.DraftAt(0)
	var refused *batpak.DraftError
	if _, err := st.AppendBatch(ctx, []batpak.Draft{plain("d"), caused}); !errors.As(err, &refused) {
		t.Errorf("two causes: %v", err)
	}
}
