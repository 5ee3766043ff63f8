package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"batpak/event"
	"batpak/index"
)

// Head returns the last event of a stream: of the entity's main branch for lane 0.
//
// Errors: [ErrNotFound] when it has none; [ErrClosed]; *segment.FrameError and *segment.FooterError for damage.
func (s *Store) Head(ctx context.Context, entity string, lane uint32) (Head, error) {
	var h index.Head
	var ok bool
	err := s.look(ctx, func(v *index.View) (err error) {
		h, ok, err = v.Head(entity, lane)
		return err
	})
	if err != nil {
		return Head{}, fmt.Errorf("head of %q lane %d: %w", entity, lane, err)
	}
	if !ok {
		return Head{}, fmt.Errorf("%w: stream %q lane %d is empty", ErrNotFound, entity, lane)
	}
	return Head{Seq: h.Seq, ID: h.ID, Clock: h.Clock, Lane: lane, Hash: h.Hash}, nil
}

// Event returns the event with the given ID. Its bytes belong to the caller.
//
// Errors: [ErrNotFound]; [ErrClosed]; *segment.FrameError and *segment.FooterError for damage.
func (s *Store) Event(ctx context.Context, id event.ID) (event.Event, error) {
	if err := s.mayRead(ctx); err != nil {
		return event.Event{}, err
	}
	builds := s.state.Builds()
	v := s.set.Acquire() // inlined, so that it stays on the stack
	if v == nil {
		return event.Event{}, ErrClosed
	}
	ev, ok, err := v.EventByID(id)
	v.Release()
	if err != nil {
		ev, ok, err = s.eventAgain(ctx, again{builds: builds}, err, id)
	}
	if err != nil {
		return event.Event{}, fmt.Errorf("event %v: %w", id, err)
	}
	if !ok || s.hidden.contains(ev.Seq) {
		return event.Event{}, fmt.Errorf("%w: ID %v", ErrNotFound, id)
	}
	return ev, nil
}

// eventAgain is Event after a failure. It is apart so that what its closure shares is not on the heap of every Event.
func (s *Store) eventAgain(ctx context.Context, a again, err error, id event.ID) (ev event.Event, ok bool, _ error) {
	err = s.lookAgain(ctx, a, err, func(v *index.View) (err error) {
		ev, ok, err = v.EventByID(id)
		return err
	})
	return ev, ok, err
}

// EventAt returns the event with the given sequence. Its bytes belong to the caller.
//
// Errors: as [Store.Event].
func (s *Store) EventAt(ctx context.Context, seq uint64) (event.Event, error) {
	var ev event.Event
	var ok bool
	err := s.look(ctx, func(v *index.View) (err error) {
		ev, ok, err = v.EventBySeq(seq)
		return err
	})
	if err != nil {
		return event.Event{}, fmt.Errorf("event at sequence %d: %w", seq, err)
	}
	if !ok || s.hidden.contains(seq) {
		return event.Event{}, fmt.Errorf("%w: sequence %d", ErrNotFound, seq)
	}
	return ev, nil
}

// look calls fn with what a read that begins now may see, and again when a footer that it met was damaged and healed, or
// when files of a read-only store had been replaced.
func (s *Store) look(ctx context.Context, fn func(*index.View) error) error {
	builds := s.state.Builds()
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	err = fn(v)
	v.Release()
	if err == nil {
		return nil
	}
	return s.lookAgain(ctx, again{builds: builds}, err, fn)
}

// lookAgain is look after a failure.
func (s *Store) lookAgain(ctx context.Context, a again, err error, fn func(*index.View) error) error {
	for err != nil {
		if err = s.mend(ctx, &a, err); err != nil {
			return err
		}
		v, gone := s.view(ctx)
		if gone != nil {
			return gone
		}
		err = fn(v)
		v.Release()
	}
	return nil
}

// An again is what is known of a read that may have to begin again.
type again struct {
	builds  uint64 // of the state, before the read took its view
	renewed bool   // the read has begun again for that reason
}

// mend sees to it that a read that ended in err can begin again; otherwise it returns what to say of it.
func (s *Store) mend(ctx context.Context, a *again, err error) error {
	if s.closed.Load() && errors.Is(err, fs.ErrClosed) {
		return ErrClosed // a segment that was to be mapped first
	}
	if errors.Is(err, index.ErrStopped) {
		return s.mayRead(ctx) // which says why
	}
	if s.opts.ReadOnly && !a.renewed {
		renewed, failed := s.state.Renew(ctx, a.builds, err)
		if failed != nil {
			return fmt.Errorf("%w; files were replaced, looking again: %w", err, failed)
		}
		if renewed {
			a.renewed = true
			return nil
		}
	}
	if healed, _ := s.state.Heal(ctx, err); healed {
		return nil
	}
	return err
}

// mayRead refuses reads that need not be tried.
func (s *Store) mayRead(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return &CanceledError{Err: context.Cause(ctx)}
	}
	return nil
}

// view returns what a read that begins now may see; the caller releases it.
func (s *Store) view(ctx context.Context) (*index.View, error) {
	if err := s.mayRead(ctx); err != nil {
		return nil, err
	}
	v := s.set.Acquire()
	if v == nil {
		return nil, ErrClosed
	}
	return v, nil
}
