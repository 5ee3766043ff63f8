package vfs

import (
	"io/fs"
	"path"
	"slices"
	"syscall"

	"batpak/internal/planted"
)

// A memFile is an open file of a Mem.
type memFile struct {
	m         *Mem
	node      *memNode
	dir, name string // as opened
	writable  bool
	closed    bool // guarded by m.mu
}

// enter locks the file system for one call; the caller unlocks it when the error is nil.
func (f *memFile) enter(op string, write bool) error {
	f.m.mu.Lock()
	var err error
	switch {
	case f.closed:
		err = fs.ErrClosed
	case write && !f.writable:
		err = syscall.EBADF
	default:
		return nil
	}
	f.m.mu.Unlock()
	return f.fail(op, err)
}

func (f *memFile) fail(op string, err error) error {
	return memError(op, path.Join(f.dir, f.name), err)
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.enter("read", false); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if off < 0 {
		return 0, f.fail("read", fs.ErrInvalid)
	}
	return f.node.content.readAt(p, off)
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.enter("write", true); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	if off < 0 || off > memMaxSize {
		return 0, f.fail("write", checkSize(off))
	}
	n := min(len(p), int(memMaxSize-off))
	f.writeLocked(p[:n], off)
	if n < len(p) {
		return n, f.fail("write", syscall.EFBIG)
	}
	return n, nil
}

func (f *memFile) writeLocked(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	f.node.content.writeAt(p, off)
	f.node.left.Store(f.node.content.size)
	f.recordLocked(Op{Kind: OpWrite, Off: off, Data: slices.Clone(p)})
}

func (f *memFile) recordLocked(op Op) {
	op.Dir, op.Name, op.Inode = f.dir, f.name, f.node.id
	f.m.recordLocked(op)
}

func (f *memFile) Truncate(size int64) error {
	if err := f.enter("truncate", true); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	if err := checkSize(size); err != nil {
		return f.fail("truncate", err)
	}
	if size == f.node.content.size {
		return nil
	}
	f.node.content.truncate(size)
	f.node.left.Store(size)
	f.recordLocked(Op{Kind: OpTruncate, Size: size})
	return nil
}

func (f *memFile) Sync() error {
	if err := f.enter("sync", false); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.syncLocked(false)
	return nil
}

// failSync records a sync that did not save what it should have.
func (f *memFile) failSync() {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.syncLocked(true)
}

func (f *memFile) syncLocked(failed bool) {
	mode := f.m.mode
	f.recordLocked(Op{Kind: OpSync, Failed: failed, Lied: mode&LyingSync != 0, ext4: mode&Ext4Rewrite != 0})
}

func (f *memFile) Size() (int64, error) {
	if err := f.enter("size", false); err != nil {
		return 0, err
	}
	defer f.m.mu.Unlock()
	return f.node.content.size, nil
}

func (f *memFile) Close() error {
	if err := f.enter("close", false); err != nil {
		return err
	}
	defer f.m.mu.Unlock()
	f.closed = true
	return nil
}

// A memLock is a locked file of a Mem.
type memLock struct {
	*memFile
	path string
}

func (l *memLock) Close() error {
	if err := l.memFile.Close(); err != nil {
		return err
	}
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if planted.On(planted.LockFileDeletedAtClose) {
		delete(l.m.dirs[l.dir], l.name)
		l.m.recordLocked(Op{Kind: OpRemove, Dir: l.dir, Name: l.name, Inode: l.node.id})
	}
	delete(l.m.locks, l.path)
	return nil
}
