package index

import (
	"bytes"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/segment"
)

// A Cursor yields the events that a query selects, in its direction, one run after the other. It holds one block of
// frames and one block of each list it walks, however many events match. Not safe for concurrent use. It is valid as
// long as its View is held.
type Cursor struct {
	e      *epoch
	q      Query
	borrow bool
	plain  bool   // nothing but a range is asked for
	after  uint64 // sequences in (after, end) are asked for
	end    uint64

	next  int // run to open next
	left  int // runs that may still be opened
	plan  plan
	open  bool         // a run is open
	guard func() error // stepRows, bound once

	// Rows: the run is read through its index.
	walk   walker
	match  matcher
	frames frames
	win    window

	// Scan: the run is read frame by frame.
	pos         int64  // offset of the next frame
	row         uint32 // of the next event
	first, last place  // of the rows to read
	seq         uint64 // of the event before
	frame       segment.Frame

	raw   event.Raw
	found bool
	err   error
}

// Scan returns a cursor over the events that q selects and v shows. With borrow, what [Cursor.Raw] returns is valid
// until the next call of Next; else every event's bytes are a fresh allocation of their own.
func (v *View) Scan(q Query, borrow bool) *Cursor { return v.ScanWith(new(Cursor), q, borrow) }

// ScanWith is Scan with a cursor that was closed, or was never used: for whoever scans often and briefly. It returns c.
func (v *View) ScanWith(c *Cursor, q Query, borrow bool) *Cursor {
	guard := c.guard
	if guard == nil {
		guard = c.stepRows
	}
	*c = Cursor{e: v.e, borrow: borrow, after: q.After, end: v.visible + 1, guard: guard}
	c.q = q.Normal()
	if q.Before != 0 {
		c.end = min(c.end, q.Before)
	}
	c.plain = c.q.plain() && q.Hidden == nil
	if c.q.form == formNothing || c.end <= 1 || c.after >= c.end-1 || len(v.e.runs) == 0 {
		return c
	}
	first, last := v.e.runOfSeq(c.after+1), v.e.runOfSeq(c.end-1)
	c.next, c.left = first, last-first+1
	if q.Reverse {
		c.next = last
	}
	return c
}

// Children returns a cursor over the events that name id as their causation or correlation, in commit order. They are
// borrowed as with Scan.
func (v *View) Children(id event.ID, by segment.Relation, borrow bool) *Cursor {
	q := Query{System: true}
	switch {
	case id == event.ID{}:
		q.form = formNothing
	case by == segment.ByCausation:
		q.Causation = id
	default:
		q.Correlation = id
	}
	return v.Scan(q, borrow)
}

// Next moves to the next event. It returns false at the end and after an error.
func (c *Cursor) Next() bool {
	c.found = false
	for c.err == nil && !c.found {
		if !c.open && !c.openRun() {
			return false
		}
		var err error
		switch {
		case c.plan.scan:
			err = c.stepScan() // reads by blocks, which are guarded each
		case c.frames.m != nil:
			err = c.frames.m.Guarded(c.guard)
		default:
			err = c.stepRows()
		}
		if err != nil {
			c.fail(err)
		}
	}
	return c.found
}

// Raw returns the event that Next found.
func (c *Cursor) Raw() *event.Raw { return &c.raw }

// Err returns what ended the cursor before its end, or nil.
//
// Errors: *[segment.FrameError] and *[segment.FooterError] for damage; I/O errors.
func (c *Cursor) Err() error { return c.err }

// Close gives up the cursor's buffers, and with them what was borrowed. Next returns false from then on. A cursor that
// is not closed costs the next one a buffer, nothing else.
func (c *Cursor) Close() {
	c.win.release()
	*c = Cursor{err: c.err, guard: c.guard}
}

// fail ends the cursor with err.
func (c *Cursor) fail(err error) {
	c.err, c.found, c.open = fmt.Errorf("scan: %w", err), false, false
}

// openRun opens the next run that may hold a match.
func (c *Cursor) openRun() bool {
	for c.left > 0 && c.err == nil {
		r := &c.e.runs[c.next]
		c.left--
		if c.q.Reverse {
			c.next--
		} else {
			c.next++
		}
		ok, err := c.openPlan(r)
		if err != nil {
			c.fail(err)
			return false
		}
		if ok {
			return true
		}
	}
	return false
}

// openPlan plans the query in r; it returns false when r holds no match.
func (c *Cursor) openPlan(r *run) (bool, error) {
	if r.memory != nil {
		return c.begin(r.memory.open())
	}
	if excludes(&r.sealed.sum, &c.q) || r.sealed.sum.LastSeq <= c.after || r.sealed.sum.FirstSeq >= c.end {
		return false, nil
	}
	mp, err := r.sealed.open()
	if err != nil {
		return false, err
	}
	ok := false
	err = mp.m.Guarded(func() error {
		ok, err = c.begin(mp)
		return err
	})
	return ok, err
}

