package wire

import "encoding/binary"

// A Small is the sort of a small file that is replaced as a whole; it begins with a header of SmallHeader bytes,
// little-endian:
//
//	offset  size  field
//	0       8     magic
//	8       4     length    bytes of all of it
//	12      4     checksum  CRC-32C of all of it but these four bytes
//	16      2     version   a higher one is from the future
//	18      2     flags     0; an unknown bit is from the future
//	20      4     zero
//	24      16    store     identity of the store
//
// Magic, length and checksum stay where they are in every version.
type Small struct {
	Magic   string // 8 bytes
	Version uint16 // ≥ 1
}

// Places in the header of a [Small].
const (
	SmallLength  = 8
	SmallSum     = SmallLength + 4
	SmallVersion = SmallSum + 4
	SmallStore   = SmallVersion + 2 + 2 + 4
	SmallHeader  = SmallStore + 16
)

// Begin appends the header of a file of size bytes to dst. Its checksum is set by [SealSmall].
func (s Small) Begin(dst []byte, store [16]byte, size int) []byte {
	le := binary.LittleEndian
	dst = append(dst, s.Magic...)
	dst = le.AppendUint32(dst, uint32(size))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, s.Version)
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	return append(dst, store[:]...)
}

// SealSmall sets the checksum of the whole file b.
func SealSmall(b []byte) { binary.LittleEndian.PutUint32(b[SmallSum:], sumSmall(b)) }

func sumSmall(b []byte) uint32 { return Sum(Sum(0, b[:SmallSum]), b[SmallSum+4:]) }

// A Flaw says what is wrong with the header of a [Small]. The zero Flaw is none.
type Flaw struct {
	Offset int64
	Reason string
	Kind   FlawKind
}

// A FlawKind is one of the findings about a file.
type FlawKind uint8

// The findings of [Small.Open].
const (
	Sound FlawKind = iota
	Damaged
	Future
	Foreign // a sound file of another store
)

// Open checks the header of the whole file b, which has at least least bytes, and returns a reader of what stands behind.
func (s Small) Open(b []byte, store [16]byte, least int) (Reader, Flaw) {
	le := binary.LittleEndian
	switch {
	case len(b) < max(least, SmallHeader):
		return Reader{}, Flaw{0, "too short", Damaged}
	case string(b[:len(s.Magic)]) != s.Magic:
		return Reader{}, Flaw{0, "magic", Damaged}
	case le.Uint32(b[SmallSum:]) != sumSmall(b):
		return Reader{}, Flaw{SmallSum, "checksum", Damaged}
	}
	r := Reader{B: b[SmallVersion:]}
	if v, flags := r.Uint16(), r.Uint16(); v > s.Version || flags != 0 {
		return Reader{}, Flaw{SmallVersion, "version", Future}
	} else if zero := r.Uint32(); v == 0 || zero != 0 {
		return Reader{}, Flaw{SmallVersion, "fields", Damaged}
	}
	if uint64(le.Uint32(b[SmallLength:])) != uint64(len(b)) {
		return Reader{}, Flaw{SmallLength, "length", Damaged}
	}
	if [16]byte(r.Bytes(len(store))) != store {
		return Reader{}, Flaw{SmallStore, "identity", Foreign}
	}
	return r, Flaw{}
}
