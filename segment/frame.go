package segment

import (
	"encoding/binary"

	"batpak/internal/planted"
	"batpak/internal/wire"
)

// A frame is one checksummed unit of a segment.
//
//	offset  size  field
//	0       4     length      bytes of body, 1 ≤ length ≤ MaxBody
//	4       1     type        see Type; 0 is never a frame, so zeroes do not decode
//	5       1     flags       see FrameFlags
//	6       2     zero
//	8       4     through     durable-through mark: bytes of this file known synced when the frame was written
//	12      4     header sum  CRC-32C of bytes 0–11, continued from the salt's sum XOR the frame's own offset
//	16      4     body sum    CRC-32C of the body, continued from the header sum
//	20      n     body
//
// A length is believed only after the header sum. Salt and offset bind the frame to its place: zeroes, recycled blocks
// and frames of another file or offset never decode.
const (
	offType    = 4
	offFlags   = 5
	offZero    = 6
	offThrough = 8
	offHeadSum = 12
	offBodySum = 16

	// FrameHeaderLen is what every frame costs beside its body.
	FrameHeaderLen = 20
)

// MaxBody is the longest body of a frame in bytes, for the writer and for every reader.
const MaxBody = 1<<30 - 1

// A Type says what the body of a frame is.
type Type uint8

// The types of frames. A number that is not listed is from the future.
const (
	TypeEvent Type = 1 // an event's body, see package event
	TypeBatch Type = 2 // the opening frame of a batch, see Batch
	TypeFence Type = 3 // begin, commit or cancel of a fence, see Fence
	TypeIndex Type = 4 // an index block: the index of the frames before it (reserved)
	TypeMark  Type = 5 // nothing but its durable-through mark; body is one zero byte

	lastType = TypeMark
)

// FrameFlags are facts about a frame that its body does not tell.
type FrameFlags uint8

const (
	// FlagMember: the event belongs to the batch that the nearest batch frame before it opened.
	FlagMember FrameFlags = 1 << iota
	// FlagGroup: first frame of a write group, the unit of one write.
	FlagGroup

	knownFrameFlags = FlagMember | FlagGroup
)

// A Frame is one decoded frame.
type Frame struct {
	Offset  int64 // of the frame header, bytes from start of file
	Type    Type
	Flags   FrameFlags
	Through uint32 // bytes of the file known synced when the frame was written
	Body    []byte // aliases what it was decoded from
}

// Len returns the size of the whole frame.
func (f *Frame) Len() int64 { return FrameHeaderLen + int64(len(f.Body)) }

// End returns the offset behind the frame.
func (f *Frame) End() int64 { return f.Offset + f.Len() }

// A Seal seeds the checksums of one segment's frames. It is a value, safe for concurrent use.
type Seal struct{ seed uint32 }

// NewSeal returns the seal of the segment with the given salt.
func NewSeal(salt [16]byte) Seal {
	if planted.On(planted.CRCNotBoundToPlace) {
		return Seal{}
	}
	return Seal{wire.Sum(0, salt[:])}
}

// headerSum is the checksum of the first bytes of a frame header at offset.
func (s Seal) headerSum(head []byte, offset int64) uint32 {
	if planted.On(planted.CRCNotBoundToPlace) {
		offset = 0
	}
	if planted.On(planted.HeaderNotInCRC) {
		head = make([]byte, offHeadSum)
	}
	return wire.Sum(s.seed^uint32(offset), head[:offHeadSum])
}

// AppendFrame appends a frame to dst that will stand at offset.
func (s Seal) AppendFrame(dst []byte, offset int64, typ Type, flags FrameFlags, through uint32, body []byte) []byte {
	start := len(dst)
	dst = append(dst, make([]byte, FrameHeaderLen)...)
	dst = append(dst, body...)
	s.Finish(dst[start:], offset, typ, flags, through)
	return dst
}

// Finish fills in the header of a frame whose body already stands behind room for it: for writers that build bodies in
// place.
func (s Seal) Finish(frame []byte, offset int64, typ Type, flags FrameFlags, through uint32) {
	le := binary.LittleEndian
	le.PutUint32(frame, uint32(len(frame)-FrameHeaderLen))
	frame[offType], frame[offFlags] = byte(typ), byte(flags)
	le.PutUint16(frame[offZero:], 0)
	le.PutUint32(frame[offThrough:], through)
	sum := s.headerSum(frame, offset)
	le.PutUint32(frame[offHeadSum:], sum)
	le.PutUint32(frame[offBodySum:], wire.Sum(sum, frame[FrameHeaderLen:]))
}

