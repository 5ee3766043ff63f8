package segment

import (
	"bytes"
	"encoding/binary"

	"batpak/coordinate"
	"batpak/event"
)

// slotBlock is how many slots of a static hash are read at once: one cache line.
const slotBlock = 16

// probe walks the slots of a static hash from the home of h and calls is with every entry that may be the one sought,
// until it says yes, a slot is empty, or all were seen.
func (f *Footer) probe(sec int, slots sidxSlots, h uint64, n uint32, is func(i uint32) (bool, error)) (uint32, bool, error) {
	var b [4 * slotBlock]byte
	at := slots.home(h)
	for left := slots.count; left > 0; {
		count := min(slotBlock, slots.count-at, left)
		if err := f.read(sec, at*4, b[:count*4]); err != nil {
			return 0, false, err
		}
		for k := range count {
			slot := binary.LittleEndian.Uint32(b[k*4:])
			if slot == 0 {
				return 0, false, nil
			}
			i, maybe := slots.match(slot, h)
			if !maybe {
				continue
			}
			if i >= n {
				return 0, false, f.flaw(sec, (at+k)*4, "slot out of range")
			}
			if yes, err := is(i); yes || err != nil {
				return i, yes && err == nil, err
			}
		}
		left -= count
		if at += count; at == slots.count {
			at = 0
		}
	}
	return 0, false, nil
}

// FindID calls is with the place of every frame that may be the event named id, until it says yes. The length is 0
// when the frame is longer than a slot can say. Whoever reads the frame finds its name there: when it is another one,
// [Footer.SameSlot] tells whether that can be.
func (f *Footer) FindID(id *event.ID, is func(l Locator) (bool, error)) (ok bool, err error) {
	var b [idBucketLen]byte
	h := hashID(f.nameSeed, id)
	at, tag := f.idBuckets.home(h), idTag(h)
	for range f.idBuckets.count {
		if err := f.read(secIDSlots, at*idBucketLen, b[:]); err != nil {
			return false, err
		}
		for k := 0; k < idBucketLen; k += idSlotLen {
			slot := idSlot(binary.LittleEndian.Uint64(b[k:]))
			if slot == 0 {
				return false, nil
			}
			if slot.tag() != tag {
				continue
			}
			l := slot.locator()
			if uint64(l.Offset)+max(uint64(l.Length), FrameHeaderLen) > uint64(f.t.sum.End) {
				return false, f.flaw(secIDSlots, at*idBucketLen+uint64(k), "frame out of range")
			}
			if ok, err := is(l); ok || err != nil {
				return ok && err == nil, err
			}
		}
		at = f.idBuckets.next(at)
	}
	return false, nil
}

// SameSlot reports whether the slot of one ID can be taken for that of the other: their hashes agree in what a slot
// keeps of them. For an ID that is not the one sought, a no means that the slot leads to the wrong frame.
func (f *Footer) SameSlot(x, y *event.ID) bool {
	return idTag(hashID(f.nameSeed, x)) == idTag(hashID(f.nameSeed, y))
}

// LookupEntity returns the number of an entity. Numbers follow the bytewise order of names.
func (f *Footer) LookupEntity(name string) (entity uint32, ok bool, err error) {
	return f.probe(secEntitySlots, f.entitySlots, hashName(f.nameSeed, name), f.entities, func(i uint32) (bool, error) {
		c, err := f.compareName(secEntities, i, name, false)
		return c == 0, err
	})
}

// EntityPrefix returns the entities [lo, hi) whose names begin with prefix.
func (f *Footer) EntityPrefix(prefix string) (lo, hi uint32, err error) {
	lo, err = lowerBound(0, f.entities, func(i uint32) (bool, error) {
		c, err := f.compareName(secEntities, i, prefix, true)
		return c < 0, err
	})
	if err != nil {
		return 0, 0, err
	}
	hi, err = lowerBound(lo, f.entities, func(i uint32) (bool, error) {
		c, err := f.compareName(secEntities, i, prefix, true)
		return c <= 0, err
	})
	return lo, hi, err
}

// LookupScope returns the number of a scope.
func (f *Footer) LookupScope(name string) (scope uint32, ok bool, err error) {
	return f.searchName(secScopes, f.scopes, name)
}

// LookupTag returns the number of a tag.
func (f *Footer) LookupTag(name string) (tag uint32, ok bool, err error) {
	return f.searchName(secTags, f.tags, name)
}

