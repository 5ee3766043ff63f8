package vfs

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// windowLen is how much of a file is mapped for writing at once: little address space, and what is behind is soon
	// given back, so that a sync has few pages to take the right to write from.
	windowLen = 1 << 20

	// windowMost is the largest write that goes through a window: for a larger one a call costs less than the pages do. It
	// also bounds the hole that a process which is killed in the middle of one leaves.
	windowMost = 4 << 10
)

// A window is a part of a file that is mapped for writing, and shared: what is stored there is in the page cache, as if it
// had been written, and a sync of the file finds it there (msync is, on Linux, fdatasync of the file behind the map). The
// zero window maps nothing yet. Safe for concurrent use.
type window struct {
	mu      sync.Mutex
	b       []byte // mapped; nil for nothing
	base    int64  // offset of b in the file
	ready   int64  // offset behind the pages that were made ready
	refused bool   // this file is written by calls only
}

func (f *osFile) overwriteAt(p []byte, off, written int64) (int, error) {
	if f.win.put(&f.f.descriptor, p, off, written) {
		return len(p), nil
	}
	return f.f.WriteAt(p, off)
}

// put copies p to off, and reports whether it has. Where it has not, any part of p may be there.
func (w *window) put(d *descriptor, p []byte, off, written int64) bool {
	end := off + int64(len(p))
	if len(p) > windowMost || off < 0 || end > written {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.refused {
		return false
	}
	err := w.reach(d, off, end, written)
	if err == nil {
		err = guarded(func() error {
			copy(w.b[off-w.base:], p)
			return nil
		})
	}
	if err != nil {
		w.refused = true
		w.unmap()
	}
	return err == nil
}

// reach sees to it that [off, end) is in the window, and ready.
func (w *window) reach(d *descriptor, off, end, written int64) error {
	if w.b == nil || off < w.base || end > w.base+int64(len(w.b)) {
		if err := w.remap(d, off); err != nil {
			return err
		}
	}
	if end <= w.ready {
		return nil
	}
	page := int64(os.Getpagesize())
	from := max(w.ready, off&^(page-1)) // what was passed over was written by calls
	to := min(max(end, from+WindowStep), written)
	to = min((to+page-1)&^(page-1), w.base+int64(len(w.b))) // the page that the file ends in is there as a whole
	err := retry(func() error {
		return unix.Madvise(w.b[from-w.base:to-w.base], unix.MADV_POPULATE_WRITE)
	})
	if err == unix.EINVAL {
		err = nil // before Linux 5.14: each page is made ready when it is met
	}
	w.ready = to
	return err
}

// remap maps the part of the file that begins with the page of off.
func (w *window) remap(d *descriptor, off int64) error {
	first := w.b == nil
	w.unmap()
	return d.do("map", func(fd int) (err error) {
		if first {
			if err := mappable(fd); err != nil {
				return err
			}
		}
		w.base = off &^ int64(os.Getpagesize()-1)
		w.ready = w.base
		w.b, err = unix.Mmap(fd, w.base, windowLen, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	})
}

// mappable refuses files on systems that are not known to keep one copy of a page for maps and calls alike, and to
// keep track of which pages were stored into: network file systems and such as are processes.
func mappable(fd int) error {
	var st unix.Statfs_t
	if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return err
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.TMPFS_MAGIC: // the first is that of ext2 and ext3, too
		return nil
	}
	return unix.EOPNOTSUPP
}

// close takes the window away. Whoever needs one again gets it.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unmap()
}

// unmap gives back what is mapped. What was stored there stays in the page cache, to be written down.
func (w *window) unmap() {
	if w.b != nil {
		_ = unix.Munmap(w.b)
		w.b = nil
	}
}
