package vfs

import (
	"path"
	"sync"
	"syscall"
)

// A Call is one call to a [Faulty] file system, before it happens.
type Call struct {
	Index int // among all calls, from 1
	Kind  OpKind
	Dir   string // path of the directory
	Name  string // of the file; the old name of a rename; "" for a directory
	Off   int64  // of a read or write, bytes from start of file
	Len   int    // of a read or write, bytes
}

// A Decision says how a call ends. The zero Decision lets it happen.
type Decision struct {
	// Err is what the call returns, inside an [fs.PathError]. Nil: the call happens.
	Err error

	// Half makes a write put down the first half of its bytes before it fails: a full disk does.
	Half bool

	// Apply makes a mutation, a sync among them, happen in full before it fails: the error was late.
	Apply bool
}

// A Faulty is a file system of which chosen calls fail.
//
// Every method call on it, on its directories, files, locks and maps is counted and may fail. A call that
// fails does nothing, unless the decision says otherwise; a sync that fails leaves what it should have
// saved in doubt for good, as a [Mem] does it; a close that fails has closed. EINTR and EAGAIN come to the
// layer that repeats calls, as on the real system: a caller sees them only if they do not end, and each
// attempt counts as a call. It is safe for concurrent use.
type Faulty struct {
	fs     FS
	before func(Call) Decision

	mu     sync.Mutex
	total  int            // calls so far; guarded by mu
	counts [opKindEnd]int // by kind; guarded by mu
}

// Inject returns fs with before asked about each call. A nil before never fails and only counts. It is
// called with no lock held and from many goroutines.
func Inject(fs FS, before func(Call) Decision) *Faulty { return &Faulty{fs: fs, before: before} }

// FailAt returns a function for [Inject] that gives the nth call, counted from 1, the decision d.
func FailAt(n int, d Decision) func(Call) Decision {
	return func(c Call) Decision {
		if c.Index != n {
			return Decision{}
		}
		return d
	}
}

// FailFrom returns a function for [Inject] that gives the nth call and every later one the decision d.
func FailFrom(n int, d Decision) func(Call) Decision {
	return func(c Call) Decision {
		if c.Index < n {
			return Decision{}
		}
		return d
	}
}

// FullDisk is how a write ends on a full disk: half of it written, then ENOSPC.
var FullDisk = Decision{Err: syscall.ENOSPC, Half: true}

// Count returns how many calls there were.
func (f *Faulty) Count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total
}

// CountOf returns how many calls of one kind there were.
func (f *Faulty) CountOf(kind OpKind) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if kind >= opKindEnd {
		return 0
	}
	return f.counts[kind]
}

// ask counts a call and decides about it.
func (f *Faulty) ask(c Call) Decision {
	f.mu.Lock()
	f.total++
	f.counts[c.Kind]++
	c.Index = f.total
	f.mu.Unlock()
	if f.before == nil {
		return Decision{}
	}
	d := f.before(c)
	if d.Err != nil {
		d.Err = memError(c.Kind.String(), path.Join(c.Dir, c.Name), d.Err)
	}
	return d
}

// do makes the call c by means of fn, or lets it fail.
func (f *Faulty) do(c Call, fn func() error) error {
	return retry(func() error {
		d := f.ask(c)
		if d.Err == nil {
			return fn()
		}
		if d.Apply {
			if err := fn(); err != nil {
				return err
			}
		}
		return d.Err
	})
}

// OpenDir opens a directory of the file system below.
func (f *Faulty) OpenDir(name string, o DirOptions) (Dir, error) {
	var dir Dir
	err := f.do(Call{Kind: OpOpenDir, Dir: name}, func() (err error) {
		dir, err = f.fs.OpenDir(name, o)
		return err
	})
	if err != nil {
		if dir != nil {
			_ = dir.Close() // opened, but reported as failed
		}
		return nil, err
	}
	return &faultyDir{f: f, d: dir}, nil
}

// A faultyDir is a directory of a Faulty.
type faultyDir struct {
	f *Faulty
	d Dir
}

func (d *faultyDir) call(kind OpKind, name string) Call {
	return Call{Kind: kind, Dir: d.d.Path(), Name: name}
}

func (d *faultyDir) Path() string { return d.d.Path() }

func (d *faultyDir) Create(name string) (File, error) { return d.open(OpCreate, name, d.d.Create) }

func (d *faultyDir) OpenRead(name string) (File, error) {
	return d.open(OpOpenRead, name, d.d.OpenRead)
}

func (d *faultyDir) OpenWrite(name string) (File, error) {
	return d.open(OpOpenWrite, name, d.d.OpenWrite)
}

func (d *faultyDir) Lock(name string) (LockFile, error) {
	return d.open(OpLock, name, func(name string) (File, error) { return d.d.Lock(name) })
}

func (d *faultyDir) open(kind OpKind, name string, open func(string) (File, error)) (File, error) {
	var file File
	c := d.call(kind, name)
	err := d.f.do(c, func() (err error) {
		file, err = open(name)
		return err
	})
	if err != nil {
		if file != nil {
			_ = file.Close() // opened, but reported as failed
		}
		return nil, err
	}
	return &faultyFile{f: d.f, file: file, dir: c.Dir, name: name}, nil
}

