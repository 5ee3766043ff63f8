package vfs

import (
	"hash/crc32"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
)

// MemDir is the directory in which [NewMemFrom], [Mem.Files] and [Mem.SetFile] place plain names. A test
// opens its store there.
const MemDir = "/store"

// memMaxSize is the largest file in bytes that a Mem holds; a longer one is EFBIG.
const memMaxSize = 1 << 30

// memPID is the process ID that Mem writes into lock files, the same in every run.
const memPID = 1

// A MemMode changes how a [Mem] behaves. Modes are bits and may be combined; zero is a well-behaved file
// system.
type MemMode uint8

// The modes.
const (
	// Ext4Rewrite: bytes whose sync failed stay lost, even when they are written again in place and
	// synced without an error. Only another file takes them.
	Ext4Rewrite MemMode = 1 << iota

	// LyingSync: Sync of files and directories succeeds and makes nothing durable.
	LyingSync

	// ShrinkMaps: reading a Map behind the end of a file that was truncated meanwhile is ErrMapFault.
	// Otherwise a Map keeps the bytes it had.
	ShrinkMaps
)

// A Mem is a strict in-memory file system. To its callers it is like the operating system's; but it
// remembers what was synced and what was not, records each mutation in a trace, and yields every state
// that a crash may leave on disk ([Mem.CrashStates]).
//
//   - Reads see unsynced bytes. Close does not sync.
//   - Sync of a file makes its bytes and size durable, not its name; Sync of a directory makes creates,
//     renames and removals durable. A directory made by OpenDir is durable.
//   - After a crash a renamed file has its old name or its new one, never neither.
//   - Truncate and Remove are writes and may be lost.
//   - A failed Sync loses what it should have saved, while reads go on seeing it (see [Faulty]).
//   - Removed files stay usable through open handles. Maps serve a copy.
//   - Locks belong to one Mem. A crash state is another Mem, with no lock held.
//
// A Mem is safe for concurrent use.
type Mem struct {
	base *image // what was durable before the first op; immutable

	mu    sync.Mutex
	mode  MemMode
	dirs  map[string]map[string]*memNode // by directory, then by name: the cached view
	locks map[string]bool                // held, by path
	next  uint64                         // next inode
	pins  map[string]Stamp               // by path; see Rot
	ops   []Op                           // the trace, append-only

	disk   *disk // memo: base and the first diskAt ops
	diskAt int
}

// A memNode is a file as readers see it. Its content is guarded by Mem.mu.
type memNode struct {
	id      uint64
	mode    fs.FileMode // type bits
	content content
	left    atomic.Int64 // current size, for maps that outlive a truncate
}

// NewMem returns an empty file system. It has no directory yet; open one with [DirOptions].Create.
func NewMem() *Mem { return newMem(newImage()) }

// NewMemFrom returns a file system that holds files durably. A plain name, or a relative path, is placed
// in [MemDir], which always exists.
func NewMemFrom(files map[string][]byte) *Mem {
	img := newImage()
	img.mkdirAll(MemDir)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		img.put(memPath(name), 0, contentOf(files[name]))
	}
	return newMem(img)
}

// newMem returns a Mem that holds img durably.
func newMem(img *image) *Mem {
	m := &Mem{
		base:  img,
		dirs:  make(map[string]map[string]*memNode, len(img.dirs)),
		locks: map[string]bool{},
		next:  img.next,
	}
	nodes := make(map[uint64]*memNode, len(img.nodes))
	for id, n := range img.nodes {
		node := &memNode{id: id, mode: n.mode, content: n.content}
		node.left.Store(n.content.size)
		nodes[id] = node
	}
	for dir, entries := range img.dirs {
		live := make(map[string]*memNode, len(entries))
		for name, id := range entries {
			live[name] = nodes[id]
		}
		m.dirs[dir] = live
	}
	return m
}

// memPath returns the absolute path of name.
func memPath(name string) string {
	name = filepath.ToSlash(name)
	if !path.IsAbs(name) {
		name = path.Join(MemDir, name)
	}
	return path.Clean(name)
}

// SetMode sets how m behaves from now on. Crash states and clones behave the same.
func (m *Mem) SetMode(mode MemMode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mode = mode
}

// Ops returns the trace so far. The ops and their Data are not to be changed.
func (m *Mem) Ops() []Op {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.ops)
}

// OpCount returns the length of the trace. A workload notes it with each acknowledgement: crash states at
// that index and later must hold what was acknowledged.
func (m *Mem) OpCount() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ops)
}

// Clone returns a file system that holds durably what readers of m see now. It has an empty trace and no
// lock held.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := newMem(m.imageLocked())
	c.mode = m.mode
	return c
}

// imageLocked returns the cached view.
func (m *Mem) imageLocked() *image {
	img := newImage()
	img.next = m.next
	for dir, live := range m.dirs {
		entries := make(map[string]uint64, len(live))
		for name, node := range live {
			entries[name] = node.id
			img.nodes[node.id] = nodeImage{node.mode, node.content.share()}
		}
		img.dirs[dir] = entries
	}
	return img
}

