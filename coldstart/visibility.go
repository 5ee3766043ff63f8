package coldstart

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"batpak/event"
	"batpak/fault"
	"batpak/hidden"
	"batpak/internal/planted"
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

// readHidden returns what is known of hidden events without reading the log. In a log without fences nothing needs to be
// known: the zero File covers nothing.
//
// Errors: *[HiddenError], also when the file is missing and the log may hold fences; *[FutureError]; I/O errors.
func (o *opener) readHidden() (hidden.File, error) {
	if o.lock != nil && !o.listing.has(hidden.FileName) {
		return hidden.File{}, o.hiddenAbsent()
	}
	f, err := hidden.Read(o.dir, o.meta.Store)
	switch {
	case errors.Is(err, hidden.ErrAbsent):
		return hidden.File{}, o.hiddenAbsent()
	case errors.Is(err, hidden.ErrFuture):
		return f, &FutureError{File: hidden.FileName, Err: err}
	case errors.Is(err, hidden.ErrForeign):
		return f, &HiddenError{hidden.FileName, fmt.Errorf("%w: %w", ErrForeign, err)}
	case errors.Is(err, hidden.ErrDamaged):
		return f, &HiddenError{hidden.FileName, fmt.Errorf("%w: %w", ErrDamaged, err)}
	}
	o.fenced = o.fenced || err == nil
	return f, err
}

// hiddenAbsent says what a missing file means. It was made before the first fence.
func (o *opener) hiddenAbsent() error {
	if !o.meta.Fenced {
		return nil
	}
	return &HiddenError{hidden.FileName, ErrAbsent}
}

// A visibility is what an open knows of fences.
type visibility struct {
	hidden.File        // what reads do not show, for good
	end         uint64 // what lies behind this sequence waits for a fence; MaxUint64 when nothing waits
	stale       bool   // the log said more than the file
	ahead       bool   // the file spoke of events that are not in the log
}

// hiddenIn returns what is hidden in the log of v: what is known, and what the fence frames behind that say. Events whose
// fence nobody has decided are hidden too when this open takes the writer's place: whoever could have decided is gone.
// A reader stops in front of them, since the writer may live.
func (o *opener) hiddenIn(ctx context.Context, v *survey) (visibility, error) {
	t, known := v.tail, o.known
	last := uint64(0)
	if t != nil {
		last = t.lastSeq()
	}
	seen := visibility{File: known, end: math.MaxUint64}
	if known.Covers > last && o.lock != nil {
		// Of events that are gone nothing is known: others will have their sequences.
		seen.File = hidden.File{Set: known.Set.Below(last + 1), Covers: last, LastFence: known.LastFence}
		seen.ahead = true
	}
	if t == nil || !o.fenced && !o.meta.Fenced && !v.fenced() || last <= known.Covers {
		return seen, nil
	}
	o.fenced, seen.stale = true, true
	log := o.chain.frameRanges(t.at.offset)
	log[len(log)-1].start = t.cover.before(known.Covers)
	tracker, err := rebuildHidden(ctx, o.dir, known, log)
	if err != nil {
		return visibility{}, err
	}
	first, open := tracker.Front()
	if o.lock != nil {
		o.report.OpenFences += uint64(tracker.Open())
		if seen.File = tracker.End(); planted.On(planted.OpenFenceShownAfterCrash) {
			seen.File = tracker.Settled()
			seen.Covers = last
		}
		if planted.On(planted.CancelForgottenAtOpen) {
			seen.Set = known.Set
		}
		return seen, nil
	}
	if open {
		seen.end = first - 1
	}
	seen.File = tracker.Settled()
	return seen, nil
}

// fenced reports whether frames that were read tell of a fence. Where the disk has kept what it was told, the store's
// identity has said so.
func (v *survey) fenced() bool {
	return v.tail.fenced || slices.ContainsFunc(v.runs, func(r olderRun) bool { return r.frames != nil && r.frames.fenced })
}

// before returns the last place between index blocks that no event above seq stands in front of; the zero mark when the
// segment has to be read from its start.
func (c *cover) before(seq uint64) (at mark) {
	for _, s := range c.stretches {
		if s.end.seq <= seq {
			at = s.end
		}
	}
	return at
}

// WriteHidden makes f durable. Every event up to f.Covers, and every fence frame that decides one of them, must be
// durable before; one goroutine at a time.
//
// Errors: *[hidden.FileError] with [hidden.ErrLimit]; I/O errors; the file before this one then still holds.
func (s *State) WriteHidden(f hidden.File) error {
	if err := hidden.Write(s.Dir, s.StoreID, &f); err != nil {
		return err
	}
	return s.cfg.Hook.Hit(fault.Site{Point: fault.HiddenWritten, Seq: f.Covers})
}

// Fence prepares the store for fences, once in its life: before the first fence frame is written the file of hidden
// ranges is there, and the store's identity says that it must be. covered is the last sequence that is durable and in
// no fence. Later calls do nothing. One goroutine at a time.
//
// Errors: I/O errors; the store then still has no fences.
func (s *State) Fence(covered uint64) error {
	if s.Fenced {
		return nil
	}
	f := s.Fences
	f.Covers = max(f.Covers, covered)
	if err := s.WriteHidden(f); err != nil {
		return fmt.Errorf("prepare for fences: %w", err)
	}
	m := meta{Store: s.StoreID, Created: s.created, Fenced: !planted.On(planted.FencesUnmarked)}
	err := createMeta(s.Dir, &m)
	if err == nil {
		err = s.cfg.Hook.Hit(fault.Site{Point: fault.FencesMarked, Seq: f.Covers})
	}
	if err != nil {
		return fmt.Errorf("prepare for fences: %w", err)
	}
	s.Fenced, s.Fences = true, f
	return nil
}

// A frameRange is the frames of one segment in [header.Len(), end).
type frameRange struct {
	header *segment.Header
	end    int64  // bytes from start of file
	last   uint64 // no event above this sequence stands in it
	start  mark   // where to begin; zero: behind the header
	listed bool   // header has no range: it is to be read again
}

// frameRanges returns the whole log: every older segment up to where the next header ends it, and the newest up to end.
func (c *chain) frameRanges(end int64) []frameRange {
	var ranges []frameRange
	for _, l := range c.links {
		r := frameRange{header: &l.header, end: end, last: math.MaxUint64, listed: l.listed}
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
	if r.listed {
		l := link{segmentFile: segmentFile{id: id}}
		if err := errors.Join(l.read(dir, r.header.Store), l.broken); err != nil {
			return err
		}
		r.header = &l.header
	}
	f, err := dir.OpenRead(segment.Name(id))
	if err != nil {
		return fmt.Errorf("open segment %06d: %w", id, err)
	}
	defer f.Close()
	if r.start.offset == 0 {
		r.start = startOf(r.header)
	}
	s := newScan(f, r.header, r.start, r.end, r.end)
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
