package coldstart

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"batpak/internal/vfs"
	"batpak/segment"
)

// maxLooks bounds how often a read-only open finds the same thing wrong in a directory that changes under it: what a
// writer has left half done does not stay.
const maxLooks = 8

// openReader is Open for a reader. Beside a writer it may see a directory between two of the writer's steps: what looks
// like damage is judged only when nothing has changed since the look before, or when it stays whatever changes. ctx
// bounds how long it looks. On an error it has released everything but dir.
func openReader(ctx context.Context, cfg Config, dir vfs.Dir) (*State, error) {
	var last *sight
	distrusted := make(map[uint64]bool)
	finding, times := "", 0
	for {
		o := newOpener(cfg, dir)
		o.distrusted = distrusted
		s, err := o.openUnlocked(ctx)
		if err != nil && distrust(distrusted, err) {
			continue
		}
		if err == nil {
			s.follow.base = dir
			return s, nil
		}
		switch {
		case !suspicious(err):
			return nil, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx) // what was found says nothing until it was looked at again
		}
		if finding != err.Error() {
			finding, times = err.Error(), 0
		}
		if times++; times == maxLooks {
			return nil, err
		}
		now, sightErr := o.sight()
		if sightErr != nil {
			return nil, errors.Join(err, sightErr)
		}
		if last != nil && last.same(now) {
			return nil, err
		}
		last = now
	}
}

// suspicious reports whether err may come from reading beside a writer.
func suspicious(err error) bool {
	for _, finding := range []error{ErrCorrupt, ErrTailMissing, ErrHeadMismatch, ErrAbsent, errMoved, vfs.ErrMapFault} {
		if errors.Is(err, finding) {
			return true
		}
	}
	return errors.Is(err, fs.ErrNotExist)
}

// A sight is what a writer changes when it is at work.
type sight struct {
	segments  []segmentFile
	leftovers []string // the results of a compaction among them
	signal    Signal
}

func (o *opener) sight() (*sight, error) {
	signal, _, err := ReadBeacon(o.dir, o.meta.Store)
	if err != nil {
		return nil, err
	}
	l, err := list(o.dir)
	if err != nil {
		return nil, err
	}
	return &sight{l.segments, l.leftovers, signal}, nil
}

func (s *sight) same(t *sight) bool {
	return s.signal == t.signal && slices.Equal(s.segments, t.segments) && slices.Equal(s.leftovers, t.leftovers)
}

func (o *opener) openUnlocked(ctx context.Context) (*State, error) {
	if err := o.identify(false); err != nil {
		return nil, err
	}
	// Evidence first: what it names was there before the directory is listed, beside a writer, too.
	if err := o.readEvidence(); err != nil {
		return nil, err
	}
	if err := o.caches().refuseNewer(); err != nil {
		return nil, err
	}
	if err := o.viewPending(); err != nil {
		return nil, err
	}
	v, err := o.survey(ctx)
	if err != nil {
		return nil, err
	}
	if err := o.trim(ctx, v); err != nil {
		v.close()
		return nil, err
	}
	if v.hidden, err = o.hiddenIn(ctx, v); err != nil {
		v.close()
		return nil, err
	}
	s, err := o.newState(v)
	if err != nil {
		v.close()
		return nil, err
	}
	s.Set.SetVisible(min(s.LastSeq, v.hidden.end))
	s.Pending = nil
	s.follow = newFollower(o, v, s.Folder)
	o.phase("trim")
	s.Report = *o.report
	return s, nil
}

// trim cuts from the survey, in memory, what a reader may not see.
func (o *opener) trim(ctx context.Context, v *survey) error {
	t := v.tail
	if t == nil || t.at.offset <= t.durable || o.relaxed() {
		return nil
	}
	// What is not proven to be durable could still vanish (I3).
	kept, err := o.replay(ctx, t.header, t.at.offset, t.durable)
	if err != nil {
		return err
	}
	t.close()
	t.replay = kept
	return nil
}

// excuse sees to it that what a writer does beside a reader is not taken for damage of the newest segment.
//
// Errors: I/O errors.
func (o *opener) excuse(t *tail) error {
	switch {
	case t.movedOn():
		// What stands behind was written after the scan had looked here, and proves nothing about what it saw.
		t.facts.rest, t.torn, t.lost = restZeroes, 0, 0
		t.durable = t.marked()
	case t.facts.rest == restBytes && !t.half():
		rotated, err := o.rotated(t)
		if err != nil {
			return err
		}
		if rotated {
			// Its footer stands there: the log went on in a segment that was not listed yet. Up to here it holds.
			t.facts.rest, t.torn = restEnd, 0
			t.durable = t.at.offset
		}
	}
	return nil
}

// rotated reports whether a segment is there now that continues t where its frames end.
func (o *opener) rotated(t *tail) (bool, error) {
	h, err := o.successor(t)
	if h == nil || err != nil {
		return false, err
	}
	return h.End == t.at.offset && h.TreeSize == t.header.TreeSize+t.total() && (t.total() == 0 || h.LastSeq == t.at.seq), nil
}

// successor returns the header of the segment behind t, if there is one now and its header holds.
func (o *opener) successor(t *tail) (*segment.Header, error) {
	l, err := list(o.dir)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(l.segments, func(f segmentFile) bool { return f.id > t.link.id })
	if i < 0 {
		return nil, nil
	}
	next := link{segmentFile: l.segments[i]}
	if err := next.read(o.dir, o.meta.Store); err != nil || next.broken != nil || next.header.Previous != t.link.id {
		return nil, err
	}
	return &next.header, nil
}

// errMoved says that a recovery was at work beside the look.
var errMoved = errors.New("coldstart: a recovery has moved frames to a segment that was not listed")

// moved is errMoved when a recovery has ended t since the directory was listed: it moves what a relaxed writer has
// written, and readers have been shown, to the next segment, and no evidence speaks of that.
//
// Errors: I/O errors.
func (o *opener) moved(t *tail) error {
	if o.lock != nil || !o.relaxed() {
		return nil
	}
	if _, err := o.dir.Stat(segment.Name(o.listing.highest + 1)); err != nil {
		return ignoreAbsent(err)
	}
	h, err := o.successor(t)
	if err == nil && h != nil && h.Recovered {
		err = errMoved
	}
	return err
}

// relaxed reports whether the last writer acknowledged before it synced.
func (o *opener) relaxed() bool {
	if o.signal != nil {
		return o.signal.Relaxed
	}
	return o.anchor != nil && o.anchor.Relaxed
}
