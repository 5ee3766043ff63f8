package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"batpak/internal/paged"
	"batpak/internal/wire"
	"batpak/segment"
)

// A catalog says, for streams and idempotency keys by their hash, which of a range of sealed segments holds them last.
//
//	members | table | page sums | trailer |
//
// Members are the segments, ascending, as they were when the catalog was made; a segment that is not what its member
// says is not the one that was looked at:
//
//	offset  size  field
//	0       8     segment        number
//	8       16    salt           of its frames
//	24      8     end            of its frames, bytes from start of file
//	32      8     last sequence  0 when it holds no event
//
// The table is one array of 64-bit slots, searched by linear probing. A slot is 0 when empty. The low D bits of any
// other hold the number of a member plus one, D being enough for all of them; the bits above are those of the hash (see
// catalogHash). Slots stand in the order of their hashes: each at its home, ⌊hash · S / 2^64⌋ of the hash
// without its low D bits, or behind the slot before it. So a table is written, read and merged from front to back, a
// search ends at the first slot that is empty or greater, and the table ends with its last entry, be that in front of
// slot S or behind it. Two hashes that differ in the low D bits only are one entry, for the newer of the two segments:
// an entry says that no newer segment holds what is sought, and not that this one does.
//
// The page sums are those of package paged, seeded with store, range and key. The trailer ends the file:
//
//	offset  size  field
//	0       16    store
//	16      8+8   first, last segment  of the range; those of the first and last member
//	32      16    key                  of the hash
//	48      4     members
//	52      4     D                    1 to 20; members < 2^D
//	56      8     entries              slots that are not empty
//	64      8     S                    entries·5/4 + 1
//	72      8     slots                of the table
//	80      4     CRC-32C of the page sums
//	84      4     trailer length       of all of it
//	88      2     version              1; a higher one is a catalog from the future
//	90      2     flags                0; an unknown bit is from the future
//	92      4     magic                "FCAT"
//	96      4     CRC-32C of the trailer up to here
//
// An entry costs ten bytes.
const (
	catalogMagic   = "FCAT"
	catalogVersion = 1

	memberLen      = 8 + 16 + 8 + 8
	slotLen        = 8
	catalogTailLen = 4 + 2 + 2 + 4 + 4 // the part of the trailer that no version moves
	catalogTrailer = 16 + 8 + 8 + 16 + 4*8 + 4 + catalogTailLen

	// MaxMembers is how many segments a catalog covers at most: their numbers leave 44 bits for the hash.
	MaxMembers = 1<<maxBits - 1
	maxBits    = 20
	maxSlots   = 1 << 40
)

const (
	_ uint = catalogTrailer - 100
	_ uint = 100 - catalogTrailer
)

// catalogSuffix ends the name of a catalog.
const catalogSuffix = ".fbcat"

// CatalogName returns the name of the catalog of the segments [first, last], both included.
func CatalogName(first, last uint64) string {
	return strings.TrimSuffix(segment.Name(first), segment.Suffix) + "-" +
		strings.TrimSuffix(segment.Name(last), segment.Suffix) + catalogSuffix
}

// ParseCatalogName is the inverse of [CatalogName]: one spelling per range, and first ≤ last.
func ParseCatalogName(name string) (first, last uint64, ok bool) {
	base, found := strings.CutSuffix(name, catalogSuffix)
	from, to, both := strings.Cut(base, "-")
	if !found || !both {
		return 0, 0, false
	}
	first, err := strconv.ParseUint(from, 10, 64)
	last, err2 := strconv.ParseUint(to, 10, 64)
	ok = err == nil && err2 == nil && 0 < first && first <= last && last <= segment.MaxID
	return first, last, ok && CatalogName(first, last) == name
}

// Conditions of a catalog.
var (
	// ErrCatalogAbsent: there is no such file.
	ErrCatalogAbsent = errors.New("index: no catalog")
	// ErrCatalogStale: it is over other segments than those that are there.
	ErrCatalogStale = errors.New("index: catalog is stale")
	// ErrCatalogDamaged: it fails its checks.
	ErrCatalogDamaged = errors.New("index: catalog damaged")
	// ErrCatalogForeign: a sound catalog of another store, or under another range's name.
	ErrCatalogForeign = errors.New("index: catalog belongs to another store or name")
	// ErrCatalogFuture: written by a newer version; nothing here may replace it.
	ErrCatalogFuture = errors.New("index: catalog written by a newer version")
)

// A CatalogError says what is wrong with a catalog. Nothing is lost with it: what it says is in the footers.
type CatalogError struct {
	File   string // name in the directory
	Offset int64  // bytes from start of file; 0 when the whole file is meant
	Reason string // short and constant: "checksum", "member"
	Err    error  // one of the conditions of a catalog, or the error of the map
}

func (e *CatalogError) Error() string {
	return fmt.Sprintf("%v: %s offset %d: %s", e.Err, e.File, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *CatalogError) Unwrap() error { return e.Err }

// A member is one segment of a catalog as it was when the catalog was made.
type member struct {
	segment uint64
	salt    [16]byte
	end     uint64
	lastSeq uint64
}

func memberOf(s *segment.Summary) member {
	return member{segment: s.Segment, salt: s.Salt, end: uint64(s.End), lastSeq: s.LastSeq}
}

func appendMember(dst []byte, m *member) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, m.segment)
	dst = append(dst, m.salt[:]...)
	dst = le.AppendUint64(dst, m.end)
	return le.AppendUint64(dst, m.lastSeq)
}

