package batpak

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"time"

	"batpak/event"
)

// ErrContended: a decision was overtaken in each of its tries.
var ErrContended = errors.New("batpak: overtaken in every try")

// A Decision is what one try of [Store.Decide] is based on.
type Decision struct {
	// Events yields what the query selects, as [Store.Read] does, up to Seq: the same each time that it is ranged over.
	// It is for the goroutine of the callback, until the callback returns.
	Events iter.Seq2[event.Event, error]

	Seq uint64 // what was visible when the try began; an event behind it that the query selects refuses the drafts
	Try int    // 1 for the first call, one more for each that was overtaken
}

// A Retry says how often a decision is tried, and how long it waits in between. The zero Retry means the defaults named
// at each field.
//
// The pause behind the n-th try is drawn evenly from zero to Pause × 2ⁿ⁻¹, which stops growing at MaxPause: writers that
// collided once are spread out, and do not collide in step.
type Retry struct {
	Tries    int           // calls of the callback at most. Zero means 16; at least 1
	Pause    time.Duration // Zero means 1 ms; at least 1 ns
	MaxPause time.Duration // Zero means 100 ms, or Pause where that is more; at least Pause. Also for an open fence
	Seed     uint64        // of the draws, for tests. Zero means a random one
}

// Defaults of [Retry].
const (
	defaultTries    = 16
	defaultPause    = time.Millisecond
	defaultMaxPause = 100 * time.Millisecond
)

// withDefaults returns r with every zero field set.
//
// Errors: *[OptionError].
func (r Retry) withDefaults() (Retry, error) {
	if r.Tries == 0 {
		r.Tries = defaultTries
	}
	r.Pause = orDefault(r.Pause, defaultPause)
	r.MaxPause = orDefault(r.MaxPause, max(r.Pause, defaultMaxPause))
	if r.Seed == 0 {
		r.Seed = rand.Uint64()
	}
	switch {
	case r.Tries < 1:
		return r, &OptionError{Field: "Retry.Tries", Value: r.Tries, Reason: "below 1"}
	case r.Pause < 1:
		return r, &OptionError{Field: "Retry.Pause", Value: r.Pause, Reason: "below 1 ns"}
	case r.MaxPause < r.Pause:
		return r, &OptionError{Field: "Retry.MaxPause", Value: r.MaxPause, Reason: "below Pause"}
	}
	return r, nil
}

// pause draws the pause behind a try.
func (r *Retry) pause(try int, rng *rand.Rand) time.Duration {
	most := r.Pause
	for range try - 1 {
		if most > r.MaxPause/2 {
			most = r.MaxPause
			break
		}
		most *= 2
	}
	return time.Duration(rng.Int64N(int64(most))) + 1
}

// A ContendedError says that a decision was overtaken in every try. Nothing was written.
type ContendedError struct {
	Tries int
	Err   error // of the last try; a *[ConflictError] is in it
}

func (e *ContendedError) Error() string {
	return fmt.Sprintf("%v, %d of them: %v", ErrContended, e.Tries, e.Err)
}

// Unwrap returns [ErrContended] and the last try's error.
func (e *ContendedError) Unwrap() []error { return []error{ErrContended, e.Err} }

// Decide appends what fn makes of the events that q selects, all of it or nothing, and only if no other such event was
// committed meanwhile: what fn has read still is all there is when its drafts become events. If one was, fn is called
// again, with what is there now, after a pause; [Store.DecideRetry] sets how often. A nil error means what it means for
// [Store.AppendBatch].
//
//	receipts, err := st.Decide(ctx, batpak.Query{Entity: "seat:12"}, func(d batpak.Decision) ([]batpak.Draft, error) {
//		for ev, err := range d.Events {
//			…
//		}
//		return []batpak.Draft{reserve}, nil
//	})
//
// fn may be called several times, and should do nothing but decide. No drafts mean nothing to append: Decide returns nil
// and nil. fn's error ends it, and is returned as it is. So does an error of the read, whatever fn makes of it.
//
// q.After, as of a stored state, q.Limit and q.Reverse bound what fn reads; what is committed meanwhile counts whether
// they would show it or not. q.Before would leave a gap between the two, and is refused. Events behind an open fence are
// not read, yet count: a decision on them is overtaken until the fence has ended, and each pause lasts until then, or
// Retry.MaxPause longer.
//
// Drafts may have keys and conditions of their own. A known key comes before all conditions, so a batch whose outcome was
// unknown returns its first receipts; fn will have read its events then, and must still return it. A condition of a draft
// that fails for what fn could have read is not tried again.
//
// Errors: as [Store.AppendBatch], or as [Store.Append] for a single draft; as [Store.Read]; *[ContendedError];
// *[CanceledError] when ctx ended, between two tries, too.
func (s *Store) Decide(ctx context.Context, q Query, fn func(Decision) ([]Draft, error)) ([]Receipt, error) {
	return s.DecideRetry(ctx, q, Retry{}, fn)
}

