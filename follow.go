package batpak

import (
	"context"
	"iter"
	"math"

	"batpak/event"
	"batpak/index"
)

// Follow yields the events that q selects, in commit order: those that there are, then each as it becomes visible,
// without gap or duplicate. It goes on until something ends it, over rotation, compaction, healing and, in a read-only
// store, whatever becomes of the writer in the other process.
//
// Nothing is kept for a follower while its loop body runs: it is told that there is something, and reads it from the log
// when it gets there. A slow one costs the writer nothing, and one that nothing is for is not woken.
//
// To go on where another Follow left off, set q.After to the sequence of the last event that it yielded, whatever it
// was that ended it. An event's sequence never changes, so this holds in another process, too. A position ahead of the
// log waits for the log; who fears a directory that was rolled back keeps the event's hash as well, for
// [Options.ExpectHead]. Everything that is yielded is visible: what an open fence has staged is waited for, and what a
// cancelled one had staged never comes. In SyncInterval and SyncNever that may be ahead of what is durable, and a power
// failure may take it back: a position that is to outlast one is kept once [Store.WaitDurable] has returned for it.
//
// In a read-only store it calls [Store.Refresh] by itself; see [Options.FollowEvery].
//
// It ends without an error when the loop does, after q.Limit events, and when nothing in front of q.Before and q.ToHLC can
// come any more; else with one error, the last thing that it yields. An event's bytes belong to the caller, unless
// q.Borrow is set.
//
// Errors: *[DraftError] and *[LimitError] for a query that cannot be, or that asks for Reverse; *[CanceledError] with the
// cause of ctx when that ends; [ErrClosed] as soon as the store is closed; *[WriteError] when the writer has failed, after
// everything that is visible; those of [Store.Read] for damage; in a read-only store those of [Store.Refresh].
func (s *Store) Follow(ctx context.Context, q Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		if err := s.follow(ctx, q, func(ev event.Event) bool { return yield(ev, nil) }); err != nil {
			yield(event.Event{}, err) // nothing is kept for the follower any more, however long the loop takes over it
		}
	}
}

// follow is Follow with one follower, which is gone when it returns.
func (s *Store) follow(ctx context.Context, q Query, yield func(event.Event) bool) error {
	f, err := s.newFollower(q)
	if err != nil {
		return err
	}
	defer f.close()
	return f.follow(ctx, yield)
}

