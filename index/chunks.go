package index

import "sync/atomic"

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

// A listState is a list in an arena: the start of its region above its length. A list of one row is that row itself
// above the length.
type listState uint64

func (s listState) start() uint32 { return uint32(s >> 32) }
func (s listState) len() uint32   { return uint32(s) }

func newListState(start, n uint32) listState { return listState(start)<<32 | listState(n) }

// minRegion is the smallest region; from then on sizes are powers of two.
const minRegion = 4

// push returns s with row behind its end. Writer only.
func (a *arena) push(s listState, row uint32) listState {
	start, n := s.start(), s.len()
	switch {
	case n == 0:
		return newListState(row, 1)
	case n == 1:
		region := a.alloc(minRegion)
		*a.rows.at(region) = start
		*a.rows.at(region + 1) = row
		return newListState(region, 2)
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
	if s.len() == 1 {
		dst[0] = s.start()
		return
	}
	at := s.start() + i
	for k := range dst {
		dst[k] = *a.rows.at(at + uint32(k))
	}
}
