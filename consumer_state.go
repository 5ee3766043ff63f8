package batpak

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"batpak/internal/cursors"
	"batpak/internal/planted"
	"batpak/internal/vfs"
)

// The consumers of a store are what this process knows of them: one state for each name, however many Consumers there
// are of it.
type consumers struct {
	mu    sync.Mutex
	known map[string]*consumerState
	ended bool // Close has begun: nobody may run any more

	// Files are written under saving, by many at a time; Close takes it for itself. Then nobody writes any more, since
	// the directory may be another process's.
	saving sync.RWMutex
	closed bool // written with opening held, too

	opening sync.Mutex
	dir     vfs.Dir // nil until somebody asks; not opened any more once closed is set
}

// A consumerState is where a consumer is.
type consumerState struct {
	name string

	placing sync.Mutex // held while the position is looked up, or put elsewhere
	parking sync.Mutex // held while what is parked is replayed or forgotten

	mu      sync.Mutex
	running bool
	cancel  context.CancelCauseFunc // of the run
	loaded  bool                    // what follows holds
	print   [32]byte                // fingerprint of what it selects
	at      earned                  // everything up to it was handled
	kept    cursors.Position        // what the next process would find, if nothing else is lost
	ripe    earned                  // to be written once it is durable; generation 0 for none
	attempt vfs.File                // where the run notes what it has in hand; nil when it does not
}

// An earned is a position, and what must be durable before it may outlast the process: the event that it names, and
// whatever came of it and of those before. That may be behind it, as what was parked and what handlers have appended.
type earned struct {
	cursors.Position
	needs uint64
}

// of returns the state of a consumer.
func (cs *consumers) of(name string) *consumerState {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.known == nil {
		cs.known = make(map[string]*consumerState)
	}
	st := cs.known[name]
	if st == nil {
		st = &consumerState{name: name}
		cs.known[name] = st
	}
	return st
}

// all returns the states of all consumers that were asked for.
func (cs *consumers) all() []*consumerState {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	states := make([]*consumerState, 0, len(cs.known))
	for _, st := range cs.known {
		states = append(states, st)
	}
	return states
}

// enter makes the caller the one that runs the consumer, until leave. cancel ends the run when the store is closed.
//
// Errors: [ErrConsumerRunning]; [ErrClosed].
func (cs *consumers) enter(st *consumerState, cancel context.CancelCauseFunc) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.ended {
		return ErrClosed
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.running {
		return fmt.Errorf("%w: %q", ErrConsumerRunning, st.name)
	}
	st.running, st.cancel = true, cancel
	return nil
}

// leave ends what enter began.
func (st *consumerState) leave() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.running, st.cancel = false, nil
}

// end ends every run with [ErrClosed], without waiting for the handlers.
func (cs *consumers) end() {
	cs.mu.Lock()
	cs.ended = true
	cs.mu.Unlock()
	for _, st := range cs.all() {
		st.mu.Lock()
		if st.cancel != nil {
			st.cancel(ErrClosed)
		}
		st.mu.Unlock()
	}
}

// closeConsumers writes the positions that are not kept yet, as far as they are durable. Nothing is written after it.
func (s *Store) closeConsumers() error {
	cs := &s.consumers
	cs.saving.Lock()
	defer cs.saving.Unlock()
	var errs []error
	for _, st := range cs.all() {
		errs = append(errs, s.saveLocked(st), s.endAttemptsLocked(st))
	}
	cs.opening.Lock()
	defer cs.opening.Unlock()
	cs.closed = true
	if cs.dir != nil {
		errs = append(errs, cs.dir.Close())
	}
	return errors.Join(errs...)
}

// cursorDir returns the directory of positions; nil in a read-only store that has none.
//
// Errors: [ErrClosed]; *[vfs.UnsafePathError]; I/O errors.
func (s *Store) cursorDir() (vfs.Dir, error) {
	cs := &s.consumers
	cs.opening.Lock()
	defer cs.opening.Unlock()
	if cs.closed {
		return nil, ErrClosed // to open it would tidy up what may be another process's by now
	}
	if cs.dir == nil {
		d, err := s.state.Cursors()
		if s.opts.ReadOnly && errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("positions of consumers: %w", err)
		}
		cs.dir = d
	}
	return cs.dir, nil
}

