package index

import (
	"errors"

	"batpak/event"
	"batpak/segment"
)

// errEnd says that a list ended, and with it everything that must be in it.
var errEnd = errors.New("index: end of a list")

// A table is one run, opened for reading. It is safe for concurrent use.
type table interface {
	// count returns the number of rows.
	count() uint32
	// rowOfSeq returns the first row whose sequence is at least seq, rowOfHLC the first whose stamp is at least h;
	// count when there is none.
	rowOfSeq(seq uint64) (uint32, error)
	rowOfHLC(h event.HLC) (uint32, error)
	// place returns sequence, offset and length of the event in row.
	place(row uint32) (place, error)
	// touch fetches what place will read of the rows; see [vfs.Map.Touch].
	touch(rows []uint32) byte
	// resolve looks up what q names: one condition for each part that has lists here. none says that the run holds
	// no match.
	resolve(q *Query) (conds []condition, f filter, none bool, err error)
	// reserved returns how many rows [lo, hi) are of reserved kinds.
	reserved(lo, hi uint32) (uint32, error)
	// matcher returns what checks rows by columns. Not safe for concurrent use.
	matcher(f filter) matcher
	// frames returns where the frames are read.
	frames() frames
}

// A place is where an event stands.
type place struct {
	seq            uint64
	offset, length uint32
}

// A matcher checks rows by columns.
type matcher interface {
	match(row uint32) (bool, error)
	seq(row uint32) (uint64, error)
}

// A part is a part of a query that a run can answer with lists or with columns.
type part uint8

const (
	partEntity part = 1 << iota // names or prefixes
	partScope
	partKinds
	partLane
	partReserved // reserved kinds left out

	partList part = 0 // lists only: tags, children
)

// A condition is one part of a query, resolved in a run.
type condition struct {
	part  part
	lists []list // that share no row; nil when only columns can tell
	rows  uint32 // of all lists
}

// A filter is what a matcher checks. Numbers are those of its run.
type filter struct {
	use        part
	entities   []numbers // sealed: coordinates, ascending; active: the entity, when set is nil
	set        bitset    // active: entities
	scope      uint32
	kinds      []event.Kind
	categories Categories
	lane       uint32
}

// A numbers is a range [lo, hi) of numbers.
type numbers struct{ lo, hi uint32 }

// A bitset holds small numbers.
type bitset []uint64

func (b bitset) has(i uint32) bool { return int(i/64) < len(b) && b[i/64]>>(i%64)&1 == 1 }
func (b bitset) add(i uint32)      { b[i/64] |= 1 << (i % 64) }

// Limits of the planner.
const (
	// mergeAlways lists are merged whatever they hold; up to mergeMost when they are rare.
	mergeAlways = 8
	mergeMost   = 256
	// A merge of many lists must hold less than 1/rareShare of the rows and cost less to begin than a pass over the
	// column: beginning with a list takes about as long as checking listCost rows.
	rareShare = 8
	listCost  = 64
	// fewRows are what [planFew] is for: whoever follows asks for a few rows at a time.
	fewRows = 16
	// A pass over all frames may meet one in sparseShare that is not asked for, no more.
	sparseShare = 16
	// leapMost is how many times longer than the driver's a list may be that is leapt through for each row.
	leapMost = 32
)

// mergeable reports whether n lists with rows in total are better walked than a column of count rows is filtered.
func mergeable(n, rows, count uint32) bool {
	return n <= mergeAlways || n <= mergeMost && n*listCost <= count && rows <= count/rareShare
}

// A plan is how one run is read for one query: rows [lo, hi), driven by the rarest condition.
type plan struct {
	table  table
	lo, hi uint32
	driver *condition // nil: all rows
	others []list     // that a row must be in too
	filter filter     // what columns must still tell
	scan   bool       // read all frames in order instead, and look at the events
}

// makePlan plans q over rows whose sequences lie in (after, end); none says that there is nothing to read.
func makePlan(t table, q *Query, after, end uint64) (p plan, none bool, err error) {
	p.table = t
	if p.lo, p.hi, err = rowRange(t, q, after, end); err != nil || p.lo >= p.hi {
		return p, true, err
	}
	conds, f, none, err := t.resolve(q)
	if none || err != nil {
		return p, true, err
	}
	p.filter = f
	for i := range conds {
		c := &conds[i]
		if c.lists != nil && (p.driver == nil || c.rows < p.driver.rows) {
			p.driver = c
		}
	}
	for i := range conds {
		if c := &conds[i]; c != p.driver && p.leaps(c) {
			p.others = append(p.others, c.lists...)
			p.filter.use &^= c.part
		}
	}
	if p.driver != nil {
		p.filter.use &^= p.driver.part
		if p.driver.part == partKinds {
			p.filter.use &^= partReserved
		}
	}
	if p.scan = !q.Reverse && p.driver == nil && p.filter.use&^partReserved == 0; p.scan && p.filter.use != 0 {
		n, err := t.reserved(p.lo, p.hi)
		p.scan = n <= (p.hi-p.lo)/sparseShare
		return p, err != nil, err
	}
	return p, false, nil
}