// A follower is one reader that goes on: it pulls what there is, then waits for more. Whatever goes on as the log does is
// made of it. Not safe for concurrent use, but that several goroutines may use one after the other.
//
//	f, err := s.newFollower(q)
//	defer f.close()
//	more, err := f.pull(ctx, yield) // everything up to f.at was looked at
//	err = f.wait(ctx)               // there is something to look at behind f.at
type follower struct {
	store  *Store
	q      index.Query // After, Before and Hidden are set for each pull
	borrow bool
	limit  int    // events left; 0 means no limit
	before uint64 // of the caller's query; 0 for none
	past   bool   // an event behind the query's ToHLC was seen

	// durable: nothing is shown before it is on stable storage; for whoever keeps positions. In SyncInterval and
	// SyncNever waiting asks for the sync, as WaitDurable does. Not changed after the first pull.
	durable bool
	// at is how far the follower has looked: every event up to here that q selects was yielded, and every later one
	// will be. It moves on where nothing is selected, too, and names the same place in the log for ever.
	at uint64

	sleeper *sleeper // nil before the first wait
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

// close gives up what the store keeps for f. It does not have to follow an error.
func (f *follower) close() {
	f.store.hub.leave(f.sleeper)
	f.sleeper = nil
}

// follow pulls and waits until something ends it.
//
// Errors: those of [Store.Follow].
func (f *follower) follow(ctx context.Context, yield func(event.Event) bool) error {
	for {
		if more, err := f.pull(ctx, yield); err != nil || !more {
			return err
		}
		if err := f.wait(ctx); err != nil {
			return err
		}
	}
}

// pull yields what there is now behind f.at, and moves that on. more is false when nothing will come any more: yield
// has returned false, or everything that the query's Limit, Before and ToHLC leave has been yielded.
//
// Errors: those of [Store.Read]. f.at is then the last event that was yielded, and the next pull goes on there.
func (f *follower) pull(ctx context.Context, yield func(event.Event) bool) (more bool, err error) {
	if f.ended() {
		return false, nil
	}
	end := f.end()
	if end <= f.at {
		err = f.store.mayRead(ctx)
	} else if stopped, failed := f.read(ctx, end, yield); stopped || failed != nil {
		return false, failed
	}
	if err == nil && f.q.ToHLC != 0 {
		err = f.lookPast(ctx, end)
	}
	return err == nil && !f.ended(), err
}

// read yields what there is behind f.at and up to end, and moves f.at on. stopped says that nothing more is wanted.
func (f *follower) read(ctx context.Context, end uint64, yield func(event.Event) bool) (stopped bool, err error) {
	q := f.q
	q.After, q.Before = f.at, end+1
	err = f.store.read(ctx, q, f.borrow, func(ev event.Event) bool {
		f.at = ev.Seq
		if f.limit > 0 {
			f.limit--
			stopped = f.limit == 0
		}
		stopped = !yield(ev) || stopped
		return !stopped
	})
	if err == nil && !stopped {
		f.at = end
	}
	return stopped, err
}

// lookPast looks whether an event up to end is behind the query's ToHLC: nothing in front of that can come then. It may
// stand in front of f.at, and be one that nobody sees.
func (f *follower) lookPast(ctx context.Context, end uint64) error {
	q := index.Query{FromHLC: f.q.ToHLC, Before: end + 1, System: true}.Normal()
	return f.store.look(ctx, func(v *index.View) error {
		cur := v.Scan(q, true)
		defer cur.Close()
		f.past = cur.Next()
		return cur.Err()
	})
}

// ended reports whether nothing that f shows can come any more.
func (f *follower) ended() bool { return f.past || f.before != 0 && f.at+1 >= f.before }

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

// wait returns when there is something for f behind f.at, or may be.
//
// Errors: *[CanceledError]; [ErrClosed]; *[WriteError]; those of [Store.Refresh].
func (f *follower) wait(ctx context.Context) error {
	s := f.store
	if s.opts.ReadOnly {
		return s.poller.wait(ctx, f)
	}
	if f.sleeper == nil {
		f.sleeper = s.hub.join(&f.q, &s.accepted)
	}
	err := f.sleep(ctx)
	if err == nil {
		s.hub.woken.Add(1)
	}
	return err
}

// sleep sleeps until an event concerns f, or its query's end has come, and then until that may be read.
func (f *follower) sleep(ctx context.Context) (err error) {
	for err == nil {
		last := f.behind(f.before - 1)
		if f.store.hub.over() || f.before != 0 && last == nil {
			return f.rest()
		}
		if !f.store.hub.sleep(f.sleeper, f.at) {
			break
		}
		err = f.until(ctx, f.sleeper.wake, last, f.before-1)
	}
	for err == nil {
		next := f.behind(f.at + 1)
		if f.store.hub.over() || next == nil {
			return f.rest()
		}
		err = f.until(ctx, nil, next, f.at+1)
	}
	return err
}

// behind returns what keeps f from reading up to seq; nil when nothing does, and for no sequence.
func (f *follower) behind(seq uint64) *watermark {
	s := f.store
	switch {
	case seq == math.MaxUint64:
	case s.visible.Load() < seq:
		return &s.visible
	case f.durable && s.durable.Load() < seq:
		return &s.durable
	}
	return nil
}

// until returns when wake has come, when w, unless it is nil, has come to seq, or when nothing will come any more.
//
// Errors: *[CanceledError].
func (f *follower) until(ctx context.Context, wake <-chan struct{}, w *watermark, seq uint64) error {
	s := f.store
	var there <-chan struct{}
	if w != nil {
		waits := w.enter(seq)
		if waits == nil && w.Load() >= seq {
			return nil
		}
		if waits != nil {
			defer w.leave(waits)
			there = waits.wake
		}
		if w == &s.durable {
			s.askSync(seq)
		}
	}
	select {
	case <-wake:
	case <-there:
	case <-s.hub.done:
	case <-ctx.Done():
		return &CanceledError{Err: context.Cause(ctx)}
	}
	return nil
}

// rest returns nil when there is something to look at behind f.at, and else why nothing will come.
func (f *follower) rest() error {
	s := f.store
	switch {
	case s.closed.Load():
		return ErrClosed
	case f.end() > f.at:
		return nil
	}
	return s.whyEnded()
}
