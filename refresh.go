package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// Refresh makes a read-only store show what is new in its directory. When the error is nil, reads that begin from now on
// see everything that was durable when the call began, or, beside a writer in SyncInterval or SyncNever, everything
// that was written: what a fresh Open would show. changed says whether that is anything else than before.
//
// The store never goes back: what it has shown it shows for as long as the log holds it, and reads under way keep the
// view that they began with. With nothing new a call costs a few microseconds, whatever the store holds: it may be
// called before each read. Otherwise it costs what is new. When segments were compacted or repaired meanwhile, or the
// writer has recovered from a crash in a way that moved events to other files, it costs an Open.
//
// Refresh is safe for concurrent use, with itself, with reads and with Close. ctx bounds it. In a writable store there is
// nothing to do: it returns false and nil. [Store.OpenReport] goes on telling of Open; [Store.Stats] follows.
//
// After an error the store shows what it showed before, and the next call tries again.
//
// Errors: [ErrClosed]; *[CanceledError]; *coldstart.TailMissingError and *coldstart.HeadMismatchError when the log does
// not hold what the store shows, since its directory was rolled back or a power failure took what a relaxed writer had
// not synced; those of [Open]; any I/O error.
func (s *Store) Refresh(ctx context.Context) (changed bool, err error) {
	if s.closed.Load() {
		return false, ErrClosed
	}
	changed, err = s.state.Refresh(ctx)
	switch {
	case err == nil:
		s.visible.Store(s.set.Visible())
		return changed, nil
	case s.closed.Load() && (errors.Is(err, fs.ErrClosed) || errors.Is(err, context.Canceled)):
		return false, ErrClosed
	case ctx.Err() != nil:
		return false, &CanceledError{Err: context.Cause(ctx)}
	}
	return false, fmt.Errorf("refresh: %w", err)
}
