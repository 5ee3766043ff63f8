package index

import (
	"sort"
	"sync/atomic"
)

// A keyTable finds the rows of an index in memory by their idempotency keys, newest first. Keys are hashes of one length
// and nearly always new: so one slot is looked at, and what is kept of a key is its bytes and its row, in the order of
// the rows. One writer, any number of readers without locks, as in a dict.
type keyTable struct {
	table   atomic.Pointer[slotTable] // by keyHash
	entries chunks[keyEntry]
	count   atomic.Uint32 // entries

	// The writer's own.
	settled uint32 // entries that are in their slots
	touched uint64 // what settle has read ahead: nothing depends on it
}

// A keyEntry is a row with a key.
type keyEntry struct {
	key    [16]byte
	row    uint32
	before uint32 // entry that had the same key before, plus one; 0 for none
}

func (t *keyTable) init() {
	t.entries.shift = wordShift
	t.table.Store(noSlots)
}

// settleMost is how many keys are put into their slots together: what the slots wait for is fetched at once.
const settleMost = 32

// add puts the key of a row behind those of the rows before; it is found once settle was called. Writer only.
func (t *keyTable) add(key *[16]byte, row uint32) {
	i := t.count.Load()
	t.entries.reserve(i + 1)
	e := t.entries.at(i)
	e.key, e.row, e.before = *key, row, 0
	t.count.Store(i + 1)
	if i+1-t.settled >= settleMost {
		t.settle()
	}
}

// settle lets every key that was added be found. Writer only.
func (t *keyTable) settle() {
	var hashes [settleMost]uint64
	slots, n := t.table.Load(), t.count.Load()-t.settled
	touched := uint64(0)
	for k := range n {
		h := keyHash(&t.entries.at(t.settled + k).key)
		hashes[k] = h
		touched += slots.slots[slotTag(h)&uint32(len(slots.slots)-1)].Load()
	}
	t.touched = touched
	for k := range n {
		t.place(hashes[k], t.settled)
		t.settled++
	}
}

// place puts entry i, whose key has hash h, into its slot.
func (t *keyTable) place(h uint64, i uint32) {
	slots, e := t.table.Load(), t.entries.at(i)
	at, before := t.slot(slots, h, &e.key)
	if before > 0 {
		e.before = before
		slots.slots[at].Store(uint64(slotTag(h))<<32 | uint64(i+1)) // who asks for an older row follows before
	} else if grown := slots.add(h, i); grown != slots {
		t.table.Store(grown)
	}
}

// slot returns where the newest entry of a key with hash h stands in slots, and its number plus one; 0 when there is none.
func (t *keyTable) slot(slots *slotTable, h uint64, key *[16]byte) (at, entry uint32) {
	mask, tag := uint32(len(slots.slots)-1), slotTag(h)
	for at = tag & mask; ; at = (at + 1) & mask {
		slot := slots.slots[at].Load()
		if slot == 0 {
			return at, 0
		}
		if uint32(slot>>32) == tag && t.entries.at(uint32(slot)-1).key == *key {
			return at, uint32(slot)
		}
	}
}

// find returns the newest row of a key among those below end.
func (t *keyTable) find(key *[16]byte, end uint32) (row uint32, ok bool) {
	_, entry := t.slot(t.table.Load(), keyHash(key), key)
	for entry > 0 {
		e := t.entries.at(entry - 1)
		if e.row < end {
			return e.row, true
		}
		entry = e.before
	}
	return 0, false
}

// from returns the first entry whose row is not below row.
func (t *keyTable) from(row uint32) uint32 {
	return uint32(sort.Search(int(t.count.Load()), func(i int) bool { return t.entries.at(uint32(i)).row >= row }))
}

// next returns the entry of a row that has a key: it is i, or one behind it.
func (t *keyTable) next(i, row uint32) uint32 {
	for t.entries.at(i).row < row {
		i++
	}
	return i
}
