package index

import (
	"math/bits"
	"sync/atomic"
)

// A chunks is an array that grows at its end, for one writer and any number of readers without locks. Elements never
// move: readers may use those that the writer had written before it published their number by other means.
type chunks[T any] struct {
	shift uint32                // log2 of the elements in a chunk
	dir   atomic.Pointer[[][]T] // every chunk; replaced when one is added
}

// at returns element i, which must have been reserved.
func (c *chunks[T]) at(i uint32) *T {
	dir := *c.dir.Load()
	return &dir[i>>c.shift][i&(1<<c.shift-1)]
}

// reserve makes room for elements [0, n). Writer only.
func (c *chunks[T]) reserve(n uint32) {
	if p := c.dir.Load(); p == nil || uint64(n) > uint64(len(*p))<<c.shift {
		c.grow(n)
	}
}

func (c *chunks[T]) grow(n uint32) {
	var dir [][]T
	if p := c.dir.Load(); p != nil {
		dir = *p
	}
	// Readers hold an older header over the same array: they never look behind its length.
	for uint64(n) > uint64(len(dir))<<c.shift {
		dir = append(dir, make([]T, 1<<c.shift))
	}
	c.dir.Store(&dir)
}

const (
	rowShift  = 10 // 64 KiB of rows
	listShift = 12 // 16 KiB of row numbers
	nameShift = 14 // 16 KiB of names
	wordShift = 9  // 4 KiB of list states and entries
)

// An arena holds the row lists of an active segment. A list is one word: where its rows are, and how many. It grows
// by doubling into a new region; the old one stays for readers that hold the old word.
type arena struct {
	rows chunks[uint32]
	used uint32 // writer only
}

// A listState is a list in an arena: the start of its region above its length. As long as the rows of a list follow
// one another without a gap it needs no region, and the word says so: its first row then stands above the length. Most
// lists begin as a run of one row, and where all events have one scope or one kind, its list stays a run.
type listState uint64

// listRun is the bit of the length that says run. A segment has far fewer rows: no frame is shorter than a header, and
// offsets have 32 bits.
const listRun = 1 << 31

func (s listState) start() uint32 { return uint32(s >> 32) }
func (s listState) len() uint32   { return uint32(s) &^ listRun }
func (s listState) isRun() bool   { return s&listRun != 0 }

func newListState(start, n uint32) listState { return listState(start)<<32 | listState(n) }

// minRegion is the smallest region; from then on sizes are powers of two.
const minRegion = 4

// push returns s with row behind its end. Writer only.
func (a *arena) push(s listState, row uint32) listState {
	start, n := s.start(), s.len()
	switch {
	case n == 0:
		return newListState(row, 1|listRun)
	case s.isRun() && row == start+n:
		return newListState(start, (n+1)|listRun)
	case s.isRun():
		region := a.alloc(max(minRegion, uint32(1)<<bits.Len32(n)))
		for i := range n {
			*a.rows.at(region + i) = start + i
		}
		start = region
	case n >= minRegion && n&(n-1) == 0:
		region := a.alloc(2 * n)
		for i := range n {
			*a.rows.at(region + i) = *a.rows.at(start + i)
		}
		start = region
	}
	*a.rows.at(start + n) = row
	return newListState(start, n+1)
}

// alloc returns the start of a fresh region of n rows.
func (a *arena) alloc(n uint32) uint32 {
	start := a.used
	a.used += n
	a.rows.reserve(a.used)
	return start
}

// read fills dst with the rows of s from number i on.
func (a *arena) read(s listState, i uint32, dst []uint32) {
	at := s.start() + i
	if s.isRun() {
		for k := range dst {
			dst[k] = at + uint32(k)
		}
		return
	}
	for k := range dst {
		dst[k] = *a.rows.at(at + uint32(k))
	}
}
