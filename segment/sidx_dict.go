package segment

import (
	"bytes"
	"slices"
)

// A sidxDict numbers names in the order in which they come, and counts the rows of each. Names lie one behind the
// other in one buffer: no pointer per name. The zero value is not ready; see newSidxDict.
type sidxDict struct {
	seed   uint64
	slots  []dictSlot // open addressing; a power of two, at most two thirds full
	starts []uint32   // start of each name, and the end of the last one
	names  []byte
	rows   []uint32 // rows of each name
}

// A dictSlot holds a name's number plus one; 0 is empty.
type dictSlot struct{ hash, entry uint32 }

func newSidxDict(seed uint64) sidxDict {
	return sidxDict{seed: seed, slots: make([]dictSlot, 64), starts: []uint32{0}}
}

func (d *sidxDict) count() int { return len(d.rows) }

func (d *sidxDict) name(i uint32) []byte { return d.names[d.starts[i]:d.starts[i+1]] }

// number returns the number of name, which is new when it has no row yet.
func (d *sidxDict) number(name []byte) uint32 {
	h := uint32(hashName(d.seed, name))
	mask := uint32(len(d.slots) - 1)
	at := h & mask
	for ; d.slots[at].entry != 0; at = (at + 1) & mask {
		if s := d.slots[at]; s.hash == h && string(d.name(s.entry-1)) == string(name) {
			return s.entry - 1
		}
	}
	i := d.push(name)
	d.slots[at] = dictSlot{h, i + 1}
	if 3*len(d.rows) > 2*len(d.slots) {
		d.grow()
	}
	return i
}

// push numbers a name that is known to be new, and that number will not be asked for.
func (d *sidxDict) push(name []byte) uint32 {
	d.names = append(d.names, name...)
	d.starts = append(d.starts, uint32(len(d.names)))
	d.rows = append(d.rows, 0)
	return uint32(len(d.rows) - 1)
}

// reset empties d and keeps its memory.
func (d *sidxDict) reset(seed uint64) {
	clear(d.slots)
	d.seed, d.starts, d.names, d.rows = seed, d.starts[:1], d.names[:0], d.rows[:0]
}

func (d *sidxDict) grow() {
	slots := make([]dictSlot, 2*len(d.slots))
	mask := uint32(len(slots) - 1)
	for _, s := range d.slots {
		if s.entry == 0 {
			continue
		}
		at := s.hash & mask
		for slots[at].entry != 0 {
			at = (at + 1) & mask
		}
		slots[at] = s
	}
	d.slots = slots
}

// A sortKey is a name's number with its first eight bytes behind what all names share.
type sortKey struct {
	head uint64
	name uint32
}

// sorted returns the numbers of the names in bytewise order.
func (d *sidxDict) sorted() []uint32 {
	shared := d.shared()
	keys := make([]sortKey, d.count())
	for i := range keys {
		keys[i] = sortKey{bigEndian8(d.name(uint32(i))[shared:]), uint32(i)}
	}
	slices.SortFunc(keys, func(a, b sortKey) int {
		switch {
		case a.head < b.head:
			return -1
		case a.head > b.head:
			return 1
		}
		return bytes.Compare(d.name(a.name)[shared:], d.name(b.name)[shared:])
	})
	order := make([]uint32, len(keys))
	for i, k := range keys {
		order[i] = k.name
	}
	return order
}

// shared returns how many bytes all names begin with.
func (d *sidxDict) shared() int {
	if d.count() == 0 {
		return 0
	}
	first := d.name(0)
	n := len(first)
	for i := 1; i < d.count() && n > 0; i++ {
		name := d.name(uint32(i))
		n = min(n, len(name))
		for j := range n {
			if name[j] != first[j] {
				n = j
				break
			}
		}
	}
	return n
}

// bigEndian8 returns the first eight bytes of b, zeroes behind its end, as a number that sorts as they do.
func bigEndian8(b []byte) uint64 {
	var v uint64
	for i := range min(8, len(b)) {
		v |= uint64(b[i]) << (56 - 8*i)
	}
	return v
}
