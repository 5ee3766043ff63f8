package index

import (
	"batpak/event"
	"batpak/segment"
)

// EachChild calls fn with the events that name id as their causation or correlation, in commit order, until fn returns
// false: those with sequences below end, visible or not, in the runs from the one on that holds sequence from; no event
// names one that comes behind it, so that whoever knows where id stands saves the runs before. Every event's bytes are the
// caller's. fn is called in the middle of a read: it keeps what it is given, and does nothing else.
//
// Errors: as EventByID.
func (v *View) EachChild(id *event.ID, by segment.Relation, from, end uint64, fn func(*event.Raw) bool) error {
	if len(v.e.runs) == 0 {
		return nil
	}
	c := children{id: id, by: by, end: end, fn: fn}
	for i := v.e.runOfSeq(from); i < len(v.e.runs) && v.e.runs[i].first < end && !c.done; i++ {
		if err := v.e.runs[i].read(c.in); err != nil {
			return err
		}
	}
	return nil
}

// A children is an EachChild under way.
type children struct {
	id   *event.ID
	by   segment.Relation
	end  uint64
	fn   func(*event.Raw) bool
	done bool // fn wants no more
}

// in calls fn with the children in one run.
func (c *children) in(t table) error {
	l, err := c.list(t)
	if err != nil || l.len() == 0 {
		return err
	}
	f := t.frames()
	var w listWalker
	w.start(l, 0, t.count(), false, nil)
	for row, ok := w.peek(); ok; row, ok = w.peek() {
		p, err := t.place(row)
		if err != nil || p.seq >= c.end {
			return err
		}
		var raw event.Raw
		if err := f.readExact(&raw, p); err != nil {
			return err
		}
		if c.named(&raw) == *c.id && !c.fn(&raw) {
			c.done = true
			return nil
		}
		w.next()
	}
	return w.err()
}

// named returns the event that raw names: lists are by hash.
func (c *children) named(raw *event.Raw) event.ID {
	if c.by == segment.ByCorrelation {
		return raw.Correlation
	}
	return raw.Causation
}

// list returns the rows that may be children; it has none when there are none.
func (c *children) list(t table) (list, error) {
	switch t := t.(type) {
	case activeTable:
		d := &t.a.children[c.by]
		if i, ok := d.find(string(c.id[:])); ok {
			return list{arena: &t.a.arena, state: d.list(i)}, nil
		}
	case *mapped:
		rows, err := t.foot.Children(c.by, *c.id)
		return list{foot: t.foot, rows: rows}, err
	}
	return list{}, nil
}
