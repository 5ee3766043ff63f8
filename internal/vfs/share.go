package vfs

import (
	"io/fs"
	"sync/atomic"
)

// A Shared is one open file that several users hold: each closes its own hold, and the last one closes the file. Safe for
// concurrent use.
type Shared struct {
	file  File
	holds atomic.Int32 // never grows again once it is 0
}

// Share returns f with one hold, which [Shared.Close] gives up. It takes f over.
func Share(f File) *Shared {
	s := &Shared{file: f}
	s.holds.Store(1)
	return s
}

// Hold returns the file for one more user. It is to be called by who has a hold.
func (s *Shared) Hold() File {
	s.holds.Add(1)
	return &hold{shared: s}
}

// Close gives up the first hold. It is to be called once.
func (s *Shared) Close() error {
	if s.holds.Add(-1) > 0 {
		return nil
	}
	return s.file.Close()
}

// A hold is the file for one of its users.
type hold struct {
	shared *Shared
	closed atomic.Bool
}

// use returns the file, unless this hold was given up.
func (h *hold) use() (File, error) {
	if h.closed.Load() {
		return nil, fs.ErrClosed
	}
	return h.shared.file, nil
}

func (h *hold) ReadAt(p []byte, off int64) (int, error) {
	f, err := h.use()
	if err != nil {
		return 0, err
	}
	return f.ReadAt(p, off)
}

func (h *hold) WriteAt(p []byte, off int64) (int, error) {
	f, err := h.use()
	if err != nil {
		return 0, err
	}
	return f.WriteAt(p, off)
}

// overwriteAt has the file's own way, if it has one.
func (h *hold) overwriteAt(p []byte, off, written int64) (int, error) {
	f, err := h.use()
	if err != nil {
		return 0, err
	}
	return OverwriteAt(f, p, off, written)
}

func (h *hold) Size() (int64, error) {
	f, err := h.use()
	if err != nil {
		return 0, err
	}
	return f.Size()
}

func (h *hold) Truncate(size int64) error {
	f, err := h.use()
	if err != nil {
		return err
	}
	return f.Truncate(size)
}

func (h *hold) Sync() error {
	f, err := h.use()
	if err != nil {
		return err
	}
	return f.Sync()
}

// Close takes the window of [OverwriteAt] away, too: who else overwrites gets another one.
func (h *hold) Close() error {
	if h.closed.Swap(true) {
		return fs.ErrClosed
	}
	if f, ok := h.shared.file.(interface{ closeWindow() }); ok {
		f.closeWindow()
	}
	return h.shared.Close()
}
