package batpak

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"batpak/coldstart"
)

// foldAt is how many event hashes wait before they are folded into the Merkle tree off the append path.
const foldAt = 1024

// lagMost is how many bytes SyncNever leaves to the operating system before it syncs them in the background: a full
// segment is synced before the next one begins, and appends would wait for all of it.
const lagMost = 8 << 20

// The background is what a store does beside its callers: it keeps zeroes ready ahead of the writer, folds event
// hashes into the Merkle tree, seals full segments, and syncs in SyncInterval. None of it decides whether an event is
// there; what fails is logged, since no caller can be told, and costs time later.
type background struct {
	ctx     context.Context
	cancel  context.CancelFunc
	lazy    context.Context // of what Close does not wait for
	hurry   context.CancelFunc
	wg      sync.WaitGroup
	nudge   chan struct{} // there may be something to fill or fold
	lagging chan struct{} // not SyncAlways: somebody waits for a sync, or, in SyncNever, much was written without
	behind  chan struct{} // there may be something to write an index block for

	begun atomic.Bool // its goroutines run

	mu      sync.Mutex
	ended   bool                 // none of them is to begin any more
	pending []coldstart.Unsealed // full segments without a footer, oldest first
	sealing chan struct{}        // there is something to seal
	busy    bool                 // a segment is being sealed
	quiet   sync.Cond            // signalled when nothing is left to seal; L is mu
}

// start prepares the work, and begins it if the open has left any: waking other threads takes a clean open longer than
// most of what it does itself. Else the first commit begins it.
func (b *background) start(s *Store) {
	b.ctx, b.cancel = context.WithCancel(context.Background())
	b.lazy, b.hurry = context.WithCancel(b.ctx)
	b.nudge, b.lagging, b.sealing = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	b.behind = make(chan struct{}, 1)
	b.quiet.L = &b.mu
	b.pending = append(b.pending, s.state.Pending...)
	if r := &s.state.Report; !r.Clean || s.state.Derived || len(b.pending)+len(r.Removed) > 0 {
		b.begin(s)
	}
}

// begin begins the work, unless it has begun or ended, and seals what an earlier process left unsealed.
func (b *background) begin(s *Store) {
	if b.begun.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended || !b.begun.CompareAndSwap(false, true) {
		return
	}
	b.wg.Go(func() { s.prepare() })
	b.wg.Go(func() { s.sealAll() })
	b.wg.Go(func() { s.settleIn(); s.indexBlocks() })
	switch s.opts.Sync {
	case SyncInterval:
		ticker := time.NewTicker(s.opts.SyncEvery)
		b.wg.Go(func() { defer ticker.Stop(); syncOn(s, ticker.C) })
		b.wg.Go(func() { syncOn(s, b.lagging) })
	case SyncNever:
		b.wg.Go(func() { syncOn(s, b.lagging) })
	}
	if len(b.pending) > 0 {
		wake(b.sealing)
	}
}

// stop ends the work when every full segment is sealed, or failed to be.
func (b *background) stop() {
	b.hurry()
	b.mu.Lock()
	for len(b.pending) > 0 || b.busy {
		b.quiet.Wait()
	}
	b.ended = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
}

// kick wakes whoever fills and folds, if there is enough to do.
func (s *Store) kick() {
	s.background.begin(s)
	w := s.commit.current.Load()
	if s.opts.Sync == SyncNever && w.Lag() > lagMost {
		wake(s.background.lagging)
	}
	if s.opts.Sync != SyncAlways && s.durable.wanted(s.written.Load()) {
		wake(s.background.lagging)
	}
	if s.state.Uncovered(w) >= s.opts.IndexEvery {
		wake(s.background.behind)
	}
	if !w.NeedsFill() && !s.state.NeedsNext(w) && s.commit.folder.Pending() < foldAt {
		return
	}
	wake(s.background.nudge)
}

// wake tells whoever waits on c, once however often it is called.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// prepare fills and folds whenever it is woken.
func (s *Store) prepare() {
	for {
		select {
		case <-s.background.ctx.Done():
			return
		case <-s.background.nudge:
		}
		w := s.commit.current.Load()
		if w.NeedsFill() {
			if err := w.Fill(); err != nil {
				s.opts.Logger.Warn("fill ahead", "err", err)
			}
		}
		if s.state.NeedsNext(w) {
			if err := s.state.PrepareNext(w.Header().Segment); err != nil {
				s.opts.Logger.Warn("prepare the next segment", "err", err)
			}
		}
		s.commit.folder.Fold()
	}
}

// queueSeal hands a full segment to the background.
func (b *background) queueSeal(u coldstart.Unsealed) {
	b.mu.Lock()
	b.pending = append(b.pending, u)
	b.mu.Unlock()
	wake(b.sealing)
}

// next returns the oldest segment to seal.
func (b *background) next() (u coldstart.Unsealed, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.busy = len(b.pending) > 0
	if !b.busy {
		b.quiet.Broadcast()
		return u, false
	}
	u = b.pending[0]
	b.pending = b.pending[1:]
	return u, true
}

// sealAll seals segments as they come.
func (s *Store) sealAll() {
	b := &s.background
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.sealing:
		}
		for {
			u, ok := b.next()
			if !ok {
				break
			}
			// A segment that is not sealed is served from memory and from its frames; the next Open tries again.
			if err := s.state.Seal(b.ctx, u); err != nil {
				s.opts.Logger.Error("seal segment", "segment", u.Header.Segment, "err", err)
				continue
			}
			s.writeImages()
			s.keepHidden()
			if b.last() {
				s.updateCatalogs()
			}
		}
	}
}

// last reports whether nothing waits to be sealed.
func (b *background) last() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.pending) == 0
}

// syncOn syncs what was written whenever it hears from when, beside the writer: appends go on while the disk works.
func syncOn[T any](s *Store, when <-chan T) {
	for {
		select {
		case <-s.background.ctx.Done():
			return
		case <-when:
		}
		if err := s.syncBehind(); err != nil {
			s.opts.Logger.Error("sync", "err", err)
			s.endWaits()
			return // the writer is poisoned; every append says so
		}
	}
}

// syncBehind makes what was written when it began durable. The committer is free while the disk works.
func (s *Store) syncBehind() error {
	c := &s.commit
	c.mu.Lock()
	w, end, seq := c.writer, c.writer.End(), c.seq
	done := w.Err() != nil || w.Durable() == end
	c.mu.Unlock()
	if done {
		return nil
	}
	err := w.SyncFile()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writer != w {
		return nil // the segment was rotated, and synced by that, or poisoned by the same failure
	}
	if err != nil {
		return w.Poison(err)
	}
	w.MarkDurable(end)
	s.durable.Store(seq)
	if err := s.state.Beacon.Publish(s.position(), seq); err != nil {
		s.opts.Logger.Warn("publish beacon", "err", err)
	}
	return nil
}
