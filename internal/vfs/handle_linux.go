package vfs

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"batpak/internal/planted"
)

// Package os would offer every file to its poller, which takes none of ours, and have every name looked up from the
// root: an open of a store is some forty of these calls and little else.

// safeFlags keep an open from following a link and from waiting for the other end of a FIFO.
func safeFlags() int {
	if planted.On(planted.LinkFollowed) {
		return unix.O_CLOEXEC
	}
	return unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
}

// A fileID tells files apart.
type fileID struct{ dev, ino uint64 }

func (a fileID) same(b fileID) bool { return a == b }

func statusOf(st *unix.Stat_t) status {
	return status{
		mode: typeOf(st.Mode), size: st.Size, links: uint64(st.Nlink), id: fileID{uint64(st.Dev), st.Ino},
		stamp: Stamp{ID: st.Ino, Changed: st.Ctim.Nano()}, // inode and ctime: nobody can set the latter
	}
}

// typeOf translates the type bits of a mode.
func typeOf(mode uint32) fs.FileMode {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return 0
	case unix.S_IFDIR:
		return fs.ModeDir
	case unix.S_IFLNK:
		return fs.ModeSymlink
	case unix.S_IFIFO:
		return fs.ModeNamedPipe
	case unix.S_IFSOCK:
		return fs.ModeSocket
	case unix.S_IFCHR:
		return fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		return fs.ModeDevice
	}
	return fs.ModeIrregular
}

// A descriptor is a file or directory that the system has opened. It is given back when Close was called and no call
// is under way. Safe for concurrent use.
type descriptor struct {
	fd        int
	dir, name string       // name "" for a directory
	uses      atomic.Int64 // calls under way, and descriptorClosed
}

func (d *descriptor) path() string { return filepath.Join(d.dir, d.name) }

// descriptorClosed is the bit that Close sets.
const descriptorClosed = 1 << 62

// do calls fn, and again as long as it is interrupted, unless d is closed.
func (d *descriptor) do(op string, fn func(fd int) error) error {
	if !d.enter() {
		return &fs.PathError{Op: op, Path: d.path(), Err: fs.ErrClosed}
	}
	defer d.leave()
	if err := retry(func() error { return fn(d.fd) }); err != nil {
		return &fs.PathError{Op: op, Path: d.path(), Err: err}
	}
	return nil
}

func (d *descriptor) enter() bool {
	for {
		n := d.uses.Load()
		if n&descriptorClosed != 0 {
			return false
		}
		if d.uses.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (d *descriptor) leave() {
	if d.uses.Add(-1) == descriptorClosed {
		_ = unix.Close(d.fd) // Close has returned
	}
}

// Close ends all later calls.
func (d *descriptor) Close() error {
	for {
		n := d.uses.Load()
		switch {
		case n&descriptorClosed != 0:
			return &fs.PathError{Op: "close", Path: d.path(), Err: fs.ErrClosed}
		case !d.uses.CompareAndSwap(n, n|descriptorClosed):
			continue
		case n > 0:
			return nil
		}
		if err := unix.Close(d.fd); err != nil && err != unix.EINTR { // which has closed it
			return &fs.PathError{Op: "close", Path: d.path(), Err: err}
		}
		return nil
	}
}

// status describes the file, whatever its name is now.
func (d *descriptor) status() (s status, err error) {
	var st unix.Stat_t
	if err := d.do("stat", func(fd int) error { return unix.Fstat(fd, &st) }); err != nil {
		return s, err
	}
	return statusOf(&st), nil
}

// A handle is an open file.
type handle struct{ descriptor }

func (h *handle) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "read", Path: h.path(), Err: fs.ErrInvalid}
	}
	for n < len(p) && err == nil {
		err = h.do("read", func(fd int) error {
			m, err := unix.Pread(fd, p[n:], off+int64(n))
			if n += max(m, 0); m == 0 && err == nil {
				err = io.EOF
			}
			return err
		})
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF
	}
	return n, err
}

func (h *handle) WriteAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, &fs.PathError{Op: "write", Path: h.path(), Err: fs.ErrInvalid}
	}
	for n < len(p) && err == nil {
		err = h.do("write", func(fd int) error {
			m, err := unix.Pwrite(fd, p[n:], off+int64(n))
			if n += max(m, 0); m == 0 && err == nil {
				err = io.ErrUnexpectedEOF
			}
			return err
		})
	}
	return n, err
}

func (h *handle) Truncate(size int64) error {
	return h.do("truncate", func(fd int) error { return unix.Ftruncate(fd, size) })
}

func (h *handle) chmod(perm fs.FileMode) error {
	return h.do("chmod", func(fd int) error { return unix.Fchmod(fd, uint32(perm.Perm())) })
}

// sync makes the bytes and the size durable. It spares the time stamps, which fsync would not.
func (h *handle) sync() error { return h.do("sync", unix.Fdatasync) }

