package batpak

import (
	"context"
	"sync"
	"time"
)

// maxPollShift bounds how much less often an idle reader looks: 2^3 times.
const maxPollShift = 3

// idleLooks is how many looks without anything new make the next ones half as frequent.
const idleLooks = 16

// A poller has the followers of a read-only store look at its directory by turns: one of those who wait looks, for all
// of them. There is no goroutine beside theirs.
type poller struct {
	turn chan struct{} // holds a token while nobody looks

	// Of whoever has the turn.
	next time.Time // of the next look
	idle int       // looks since there was something new
	seen Frontier  // by the last look

	mu    sync.Mutex
	moved chan struct{} // closed when there is something new; nil when nobody waits for that
}

// init prepares a poller for a store that shows what seen says.
func (p *poller) init(seen Frontier) {
	p.turn, p.seen = make(chan struct{}, 1), seen
	p.turn <- struct{}{}
}

// wait returns when there is something to look at behind f.at.
//
// Errors: *[CanceledError]; [ErrClosed]; those of [Store.Refresh].
func (p *poller) wait(ctx context.Context, f *follower) error {
	for {
		moved := p.news()
		if f.end() > f.at {
			return nil
		}
		select {
		case <-moved:
		case <-p.turn:
			err := p.look(ctx, f)
			p.turn <- struct{}{}
			return err
		case <-f.store.hub.done:
			return ErrClosed
		case <-ctx.Done():
			return &CanceledError{Err: context.Cause(ctx)}
		}
	}
}

// look looks, again and again, until there is something behind f.at. The caller has the turn.
func (p *poller) look(ctx context.Context, f *follower) error {
	s := f.store
	timer := time.NewTimer(time.Until(p.next))
	defer timer.Stop()
	for f.end() <= f.at {
		select {
		case <-timer.C:
		case <-s.hub.done:
			return ErrClosed
		case <-ctx.Done():
			return &CanceledError{Err: context.Cause(ctx)}
		}
		if _, err := s.Refresh(ctx); err != nil {
			return err
		}
		timer.Reset(p.after(s.Frontier(), s.opts.FollowEvery))
	}
	return nil
}

// after notes what a look has seen, tells the others of it, and returns how long to wait for the next one. The caller
// has the turn.
func (p *poller) after(seen Frontier, every time.Duration) time.Duration {
	p.idle++
	if seen != p.seen {
		p.idle = 0
		p.tell()
	}
	p.seen = seen
	every <<= min(p.idle/idleLooks, maxPollShift)
	p.next = time.Now().Add(every)
	return every
}

// news returns what is closed when a look finds something from now on.
func (p *poller) news() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	return p.moved
}

// tell wakes the others.
func (p *poller) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}
