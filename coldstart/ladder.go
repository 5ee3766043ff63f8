// Package coldstart finds the state of a store when it is opened, and keeps the artifacts that the next open starts from.
//
// It is a ladder, from the cheapest way to know the log to the one that always works. The first rung that holds serves.
//
//	rung        reads                       holds when                                    then
//	snapshot    index.fbati, mapped         it lists what is there, and the header        footers of what is behind
//	                                        behind it names the same Merkle root          it, the tail
//	checkpoint  index.ckpt, decoded         the same                                      the same
//	footers     SIDX of each older segment  it says what the next segment's header says;  the tail
//	                                        the others are scanned, if any holds
//	frames      every frame                 or Open fails, naming segment and offset      the tail
//
// The tail is the newest segment, which has no footer: its frames are read, and the verdict table says what its end
// is. Only frames are the truth. A rung that does not hold is stepped down from, and the reason kept; an I/O error or a
// corrupt frame ends the open. A rung returns what it made or an error, never something half made.
package coldstart

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"

	"batpak/event"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/planted"
	"batpak/segment"
)

// A Rung is one way to get to the state of a store.
type Rung uint8

// The rungs, from the top of the ladder.
const (
	RungSnapshot   Rung = iota + 1 // index.fbati, mapped
	RungCheckpoint                 // index.ckpt, decoded
	RungFooters                    // the SIDX of every sealed segment
	RungFrames                     // every frame of every segment
)

// String returns the rung's name in lower case.
func (r Rung) String() string {
	switch r {
	case RungSnapshot:
		return "snapshot"
	case RungCheckpoint:
		return "checkpoint"
	case RungFooters:
		return "footers"
	case RungFrames:
		return "frames"
	}
	return fmt.Sprintf("Rung(%d)", uint8(r))
}

// A Report says how an open got to its state. It is complete when Open returns.
type Report struct {
	Rung    Rung   // that held; single segments may have been served by a lower one, see Sources
	Skipped []Skip // rungs and evidence that did not hold, and why
	Verdict string // label of the row of the verdict table that the end of the log fits
	Clean   bool   // the log ended as a clean close leaves it

	Segments int // in the log
	Footers  int // served by their footer
	Scanned  int // older segments served by their frames
	Blocks   int // index blocks that stand for frames of the scanned segments and the newest

	Sources []SourceRange // where the index of each segment came from; in the order of the log

	Restored uint64 // events known without reading their frames
	Replayed uint64 // events whose frames were read
	Frames   uint64 // frames read, of all types
	Fences   uint64 // fence frames among them
	Bytes    int64  // bytes of segments read

	TornBytes   int64  // behind the end of the log that are no frame, zeroes not counted
	LostFrames  uint64 // valid frames behind a hole in the last group, cut with it
	Batches     uint64 // unfinished batches rolled back
	BatchEvents uint64 // events in them that had been written whole
	OpenFences  uint64 // fences that were open when the log ended; this open hides their events for ever
	Moved       uint64 // frames moved to a new file because nothing proves that they are durable
	SkippedSeqs uint64 // sequences given up because a relaxed writer may have shown them to somebody
	Pending     string // what became of a compaction that a crash had interrupted; "" for none

	// Events of kinds that are the store's own and unknown to this version: those read by this open, and those of
	// the log as far as an artifact has kept count of what this open did not read. Never nil.
	Reserved, ReservedTotal map[event.Kind]uint64

	Quarantined []string // files taken out of the log by this open
	Removed     []string // left-overs of crashed replacements removed by this open
	Unknown     []string // names in the directory that are not ours; left alone

	Phases []Phase // in order
}

// A Skip is one rung, or one piece of evidence, that did not hold.
type Skip struct {
	Rung    Rung   // 0 for evidence and for index blocks, which belong to no rung
	Segment uint64 // 0 when it is not about one segment
	Err     error  // wraps ErrAbsent, ErrStale, ErrDamaged, ErrForeign, or an error of package segment
}

func (s Skip) String() string {
	switch {
	case s.Rung == 0:
		return s.Err.Error()
	case s.Segment == 0:
		return fmt.Sprintf("%v: %v", s.Rung, s.Err)
	}
	return fmt.Sprintf("%v of segment %06d: %v", s.Rung, s.Segment, s.Err)
}

