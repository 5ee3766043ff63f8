package batpak_test

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"testing"

	"batpak"
)

// readWeaknesses says for each weakness of the older system's read side which tests our design passes and its design would
// fail.
var readWeaknesses = [...]weakness{
	1:  {"walks jump over history where payloads repeat", "TestReadWeakness01_EqualPayloads"},
	2:  {"evidence of a chain cries wolf, and covers payloads only", "TestReadWeakness02_EveryByteIsVerified TestReadWeakness01_EqualPayloads TestAncestorsMismatch"},
	3:  {"hidden and evicted events end walks", "TestWalksOverFences TestWalksOverEvictedEvents TestWalksAgainstAModel"},
	4:  {"the latest is nothing while the head is hidden", "TestReadWeakness04_LatestIsTheLastVisible"},
	5:  {"states of what a fence hid", "TestReadWeakness05_FencedEvents"},
	6:  {"changes missed around a fence", "TestReadWeakness05_FencedEvents"},
	7:  {"stream order is not commit order", "TestReadWeakness07_CommitOrder"},
	8:  {"positions ahead of the log", "TestReadWeakness08_PositionNeverAheadOfDurable TestPositionFindings TestConsumerCrashes"},
	9:  {"reads race compaction", "TestReadWeakness09_FilesGoWhileOneReads TestReaderFollowsOverRecovery"},
	10: {"events between the look and the wait are skipped", "TestReadWeakness10_NothingBetweenLookAndWait TestFollowModel"},
	11: {"caches outlive what was removed", "TestReadWeakness11_EvictedEvents TestProjectionStatesThatDoNotHold"},
	12: {"reactions double after a crash", "TestReadWeakness12_NothingIsAnsweredTwice TestConsumerCrashes TestConsumerModel TestReactor"},
	13: {"folds cannot fail", "TestReadWeakness13_FoldsCanFail TestProjectionFails"},
	14: {"payloads go through JSON", "TestReadWeakness14_PayloadsAreBytes"},
	15: {"a page costs what the store holds", "TestWorkOfPages"},
	16: {"every projection scans the whole index", "TestWorkOfRanges TestProjectionAppliesOnce"},
	17: {"states are off by default, in memory twice, under names too long", "TestReadWeakness27_AnyQuery TestProjectionEveryFlip TestProjectionStateFiles"},
	18: {"one event per read", "TestReadWeakness18_EventsAreReadTogether"},
	19: {"two syncs and a rename for 64 events", "TestReadWeakness19_PositionsAreWrittenByCountAndTime"},
	20: {"every hit is cloned", "TestReadWeakness20_HitsAreNotCloned TestAllocationsPerEvent"},
	21: {"subscribers cost the writer", "TestReadWeakness21_SlowFollowersCostTheWriterNothing TestIdleFollowersSleep"},
	22: {"no causal reads", "TestWalksAgainstAModel TestEffectsInCommitOrder"},
	23: {"thin queries", "TestQueryIsWhatANaiveFilterSelects TestUnlessTakesEveryFieldOfAQuery TestDecideTakesEveryFieldOfAQuery TestQueriesThatCannotBe"},
	24: {"the store's own events among the callers'", "TestReadWeakness24_SystemEventsAreAskedFor"},
	25: {"silent or vague ends", "TestReadWeakness25_EndsSayWhyAndWhere TestFollowEnds TestFollowPoisoned TestFollowResumes"},
	26: {"cursors that cannot be put anywhere", "TestReadWeakness26_ConsumersGoAnywhere TestConsumerFrom TestConsumerResetAndSeek"},
	27: {"projections of one entity only", "TestReadWeakness27_AnyQuery TestProjectionAtEverySequence TestProjectionGroup"},
	28: {"staleness by wall time", "TestReadWeakness29_PositionOnlyGrows"},
	29: {"generations that fall", "TestReadWeakness29_PositionOnlyGrows"},
	30: {"an applied frontier that whoever once ran holds back", "TestReadWeakness30_OnlyRegistered"},
	31: {"evidence of observations", "TestReadWeakness31_AnswersAreOfTheHistory"},
	32: {"readers exclude, and do not follow", "TestReadWeakness32_ManyReadersFollowOneWriter TestFollowBesideProcesses"},
	33: {"documents ahead of the code", "TestReadWeakness33_DocumentsNameWhatExists"},
	34: {"benchmarks and tests that miss their target", "TestWorkOfPages TestWorkOfRanges TestWorkOfCounts"},
	35: {"five layouts of one index", "TestScanIsWhatANaiveFilterSelects"},
}

// TestReadWeaknesses: every one is named, and so are tests that exist.
func TestReadWeaknesses(t *testing.T) { checkWeaknesses(t, "R", readWeaknesses[:], 35) }

// TestReadWeakness33_DocumentsNameWhatExists: every method and field, and every test, that README and docs name is there.
func TestReadWeakness33_DocumentsNameWhatExists(t *testing.T) {
	types := map[string]reflect.Type{}
	for _, v := range []any{
		batpak.Store{}, batpak.Options{}, batpak.Draft{}, batpak.Query{}, batpak.Receipt{}, batpak.Registry{}, batpak.Fence{},
		batpak.Consumer{}, batpak.ConsumerOptions{}, batpak.Frontier{}, batpak.Step{}, batpak.Decision{},
	} {
		types[reflect.TypeOf(v).Name()] = reflect.TypeOf(v)
	}
	types["Projection"], types["ProjectionDef"] = reflect.TypeFor[batpak.Projection[int]](), reflect.TypeFor[batpak.ProjectionDef[int]]()
	files, err := filepath.Glob("docs/*.md")
	if err != nil || len(files) == 0 {
		t.Fatal("no docs", err)
	}
	member, test := regexp.MustCompile(`(?:^|[^.\w])([A-Z]\w+)\.([A-Z]\w*)`), regexp.MustCompile(`\bTest[A-Z0-9]\w+`)
	exist, members := testNames(t), 0
	for _, file := range append(files, "README.md", "CHANGELOG.md") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range member.FindAllSubmatch(text, -1) {
			owner, ok := types[string(m[1])]
			if !ok {
				continue
			}
			members++
			_, field := owner.FieldByName(string(m[2]))
			if _, method := reflect.PointerTo(owner).MethodByName(string(m[2])); !method && !field {
				t.Errorf("%s: there is no %s", file, m[0])
			}
		}
		for _, name := range test.FindAllString(string(text), -1) {
			if !exist[name] {
				t.Errorf("%s: there is no %s", file, name)
			}
		}
	}
	if members < 30 {
		t.Errorf("looked at %d members only", members)
	}
}
