package idemp

import (
	"encoding/binary"

	"batpak/internal/wire"
)

// FileName is the name of the file in the store's directory.
const FileName = "index.idemp"

// A page holds perPage entries, but for the last one, then zeroes, and ends in its checksum, which is seeded with the
// store, the generation and the page's number: a page of another place or another file does not hold.
const (
	pageLen = 4096
	perPage = (pageLen - 4) / entryLen
)

// The header page, little-endian:
//
//	offset  size  field
//	0       8     magic       "BATPAKID"
//	8       4     length      4,096: of the header page, and of every page
//	12      4     checksum    CRC-32C of the header page but these four bytes
//	16      2     version     1; a higher one is from the future
//	18      2     flags       0; an unknown bit is from the future
//	20      4     entry       192: bytes of an entry
//	24      16    store       identity of the store
//	40      8     generation  ≥ 1, one more with every write
//	48      8     count       of entries; says how long the file is
//	56      8     from        ≥ 1; keys of events below this sequence are not kept
//	64      …     zero        to the end of the page
//
// Magic and checksum stay where they are in every version, and the checksum covers what it covers.
const (
	magic      = "BATPAKID"
	version    = 1
	offSum     = 8 + 4
	offVersion = offSum + 4
	offStore   = offVersion + 2 + 2 + 4
	headerLen  = offStore + 16 + 8 + 8 + 8
)

const (
	_ uint = headerLen - 64
	_ uint = 64 - headerLen
)

// A header says what is in a file.
type header struct {
	store      [16]byte
	generation uint64
	count      uint64 // entries
	from       uint64 // sequence
}

// pages returns how many pages hold the entries.
func (h *header) pages() uint64 { return (h.count + perPage - 1) / perPage }

// inPage returns how many entries page number n holds.
func (h *header) inPage(n uint64) int { return int(min(perPage, h.count-n*perPage)) }

// seed is what the checksums of the pages are continued from.
func (h *header) seed() uint32 { return wire.SumUint64(wire.Sum(0, h.store[:]), h.generation) }

// pageSum is the checksum of page number n, its own field left out.
func pageSum(seed uint32, n uint64, page []byte) uint32 {
	return wire.Sum(wire.SumUint64(seed, n), page[:pageLen-4])
}

// headerSum is the checksum of a header page, its own field left out.
func headerSum(page []byte) uint32 { return wire.Sum(wire.Sum(0, page[:offSum]), page[offSum+4:]) }

// appendHeader appends the header page of h to dst.
func appendHeader(dst []byte, h *header) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, magic...)
	dst = le.AppendUint32(dst, pageLen)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, version)
	dst = le.AppendUint16(dst, 0)
	dst = le.AppendUint32(dst, entryLen)
	dst = append(dst, h.store[:]...)
	dst = le.AppendUint64(dst, h.generation)
	dst = le.AppendUint64(dst, h.count)
	dst = le.AppendUint64(dst, h.from)
	dst = append(dst, make([]byte, pageLen-headerLen)...)
	le.PutUint32(dst[start+offSum:], headerSum(dst[start:]))
	return dst
}

// decodeHeader decodes the header page of the file of a store that is size bytes long.
//
// Errors: *[FileError] with [ErrDamaged], [ErrFuture], [ErrForeign].
func decodeHeader(page []byte, store [16]byte, size uint64) (header, error) {
	var h header
	switch {
	case string(page[:len(magic)]) != magic:
		return h, flaw(0, "magic", ErrDamaged)
	case binary.LittleEndian.Uint32(page[offSum:]) != headerSum(page):
		return h, flaw(offSum, "checksum of the header", ErrDamaged)
	}
	r := wire.Reader{B: page[len(magic):]}
	length, _, v, flags, entry := r.Uint32(), r.Uint32(), r.Uint16(), r.Uint16(), r.Uint32()
	if v > version || flags != 0 {
		return h, flaw(offVersion, "version", ErrFuture)
	}
	r.Copy(h.store[:])
	h.generation, h.count, h.from = r.Uint64(), r.Uint64(), r.Uint64()
	if v == 0 || length != pageLen || entry != entryLen || h.generation == 0 || h.from == 0 || !allZero(r.B) {
		return h, flaw(offVersion, "fields of the header", ErrDamaged)
	}
	if h.count > size/entryLen || (1+h.pages())*pageLen != size {
		return h, flaw(0, "length of the file", ErrDamaged)
	}
	if h.store != store {
		return h, flaw(offStore, "identity", ErrForeign)
	}
	return h, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
