package vfs

import (
	"io/fs"
	"path/filepath"

	"batpak/internal/planted"
)

// What this package asks of the operating system comes in two forms with the same methods: handle_linux.go, which keeps
// descriptors and names files relative to their directory's, and handle_other.go, made of package os.
//
//	openDir(path)            opens a directory
//	dirHandle   status       of the directory
//	            lstat(name)  of an entry, no link followed
//	            open         a file, never through a link, never waiting for the other end of a FIFO
//	            rename, remove
//	            empty, names (of the entries, with a type), sync, Close
//	handle      ReadAt, WriteAt, Truncate, Close, as of os.File
//	            status, sync, lock, unlock

// A status is what the system says of a file.
type status struct {
	mode  fs.FileMode // type bits only
	size  int64
	links uint64 // names that it has; 1 where nobody tells
	stamp Stamp
	id    fileID
}

func (s *status) entry(name string) Entry {
	return Entry{Name: name, Mode: s.mode, Size: s.size, Stamp: s.stamp}
}

// openRegular opens the file name of d if it is a regular file with one link. With os.O_CREATE in flag it may
// be missing.
func openRegular(d *dirHandle, name string, flag int, perm fs.FileMode) (*handle, status, error) {
	f, s, err := d.open(name, flag, perm)
	if err != nil {
		// A link, a directory, a socket? The errno does not tell all of them.
		if s, statErr := d.lstat(name); statErr == nil {
			if unsafe := checkType(filepath.Join(d.dir, name), s.mode); unsafe != nil {
				err = unsafe
			}
		}
		return nil, status{}, err
	}
	if s.mode.IsRegular() && s.links <= 1 || planted.On(planted.LinkFollowed) {
		return f, s, nil
	}
	f.Close()
	return nil, status{}, checkRegular(filepath.Join(d.dir, name), &s)
}

// checkRegular refuses everything but a regular file with one link.
func checkRegular(path string, s *status) error {
	if err := checkType(path, s.mode); err != nil {
		return err
	}
	if s.links > 1 {
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
