package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

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
	d, err := openDir(path)
	found := err == nil
	if o.Create {
		d, err = madeDir(d, err, path, o.DirPerm)
	}
	if err != nil {
		return nil, err
	}
	s, err := d.status()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	dir := &osDir{path: path, handle: d, id: s.id, filePerm: o.FilePerm}
	dir.unsure.Store(o.Create && found)
	return dir, nil
}

// madeDir makes the directory path and its missing parents, each name durable before the next is made; d and err are
// what opening it has given. For that reason a directory that holds something has a durable name, and only an empty one
// that is already there may be the left-over of a crash between mkdir and sync: see settle.
func madeDir(d *dirHandle, err error, path string, perm fs.FileMode) (*dirHandle, error) {
	parent := filepath.Dir(path)
	switch {
	case err == nil:
		return d, nil
	case !errors.Is(err, fs.ErrNotExist) || parent == path:
		return nil, err
	}
	p, err := openDir(parent)
	if p, err = madeDir(p, err, parent, perm); err != nil {
		return nil, err
	}
	if err = os.Mkdir(path, perm); err == nil || errors.Is(err, fs.ErrExist) {
		err = p.sync()
	}
	if err = errors.Join(err, p.Close()); err != nil {
		return nil, err
	}
	return openDir(path)
}

// settle sees to it, before the first file is made in d, that the name of d is durable. A directory that holds something is
// not asked for it.
func (d *osDir) settle() error {
	if !d.unsure.Load() {
		return nil
	}
	parent := filepath.Dir(d.path)
	empty, err := d.handle.empty()
	if err == nil && empty && parent != d.path {
		var p *dirHandle
		if p, err = openDir(parent); err == nil {
			err = errors.Join(p.sync(), p.Close())
		}
		if errors.Is(err, fs.ErrPermission) {
			err = nil // not ours to sync: someone else made the directory for us
		}
	}
	if err == nil {
		d.unsure.Store(false)
	}
	return err
}

// An osDir is an open directory of the operating system.
type osDir struct {
	path     string
	handle   *dirHandle
	id       fileID // of handle
	filePerm fs.FileMode
	unsure   atomic.Bool // whether the name is durable
	closed   atomic.Bool
}

func (d *osDir) Path() string { return d.path }

// check refuses a bad name and a closed directory.
func (d *osDir) check(op, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if d.closed.Load() {
		return &fs.PathError{Op: op, Path: d.join(name), Err: fs.ErrClosed}
	}
	return nil
}

// join returns the path of the file name.
func (d *osDir) join(name string) string { return filepath.Join(d.path, name) }

func (d *osDir) Create(name string) (File, error) {
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	if err := d.settle(); err != nil {
		return nil, err
	}
	f, _, err := d.handle.open(name, os.O_CREATE|os.O_EXCL|os.O_RDWR, d.filePerm)
	if err != nil {
		return nil, err
	}
	if planted.On(planted.WorldReadableFiles) {
		_ = f.chmod(0o644)
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
	if err := d.check(op, name); err != nil {
		return nil, err
	}
	f, s, err := openRegular(d.handle, name, flag, 0)
	if err != nil {
		return nil, err
	}
	return &osFile{f: f, size: s.size}, nil
}

func (d *osDir) Map(name string) (*Map, error) {
	if err := d.check("map", name); err != nil {
		return nil, err
	}
	r, err := d.handle.mapFile(name)
	if err != nil {
		return nil, err
	}
	return &Map{r: r}, nil
}

func (d *osDir) Rename(oldName, newName string) error {
	if err := d.check("rename", oldName); err != nil {
		return err
	}
	if err := d.check("rename", newName); err != nil {
		return err
	}
	if err := d.mustBeRegular(oldName); err != nil {
		return err
	}
	if err := d.mustBeRegular(newName); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return d.handle.rename(oldName, newName)
}

func (d *osDir) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	if err := d.mustBeRegular(name); err != nil {
		return err
	}
	return d.handle.remove(name)
}

// mustBeRegular checks the entry name without opening it. A hard link passes: its name may be moved or
// removed without a change to the file.
func (d *osDir) mustBeRegular(name string) error {
	s, err := d.handle.lstat(name)
	if err != nil {
		return err
	}
	return checkType(d.join(name), s.mode)
}

func (d *osDir) List() ([]Entry, error) {
	return d.Names(func(string) bool { return true })
}

func (d *osDir) Names(look func(string) bool) ([]Entry, error) {
	if d.closed.Load() {
		return nil, &fs.PathError{Op: "list", Path: d.path, Err: fs.ErrClosed}
	}
	return d.handle.names(look)
}

func (d *osDir) Stat(name string) (Entry, error) {
	if err := d.check("stat", name); err != nil {
		return Entry{}, err
	}
	s, err := d.handle.lstat(name)
	if err != nil {
		return Entry{}, err
	}
	return s.entry(name), nil
}

func (d *osDir) Sync() error { return d.handle.sync() }

func (d *osDir) Close() error {
	d.closed.Store(true)
	return d.handle.Close()
}