// A Phase is one part of an open and the wall time that it took.
type Phase struct {
	Name string
	Took time.Duration
}

// stepsDown reports whether err says that a cache does not hold, and nothing worse.
func stepsDown(err error) bool {
	if errors.Is(err, ErrCorrupt) {
		return false // whatever else it is
	}
	for _, reason := range []error{ErrAbsent, ErrStale, ErrDamaged, ErrForeign, segment.ErrAbsent, segment.ErrDamaged, segment.ErrForeign} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// An olderRun is a segment that is not the newest, made readable in one of two ways.
type olderRun struct {
	link     *link
	sealed   *index.Sealed         // by its footer; nil when it does not hold
	reserved map[event.Kind]uint64 // in it, as its footer says
	frames   *replay               // by its frames; nil when the footer holds
	tree     *merkle.Tree          // at the segment's end, when all of its frames were read
}

func (r *olderRun) close() {
	if r.sealed != nil {
		r.sealed.Close()
	}
	if r.frames != nil {
		r.frames.close()
	}
}

func closeRuns(runs []olderRun) {
	for i := range runs {
		runs[i].close()
	}
}

// restore makes every segment but the newest readable, by the first rung that holds.
func (o *opener) restore(ctx context.Context) ([]olderRun, error) {
	for _, rung := range []struct {
		name    Rung
		restore func(context.Context) ([]olderRun, error)
	}{
		{RungSnapshot, o.fromSnapshot},
		{RungCheckpoint, o.fromCheckpoint},
		{RungFooters, o.fromFooters},
		{RungFrames, o.fromFrames},
	} {
		o.steps.begin(rung.name, len(o.listing.segments))
		runs, err := rung.restore(ctx)
		switch {
		case err == nil:
			o.report.Rung = rung.name
			return runs, nil
		case stepsDown(err):
			o.report.Skipped = append(o.report.Skipped, Skip{Rung: rung.name, Err: err})
		default:
			return nil, fmt.Errorf("restore from %v: %w", rung.name, err)
		}
	}
	panic("coldstart: the frames rung stepped down")
}

// fromFooters serves each older segment by its footer, and scans the ones whose footer does not hold.
func (o *opener) fromFooters(ctx context.Context) ([]olderRun, error) {
	if err := o.wholeChain(ctx); err != nil {
		return nil, err
	}
	runs := o.olderRuns()
	reasons := make([]error, len(runs))
	err := each(ctx, len(runs), func(i int) error {
		reasons[i] = o.useFooter(&runs[i])
		if reasons[i] != nil && !stepsDown(reasons[i]) {
			return reasons[i]
		}
		return nil
	})
	if err == nil && !anySealed(runs) {
		err = fmt.Errorf("%w: no segment has a footer that holds", ErrAbsent)
	}
	if err == nil {
		o.noteSkips(runs, reasons)
		err = o.scanUnsealed(ctx, runs)
	}
	if err != nil {
		closeRuns(runs)
		return nil, err
	}
	return runs, nil
}

// fromFrames reads every frame of every older segment.
func (o *opener) fromFrames(ctx context.Context) ([]olderRun, error) {
	if err := o.wholeChain(ctx); err != nil {
		return nil, err
	}
	runs := o.olderRuns()
	if err := o.scanUnsealed(ctx, runs); err != nil {
		closeRuns(runs)
		return nil, err
	}
	return runs, nil
}

// wholeChain reads the headers of all segments.
func (o *opener) wholeChain(ctx context.Context) (err error) {
	if o.chain == nil {
		o.chain, err = readChain(ctx, o.dir, o.meta.Store, nil, o.listing.segments, &o.kept)
	}
	return err
}

func (o *opener) olderRuns() []olderRun {
	links := o.chain.older()
	runs := make([]olderRun, len(links))
	for i := range links {
		runs[i].link = links[i]
	}
	return runs
}

// each calls work for every i below n, several at once.
func each(ctx context.Context, n int, work func(i int) error) error {
	if n == 1 && ctx.Err() == nil { // what a snapshot leaves, mostly
		return work(0)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * runtime.GOMAXPROCS(0)) // some wait for the disk
	for i := range n {
		group.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return work(i)
		})
	}
	return group.Wait()
}

