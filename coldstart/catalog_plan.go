package coldstart

import "math/bits"

// Catalogs are kept like the tables of a log-structured merge tree. A piece is a catalog, or a sealed segment that no
// catalog covers; its tier is that of how many segments it covers.
//
//	tier        0   1     2      3      …
//	segments    1   4…15  16…63  64…255
//
// Four neighbours of one tier become one piece of the next, so each entry is written once per tier; and a piece that
// is followed by one of a higher tier, as damage and compaction leave it, goes into that one. Then tiers descend from
// the oldest segment to the newest and there are three pieces at most of each: what is not in memory is found with
// 3·log₄ n lookups at most. A piece of tier 1 is not planned when it would at once be merged into one of tier 2: it is
// left out, and so on upwards.
const (
	tierBits = 2 // a tier covers 1<<tierBits times as many segments as the one below
	mergeAt  = 1 << tierBits
	// freshMost is how many segments without catalog are taken together: their hashes are in memory.
	freshMost = 2 * mergeAt
	// coverMost is how many segments a piece covers at most: then it stays as it is.
	coverMost = 1 << 18
)

// tierOf returns the tier of a piece over n segments; n is at least 1. Segments below 4 are of tier 0.
func tierOf(n int) int { return (bits.Len(uint(n)) - 1) / tierBits }

// planMerge returns the pieces [lo, hi) that are to become one next; ok is false when all is as it should be. sizes are
// how many segments each piece covers, from the oldest to the newest; a single segment has no catalog.
func planMerge(sizes []int) (lo, hi int, ok bool) {
	// p is what the pieces would be; from and to are the ones that p[at] stands for.
	p := append([]int(nil), sizes...)
	for at := -1; ; {
		i, n := nextMerge(p)
		if n == 0 {
			return lo, hi, ok
		}
		from, to := i, i+n
		if ok {
			if at < i || at >= i+n {
				return lo, hi, true // elsewhere: next time
			}
			from, to = i, hi+i+n-1-at
		}
		if fresh(sizes[from:to]) > freshMost && ok {
			return lo, hi, true
		}
		size := 0
		for _, s := range p[i : i+n] {
			size += s
		}
		p = append(append(append([]int(nil), p[:i]...), size), p[i+n:]...)
		lo, hi, ok, at = from, to, true, i
	}
}

// fresh returns how many pieces are single segments.
func fresh(sizes []int) (n int) {
	for _, s := range sizes {
		if s == 1 {
			n++
		}
	}
	return n
}

// nextMerge returns the first pieces [i, i+n) that are to be merged; n is 0 when there are none.
func nextMerge(p []int) (i, n int) {
	for i := range p {
		if i+1 < len(p) && tierOf(p[i]) < tierOf(p[i+1]) && p[i]+p[i+1] <= coverMost {
			return i, 2
		}
		same := 1
		for same < mergeAt && i+same < len(p) && tierOf(p[i+same]) == tierOf(p[i]) {
			same++
		}
		if same == mergeAt && 4*p[i] <= coverMost {
			return i, mergeAt
		}
	}
	return 0, 0
}
