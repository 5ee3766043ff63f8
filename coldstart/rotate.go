package coldstart

import (
	"errors"
	"fmt"
	"io/fs"

	"batpak/fault"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/segment"
)

// header returns the header of the next segment: it continues segment previous, which ends at end, as tree; its first
// event has sequence first.
func (s *State) header(previous uint64, end mark, tree *merkle.Tree, first uint64) segment.Header {
	h := segment.Header{
		Store: s.StoreID, Segment: s.highest + 1, FirstSeq: first, Created: s.cfg.Now().UnixMilli(),
		Previous: previous, End: end.offset, LastSeq: end.seq, LastHLC: end.hlc,
		TreeSize: tree.Size, Root: tree.Root, Range: tree.Range,
	}
	s.cfg.Random(h.Salt[:])
	return h
}

// Rotate ends the active segment at end, which is where its Writer stands, and starts the next one: Writer and Active
// are then the next one's. When the error is nil everything before is durable, and so is the new segment's header. The
// old segment stays readable from memory; hand what Rotate returns to [State.Seal], at leisure.
//
// For the committer only. When Rotate fails and something of the new segment may have reached the disk, the old
// segment's writer is poisoned: events appended behind the end that a new header names would not be part of the log.
//
// Errors: segment.ErrPoisoned; I/O errors.
func (s *State) Rotate(end End) (Unsealed, error) {
	if at := (segment.Pos{Segment: s.Writer.Header().Segment, Offset: s.Writer.End()}); end.Pos != at {
		panic(fmt.Sprintf("coldstart: rotate at %v, the writer is at %v", end.Pos, at))
	}
	if s.Active.Added() > 0 {
		s.LastSeq, s.LastHLC = s.Active.LastSeq(), end.HLC
	}
	s.NextSeq = end.Seq + 1
	return s.rotate(s.NextSeq)
}

// rotate ends the active segment behind LastSeq; first is the sequence of the next one's first event.
func (s *State) rotate(first uint64) (Unsealed, error) {
	old := s.Writer
	if err := old.Sync(); err != nil {
		return Unsealed{}, err
	}
	tree := s.Folder.Cut()
	h := s.header(old.Header().Segment, mark{old.End(), s.LastSeq, s.LastHLC}, &tree, first)
	h.Recovered = h.FirstSeq != h.LastSeq+1
	w, active, err := s.create(&h)
	if err != nil {
		s.recut = true // the tree's tiles of this segment went with the cut
		if !s.withoutTrace(h.Segment) {
			err = old.Poison(err)
		}
		return Unsealed{}, err
	}
	u := Unsealed{Header: *old.Header(), Next: h, Tree: &tree}
	if s.recut {
		u.Tree, s.recut = nil, false
	}
	if s.Active.Added() == 0 {
		s.Set.Drop(s.Active) // the set tells runs apart by their first sequence
	}
	s.Set.Rotate(active)
	s.Writer, s.Active = w, active
	s.older.push(&h)
	// Everything in the old file is durable; closing it has nothing to say.
	_ = old.Close()
	return u, s.cfg.Hook.Hit(fault.Site{Point: fault.SegmentRotated, Segment: h.Segment, Seq: h.LastSeq})
}

// create makes the file of the segment with header h, durable under its name, and opens it.
func (s *State) create(h *segment.Header) (*segment.Writer, *index.Active, error) {
	w, err := s.file(h)
	if err != nil {
		return nil, nil, err
	}
	active, err := s.activate(h)
	if err == nil {
		err = s.cfg.Hook.Hit(fault.Site{Point: fault.SegmentCreated, Segment: h.Segment, Seq: h.LastSeq})
	}
	if err != nil {
		w.Close()
		return nil, nil, err
	}
	s.highest = h.Segment
	return w, active, nil
}

// activate returns an empty index for the segment with header h.
func (s *State) activate(h *segment.Header) (*index.Active, error) {
	f, err := s.Dir.OpenRead(segment.Name(h.Segment))
	if err != nil {
		return nil, fmt.Errorf("open segment %06d: %w", h.Segment, err)
	}
	return index.NewActive(h, f), nil
}

// withoutTrace reports whether a failed create has left nothing that a crash could bring back.
func (s *State) withoutTrace(id uint64) bool {
	_, err := s.Dir.Stat(segment.Name(id))
	return errors.Is(err, fs.ErrNotExist) && s.Dir.Sync() == nil
}
