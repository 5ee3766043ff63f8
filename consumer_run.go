package batpak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"batpak/event"
	"batpak/internal/cursors"
	"batpak/internal/planted"
)

// What a run reads ahead: it holds no view of the store while a handler works, however long that takes.
const (
	pageEvents = 256
	pageBytes  = 1 << 20 // of payloads; one event may be more
)

// A reaction is a handler: what it returns is to be appended.
type reaction func(context.Context, event.Event) ([]Draft, error)

// A consumerRun is a consumer at work. Owned by the goroutine of Run.
type consumerRun struct {
	c     *Consumer
	fn    reaction
	at    cursors.Position // everything up to it was handled
	f     *follower
	page  []event.Event
	saver saver
	retry Retry
	rng   *rand.Rand

	noting  bool            // that the run goes on is noted, see inHand
	closely bool            // and so is what it has in hand
	looked  int             // how many events it has looked at closely
	lost    cursors.Attempt // what the run before had in hand when its process ended
}

// run is Run and React.
func (c *Consumer) run(ctx context.Context, fn reaction) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := c.store.consumers.enter(c.state, cancel); err != nil {
		return err
	}
	defer c.state.leave()
	r, err := c.newRun(ctx, fn)
	if err == nil {
		defer r.f.close()
		err = r.loop(ctx)
		// The outcome of the run is the one that counts; what could not be kept is handed over again.
		err = errors.Join(err, c.store.saveLast(c.state, c.opts.SaveEvery), c.store.endAttempts(c.state))
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case c.store.closed.Load() && errors.Is(err, ErrClosed):
		return ErrClosed
	}
	return err
}

// newRun prepares a run from where the consumer is.
func (c *Consumer) newRun(ctx context.Context, fn reaction) (*consumerRun, error) {
	if err := c.load(ctx); err != nil {
		return nil, err
	}
	r := &consumerRun{
		c: c, fn: fn, saver: saver{every: c.opts.SaveEvery, count: c.opts.SaveEvents, last: time.Now()},
		retry: Retry{Pause: c.opts.Pause, MaxPause: c.opts.MaxPause},
	}
	seed := c.opts.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	r.rng = rand.New(rand.NewPCG(seed, 0))
	r.at, _, _ = c.state.position()
	q := c.opts.Query
	q.After = r.at.Seq
	var err error
	r.f, err = c.store.newFollower(q)
	return r, err
}

// loop hands over what there is and what comes.
func (r *consumerRun) loop(ctx context.Context) error {
	for {
		if err := r.pull(ctx); err != nil {
			return fmt.Errorf("consumer %q: %w", r.c.state.name, err)
		}
		for i := range r.page {
			if ctx.Err() != nil {
				return nil // run says why
			}
			if err := r.deliver(ctx, r.page[i]); err != nil {
				return err
			}
			r.page[i] = event.Event{}
			if r.saver.due() {
				if err := r.save(); err != nil {
					return err
				}
			}
		}
		if len(r.page) == 0 {
			err := r.handsFree()
			if err == nil {
				err = r.wait(ctx)
			}
			if err != nil {
				return fmt.Errorf("consumer %q: %w", r.c.state.name, err)
			}
		}
	}
}

// pull reads the next page; an empty one means that there is nothing now.
func (r *consumerRun) pull(ctx context.Context) error {
	r.page = r.page[:0]
	size := 0
	_, err := r.f.pull(ctx, func(ev event.Event) bool {
		r.page = append(r.page, ev)
		size += len(ev.Payload)
		return len(r.page) < pageEvents && size < pageBytes
	})
	return err
}

// wait returns when there may be something to hand over. Meanwhile the position is written when it is time.
func (r *consumerRun) wait(ctx context.Context) error {
	for {
		if _, _, dirty := r.c.state.position(); !dirty {
			return r.f.wait(ctx)
		}
		bounded, cancel := context.WithTimeout(ctx, r.saver.left())
		err := r.f.wait(bounded)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err := r.save(); err != nil {
			return err
		}
	}
}

