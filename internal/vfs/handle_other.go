//go:build !linux

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"batpak/internal/planted"
)

// A fileID tells files apart.
type fileID struct{ info fs.FileInfo }

func (a fileID) same(b fileID) bool { return os.SameFile(a.info, b.info) }

func statusOf(info fs.FileInfo) status {
	return status{
		mode: info.Mode().Type(), size: info.Size(), links: links(info), stamp: stampOf(info), id: fileID{info},
	}
}

// A handle is an open file.
type handle struct{ *os.File }

func (h *handle) status() (s status, err error) {
	info, err := h.Stat()
	if err != nil {
		return s, err
	}
	return statusOf(info), nil
}

func (h *handle) chmod(perm fs.FileMode) error { return h.Chmod(perm) }

// sync makes the bytes and the size durable; on Darwin package os asks for F_FULLFSYNC.
func (h *handle) sync() error {
	if err := retry(h.Sync); err != nil {
		var e *fs.PathError
		if errors.As(err, &e) {
			err = e.Err
		}
		return &fs.PathError{Op: "sync", Path: h.Name(), Err: err}
	}
	return nil
}

func (h *handle) lock() error {
	err := lockFile(h.File)
	if err != nil && !errors.Is(err, errWouldBlock) {
		err = &fs.PathError{Op: "lock", Path: h.Name(), Err: err}
	}
	return err
}

func (h *handle) unlock() error { return unlockFile(h.File) }

// A dirHandle is an open directory. Its files are reached by path; the handle serves to sync it and to tell it from
// others.
type dirHandle struct {
	*os.File
	dir string // its path
}

// openDir opens the directory at path.
func openDir(path string) (*dirHandle, error) {
	f, err := openDirFile(path)
	if err != nil {
		return nil, err
	}
	return &dirHandle{f, path}, nil
}

func (d *dirHandle) status() (s status, err error) {
	info, err := d.Stat()
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "open", Path: d.dir, Err: errNotDir}
	}
	if err != nil {
		return s, err
	}
	return statusOf(info), nil
}

func (d *dirHandle) join(name string) string { return filepath.Join(d.dir, name) }

// open opens the file name. Where an open can neither follow a link nor wait, the file is looked at once it is open;
// elsewhere it must be the one that stood there before.
func (d *dirHandle) open(name string, flag int, perm fs.FileMode) (*handle, status, error) {
	path := d.join(name)
	var before *status
	if safeFlags == 0 && !planted.On(planted.LinkFollowed) {
		s, err := d.lstat(name)
		switch {
		case err == nil:
			err, before = checkRegular(path, &s), &s
		case flag&os.O_CREATE != 0 && errors.Is(err, fs.ErrNotExist):
			err = nil
		}
		if err != nil {
			return nil, status{}, err
		}
	}
	if !planted.On(planted.LinkFollowed) {
		flag |= safeFlags
	}
	f, err := os.OpenFile(path, flag, perm)
	if err != nil {
		return nil, status{}, err
	}
	h := &handle{f}
	s, err := h.status()
	if err == nil && before != nil && !before.id.same(s.id) {
		err = &UnsafePathError{Name: path, Reason: "replaced while opening"}
	}
	if err != nil {
		return nil, status{}, errors.Join(err, f.Close())
	}
	return h, s, nil
}

func (d *dirHandle) lstat(name string) (status, error) { return statusAt(d.join(name)) }

// statusAt describes what stands at path.
func statusAt(path string) (s status, err error) {
	info, err := os.Lstat(path)
	if err != nil {
		return s, err
	}
	return statusOf(info), nil
}

func (d *dirHandle) rename(oldName, newName string) error {
	return os.Rename(d.join(oldName), d.join(newName))
}

func (d *dirHandle) remove(name string) error { return os.Remove(d.join(name)) }

// empty reports whether the directory holds nothing. It is to be asked once.
func (d *dirHandle) empty() (bool, error) {
	_, err := d.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// names returns the entries by name and type, sorted by name, and as the file itself says those that look picks.
func (d *dirHandle) names(look func(string) bool) ([]Entry, error) {
	found, err := os.ReadDir(d.dir)
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found))
	for _, e := range found {
		if look == nil || !look(e.Name()) {
			entries = append(entries, Entry{Name: e.Name(), Mode: e.Type()})
			continue
		}
		s, err := d.lstat(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, s.entry(e.Name()))
	}
	return entries, nil
}

// sync makes the entries of the directory durable.
func (d *dirHandle) sync() error { return syncDir(d.File) }
