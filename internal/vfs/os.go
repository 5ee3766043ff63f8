package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/exp/mmap"

	"batpak/internal/planted"
)

// OS is the file system of the operating system.
var OS FS = osFS{}

type osFS struct{}

func (osFS) OpenDir(path string, o DirOptions) (Dir, error) {
	o = o.withDefaults()
	// A relative path would lead elsewhere once the process changes its working directory.
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if o.Create {
		if err := makeDir(path, o.DirPerm); err != nil {
			return nil, err
		}
	}
	f, err := openDirHandle(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "opendir", Path: path, Err: errNotDir}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &osDir{path: path, handle: f, info: info, filePerm: o.FilePerm}, nil
}

// makeDir makes the directory path and its missing parents, each name durable before the next is made.
// For that reason a directory that holds something has a durable name, and only an empty one that is
// already there may be the left-over of a crash between mkdir and sync.
func makeDir(path string, perm fs.FileMode) error {
	empty, err := isEmptyDir(path)
	parent := filepath.Dir(path)
	switch {
	case err == nil && (!empty || parent == path):
		return nil
	case err == nil:
		err = syncDirAt(parent)
		if errors.Is(err, fs.ErrPermission) {
			return nil // not ours to sync: someone else made the directory for us
		}
		return err
	case !errors.Is(err, fs.ErrNotExist) || parent == path:
		return err
	}
	if err := makeDir(parent, perm); err != nil {
		return err
	}
	if err := os.Mkdir(path, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDirAt(parent)
}

// isEmptyDir reports whether the directory at path holds nothing.
func isEmptyDir(path string) (bool, error) {
	f, err := openDirHandle(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = f.Readdirnames(1)
	if errors.Is(err, io.EOF) {
		return true, nil
	}
	return false, err
}

// syncDirAt syncs the directory at path.
func syncDirAt(path string) error {
	f, err := openDirHandle(path)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(f), f.Close())
}

// An osDir reaches its files by absolute path; the open handle serves to sync and to identify it.
type osDir struct {
	path     string
	handle   *os.File
	info     fs.FileInfo // of handle
	filePerm fs.FileMode
	closed   atomic.Bool
}

func (d *osDir) Path() string { return d.path }

// join returns the path of the file name.
func (d *osDir) join(op, name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	path := filepath.Join(d.path, name)
	if d.closed.Load() {
		return "", &fs.PathError{Op: op, Path: path, Err: fs.ErrClosed}
	}
	return path, nil
}

func (d *osDir) Create(name string) (File, error) {
	path, err := d.join("create", name)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR|safeFlags, d.filePerm)
	if err != nil {
		return nil, err
	}
	if planted.On(planted.WorldReadableFiles) {
		_ = f.Chmod(0o644)
	}
	return &osFile{f: f}, nil
}

func (d *osDir) OpenRead(name string) (File, error) {
	return d.open("open", name, os.O_RDONLY)
}

func (d *osDir) OpenWrite(name string) (File, error) {
	return d.open("open", name, os.O_RDWR)
}

func (d *osDir) open(op, name string, flag int) (File, error) {
	path, err := d.join(op, name)
	if err != nil {
		return nil, err
	}
	f, _, err := openRegular(path, flag, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f}, nil
}

func (d *osDir) Map(name string) (*Map, error) {
	path, err := d.join("map", name)
	if err != nil {
		return nil, err
	}
	// mmap opens by path, and follows links: the same regular file must stand there before and after.
	before, err := os.Lstat(path)
	if err == nil {
		err = checkRegular(path, before)
	}
	if err != nil {
		return nil, err
	}
	r, err := mmap.Open(path)
	if err != nil {
		return nil, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	after, err := os.Lstat(path)
	if err == nil && !os.SameFile(before, after) {
		err = &UnsafePathError{Name: path, Reason: "replaced while opening"}
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &Map{r: r}, nil
}

func (d *osDir) Rename(oldName, newName string) error {
	oldPath, err := d.join("rename", oldName)
	if err != nil {
		return err
	}
	newPath, err := d.join("rename", newName)
	if err != nil {
		return err
	}
	if err := mustBeRegular(oldPath); err != nil {
		return err
	}
	if err := mustBeRegular(newPath); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Rename(oldPath, newPath)
}

func (d *osDir) Remove(name string) error {
	path, err := d.join("remove", name)
	if err != nil {
		return err
	}
	if err := mustBeRegular(path); err != nil {
		return err
	}
	return os.Remove(path)
}

func (d *osDir) List() ([]Entry, error) {
	if d.closed.Load() {
		return nil, &fs.PathError{Op: "list", Path: d.path, Err: fs.ErrClosed}
	}
	found, err := os.ReadDir(d.path) // sorted by name
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, 0, len(found))
	for _, e := range found {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since
		}
		if err != nil {
			return nil, err
		}
		entries = append(entries, entryOf(info))
	}
	return entries, nil
}

func (d *osDir) Stat(name string) (Entry, error) {
	path, err := d.join("stat", name)
	if err != nil {
		return Entry{}, err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return Entry{}, err
	}
	return entryOf(info), nil
}

func entryOf(info fs.FileInfo) Entry {
	return Entry{Name: info.Name(), Mode: info.Mode().Type(), Size: info.Size(), Stamp: stampOf(info)}
}

func (d *osDir) Sync() error { return syncDir(d.handle) }

func (d *osDir) Close() error {
	d.closed.Store(true)
	return d.handle.Close()
}
