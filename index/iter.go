package index

import (
	"batpak/segment"
)

// A list is ascending row numbers of one run: in a footer, or in the arena of an active segment.
type list struct {
	foot  *segment.Footer // nil: arena
	rows  segment.List
	arena *arena
	state listState
}

func (l *list) len() uint32 {
	if l.foot != nil {
		return l.rows.Len()
	}
	return l.state.len()
}

// read fills dst with the rows from number i on.
func (l *list) read(i uint32, dst []uint32) error {
	if l.foot != nil {
		return l.foot.ReadList(l.rows, i, dst)
	}
	l.arena.read(l.state, i, dst)
	return nil
}

// A seeker yields rows in one direction, and can leap. Peek stays valid until the next call.
type seeker interface {
	// peek returns the row that the walker stands on; ok is false at the end and after an error.
	peek() (row uint32, ok bool)
	// next moves to the row behind.
	next()
	// seek moves to the first row that is not before row, in the walker's direction; never back.
	seek(row uint32)
	err() error
}

// listBlock is how many rows a listWalker reads at once: enough to pay for the call, few enough for a short list.
const listBlock = 64

// A listWalker walks one list between two rows.
type listWalker struct {
	list     list
	lo, hi   uint32 // numbers [lo, hi) in the list that are left
	from, to uint32 // rows [from, to) are walked; the far end is checked on the way
	reverse  bool

	buf    [listBlock]uint32
	at, n  uint32 // buf holds the numbers [at, at+n)
	work   *Work  // nil: nobody counts
	failed error
}

// start makes w walk the rows of l that lie in [from, to).
func (w *listWalker) start(l list, from, to uint32, reverse bool, work *Work) {
	w.list, w.from, w.to, w.reverse, w.work = l, from, to, reverse, work
	w.lo, w.hi, w.at, w.n, w.failed = 0, l.len(), 0, 0, nil
	switch {
	case from >= to:
		w.hi = 0
	case reverse:
		w.seek(to - 1)
	case from > 0:
		w.seek(from)
	}
}

// value returns row number i of the list.
func (w *listWalker) value(i uint32) uint32 {
	if i-w.at < w.n {
		return w.buf[i-w.at]
	}
	at := i
	if w.reverse {
		at = i - min(i, listBlock-1)
	}
	if w.work != nil {
		w.work.Blocks++
	}
	w.at, w.n = at, min(listBlock, w.list.len()-at)
	if err := w.list.read(at, w.buf[:w.n]); err != nil {
		w.failed, w.n = err, 0
		w.lo, w.hi = 0, 0
		return 0
	}
	return w.buf[i-at]
}

