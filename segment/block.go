package segment

import (
	"encoding/binary"
	"errors"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// An index block is the SIDX of a stretch of a segment that has no footer yet, in a file of its own beside the segment:
//
//	block | block | …
//
// one behind the other, without padding. A block is a header and then what a footer is: body, page sums, trailer. The
// trailer's end is where the stretch ends.
//
//	offset  size  field
//	0       8     magic     "BATPAKIB"
//	8       2     version   1; a higher one is a block from the future
//	10      2     flags     0; an unknown bit is from the future
//	12      4     CRC-32C of store, segment, and the header without this field
//	16      8     length    bytes of the block, header included
//	24      8     from      offset in the segment of the first frame that the block covers
//
// The first block starts with the segment's first frame, every other one where an earlier one ends or starts: in the
// second case it stands for all blocks from there on. A block covers frames only that were durable before it was
// written. Nothing syncs the file: it is a cache, and what does not hold is replayed from the frames.
const (
	blockMagic = "BATPAKIB"
	// BlockHeaderLen is the size of the header of an index block.
	BlockHeaderLen = 8 + 2 + 2 + 4 + 8 + 8

	offBlockSum = 12
	// maxBlockLen bounds a block: an index is never much larger than a segment may be.
	maxBlockLen = 1 << 36

	// BlockSuffix ends the name of the file of index blocks; the segment's number is the stem.
	BlockSuffix = ".fbix"
)

// BlockName returns the name of the file that holds the index blocks of segment id.
func BlockName(id uint64) string {
	return string(appendName(make([]byte, 0, nameDigits+len(BlockSuffix)), id, BlockSuffix))
}

// A Block is one index block, opened where it lies.
type Block struct {
	From int64   // offset in the segment of the first frame that the block covers
	Next int64   // offset behind the block, in its own file
	Foot *Footer // whose Summary says where the stretch ends
}

// blockSum returns the checksum of the header of an index block of segment h.
func blockSum(store [16]byte, segment uint64, b []byte) uint32 {
	sum := wire.Sum(footerSeed(store, segment), b[:offBlockSum])
	return wire.Sum(sum, b[offBlockSum+4:BlockHeaderLen])
}

// FinishBlock is [FooterBuilder.Finish] for an index block that covers the frames from offset from to end.End.
func (b *FooterBuilder) FinishBlock(dst []byte, from int64, end FooterEnd) ([]byte, error) {
	start := len(dst)
	dst = append(dst, make([]byte, BlockHeaderLen)...)
	store, segment := b.sum.Store, b.sum.Segment
	dst, err := b.Finish(dst, end)
	if err != nil {
		return dst[:start], err
	}
	h, le := dst[start:], binary.LittleEndian
	copy(h, blockMagic)
	le.PutUint16(h[8:], 1)
	le.PutUint64(h[16:], uint64(len(h)))
	le.PutUint64(h[24:], uint64(from))
	le.PutUint32(h[offBlockSum:], blockSum(store, segment, h))
	return dst, nil
}

// OpenBlock opens the index block of segment in store that starts at offset at of m. It reads header, trailer and page
// sums; pages are checked when they are used.
//
// Errors: *[FooterError] as of [OpenFooter]; with [ErrAbsent] when the file ends at or before at.
func OpenBlock(m *vfs.Map, at int64, store [16]byte, segment uint64) (*Block, error) {
	fail := func(reason string, err error) (*Block, error) {
		return nil, &FooterError{Segment: segment, Section: "block header", Offset: at, Reason: reason, Err: err}
	}
	if at >= int64(m.Len()) {
		return fail("no block", ErrAbsent)
	}
	var h [BlockHeaderLen]byte
	if int64(m.Len())-at < BlockHeaderLen {
		return fail("file too short", ErrDamaged)
	}
	if _, err := m.ReadAt(h[:], at); err != nil {
		return fail("read", err)
	}
	le := binary.LittleEndian
	length, from := int64(le.Uint64(h[16:])), int64(le.Uint64(h[24:]))
	switch {
	case string(h[:8]) != blockMagic:
		return fail("no magic", ErrDamaged)
	case le.Uint32(h[offBlockSum:]) != blockSum(store, segment, h[:]):
		return fail("checksum", ErrDamaged)
	case le.Uint16(h[8:]) > 1 || le.Uint16(h[10:]) != 0:
		return fail("version", ErrFuture)
	case length < BlockHeaderLen || length > maxBlockLen || length > int64(m.Len())-at || from < headerFixedLen:
		return fail("length", ErrDamaged)
	}
	f, err := openFooter(m, at+length, store, segment)
	var e *FooterError
	switch {
	case errors.As(err, &e) && e.Err == ErrAbsent:
		return fail(e.Reason, ErrDamaged) // the header says that there is one
	case err != nil:
		return nil, err
	case f.base != at+BlockHeaderLen:
		return fail("length", ErrDamaged)
	case from >= f.t.sum.End || f.t.sum.Events == 0:
		return fail("covers nothing", ErrDamaged)
	}
	return &Block{From: from, Next: at + length, Foot: f}, nil
}
