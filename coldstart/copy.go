package coldstart

import (
	"context"

	"batpak/index"
	"batpak/segment"
)

// copyStretch adds the events behind from up to sequence last of the segment with header h to b, which is empty, from
// the index in memory. ok is false when that does not hold all of them, or says something else than the frames do: they
// are to be read then, and tell what is wrong. end is behind the last event, or behind the frames of other types that
// stand between that and until.
func (s *State) copyStretch(
	c *index.Copier, b *segment.FooterBuilder, h *segment.Header, from mark, last uint64, until int64,
) (end mark, frames uint64, ok bool) {
	v := s.Set.Acquire()
	if v == nil {
		return end, 0, false
	}
	defer v.Release()
	memory := v.Memory(h.Segment)
	if memory == nil {
		return end, 0, false
	}
	stretch, ok := memory.Stretch(from.seq+1, last)
	if !ok {
		return end, 0, false
	}
	end.offset, end.hlc = stretch.End()
	end.seq = last
	frames = last - from.seq
	gap := func(from, to int64) error {
		n, err := countFrames(stretch, h, from, to)
		frames += n
		return err
	}
	err := c.Copy(b, stretch, from.offset, gap)
	if err == nil && end.offset < until {
		err, end.offset = gap(end.offset, until), until
	}
	return end, frames, err == nil
}

// countFrames returns how many frames stand between two events, in [from, to) of the file of the segment with header h.
//
// Errors: *[CorruptError]; I/O errors.
func countFrames(s index.Stretch, h *segment.Header, from, to int64) (n uint64, err error) {
	if to-from == segment.BatchLen {
		return 1, nil // no other frames are as long together
	}
	sc := segment.NewScanner(s.File(), h, from, to)
	at := from
	for ; sc.Next(); n++ {
		at = sc.Frame().End()
	}
	if err := sc.Err(); err != nil {
		return 0, err
	}
	if at != to {
		return 0, corrupt(h.Segment, at, 0, 0, "no frame", nil)
	}
	return n, nil
}

// footerOf encodes the footer of u: from the index in memory if that holds all of it, else from its frames.
func (s *State) footerOf(ctx context.Context, u *Unsealed) ([]byte, error) {
	if footer, ok := s.copyFooter(u); ok {
		return footer, nil
	}
	return buildFooter(ctx, s.Dir, u)
}

// copyFooter encodes the footer of u from the index in memory; ok is false when that does not hold all of it.
func (s *State) copyFooter(u *Unsealed) (footer []byte, ok bool) {
	h, next := &u.Header, &u.Next
	if u.Tree == nil || u.Tree.Root != next.Root || next.TreeSize == h.TreeSize || u.Tree.Size != next.TreeSize {
		return nil, false
	}
	var c index.Copier
	b := segment.NewFooterBuilder(h)
	end, frames, ok := s.copyStretch(&c, b, h, startOf(h), next.LastSeq, next.End)
	if !ok || b.Events() != next.TreeSize-h.TreeSize || end.offset != next.End || end.hlc != next.LastHLC {
		return nil, false
	}
	footer, err := b.Finish(nil, segment.FooterEnd{
		Frames: frames, End: next.End, TreeSize: u.Tree.Size, Root: u.Tree.Root, Tiles: u.Tree.Tiles, Range: u.Tree.Range,
	})
	return footer, err == nil
}