// save writes the position.
func (r *consumerRun) save() error {
	r.saver.done()
	return r.c.store.savePosition(r.c.state)
}

// moved notes that ev was handled; logged says that the log knows.
func (r *consumerRun) moved(ev *event.Event, logged bool) {
	r.at = r.next(ev)
	r.c.store.moved(r.c.state, r.at, logged)
}

// next returns the position behind ev.
func (r *consumerRun) next(ev *event.Event) cursors.Position {
	return cursors.Position{Generation: r.at.Generation, Seq: ev.Seq, Hash: ev.Hash}
}

// A fatalError ends a run: it is not about the event.
type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }

// deliver hands ev over until it is handled, or parked. An error ends the run; ev is then the next one still.
func (r *consumerRun) deliver(ctx context.Context, ev event.Event) error {
	o := &r.c.opts
	lost, err := r.inHand(&ev)
	if err != nil {
		return err
	}
	if o.MaxAttempts > 0 && lost >= o.MaxAttempts {
		return r.giveUp(ctx, &ev, lost, ErrHandlerLost)
	}
	for attempt := lost + 1; ; attempt++ {
		err := r.attempt(ctx, ev)
		if err == nil || ctx.Err() != nil {
			return nil // run says why
		}
		var fatal *fatalError
		if errors.As(err, &fatal) {
			return fmt.Errorf("consumer %q: event %d: %w", r.c.state.name, ev.Seq, fatal.err)
		}
		if attempt >= o.MaxAttempts {
			return r.giveUp(ctx, &ev, attempt, err)
		}
		o.Logger.Warn("handler failed", "consumer", r.c.state.name, "event", ev.Seq, "attempt", attempt, "err", err)
		if err := r.pause(ctx, r.retry.pause(attempt, r.rng)); err != nil || ctx.Err() != nil {
			return err // nil: run says why
		}
	}
}

// giveUp parks ev, which the handler has failed on that often, or ends the run.
func (r *consumerRun) giveUp(ctx context.Context, ev *event.Event, attempts int, err error) error {
	failed := handlerError(r.c.state.name, ev, attempts, err)
	if r.c.opts.MaxAttempts == 0 || r.c.opts.NoPark {
		return failed
	}
	return r.park(ctx, ev, failed)
}

// pause lets some time pass, or less when ctx ends. The position is written before, if it would be time in between.
func (r *consumerRun) pause(ctx context.Context, d time.Duration) error {
	if _, _, dirty := r.c.state.position(); dirty && r.saver.left() <= d {
		if err := r.save(); err != nil {
			return err
		}
	}
	_ = wait(ctx, d)
	return nil
}

// handlerError returns the error for a handler that failed on ev.
func handlerError(name string, ev *event.Event, attempts int, err error) *HandlerError {
	e := &HandlerError{Consumer: name, Seq: ev.Seq, ID: ev.ID, Attempts: attempts, Err: err}
	var panicked *panicError
	if errors.As(err, &panicked) {
		e.Panic = panicked.value
	}
	return e
}

// attempt hands ev over once, and commits what came of it.
func (r *consumerRun) attempt(ctx context.Context, ev event.Event) error {
	if planted.On(planted.PositionBeforeHandler) {
		r.moved(&ev, false)
		if err := r.save(); err != nil {
			return err
		}
	}
	drafts, err := call(ctx, r.fn, ev)
	if err != nil {
		return err
	}
	logged := false
	if len(drafts) > 0 {
		c := r.c
		if logged, err = c.answer(ctx, &ev, drafts, positionDraft(c.state.name, r.next(&ev))); err != nil {
			return err
		}
	}
	r.moved(&ev, logged)
	return nil
}

// call calls a handler; a panic in it is an error.
func call(ctx context.Context, fn reaction, ev event.Event) (drafts []Draft, err error) {
	defer func() {
		if p := recover(); p != nil {
			drafts, err = nil, &panicError{p, debug.Stack()}
		}
	}()
	return fn(ctx, ev)
}
