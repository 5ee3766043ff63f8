package coldstart

import (
	"context"
	"time"

	"batpak/segment"
)

// A Healing is one segment whose index was found damaged while it was in use, and is served from memory since.
type Healing struct {
	Segment uint64
	Found   error // what was wrong with the footer, or with an index block
	Took    time.Duration
	Err     error // why it could not be healed; nil when it was
}

// Heal serves a segment from memory whose footer, or index blocks, found says are damaged: it reads the segment's frames,
// which must be what the damaged index says of them as a whole. It reports whether a read that is tried again will not
// meet them any more. The file stays as it is; [Repair] gives the segment a new footer.
//
// Safe for concurrent use. It reads a whole segment and holds its index in memory from then on.
//
// Errors: *[CorruptError] when the frames are damaged too; the context's; I/O errors.
func (s *State) Heal(ctx context.Context, found error) (bool, error) {
	footer := badFooter(found)
	if footer == nil {
		return false, nil
	}
	s.healing.Lock()
	defer s.healing.Unlock()
	sums := s.Set.Footers(footer.Segment)
	if len(sums) == 0 {
		return true, nil // somebody else has
	}
	for i := range s.healed[s.healable:] {
		if h := &s.healed[s.healable+i]; h.Segment == footer.Segment && h.Err != nil {
			return false, h.Err
		}
	}
	start := s.cfg.Now()
	taken, err := s.heal(ctx, footer.Segment, &sums[len(sums)-1])
	switch {
	case ctx.Err() != nil:
		return false, err
	case err == nil && !taken:
		return true, nil // it was sealed meanwhile
	}
	s.healed = append(s.healed, Healing{footer.Segment, found, s.cfg.Now().Sub(start), err})
	s.cfg.Logger.Error("index of a segment is damaged", "segment", footer.Segment, "found", found, "healed", err == nil)
	return err == nil, err
}

// heal reads the frames of a segment up to the end that sum names, and puts them in the place of what sum is of. It reports
// whether that was still there.
func (s *State) heal(ctx context.Context, id uint64, sum *segment.Summary) (taken bool, err error) {
	l := &link{segmentFile: segmentFile{id: id}}
	if err := l.read(s.view, s.StoreID); err != nil {
		return false, err
	}
	h := &l.header
	if l.broken != nil || h.Salt != sum.Salt || rangeHolds(h) != "" {
		return false, corrupt(id, 0, sum.FirstSeq, sum.LastSeq, "header is not that of the segment that was indexed", l.broken)
	}
	r, err := newReplay(ctx, s.view, nil, h, sum.End, sum.End, false)
	if err != nil {
		return false, err
	}
	if tree := r.folder.Cut(); r.at.offset > sum.End || r.half() || r.at.seq != sum.LastSeq || tree.Root != sum.Root {
		r.close()
		return false, corrupt(id, r.at.offset, r.at.seq+1, sum.LastSeq, "frames are not those that were indexed", r.fault(sum.End))
	}
	if !s.Set.Heal(sum, r.active) {
		r.close()
		return false, nil
	}
	return true, nil
}

// Healed returns what was healed since the store was opened, or could not be. The slice is the caller's.
func (s *State) Healed() []Healing {
	s.healing.Lock()
	defer s.healing.Unlock()
	return append([]Healing(nil), s.healed...)
}
