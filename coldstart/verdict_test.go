package coldstart

import (
	"strings"
	"testing"
)

// eachFacts calls fn for every combination of facts.
func eachFacts(fn func(facts)) int {
	n := 0
	for i := range int(subjects) * int(headerFacts) * int(linkFacts) * int(restFacts) * int(proofFacts) * int(batchFacts) * int(doubtFacts) * int(footerFacts) {
		var f facts
		next := func(count uint8) uint8 {
			v := uint8(i % int(count))
			i /= int(count)
			return v
		}
		f.subject, f.header, f.link = subject(next(uint8(subjects))), headerFact(next(uint8(headerFacts))), linkFact(next(uint8(linkFacts)))
		f.rest, f.proof, f.batch = restFact(next(uint8(restFacts))), proofFact(next(uint8(proofFacts))), batchFact(next(uint8(batchFacts)))
		f.doubt, f.footer = doubtFact(next(uint8(doubtFacts))), footerFact(next(uint8(footerFacts)))
		fn(f)
		n++
	}
	return n
}

func TestVerdictsAreATable(t *testing.T) {
	hits := make(map[string]int)
	n := eachFacts(func(f facts) {
		var fits []string
		for i := range verdicts {
			if verdicts[i].when.take(f) {
				fits = append(fits, verdicts[i].label)
				hits[verdicts[i].label]++
			}
		}
		never := 0
		for i := range impossible {
			if impossible[i].when.take(f) {
				never++
				hits[impossible[i].why]++
			}
		}
		if len(fits)+never != 1 {
			t.Errorf("%+v fits %d rows (%s) and %d impossible ones, want exactly one", f, len(fits), strings.Join(fits, ", "), never)
		}
	})
	for i := range verdicts {
		if hits[verdicts[i].label] == 0 {
			t.Errorf("row %q takes no facts", verdicts[i].label)
		}
	}
	if len(hits) != len(verdicts)+len(impossible) {
		t.Errorf("%d labels for %d rows: a label is used twice", len(hits), len(verdicts)+len(impossible))
	}
	t.Logf("%d combinations, %d rows", n, len(verdicts))
}

func TestJudgePanicsOnTheImpossible(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("judge returned")
		}
	}()
	judge(facts{proof: marked})
}
