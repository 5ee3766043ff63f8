package batpak

import (
	"runtime"

	"batpak/internal/vfs"
)

// SetFS makes the stores that o opens live in fs.
func (o *Options) SetFS(fs vfs.FS) { o.fs = fs }

// WaitIdle returns when the background has nothing left to fill or to seal.
func (s *Store) WaitIdle() {
	b := &s.background
	b.mu.Lock()
	for len(b.pending) > 0 || b.busy {
		b.quiet.Wait()
	}
	b.mu.Unlock()
	for w := s.commit.current.Load(); w.NeedsFill(); {
		s.kick()
		runtime.Gosched()
	}
}

// Waiting returns how many appends wait for a leader.
func (s *Store) Waiting() int {
	s.queue.mu.Lock()
	defer s.queue.mu.Unlock()
	return len(s.queue.waiting)
}