// Map maps the file with a check in front of each read, so that reads may fail.
func (d *faultyDir) Map(name string) (*Map, error) {
	var m *Map
	err := d.f.do(d.call(OpMap, name), func() (err error) {
		m, err = d.d.Map(name)
		return err
	})
	if err != nil {
		if m != nil {
			_ = m.Close() // mapped, but reported as failed
		}
		return nil, err
	}
	soft := softMap{check: func(kind OpKind, off int64, n int) error {
		c := d.call(kind, name)
		c.Off, c.Len = off, n
		return d.f.do(c, func() error { return nil })
	}}
	if m.soft != nil {
		soft.mem = m.soft.mem
	}
	m.soft = &soft
	return m, nil
}

func (d *faultyDir) Rename(oldName, newName string) error {
	return d.f.do(d.call(OpRename, oldName), func() error { return d.d.Rename(oldName, newName) })
}

func (d *faultyDir) Remove(name string) error {
	return d.f.do(d.call(OpRemove, name), func() error { return d.d.Remove(name) })
}

func (d *faultyDir) List() ([]Entry, error) { return d.list(d.d.List) }
func (d *faultyDir) Names(look func(string) bool) ([]Entry, error) {
	return d.list(func() ([]Entry, error) { return d.d.Names(look) })
}

func (d *faultyDir) list(of func() ([]Entry, error)) (entries []Entry, err error) {
	err = d.f.do(d.call(OpList, ""), func() (err error) {
		entries, err = of()
		return err
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func (d *faultyDir) Stat(name string) (entry Entry, err error) {
	err = d.f.do(d.call(OpStat, name), func() (err error) {
		entry, err = d.d.Stat(name)
		return err
	})
	if err != nil {
		return Entry{}, err
	}
	return entry, nil
}

func (d *faultyDir) Sync() error { return d.f.sync(d.call(OpDirSync, ""), d.d) }

func (d *faultyDir) Close() error { return d.f.close(d.call(OpClose, ""), d.d) }

// sync makes or fails a sync of a file or directory. An in-memory one is told that it failed; an
// interrupted sync is not a failed one.
func (f *Faulty) sync(c Call, of interface{ Sync() error }) error {
	return retry(func() error {
		d := f.ask(c)
		switch failer, ok := of.(interface{ failSync() }); {
		case d.Err == nil:
			return of.Sync()
		case d.Apply:
			if err := of.Sync(); err != nil {
				return err
			}
		case ok && !interrupted(d.Err):
			failer.failSync()
		}
		return d.Err
	})
}

// close closes in any case, and then reports an error that was decided on. A close is never repeated.
func (f *Faulty) close(c Call, of interface{ Close() error }) error {
	d := f.ask(c)
	if err := of.Close(); err != nil {
		return err
	}
	return d.Err
}

// A faultyFile is a file or lock of a Faulty.
type faultyFile struct {
	f         *Faulty
	file      File
	dir, name string
}

func (f *faultyFile) call(kind OpKind, off int64, n int) Call {
	return Call{Kind: kind, Dir: f.dir, Name: f.name, Off: off, Len: n}
}

func (f *faultyFile) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.f.do(f.call(OpRead, off, len(p)), func() (err error) {
		n, err = f.file.ReadAt(p, off)
		return err
	})
	return n, err
}

func (f *faultyFile) WriteAt(p []byte, off int64) (int, error) {
	return f.writeBy(f.file.WriteAt, p, off)
}

// overwriteAt is a write like any other to whoever decides.
func (f *faultyFile) overwriteAt(p []byte, off, written int64) (int, error) {
	return f.writeBy(func(p []byte, off int64) (int, error) { return OverwriteAt(f.file, p, off, written) }, p, off)
}

func (f *faultyFile) writeBy(write func(p []byte, off int64) (int, error), p []byte, off int64) (int, error) {
	return retryWriteAt(p, off, func(p []byte, off int64) (int, error) {
		d := f.f.ask(f.call(OpWrite, off, len(p)))
		n := 0
		switch {
		case d.Err == nil, d.Apply:
			n = len(p)
		case d.Half:
			n = len(p) / 2
		}
		if n > 0 || d.Err == nil {
			if n, err := write(p[:n], off); err != nil {
				return n, err
			}
		}
		return n, d.Err
	})
}

func (f *faultyFile) Size() (size int64, err error) {
	err = f.f.do(f.call(OpSize, 0, 0), func() (err error) {
		size, err = f.file.Size()
		return err
	})
	if err != nil {
		return 0, err
	}
	return size, nil
}

func (f *faultyFile) Truncate(size int64) error {
	return f.f.do(f.call(OpTruncate, size, 0), func() error { return f.file.Truncate(size) })
}

func (f *faultyFile) Sync() error { return f.f.sync(f.call(OpSync, 0, 0), f.file) }

func (f *faultyFile) Close() error { return f.f.close(f.call(OpClose, 0, 0), f.file) }
