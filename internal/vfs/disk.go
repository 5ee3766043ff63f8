package vfs

import (
	"maps"
	"slices"
)

// A disk follows a trace from an image and knows, for each file and directory, what is durable and which
// ops are not. It is not safe for concurrent use.
type disk struct {
	dirs  map[string]*diskDir
	nodes map[uint64]*diskNode
	next  uint64
}

// A diskDir is the durable entries of a directory, and the ops since.
type diskDir struct {
	entries map[string]uint64 // shared until written; see fold
	log     []rec
}

// A diskNode is the durable content of a file, and the ops since.
type diskNode struct {
	base nodeImage
	log  []rec
	dead []span // bytes that no write reaches any more
}

// A rec is an op that is not part of the durable base. Durable recs stay in the log as long as one before
// them is not durable, because they act on its result.
type rec struct {
	op    *Op
	state recState
	dead  []span // of the file when it was written
	slot  int    // number among the ops in doubt; -1 when durable
}

type recState uint8

const (
	recPending recState = iota // may be kept or lost
	recDurable                 // synced
	recDropped                 // its sync failed: most likely lost
)

// A span is the half-open range [start, end) of bytes of a file.
type span struct{ start, end int64 }

func newDisk(img *image) *disk {
	d := &disk{
		dirs:  make(map[string]*diskDir, len(img.dirs)),
		nodes: make(map[uint64]*diskNode, len(img.nodes)),
		next:  img.next,
	}
	for dir, entries := range img.dirs {
		d.dirs[dir] = &diskDir{entries: entries}
	}
	for id, n := range img.nodes {
		d.nodes[id] = &diskNode{base: n}
	}
	return d
}

// clone returns a copy that shares what neither will write in place.
func (d *disk) clone() *disk {
	c := &disk{
		dirs:  make(map[string]*diskDir, len(d.dirs)),
		nodes: make(map[uint64]*diskNode, len(d.nodes)),
		next:  d.next,
	}
	for name, dir := range d.dirs {
		c.dirs[name] = &diskDir{entries: dir.entries, log: slices.Clone(dir.log)}
	}
	for id, n := range d.nodes {
		base := nodeImage{n.base.mode, n.base.content.share()}
		c.nodes[id] = &diskNode{base: base, log: slices.Clone(n.log), dead: slices.Clone(n.dead)}
	}
	return c
}

// apply takes the next op of the trace.
func (d *disk) apply(op *Op) {
	d.next = max(d.next, op.Inode)
	switch op.Kind {
	case OpMkdir:
		d.dirs[op.Dir] = &diskDir{}
	case OpSetFile:
		d.set(op)
	case OpCreate:
		d.nodes[op.Inode] = &diskNode{}
		d.dirs[op.Dir].add(op)
	case OpRename, OpRemove:
		d.dirs[op.Dir].add(op)
	case OpWrite, OpTruncate:
		d.nodes[op.Inode].add(op)
	case OpSync:
		if !op.Lied || op.Failed {
			d.nodes[op.Inode].sync(op)
		}
	case OpDirSync:
		if !op.Lied || op.Failed {
			dir := d.dirs[op.Dir]
			settle(dir.log, op.Failed)
			dir.fold()
		}
	}
}

// set replaces or deletes a file durably, whatever is in doubt about it.
func (d *disk) set(op *Op) {
	dir := d.dirs[op.Dir]
	settle(dir.log, false)
	dir.fold()
	entries := maps.Clone(dir.entries)
	if entries == nil {
		entries = map[string]uint64{}
	}
	dir.entries = entries
	if op.Inode == 0 {
		delete(entries, op.Name)
		return
	}
	entries[op.Name] = op.Inode
	d.nodes[op.Inode] = &diskNode{base: nodeImage{op.mode, contentOf(op.Data)}}
}

// settle decides about every op in doubt: durable, or dropped by a failed sync.
func settle(log []rec, failed bool) {
	for i := range log {
		if log[i].state == recPending {
			log[i].state = recDurable
			if failed {
				log[i].state = recDropped
			}
		}
	}
}

// durablePrefix returns how many recs at the start of the log are durable.
func durablePrefix(log []rec) int {
	n := slices.IndexFunc(log, func(r rec) bool { return r.state != recDurable })
	if n < 0 {
		return len(log)
	}
	return n
}

func (d *diskDir) add(op *Op) { d.log = append(d.log, rec{op: op}) }

// fold makes the durable recs at the start of the log part of the base.
func (d *diskDir) fold() {
	n := durablePrefix(d.log)
	if n == 0 {
		return
	}
	entries := maps.Clone(d.entries)
	if entries == nil {
		entries = map[string]uint64{}
	}
	for _, r := range d.log[:n] {
		applyEntry(entries, r.op)
	}
	d.entries = entries
	d.log = slices.Clone(d.log[n:])
}

// applyEntry makes the change of op to the entries of its directory. Earlier ops may have been lost.
func applyEntry(entries map[string]uint64, op *Op) {
	switch op.Kind {
	case OpCreate:
		entries[op.Name] = op.Inode
	case OpRename:
		if entries[op.Name] == op.Inode {
			delete(entries, op.Name)
		}
		entries[op.NewName] = op.Inode
	case OpRemove:
		if entries[op.Name] == op.Inode {
			delete(entries, op.Name)
		}
	}
}

func (n *diskNode) add(op *Op) {
	if op.Kind == OpTruncate {
		n.dead = cutSpans(n.dead, op.Size)
	}
	n.log = append(n.log, rec{op: op, dead: n.dead})
}

func (n *diskNode) sync(op *Op) {
	if op.Failed && op.ext4 {
		n.dead = slices.Clone(n.dead)
		for _, r := range n.log {
			if r.state == recPending && r.op.Kind == OpWrite {
				n.dead = append(n.dead, span{r.op.Off, r.op.Off + int64(len(r.op.Data))})
			}
		}
	}
	settle(n.log, op.Failed)
	k := durablePrefix(n.log)
	for i := range n.log[:k] {
		n.log[i].applyTo(&n.base.content, fate{kind: fateKept}, 0)
	}
	n.log = slices.Clone(n.log[k:])
}

// cutSpans returns what of the spans lies before size.
func cutSpans(spans []span, size int64) []span {
	var left []span
	for _, s := range spans {
		if s.end = min(s.end, size); s.start < s.end {
			left = append(left, s)
		}
	}
	return left
}
