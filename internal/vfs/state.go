package vfs

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"strconv"
	"strings"
)

// StateOptions choose the crash states of a trace. The zero StateOptions give all but the random ones.
type StateOptions struct {
	Workload string // first part of each name
	Seed     uint64 // of garbage and of random states

	Random  int // number of random states for each index
	MaxTorn int // places at which one write is torn; zero means 32
	MaxEach int // ops in doubt, counted from the last, that get states of their own; zero means 64

	// SpareOverwrites keeps zeros and garbage away from bytes that were durable before: there, a write
	// in doubt is old or new. By default it may be neither, which is harsher than most disks.
	SpareOverwrites bool

	// Settled names files whose ops always survive, so that no states are spent on them. Nil: none.
	Settled func(name string) bool

	// Seen holds the hashes of states that are not to be yielded, and takes those that are. Nil: states
	// are told apart within one index only. Not safe for concurrent use.
	Seen map[[sha256.Size]byte]bool
}

// withDefaults returns o with every zero limit set.
func (o StateOptions) withDefaults() StateOptions {
	if o.MaxTorn <= 0 {
		o.MaxTorn = 32
	}
	if o.MaxEach <= 0 {
		o.MaxEach = 64
	}
	return o
}

// A State is what a disk holds after a crash. It is immutable and safe for concurrent use.
type State struct {
	// Name is workload/op-index/mode/seed. With the same trace and options it finds this state again.
	Name string

	img  *image
	sum  [sha256.Size]byte
	mode MemMode
}

// FS returns a new file system that holds the state durably, with no lock held. It is independent of all
// others.
func (s State) FS() *Mem {
	m := newMem(s.img)
	m.mode = s.mode
	return m
}

// Hash returns a hash of all names and bytes: states with the same hash are the same.
func (s State) Hash() [sha256.Size]byte { return s.sum }

// Files returns the regular files of the state, as [Mem.Files] does.
func (s State) Files() map[string][]byte { return s.img.files() }

// WriteTo writes the state into the existing real directory dir: what is in [MemDir] right into it.
func (s State) WriteTo(dir string) error { return s.img.writeTo(dir) }

// CrashStates yields the states in which a crash after the first opIndex ops of the trace may leave the
// disk. The trace may grow meanwhile; states of a shorter trace stay the same. The sequence may be used
// again and gives the same states, unless o.Seen is set.
//
// An op is in doubt when no sync has covered it yet. With "kept" for an op that survives:
//
//	synced, all        no op in doubt is kept; all are
//	names, data        directory ops only; file ops only
//	drop-N, only-N     all but op N; op N alone, for a write also with all names, for a name with all data
//	torn-N@B           of write N the first B bytes: 0, 1, 20, half, all but one, and every multiple of
//	                   512 and 4096 in the file; with later ops kept, and (…-end) lost
//	tornz-N@B          the same for 20 and half, where the file grew to its full size
//	zero-N, garbage-N  write N with its bytes replaced; also of all writes together
//	dirs-X             each subset of up to 8 directory ops, else pairs; with file ops kept, and (-bare) lost
//	failed-…           ops dropped by a failed sync arrived after all
//	rand-I             seeded: each block of each write, each other op for itself
//
// Ops that are kept take effect in the order of the trace. A removal or a new file under the old name of a
// rename implies the rename. It panics when opIndex is negative or greater than [Mem.OpCount].
func (m *Mem) CrashStates(opIndex int, o StateOptions) iter.Seq[State] {
	if n := m.OpCount(); opIndex < 0 || opIndex > n {
		panic(fmt.Sprintf("vfs: crash at op %d of %d", opIndex, n))
	}
	return func(yield func(State) bool) {
		e := newEnumerator(m.diskAfter(opIndex), o.withDefaults(), yield)
		e.prefix = o.Workload + "/" + strconv.Itoa(opIndex) + "/"
		e.suffix = "/" + strconv.FormatUint(o.Seed, 10)
		e.seed = o.Seed ^ uint64(opIndex)<<32
		m.mu.Lock()
		e.memMode = m.mode
		m.mu.Unlock()
		e.run()
	}
}

// CrashState returns the crash state that has the given name, with the same trace and options.
func (m *Mem) CrashState(name string, o StateOptions) (State, bool) {
	o.Seen = nil
	rest, ok := strings.CutPrefix(name, o.Workload+"/")
	number, _, found := strings.Cut(rest, "/")
	opIndex, err := strconv.Atoi(number)
	if !ok || !found || err != nil || opIndex < 0 || opIndex > m.OpCount() {
		return State{}, false
	}
	for s := range m.CrashStates(opIndex, o) {
		if s.Name == name {
			return s, true
		}
	}
	return State{}, false
}

// diskAfter returns the disk after the first opIndex ops.
func (m *Mem) diskAfter(opIndex int) *disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.disk == nil || m.diskAt > opIndex {
		m.disk, m.diskAt = newDisk(m.base), 0
	}
	for ; m.diskAt < opIndex; m.diskAt++ {
		m.disk.apply(&m.ops[m.diskAt])
	}
	return m.disk.clone()
}

// build returns the image that the disk holds when the op in slot i has fates[i].
func (d *disk) build(fates []fate, spare bool) *image {
	img := &image{
		dirs:  make(map[string]map[string]uint64, len(d.dirs)),
		nodes: make(map[uint64]nodeImage, len(d.nodes)),
		next:  d.next,
	}
	for name, dir := range d.dirs {
		entries := dir.build(fates)
		img.dirs[name] = entries
		for _, id := range entries {
			if _, done := img.nodes[id]; !done {
				img.nodes[id] = d.nodes[id].build(fates, spare)
			}
		}
	}
	return img
}

func (n *diskNode) build(fates []fate, spare bool) nodeImage {
	if len(n.log) == 0 {
		return n.base
	}
	c := n.base.content
	fillFrom := int64(0)
	if spare {
		fillFrom = c.size
	}
	for i := range n.log {
		r := &n.log[i]
		r.applyTo(&c, r.fateIn(fates), fillFrom)
	}
	return nodeImage{n.base.mode, c.share()}
}

// fateIn returns the fate of r.
func (r *rec) fateIn(fates []fate) fate {
	if r.state == recDurable {
		return fate{kind: fateKept}
	}
	return fates[r.slot]
}

func (d *diskDir) build(fates []fate) map[string]uint64 {
	if len(d.log) == 0 {
		return d.entries
	}
	entries := make(map[string]uint64, len(d.entries)+len(d.log))
	for name, id := range d.entries {
		entries[name] = id
	}
	kept := d.kept(fates)
	for i, r := range d.log {
		if kept[i] {
			applyEntry(entries, r.op)
		}
	}
	return entries
}

// kept returns which recs of the log take effect. A rename that was lost left the file under its old
// name; when a later op that is kept changes that name, the file would have neither name, so the rename
// cannot have been lost.
func (d *diskDir) kept(fates []fate) []bool {
	kept := make([]bool, len(d.log))
	changed := make(map[string]bool, len(d.log)) // names, by later ops that are kept
	for i := len(d.log) - 1; i >= 0; i-- {
		op := d.log[i].op
		kept[i] = d.log[i].fateIn(fates).kind != fateLost || op.Kind == OpRename && changed[op.Name]
		if kept[i] {
			changed[op.Name] = true
			if op.Kind == OpRename {
				changed[op.NewName] = true
			}
		}
	}
	return kept
}