// begin starts reading a run.
func (c *Cursor) begin(t table) (bool, error) {
	p, none, err := makePlan(t, &c.q, c.after, c.end)
	if err != nil || none {
		return false, err
	}
	c.plan, c.frames, c.open = p, t.frames(), true
	c.win.reset()
	if !p.scan {
		if c.walk = p.walk(c.q.Reverse); p.filter.use != 0 || c.q.Hidden != nil {
			c.match = t.matcher(p.filter)
		}
		return true, nil
	}
	if c.first, err = t.place(p.lo); err != nil {
		return false, err
	}
	if c.last, err = t.place(p.hi - 1); err != nil {
		return false, err
	}
	c.pos, c.row, c.seq = int64(c.first.offset), p.lo, c.first.seq-1
	return true, nil
}

// stepRows takes the next row of the open run that matches and reads its frame; it closes the run at its end.
func (c *Cursor) stepRows() error {
	for {
		row, ok := c.walk.peek()
		if !ok {
			c.open = false
			return c.walk.err()
		}
		c.walk.next()
		if c.plan.filter.use != 0 {
			if yes, err := c.match.match(row); err != nil {
				return err
			} else if !yes {
				continue
			}
		}
		if c.q.Hidden != nil {
			if seq, err := c.match.seq(row); err != nil {
				return err
			} else if c.q.Hidden(seq) {
				continue
			}
		}
		p, err := c.plan.table.place(row)
		if err != nil {
			return err
		}
		if err := c.take(p); err != nil {
			return err
		}
		if c.q.childOf(&c.raw) {
			c.found = true
			return nil
		}
	}
}

// take reads the frame at p and checks that it is the one that the index means.
func (c *Cursor) take(p place) error {
	b, err := c.win.frame(&c.frames, p, c.q.Reverse)
	if err != nil {
		return err
	}
	body, err := c.frames.body(b, int64(p.offset))
	if err != nil {
		return err
	}
	if err := c.decode(body, int64(p.offset)); err != nil {
		return err
	}
	if c.raw.Seq != p.seq {
		return c.frames.flaw(int64(p.offset), "sequence is not the index's")
	}
	return nil
}

// decode decodes body into the cursor's event, from a copy unless the caller borrows.
func (c *Cursor) decode(body []byte, off int64) error {
	if !c.borrow {
		body = bytes.Clone(body)
	}
	return c.frames.decode(&c.raw, body, off)
}

// stepScan reads frames in order until an event matches; it closes the run at its end. The index is not touched: the
// number of events and the places of the first and the last tell whether the frames are those that it means.
func (c *Cursor) stepScan() error {
	for c.row < c.plan.hi {
		if err := c.nextFrame(); err != nil {
			return err
		}
		f := &c.frame
		c.pos = f.End()
		if f.Type != segment.TypeEvent {
			continue
		}
		body := f.Body
		if c.plain && !c.borrow {
			body = bytes.Clone(body)
		}
		if err := c.raw.Decode(body); err != nil {
			return c.frames.malformed(f.Offset, err)
		}
		if !c.inOrder(f.Offset) {
			return c.frames.flaw(f.Offset, "sequence is not the index's")
		}
		c.row, c.seq = c.row+1, c.raw.Seq
		switch {
		case c.plain && !c.q.System && c.raw.Kind.Reserved():
		case c.plain:
			c.found = true
			return nil
		case c.q.Matches(&c.raw) && (c.q.Hidden == nil || !c.q.Hidden(c.raw.Seq)):
			c.found = true
			if c.borrow {
				return nil
			}
			return c.decode(body, f.Offset)
		}
	}
	c.open = false
	return nil
}

// inOrder reports whether the event just decoded can stand in its row: behind the one before it, and, in the first
// and the last row, where the index says.
func (c *Cursor) inOrder(off int64) bool {
	switch seq := c.raw.Seq; {
	case c.row == c.plan.hi-1:
		return seq == c.last.seq && off == int64(c.last.offset) && seq > c.seq
	case c.row == c.plan.lo:
		return seq == c.first.seq && off == int64(c.first.offset)
	default:
		return seq > c.seq
	}
}

// nextFrame decodes the frame at pos.
func (c *Cursor) nextFrame() (err error) {
	w := &c.win
	if at := c.pos - w.base; at >= 0 && at < int64(len(w.buf)) {
		c.frame, err = c.frames.seal.DecodeFrame(w.buf[at:], c.frames.segment, c.pos)
		if err == nil || !errors.Is(err, segment.ErrTorn) {
			return err
		}
	}
	return c.refill() // the frame crosses the end of the block, most likely
}

// refill reads the block that begins with the frame at pos, and decodes that. Blocks grow from one page to
// windowMost, so that a short read stays short.
func (c *Cursor) refill() error {
	f, w := &c.frames, &c.win
	left := f.end - c.pos
	if left <= 0 {
		return f.flaw(c.pos, "fewer events than the index's")
	}
	if err := w.load(f, c.pos, int(min(int64(w.size), left))); err != nil {
		return err
	}
	w.size = min(4*w.size, windowMost)
	n, err := f.seal.FrameLen(w.buf, f.segment, c.pos)
	switch {
	case err != nil:
		return located(err)
	case n > left:
		return f.flaw(c.pos, "frame behind the end")
	case n > int64(len(w.buf)):
		if err := w.load(f, c.pos, int(n)); err != nil {
			return err
		}
	}
	c.frame, err = f.seal.DecodeFrame(w.buf, f.segment, c.pos)
	return located(err)
}
