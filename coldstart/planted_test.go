//go:build planted

package coldstart

import (
	"fmt"
	"testing"

	"batpak/internal/planted"
)

// killers are the checks that must see each bug that this package can have.
var killers = map[planted.Bug]func() string{
	planted.NoDirSyncAtCreate:       func() string { _, why := crashInsideOpen(workload(fatal{}, false), 3); return why },
	planted.TailResumedInPlace:      func() string { _, why := failedSync(fatal{}, 0); return why },
	planted.CutAtFirstBadFrame:      damaged("rot under a mark"),
	planted.RefuseAtFirstBadFrame:   func() string { _, why := crashAnywhere(fatal{}, workload(fatal{}, false), 1); return why },
	planted.KeepFramesAfterHole:     damaged("hole in the last group"),
	planted.HalfBatchKept:           func() string { _, why := crashAnywhere(fatal{}, workload(fatal{}, false), 1); return why },
	planted.FooterDecidesCommitment: func() string { _, why := crashAnywhere(fatal{}, workload(fatal{}, false), 1); return why },
	planted.FooterCountUnchecked:    damaged("footer missing, frames good"),
	planted.SequenceReusedAfterCut:  func() string { return sequencesReused(fatal{}) },
	planted.AnchorIgnored:           damaged("tail missing"),
	planted.StrangersTempRemoved:    func() string { return strangers(fatal{}) },
	planted.CompactionGuessed:       compactions,
	planted.ResultsNamedLate:        compactions,
	planted.SourcesRemovedEarly:     compactions,
	planted.RecordRemovedEarly:      compactions,
	planted.KeysMovedLate:           func() string { _, why := crashEviction(fatal{}, &evictions[0], 0); return why },
	planted.HeadsEvicted:            headsStay,
}

// compactions crashes inside each compaction.
func compactions() string {
	for i := range reworks {
		if _, why := crashCompaction(fatal{}, &reworks[i]); why != "" {
			return why
		}
	}
	return ""
}

// damaged tries the directories for one row of the verdict table.
func damaged(row string) func() string {
	return func() string {
		for i := range damages {
			if d := &damages[i]; d.row == row {
				if why := d.try(fatal{}); why != "" {
					return d.name + ": " + why
				}
			}
		}
		return ""
	}
}

// guarded turns a store that cannot even be made into a finding.
func guarded(check func() string) (why string) {
	defer func() {
		if r := recover(); r != nil {
			why = fmt.Sprint(r)
		}
	}()
	return check()
}

func TestPlantedBugsAreFound(t *testing.T) {
	for _, bug := range planted.Bugs() {
		check := killers[bug]
		if check == nil {
			continue
		}
		t.Run(bug.String(), func(t *testing.T) {
			if why := guarded(check); why != "" {
				t.Fatalf("without the bug: %s", why)
			}
			planted.Set(bug, true)
			defer planted.Set(bug, false)
			why := guarded(check)
			if why == "" {
				t.Error("no check has seen it")
			}
			t.Log(why)
		})
	}
}

// headsStay says in which case a stream begins anew, or "".
func headsStay() string {
	for i := range headCases {
		if why := headCases[i].run(fatal{}); why != "" {
			return headCases[i].name + ": " + why
		}
	}
	return ""
}
