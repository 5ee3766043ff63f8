package hidden

import (
	"cmp"
	"iter"
	"math"
	"slices"
)

// A Range is the sequences [From, To).
type Range struct {
	From uint64 // ≥ 1
	To   uint64 // > From
}

// A Set is a set of sequences, kept as ranges. The zero Set is empty and ready. A Set never changes: it may be copied,
// and used by any number of goroutines. Sets that came from one another share what is the same in both.
type Set struct {
	// Ascending; between two ranges there is a sequence that is in neither, also from one chunk to the next. No chunk is
	// empty, and none is longer than chunkLen. [Set.Add] copies one chunk or two and the list of them, so that a set that
	// grows range by range costs little more than what is added: 8 KiB, and 32 bytes for each 512 ranges.
	chunks []chunk
	count  int // of ranges
}

// A chunk is ranges in order, and where they end.
type chunk struct {
	end    uint64
	ranges []Range
}

func chunkOf(ranges []Range) chunk { return chunk{ranges[len(ranges)-1].To, ranges} }

// chunkLen is how many ranges a chunk holds at most.
const chunkLen = 512

// setOf returns the set of ranges, which are in order and do not touch. It takes the slice over.
func setOf(ranges []Range) Set {
	s := Set{make([]chunk, 0, len(ranges)/chunkLen+1), len(ranges)}
	for part := range slices.Chunk(ranges, chunkLen) {
		s.chunks = append(s.chunks, chunkOf(part))
	}
	return s
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
	return setOf(join(sorted))
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
	c := s.chunk(seq)
	if c == len(s.chunks) {
		return false
	}
	ranges := s.chunks[c].ranges
	return ranges[search(ranges, seq)].From <= seq
}

// Next returns the first range [from, to) that ends behind seq: the one that holds seq, or else the next one. When there
// is none, from and to are above every sequence.
func (s Set) Next(seq uint64) (from, to uint64) {
	c := s.chunk(seq)
	if c == len(s.chunks) {
		return math.MaxUint64, math.MaxUint64
	}
	ranges := s.chunks[c].ranges
	r := ranges[search(ranges, seq)]
	return r.From, r.To
}

// chunk returns the first chunk that ends behind seq.
func (s Set) chunk(seq uint64) int {
	lo, hi := 0, len(s.chunks)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if s.chunks[mid].end > seq {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// search returns the first of ranges that ends behind seq.
func search(ranges []Range, seq uint64) int {
	lo, hi := 0, len(ranges)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if ranges[mid].To > seq {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Len returns the number of ranges.
func (s Set) Len() int { return s.count }

// IsEmpty reports whether no sequence is in s.
func (s Set) IsEmpty() bool { return s.count == 0 }

// End returns the end of the last range: no sequence from there on is in s. Of an empty set it is 0.
func (s Set) End() uint64 {
	if s.count == 0 {
		return 0
	}
	return s.chunks[len(s.chunks)-1].end
}

// Count returns the number of sequences.
func (s Set) Count() (n uint64) {
	for r := range s.Ranges() {
		n += r.To - r.From
	}
	return n
}

// Ranges yields the ranges, ascending; no two of them overlap or touch.
func (s Set) Ranges() iter.Seq[Range] {
	return func(yield func(Range) bool) {
		for _, c := range s.chunks {
			for _, r := range c.ranges {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// flat returns the ranges in one slice.
func (s Set) flat() []Range { return slices.AppendSeq(make([]Range, 0, s.count), s.Ranges()) }

// Equal reports whether s and t hold the same sequences.
func (s Set) Equal(t Set) bool { return s.count == t.count && slices.Equal(s.flat(), t.flat()) }

// Add returns s and the sequences [from, to).
func (s Set) Add(from, to uint64) Set {
	if from = max(from, 1); from >= to {
		return s
	}
	// Every chunk from i up to j has a range that overlaps or touches the new one, or takes it in.
	i := s.chunk(from - 1)
	j := i
	for ; j < len(s.chunks) && s.chunks[j].ranges[0].From <= to; j++ {
	}
	switch {
	case i < j:
	case i < len(s.chunks):
		j++
	default:
		i = max(0, i-1)
	}
	old := 0
	for _, c := range s.chunks[i:j] {
		old += len(c.ranges)
	}
	ranges := make([]Range, 0, old+1)
	for _, c := range s.chunks[i:j] {
		ranges = append(ranges, c.ranges...)
	}
	ranges = insert(ranges, Range{from, to})
	count := s.count - old + len(ranges)
	chunks := make([]chunk, 0, len(s.chunks)+1)
	chunks = append(chunks, s.chunks[:i]...)
	if n := len(ranges); n <= chunkLen {
		chunks = append(chunks, chunkOf(ranges))
	} else {
		if n /= 2; i+1 == len(s.chunks) && ranges[len(ranges)-1].From == from {
			n = chunkLen // what comes in order fills its chunks
		}
		chunks = append(chunks, chunkOf(ranges[:n:n]), chunkOf(slices.Clone(ranges[n:])))
	}
	return Set{append(chunks, s.chunks[j:]...), count}
}

// insert puts r into ranges, in place.
func insert(ranges []Range, r Range) []Range {
	// Everything from i up to j overlaps or touches r, and becomes part of it.
	i := search(ranges, r.From-1)
	j := i
	for ; j < len(ranges) && ranges[j].From <= r.To; j++ {
		r.From, r.To = min(r.From, ranges[j].From), max(r.To, ranges[j].To)
	}
	return slices.Replace(ranges, i, j, r)
}

// Union returns the sequences that are in s or in t.
func (s Set) Union(t Set) Set {
	switch {
	case t.IsEmpty():
		return s
	case s.IsEmpty():
		return t
	}
	sorted, a, b := make([]Range, 0, s.count+t.count), s.flat(), t.flat()
	for len(a) > 0 && len(b) > 0 {
		if a[0].From <= b[0].From {
			sorted, a = append(sorted, a[0]), a[1:]
		} else {
			sorted, b = append(sorted, b[0]), b[1:]
		}
	}
	return setOf(join(append(append(sorted, a...), b...)))
}

// Below returns the sequences of s that lie below end.
func (s Set) Below(end uint64) Set {
	c := s.chunk(end)
	if c == len(s.chunks) {
		return s
	}
	below := Set{chunks: slices.Clone(s.chunks[:c])}
	ranges := s.chunks[c].ranges
	n := search(ranges, end)
	part := slices.Clone(ranges[:n])
	if ranges[n].From < end {
		part = append(part, Range{ranges[n].From, end})
	}
	if len(part) > 0 {
		below.chunks = append(below.chunks, chunkOf(part))
	}
	for _, c := range below.chunks {
		below.count += len(c.ranges)
	}
	return below
}
