//go:build planted

package batpak_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/internal/planted"
)

// killers name for each planted bug the check that must see it. Every check passes without the bug.
var killers = map[planted.Bug]func() error{
	planted.NoDirSyncAtCreate:       swept("W4"),
	planted.RenameBeforeSync:        swept("W1"),
	planted.AckBeforeSync:           swept("W1"),
	planted.SyncOnCloseOnly:         swept("W2"),
	planted.WrongFileSynced:         swept("W4"),
	planted.SyncRetried:             failed("W1", "EIO"),
	planted.TailResumedInPlace:      swept("W9-never"),
	planted.GroupErrorToLeaderOnly:  failed("W2", "EIO"),
	planted.JoinersNotTold:          failed("W2-joined", "EIO"),
	planted.WeakestSyncWins:         swept("W2-never"),
	planted.PublishBeforeSync:       swept("W1"),
	planted.CutAtFirstBadFrame:      flipped("blind"),
	planted.RefuseAtFirstBadFrame:   swept("W1"),
	planted.KeepFramesAfterHole:     swept("W1-never"),
	planted.HalfBatchKept:           swept("W3-never"),
	planted.HeaderNotInCRC:          verifyFindsHeaderFlips,
	planted.LengthBeforeCRC:         openIsBounded,
	planted.Uint32LengthSum:         forgedLengthIsRefused,
	planted.CRCNotBoundToPlace:      cut("crashed"),
	planted.ZeroFrameAccepted:       zeroesAreNoFrames,
	planted.FooterDecidesCommitment: swept("W4"),
	planted.FooterCountUnchecked:    footerOfAnotherHistory,
	planted.BatchVisibleItemByItem:  batchesAppearWhole,
	planted.ChainFromBatchsLast:     swept("W3"),
	planted.SequenceReusedAfterCut:  swept("W1-never"),
	planted.AnchorIgnored:           cut("closed"),
	planted.OrderByClock:            orderHoldsWhenClocksGoBack,
	planted.LockByPIDFile:           swept("W9"),
	planted.LockFileDeletedAtClose:  lockFileStays,
	planted.WorldReadableFiles:      filesArePrivate,
	planted.LinkFollowed:            linksAreRefused,
	planted.MapWithoutLengthCheck:   shrunkFileIsAnError,
	planted.StrangersTempRemoved:    strangersStay,
	planted.BlockBeforeSync:         swept("W10-never"),
	planted.SnapshotPlaceUnchecked:  snapshotOfAnotherHistory,
	planted.SnapshotAheadTrusted:    snapshotAheadOfLog,
	planted.KeyStagedBeforeDurable:  keysOfFailedWrites,
	planted.KeysForgottenInFooters:  func() error { return second(keyHistory(1, 300)) },
	planted.CancelledKeyKnown:       keysOfCancelledFence,

	planted.StagedVisible:            fencesHoldBack,
	planted.FenceVisibleInParts:      fencesAppearAtOnce,
	planted.CancelForgottenAtOpen:    swept("W11"),
	planted.OpenFenceShownAfterCrash: swept("W12"),
	planted.FenceContextIgnored:      contextsEndFences,
	planted.RangesAheadOfFences:      swept("W11"),
	planted.FencesUnmarked:           rangesAreNeeded,
	planted.WaiterWokenEarly:         waitsAreForWhatIsSeen,
	planted.UnlessBlindInGroup:       conditionsSeeTheirGroup,

	planted.PositionBeforeHandler:     consumerCrashes(batpak.SyncAlways),
	planted.PositionAheadOfDurable:    consumerCrashes(batpak.SyncNever),
	planted.PositionApartFromReaction: consumerCrashes(batpak.SyncAlways),
	planted.PositionUnchecked:         positionsOfOtherHistories,
}

// elsewhere lists the bugs that no check of this package can see yet, and why.
var elsewhere = map[planted.Bug]string{
	planted.CompactionGuessed:   "coldstart's own tests see it; the root does not compact yet",
	planted.ResultsNamedLate:    "coldstart's own tests see it; the root does not compact yet",
	planted.SourcesRemovedEarly: "coldstart's own tests see it; the root does not compact yet",
	planted.RecordRemovedEarly:  "coldstart's own tests see it; the root does not compact yet",
	planted.KeysMovedLate:       "coldstart's own tests see it; the root does not compact yet",
	planted.HeadsEvicted:        "coldstart's own tests see it; the root does not compact yet",
}

// orderHoldsWhenClocksGoBack is clocksMayJump for a store that may panic.
func orderHoldsWhenClocksGoBack() error {
	r := newRig(batpak.Options{})
	if err := r.open(); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			r.st.Abandon() // nobody answers any more, so nothing else ends it
			panic(p)
		}
		r.kill()
	}()
	for range 3 {
		for range 3 {
			if _, err := r.append(r.draft(streamA, 0)); err != nil {
				return err
			}
		}
		r.clock.Add(-3 * int64(time.Hour/time.Millisecond))
		if err := stepReopen(r); err != nil {
			return err
		}
	}
	return chained(r.history())
}

