// Package wire is the cursor that decoders read fixed-width little-endian fields with, so that a decoder is a
// column of names and every bound is checked in one place.
package wire

import (
	"encoding/binary"
	"hash/crc32"
)

// castagnoli is the polynomial of every checksum in the store (CRC-32C, RFC 3720 appendix B.4).
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Sum returns the CRC-32C of b continued from seed; seed 0 starts anew.
func Sum(seed uint32, b []byte) uint32 { return crc32.Update(seed, castagnoli, b) }

// SumUint64 returns the CRC-32C of the eight little-endian bytes of v continued from seed. It takes no memory, where
// Sum would move them to the heap.
func SumUint64(seed uint32, v uint64) uint32 {
	sum := ^seed
	for range 8 {
		sum = castagnoli[byte(sum)^byte(v)] ^ sum>>8
		v >>= 8
	}
	return ^sum
}

// A Reader takes fields off the front of B. The first field that is not there sets Short; every later one is then
// zero, so that a decoder checks once, at its end. It never panics. Not safe for concurrent use.
type Reader struct {
	B     []byte // what is left
	Short bool   // a field was cut off
}

// take returns the next n bytes, aliasing B, or nil.
func (r *Reader) take(n int) []byte {
	if n < 0 || n > len(r.B) {
		r.Short, r.B = true, nil
		return nil
	}
	b := r.B[:n:n]
	r.B = r.B[n:]
	return b
}

// Bytes returns the next n bytes; they alias the input. nil when cut off.
func (r *Reader) Bytes(n int) []byte { return r.take(n) }

// Copy fills dst with the next len(dst) bytes.
func (r *Reader) Copy(dst []byte) { copy(dst, r.take(len(dst))) }

// Uint8 takes one byte.
func (r *Reader) Uint8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 takes two bytes, little-endian.
func (r *Reader) Uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

// Uint32 takes four bytes, little-endian.
func (r *Reader) Uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// Uint64 takes eight bytes, little-endian.
func (r *Reader) Uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Done reports whether every field was there and nothing is left.
func (r *Reader) Done() bool { return !r.Short && len(r.B) == 0 }