// Files returns a copy of every regular file that readers see. Files below [MemDir] are keyed by their
// path in it, that is by plain name; others by absolute path.
func (m *Mem) Files() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.imageLocked().files()
}

// SetFile replaces the file name by one that holds a copy of data, or makes it; both readers and the disk
// have it at once. It is how a test damages a file. Open handles keep the old file. The name is read as by
// [NewMemFrom]; its directory is made when missing.
func (m *Mem) SetFile(name string, data []byte) {
	m.setNode(name, 0, slices.Clone(data))
}

// Rot is SetFile for bytes that rot where they lie: the file's stamp stays.
func (m *Mem) Rot(name string, data []byte) {
	dir, base := path.Split(memPath(name))
	dir = path.Clean(dir)
	m.mu.Lock()
	if node := m.dirs[dir][base]; node != nil {
		if m.pins == nil {
			m.pins = make(map[string]Stamp)
		}
		m.pins[path.Join(dir, base)] = m.stampLocked(dir, base, node)
	}
	m.mu.Unlock()
	m.SetFile(name, data)
}

// stampLocked returns the stamp of a file: a checksum of its content, so that a file is the same in every image that
// holds it unchanged.
func (m *Mem) stampLocked(dir, name string, node *memNode) Stamp {
	if s, ok := m.pins[path.Join(dir, name)]; ok {
		return s
	}
	sum, b := uint32(0), make([]byte, min(node.content.size, 64<<10))
	for off := int64(0); off < node.content.size; {
		n, _ := node.content.readAt(b, off)
		sum, off = crc32.Update(sum, crc32.IEEETable, b[:n]), off+int64(n) // our own sums, Castagnoli's, cannot make up for a change
	}
	return Stamp{ID: 1, Changed: int64(sum)}
}

// SetSpecial puts something that is not a regular file in the place of name: a symlink, FIFO, device or
// directory, as the type bits of mode say.
func (m *Mem) SetSpecial(name string, mode fs.FileMode) { m.setNode(name, mode.Type(), nil) }

func (m *Mem) setNode(name string, mode fs.FileMode, data []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base := path.Split(memPath(name))
	dir = path.Clean(dir)
	m.mkdirAllLocked(dir)
	node := m.newNodeLocked(mode)
	node.content.writeAt(data, 0)
	node.left.Store(node.content.size)
	m.dirs[dir][base] = node
	m.recordLocked(Op{Kind: OpSetFile, Dir: dir, Name: base, Inode: node.id, Data: data, mode: mode})
}

// DeleteFile removes the file name, if it is there, from readers and from the disk at once.
func (m *Mem) DeleteFile(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base := path.Split(memPath(name))
	dir = path.Clean(dir)
	if m.dirs[dir][base] == nil {
		return
	}
	delete(m.dirs[dir], base)
	m.recordLocked(Op{Kind: OpSetFile, Dir: dir, Name: base})
}

func (m *Mem) newNodeLocked(mode fs.FileMode) *memNode {
	m.next++
	return &memNode{id: m.next, mode: mode}
}

func (m *Mem) recordLocked(op Op) {
	op.Index = len(m.ops)
	m.ops = append(m.ops, op)
}

// mkdirAllLocked makes dir and its parents, durably.
func (m *Mem) mkdirAllLocked(dir string) {
	for ; m.dirs[dir] == nil; dir = path.Dir(dir) {
		m.dirs[dir] = map[string]*memNode{}
		m.recordLocked(Op{Kind: OpMkdir, Dir: dir})
	}
}

// OpenDir opens the directory at path, a slash-separated path of m.
func (m *Mem) OpenDir(name string, o DirOptions) (Dir, error) {
	dir := path.Clean(filepath.ToSlash(name))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dirs[dir] == nil {
		for p := dir; m.dirs[p] == nil && p != path.Dir(p); p = path.Dir(p) {
			if m.dirs[path.Dir(p)][path.Base(p)] != nil {
				return nil, memError("opendir", dir, errNotDir)
			}
		}
		if !o.Create {
			return nil, memError("opendir", dir, fs.ErrNotExist)
		}
		m.mkdirAllLocked(dir)
	}
	return &memDir{m: m, path: dir}, nil
}

func memError(op, path string, err error) error {
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// subdirsLocked returns the names of the directories right inside dir.
func (m *Mem) subdirsLocked(dir string) []string {
	var names []string
	for p := range m.dirs {
		if p != dir && path.Dir(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	return names
}

// isSubdirLocked reports whether name is a directory right inside dir.
func (m *Mem) isSubdirLocked(dir, name string) bool { return m.dirs[path.Join(dir, name)] != nil }

// checkSize refuses a file size that a Mem does not hold.
func checkSize(size int64) error {
	switch {
	case size < 0:
		return fs.ErrInvalid
	case size > memMaxSize:
		return syscall.EFBIG
	}
	return nil
}