func consumerCrashes(mode batpak.SyncMode) func() error {
	return func() error { return second(sweepConsumers(mode, 3)) }
}

func swept(name string) func() error {
	return func() error {
		for _, w := range longWorkloads() {
			if w.name == name {
				return runSweeps([]sweep{{w: w, seed: 1, random: 2}}, new(tally))
			}
		}
		return fmt.Errorf("no workload %s", name)
	}
}

func failed(name, failure string) func() error {
	return func() error {
		for _, w := range failingWorkloads() {
			if w.name != name {
				continue
			}
			calls, err := callsOf(&w)
			if err != nil {
				return err
			}
			for n := 1; n <= calls; n++ {
				for _, fail := range failures {
					f := failing{w: w, name: fail.name, d: fail.d, n: n, power: true}
					if fail.name != failure {
						continue
					}
					if err := f.run(); err != nil {
						return fmt.Errorf("%v: %w", &f, err)
					}
				}
			}
			return nil
		}
		return fmt.Errorf("no workload %s", name)
	}
}

func flipped(name string) func() error {
	return damagedWith(name, func(s *specimen) func(func(damage) bool) { return s.flips(0, 41) })
}

func cut(name string) func() error {
	return damagedWith(name, func(s *specimen) func(func(damage) bool) { return s.cuts(17) })
}

func damagedWith(name string, todo func(*specimen) func(func(damage) bool)) func() error {
	return func() error {
		s, err := newSpecimen(name, name != "closed", name == "blind")
		if err != nil {
			return err
		}
		h := &hospital{s: s}
		h.admit(todo(s))
		if h.wrong.count > 0 {
			return h.wrong.first[0]
		}
		return nil
	}
}

