package segment

import (
	"encoding/binary"
	"math/bits"
	"strconv"
	"strings"

	"batpak/event"
	"batpak/internal/wire"
)

// The header of a segment.
//
//	offset  size  field
//	0       8     magic           "BATPAKSG"
//	8       4     header length   bytes of all of it: where the first frame starts
//	12      4     checksum        CRC-32C of all of it but these four bytes
//	16      2     version         1; a higher one is a segment from the future
//	18      1     algorithm       of every hash in the segment: 1 = SHA-256
//	19      1     flags           1 = written by recovery; an unknown bit is from the future
//	20      4     zero
//	24      16    store           identity of the store
//	40      8     segment         number of this file, ≥ 1; never used twice
//	48      16    salt            random; seeds the checksum of every frame
//	64      8     first           sequence that the first event must not be below; ≥ 1
//	72      8     created         Unix milliseconds, for people
//	80      8     previous        number of the segment before; 0 for the first of a store
//	88      8     previous end    offset where its frames end; what is behind it is not part of the log
//	96      8     last sequence   of all events before this segment; 0 for none
//	104     8     last HLC        of all events before this segment
//	112     8     tree size       events in the Merkle tree before this segment
//	120     32    root            Merkle tree hash (RFC 6962 §2.1) over the hashes of those events
//	152     4     range count     number of set bits of tree size
//	156     4     zero
//	160     32×n  range           hashes of the perfect subtrees that the tree size splits into, left to right
const (
	headerMagic    = "BATPAKSG"
	headerFixedLen = 160
	// MaxHeaderLen is the longest header: a tree size with all 64 bits set.
	MaxHeaderLen = headerFixedLen + 64*event.HashLen

	// SaltOffset is where the salt stands, for whoever looks for frames behind a header that does not decode.
	SaltOffset = 48

	offHeaderLen = 8
	offHeaderSum = 12

	version        = 1
	algorithmSHA   = 1
	flagRecovery   = 1
	knownFileFlags = flagRecovery
)

// A Header begins a segment and binds it to the segment before it: the log cannot lose or swap a whole file unseen.
type Header struct {
	Store     [16]byte
	Segment   uint64
	Salt      [16]byte
	FirstSeq  uint64
	Created   int64  // Unix milliseconds
	Previous  uint64 // 0 for the first segment
	End       int64  // of the previous segment's frames, bytes from start of file; 0 for the first segment
	LastSeq   uint64 // before this segment; 0 for none
	LastHLC   event.HLC
	TreeSize  uint64
	Root      event.Hash
	Range     []event.Hash // compact range; as many as TreeSize has set bits
	Recovered bool         // made by recovery, to hold what an earlier file could not prove durable
}

// Len returns the encoded size of h: the offset of the first frame.
func (h *Header) Len() int64 { return int64(headerFixedLen + len(h.Range)*event.HashLen) }

// AppendHeader appends the encoding of h to dst.
func AppendHeader(dst []byte, h *Header) []byte {
	le := binary.LittleEndian
	start := len(dst)
	var flags byte
	if h.Recovered {
		flags = flagRecovery
	}
	dst = append(dst, headerMagic...)
	dst = le.AppendUint32(dst, uint32(h.Len()))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, version)
	dst = append(dst, algorithmSHA, flags, 0, 0, 0, 0)
	dst = append(dst, h.Store[:]...)
	dst = le.AppendUint64(dst, h.Segment)
	dst = append(dst, h.Salt[:]...)
	dst = le.AppendUint64(dst, h.FirstSeq)
	dst = le.AppendUint64(dst, uint64(h.Created))
	dst = le.AppendUint64(dst, h.Previous)
	dst = le.AppendUint64(dst, uint64(h.End))
	dst = le.AppendUint64(dst, h.LastSeq)
	dst = le.AppendUint64(dst, uint64(h.LastHLC))
	dst = le.AppendUint64(dst, h.TreeSize)
	dst = append(dst, h.Root[:]...)
	dst = le.AppendUint32(dst, uint32(len(h.Range)))
	dst = le.AppendUint32(dst, 0)
	for i := range h.Range {
		dst = append(dst, h.Range[i][:]...)
	}
	b := dst[start:]
	le.PutUint32(b[offHeaderSum:], headerSum(b))
	return dst
}

