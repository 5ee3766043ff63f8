package index

import (
	"bytes"
	"errors"

	"batpak/segment"
)

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
		c.work.Frames++
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
		case c.q.Hidden != nil && c.q.Hidden(c.raw.Seq):
			if err := c.guarded(c.jump); err != nil {
				return err
			}
		case c.q.Matches(&c.raw):
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

// jump moves a pass over all frames behind the hidden range in which it stands, if that is known.
func (c *Cursor) jump() error {
	if c.q.NextHidden == nil {
		return nil
	}
	_, to := c.q.NextHidden(c.seq)
	row, err := c.plan.table.rowOfSeq(to)
	if err != nil || row <= c.row {
		return err
	}
	c.row = min(row, c.plan.hi)
	if c.row == c.plan.hi {
		return nil
	}
	p, err := c.plan.table.place(c.row)
	c.pos, c.seq = int64(p.offset), max(c.seq, p.seq-1)
	return err
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
