package segment

import (
	"encoding/binary"
	"slices"

	"batpak/coordinate"
)

// Entries that are read at once when a footer is walked as a whole.
const (
	eachEntities = 64
	eachHeads    = 64
	eachKeys     = 256
)

// EachHead calls fn for every (entity, lane) of the segment, in the order of entities and lanes. The name is valid
// during the call only. It allocates a few buffers.
func (f *Footer) EachHead(fn func(entity []byte, lane uint32)) error {
	w := headWalk{f: f, fn: fn}
	for e := uint32(0); e < f.entities; e += eachEntities {
		if err := w.block(e, min(eachEntities, f.entities-e)); err != nil {
			return err
		}
	}
	return nil
}

// A headWalk is one walk over all heads.
type headWalk struct {
	f  *Footer
	fn func(entity []byte, lane uint32)

	records [(eachEntities + 1) * entityLen]byte // of the block, and the next one
	heads   [eachHeads * headLen]byte
	names   []byte // of the block
	name    []byte // of the entity
}

// block walks the heads of n entities from entity e on.
func (w *headWalk) block(e, n uint32) error {
	records := w.records[:(n+1)*entityLen]
	if err := w.f.read(secEntities, uint64(e)*entityLen, records); err != nil {
		return err
	}
	le := binary.LittleEndian
	first := uint64(le.Uint32(records))
	end := uint64(le.Uint32(records[n*entityLen:]))
	if end < first || end-first > eachEntities*coordinate.MaxLen || end > w.f.t.sections[secNames].len {
		return w.f.flaw(secEntities, uint64(e)*entityLen, "name out of range")
	}
	w.names = slices.Grow(w.names[:0], int(end-first))[:end-first]
	if err := w.f.read(secNames, first, w.names); err != nil {
		return err
	}
	for i := range n {
		at, next := records[i*entityLen:], records[(i+1)*entityLen:]
		from, to := uint64(le.Uint32(at)), uint64(le.Uint32(next))
		if from < first || from >= to || to > end {
			return w.f.flaw(secEntities, uint64(e+i)*entityLen, "name out of range")
		}
		w.name = w.names[from-first : to-first]
		if err := w.lanes(e+i, le.Uint32(at[12:]), le.Uint32(next[12:])); err != nil {
			return err
		}
	}
	return nil
}

// lanes walks the heads [lo, hi), which are those of entity e.
func (w *headWalk) lanes(e, lo, hi uint32) error {
	if lo > hi || hi > w.f.heads {
		return w.f.flaw(secEntities, uint64(e)*entityLen, "record out of range")
	}
	for lo < hi {
		n := min(eachHeads, hi-lo)
		b := w.heads[:n*headLen]
		if err := w.f.read(secHeads, uint64(lo)*headLen, b); err != nil {
			return err
		}
		for ; len(b) > 0; b = b[headLen:] {
			w.fn(w.name, binary.LittleEndian.Uint32(b))
		}
		lo += n
	}
	return nil
}

// EachKey calls fn for the idempotency key of every event that has one, in ascending order; a key that several events
// carry comes as often.
func (f *Footer) EachKey(fn func(hash *[16]byte)) error {
	b := make([]byte, eachKeys*keyHashLen)
	n := f.t.sections[secKeyHashes].len / keyHashLen
	for i := uint64(0); i < n; i += eachKeys {
		block := b[:min(eachKeys, n-i)*keyHashLen]
		if err := f.read(secKeyHashes, i*keyHashLen, block); err != nil {
			return err
		}
		for ; len(block) > 0; block = block[keyHashLen:] {
			fn((*[keyHashLen]byte)(block))
		}
	}
	return nil
}

// Keys returns how many events carry an idempotency key.
func (f *Footer) Keys() uint32 { return uint32(f.t.sections[secKeyHashes].len / keyHashLen) }
