package coldstart

import (
	"context"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/hidden"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A HiddenError says that nobody knows which events must not be seen: the file that tells it is there and does not
// hold. Open goes no further, since it would show them. The log tells the same: repair derives the file from it.
type HiddenError struct {
	File string
	Err  error // wraps ErrDamaged or ErrForeign, and the finding of package hidden
}

func (e *HiddenError) Error() string {
	return fmt.Sprintf("%s: %v; batpak repair rebuilds it from the fence frames in the log", e.File, e.Err)
}

// Unwrap returns the finding.
func (e *HiddenError) Unwrap() error { return e.Err }

// readHidden returns what is known of hidden events without reading the log. Without a file nothing is known: the zero
// File covers nothing.
//
// Errors: *[HiddenError]; *[FutureError]; I/O errors.
func (o *opener) readHidden() (hidden.File, error) {
	if o.lock != nil && !o.listing.has(hidden.FileName) {
		return hidden.File{}, nil
	}
	return readHidden(o.dir, o.meta.Store)
}

func readHidden(dir vfs.Dir, store [16]byte) (hidden.File, error) {
	f, err := hidden.Read(dir, store)
	switch {
	case errors.Is(err, hidden.ErrAbsent):
		return hidden.File{}, nil
	case errors.Is(err, hidden.ErrFuture):
		return f, &FutureError{File: hidden.FileName, Err: err}
	case errors.Is(err, hidden.ErrForeign):
		return f, &HiddenError{hidden.FileName, fmt.Errorf("%w: %w", ErrForeign, err)}
	case errors.Is(err, hidden.ErrDamaged):
		return f, &HiddenError{hidden.FileName, fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	return f, err
}

// hiddenIn returns what is hidden in a log whose newest segment ends in t: what is known, and what the fence frames behind
// that say. Events whose fence nobody has decided are hidden too: whoever could have is gone, or has not yet.
func (o *opener) hiddenIn(ctx context.Context, known hidden.File, t *tail) (hidden.Set, error) {
	if t == nil || t.fences == 0 {
		return known.Set, nil
	}
	tracker, err := rebuildHidden(ctx, o.dir, known, o.chain.frameRanges(t.at.offset))
	if err != nil {
		return hidden.Set{}, err
	}
	if _, open := tracker.Undecided(); open && o.lock != nil {
		o.report.OpenFences++
	}
	return tracker.End().Set, nil
}

// WriteHidden makes f durable. Every event up to f.Covers, and every fence frame that decides one of them, must be
// durable before; one goroutine at a time.
//
// Errors: *[hidden.FileError] with [hidden.ErrLimit]; I/O errors; the file before this one then still holds.
func (s *State) WriteHidden(f hidden.File) error { return hidden.Write(s.Dir, s.StoreID, &f) }

// A frameRange is the frames of one segment in [header.Len(), end).
type frameRange struct {
	header *segment.Header
	end    int64  // bytes from start of file
	last   uint64 // no event above this sequence stands in it
}

// frameRanges returns the whole log: every older segment up to where the next header ends it, and the newest up to end.
func (c *chain) frameRanges(end int64) []frameRange {
	var ranges []frameRange
	for _, l := range c.links {
		r := frameRange{header: &l.header, end: end, last: ^uint64(0)}
		if l.next != nil {
			r.end, r.last = l.end(), l.next.LastSeq
		}
		ranges = append(ranges, r)
	}
	return ranges
}

// rebuildHidden goes on from known and derives what hides from the log: events name the fence that staged them, and the
// fence frames behind them say what became of it. Segments that known covers are not read; from the zero File it reads
// everything. What the log leaves undecided is in the result's End and not in its Settled.
//
// Errors: *[CorruptError] for a segment whose frames end before they should; those of a scan; I/O errors.
func rebuildHidden(ctx context.Context, dir vfs.Dir, known hidden.File, log []frameRange) (*hidden.Tracker, error) {
	t := hidden.NewTracker(known)
	for _, r := range log {
		if r.last <= known.Covers {
			continue
		}
		if err := trackSegment(ctx, dir, t, r); err != nil {
			return nil, fmt.Errorf("rebuild hidden ranges: %w", err)
		}
	}
	return t, nil
}

// trackSegment shows the frames of one segment to t.
func trackSegment(ctx context.Context, dir vfs.Dir, t *hidden.Tracker, r frameRange) error {
	id := r.header.Segment
	f, err := dir.OpenRead(segment.Name(id))
	if err != nil {
		return fmt.Errorf("open segment %06d: %w", id, err)
	}
	defer f.Close()
	s := newScan(f, r.header, startOf(r.header), r.end, r.end)
	s.each = func(*event.Raw, uint32, uint32) error { return nil }
	s.track(t)
	if err := s.run(ctx); err != nil {
		return err
	}
	if s.at.offset != r.end {
		var fault error
		if f := s.frames.Fault(); f != nil {
			fault = f
		}
		return corrupt(id, s.at.offset, s.at.seq+1, 0, "frames end early", fault)
	}
	return nil
}

// track shows every event and every fence frame that the scan takes to t, in the order of the log.
func (s *scan) track(t *hidden.Tracker) {
	each := s.each
	s.each = func(r *event.Raw, offset, length uint32) error {
		if err := each(r, offset, length); err != nil {
			return err
		}
		t.Event(r.Seq, r.Fence)
		return nil
	}
	s.fence = func(f *segment.Fence) {
		switch f.Op {
		case segment.FenceBegin:
			t.Begin(f.Fence)
		case segment.FenceCommit:
			t.Commit(f.Fence)
		case segment.FenceCancel:
			t.Cancel(f.Fence)
		}
	}
}