// planFew plans q where it names prefixes, which many entities may have, and its range leaves a few rows: those are read
// and looked at one by one, and nothing is looked up. ok is false elsewhere.
func planFew(t table, q *Query, after, end uint64) (p plan, ok bool, err error) {
	if !q.namesPrefixes() || q.Reverse || q.isChild() || end-after > fewRows {
		return p, false, nil
	}
	p.table, p.scan = t, true
	p.lo, p.hi, err = rowRange(t, q, after, end)
	return p, p.lo < p.hi, err
}

// leaps reports whether a condition that is not the driver is checked in its list and not by columns. Nothing else
// tells tags and children. A scope takes a look at the coordinate table for each row, unless its list is so much longer
// than the driver's that leaping through it takes more.
func (p *plan) leaps(c *condition) bool {
	return c.part == partList || c.part == partScope && p.driver != nil && c.rows/leapMost <= p.driver.rows
}

// rowRange returns the rows that the ranges of q leave.
func rowRange(t table, q *Query, after, end uint64) (lo, hi uint32, err error) {
	if lo, err = t.rowOfSeq(after + 1); err != nil {
		return 0, 0, err
	}
	if hi, err = t.rowOfSeq(end); err != nil {
		return 0, 0, err
	}
	if q.FromHLC != 0 {
		from, err := t.rowOfHLC(q.FromHLC)
		if err != nil {
			return 0, 0, err
		}
		lo = max(lo, from)
	}
	if q.ToHLC != 0 {
		to, err := t.rowOfHLC(q.ToHLC)
		if err != nil {
			return 0, 0, err
		}
		hi = min(hi, to)
	}
	return lo, hi, nil
}

// walk returns the rows that the plan's lists select; the filter is not applied.
func (p *plan) walk(reverse bool, work *Work) seeker {
	var w seeker
	switch {
	case p.driver == nil:
		return &spanWalker{p.lo, p.hi, reverse}
	case len(p.driver.lists) == 1:
		l := new(listWalker)
		l.start(p.driver.lists[0], p.lo, p.hi, reverse, work)
		w = l
	default:
		m := new(mergeWalker)
		m.start(walkers(p.driver.lists, p.lo, p.hi, reverse, work), reverse)
		w = m
	}
	if len(p.others) == 0 {
		return w
	}
	and := new(andWalker)
	and.start(w, walkers(p.others, p.lo, p.hi, reverse, work))
	return and
}

// walkers starts a walker on each list, in one allocation.
func walkers(lists []list, lo, hi uint32, reverse bool, work *Work) []*listWalker {
	all := make([]listWalker, len(lists))
	ptrs := make([]*listWalker, len(lists))
	for i := range lists {
		all[i].start(lists[i], lo, hi, reverse, work)
		ptrs[i] = &all[i]
	}
	return ptrs
}

// countLists returns how many rows of the lists lie in [lo, hi).
func countLists(lists []list, lo, hi uint32, work *Work) (n uint64, err error) {
	var w listWalker
	for i := range lists {
		w.start(lists[i], 0, hi, false, work)
		if lo > 0 {
			w.seek(lo)
		}
		if last := w.bound(hi, w.lo, w.hi); w.failed == nil {
			n += uint64(last - w.lo)
		} else {
			return 0, w.failed
		}
	}
	return n, nil
}

// A memo remembers answers about numbers, direct-mapped: scopes of coordinates repeat.
type memo [64]struct {
	number uint32 // plus one
	yes    bool
}

// A colWindow reads one column of a footer, a few rows at a time when rows are far apart, many when they are close.
type colWindow struct {
	col   segment.Column
	at, n uint32
	buf   [colBlock]uint32
}

const (
	colBlock = 256
	colFew   = 8
)

// get returns the column's entry in row.
func (w *colWindow) get(f *segment.Footer, row uint32) (uint32, error) {
	if row-w.at < w.n {
		return w.buf[row-w.at], nil
	}
	rows := f.Rows()
	if row >= rows {
		row = rows // out of range: ReadColumn says so
	}
	size := uint32(colFew)
	if w.n > 0 && row-w.at < 2*w.n+colFew || w.n > 0 && w.at-row <= w.n+colFew {
		size = min(4*max(w.n, colFew), colBlock)
	}
	at := row
	if w.n > 0 && row < w.at { // going backwards
		at = row - min(row, size-1)
	}
	size = max(1, min(size, rows-min(at, rows)))
	if err := f.ReadColumn(w.col, at, w.buf[:size]); err != nil {
		w.n = 0
		return 0, err
	}
	w.at, w.n = at, size
	return w.buf[row-at], nil
}