// A flaw is why bytes are not a frame: short, constant words for [FrameError.Reason].
type flaw string

const (
	flawNone       flaw = ""
	flawShort      flaw = "cut off"
	flawZero       flaw = "zeroes"
	flawHeaderSum  flaw = "header checksum"
	flawHeader     flaw = "header fields"
	flawLength     flaw = "length"
	flawBodySum    flaw = "body checksum"
	flawFutureType flaw = "type from a newer version"
)

// DecodeHead decodes the frame header at the start of b, which stands at offset, and returns the length of the body.
// Nothing is believed before the header sum.
func (s Seal) decodeHead(b []byte, offset int64, f *Frame) (bodyLen int, why flaw) {
	if len(b) < FrameHeaderLen {
		return 0, flawShort
	}
	le := binary.LittleEndian
	n, sum := le.Uint32(b), le.Uint32(b[offHeadSum:])
	if s.headerSum(b, offset) != sum {
		if allZero(b[:FrameHeaderLen]) {
			if planted.On(planted.ZeroFrameAccepted) {
				*f = Frame{Offset: offset}
				return 0, flawNone
			}
			return 0, flawZero
		}
		return 0, flawHeaderSum
	}
	f.Offset, f.Type, f.Flags, f.Through = offset, Type(b[offType]), FrameFlags(b[offFlags]), le.Uint32(b[offThrough:])
	switch {
	case f.Type > lastType || f.Flags&^knownFrameFlags != 0:
		return 0, flawFutureType
	case f.Type == 0 || le.Uint16(b[offZero:]) != 0 || int64(f.Through) > offset:
		return 0, flawHeader
	case n == 0 || n > MaxBody && !planted.On(planted.Uint32LengthSum):
		return 0, flawLength
	}
	return int(n), flawNone
}

// fits reports whether a frame with a body of n bytes ends within room.
func fits(n int, room int64) bool {
	if planted.On(planted.Uint32LengthSum) {
		return uint32(n)+FrameHeaderLen <= uint32(room)
	}
	return int64(n) <= room-FrameHeaderLen
}

// decodeFrame decodes the frame at the start of b, which stands at offset.
func (s Seal) decodeFrame(b []byte, offset int64, f *Frame) flaw {
	n, why := s.decodeHead(b, offset, f)
	if why != flawNone {
		return why
	}
	return f.decodeBody(b, n)
}

// decodeBody sets the body, of n bytes, of the frame at the start of b; the header has been decoded.
func (f *Frame) decodeBody(b []byte, n int) flaw {
	if !fits(n, int64(len(b))) {
		return flawShort
	}
	f.Body = b[FrameHeaderLen : FrameHeaderLen+n : FrameHeaderLen+n]
	le := binary.LittleEndian
	if wire.Sum(le.Uint32(b[offHeadSum:]), f.Body) != le.Uint32(b[offBodySum:]) {
		return flawBodySum
	}
	return flawNone
}

// DecodeFrame decodes the frame at the start of b, which stands at offset of segment. Its body aliases b.
//
// Errors: *[FrameError]: [ErrTorn] if b ends inside the frame or is zero, [ErrFuture], else [ErrCorrupt].
func (s Seal) DecodeFrame(b []byte, segment uint64, offset int64) (Frame, error) {
	var f Frame
	if why := s.decodeFrame(b, offset, &f); why != flawNone {
		return Frame{}, why.at(segment, offset)
	}
	return f, nil
}

// FrameLen returns the size of the whole frame whose header stands at the start of b.
//
// Errors: as DecodeFrame; the body is not looked at.
func (s Seal) FrameLen(b []byte, segment uint64, offset int64) (int64, error) {
	var f Frame
	n, why := s.decodeHead(b, offset, &f)
	if why != flawNone {
		return 0, why.at(segment, offset)
	}
	return FrameHeaderLen + int64(n), nil
}

// at returns the error of a flaw at its place.
func (why flaw) at(segment uint64, offset int64) *FrameError {
	e := &FrameError{Segment: segment, Offset: offset, Reason: string(why), Err: ErrCorrupt}
	switch why {
	case flawShort, flawZero:
		e.Err = ErrTorn
	case flawFutureType:
		e.Err = ErrFuture
	}
	return e
}

// allZero reports whether b is nothing but zeroes.
func allZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
