package batpak

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// An AnyProjection is a [Projection] of any type.
type AnyProjection interface {
	// Status says how the projection stands.
	Status() ProjectionStatus
	members() *projection
}

// A Group is several projections that share passes over the log: each event is read once, and given to all whose query
// selects it. They may stand at different positions at first; the group begins at the lowest. One that fails is left
// behind and does not stop the others. It is safe for concurrent use, and changes nothing about its projections: they may
// be used on their own, and in other groups.
type Group struct {
	ps []*projection // in the order in which their turns are taken
}

// GroupOf returns the group of projections, which are of one store. Naming one twice is the same as naming it once.
//
// Errors: *[OptionError].
func GroupOf(projections ...AnyProjection) (*Group, error) {
	g := new(Group)
	for _, p := range projections {
		core := p.members()
		if len(g.ps) > 0 && core.store != g.ps[0].store {
			return nil, &OptionError{Field: "projections", Value: core.name, Reason: "of another store"}
		}
		if !slices.Contains(g.ps, core) {
			g.ps = append(g.ps, core)
		}
	}
	if len(g.ps) == 0 {
		return nil, &OptionError{Field: "projections", Value: nil, Reason: "none"}
	}
	slices.SortFunc(g.ps, func(x, y *projection) int { return cmp.Compare(x.serial, y.serial) })
	return g, nil
}

// CatchUp is [Projection.CatchUp] for all of them.
//
// Errors: those of each projection, joined.
func (g *Group) CatchUp(ctx context.Context) error { return catchUp(ctx, g.ps) }

// Run is [Projection.Run] for all of them. It goes on as long as one of them can.
//
// Errors: as [Projection.Run], joined; never nil.
func (g *Group) Run(ctx context.Context) error { return keepUp(ctx, g.ps) }

// keepUp brings projections up to date again and again, until none can be.
//
// Errors: why each of them cannot be, joined; never nil.
func keepUp(ctx context.Context, ps []*projection) error {
	all, ps := ps, slices.Clone(ps)
	defer storeAll(all)
	var ended []error
	for {
		errs, err := catchUpEach(ctx, ps)
		if ctx.Err() != nil {
			err = &CanceledError{Err: context.Cause(ctx)}
		}
		if err != nil {
			// Who has failed in this pass says so, too.
			return joined(append(append(ended, failures(ps)...), err))
		}
		for i, err := range slices.Backward(errs) {
			if err != nil {
				ended = append(ended, err)
				ps = slices.Delete(ps, i, i+1)
			}
		}
		if len(ps) == 0 {
			return joined(ended)
		}
		if err := awaitMore(ctx, ps); err != nil {
			return joined(append(ended, err))
		}
	}
}

// failures returns why those of ps stand still that a fold has failed.
func failures(ps []*projection) (errs []error) {
	for _, p := range ps {
		p.mu.RLock()
		if p.failed != nil {
			errs = append(errs, p.failed)
		}
		p.mu.RUnlock()
	}
	return errs
}

// awaitMore returns when there may be something to apply, and when one of ps was closed or has another definition. It
// stores states meanwhile that have changed long ago.
func awaitMore(ctx context.Context, ps []*projection) error {
	feeds := make([]*feed, len(ps))
	f := &follower{store: ps[0].store, at: toVisible}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for i, p := range ps {
		p.mu.RLock()
		feeds[i] = &feed{def: p.def}
		f.at = min(f.at, p.live.at)
		term := p.term
		p.mu.RUnlock()
		defer context.AfterFunc(term, func() { cancel(nil) })()
	}
	f.q = unionOf(feeds)
	defer f.close()
	for {
		until, due := storeDue(ps)
		inTime, stop := waiting, context.CancelFunc(func() {})
		if due {
			inTime, stop = context.WithDeadline(waiting, until)
		}
		err := f.wait(inTime)
		timedOut := inTime.Err() != nil && waiting.Err() == nil
		stop()
		switch {
		case err != nil && timedOut:
		case err != nil && waiting.Err() != nil && ctx.Err() == nil:
			return nil // what has become of it, the next catch-up will say
		default:
			return err
		}
	}
}

// storeDue stores the states that are due, and returns when the next one will be; due is false when none will.
func storeDue(ps []*projection) (next time.Time, due bool) {
	now := time.Now()
	for _, p := range ps {
		until, changed := p.storeAt()
		if changed && !until.After(now) {
			p.storeNow()
			until, changed = p.storeAt()
		}
		if changed && (!due || until.Before(next)) {
			next, due = until, true
		}
	}
	return next, due
}

// storeAt returns when the state is to be stored at the latest; changed is false when it need not be.
func (p *projection) storeAt() (at time.Time, changed bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.stored.when.Add(p.def.after), p.def.snapshots && p.live.applied != p.stored.applied
}

// storeNow stores the state, if p is not closed: then it was stored.
func (p *projection) storeNow() {
	if p.take(context.Background()) == nil {
		_ = p.save(context.Background()) // the finding says why not
		p.give()
	}
}

// storeAll stores the states that have changed.
func storeAll(ps []*projection) {
	for _, p := range ps {
		if _, changed := p.storeAt(); changed {
			p.storeNow()
		}
	}
}
