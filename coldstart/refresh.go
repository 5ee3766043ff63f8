package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"batpak/segment"
)

// Refresh makes a read-only State show what Open would show now: everything that was durable, or, beside a relaxed
// writer, written, when the call began. It reports whether reads may see anything else than before. It never goes back:
// views that exist stay as they are, and what was shown once is shown from now on.
//
// When nothing is new it costs a look at the newest segment, at the name that the next one would have, and at the beacon
// where frames stand that are not shown yet, or where the writer is relaxed.
// Otherwise it lists the directory and reads what is new: the frames behind the last look, the headers and footers of
// the segments behind. When what it knew is not there any more as it was (segments compacted or repaired, frames moved
// by a recovery, or a last call that failed half way) it builds everything anew as Open does, and views go over to that.
//
// Safe for concurrent use; one call at a time looks, and the others wait for it. In a State that can be written to it
// does nothing. After an error s shows what it did, and the next call tries again.
//
// Errors: *[TailMissingError] and *[HeadMismatchError] when the log does not hold what s shows: the directory was rolled
// back; those of Open; [fs.ErrClosed]; the context's; I/O errors.
func (s *State) Refresh(ctx context.Context) (changed bool, err error) {
	f := s.follow
	if f == nil {
		return false, nil
	}
	if err := f.enter(ctx); err != nil {
		return false, err
	}
	defer f.leave()
	if !f.anew {
		same, err := f.unchanged()
		if same || err != nil {
			return false, err
		}
	}
	ctx, stop := f.within(ctx)
	defer stop()
	if !f.anew {
		changed, err := s.catchUp(ctx)
		if err == nil {
			return changed, nil
		}
		f.anew = true // what is in memory may be half of something
		switch {
		case !errors.Is(err, errAnew) && !suspicious(err) && badFooter(err) == nil:
			return false, err
		case ctx.Err() != nil:
			return false, context.Cause(ctx) // what was found says nothing until it was looked at again
		}
		s.cfg.Logger.Debug("refresh builds everything anew", "why", err)
	}
	return s.rebuild(ctx)
}

// Renew builds a read-only State anew if the files are not those of the last look any more, so that found, the error
// of a read, may be due to that: a segment that was not mapped yet was compacted, or repaired. builds is what
// [State.Builds] was when the read took its view. Renew reports whether a read that is tried again will meet other files.
//
// Errors: as Refresh.
func (s *State) Renew(ctx context.Context, builds uint64, found error) (bool, error) {
	f := s.follow
	if f == nil || !outdated(found) {
		return false, nil
	}
	if err := f.enter(ctx); err != nil {
		return false, err
	}
	defer f.leave()
	if f.builds.Load() != builds {
		return true, nil // somebody else has
	}
	ctx, stop := f.within(ctx)
	defer stop()
	if !f.anew {
		l, err := list(f.dir)
		if err != nil {
			return false, err
		}
		if n := len(f.segments); n <= len(l.segments) && slices.Equal(l.segments[:n], f.segments) {
			return false, nil // it is damage
		}
	}
	f.anew = true
	_, err := s.rebuild(ctx)
	return err == nil, err
}

// outdated reports whether err is one that reading replaced files ends in.
func outdated(err error) bool {
	var frame *segment.FrameError
	return errors.Is(err, fs.ErrNotExist) || badFooter(err) != nil || errors.As(err, &frame)
}

// Builds returns how often the State was built anew since it was opened.
func (s *State) Builds() uint64 {
	if s.follow == nil {
		return 0
	}
	return s.follow.builds.Load()
}

// Known returns how many events a read-only State knows of, and the last sequence of those that are durable. Safe for
// concurrent use.
func (s *State) Known() (events, durable uint64) {
	return s.follow.events.Load(), s.follow.durable.Load()
}

// rebuild opens the store once more and lets s go over to what that finds. The caller has the turn.
func (s *State) rebuild(ctx context.Context) (changed bool, err error) {
	f := s.follow
	cfg := s.cfg
	cfg.ExpectHead, cfg.Progress = nil, nil
	n, err := openReader(ctx, cfg, f.base)
	if err != nil {
		return false, err
	}
	if err := s.continuedBy(n); err != nil {
		return false, errors.Join(err, n.Set.Close(), n.evicted.close())
	}
	if err := n.evicted.close(); err != nil { // it is for writers
		return false, errors.Join(err, n.Set.Close())
	}
	changed = n.Set.Visible() != s.Set.Visible() || !n.Hidden.Equal(f.hidden)
	s.healing.Lock()
	err = s.Set.TakeOver(n.Set)
	s.healable, s.view = len(s.healed), n.Dir
	s.healing.Unlock()
	f.take(n.follow)
	s.show(n.Set.Visible())
	f.builds.Add(1)
	if err != nil { // of closing what nobody uses
		s.cfg.Logger.Warn("refresh", "err", err)
	}
	return changed, nil
}

// show makes everything up to last visible, but what is hidden.
func (s *State) show(last uint64) {
	if s.Hide != nil {
		s.Hide(s.follow.hidden)
	}
	s.Set.SetVisible(last)
}

// continuedBy checks that n, opened later, shows what s shows, or that it was compacted since.
//
// Errors: *[TailMissingError]; *[HeadMismatchError].
func (s *State) continuedBy(n *State) error {
	last := s.Set.Visible()
	if last == 0 {
		return nil
	}
	lost := &TailMissingError{
		Have: n.follow.end(), HaveSeq: n.LastSeq, Want: s.follow.end(), WantSeq: last, Evidence: "view shown before",
	}
	if n.LastSeq < last {
		return lost
	}
	old, now := s.Set.Acquire(), n.Set.Acquire()
	if old == nil {
		now.Release()
		return fs.ErrClosed
	}
	defer old.Release()
	defer now.Release()
	was, ok, err := old.EventBySeq(last)
	if err != nil || !ok {
		return nil // its file is gone, so nobody can compare
	}
	is, ok, err := now.EventBySeq(last)
	switch {
	case err != nil:
		return fmt.Errorf("event %d: %w", last, err)
	case ok && is.Hash != was.Hash:
		return &HeadMismatchError{Want: Head{last, was.Hash}, LastSeq: n.LastSeq, Hash: is.Hash}
	case !ok && n.follow.skips(last):
		return lost
	}
	return nil
}
