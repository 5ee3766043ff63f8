package vfs

import (
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"batpak/internal/planted"
)

// A memDir is an open directory of a Mem.
type memDir struct {
	m      *Mem
	path   string
	closed atomic.Bool
}

func (d *memDir) Path() string { return d.path }

// check refuses a bad name and a closed directory.
func (d *memDir) check(op, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if d.closed.Load() {
		return memError(op, path.Join(d.path, name), fs.ErrClosed)
	}
	return nil
}

// regularLocked returns the regular file name.
func (d *memDir) regularLocked(op, name string) (*memNode, error) {
	full := path.Join(d.path, name)
	node := d.m.dirs[d.path][name]
	switch {
	case node == nil && d.m.isSubdirLocked(d.path, name):
		return nil, checkType(full, fs.ModeDir)
	case node == nil:
		return nil, memError(op, full, fs.ErrNotExist)
	}
	return node, checkType(full, node.mode)
}

func (d *memDir) Create(name string) (File, error) {
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	if d.m.dirs[d.path][name] != nil || d.m.isSubdirLocked(d.path, name) {
		return nil, memError("create", path.Join(d.path, name), fs.ErrExist)
	}
	return d.fileLocked(name, d.createLocked(name), true), nil
}

func (d *memDir) createLocked(name string) *memNode {
	node := d.m.newNodeLocked(0)
	d.m.dirs[d.path][name] = node
	d.m.recordLocked(Op{Kind: OpCreate, Dir: d.path, Name: name, Inode: node.id})
	return node
}

func (d *memDir) fileLocked(name string, node *memNode, writable bool) *memFile {
	return &memFile{m: d.m, node: node, dir: d.path, name: name, writable: writable}
}

func (d *memDir) OpenRead(name string) (File, error)  { return d.open(name, false) }
func (d *memDir) OpenWrite(name string) (File, error) { return d.open(name, true) }

func (d *memDir) open(name string, writable bool) (File, error) {
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	node, err := d.regularLocked("open", name)
	if err != nil {
		return nil, err
	}
	return d.fileLocked(name, node, writable), nil
}

func (d *memDir) Map(name string) (*Map, error) {
	if err := d.check("map", name); err != nil {
		return nil, err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	node, err := d.regularLocked("map", name)
	if err != nil {
		return nil, err
	}
	view := &memView{content: node.content.share()}
	if d.m.mode&ShrinkMaps != 0 {
		view.left = &node.left
	}
	return &Map{soft: &softMap{mem: view}}, nil
}

func (d *memDir) Lock(name string) (LockFile, error) {
	if err := d.check("lock", name); err != nil {
		return nil, err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	full := path.Join(d.path, name)
	if d.m.locks[full] || planted.On(planted.LockByPIDFile) && d.m.dirs[d.path][name] != nil {
		return nil, &LockedError{Path: full, PID: memPID}
	}
	node, err := d.regularLocked("lock", name)
	if node == nil && !d.m.isSubdirLocked(d.path, name) {
		node, err = d.createLocked(name), nil
	}
	if err != nil {
		return nil, err
	}
	l := &memLock{memFile: d.fileLocked(name, node, true), path: full}
	d.m.locks[full] = true
	l.writeLocked(lockHint(memPID), 0)
	return l, nil
}

func (d *memDir) Rename(oldName, newName string) error {
	if err := d.check("rename", oldName); err != nil {
		return err
	}
	if err := d.check("rename", newName); err != nil {
		return err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	node, err := d.regularLocked("rename", oldName)
	if err != nil {
		return err
	}
	if over := d.m.dirs[d.path][newName]; over != nil || d.m.isSubdirLocked(d.path, newName) {
		if _, err := d.regularLocked("rename", newName); err != nil {
			return err
		}
	}
	if oldName == newName {
		return nil
	}
	delete(d.m.dirs[d.path], oldName)
	d.m.dirs[d.path][newName] = node
	d.m.recordLocked(Op{Kind: OpRename, Dir: d.path, Name: oldName, NewName: newName, Inode: node.id})
	return nil
}

func (d *memDir) Remove(name string) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	node, err := d.regularLocked("remove", name)
	if err != nil {
		return err
	}
	delete(d.m.dirs[d.path], name)
	d.m.recordLocked(Op{Kind: OpRemove, Dir: d.path, Name: name, Inode: node.id})
	return nil
}

func (d *memDir) List() ([]Entry, error) {
	return d.Names(func(string) bool { return true })
}

func (d *memDir) Names(look func(string) bool) ([]Entry, error) {
	if d.closed.Load() {
		return nil, memError("list", d.path, fs.ErrClosed)
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	entries := make([]Entry, 0, len(d.m.dirs[d.path]))
	for name, node := range d.m.dirs[d.path] {
		e := Entry{Name: name, Mode: node.mode}
		if look != nil && look(name) {
			e.Size, e.Stamp = node.content.size, d.m.stampLocked(d.path, name, node)
		}
		entries = append(entries, e)
	}
	for _, name := range d.m.subdirsLocked(d.path) {
		entries = append(entries, Entry{Name: name, Mode: fs.ModeDir})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}

func (d *memDir) Stat(name string) (Entry, error) {
	if err := d.check("stat", name); err != nil {
		return Entry{}, err
	}
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	node := d.m.dirs[d.path][name]
	switch {
	case node != nil:
		return Entry{Name: name, Mode: node.mode, Size: node.content.size, Stamp: d.m.stampLocked(d.path, name, node)}, nil
	case d.m.isSubdirLocked(d.path, name):
		return Entry{Name: name, Mode: fs.ModeDir}, nil
	}
	return Entry{}, memError("stat", path.Join(d.path, name), fs.ErrNotExist)
}

func (d *memDir) Sync() error {
	if d.closed.Load() {
		return memError("sync", d.path, fs.ErrClosed)
	}
	d.sync(false)
	return nil
}

// failSync records a sync that did not save what it should have.
func (d *memDir) failSync() { d.sync(true) }

func (d *memDir) sync(failed bool) {
	d.m.mu.Lock()
	defer d.m.mu.Unlock()
	d.m.recordLocked(Op{Kind: OpDirSync, Dir: d.path, Failed: failed, Lied: d.m.mode&LyingSync != 0})
}

func (d *memDir) Close() error {
	if d.closed.Swap(true) {
		return memError("close", d.path, fs.ErrClosed)
	}
	return nil
}
