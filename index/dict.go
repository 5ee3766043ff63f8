package index

import (
	"math/bits"
	"sync/atomic"
)

// A dict numbers byte strings in the order in which they come and keeps a row list for each. One writer, any number
// of readers without locks: a reader finds a name only after everything about it was written.
type dict struct {
	seed  uint64
	table atomic.Pointer[slotTable]

	entries chunks[dictEntry]
	names   chunks[byte]
	count   atomic.Uint32 // entries
	used    uint32        // bytes of names; writer only
}

// A dictEntry is a name and its rows. A short name lies in the entry, a longer one in names, where it crosses no chunk.
type dictEntry struct {
	start, len uint32
	rows       atomic.Uint64 // listState
	short      [shortName]byte
}

const shortName = 16

// A slotTable is an open-addressing table. A slot holds 32 bits of a hash above a number plus one; 0 is empty. At most
// two thirds are taken, so every search ends.
type slotTable struct {
	slots []atomic.Uint64
	taken int // writer only
}

const firstSlots = 64

// noSlots is the table that holds nothing yet: many dicts of a segment never hold anything. Nobody writes to it, since
// it is full.
var noSlots = newSlotTable(1)

func newSlotTable(n int) *slotTable { return &slotTable{slots: make([]atomic.Uint64, n)} }

// add puts number i under hash h; it returns the table that holds it now. Writer only.
func (t *slotTable) add(h uint64, i uint32) *slotTable {
	if 3*(t.taken+1) > 2*len(t.slots) {
		t = t.grown()
	}
	t.put(uint64(slotTag(h))<<32 | uint64(i+1))
	return t
}

// slotTag is the part of a hash that a slot keeps; the place of the slot follows from it, so growing needs no names.
func slotTag(h uint64) uint32 { return uint32(h>>32) ^ uint32(h) }

func (t *slotTable) put(slot uint64) {
	mask := uint32(len(t.slots) - 1)
	at := uint32(slot>>32) & mask
	for t.slots[at].Load() != 0 {
		at = (at + 1) & mask
	}
	t.slots[at].Store(slot)
	t.taken++
}

func (t *slotTable) grown() *slotTable {
	next := newSlotTable(max(2*len(t.slots), firstSlots))
	for i := range t.slots {
		if slot := t.slots[i].Load(); slot != 0 {
			next.put(slot)
		}
	}
	return next
}

// next returns the first number at or behind at whose hash may be h, and where to go on; ok is false at the end.
func (t *slotTable) next(h uint64, at uint32) (i, from uint32, ok bool) {
	mask, tag := uint32(len(t.slots)-1), slotTag(h)
	for at &= mask; ; at = (at + 1) & mask {
		slot := t.slots[at].Load()
		if slot == 0 {
			return 0, 0, false
		}
		if uint32(slot>>32) == tag {
			return uint32(slot) - 1, at + 1, true
		}
	}
}

func (d *dict) init(seed uint64) {
	d.seed = seed
	d.entries.shift, d.names.shift = wordShift, nameShift
	d.table.Store(noSlots)
}

// find returns the number of name.
func (d *dict) find(name string) (uint32, bool) { return findIn(d, hashOf(d.seed, name), name) }

func findIn[T string | []byte](d *dict, h uint64, name T) (uint32, bool) {
	t := d.table.Load()
	for at := slotTag(h); ; {
		i, from, ok := t.next(h, at)
		if !ok {
			return 0, false
		}
		if string(d.name(i)) == string(name) {
			return i, true
		}
		at = from
	}
}

// number returns the number of name, added when it is new. Writer only.
func (d *dict) number(name []byte) uint32 {
	h := hashOf(d.seed, name)
	if i, ok := findIn(d, h, name); ok {
		return i
	}
	i := d.count.Load()
	d.entries.reserve(i + 1)
	e := d.entries.at(i)
	if e.len = uint32(len(name)); e.len <= shortName {
		copy(e.short[:], name)
	} else {
		e.start = d.keep(name)
	}
	d.count.Store(i + 1)
	t := d.table.Load()
	if grown := t.add(h, i); grown != t {
		d.table.Store(grown)
	}
	return i
}

// keep puts a long name into names and returns where it starts.
func (d *dict) keep(name []byte) uint32 {
	start, n := d.used, uint32(len(name))
	if start>>nameShift != (start+n-1)>>nameShift {
		start = (start>>nameShift + 1) << nameShift // no name crosses a chunk
	}
	d.names.reserve(start + n)
	copy((*d.names.dir.Load())[start>>nameShift][start&(1<<nameShift-1):], name)
	d.used = start + n
	return start
}

// name returns the name of entry i. It must not be changed.
func (d *dict) name(i uint32) []byte {
	e := d.entries.at(i)
	if e.len <= shortName {
		return e.short[:e.len:e.len]
	}
	chunk := (*d.names.dir.Load())[e.start>>nameShift]
	return chunk[e.start&(1<<nameShift-1):][:e.len:e.len]
}

// push puts row behind the list of entry i. Writer only.
func (d *dict) push(a *arena, i, row uint32) {
	rows := &d.entries.at(i).rows
	rows.Store(uint64(a.push(listState(rows.Load()), row)))
}

// list returns the rows of entry i so far.
func (d *dict) list(i uint32) listState { return listState(d.entries.at(i).rows.Load()) }

// The hash of the tables in memory: words are folded in by a full multiplication whose halves are joined. The seed is
// random in each process, so that nobody who chooses names can choose where they land.
const (
	hashK1 = 0xa0761d6478bd642f
	hashK2 = 0xe7037ed1a0b428db
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func hashOf[T string | []byte](seed uint64, name T) uint64 {
	return mix(foldName(seed, hashK1, name), hashK2)
}

// foldName folds the words of name into h; the tail, with the length, is still to be multiplied.
func foldName[T string | []byte](h, factor uint64, name T) uint64 {
	i := 0
	for ; i+8 <= len(name); i += 8 {
		w := uint64(name[i]) | uint64(name[i+1])<<8 | uint64(name[i+2])<<16 | uint64(name[i+3])<<24 |
			uint64(name[i+4])<<32 | uint64(name[i+5])<<40 | uint64(name[i+6])<<48 | uint64(name[i+7])<<56
		h = mix(h^w, factor)
	}
	tail := uint64(len(name)) << 56
	for shift := 0; i < len(name); i, shift = i+1, shift+8 {
		tail ^= uint64(name[i]) << shift
	}
	return h ^ tail
}
