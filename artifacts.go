package batpak

import (
	"context"
	"fmt"
	"time"

	"batpak/coldstart"
	"batpak/internal/vfs"
)

// indexAtClose is how much of the active segment Close leaves without an index block: replaying it is as fast as opening one.
const indexAtClose = 32 << 10

// settleIn does what Open has left for later.
func (s *Store) settleIn() {
	s.state.Beacon.SetBoot(vfs.BootID())
	s.state.Sweep()
	s.keepHidden()
	if err := s.lookAhead(); err != nil && s.background.ctx.Err() == nil {
		s.opts.Logger.Warn("look ahead of the log", "err", err)
	}
}

// lookAhead ends the active segment if there is anything behind the log in its file.
func (s *Store) lookAhead() error {
	c := &s.commit
	w := c.current.Load()
	for from := int64(0); ; {
		at, found, err := s.state.Ahead(s.background.ctx, w, from)
		if err != nil || !found {
			return err
		}
		c.mu.Lock()
		stale := c.writer == w && at > w.End() // nobody is writing now
		if stale {
			s.opts.Logger.Error("bytes behind the log", "segment", w.Header().Segment, "offset", at)
			err = s.rotate()
		}
		c.mu.Unlock()
		if stale || err != nil {
			return err
		}
		from = at
	}
}

// indexBlocks writes index blocks whenever it is woken.
func (s *Store) indexBlocks() {
	b := &s.background
	for {
		select {
		case <-b.ctx.Done():
			return
		case <-b.behind:
		}
		w := s.commit.current.Load()
		if s.state.Uncovered(w) < s.opts.IndexEvery {
			continue
		}
		s.commit.folder.Fold()
		start := time.Now()
		if err := s.state.IndexBlock(b.ctx, w, s.durable.Load()); err != nil && b.ctx.Err() == nil {
			s.opts.Logger.Warn("write index block", "err", err)
		}
		s.keepHidden()
		rest := indexRest
		if s.opts.Sync != SyncAlways {
			rest = indexRestRelaxed
		}
		b.rest(time.Duration(rest) * time.Since(start))
	}
}

// How much longer the index rests than it works: a segment that fills in less than a second gets its footer before blocks
// would be worth what they take from the appends, least of all where nobody waits for a disk.
const (
	indexRest        = 3
	indexRestRelaxed = 9
)

// rest waits for d, or for Close.
func (b *background) rest(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-b.ctx.Done():
	case <-timer.C:
	}
}

// indexToEnd writes the index block that covers the log to its end. Everything is durable and folded; the caller holds
// the committer, and nothing else is at work.
func (s *Store) indexToEnd() {
	w := s.commit.writer
	if s.state.Uncovered(w) < min(indexAtClose, s.opts.IndexEvery) {
		return
	}
	if err := s.state.IndexBlock(context.Background(), w, s.durable.Load()); err != nil {
		s.opts.Logger.Warn("write index block", "err", err)
	}
}

// writeImages writes the snapshot and the checkpoint if there is something new to say. They are caches: Open does
// without, and no caller is to blame.
func (s *Store) writeImages() {
	if err := s.state.WriteImages(); err != nil {
		s.opts.Logger.Warn("write snapshot and checkpoint", "err", err)
	}
}

// updateCatalogs makes and merges the catalogs over sealed segments, so that a stream is found without asking each of
// them. They are caches: streams are found without.
func (s *Store) updateCatalogs() {
	b := &s.background
	if err := s.state.UpdateCatalogs(b.lazy); err != nil && b.lazy.Err() == nil {
		s.opts.Logger.Warn("update catalogs", "err", err)
	}
}

// Checkpoint makes everything appended so far durable, and writes what the next open starts from: the index of the
// active segment so far, the snapshot and the checkpoint, as far as they are switched on, and the anchor. Stores do
// the same on their own when a segment is full and at Close; an open after a crash then replays what came after.
// Appends go on beside it.
//
// Errors: *[WriteError]; [ErrClosed]; [ErrReadOnly]; *[CanceledError]; I/O errors.
func (s *Store) Checkpoint(ctx context.Context) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	s.checkpointing.Lock()
	defer s.checkpointing.Unlock()
	end, err := s.durableEnd()
	if err != nil {
		return err
	}
	if err := s.state.IndexBlock(ctx, s.commit.current.Load(), end.Seq); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.state.WriteImages(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := s.state.WriteAnchor(end, false); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// durableEnd makes everything written durable and returns where that ends, with the Merkle tree folded up to there.
func (s *Store) durableEnd() (coldstart.End, error) {
	c := &s.commit
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.closed.Load() {
		return coldstart.End{}, ErrClosed
	}
	if err := c.writer.Err(); err != nil {
		return coldstart.End{}, &WriteError{Poisoned: true, Err: err}
	}
	if c.writer.Durable() != c.writer.End() {
		if err := s.syncWritten(); err != nil {
			return coldstart.End{}, err
		}
	}
	return s.end(), nil
}

// healed reports whether err told of a damaged footer that reads will not meet again, so that what failed is to be tried
// again.
func (s *Store) healed(err error) bool {
	if err == nil {
		return false
	}
	healed, _ := s.state.Heal(context.Background(), err)
	return healed
}
