package index

import (
	"sort"

	"batpak/event"
	"batpak/segment"
)

// A Parent is an event whose children are sought.
type Parent struct {
	Seq uint64 // 0 when nobody knows where it stands
	ID  event.ID
}

// EachChild calls fn with the events that name one of parents, whose sequences ascend, as their causation or correlation:
// those with sequences below end, visible or not, and not those in runs before the one that holds the parent, since nothing
// names an event that comes behind it. They come run by run, so that a run's index is opened once for all parents; in a
// run they come parent by parent, and for one parent in commit order. parent is a number in parents.
//
// When fn returns false it is called with no more children of that parent from that run, and with none from the runs
// behind it. Every event's bytes are the caller's; it may share [SharedMost] bytes with others. fn is called in the middle of
// a read: it takes the event out of raw, which is used again, and does nothing else.
//
// Errors: as EventByID.
func (v *View) EachChild(parents []Parent, by segment.Relation, end uint64, fn func(parent int, raw *event.Raw) bool) error {
	runs := v.e.runs
	if len(runs) == 0 || len(parents) == 0 {
		return nil
	}
	c := children{by: by, end: end, fn: fn}
	for i := v.e.runOfSeq(parents[0].Seq); i < len(runs) && runs[i].first < end && !c.enough; i++ {
		n := len(parents)
		if i+1 < len(runs) {
			n = sort.Search(n, func(p int) bool { return parents[p].Seq >= runs[i+1].first })
		}
		c.parents = parents[:n]
		if err := runs[i].read(c.in); err != nil {
			return err
		}
	}
	return nil
}

// A children is an EachChild under way.
type children struct {
	parents []Parent // that may have children in the open run
	by      segment.Relation
	end     uint64
	fn      func(parent int, raw *event.Raw) bool
	enough  bool // fn has returned false

	// The next few rows that may be children, which are read together.
	rows   [aheadMost]uint32
	of     [aheadMost]int // parents
	places [aheadMost]place
	n      int
	full   int // parent that fn wants no more of; -1 for none
	walker listWalker
	raw    event.Raw
	memory shared
	fetch  byte // as in ahead
}

// in calls fn with the children in one run.
func (c *children) in(t table) error {
	c.n, c.full = 0, -1
	f, to := t.frames(), uint32(0) // row behind the last one of interest
	for p := range c.parents {
		l, err := c.list(t, &c.parents[p].ID)
		if err != nil {
			return err
		}
		if l.len() == 0 {
			continue
		}
		if to == 0 {
			if to, err = t.rowOfSeq(c.end); err != nil {
				return err
			}
		}
		if err := c.walk(t, &f, l, to, p); err != nil {
			return err
		}
	}
	return c.read(t, &f)
}

// walk notes the rows of one parent's list, and reads them when they are many.
func (c *children) walk(t table, f *frames, l list, to uint32, parent int) error {
	w := &c.walker
	w.start(l, 0, to, false, nil)
	for row, ok := w.peek(); ok; row, ok = w.peek() {
		c.rows[c.n], c.of[c.n] = row, parent
		if c.n++; c.n == len(c.rows) {
			if err := c.read(t, f); err != nil || c.full == parent {
				return err
			}
		}
		w.next()
	}
	return w.err()
}

// read reads the rows that were noted and calls fn with those that are children. What it is about to read is fetched
// together, since events that lie far apart cost little but the wait for memory.
func (c *children) read(t table, f *frames) (err error) {
	rows, places := c.rows[:c.n], c.places[:c.n]
	c.n = 0
	if len(rows) > 1 {
		c.fetch += t.touch(rows)
	}
	for i, row := range rows {
		if places[i], err = t.place(row); err != nil {
			return err
		}
	}
	if len(rows) > 1 {
		c.fetch += f.touch(places)
	}
	for i := range places {
		parent := c.of[i]
		if parent == c.full {
			continue
		}
		if err := f.readInto(c.memory.take(places[i:]), &c.raw, places[i]); err != nil {
			return err
		}
		if c.named(&c.raw) == c.parents[parent].ID && !c.fn(parent, &c.raw) {
			c.full, c.enough = parent, true
		}
	}
	return nil
}

// named returns the event that raw names: lists are by hash.
func (c *children) named(raw *event.Raw) event.ID {
	if c.by == segment.ByCorrelation {
		return raw.Correlation
	}
	return raw.Causation
}

// list returns the rows that may be children of id; it has none when there are none.
func (c *children) list(t table, id *event.ID) (list, error) {
	switch t := t.(type) {
	case activeTable:
		d := &t.a.children[c.by]
		if i, ok := d.find(string(id[:])); ok {
			return list{arena: &t.a.arena, state: d.list(i)}, nil
		}
	case *mapped:
		rows, err := t.foot.Children(c.by, *id)
		return list{foot: t.foot, rows: rows}, err
	}
	return list{}, nil
}
