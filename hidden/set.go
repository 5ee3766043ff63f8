package hidden

import (
	"cmp"
	"iter"
	"slices"
)

// A Range is the sequences [From, To).
type Range struct {
	From uint64 // ≥ 1
	To   uint64 // > From
}

// A Set is a set of sequences, kept as ranges. The zero Set is empty and ready. A Set never changes: it may be copied,
// and used by any number of goroutines.
type Set struct {
	ranges []Range // ascending; between two of them there is a sequence that is in neither
}

// Of returns the set of all sequences in ranges, which may overlap and come in any order. Empty ranges add nothing, and
// neither does sequence 0, which no event has. The slice stays the caller's.
func Of(ranges ...Range) Set {
	sorted := make([]Range, 0, len(ranges))
	for _, r := range ranges {
		if r.From = max(r.From, 1); r.From < r.To {
			sorted = append(sorted, r)
		}
	}
	slices.SortFunc(sorted, func(a, b Range) int { return cmp.Compare(a.From, b.From) })
	return Set{join(sorted)}
}

// join merges, in place, ranges that overlap or touch; they ascend by From.
func join(sorted []Range) []Range {
	merged := sorted[:0]
	for _, r := range sorted {
		if last := len(merged) - 1; last >= 0 && r.From <= merged[last].To {
			merged[last].To = max(merged[last].To, r.To)
			continue
		}
		merged = append(merged, r)
	}
	return merged
}

// Contains reports whether seq is in s. It takes O(log n) and no memory.
func (s Set) Contains(seq uint64) bool {
	i := s.search(seq)
	return i < len(s.ranges) && s.ranges[i].From <= seq
}

// search returns the first range that ends behind seq.
func (s Set) search(seq uint64) int {
	lo, hi := 0, len(s.ranges)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if s.ranges[mid].To > seq {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Len returns the number of ranges.
func (s Set) Len() int { return len(s.ranges) }

// IsEmpty reports whether no sequence is in s.
func (s Set) IsEmpty() bool { return len(s.ranges) == 0 }

// Count returns the number of sequences.
func (s Set) Count() (n uint64) {
	for _, r := range s.ranges {
		n += r.To - r.From
	}
	return n
}

// Ranges yields the ranges, ascending; no two of them overlap or touch.
func (s Set) Ranges() iter.Seq[Range] { return slices.Values(s.ranges) }

// Equal reports whether s and t hold the same sequences.
func (s Set) Equal(t Set) bool { return slices.Equal(s.ranges, t.ranges) }

// Add returns s and the sequences [from, to).
func (s Set) Add(from, to uint64) Set {
	if from = max(from, 1); from >= to {
		return s
	}
	// Everything from i up to j overlaps or touches the new range, and becomes part of it.
	i := s.search(from - 1)
	j := i
	for ; j < len(s.ranges) && s.ranges[j].From <= to; j++ {
		from, to = min(from, s.ranges[j].From), max(to, s.ranges[j].To)
	}
	ranges := make([]Range, 0, len(s.ranges)-(j-i)+1)
	ranges = append(append(ranges, s.ranges[:i]...), Range{from, to})
	return Set{append(ranges, s.ranges[j:]...)}
}

// Union returns the sequences that are in s or in t.
func (s Set) Union(t Set) Set {
	switch {
	case t.IsEmpty():
		return s
	case s.IsEmpty():
		return t
	}
	a, b := s.ranges, t.ranges
	sorted := make([]Range, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if a[0].From <= b[0].From {
			sorted, a = append(sorted, a[0]), a[1:]
		} else {
			sorted, b = append(sorted, b[0]), b[1:]
		}
	}
	return Set{join(append(append(sorted, a...), b...))}
}

// Below returns the sequences of s that lie below end.
func (s Set) Below(end uint64) Set {
	i := s.search(end)
	if i == len(s.ranges) || s.ranges[i].From >= end {
		return Set{s.ranges[:i:i]}
	}
	ranges := slices.Clone(s.ranges[:i+1])
	ranges[i].To = end
	return Set{ranges}
}
