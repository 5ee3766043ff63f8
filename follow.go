package batpak

import (
	"context"
	"iter"
	"time"

	"batpak/event"
	"batpak/index"
)

// Follow yields the events that q selects, in commit order: those that there are, then each as it becomes visible,
// without gap or duplicate. It goes on until something ends it, over rotation, compaction, healing and, in a read-only
// store, whatever becomes of the writer in the other process.
//
// Nothing is kept for a follower while its loop body runs: it is told that there is something, and reads it from the log
// when it gets there. A slow one costs the writer nothing.
//
// To go on where another Follow left off, set q.After to the sequence of the last event that it yielded. The sequence
// of an event never changes, so that this holds across reopening, too. Everything that is yielded is visible; in
// SyncInterval and SyncNever that may be ahead of what is durable, and a power failure may take it back: a position that
// is to outlast one is kept once [Store.WaitDurable] has returned for it.
//
// In a read-only store it calls [Store.Refresh] by itself, every [Options.FollowEvery] or less often.
//
// It ends without an error when the loop does, after q.Limit events, and when nothing before q.Before can come any
// more; else with one error, the last thing that it yields. An event's bytes belong to the caller, unless q.Borrow is
// set.
//
// Errors: *[DraftError] for a query that cannot be, or that asks for Reverse; *[CanceledError] when ctx ends; [ErrClosed]
// when the store is closed; *[WriteError] when the writer has failed, after everything that is visible; those of
// [Store.Read] for damage; those of [Store.Refresh] in a read-only store.
func (s *Store) Follow(ctx context.Context, q Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		f, err := s.newFollower(q)
		for err == nil {
			var more bool
			if more, err = f.pull(ctx, func(ev event.Event) bool { return yield(ev, nil) }); !more {
				break
			}
			err = f.wait(ctx)
		}
		if err != nil {
			yield(event.Event{}, err)
		}
	}
}

// A follower is one reader that goes on: it pulls what there is, then waits for more. Consumers and projections are
// followers, too. Not safe for concurrent use.
//
//	f, err := s.newFollower(q)
//	for err == nil {
//		more, err := f.pull(ctx, yield) // everything up to f.at was looked at
//		…
//		err = f.wait(ctx)               // there may be something behind f.at
//	}
type follower struct {
	store  *Store
	q      index.Query // After, Before and Hidden are set for each pull
	borrow bool
	limit  int    // events left; 0 means no limit
	before uint64 // of the caller's query; 0 for none

	// durable: nothing is shown before it is on stable storage. For whoever keeps positions.
	durable bool
	// at is how far the follower has looked: every event up to here that q selects was yielded, and every later one
	// will be. It goes on where nothing is selected, too, and survives as a position as [event.Event.Seq] does.
	at uint64
}

// newFollower returns a follower that begins behind q.After.
//
// Errors: *[DraftError].
func (s *Store) newFollower(q Query) (*follower, error) {
	compiled, err := q.compile()
	if err == nil && q.Reverse {
		err = &DraftError{Field: "Reverse", Reason: "what is followed comes in commit order"}
	}
	if err != nil {
		return nil, err
	}
	return &follower{store: s, q: compiled, borrow: q.Borrow, limit: q.Limit, before: q.Before, at: q.After}, nil
}

// pull yields what there is now behind f.at, and moves that on. more is false when nothing will come any more: yield
// has returned false, or what the query's Limit and Before leave has been yielded. f.at is then the last event yielded,
// or the last sequence before Before.
//
// Errors: those of [Store.Read]. f.at is then where to go on.
func (f *follower) pull(ctx context.Context, yield func(event.Event) bool) (more bool, err error) {
	if f.ended() {
		return false, nil
	}
	end := f.end()
	if end <= f.at {
		return true, f.store.mayRead(ctx)
	}
	q := f.q
	q.After, q.Before = f.at, end+1
	stopped := false
	r := reading{store: f.store, q: q, borrow: f.borrow, limit: f.limit}
	r.yield = func(ev event.Event, failed error) bool {
		if err = failed; err != nil {
			return false
		}
		f.at = ev.Seq
		if f.limit > 0 {
			f.limit--
			stopped = f.limit == 0
		}
		stopped = !yield(ev) || stopped
		return !stopped
	}
	for r.again(ctx) {
	}
	if err != nil || stopped {
		return false, err
	}
	f.at = end
	return !f.ended(), nil
}

// ended reports whether nothing that f shows can come any more, as far as sequences tell.
func (f *follower) ended() bool { return f.before != 0 && f.at+1 >= f.before }

// end returns how far f may look now.
func (f *follower) end() uint64 {
	end := f.store.set.Visible()
	if f.durable {
		end = min(end, f.store.Frontier().Durable)
	}
	if f.before != 0 {
		end = min(end, f.before-1)
	}
	return end
}

// wait returns when there may be something behind f.at that the query selects.
//
// Errors: *[CanceledError]; [ErrClosed]; *[WriteError]; those of [Store.Refresh].
func (f *follower) wait(ctx context.Context) error {
	s := f.store
	if s.opts.ReadOnly {
		return f.poll(ctx)
	}
	if err := s.await(ctx, &s.visible, f.at+1, nil); err != nil || !f.durable {
		return err
	}
	return s.WaitDurable(ctx, f.at+1)
}

// poll looks at the directory until there is something behind f.at.
func (f *follower) poll(ctx context.Context) error {
	for {
		if _, err := f.store.Refresh(ctx); err != nil {
			return err
		}
		if f.end() > f.at {
			return nil
		}
		select {
		case <-time.After(f.store.opts.FollowEvery):
		case <-ctx.Done():
			return &CanceledError{Err: context.Cause(ctx)}
		}
	}
}