// moved notes that everything up to p was handled; logged says that the log knows.
func (s *Store) moved(st *consumerState, p cursors.Position, logged bool) {
	needs := p.Seq
	if s.opts.Sync != SyncAlways {
		needs = max(needs, s.written.Load()) // else what was acknowledged is durable
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.at = earned{p, needs}
	if logged {
		st.kept, st.ripe = p, earned{}
	}
}

// settle makes p, which the next process would find, where the consumer is. The caller holds mu.
func (st *consumerState) settle(p cursors.Position) {
	st.loaded, st.at, st.kept, st.ripe = true, earned{p, p.Seq}, p, earned{}
}

// position returns where the consumer is, and what is still to be kept of that.
func (st *consumerState) position() (at cursors.Position, loaded, dirty bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.at.Position, st.loaded, st.loaded && st.kept.Before(st.at.Position)
}

// due returns the position to write, when everything up to durable is. One that is not durable yet is noted, and
// due when it is: else a position that is always a little ahead would never be written.
func (st *consumerState) due(durable uint64) (p cursors.Position, ok bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case !st.loaded || !st.kept.Before(st.at.Position):
		return p, false
	case st.at.needs <= durable || planted.On(planted.PositionAheadOfDurable):
		p, st.ripe = st.at.Position, earned{}
		return p, true
	case st.ripe.Generation > 0 && st.ripe.needs <= durable:
		p, st.ripe = st.ripe.Position, st.at
		return p, st.kept.Before(p)
	case st.ripe.Generation == 0:
		st.ripe = st.at
	}
	return p, false
}

// savePosition writes how far a consumer is, as far as that is durable, unless the log or the file knows.
func (s *Store) savePosition(st *consumerState) error {
	s.consumers.saving.RLock()
	defer s.consumers.saving.RUnlock()
	return s.saveLocked(st)
}

// saveLocked is savePosition for who holds saving.
func (s *Store) saveLocked(st *consumerState) error {
	p, ok := st.due(s.durable.Load())
	if !ok || s.consumers.closed {
		return nil
	}
	st.mu.Lock()
	print := st.print
	st.mu.Unlock()
	if err := s.writeCursor(st.name, p, print); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.kept.Before(p) {
		st.kept = p
	}
	return nil
}

// writeCursor writes the file of a consumer. The caller holds saving.
func (s *Store) writeCursor(name string, p cursors.Position, print [32]byte) error {
	dir, err := s.cursorDir()
	if err == nil {
		err = cursors.Write(dir, s.state.StoreID, &cursors.File{
			Name: name, Position: p, Query: print, Written: s.opts.Clock().UnixMilli(),
		})
	}
	if err != nil {
		return fmt.Errorf("position of consumer %q: %w", name, err)
	}
	return nil
}

// saveLast is savePosition at the end of a run: it asks for the sync that the position waits for, in a mode that would
// not. When that does not come, within most, what is durable is written, by now or by Close.
func (s *Store) saveLast(st *consumerState, most time.Duration) error {
	if _, _, dirty := st.position(); !dirty {
		return nil
	}
	st.mu.Lock()
	needs := st.at.needs
	st.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	defer cancel()
	_ = s.WaitDurable(ctx, needs) // closed, poisoned, or slow: redelivery is all that it costs
	return s.savePosition(st)
}

// A saver says when a position is to be written.
type saver struct {
	every time.Duration
	count int

	handled int // since the last time
	last    time.Time
}

// due reports whether it is time, after one more event was handled.
func (sv *saver) due() bool {
	sv.handled++
	return sv.handled >= sv.count || time.Since(sv.last) >= sv.every
}

// left returns how long there is left.
func (sv *saver) left() time.Duration { return max(sv.every-time.Since(sv.last), 0) }

// done notes that it was written.
func (sv *saver) done() { sv.handled, sv.last = 0, time.Now() }
