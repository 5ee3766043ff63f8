package batpak

import "context"

// indexAtClose is how much of the active segment Close leaves without an index block: replaying it is as fast as opening one.
const indexAtClose = 32 << 10

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
		if err := s.state.IndexBlock(b.ctx, w, s.durable.Load()); err != nil && b.ctx.Err() == nil {
			s.opts.Logger.Warn("write index block", "err", err)
		}
	}
}

// indexRest writes the index block that covers the log to its end. Everything is durable and folded; the caller holds
// the committer, and nothing else is at work.
func (s *Store) indexRest() {
	w := s.commit.writer
	if s.state.Uncovered(w) < min(indexAtClose, s.opts.IndexEvery) {
		return
	}
	if err := s.state.IndexBlock(context.Background(), w, s.durable.Load()); err != nil {
		s.opts.Logger.Warn("write index block", "err", err)
	}
}