// bound returns the first number in [lo, hi) whose row is not below row.
func (w *listWalker) bound(row, lo, hi uint32) uint32 {
	for lo < hi && w.failed == nil {
		mid := lo + (hi-lo)/2
		if w.value(mid) < row {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (w *listWalker) peek() (uint32, bool) {
	if w.lo >= w.hi {
		return 0, false
	}
	i := w.lo
	if w.reverse {
		i = w.hi - 1
	}
	row := w.value(i)
	return row, w.failed == nil && row >= w.from && row < w.to
}

func (w *listWalker) next() {
	if w.lo >= w.hi {
		return
	}
	if w.reverse {
		w.hi--
	} else {
		w.lo++
	}
}

// seek gallops: doubling steps from where the walker stands, then a binary search, so that it costs the logarithm of
// the distance.
func (w *listWalker) seek(row uint32) {
	if w.reverse {
		for step := uint32(1); w.lo < w.hi && w.failed == nil; step *= 2 {
			probe := w.hi - min(step, w.hi-w.lo)
			if w.value(probe) <= row {
				w.hi = w.bound(row+1, probe, w.hi)
				return
			}
			w.hi = probe
		}
		return
	}
	for step := uint32(1); w.lo < w.hi && w.failed == nil; step *= 2 {
		probe := w.lo + min(step, w.hi-w.lo) - 1
		if w.value(probe) >= row {
			w.lo = w.bound(row, w.lo, probe)
			return
		}
		w.lo = probe + 1
	}
}

func (w *listWalker) err() error { return w.failed }

// A spanWalker walks all rows [lo, hi).
type spanWalker struct {
	lo, hi  uint32
	reverse bool
}

func (w *spanWalker) peek() (uint32, bool) {
	if w.lo >= w.hi {
		return 0, false
	}
	if w.reverse {
		return w.hi - 1, true
	}
	return w.lo, true
}

func (w *spanWalker) next() {
	if w.lo >= w.hi {
		return
	}
	if w.reverse {
		w.hi--
	} else {
		w.lo++
	}
}

func (w *spanWalker) seek(row uint32) {
	if w.reverse {
		w.hi = max(w.lo, min(w.hi, row+1))
	} else {
		w.lo = min(w.hi, max(w.lo, row))
	}
}

func (w *spanWalker) err() error { return nil }

// A mergeWalker walks several lists that share no row, as one: a binary heap by the row that each stands on.
type mergeWalker struct {
	heap    []*listWalker // those that are not at their end
	reverse bool
	failed  error
}

// start takes over the walkers.
func (w *mergeWalker) start(walkers []*listWalker, reverse bool) {
	w.reverse, w.heap = reverse, walkers
	w.build()
}

// build drops the walkers that ended and orders the rest.
func (w *mergeWalker) build() {
	kept := w.heap[:0]
	for _, l := range w.heap {
		if _, ok := l.peek(); ok {
			kept = append(kept, l)
		} else if err := l.err(); err != nil {
			w.failed = err
		}
	}
	w.heap = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		w.sink(i)
	}
}

// before reports whether walker i stands before walker j.
func (w *mergeWalker) before(i, j int) bool {
	x, _ := w.heap[i].peek()
	y, _ := w.heap[j].peek()
	return x < y != w.reverse
}

func (w *mergeWalker) sink(i int) {
	for {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < len(w.heap); child++ {
			if w.before(child, least) {
				least = child
			}
		}
		if least == i {
			return
		}
		w.heap[i], w.heap[least] = w.heap[least], w.heap[i]
		i = least
	}
}

func (w *mergeWalker) peek() (uint32, bool) {
	if len(w.heap) == 0 || w.failed != nil {
		return 0, false
	}
	return w.heap[0].peek()
}

func (w *mergeWalker) next() {
	if len(w.heap) == 0 {
		return
	}
	w.heap[0].next()
	w.settle()
}

// settle puts the first walker where it belongs now.
func (w *mergeWalker) settle() {
	first := w.heap[0]
	if _, ok := first.peek(); !ok {
		if err := first.err(); err != nil {
			w.failed = err
		}
		last := len(w.heap) - 1
		w.heap[0] = w.heap[last]
		w.heap = w.heap[:last]
	}
	w.sink(0)
}

func (w *mergeWalker) seek(row uint32) {
	for len(w.heap) > 0 && w.failed == nil {
		at, _ := w.heap[0].peek()
		if at == row || at > row != w.reverse {
			return
		}
		w.heap[0].seek(row)
		w.settle()
	}
}

func (w *mergeWalker) err() error { return w.failed }

// An andWalker walks the rows of one walker that are in every list of others too: it leaps over what is not.
type andWalker struct {
	driver seeker
	others []*listWalker
	failed error
}

// start takes over the walkers and moves to the first common row.
func (w *andWalker) start(driver seeker, others []*listWalker) {
	w.driver, w.others = driver, others
	w.settle()
}

// settle moves forward to a row that is in all lists.
func (w *andWalker) settle() {
	for {
		row, ok := w.driver.peek()
		if !ok {
			return
		}
		target := row
		for _, o := range w.others {
			o.seek(target)
			at, ok := o.peek()
			if !ok {
				if w.failed = o.err(); w.failed == nil {
					w.failed = errEnd
				}
				return
			}
			if at != target {
				target = at
				break
			}
		}
		if target == row {
			return
		}
		w.driver.seek(target)
	}
}

func (w *andWalker) peek() (uint32, bool) {
	if w.failed != nil {
		return 0, false
	}
	return w.driver.peek()
}

func (w *andWalker) next() {
	w.driver.next()
	w.settle()
}

func (w *andWalker) seek(row uint32) {
	w.driver.seek(row)
	w.settle()
}

func (w *andWalker) err() error {
	if w.failed != nil && w.failed != errEnd {
		return w.failed
	}
	return w.driver.err()
}
