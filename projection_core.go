package batpak

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// toVisible is the sequence to project up to for whoever wants all there is.
const toVisible = math.MaxUint64

// A projection is a [Projection] without its Go type.
type projection struct {
	store  *Store
	name   string
	serial uint64 // whoever takes several turns takes them in this order

	// turn holds a value while somebody moves the state on.
	turn    chan struct{}
	life    context.Context // ends with close
	end     context.CancelFunc
	closing sync.Once
	closed  error // what close has returned

	mu       sync.RWMutex // guards what follows; only who has the turn changes it
	def      *projecting
	term     context.Context // ends with life, and when def is replaced
	endTerm  context.CancelFunc
	live     *holding
	failed   *ProjectionError
	findings []*ProjectionFinding
	stored   stored
}

// stored is what is known of the newest state on disk.
type stored struct {
	at      uint64 // position; 0 for none
	applied uint64 // events in it, or when storing it was last tried
	when    time.Time
}

// show calls read with the state, unless there is none to show.
func (p *projection) show(read func(*holding)) error {
	p.mu.RLock()
	defer p.mu.RUnlock()
	switch {
	case !p.live.broken:
		read(p.live)
		return nil
	case p.live.why != nil:
		return p.live.why
	case p.failed != nil:
		return p.failed
	}
	return fmt.Errorf("projection %q: %w: its goroutine was ended", p.name, ErrFold)
}

// position returns how far the state has come.
func (p *projection) position() uint64 {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.live.at
}

// isClosed reports whether nobody may move p on any more.
func (p *projection) isClosed() bool { return p.life.Err() != nil }

// ready says why p cannot be moved on, or nil.
func (p *projection) ready() error {
	if p.isClosed() || p.store.closed.Load() {
		return ErrClosed
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	if p.failed != nil && !p.live.broken {
		return p.failed
	}
	return nil
}

// take takes the turn.
func (p *projection) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return &CanceledError{Err: context.Cause(ctx)}
	}
	select {
	case p.turn <- struct{}{}:
		if p.isClosed() { // of two things that may be done select takes either
			p.give()
			return ErrClosed
		}
		return nil
	case <-p.life.Done():
		return ErrClosed
	case <-ctx.Done():
		return &CanceledError{Err: context.Cause(ctx)}
	}
}

// give gives the turn back.
func (p *projection) give() { <-p.turn }

// catchUp brings projections of one store up to the visible end, in one pass over the log. One that fails does not stop
// the others.
//
// Errors: those of each, joined.
func catchUp(ctx context.Context, ps []*projection) error {
	errs, err := catchUpEach(ctx, ps)
	return joined(append(errs, err))
}

// catchUpEach is catchUp. It returns an error for each that fails, and one that has stopped all.
func catchUpEach(ctx context.Context, ps []*projection) (errs []error, err error) {
	errs = make([]error, len(ps))
	held := make([]bool, len(ps))
	defer func() {
		for i, p := range ps {
			if held[i] {
				p.give()
			}
		}
	}()
	for i, p := range ps {
		errs[i] = p.take(ctx)
		held[i] = errs[i] == nil
	}
	for more := true; more; {
		var feeds []*feed
		var fed []*projection
		for i, p := range ps {
			if errs[i] != nil {
				continue
			}
			if errs[i] = p.settle(ctx); errs[i] != nil {
				held[i] = false
				p.give() // whoever closes it need not wait for the others
				continue
			}
			feeds, fed = append(feeds, p.feed()), append(fed, p)
		}
		if len(feeds) == 0 {
			return errs, nil
		}
		more, err = fed[0].store.project(ctx, feeds, toVisible)
		for i, p := range fed {
			p.note(feeds[i])
			more = more || feeds[i].out // for whatever reason: settle tells
		}
		if err != nil {
			return errs, err
		}
	}
	return errs, nil
}

