package coldstart

import (
	"errors"
	"fmt"
	"io/fs"

	"batpak/event"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A cover is the part of a segment that its index blocks cover, from the segment's start on: its events need not be
// replayed. The zero part, without a block, ends where the segment's frames start.
type cover struct {
	runs      []*index.Sealed
	stretches []stretch
	at        mark                  // behind the last covered frame
	tree      merkle.Range          // over all events up to there
	size      int64                 // of the sound part of the file of blocks
	torn      bool                  // something stands behind that
	reserved  map[event.Kind]uint64 // events of kinds that are the store's own, in the blocks
	reason    error                 // why the walk ended before the end of the file
}

// A stretch is what one block covers.
type stretch struct {
	from mark
	end  mark
}

// events returns how many events c covers; h is the segment's header.
func (c *cover) events(h *segment.Header) uint64 { return c.tree.Size() - h.TreeSize }

func (c *cover) close() {
	for _, r := range c.runs {
		r.Close()
	}
	c.runs = nil
}

// noCover returns the cover of a segment without index blocks.
func noCover(h *segment.Header) *cover {
	tree, _ := merkle.NewRange(h.TreeSize, h.Range) // the chain has checked it
	return &cover{at: startOf(h), tree: tree}
}

// readCover reads the index blocks of the segment with header h, whose file own may be, as far as they hold; frames behind
// limit are not believed in. What does not hold is not an error: the cover then ends in front of it, and says why.
//
// Errors: *[FutureError]; I/O errors.
func readCover(dir vfs.Dir, own *kept, h *segment.Header, limit int64) (*cover, error) {
	file, err := index.OpenBlocks(dir, h, func() (vfs.File, error) { return own.open(dir, h.Segment) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return noCover(h), nil
	case err != nil:
		return nil, err
	}
	defer file.Release()
	c := noCover(h)
	err = file.Guarded(func() error { return c.walk(file, h, limit) })
	if err == nil && len(c.stretches) > 0 {
		err = file.Guarded(func() error { return c.holds(file, h) })
	}
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, segment.ErrFuture):
		c.close()
		return nil, &FutureError{File: segment.BlockName(h.Segment), Err: err}
	}
	c.close()
	if !stepsDown(err) && !errors.Is(err, vfs.ErrMapFault) {
		return nil, fmt.Errorf("read index blocks of segment %06d: %w", h.Segment, err)
	}
	none := noCover(h)
	none.torn, none.reason = true, err
	return none, nil
}

// walk opens the blocks one behind the other, until one does not hold.
func (c *cover) walk(file *index.Blocks, h *segment.Header, limit int64) error {
	var blocks []*segment.Block
	for {
		b, err := file.Open(c.size)
		if err == nil {
			err = c.take(b, h, limit)
		}
		if errors.Is(err, segment.ErrAbsent) {
			break
		}
		if err != nil {
			if !stepsDown(err) {
				return err
			}
			c.torn, c.reason = true, err
			break
		}
		c.size = b.Next
		// The block may stand for earlier ones.
		blocks = append(blocks[:len(c.stretches)-1], b)
	}
	if len(blocks) == 0 {
		return nil
	}
	last := blocks[len(blocks)-1].Foot
	hashes, err := last.Range()
	if err != nil {
		return err
	}
	var ok bool
	if c.tree, ok = merkle.NewRange(last.Summary().TreeSize, hashes); !ok || c.tree.Root() != last.Summary().Root {
		return fmt.Errorf("%w: Merkle range of index block", ErrDamaged)
	}
	c.reserved = make(map[event.Kind]uint64)
	for _, b := range blocks {
		if sum := b.Foot.Summary(); !mayBeReserved(sum.MinKind, sum.MaxKind) {
			continue // mostly, and no page need be read
		}
		// A count is not worth a replay: a page that does not hold is met again by the first read that needs it, and
		// healed then.
		if counts, err := reservedIn(b.Foot); err == nil {
			addKinds(c.reserved, counts)
		}
	}
	for _, b := range blocks {
		c.runs = append(c.runs, file.Run(b))
	}
	return nil
}

// take adds the stretch of b, if b continues what is covered so far, or stands for the end of it.
func (c *cover) take(b *segment.Block, h *segment.Header, limit int64) error {
	s := b.Foot.Summary()
	n := len(c.stretches)
	for n > 0 && c.stretches[n-1].from.offset >= b.From {
		n--
	}
	from := startOf(h)
	if n > 0 {
		from = c.stretches[n-1].end
	}
	switch {
	case b.From != from.offset || s.FirstSeq != from.seq+1 || s.MinHLC <= from.hlc || s.End < c.at.offset:
		return fmt.Errorf("%w: index block does not continue the one before", ErrDamaged)
	case s.LastSeq-s.FirstSeq != s.Events-1 || s.TreeSize-h.TreeSize != s.LastSeq-h.FirstSeq+1:
		return fmt.Errorf("%w: index block of %d events up to sequence %d", ErrDamaged, s.Events, s.LastSeq)
	case s.End > limit:
		return fmt.Errorf("%w: index block up to offset %d, frames end at %d at most", ErrStale, s.End, limit)
	}
	c.at = mark{s.End, s.LastSeq, s.MaxHLC}
	c.stretches = append(c.stretches[:n], stretch{from, c.at})
	return nil
}

// holds checks that the last covered event is where the last block says: that the log is the one that was indexed.
func (c *cover) holds(file *index.Blocks, h *segment.Header) error {
	foot, err := c.runs[len(c.runs)-1].Footer()
	if err != nil {
		return err
	}
	l, err := foot.Locator(foot.Rows() - 1)
	if err != nil {
		return err
	}
	stale := func(why error) error {
		return fmt.Errorf("%w: frame at offset %d that an index block names: %w", ErrStale, l.Offset, why)
	}
	if int64(l.Offset)+int64(l.Length) > c.at.offset {
		return fmt.Errorf("%w: index block names a frame behind its end", ErrDamaged)
	}
	b := make([]byte, l.Length)
	if _, err := file.ReadFrame(b, int64(l.Offset)); err != nil {
		return stale(err)
	}
	frame, err := segment.NewSeal(h.Salt).DecodeFrame(b, h.Segment, int64(l.Offset))
	if err != nil {
		return stale(err)
	}
	var raw event.Raw
	if err := raw.Decode(frame.Body); err != nil {
		return stale(err)
	}
	if raw.Seq != c.at.seq || raw.HLC != c.at.hlc {
		return stale(errors.New("another event"))
	}
	return nil
}
