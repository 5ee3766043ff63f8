package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"

	"batpak/event"
	"batpak/fault"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// Seal writes the footer of a full segment and serves it from there instead of from memory. Where the index in
// memory holds all of the segment the footer is made from that, else from the frames, each read once, in large blocks.
// Beside it the committer may go on; only one Seal at a time.
//
// A Seal that fails costs time at the next Open and nothing else: the footer never decides what is committed.
//
// Errors: *[CorruptError] when the frames are not what the next segment's header says; the context's; I/O errors.
func (s *State) Seal(ctx context.Context, u Unsealed) error {
	id := u.Header.Segment
	footer, err := s.footerOf(ctx, &u)
	if err == nil {
		err = s.cfg.Hook.Hit(fault.Site{Point: fault.FooterWritten, Segment: id, Seq: u.Next.LastSeq})
	}
	if err == nil {
		err = segment.WriteFooter(s.Dir, id, u.Next.End, footer)
	}
	if err != nil {
		return fmt.Errorf("seal segment %06d: %w", id, err)
	}
	sealed, err := index.OpenSealed(s.Dir, s.StoreID, id)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	var reserved map[event.Kind]uint64
	err = sealed.Guarded(func() error {
		foot, err := sealed.Footer()
		if err == nil {
			reserved, err = reservedIn(foot)
		}
		return err
	})
	var at vfs.Entry
	if err == nil {
		at, err = s.Dir.Stat(segment.Name(id))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("seal: %w", err), sealed.Close())
	}
	s.Set.ReplaceSealed(id, sealed)
	s.older.seal(entry{*sealed.Summary(), segmentFile{id, at.Size, at.Stamp}}, reserved)
	s.dropBlocks(id)
	if err := s.cfg.Hook.Hit(fault.Site{Point: fault.SegmentSealed, Segment: id, Seq: u.Next.LastSeq}); err != nil {
		return err
	}
	return s.writeAnchor(anchorAt(&u.Next, &s.cfg))
}

// anchorAt returns the anchor for the start of the segment with header h.
func anchorAt(h *segment.Header, cfg *Config) Anchor {
	return Anchor{
		End:     segment.Pos{Segment: h.Segment, Offset: h.Len()},
		LastSeq: h.LastSeq, LastHLC: h.LastHLC, TreeSize: h.TreeSize, Root: h.Root,
		Relaxed: cfg.Relaxed, Limit: cfg.SegmentSize,
	}
}

// buildFooter encodes the footer of u from its frames.
func buildFooter(ctx context.Context, dir vfs.Dir, u *Unsealed) ([]byte, error) {
	f, err := dir.OpenRead(segment.Name(u.Header.Segment))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return encodeFooter(ctx, f, u)
}

// encodeFooter encodes the footer of u from its frames in f.
func encodeFooter(ctx context.Context, f io.ReaderAt, u *Unsealed) ([]byte, error) {
	h := &u.Header
	tree, _ := merkle.NewRange(h.TreeSize, h.Range)
	folder := merkle.NewFolder(tree)
	b := segment.NewFooterBuilder(h)
	s := newScan(f, h, startOf(h), u.Next.End, u.Next.End)
	s.each = func(r *event.Raw, offset, length uint32) error {
		if u.Tree == nil {
			folder.Take(r.Hash)
		}
		return b.Add(r, offset, length)
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	end := u.Tree
	if end == nil {
		cut := folder.Cut()
		end = &cut
	}
	if s.at.offset != u.Next.End || s.half() || b.Events() != u.Next.TreeSize-h.TreeSize || end.Root != u.Next.Root {
		return nil, corrupt(h.Segment, s.at.offset, s.at.seq+1, u.Next.LastSeq, "frames end early", nil)
	}
	return b.Finish(nil, segment.FooterEnd{
		Frames: s.count, End: u.Next.End, TreeSize: end.Size, Root: end.Root, Tiles: end.Tiles, Range: end.Range,
	})
}