func decodeMember(b []byte) (m member) {
	r := wire.Reader{B: b}
	m.segment = r.Uint64()
	r.Copy(m.salt[:])
	m.end, m.lastSeq = r.Uint64(), r.Uint64()
	return m
}

// A catalogHead is a decoded trailer.
type catalogHead struct {
	store       [16]byte
	first, last uint64 // segments
	key         [16]byte

	members, entries uint64
	bits             int    // D
	homes            uint64 // S
	slots            uint64
	sumsCRC          uint32
}

// homesFor returns S for a table of n entries.
func homesFor(n uint64) uint64 { return n + n/4 + 1 }

// tableAt returns where the table begins in the body.
func (h *catalogHead) tableAt() uint64 { return h.members * memberLen }

// bodyLen returns the length of the members and the table.
func (h *catalogHead) bodyLen() uint64 { return h.members*memberLen + h.slots*slotLen }

// mask returns the D low bits of a slot.
func (h *catalogHead) mask() uint64 { return 1<<h.bits - 1 }

// home returns where the search for a hash without its low bits begins.
func (h *catalogHead) home(prefix uint64) uint64 {
	hi, _ := bits.Mul64(prefix, h.homes)
	return hi
}

// seed returns what the page sums continue from.
func (h *catalogHead) seed() uint32 {
	sum := wire.SumUint64(wire.SumUint64(wire.Sum(0, h.store[:]), h.first), h.last)
	return wire.Sum(sum, h.key[:])
}

// appendCatalogHead appends the trailer of h to dst.
func appendCatalogHead(dst []byte, h *catalogHead) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, h.store[:]...)
	dst = le.AppendUint64(dst, h.first)
	dst = le.AppendUint64(dst, h.last)
	dst = append(dst, h.key[:]...)
	dst = le.AppendUint32(dst, uint32(h.members))
	dst = le.AppendUint32(dst, uint32(h.bits))
	for _, v := range [...]uint64{h.entries, h.homes, h.slots} {
		dst = le.AppendUint64(dst, v)
	}
	dst = le.AppendUint32(dst, h.sumsCRC)
	dst = le.AppendUint32(dst, catalogTrailer)
	dst = le.AppendUint16(dst, catalogVersion)
	dst = le.AppendUint16(dst, 0)
	dst = append(dst, catalogMagic...)
	return le.AppendUint32(dst, wire.Sum(0, dst[start:]))
}

// readCatalogHead reads the trailer that ends the first end bytes of m, which are all of it.
//
// Errors: one of the conditions, with its reason; the error of m.
func readCatalogHead(m io.ReaderAt, end int64) (h catalogHead, reason string, err error) {
	tail := make([]byte, catalogTailLen)
	if end < catalogTailLen {
		return h, "file too short", ErrCatalogDamaged
	}
	if _, err := m.ReadAt(tail, end-catalogTailLen); err != nil {
		return h, "read", err
	}
	n := int64(binary.LittleEndian.Uint32(tail))
	if string(tail[8:12]) != catalogMagic || n < catalogTailLen || n > min(end, 1<<16) {
		return h, "no trailer", ErrCatalogDamaged
	}
	b := make([]byte, n)
	if _, err := m.ReadAt(b, end-n); err != nil {
		return h, "read", err
	}
	if h, reason, err = decodeCatalogHead(b); err != nil {
		return h, reason, err
	}
	if size := h.bodyLen(); uint64(end) != size+paged.SumsLen(size)+catalogTrailer {
		return h, "file length", ErrCatalogDamaged
	}
	return h, "", nil
}

// looksNewer reports whether a catalog whose trailer ends in tail is of a newer version, if its checksum holds.
func looksNewer(tail []byte) bool {
	le := binary.LittleEndian
	return le.Uint16(tail[4:]) > catalogVersion || le.Uint16(tail[6:]) != 0
}

// decodeCatalogHead decodes a whole trailer. Nothing is believed before its checksum.
func decodeCatalogHead(b []byte) (h catalogHead, reason string, err error) {
	if len(b) < catalogTailLen {
		return h, "no trailer", ErrCatalogDamaged
	}
	le, at := binary.LittleEndian, len(b)-4
	tail := b[len(b)-catalogTailLen:]
	switch {
	case wire.Sum(0, b[:at]) != le.Uint32(b[at:]) || string(tail[8:12]) != catalogMagic || int(le.Uint32(tail)) != len(b):
		return h, "checksum", ErrCatalogDamaged
	case looksNewer(tail):
		return h, "version", ErrCatalogFuture
	case len(b) != catalogTrailer || le.Uint16(tail[4:]) != catalogVersion:
		return h, "trailer length", ErrCatalogDamaged
	}
	r := wire.Reader{B: b}
	r.Copy(h.store[:])
	h.first, h.last = r.Uint64(), r.Uint64()
	r.Copy(h.key[:])
	h.members, h.bits = uint64(r.Uint32()), int(r.Uint32())
	h.entries, h.homes, h.slots = r.Uint64(), r.Uint64(), r.Uint64()
	h.sumsCRC = r.Uint32()
	switch {
	case h.first == 0 || h.first > h.last || h.last > segment.MaxID || h.members == 0 || h.members > h.last-h.first+1 ||
		h.bits < 1 || h.bits > maxBits || h.members > h.mask():
		return h, "range", ErrCatalogDamaged
	case h.slots > maxSlots || h.entries > h.slots || h.homes != homesFor(h.entries):
		return h, "table length", ErrCatalogDamaged
	}
	return h, "", nil
}
