package index

// Count returns how many events q selects and v shows, but stops at most of them; 0 means no bound. Reverse does not
// matter.
//
// Lists, columns and the lengths of lists tell. A frame is read only where q asks for the children of an event and the
// run is sealed: there lists of children are by hash, and the event itself has the last word.
//
// Errors: as [View.EventByID]; [ErrStopped].
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
	if n, ok, err := c.countByLengths(most); ok || err != nil {
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

// countByLengths counts the matches in the open run, up to most or a few more, where one condition, or none, is all there
// is to ask.
func (c *Cursor) countByLengths(most uint64) (n uint64, ok bool, err error) {
	p := &c.plan
	exact := p.driver != nil && p.filter.use == 0 || p.driver == nil && p.filter.use&^partReserved == 0
	if !exact || len(p.others) > 0 || c.q.isChild() || c.q.Hidden != nil && c.q.NextHidden == nil {
		return 0, false, nil
	}
	for lo := p.lo; lo < p.hi && err == nil && (most == 0 || n < most); {
		var in uint64
		hiddenLo, hiddenHi := p.hi, p.hi
		if c.q.Hidden != nil {
			hiddenLo, hiddenHi, err = c.hiddenRows(lo)
		}
		if err == nil && lo < hiddenLo {
			in, err = p.countSpan(lo, min(hiddenLo, p.hi), &c.work)
		}
		n, lo = n+in, hiddenHi
	}
	return n, true, err
}

// hiddenRows returns the rows [from, to) of the first hidden range that ends behind row lo.
func (c *Cursor) hiddenRows(lo uint32) (from, to uint32, err error) {
	t := c.plan.table
	at, err := t.place(lo)
	if err != nil {
		return 0, 0, err
	}
	first, end := c.q.NextHidden(at.seq)
	if from, err = t.rowOfSeq(first); err != nil {
		return 0, 0, err
	}
	to, err = t.rowOfSeq(end)
	return from, max(to, lo+1), err
}

// countSpan counts the matches of a plan that one condition decides, or none, in rows [lo, hi).
func (p *plan) countSpan(lo, hi uint32, work *Work) (uint64, error) {
	switch {
	case p.driver != nil:
		return countLists(p.driver.lists, lo, hi, work)
	case p.filter.use == 0:
		return uint64(hi - lo), nil
	}
	reserved, err := p.table.reserved(lo, hi)
	return uint64(hi - lo - reserved), err
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