// DecideRetry is [Store.Decide] with a say in how often it tries.
//
// Errors: as [Store.Decide]; *[OptionError].
func (s *Store) DecideRetry(ctx context.Context, q Query, r Retry, fn func(Decision) ([]Draft, error)) ([]Receipt, error) {
	r, err := r.withDefaults()
	if err != nil {
		return nil, err
	}
	if q.Before != 0 {
		return nil, &DraftError{Field: "Before", Reason: "a decision is based on all that is there"}
	}
	if _, err := q.compile(); err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(r.Seed, 0))
	for try := 1; ; try++ {
		if err := s.writable(ctx); err != nil {
			return nil, err
		}
		receipts, by, err := s.decideOnce(ctx, q, try, fn)
		switch {
		case by == 0:
			return receipts, err
		case try == r.Tries:
			return nil, &ContendedError{Tries: try, Err: err}
		}
		if err := s.waitReadable(ctx, by, r.MaxPause); err != nil {
			return nil, err
		}
		if err := wait(ctx, r.pause(try, rng)); err != nil {
			return nil, err
		}
	}
}

// decideOnce is one try. by is the event that has overtaken it: err is a conflict with what fn could not have read.
func (s *Store) decideOnce(ctx context.Context, q Query, try int, fn func(Decision) ([]Draft, error)) (_ []Receipt, by uint64, err error) {
	// The end is taken before the read begins, and bounds it. It is not the last event that q selects: what lies between
	// the two was looked at, too, and need not be looked at again by the condition.
	seq := s.Visible()
	var failed error
	drafts, err := fn(Decision{Events: s.readUpTo(ctx, q, seq, &failed), Seq: seq, Try: try})
	if err == nil {
		err = failed
	}
	if err != nil || len(drafts) == 0 {
		return nil, 0, err
	}
	receipts, err := s.appendUnless(ctx, drafts, Unless{Query: q, Seq: seq})
	var conflict *ConflictError
	if errors.As(err, &conflict) && conflict.Seq > seq {
		by = conflict.Seq
	}
	return receipts, by, err
}

// waitReadable returns when reads may see the event seq, or after most: behind an open fence, a try before that would
// find nothing new.
func (s *Store) waitReadable(ctx context.Context, seq uint64, most time.Duration) error {
	if s.Visible() >= seq {
		return nil
	}
	bounded, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := s.WaitVisible(bounded, seq)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}

// readUpTo reads what q selects of the events up to seq, and leaves the error of a read in failed.
func (s *Store) readUpTo(ctx context.Context, q Query, seq uint64, failed *error) iter.Seq2[event.Event, error] {
	q.Before = seq + 1
	return func(yield func(event.Event, error) bool) {
		for ev, err := range s.Read(ctx, q) {
			if err != nil {
				*failed = err
			}
			if !yield(ev, err) {
				return
			}
		}
	}
}

// appendUnless appends drafts under one more condition. They stay as they are.
func (s *Store) appendUnless(ctx context.Context, drafts []Draft, u Unless) ([]Receipt, error) {
	first := drafts[0]
	first.Unless = append(first.Unless[:len(first.Unless):len(first.Unless)], u)
	if len(drafts) == 1 {
		receipt, err := s.Append(ctx, first)
		if err != nil {
			return nil, err
		}
		return []Receipt{receipt}, nil
	}
	return s.AppendBatch(ctx, append([]Draft{first}, drafts[1:]...))
}

// wait returns after d, or with a *[CanceledError] when ctx ends before.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return &CanceledError{Err: context.Cause(ctx)}
	}
}
