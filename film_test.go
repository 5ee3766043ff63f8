package batpak_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"time"

	"batpak"
	"batpak/internal/vfs"
)

// A film is what a store did to its files, shown again beside a reader: before each call of the reader some more of it
// happens. So every order of the two can be had, and had again.
type film struct {
	mu    sync.Mutex
	mem   *vfs.Mem
	ops   []vfs.Op
	next  int    // of ops
	rest  []byte // of the write before next, which a reader meets half done
	off   int64  // where rest goes
	dirs  map[string]vfs.Dir
	files map[uint64]vfs.File
	names map[string]uint64 // path of a file → its inode
	later map[uint64]bool   // inodes of files that took the name of another one
	last  map[uint64]int    // inode → the last op that changes the file
	rng   *rand.Rand
	began int64   // nanoseconds; in the future
	pace  float64 // how likely it is that one more op happens, below 1
}

// beaconLen is what is never met half written for long: one line of the cache.
const beaconLen = 64

// newFilm returns the film of ops, of which the first from have happened.
func newFilm(ops []vfs.Op, from int, seed uint64) *film {
	f := &film{
		mem: vfs.NewMem(), ops: ops, dirs: map[string]vfs.Dir{}, files: map[uint64]vfs.File{}, names: map[string]uint64{},
		later: map[uint64]bool{},
		last:  map[uint64]int{}, rng: rand.New(rand.NewPCG(seed, 1)),
		began: time.Now().Add(time.Hour).UnixNano(),
	}
	for i := range ops {
		if ops[i].Kind == vfs.OpWrite || ops[i].Kind == vfs.OpTruncate {
			f.last[ops[i].Inode] = i
		}
	}
	f.mem.SetMode(vfs.ShrinkMaps)
	for f.next < from {
		f.step()
	}
	f.finishWrite()
	f.pace = []float64{0.02, 0.1, 0.4, 0.8, 0.97}[f.rng.IntN(5)]
	return f
}

// shown returns how many ops have happened, and how many have begun.
func (f *film) shown() (done, begun int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rest != nil {
		return f.next - 1, f.next
	}
	return f.next, f.next
}

// goOn lets some more ops happen.
func (f *film) goOn() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.rng.Float64() < f.pace {
		f.step()
	}
}

// step lets one op happen, or the rest of one.
func (f *film) step() {
	if f.rest != nil {
		f.finishWrite()
		return
	}
	if f.next == len(f.ops) {
		return
	}
	op := &f.ops[f.next]
	f.next++
	if err := f.do(op); err != nil {
		panic(fmt.Sprintf("%v: %v", op, err))
	}
}

func (f *film) finishWrite() {
	if f.rest == nil {
		return
	}
	if _, err := f.files[f.ops[f.next-1].Inode].WriteAt(f.rest, f.off); err != nil {
		panic(err)
	}
	f.rest = nil
}

func (f *film) do(op *vfs.Op) (err error) {
	dir, ok := f.dirs[op.Dir]
	if !ok {
		if dir, err = f.mem.OpenDir(op.Dir, vfs.DirOptions{Create: true}); err != nil {
			return err
		}
		f.dirs[op.Dir] = dir
	}
	switch file := f.files[op.Inode]; op.Kind {
	case vfs.OpMkdir:
		sub := path.Join(op.Dir, op.Name)
		f.dirs[sub], err = f.mem.OpenDir(sub, vfs.DirOptions{Create: true})
	case vfs.OpCreate:
		f.names[path.Join(op.Dir, op.Name)] = op.Inode
		f.files[op.Inode], err = dir.Create(op.Name)
	case vfs.OpWrite:
		cut := len(op.Data)
		if cut > beaconLen && f.rng.IntN(2) == 0 {
			cut = 1 + f.rng.IntN(cut-1)
			f.rest, f.off = op.Data[cut:], op.Off+int64(cut)
		}
		_, err = file.WriteAt(op.Data[:cut], op.Off)
	case vfs.OpTruncate:
		err = file.Truncate(op.Size)
	case vfs.OpRename:
		_, over := f.names[path.Join(op.Dir, op.NewName)]
		f.later[op.Inode] = over
		f.names[path.Join(op.Dir, op.NewName)] = op.Inode
		err = dir.Rename(op.Name, op.NewName)
	case vfs.OpRemove:
		err = dir.Remove(op.Name)
	}
	return err
}

// fs returns the file system that the reader sees.
func (f *film) fs() vfs.FS {
	return besideFS{vfs.Inject(f.mem, func(vfs.Call) vfs.Decision { f.goOn(); return vfs.Decision{} }), f}
}

// stat describes a file. A [vfs.Mem] tells files apart by what is in them; this tells as well whether one that will
// change has changed and was changed back.
func (f *film) stat(dir, name string) (vfs.Entry, error) {
	f.goOn()
	f.mu.Lock()
	defer f.mu.Unlock()
	e, err := f.dirs[dir].Stat(name)
	inode := f.names[path.Join(dir, name)]
	if f.later[inode] {
		e.Stamp.ID = inode
	}
	if f.last[inode] >= f.next || f.rest != nil {
		e.Stamp.Changed = f.began + int64(f.next) // never so long ago that it proves anything
	}
	return e, err
}

// A besideFS is a file system whose lists are made entry by entry, as those of an operating system are.
type besideFS struct {
	vfs.FS
	f *film
}

func (b besideFS) OpenDir(path string, o vfs.DirOptions) (vfs.Dir, error) {
	d, err := b.FS.OpenDir(path, o)
	if err != nil {
		return nil, err
	}
	return besideDir{d, b.f}, nil
}

type besideDir struct {
	vfs.Dir
	f *film
}

func (d besideDir) Stat(name string) (vfs.Entry, error) { return d.f.stat(d.Path(), name) }

func (d besideDir) List() ([]vfs.Entry, error) {
	names, err := d.Names(nil)
	kept := names[:0]
	for _, e := range names {
		e, gone := d.Stat(e.Name)
		if gone == nil {
			kept = append(kept, e)
		}
	}
	return kept, err
}

// options returns the options of a reader.
func (f *film) options() *batpak.Options {
	o := &batpak.Options{ReadOnly: true}
	o.SetFS(f.fs())
	return o
}
