package batpak

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A ProjectionStatus says how a projection stands.
type ProjectionStatus struct {
	Name     string
	Version  uint32
	At       uint64               // position: every visible event up to here was applied
	Behind   uint64               // sequences from there to the visible end; nothing that it selects need be among them
	Applied  uint64               // events that are in the state
	Snapshot uint64               // position of the newest stored state; 0 for none
	Failed   *ProjectionError     // nil unless a fold has failed
	Findings []*ProjectionFinding // newest last; older ones are dropped
}

// projections are those that are open in a store: there is none but them.
type projections struct {
	frames atomic.Uint64 // that were read for them

	mu     sync.Mutex
	open   map[projectionKey]*projection
	serial uint64
	swept  bool // left-overs in the directory of states were removed
	ended  bool // no more may be opened
}

type projectionKey struct {
	name    string
	version uint32
}

// enter registers p under a version.
//
// Errors: [ErrClosed]; [ErrProjectionOpen].
func (r *projections) enter(p *projection, version uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := projectionKey{p.name, version}
	switch {
	case r.ended:
		return ErrClosed
	case r.open[k] != nil:
		return fmt.Errorf("%w: %q version %d", ErrProjectionOpen, p.name, version)
	case r.open == nil:
		r.open = make(map[projectionKey]*projection)
	}
	r.serial++
	if p.serial == 0 {
		p.serial = r.serial
	}
	r.open[k] = p
	return nil
}

// leave ends what enter has begun.
func (r *projections) leave(p *projection, version uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := (projectionKey{p.name, version}); r.open[k] == p {
		delete(r.open, k)
	}
}

// leaveBelow unregisters p under every version below one.
func (r *projections) leaveBelow(p *projection, version uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, other := range r.open {
		if other == p && k.version < version {
			delete(r.open, k)
		}
	}
}

// remove unregisters p under every version.
func (r *projections) remove(p *projection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, other := range r.open {
		if other == p {
			delete(r.open, k)
		}
	}
}

// besides reports whether a version of p's name is open and is not p.
func (r *projections) besides(p *projection, version uint32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	other := r.open[projectionKey{p.name, version}]
	return other != nil && other != p
}

// list returns what is open, each once, in the order in which it was opened.
func (r *projections) list() []*projection {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*projection
	for _, p := range r.open {
		if !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(x, y *projection) int { return cmp.Compare(x.serial, y.serial) })
	return all
}

// closeProjections closes those that are open, and lets no more be opened.
func (s *Store) closeProjections() {
	s.projections.mu.Lock()
	s.projections.ended = true
	s.projections.mu.Unlock()
	for _, p := range s.projections.list() {
		if err := p.close(); err != nil {
			s.opts.Logger.Warn("close projection", "name", p.name, "err", err) // it costs time only
		}
	}
}

// openProjection registers a projection and restores its state.
func (s *Store) openProjection(def *projecting) (*projection, error) {
	p := &projection{store: s, name: def.key.Name, turn: make(chan struct{}, 1), live: &holding{broken: true}}
	p.life, p.end = context.WithCancel(context.Background())
	p.define(def)
	p.turn <- struct{}{} // from now on others see it: whoever closes the store waits
	defer p.give()
	if err := s.projections.enter(p, def.key.Version); err != nil {
		return nil, err
	}
	h, err := p.open(context.Background())
	if err == nil && p.isClosed() {
		err = ErrClosed
	}
	if err != nil {
		s.projections.remove(p)
		return nil, err
	}
	p.mu.Lock()
	p.live, p.stored = h, stored{at: h.at, applied: h.applied, when: time.Now()}
	p.mu.Unlock()
	return p, nil
}

// Projections says how the projections that are open in this store stand, in the order in which they were opened.
func (s *Store) Projections() []ProjectionStatus {
	var all []ProjectionStatus
	for _, p := range s.projections.list() {
		all = append(all, p.status())
	}
	return all
}

// status says how p stands.
func (p *projection) status() ProjectionStatus {
	visible := p.store.Visible()
	p.mu.RLock()
	defer p.mu.RUnlock()
	st := ProjectionStatus{
		Name: p.name, Version: p.def.key.Version, At: p.live.at, Applied: p.live.applied, Snapshot: p.stored.at,
		Failed: p.failed, Findings: slices.Clone(p.findings),
	}
	if visible > st.At {
		st.Behind = visible - st.At
	}
	return st
}
