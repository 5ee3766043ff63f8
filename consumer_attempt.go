package batpak

import (
	"errors"
	"fmt"
	"math"

	"batpak/event"
	"batpak/internal/cursors"
)

// inHand notes that ev is about to be handed over, and returns how many runs before have had it in hand when their
// process ended.
//
// To note every event would cost each a write. So a run only notes that it goes on, once, and takes that back at its end
// (endAttempts). One that finds such a note of another run looks closely: it notes each event in front of the handler,
// and before the one that a process has ended with the position is kept, so that the next run begins with it.
func (r *consumerRun) inHand(ev *event.Event) (lost int, err error) {
	if r.c.opts.MaxAttempts == 0 {
		return 0, nil
	}
	if !r.noting {
		r.closely, r.lost, err = r.c.store.beginAttempts(r.c.state)
		if err != nil {
			return 0, err
		}
		r.noting = true
	}
	if r.closely && r.looked == r.c.opts.SaveEvents {
		// Behind what the one before can have handed over without a position: a write an event would be for nothing.
		err = r.handsFree()
		r.closely = false
	}
	if !r.closely || err != nil {
		return 0, err
	}
	r.looked++
	a := cursors.Attempt{Generation: r.at.Generation, Seq: ev.Seq, Times: 1}
	if r.lost.Generation == a.Generation && r.lost.Seq == a.Seq {
		if err := r.save(); err != nil {
			return 0, err
		}
		lost = int(min(r.lost.Times, math.MaxInt32))
		a.Times = uint32(lost) + 1
	}
	return lost, r.c.store.noteAttempt(r.c.state, &a)
}

// handsFree notes that no handler has an event.
func (r *consumerRun) handsFree() error {
	if !r.closely {
		return nil
	}
	return r.c.store.noteAttempt(r.c.state, &cursors.Attempt{Generation: r.at.Generation})
}

// beginAttempts notes that a run of the consumer goes on. left reports whether another one has not come to its end, and
// lost is what it had in hand, as far as that is known.
//
// Errors: [ErrClosed]; *[PositionError] with [ErrPositionFuture]; I/O errors.
func (s *Store) beginAttempts(st *consumerState) (left bool, lost cursors.Attempt, err error) {
	s.consumers.saving.RLock()
	defer s.consumers.saving.RUnlock()
	dir, err := s.cursorDir()
	if err != nil {
		return false, lost, err
	}
	f, left, lost, err := cursors.OpenAttempt(dir, s.state.StoreID, st.name)
	if err != nil {
		return false, lost, fmt.Errorf("attempt of consumer %q: %w", st.name, fileError(st.name, err))
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.attempt != nil {
		err = st.attempt.Close() // of a run whose goroutine ended in the handler
	}
	st.attempt = f
	return left, lost, err
}

// noteAttempt writes what a run has in hand.
//
// Errors: [ErrClosed]; I/O errors.
func (s *Store) noteAttempt(st *consumerState, a *cursors.Attempt) error {
	s.consumers.saving.RLock()
	defer s.consumers.saving.RUnlock()
	st.mu.Lock()
	f := st.attempt
	st.mu.Unlock()
	if f == nil {
		return ErrClosed
	}
	if _, err := f.WriteAt(cursors.AppendAttempt(nil, s.state.StoreID, a), 0); err != nil {
		return fmt.Errorf("attempt of consumer %q: %w", st.name, err)
	}
	return nil
}

// endAttempts notes that the run of the consumer has come to its end, or that the store is closed in an orderly way.
func (s *Store) endAttempts(st *consumerState) error {
	s.consumers.saving.RLock()
	defer s.consumers.saving.RUnlock()
	return s.endAttemptsLocked(st)
}

// endAttemptsLocked is endAttempts for who holds saving.
func (s *Store) endAttemptsLocked(st *consumerState) error {
	st.mu.Lock()
	f := st.attempt
	st.attempt = nil
	st.mu.Unlock()
	if f == nil {
		return nil
	}
	err := f.Close()
	dir, failed := s.cursorDir()
	if failed == nil {
		failed = dir.Remove(cursors.AttemptName(st.name))
	}
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("attempt of consumer %q: %w", st.name, err)
	}
	return nil
}