// searchName searches a sorted record table.
func (f *Footer) searchName(sec int, n uint32, name string) (uint32, bool, error) {
	i, err := lowerBound(0, n, func(i uint32) (bool, error) {
		c, err := f.compareName(sec, i, name, false)
		return c < 0, err
	})
	if err != nil || i == n {
		return 0, false, err
	}
	c, err := f.compareName(sec, i, name, false)
	return i, c == 0 && err == nil, err
}

// nameOf returns where the name of entry i of a record table stands in the names.
func (f *Footer) nameOf(sec int, i uint32) (start, end uint64, err error) {
	size := sectionShapes[sec].size
	var b [entityLen + 4]byte
	if err := f.read(sec, uint64(i)*size, b[:size+4]); err != nil {
		return 0, 0, err
	}
	start, end = uint64(binary.LittleEndian.Uint32(b[:])), uint64(binary.LittleEndian.Uint32(b[size:]))
	if start >= end || end > f.t.sections[secNames].len || end-start > coordinate.MaxLen {
		return 0, 0, f.flaw(sec, uint64(i)*size, "name out of range")
	}
	return start, end, nil
}

// compareName compares the name of entry i with key; with prefix set only as much of the name as key is long.
func (f *Footer) compareName(sec int, i uint32, key string, prefix bool) (int, error) {
	start, end, err := f.nameOf(sec, i)
	if err != nil {
		return 0, err
	}
	if prefix {
		end = min(end, start+uint64(len(key)))
	}
	var b, k [64]byte
	for start < end && len(key) > 0 {
		n := min(len(b), int(end-start))
		if err := f.read(secNames, start, b[:n]); err != nil {
			return 0, err
		}
		m := copy(k[:n], key)
		if c := bytes.Compare(b[:m], k[:m]); c != 0 {
			return c, nil
		}
		if m < n {
			return 1, nil // the key ended first
		}
		start, key = start+uint64(n), key[m:]
	}
	switch {
	case start < end:
		return 1, nil
	case len(key) > 0:
		return -1, nil
	}
	return 0, nil
}

// appendName appends the name of entry i to dst.
func (f *Footer) appendName(dst []byte, sec int, i uint32) ([]byte, error) {
	start, end, err := f.nameOf(sec, i)
	if err != nil {
		return dst, err
	}
	at := len(dst)
	dst = append(dst, make([]byte, end-start)...)
	return dst, f.read(secNames, start, dst[at:])
}

// Entities returns the number of entities.
func (f *Footer) Entities() uint32 { return f.entities }

// Scopes returns the number of scopes.
func (f *Footer) Scopes() uint32 { return f.scopes }

// Tags returns the number of tags.
func (f *Footer) Tags() uint32 { return f.tags }

// Kinds returns the number of kinds that occur.
func (f *Footer) Kinds() uint32 { return f.kinds }

// Heads returns the number of (entity, lane) pairs.
func (f *Footer) Heads() uint32 { return f.heads }

// AppendEntity appends the name of an entity to dst.
func (f *Footer) AppendEntity(dst []byte, entity uint32) ([]byte, error) {
	return f.appendName(dst, secEntities, entity)
}

// AppendScope appends the name of a scope to dst.
func (f *Footer) AppendScope(dst []byte, scope uint32) ([]byte, error) {
	return f.appendName(dst, secScopes, scope)
}

// AppendTag appends a tag to dst.
func (f *Footer) AppendTag(dst []byte, tag uint32) ([]byte, error) {
	return f.appendName(dst, secTags, tag)
}

// CoordinateParts returns the numbers of the entity and the scope of a coordinate.
func (f *Footer) CoordinateParts(c uint32) (entity, scope uint32, err error) {
	v, err := f.uint64At(secCoordinateTable, c)
	entity, scope = uint32(v), uint32(v>>32)
	if err == nil && (entity >= f.entities || scope >= f.scopes) {
		return 0, 0, f.flaw(secCoordinateTable, uint64(c)*recordLen, "entity or scope out of range")
	}
	return entity, scope, err
}

// FindKey returns the newest row below before whose event carries the idempotency key; its fingerprint is in the frame.
func (f *Footer) FindKey(key [16]byte, before uint32) (row uint32, ok bool, err error) {
	n := uint32(f.t.sections[secKeyRows].len / 4)
	i, err := f.searchHash(n, binary.BigEndian.Uint64(key[:]), func(i uint32) (uint64, error) {
		var b [8]byte
		err := f.read(secKeyHashes, uint64(i)*keyHashLen, b[:])
		return binary.BigEndian.Uint64(b[:]), err
	})
	for ; err == nil && i < n; i++ {
		var b [keyHashLen]byte
		if err = f.read(secKeyHashes, uint64(i)*keyHashLen, b[:]); err != nil || bytes.Compare(b[:], key[:]) > 0 {
			break
		}
		if b != key {
			continue
		}
		at, err := f.row(secKeyRows, i)
		if err != nil {
			return 0, false, err
		}
		if at >= before {
			break // rows of one key ascend
		}
		row, ok = at, true
	}
	return row, ok && err == nil, err
}

