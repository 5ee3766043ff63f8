package index

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Lists in an arena hold what was pushed, whether their rows follow one another, all, at first, or not at all; and a word
// that a reader has kept goes on to stand for the rows of its time.
func TestArenaLists(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	type kept struct {
		state listState
		rows  []uint32
	}
	var a arena
	a.rows.shift = listShift
	lists, words := make([]listState, 6), []kept{}
	rows := make([][]uint32, len(lists))
	for row := range uint32(20_000) {
		for i := range lists {
			// List 0 has every row, the others stop following sooner and sooner.
			if i > 0 && row >= uint32(1)<<(14-2*i) && rng.IntN(i+1) > 0 {
				continue
			}
			lists[i] = a.push(lists[i], row)
			rows[i] = append(rows[i], row)
			if n := len(rows[i]); n <= 20 || n&(n-1) == 0 {
				words = append(words, kept{lists[i], slices.Clone(rows[i])})
			}
		}
	}
	for i := range lists {
		words = append(words, kept{lists[i], rows[i]})
	}
	for _, w := range words {
		n := uint32(len(w.rows))
		if w.state.len() != n {
			t.Fatalf("list of %d rows has length %d", n, w.state.len())
		}
		for range 3 {
			from := rng.Uint32N(n)
			got := make([]uint32, 1+rng.Uint32N(n-from))
			a.read(w.state, from, got)
			if want := w.rows[from:][:len(got)]; !slices.Equal(got, want) {
				t.Fatalf("rows %d to %d of a list of %d = %v, want %v", from, int(from)+len(got), n, got, want)
			}
		}
	}
	if !lists[0].isRun() || lists[5].isRun() || a.used > 4*uint32(len(lists))*20_000 {
		t.Errorf("list of all rows is a run: %v; of some: %v; arena of %d", lists[0].isRun(), lists[5].isRun(), a.used)
	}
}
