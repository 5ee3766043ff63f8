package coldstart

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"batpak/internal/vfs"
)

// maxLooks bounds how often a read-only open looks again at a directory that changes under it.
const maxLooks = 8

// openReader is Open for a reader. Beside a writer it may see a directory between two of the writer's steps: what looks
// like damage is judged only when nothing has changed since the look before. On an error it has released everything
// but dir.
func openReader(ctx context.Context, cfg Config, dir vfs.Dir) (*State, error) {
	var last *sight
	distrusted := make(map[uint64]bool)
	for look := 1; ; look++ {
		o := newOpener(cfg, dir)
		o.distrusted = distrusted
		s, err := o.openUnlocked(ctx)
		if err != nil && distrust(distrusted, err) {
			continue
		}
		if err == nil || !suspicious(err) || look == maxLooks {
			return s, err
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
	for _, finding := range []error{ErrCorrupt, ErrTailMissing, ErrHeadMismatch, ErrAbsent, vfs.ErrMapFault} {
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
	s, err := o.newState(v)
	if err != nil {
		v.close()
		return nil, err
	}
	s.Set.SetVisible(s.LastSeq)
	s.Pending = nil
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

// relaxed reports whether the last writer acknowledged before it synced.
func (o *opener) relaxed() bool {
	if o.signal != nil {
		return o.signal.Relaxed
	}
	return o.anchor != nil && o.anchor.Relaxed
}