// lock takes the exclusive lock without waiting. Errors: errWouldBlock.
func (h *handle) lock() (err error) {
	held := false
	err = h.do("lock", func(fd int) error {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		held = err == unix.EWOULDBLOCK
		if held {
			return nil // it is an answer, and not to be asked again
		}
		return err
	})
	if held {
		return errWouldBlock
	}
	return err
}

func (h *handle) unlock() error {
	return h.do("unlock", func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}

// A dirHandle is an open directory. Whoever moves it takes its handle along.
type dirHandle struct {
	descriptor
	listing sync.Mutex // held while entries are read: the descriptor has one position
	moved   bool       // that it is not at the start
}

// openDir opens the directory at path. A FIFO in its place does not block.
func openDir(path string) (*dirHandle, error) {
	d := &dirHandle{descriptor: descriptor{dir: path}}
	err := retry(func() (err error) {
		d.fd, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return d, nil
}

// open opens the file name, and looks at what that is once it is open.
func (d *dirHandle) open(name string, flag int, perm fs.FileMode) (*handle, status, error) {
	h := &handle{descriptor{dir: d.dir, name: name}}
	var st unix.Stat_t
	err := d.do("open", func(fd int) (err error) {
		h.fd, err = unix.Openat(fd, name, flag|safeFlags(), uint32(perm.Perm()))
		return err
	})
	if err == nil {
		if err = retry(func() error { return unix.Fstat(h.fd, &st) }); err != nil {
			err = errors.Join(&fs.PathError{Op: "stat", Path: h.path(), Err: err}, h.Close())
		}
	}
	if err != nil {
		return nil, status{}, d.named(err, name)
	}
	return h, statusOf(&st), nil
}

// lstat describes the entry name.
func (d *dirHandle) lstat(name string) (s status, err error) {
	var st unix.Stat_t
	err = d.do("lstat", func(fd int) error { return unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil {
		return s, d.named(err, name)
	}
	return statusOf(&st), nil
}

func (d *dirHandle) rename(oldName, newName string) error {
	err := d.do("rename", func(fd int) error { return unix.Renameat(fd, oldName, fd, newName) })
	var e *fs.PathError
	if errors.As(err, &e) {
		err = &os.LinkError{Op: e.Op, Old: filepath.Join(d.dir, oldName), New: filepath.Join(d.dir, newName), Err: e.Err}
	}
	return err
}

func (d *dirHandle) remove(name string) error {
	return d.named(d.do("remove", func(fd int) error { return unix.Unlinkat(fd, name, 0) }), name)
}

// named makes the error of a call on d that of its entry name.
func (d *dirHandle) named(err error, name string) error {
	if e, ok := err.(*fs.PathError); ok {
		e.Path = filepath.Join(d.dir, name)
	}
	return err
}

// empty reports whether the directory holds nothing.
func (d *dirHandle) empty() (bool, error) {
	found, err := d.read(1)
	return len(found) == 0, err
}

// names returns the entries by name and type, sorted by name, and as the file itself says those that look picks. Some
// file systems leave types to the files.
func (d *dirHandle) names(look func(string) bool) ([]Entry, error) {
	found, err := d.read(-1)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	entries := found[:0]
	for _, e := range found {
		if e.Mode == fs.ModeIrregular || look != nil && look(e.Name) {
			s, err := d.lstat(e.Name)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since
			}
			if err != nil {
				return nil, err
			}
			e = s.entry(e.Name)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// What getdents64 returns: inode, offset, length and type of an entry, then its name and a zero.
const (
	direntLen  = 8 + 8
	direntType = direntLen + 2
	direntName = direntType + 1

	direntUsual = direntName + len("0000000001.fbat") + 1
)

// read returns names and types, in no order; most, unless it is negative, says how many are enough.
func (d *dirHandle) read(most int) (found []Entry, err error) {
	d.listing.Lock()
	defer d.listing.Unlock()
	if d.moved {
		err = d.do("list", func(fd int) error { _, err := unix.Seek(fd, 0, io.SeekStart); return err })
	}
	d.moved = true
	buf := make([]byte, 8<<10)
	if most == 1 {
		buf = buf[:512] // for ".", ".." and the longest name
	}
	for err == nil && (most < 0 || len(found) < most) {
		n := 0
		err = d.do("list", func(fd int) (err error) { n, err = unix.Getdents(fd, buf); return err })
		if err != nil || n <= 0 {
			break
		}
		found = slices.Grow(found, n/direntUsual)
		all := string(buf[:n]) // that the names are parts of
		for b := buf[:n]; len(b) >= direntName; {
			size := min(max(int(binary.NativeEndian.Uint16(b[direntLen:])), direntName), len(b))
			if s, _, _ := strings.Cut(all[direntName:size], "\x00"); s != "." && s != ".." {
				found = append(found, Entry{Name: s, Mode: typeOf(uint32(b[direntType]) << 12)}) // as in a mode
			}
			b, all = b[size:], all[size:]
		}
	}
	return found, err
}

// sync makes the entries of the directory durable. File systems that have no such call say EINVAL or ENOTSUP; there is
// nothing to be done there.
func (d *dirHandle) sync() error {
	err := d.do("sync", unix.Fsync)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
