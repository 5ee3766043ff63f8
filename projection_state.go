package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"batpak/coldstart"
	"batpak/event"
	"batpak/index"
	"batpak/internal/statefile"
	"batpak/internal/vfs"
)

// maxFindings is how many findings a projection keeps.
const maxFindings = 16

// found keeps a finding for Status.
func (p *projection) found(def *projecting, file string, err error) *ProjectionFinding {
	f := &ProjectionFinding{Projection: p.name, Version: def.key.Version, File: file, Err: err}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, other := range p.findings {
		if other.Error() == f.Error() {
			return f
		}
	}
	if len(p.findings) == maxFindings {
		p.findings = slices.Delete(p.findings, 0, 1)
	}
	p.findings = append(p.findings, f)
	return f
}

// states calls fn with the directory of states, unless there is none.
func (p *projection) states(create bool, fn func(vfs.Dir) error) error {
	dir, err := p.store.state.Projections(create)
	if errors.Is(err, fs.ErrNotExist) && !create {
		return nil
	}
	if err != nil {
		return err
	}
	err = fn(dir)
	return errors.Join(err, dir.Close())
}

// open returns the state that p begins with, after it has looked whether a newer version was here.
func (p *projection) open(ctx context.Context) (*holding, error) {
	err := p.states(false, func(dir vfs.Dir) error {
		p.sweep(dir)
		files, err := statefile.List(dir, p.name)
		if err != nil {
			return err
		}
		for _, f := range files {
			if err := statefile.Future(dir, f); errors.Is(err, statefile.ErrFuture) {
				return &coldstart.FutureError{File: f.File, Err: err}
			}
			if f.Version < p.def.key.Version {
				p.found(p.def, f.File, fmt.Errorf("%w: folded by version %d", coldstart.ErrStale, f.Version))
			}
		}
		return nil
	})
	if err = p.tolerate(p.def, err); err != nil {
		return nil, err
	}
	r := &p.store.projections
	r.mu.Lock()
	r.swept = true // also when there was nothing to look at: from now on p may write
	r.mu.Unlock()
	return p.nearest(ctx, p.def, toVisible)
}

// sweep removes what crashed processes have left, once.
func (p *projection) sweep(dir vfs.Dir) {
	r := &p.store.projections
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.swept || p.store.opts.ReadOnly {
		return
	}
	r.swept = true
	if err := statefile.Sweep(dir); err != nil {
		p.store.opts.Logger.Warn("remove left-overs of states", "err", err)
	}
}

// tolerate keeps what a projection does without as a finding, and returns what it does not.
func (p *projection) tolerate(def *projecting, err error) error {
	var future *coldstart.FutureError
	var unsafe *vfs.UnsafePathError
	if err == nil || errors.As(err, &future) || errors.As(err, &unsafe) {
		return err
	}
	p.found(def, "", err)
	return nil
}

// nearest returns the newest stored state up to a sequence that is of this history, else the one before the first event.
func (p *projection) nearest(ctx context.Context, def *projecting, upTo uint64) (*holding, error) {
	var h *holding
	var broken error // the log could not be read
	err := p.states(false, func(dir vfs.Dir) error {
		files, err := statefile.List(dir, p.name)
		if err != nil {
			return err
		}
		for _, f := range slices.Backward(files) {
			if f.Version != def.key.Version || f.At > upTo {
				continue
			}
			if h, err = p.load(ctx, dir, def, f); h != nil {
				return nil
			}
			if broken = p.misfit(def, f, err); broken != nil {
				return nil
			}
		}
		return nil
	})
	if err = p.tolerate(def, err); err != nil || broken != nil {
		return nil, errors.Join(err, broken)
	}
	if h != nil {
		return h, nil
	}
	return def.start()
}

// A misread is an error of the log, and not of a stored state.
type misread struct{ err error }

func (e *misread) Error() string { return e.err.Error() }

// misfit keeps why a file was not used. It returns what nearest must give up for.
func (p *projection) misfit(def *projecting, f statefile.Found, err error) error {
	var log *misread
	switch {
	case errors.As(err, &log):
		return log.err
	case errors.Is(err, fs.ErrNotExist):
		return nil // thinned out meanwhile
	case errors.Is(err, statefile.ErrFuture):
		return &coldstart.FutureError{File: f.File, Err: err}
	case errors.Is(err, statefile.ErrDamaged):
		err = fmt.Errorf("%w: %w", coldstart.ErrDamaged, err)
	case errors.Is(err, statefile.ErrForeign):
		err = fmt.Errorf("%w: %w", coldstart.ErrForeign, err)
	case errors.Is(err, statefile.ErrStale):
		err = fmt.Errorf("%w: %w", coldstart.ErrStale, err)
	}
	p.found(def, f.File, err)
	return nil
}

