package index

// Count returns how many events q selects and v shows, but stops at most of them; 0 means no bound. Reverse does not
// matter.
//
// Lists, columns and the lengths of lists tell. A frame is read only where q asks for the children of an event and the
// run is sealed: there lists of children are by hash, and the event itself has the last word.
//
// Errors: as [View.EventByID].
func (v *View) Count(q Query, most uint64) (n uint64, err error) {
	q.Reverse = false
	c := v.Scan(q, true)
	defer c.Close()
	return c.count(most)
}

// count counts what c has not yielded yet, up to most.
func (c *Cursor) count(most uint64) (n uint64, err error) {
	c.counting = true
	for (most == 0 || n < most) && c.openRun() {
		err := c.guarded(func() error {
			in, err := c.countRun(max(most, n) - n)
			n += in
			return err
		})
		if err != nil {
			c.fail(err)
		}
	}
	if most > 0 {
		n = min(n, most) // lengths say more
	}
	return n, c.err
}

// countRun counts the matches in the open run up to most, and closes it: from the lengths of lists where they tell,
// else row by row.
func (c *Cursor) countRun(most uint64) (n uint64, err error) {
	c.open = false
	if n, ok, err := c.countByLengths(); ok || err != nil {
		return n, err
	}
	_, sealed := c.plan.table.(*mapped)
	unsure := sealed && c.q.isChild()
	for most == 0 || n < most {
		row, ok, err := c.nextRow()
		if err != nil || !ok {
			return n, err
		}
		if unsure {
			if ok, err = c.isChildIn(row); err != nil {
				return n, err
			}
		}
		if ok {
			n++
		}
	}
	return n, nil
}

// countByLengths counts the matches in the open run where one condition, or none, is all there is to ask.
func (c *Cursor) countByLengths() (n uint64, ok bool, err error) {
	p := &c.plan
	switch {
	case c.q.Hidden != nil || len(p.others) > 0 || c.q.isChild():
	case p.driver != nil && p.filter.use == 0:
		n, err = countLists(p.driver.lists, p.lo, p.hi, &c.work)
		return n, true, err
	case p.driver == nil && p.filter.use&^partReserved == 0:
		n = uint64(p.hi - p.lo)
		if p.filter.use != 0 {
			reserved, err := p.table.reserved(p.lo, p.hi)
			return n - uint64(reserved), true, err
		}
		return n, true, nil
	}
	return 0, false, nil
}

// isChildIn reads the event in row and reports whether it is a child that c's query asks for.
func (c *Cursor) isChildIn(row uint32) (bool, error) {
	p, err := c.plan.table.place(row)
	if err != nil {
		return false, err
	}
	if err := c.take([]place{p}); err != nil {
		return false, err
	}
	return c.q.childOf(&c.raw), nil
}
