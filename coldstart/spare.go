package coldstart

import (
	"sync"
	"sync/atomic"

	"batpak/segment"
)

// A spareSlot holds the file that waits to become the next segment, if one does. Safe for concurrent use.
type spareSlot struct {
	mu     sync.Mutex
	spare  *segment.Spare
	tried  atomic.Uint64 // segment that a spare was made for last, or failed to be; written with mu held
	closed bool
}

// NeedsNext reports whether it is time for PrepareNext. Safe for concurrent use.
func (s *State) NeedsNext(w *segment.Writer) bool {
	return w.NeedsSpare() && s.next.tried.Load() <= w.Header().Segment
}

// PrepareNext fills the file that the next segment will use, unless that was done or tried before. It is for the
// background; the committer goes on beside it. A failed PrepareNext costs speed and nothing else.
//
// Errors: I/O errors.
func (s *State) PrepareNext(active uint64) error {
	p := &s.next
	p.mu.Lock()
	done := p.closed || p.tried.Load() > active
	if !done {
		p.tried.Store(active + 1)
	}
	p.mu.Unlock()
	if done {
		return nil
	}
	spare, err := segment.NewSpare(s.Dir, active+1, s.cfg.SegmentSize)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.spare != nil || s.past(active) {
		spare.Discard()
		return nil
	}
	p.spare = spare
	return nil
}

// past reports whether a segment behind active was made without a spare in the meantime.
func (s *State) past(active uint64) bool {
	_, err := s.Dir.Stat(segment.Name(active + 1))
	return err == nil
}

// take returns the spare, which is then the caller's, or nil.
func (p *spareSlot) take() *segment.Spare {
	p.mu.Lock()
	defer p.mu.Unlock()
	spare := p.spare
	p.spare = nil
	return spare
}

// close discards the spare and lets no other in.
func (p *spareSlot) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	if spare := p.take(); spare != nil {
		spare.Discard()
	}
}

// file makes the file of the segment with header h: from the spare if there is one.
func (s *State) file(h *segment.Header) (*segment.Writer, error) {
	if spare := s.next.take(); spare != nil {
		return spare.Create(h, s.cfg.SegmentSize, s.cfg.FillAhead)
	}
	return segment.Create(s.Dir, h, s.cfg.SegmentSize, s.cfg.FillAhead)
}
