package index

import (
	"bytes"
	"fmt"

	"batpak/event"
	"batpak/internal/vfs"
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
	m     *vfs.Map     // that the run's index lies in; nil: memory
	guard func() error // stepRows, bound once
	work  Work

	// Rows: the run is read through its index.
	walk   seeker
	ahead  ahead
	match  matcher
	frames frames
	win    window
	memory shared

	// Scan: the run is read frame by frame.
	pos         int64  // offset of the next frame
	row         uint32 // of the next event
	first, last place  // of the rows to read
	seq         uint64 // of the event before
	frame       segment.Frame

	raw   event.Raw
	found bool
	err   error

	counting bool // frames are read only where nothing else can tell
}

// A Work is what a cursor has done so far. What a query costs is a small multiple of it, however much the runs hold.
type Work struct {
	Runs   int // runs that were opened: their index was asked what the query names
	Blocks int // stretches of lists that were read, of up to listBlock rows each
	Rows   int // rows that lists or a pass over the columns led to, matches or not
	Frames int // frames that were read and checked
}

// Scan returns a cursor over the events that q selects and v shows. With borrow, what [Cursor.Raw] returns is valid
// until the next call of Next; else every event's bytes are the caller's, and may share [SharedMost] bytes with others.
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
	first, last := v.e.runsOf(c.after+1, c.end-1, &c.q)
	c.next, c.left = first, max(0, last-first+1)
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
		default:
			err = c.guarded(c.guard)
		}
		if err != nil {
			c.fail(err)
		}
	}
	return c.found
}

// Work returns what c has done so far, also when it is closed.
func (c *Cursor) Work() Work { return c.work }

// Raw returns the event that Next found.
func (c *Cursor) Raw() *event.Raw { return &c.raw }

// Err returns what ended the cursor before its end, or nil.
//
// Errors: *[segment.FrameError] and *[segment.FooterError] for damage; [ErrStopped]; I/O errors.
func (c *Cursor) Err() error { return c.err }

// Close gives up the cursor's buffers, and with them what was borrowed. Next returns false from then on. A cursor that
// is not closed costs the next one a buffer, nothing else.
func (c *Cursor) Close() {
	c.win.release()
	*c = Cursor{err: c.err, guard: c.guard, work: c.work}
}

// fail ends the cursor with err.
func (c *Cursor) fail(err error) {
	c.err, c.found, c.open = fmt.Errorf("scan: %w", err), false, false
}

// openRun opens the next run that may hold a match.
func (c *Cursor) openRun() bool {
	for c.left > 0 && c.err == nil {
		if c.q.stopped() {
			c.fail(ErrStopped)
			return false
		}
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

// guarded calls fn so that an index in a file that shrank is an error.
func (c *Cursor) guarded(fn func() error) error {
	if c.m == nil {
		return fn()
	}
	return c.m.Guarded(fn)
}

// openPlan plans the query in r; it returns false when r holds no match.
func (c *Cursor) openPlan(r *run) (ok bool, err error) {
	if r.memory != nil {
		c.m = nil
		return c.begin(r.memory.open())
	}
	if excludes(r.sealed.sum, &c.q) || r.sealed.sum.LastSeq <= c.after || r.sealed.sum.FirstSeq >= c.end {
		return false, nil
	}
	mp, err := r.sealed.open()
	if err != nil {
		return false, err
	}
	c.m = mp.m
	err = c.guarded(func() error {
		ok, err = c.begin(mp)
		return err
	})
	return ok, err
}

// begin starts reading a run.
func (c *Cursor) begin(t table) (bool, error) {
	c.work.Runs++
	var p plan
	var few, none bool
	var err error
	if !c.counting {
		p, few, err = planFew(t, &c.q, c.after, c.end)
	}
	if !few && err == nil {
		p, none, err = makePlan(t, &c.q, c.after, c.end)
	}
	if err != nil || none {
		return false, err
	}
	c.plan, c.frames, c.open = p, t.frames(), true
	c.win.reset()
	c.ahead = ahead{size: c.ahead.size}
	c.win.inside = !p.scan || c.counting
	if !p.scan || c.counting {
		if c.walk = p.walk(c.q.Reverse, &c.work); p.filter.use != 0 || c.q.Hidden != nil {
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

// stepRows takes the next event of the open run that matches; it closes the run at its end.
func (c *Cursor) stepRows() error {
	for {
		if c.ahead.at == c.ahead.n {
			if more, err := c.lookAhead(); !more {
				c.open = false
				return err
			}
		}
		next := c.ahead.places[c.ahead.at:c.ahead.n]
		c.ahead.at++
		if err := c.take(next); err != nil {
			return err
		}
		if c.q.childOf(&c.raw) {
			c.found = true
			return nil
		}
	}
}

// nextRow returns the next row of the open run that lists and columns let pass.
func (c *Cursor) nextRow() (row uint32, ok bool, err error) {
	for {
		row, ok := c.walk.peek()
		if !ok {
			return 0, false, c.walk.err()
		}
		c.walk.next()
		c.work.Rows++
		if c.plan.filter.use != 0 {
			if yes, err := c.match.match(row); err != nil {
				return 0, false, err
			} else if !yes {
				continue
			}
		}
		if c.q.Hidden != nil {
			if seq, err := c.match.seq(row); err != nil {
				return 0, false, err
			} else if c.q.Hidden(seq) {
				if err := c.leave(seq); err != nil {
					return 0, false, err
				}
				continue
			}
		}
		return row, true, nil
	}
}

// leave moves the walker of the open run out of the hidden range that seq lies in, if that is known.
func (c *Cursor) leave(seq uint64) error {
	if c.q.NextHidden == nil {
		return nil
	}
	from, to := c.q.NextHidden(seq)
	if !c.q.Reverse {
		row, err := c.plan.table.rowOfSeq(to)
		c.walk.seek(row)
		return err
	}
	row, err := c.plan.table.rowOfSeq(from)
	if row == 0 {
		c.walk = &spanWalker{}
	} else {
		c.walk.seek(row - 1)
	}
	return err
}

// take reads the frame at the first of places and checks that it is the one that the index means; the others come next.
func (c *Cursor) take(places []place) error {
	c.work.Frames++
	p := places[0]
	b, err := c.bytes(places)
	if err != nil {
		return err
	}
	body, err := c.frames.body(b, int64(p.offset))
	if err != nil {
		return err
	}
	if err := c.frames.decode(&c.raw, body, int64(p.offset)); err != nil {
		return err
	}
	if c.raw.Seq != p.seq {
		return c.frames.flaw(int64(p.offset), "sequence is not the index's")
	}
	return nil
}

// bytes returns the frame at the first of places: the caller's, unless it borrows. From a map it is copied once.
func (c *Cursor) bytes(places []place) ([]byte, error) {
	f, p := &c.frames, places[0]
	if !c.borrow && f.m != nil {
		if int64(p.offset)+int64(p.length) > f.end {
			return nil, f.flaw(int64(p.offset), "frame behind the end")
		}
		b := c.memory.take(places)
		return b, f.readAt(b, int64(p.offset))
	}
	b, err := c.win.frame(f, places)
	if err == nil && !c.borrow {
		own := c.memory.take(places)
		copy(own, b)
		b = own
	}
	return b, err
}

// decode decodes body into the cursor's event, from a copy unless the caller borrows.
func (c *Cursor) decode(body []byte, off int64) error {
	if !c.borrow {
		body = bytes.Clone(body)
	}
	return c.frames.decode(&c.raw, body, off)
}