// headerSum is the checksum of an encoded header, its own field left out.
func headerSum(b []byte) uint32 {
	return wire.Sum(wire.Sum(0, b[:offHeaderSum]), b[offHeaderSum+4:])
}

// DecodeHeader decodes the header at the start of b; name is the number that the file's name carries.
//
// Errors: *[FrameError] at offset 0: [ErrTorn] if b is too short, [ErrCorrupt], [ErrFuture], [ErrForeign] when the
// file's name is not the header's.
func DecodeHeader(b []byte, name uint64) (Header, error) {
	fail := func(err error, reason string) (Header, error) {
		return Header{}, &FrameError{Segment: name, Reason: reason, Err: err}
	}
	if len(b) < headerFixedLen {
		return fail(ErrTorn, "header cut off")
	}
	if string(b[:len(headerMagic)]) != headerMagic {
		return fail(ErrCorrupt, "header magic")
	}
	n := binary.LittleEndian.Uint32(b[offHeaderLen:])
	if n < headerFixedLen || n > MaxHeaderLen {
		return fail(ErrCorrupt, "header length")
	}
	if uint64(n) > uint64(len(b)) {
		return fail(ErrTorn, "header cut off")
	}
	b = b[:n]
	if headerSum(b) != binary.LittleEndian.Uint32(b[offHeaderSum:]) {
		return fail(ErrCorrupt, "header checksum")
	}
	h, reason := decodeHeaderFields(b)
	switch {
	case reason == reasonFuture:
		return fail(ErrFuture, reason)
	case reason != "":
		return fail(ErrCorrupt, reason)
	case h.Segment != name:
		return fail(ErrForeign, "name and header disagree on the number")
	}
	return h, nil
}

const reasonFuture = "header version"

// decodeHeaderFields decodes a header whose checksum holds; a reason that is not "" says what cannot be.
func decodeHeaderFields(b []byte) (h Header, reason string) {
	r := wire.Reader{B: b[offHeaderSum+4:]}
	v, alg, flags, zero := r.Uint16(), r.Uint8(), r.Uint8(), r.Uint32()
	if v > version || alg != algorithmSHA || flags&^byte(knownFileFlags) != 0 {
		return h, reasonFuture
	}
	h.Recovered = flags&flagRecovery != 0
	r.Copy(h.Store[:])
	h.Segment = r.Uint64()
	r.Copy(h.Salt[:])
	h.FirstSeq, h.Created, h.Previous, h.End = r.Uint64(), int64(r.Uint64()), r.Uint64(), int64(r.Uint64())
	h.LastSeq, h.LastHLC, h.TreeSize = r.Uint64(), event.HLC(r.Uint64()), r.Uint64()
	r.Copy(h.Root[:])
	count := r.Uint32()
	zero |= r.Uint32()
	if uint64(count)*event.HashLen != uint64(len(r.B)) || int(count) != bits.OnesCount64(h.TreeSize) {
		return h, "range count"
	}
	for range count {
		var hash event.Hash
		r.Copy(hash[:])
		h.Range = append(h.Range, hash)
	}
	if v == 0 || zero != 0 || !r.Done() || h.Segment == 0 || h.Previous >= h.Segment || h.FirstSeq <= h.LastSeq || h.End < 0 {
		return h, "header fields"
	}
	return h, ""
}

// Suffix ends the name of every segment.
const Suffix = ".fbat"

const nameDigits = 10

// MaxID is the highest number that a segment's name can carry.
const MaxID = 9_999_999_999

// Name returns the file name of segment id.
func Name(id uint64) string {
	return string(appendName(make([]byte, 0, nameDigits+len(Suffix)), id, Suffix))
}

// appendName appends the digits of a segment's name, and a suffix.
func appendName(dst []byte, id uint64, suffix string) []byte {
	for limit := uint64(1e9); limit > id && limit > 1; limit /= 10 { // 1e9 has nameDigits digits
		dst = append(dst, '0')
	}
	return append(strconv.AppendUint(dst, id, 10), suffix...)
}

const _ uint = nameDigits - 10 // as appendName has it

// ParseName is the inverse of [Name]: one spelling per number, numbers start at 1.
func ParseName(name string) (id uint64, ok bool) {
	digits, found := strings.CutSuffix(name, Suffix)
	if !found || len(digits) != nameDigits {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 64)
	return id, err == nil && id > 0 // so many digits spell one number in one way
}