// row reads a row number and checks it.
func (f *Footer) row(sec int, i uint32) (uint32, error) {
	row, err := f.uint32At(sec, i)
	if err == nil && row >= f.Rows() {
		return 0, f.flaw(sec, uint64(i)*4, "row out of range")
	}
	return row, err
}

// searchHash returns the first of n ascending hashes, evenly spread, that is not below key: two steps of
// interpolation, then doubling steps around the place they found.
func (f *Footer) searchHash(n uint32, key uint64, at func(i uint32) (uint64, error)) (uint32, error) {
	if n == 0 {
		return 0, nil
	}
	before := func(i uint32) (bool, error) {
		v, err := at(i)
		return v < key, err
	}
	guess := uint32(float64(key) / (1 << 64) * float64(n-1))
	v, err := at(guess)
	if err != nil {
		return 0, err
	}
	off := (float64(key) - float64(v)) / (1 << 64) * float64(n)
	guess = uint32(min(max(float64(guess)+off, 0), float64(n-1)))
	low, err := before(guess)
	if err != nil {
		return 0, err
	}
	lo, hi := uint32(0), n
	for step := uint32(1); ; step *= 2 {
		if low {
			lo = guess + 1
			if n-lo <= step {
				return lowerBound(lo, hi, before)
			}
			guess = lo + step - 1
		} else {
			hi = guess
			if hi <= step {
				return lowerBound(lo, hi, before)
			}
			guess = hi - step
		}
		next, err := before(guess)
		if err != nil {
			return 0, err
		}
		if next != low {
			if low {
				hi = guess
			} else {
				lo = guess + 1
			}
			return lowerBound(lo, hi, before)
		}
	}
}

// Head returns the last event of (entity, lane) in this segment.
func (f *Footer) Head(entity, lane uint32) (h Head, ok bool, err error) {
	lo, hi, err := f.EntityHeads(entity)
	if err != nil {
		return Head{}, false, err
	}
	i, err := lowerBound(lo, hi, func(i uint32) (bool, error) {
		h, err = f.HeadAt(i)
		return h.Lane < lane, err
	})
	if err != nil || i == hi {
		return Head{}, false, err
	}
	h, err = f.HeadAt(i)
	return h, h.Lane == lane && err == nil, err
}

// EntityHeads returns the numbers [lo, hi) of the heads of an entity, for HeadAt; their lanes ascend.
func (f *Footer) EntityHeads(entity uint32) (lo, hi uint32, err error) {
	return f.recordSpan(secEntities, entity, 12, f.heads)
}

// HeadAt returns head number i, in the order of entities and lanes.
func (f *Footer) HeadAt(i uint32) (Head, error) {
	var b [headLen]byte
	if err := f.read(secHeads, uint64(i)*headLen, b[:]); err != nil {
		return Head{}, err
	}
	le := binary.LittleEndian
	h := Head{
		Lane: le.Uint32(b[:]), Row: le.Uint32(b[4:]), First: le.Uint64(b[8:]), Last: le.Uint64(b[16:]),
		ID: event.ID(b[24:]), Hash: event.Hash(b[24+event.IDLen:]),
	}
	if h.Row >= f.Rows() || h.First == 0 || h.Last < h.First {
		return Head{}, f.flaw(secHeads, uint64(i)*headLen, "head out of range")
	}
	return h, nil
}

// Tiles returns how many Merkle subtrees of 256 leaves the segment completed.
func (f *Footer) Tiles() int { return int(f.t.sections[secTiles].len / event.HashLen) }

// Tile returns the hash of the i-th of them.
func (f *Footer) Tile(i int) (h event.Hash, err error) {
	err = f.read(secTiles, uint64(i)*event.HashLen, h[:])
	return h, err
}

// Range returns the compact range of the Merkle tree at the end of the segment. It allocates the result.
func (f *Footer) Range() ([]event.Hash, error) {
	hashes := make([]event.Hash, min(f.t.sections[secRange].len/event.HashLen, 64))
	for i := range hashes {
		if err := f.read(secRange, uint64(i)*event.HashLen, hashes[i][:]); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}