func anySealed(runs []olderRun) bool {
	for i := range runs {
		if runs[i].sealed != nil {
			return true
		}
	}
	return false
}

func (o *opener) noteSkips(runs []olderRun, reasons []error) {
	for i, err := range reasons {
		if err != nil {
			o.report.Skipped = append(o.report.Skipped, Skip{RungFooters, runs[i].link.id, err})
		}
	}
}

// useFooter serves one segment by its footer, if that says of the segment what the next one's header says.
//
// Errors: those that step down; *[FutureError]; I/O errors.
func (o *opener) useFooter(r *olderRun) error {
	if o.distrusted[r.link.id] {
		return fmt.Errorf("%w: a page of the footer of segment %06d", segment.ErrDamaged, r.link.id)
	}
	s, err := index.OpenSealed(o.dir, o.meta.Store, r.link.id)
	if errors.Is(err, segment.ErrFuture) {
		return &FutureError{File: segment.Name(r.link.id), Err: err}
	}
	if err != nil {
		return err
	}
	sum, next := s.Summary(), r.link.next
	fits := sum.Salt == r.link.header.Salt && sum.End == next.End && sum.Events == r.link.events() &&
		sum.TreeSize == next.TreeSize && sum.Root == next.Root &&
		(sum.Events == 0 || sum.FirstSeq == r.link.header.FirstSeq && sum.LastSeq == next.LastSeq && sum.MaxHLC == next.LastHLC)
	if !fits && !planted.On(planted.FooterCountUnchecked) {
		s.Close()
		return fmt.Errorf("%w: footer of segment %06d and header of %06d disagree", ErrStale, r.link.id, next.Segment)
	}
	err = s.Guarded(func() error {
		foot, err := s.Footer()
		if err == nil {
			r.reserved, err = reservedIn(foot)
		}
		return err
	})
	if err != nil {
		s.Close()
		return err
	}
	if err := o.sealedAs(r.link); err != nil {
		s.Close()
		return err
	}
	r.sealed = s
	o.steps.step(next.LastSeq)
	return nil
}

// sealedAs notes for a reader how the file is now that its footer holds: the writer may have sealed it since the listing.
func (o *opener) sealedAs(l *link) error {
	if o.lock != nil {
		return nil
	}
	e, err := o.dir.Stat(segment.Name(l.id))
	if err != nil {
		return err
	}
	l.size, l.stamp = e.Size, e.Stamp
	return nil
}

// scanUnsealed reads the frames of the segments that have no footer, and checks that they are what the next segment's
// header says.
func (o *opener) scanUnsealed(ctx context.Context, runs []olderRun) error {
	return each(ctx, len(runs), func(i int) error {
		if runs[i].sealed != nil {
			return nil
		}
		return o.scanOlder(ctx, &runs[i])
	})
}

// scanOlder reads one older segment by its frames. Nothing behind the end that the next header names is looked at.
func (o *opener) scanOlder(ctx context.Context, r *olderRun) error {
	l := r.link
	end := l.end()
	if planted.On(planted.FooterDecidesCommitment) {
		end = l.header.Len()
	}
	frames, err := o.replay(ctx, &l.header, end, end)
	if err != nil {
		return err
	}
	tree, whole := frames.cut()
	f := facts{subject: older, rest: restEnd}
	if frames.at.offset != l.end() || frames.half() || frames.total() != l.events() || tree.Root != l.next.Root ||
		l.events() > 0 && frames.at.hlc != l.next.LastHLC {
		f.rest = restBytes
	}
	if v := judge(f); v.do == actCorrupt {
		frames.close()
		return corrupt(l.id, frames.at.offset, frames.at.seq+1, l.next.LastSeq, v.label, frames.fault(l.end()))
	}
	r.frames, r.tree = frames, whole
	o.steps.step(l.next.LastSeq)
	return o.cfg.Hook.Hit(o.site(l.id, frames.at.seq))
}

// fault says why a replay that should have ended at end is not what it should be.
func (r *replay) fault(end int64) error {
	switch f := r.frames.Fault(); {
	case f != nil:
		return f
	case r.half():
		return fmt.Errorf("batch at offset %d has no end", r.at.offset)
	case r.at.offset != end:
		return fmt.Errorf("frames end at offset %d, want %d", r.at.offset, end)
	}
	return errors.New("events are not the ones that the next segment's header names")
}
