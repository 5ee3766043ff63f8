package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"batpak/internal/planted"
)

// errNotDir is the errno of a path that ought to be a directory.
const errNotDir = syscall.ENOTDIR

// An osFile is a regular file of the operating system. Package os repeats what was interrupted, except
// for the sync, which is ours.
type osFile struct {
	f *os.File
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error)  { return f.f.ReadAt(p, off) }
func (f *osFile) WriteAt(p []byte, off int64) (int, error) { return f.f.WriteAt(p, off) }
func (f *osFile) Truncate(size int64) error                { return f.f.Truncate(size) }
func (f *osFile) Close() error                             { return f.f.Close() }

func (f *osFile) Sync() error {
	if err := syncFile(f.f); err != nil {
		return &fs.PathError{Op: "sync", Path: f.f.Name(), Err: err}
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// openRegular opens the file at path if it is a regular file with one link. With os.O_CREATE in flag it may be missing.
// Where an open can neither follow a link nor wait, the file is looked at once it is open; elsewhere it must be the one
// that stood there before.
func openRegular(path string, flag int, perm fs.FileMode) (*os.File, fs.FileInfo, error) {
	if planted.On(planted.LinkFollowed) {
		return openAny(path, flag, perm)
	}
	var before fs.FileInfo
	if safeFlags == 0 {
		var err error
		before, err = os.Lstat(path)
		switch {
		case err == nil:
			err = checkRegular(path, before)
		case flag&os.O_CREATE != 0 && errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err != nil {
			return nil, nil, err
		}
	}
	f, err := os.OpenFile(path, flag|safeFlags, perm)
	if err != nil {
		// A link, a directory, a socket? The errno does not tell all of them.
		if info, statErr := os.Lstat(path); statErr == nil {
			if unsafe := checkType(path, info.Mode()); unsafe != nil {
				err = unsafe
			}
		}
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkRegular(path, info)
	}
	if err == nil && before != nil && !os.SameFile(before, info) {
		err = &UnsafePathError{Name: path, Reason: "replaced while opening"}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// openAny is a planted bug: it opens whatever a link leads to.
func openAny(path string, flag int, perm fs.FileMode) (*os.File, fs.FileInfo, error) {
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	return f, info, err
}

// mustBeRegular checks the entry at path without opening it. A hard link passes: its name may be moved or
// removed without a change to the file.
func mustBeRegular(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	return checkType(path, info.Mode())
}

// checkRegular refuses everything but a regular file with one link.
func checkRegular(path string, info fs.FileInfo) error {
	if err := checkType(path, info.Mode()); err != nil {
		return err
	}
	if links(info) > 1 {
		return &UnsafePathError{Name: path, Reason: "hard link"}
	}
	return nil
}

// checkType refuses every type but a regular file.
func checkType(name string, mode fs.FileMode) error {
	reason := ""
	switch mode.Type() {
	case 0:
		return nil
	case fs.ModeSymlink:
		reason = "symlink"
	case fs.ModeDir:
		reason = "directory"
	case fs.ModeNamedPipe:
		reason = "FIFO"
	case fs.ModeSocket:
		reason = "socket"
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		reason = "device"
	default:
		reason = "not a regular file"
	}
	return &UnsafePathError{Name: name, Reason: reason}
}