// joined returns errs as one error: the only one of them as it is.
func joined(errs []error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(err error) bool { return err == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// feed returns p as a pass takes it. The caller has the turn.
func (p *projection) feed() *feed {
	f := &feed{def: p.def, h: p.live, mu: &p.mu, gone: p.isClosed}
	if p.def.snapshots {
		f.due = p.stored.applied + min(p.def.every, math.MaxUint64-p.stored.applied)
	}
	return f
}

// note keeps what a pass has made of p, and stores the state when that is due. The caller has the turn.
func (p *projection) note(f *feed) {
	if f.failed != nil {
		p.mu.Lock()
		p.failed = f.failed
		p.mu.Unlock()
	}
	if !f.out && f.due != 0 && p.live.applied >= f.due {
		_ = p.save(context.Background()) // the finding says why not
	}
}

// settle returns nil when p can go on from where it stands. A state that a fold has spoiled, or that knows of evicted
// events, is made again first: as of the same position. The caller has the turn.
func (p *projection) settle(ctx context.Context) error {
	if (p.live.broken || p.live.stale) && !p.isClosed() {
		if err := p.restore(ctx); err != nil {
			return err
		}
	}
	return p.ready()
}

// restore folds the state anew up to where it stands. The caller has the turn.
func (p *projection) restore(ctx context.Context) error {
	h, err := p.nearest(ctx, p.def, p.live.at)
	if err == nil {
		h, err = p.fold(ctx, p.def, h, p.live.at)
	}
	if failed := (*ProjectionError)(nil); errors.As(err, &failed) {
		// It has taken these events before: the fold is no function, and there is no state to show.
		p.mu.Lock()
		p.failed = failed
		p.mu.Unlock()
	}
	if err != nil {
		return err
	}
	p.mu.Lock()
	if p.live.stale {
		p.stored.at = 0 // what is stored tells of evicted events, too
	}
	p.live = h
	p.mu.Unlock()
	return nil
}

// fold brings a state that nobody sees up to a sequence, or to the visible end, and returns it; from the start when it
// knows of evicted events.
func (p *projection) fold(ctx context.Context, def *projecting, h *holding, upTo uint64) (*holding, error) {
	for {
		f := &feed{def: def, h: h, gone: p.isClosed}
		_, err := p.store.project(ctx, []*feed{f}, upTo)
		switch {
		case err != nil:
			return nil, err
		case f.failed != nil:
			return nil, f.failed
		case p.isClosed():
			return nil, ErrClosed
		case !h.stale:
			return h, nil
		}
		if h, err = def.start(); err != nil {
			return nil, err
		}
	}
}

// start returns the state before the first event.
func (def *projecting) start() (*holding, error) {
	f, err := def.fresh()
	if err != nil {
		return nil, fmt.Errorf("projection %q: initial state: %w", def.key.Name, err)
	}
	return &holding{fold: f}, nil
}

// asOf returns a state as of a sequence that is visible.
func (p *projection) asOf(ctx context.Context, seq uint64) (*holding, error) {
	if p.isClosed() {
		return nil, ErrClosed
	}
	if seq > p.store.Visible() {
		return nil, ErrNotFound
	}
	p.mu.RLock()
	def := p.def
	p.mu.RUnlock()
	h, err := p.nearest(ctx, def, seq)
	if err != nil {
		return nil, err
	}
	return p.fold(ctx, def, h, seq)
}

// rebuild puts def in the place of the definition that there is.
func (p *projection) rebuild(ctx context.Context, def *projecting) error {
	p.mu.RLock()
	version := p.def.key.Version
	p.mu.RUnlock()
	switch {
	case def.key.Name != p.name:
		return &OptionError{Field: "Name", Value: def.key.Name, Reason: "is not the projection's"}
	case def.key.Version <= version:
		return &OptionError{Field: "Version", Value: def.key.Version, Reason: fmt.Sprintf("not above %d", version)}
	}
	if err := p.store.projections.enter(p, def.key.Version); err != nil {
		return err
	}
	h, err := p.nearest(ctx, def, toVisible)
	if err == nil {
		err = p.replace(ctx, def, h, false)
	}
	if err != nil {
		p.store.projections.leave(p, def.key.Version)
		return err
	}
	p.store.projections.leaveBelow(p, def.key.Version)
	return nil
}

// reset folds the state anew from the first event.
func (p *projection) reset(ctx context.Context) error {
	p.mu.RLock()
	def := p.def
	p.mu.RUnlock()
	if err := p.forget(ctx, def); err != nil {
		return err
	}
	h, err := def.start()
	if err != nil {
		return err
	}
	return p.replace(ctx, def, h, true)
}

// closeTo is how many events a new state may lack when it is given the turn: so many are folded in about a millisecond.
const closeTo = 4 * yieldEvery

// replace folds h up to where the live state is, and puts it in its place. Only the last of it keeps others from moving
// the live state on. forget removes what was stored of the live state meanwhile.
func (p *projection) replace(ctx context.Context, def *projecting, h *holding, forget bool) (err error) {
	for from := ^uint64(0); h.at < from || p.store.Visible()-h.at > closeTo; {
		from = p.store.Visible()
		if h, err = p.fold(ctx, def, h, toVisible); err != nil {
			return err
		}
	}
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	if h, err = p.fold(ctx, def, h, toVisible); err != nil {
		return err
	}
	p.mu.Lock()
	if p.def.key.Version > def.key.Version {
		p.mu.Unlock()
		return &OptionError{Field: "Version", Value: def.key.Version, Reason: fmt.Sprintf("not above %d", p.def.key.Version)}
	}
	p.live, p.failed = h, nil
	p.define(def)
	p.stored = stored{when: time.Now()}
	p.mu.Unlock()
	if forget {
		err = p.unstore(def)
	}
	_ = p.save(ctx) // the finding says why not
	return err
}

// awaitVisible is [Store.WaitVisible], until p is closed.
func (p *projection) awaitVisible(ctx context.Context, seq uint64) error {
	if p.store.Visible() >= seq {
		return nil
	}
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(p.life, cancel)()
	err := p.store.WaitVisible(until, seq)
	if err != nil && p.isClosed() {
		return ErrClosed
	}
	return err
}

// define makes def the definition. The caller holds mu, or is alone.
func (p *projection) define(def *projecting) {
	if p.endTerm != nil {
		p.endTerm() // whoever waits for events does so for those that the one before wants
	}
	p.def = def
	p.term, p.endTerm = context.WithCancel(p.life)
}

// close implements [Projection.Close].
func (p *projection) close() error {
	p.closing.Do(func() {
		p.end()
		p.turn <- struct{}{} // whoever has it gives it back soon
		defer p.give()
		p.closed = p.save(context.Background())
		p.store.projections.remove(p)
	})
	return p.closed
}