// caught runs the check of a bug without it and with it.
func caught(t *testing.T, bug planted.Bug) {
	t.Helper()
	check := killers[bug]
	if err := guarded(check); err != nil {
		t.Fatalf("without the bug: %v", err)
	}
	planted.Set(bug, true)
	t.Setenv(plantEnv, bug.String())
	err := guarded(check)
	planted.Set(bug, false)
	if err == nil {
		t.Fatal("nothing has seen it")
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	t.Logf("seen: %s", first)
}

// guarded turns a panic into an error.
func guarded(check func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return check()
}

func TestPlanted_NoDirSyncAtCreate(t *testing.T)        { caught(t, planted.NoDirSyncAtCreate) }
func TestPlanted_RenameBeforeSync(t *testing.T)         { caught(t, planted.RenameBeforeSync) }
func TestPlanted_AckBeforeSync(t *testing.T)            { caught(t, planted.AckBeforeSync) }
func TestPlanted_SyncOnCloseOnly(t *testing.T)          { caught(t, planted.SyncOnCloseOnly) }
func TestPlanted_WrongFileSynced(t *testing.T)          { caught(t, planted.WrongFileSynced) }
func TestPlanted_SyncRetried(t *testing.T)              { caught(t, planted.SyncRetried) }
func TestPlanted_TailResumedInPlace(t *testing.T)       { caught(t, planted.TailResumedInPlace) }
func TestPlanted_GroupErrorToLeaderOnly(t *testing.T)   { caught(t, planted.GroupErrorToLeaderOnly) }
func TestPlanted_JoinersNotTold(t *testing.T)           { caught(t, planted.JoinersNotTold) }
func TestPlanted_WeakestSyncWins(t *testing.T)          { caught(t, planted.WeakestSyncWins) }
func TestPlanted_PublishBeforeSync(t *testing.T)        { caught(t, planted.PublishBeforeSync) }
func TestPlanted_CutAtFirstBadFrame(t *testing.T)       { caught(t, planted.CutAtFirstBadFrame) }
func TestPlanted_RefuseAtFirstBadFrame(t *testing.T)    { caught(t, planted.RefuseAtFirstBadFrame) }
func TestPlanted_KeepFramesAfterHole(t *testing.T)      { caught(t, planted.KeepFramesAfterHole) }
func TestPlanted_HalfBatchKept(t *testing.T)            { caught(t, planted.HalfBatchKept) }
func TestPlanted_HeaderNotInCRC(t *testing.T)           { caught(t, planted.HeaderNotInCRC) }
func TestPlanted_LengthBeforeCRC(t *testing.T)          { caught(t, planted.LengthBeforeCRC) }
func TestPlanted_Uint32LengthSum(t *testing.T)          { caught(t, planted.Uint32LengthSum) }
func TestPlanted_CRCNotBoundToPlace(t *testing.T)       { caught(t, planted.CRCNotBoundToPlace) }
func TestPlanted_ZeroFrameAccepted(t *testing.T)        { caught(t, planted.ZeroFrameAccepted) }
func TestPlanted_FooterDecidesCommitment(t *testing.T)  { caught(t, planted.FooterDecidesCommitment) }
func TestPlanted_FooterCountUnchecked(t *testing.T)     { caught(t, planted.FooterCountUnchecked) }
func TestPlanted_BatchVisibleItemByItem(t *testing.T)   { caught(t, planted.BatchVisibleItemByItem) }
func TestPlanted_ChainFromBatchsLast(t *testing.T)      { caught(t, planted.ChainFromBatchsLast) }
func TestPlanted_SequenceReusedAfterCut(t *testing.T)   { caught(t, planted.SequenceReusedAfterCut) }
func TestPlanted_AnchorIgnored(t *testing.T)            { caught(t, planted.AnchorIgnored) }
func TestPlanted_OrderByClock(t *testing.T)             { caught(t, planted.OrderByClock) }
func TestPlanted_LockByPIDFile(t *testing.T)            { caught(t, planted.LockByPIDFile) }
func TestPlanted_LockFileDeletedAtClose(t *testing.T)   { caught(t, planted.LockFileDeletedAtClose) }
func TestPlanted_WorldReadableFiles(t *testing.T)       { caught(t, planted.WorldReadableFiles) }
func TestPlanted_LinkFollowed(t *testing.T)             { caught(t, planted.LinkFollowed) }
func TestPlanted_MapWithoutLengthCheck(t *testing.T)    { caught(t, planted.MapWithoutLengthCheck) }
func TestPlanted_StrangersTempRemoved(t *testing.T)     { caught(t, planted.StrangersTempRemoved) }
func TestPlanted_BlockBeforeSync(t *testing.T)          { caught(t, planted.BlockBeforeSync) }
func TestPlanted_SnapshotPlaceUnchecked(t *testing.T)   { caught(t, planted.SnapshotPlaceUnchecked) }
func TestPlanted_SnapshotAheadTrusted(t *testing.T)     { caught(t, planted.SnapshotAheadTrusted) }
func TestPlanted_KeyStagedBeforeDurable(t *testing.T)   { caught(t, planted.KeyStagedBeforeDurable) }
func TestPlanted_KeysForgottenInFooters(t *testing.T)   { caught(t, planted.KeysForgottenInFooters) }
func TestPlanted_CancelledKeyKnown(t *testing.T)        { caught(t, planted.CancelledKeyKnown) }
func TestPlanted_StagedVisible(t *testing.T)            { caught(t, planted.StagedVisible) }
func TestPlanted_FenceVisibleInParts(t *testing.T)      { caught(t, planted.FenceVisibleInParts) }
func TestPlanted_CancelForgottenAtOpen(t *testing.T)    { caught(t, planted.CancelForgottenAtOpen) }
func TestPlanted_OpenFenceShownAfterCrash(t *testing.T) { caught(t, planted.OpenFenceShownAfterCrash) }
func TestPlanted_FenceContextIgnored(t *testing.T)      { caught(t, planted.FenceContextIgnored) }
func TestPlanted_RangesAheadOfFences(t *testing.T)      { caught(t, planted.RangesAheadOfFences) }
func TestPlanted_FencesUnmarked(t *testing.T)           { caught(t, planted.FencesUnmarked) }
func TestPlanted_WaiterWokenEarly(t *testing.T)         { caught(t, planted.WaiterWokenEarly) }
func TestPlanted_UnlessBlindInGroup(t *testing.T)       { caught(t, planted.UnlessBlindInGroup) }

func TestPlanted_PositionBeforeHandler(t *testing.T)  { caught(t, planted.PositionBeforeHandler) }
func TestPlanted_PositionAheadOfDurable(t *testing.T) { caught(t, planted.PositionAheadOfDurable) }
func TestPlanted_PositionApartFromReaction(t *testing.T) {
	caught(t, planted.PositionApartFromReaction)
}
func TestPlanted_PositionUnchecked(t *testing.T) { caught(t, planted.PositionUnchecked) }

// TestEveryPlantedBugHasAKiller: a bug without a test would prove nothing.
func TestEveryPlantedBugHasAKiller(t *testing.T) {
	source, err := os.ReadFile("planted_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, bug := range planted.Bugs() {
		if reason := elsewhere[bug]; reason != "" {
			t.Logf("%v: %s", bug, reason)
			continue
		}
		if killers[bug] == nil || !strings.Contains(string(source), "func TestPlanted_"+bug.String()+"(") {
			t.Errorf("%v has no test", bug)
		}
	}
	t.Logf("%d bugs, %d of them concern a later version", len(planted.Bugs()), len(elsewhere))
}

// childPlants plants the bug that the parent process is held against.
func childPlants(t *testing.T) {
	t.Helper()
	planted.Set(planted.MapWithoutLengthCheck, os.Getenv(plantEnv) == planted.MapWithoutLengthCheck.String())
}

// plantEnv tells a child process to have the bug.
const plantEnv = "BATPAK_TEST_PLANT"