// load returns the state in a file, or nil and why it is not one to go on from.
//
// Errors: *misread; *[statefile.FileError]; [coldstart.ErrStale]; those of the codec; I/O errors.
func (p *projection) load(ctx context.Context, dir vfs.Dir, def *projecting, f statefile.Found) (*holding, error) {
	s, err := statefile.Read(dir, f, &def.key, def.most)
	if err != nil {
		return nil, err
	}
	if s.At > p.store.Visible() {
		return nil, fmt.Errorf("%w: ahead of the log", coldstart.ErrStale)
	}
	have, err := p.store.endOf(ctx, s.At)
	switch {
	case err != nil:
		return nil, &misread{err}
	case have.seq != s.Seq || have.hash != s.Hash:
		return nil, fmt.Errorf("%w: event %d is another one, or is gone", coldstart.ErrStale, s.Seq)
	case have.events != s.Events:
		return nil, fmt.Errorf("%w: of %d events there are %d", coldstart.ErrStale, s.Events, have.events)
	}
	state, err := def.fresh()
	if err == nil {
		err = state.decode(s.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", coldstart.ErrDamaged, err)
	}
	return &holding{fold: state, at: s.At, applied: s.Applied, events: s.Events}, nil
}

// An ending is what binds a state to a history: the last event up to a sequence, and how many there are.
type ending struct {
	seq    uint64
	hash   event.Hash
	events uint64
}

// endOf returns what the log holds up to a sequence that is visible, whoever's events they are. That an event is there
// proves all before it, as long as none was evicted.
func (s *Store) endOf(ctx context.Context, at uint64) (e ending, err error) {
	err = s.look(ctx, func(v *index.View) (err error) {
		e = ending{}
		if e.events, err = v.CountTo(at); err != nil || at == 0 {
			return err
		}
		cur := v.Scan(index.Query{Before: at + 1, Reverse: true, System: true}, true)
		defer cur.Close()
		if cur.Next() {
			e.seq, e.hash = cur.Raw().Seq, cur.Raw().Hash
		}
		return cur.Err()
	})
	return e, err
}

// snapshot implements [Projection.Snapshot].
func (p *projection) snapshot(ctx context.Context) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	switch {
	case p.isClosed() || p.store.closed.Load():
		return ErrClosed
	case p.store.opts.ReadOnly:
		return ErrReadOnly
	case !p.def.snapshots:
		return &ProjectionFinding{Projection: p.name, Version: p.def.key.Version, Err: errors.New("states are not stored")}
	}
	if err := p.save(ctx); err != nil || !p.live.broken && !p.live.stale {
		return err
	}
	if err := p.restore(ctx); err != nil {
		return err
	}
	return p.save(ctx)
}

// save stores the state, unless there is nothing new in it, or it has to be made again first: it is broken or stale then.
// The caller has the turn.
//
// Errors: *[ProjectionFinding], which is kept; *[CanceledError]; [ErrClosed]; *[WriteError].
func (p *projection) save(ctx context.Context) error {
	def, h := p.def, p.live
	if !def.snapshots {
		return nil
	}
	p.mu.Lock()
	p.stored.applied, p.stored.when = h.applied, time.Now() // a state that cannot be stored is not tried again at once
	p.mu.Unlock()
	if h.broken || h.stale {
		return nil
	}
	if err := p.store.WaitDurable(ctx, h.at); err != nil {
		return err
	}
	have, err := p.store.endOf(ctx, h.at)
	if err != nil {
		return err
	}
	h.stale = have.events != h.events
	if h.stale || h.at == p.stored.at {
		return nil
	}
	data, err := h.fold.encode()
	if err != nil {
		return p.found(def, "", fmt.Errorf("encode state: %w", err))
	}
	s := statefile.State{
		At: h.at, Seq: have.seq, Hash: have.hash, Events: h.events, Applied: h.applied,
		Saved: time.Now().UnixMilli(), Data: data,
	}
	var file string
	err = p.states(true, func(dir vfs.Dir) error {
		f, err := statefile.Write(dir, &def.key, &s, def.most)
		if file = f.File; err != nil {
			return err
		}
		return p.thin(dir, def)
	})
	if err != nil {
		return p.found(def, file, err)
	}
	p.mu.Lock()
	p.stored.at = h.at
	p.mu.Unlock()
	return nil
}

// thin removes the states that are not to be kept: those that do not hold, those of older versions, and all but some.
func (p *projection) thin(dir vfs.Dir, def *projecting) error {
	files, err := statefile.List(dir, p.name)
	if err != nil {
		return err
	}
	var own, remove []statefile.Found
	for _, f := range files {
		switch v := f.Version; {
		case v == def.key.Version:
			own = append(own, f)
		case v < def.key.Version && !p.store.projections.besides(p, v):
			remove = append(remove, f)
		}
	}
	remove = append(remove, statefile.Thin(own, def.keep)...)
	return statefile.Remove(dir, remove)
}

// forget removes all states of a definition that are stored.
func (p *projection) forget(ctx context.Context, def *projecting) error {
	if err := p.take(ctx); err != nil {
		return err
	}
	defer p.give()
	return p.unstore(def)
}

// unstore is forget for who has the turn.
func (p *projection) unstore(def *projecting) error {
	if p.store.opts.ReadOnly {
		return nil
	}
	err := p.states(false, func(dir vfs.Dir) error {
		files, err := statefile.List(dir, p.name)
		if err != nil {
			return err
		}
		return statefile.Remove(dir, slices.DeleteFunc(files, func(f statefile.Found) bool { return f.Version != def.key.Version }))
	})
	p.mu.Lock()
	p.stored = stored{when: time.Now()}
	p.mu.Unlock()
	return err
}
