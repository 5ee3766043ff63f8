package segment

import (
	"encoding/binary"
	"math/bits"

	"batpak/event"
)

// The hash of names and IDs in a footer: 64-bit words are folded in by a full 64×64 multiplication whose halves are
// joined by exclusive or. It is seeded with the segment's salt, so that nobody who chooses names can choose where they
// land. It is part of the format.
const (
	hashK0 = 0x9e3779b97f4a7c15 // 2^64 / golden ratio
	hashK1 = 0xa0761d6478bd642f // odd words without structure, from wyhash
	hashK2 = 0xe7037ed1a0b428db
)

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// sidxSeed returns the seed of the hashes of a segment.
func sidxSeed(salt [16]byte) uint64 {
	return mix(binary.LittleEndian.Uint64(salt[:8])^hashK1, binary.LittleEndian.Uint64(salt[8:])^hashK2)
}

// hashName returns the hash of a name; the tail is folded in with its length.
func hashName[T string | []byte](seed uint64, name T) uint64 {
	h := seed ^ hashK0
	i := 0
	for ; i+8 <= len(name); i += 8 {
		w := uint64(name[i]) | uint64(name[i+1])<<8 | uint64(name[i+2])<<16 | uint64(name[i+3])<<24 |
			uint64(name[i+4])<<32 | uint64(name[i+5])<<40 | uint64(name[i+6])<<48 | uint64(name[i+7])<<56
		h = mix(h^w, hashK1)
	}
	tail := uint64(len(name)) << 56
	for shift := 0; i < len(name); i, shift = i+1, shift+8 {
		tail ^= uint64(name[i]) << shift
	}
	return mix(h^tail, hashK2)
}

// hashID returns the hash of an ID.
func hashID(seed uint64, id *event.ID) uint64 {
	le := binary.LittleEndian
	return mix(mix(le.Uint64(id[:8])^seed, hashK1)^le.Uint64(id[8:]), hashK2)
}

// A sidxSlots is the shape of a static hash over n entries: n·5/4+1 slots of 32 bits, linear probing. The hash falls
// on a slot by fast range reduction (Lemire, "Fast Random Integer Generation in an Interval", 2019): the high half of
// hash × slots. A slot is 0 when empty; else its low bits hold the entry's number plus one, and the bits that n leaves
// free hold the same bits of the hash, so that a slot of another entry is nearly always told apart without a look at
// the entry.
type sidxSlots struct {
	count uint64 // slots
	low   uint32 // mask of the entry's number
}

func newSidxSlots(n uint64) sidxSlots {
	return sidxSlots{count: n + n/4 + 1, low: uint32(1<<bits.Len64(n) - 1)}
}

// home returns where the search for hash h begins.
func (s sidxSlots) home(h uint64) uint64 {
	hi, _ := bits.Mul64(h, s.count)
	return hi
}

// value returns the slot of entry i with hash h.
func (s sidxSlots) value(h uint64, i uint32) uint32 { return uint32(h)&^s.low | (i + 1) }

// match returns the entry in a slot that is not empty, and whether its hash may be h.
func (s sidxSlots) match(slot uint32, h uint64) (i uint32, ok bool) {
	return slot&s.low - 1, (slot^uint32(h))&^s.low == 0
}

// insert puts entry i into table, which holds count slots of 4 bytes and has a free one.
func (s sidxSlots) insert(table []byte, h uint64, i uint32) {
	at := s.home(h)
	for binary.LittleEndian.Uint32(table[at*4:]) != 0 {
		if at++; at == s.count {
			at = 0
		}
	}
	binary.LittleEndian.PutUint32(table[at*4:], s.value(h, i))
}

// An idSlot is a slot of the static hash by ID. It leads straight to the frame, which names its event: what a lookup
// costs is two cache misses, of the slot and of the frame.
//
//	bits 0–31   offset of the frame header; no frame stands at 0, so that 0 is an empty slot
//	bits 32–47  length of the whole frame, 0 when it does not fit
//	bits 48–63  tag: the low bits of the ID's hash, which its home does not use
type idSlot uint64

func newIDSlot(h uint64, offset, length uint32) idSlot {
	if length > 1<<16-1 {
		length = 0
	}
	return idSlot(h<<48 | uint64(length)<<32 | uint64(offset))
}

// idTag is what a slot keeps of the hash of its ID.
func idTag(h uint64) uint16 { return uint16(h) }

func (s idSlot) tag() uint16 { return uint16(s >> 48) }

func (s idSlot) locator() Locator {
	return Locator{Offset: uint32(s), Length: uint32(s >> 32 & (1<<16 - 1))}
}

// An idBuckets is the shape of a static hash over n IDs: n·5/4+1 slots, rounded up to buckets of eight, one cache line
// each. A bucket fills from its first slot on; what finds it full goes to the next one. So a search ends at the first
// empty slot, nearly always in the bucket where it began.
type idBuckets struct{ count uint64 }

const idBucketLen = 8 * idSlotLen

func newIDBuckets(n uint64) idBuckets { return idBuckets{(n + n/4 + 1 + 7) / 8} }

// home returns the bucket where the search for hash h begins, as [sidxSlots.home] does.
func (s idBuckets) home(h uint64) uint64 {
	hi, _ := bits.Mul64(h, s.count)
	return hi
}

// next returns the bucket behind bucket at.
func (s idBuckets) next(at uint64) uint64 {
	if at++; at == s.count {
		return 0
	}
	return at
}

// insert puts the slot of an ID with hash h into table, which has a free one.
func (s idBuckets) insert(table []byte, h uint64, slot idSlot) {
	for at := s.home(h); ; at = s.next(at) {
		bucket := table[at*idBucketLen:][:idBucketLen]
		for k := 0; k < idBucketLen; k += idSlotLen {
			if binary.LittleEndian.Uint64(bucket[k:]) == 0 {
				binary.LittleEndian.PutUint64(bucket[k:], uint64(slot))
				return
			}
		}
	}
}
