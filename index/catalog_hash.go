package index

import "encoding/binary"

// A catalogHash hashes streams and idempotency keys to 64 bits. It is part of the format of a catalog, and keyed, so
// that nobody who chooses names can choose which of them collide. Words of 64 bits are folded in as in dict.go, with a
// multiplier that is a secret of its own; the last word names what is hashed.
type catalogHash struct {
	seed, factor uint64
	drop         uint8 // low bits of every hash that are zeroed; none but in tests of collisions
}

// What is hashed, in the low byte of the last word.
const (
	hashedStream = 1 // the lane is above it
	hashedKey    = 2
)

func newCatalogHash(key [16]byte) catalogHash {
	le := binary.LittleEndian
	return catalogHash{seed: le.Uint64(key[:8]) ^ hashK1, factor: le.Uint64(key[8:]) ^ hashK2 | 1}
}

// finish folds in the last word.
func (c catalogHash) finish(h, last uint64) uint64 {
	return mix(h^last, c.factor) >> c.drop << c.drop
}

// key returns the hash of an idempotency key.
func (c catalogHash) key(key *[16]byte) uint64 {
	le := binary.LittleEndian
	return c.finish(mix(mix(c.seed^le.Uint64(key[:8]), c.factor)^le.Uint64(key[8:]), c.factor), hashedKey)
}

// hashStream returns the hash of (entity, lane).
func hashStream[T string | []byte](c catalogHash, entity T, lane uint32) uint64 {
	return c.finish(mix(foldName(c.seed, c.factor, entity), c.factor), uint64(lane)<<8|hashedStream)
}
