package segment

import (
	"encoding/binary"

	"batpak/event"
	"batpak/internal/paged"
	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// The summary, and the trailer around it, which ends the file.
//
//	offset  size  field
//	0       16    store
//	16      8     segment
//	24      16    salt          of the frames; also seeds the hashes of the footer
//	40      8     events        R
//	48      8     frames        of all types, ≥ R
//	56      8     end           of the frames = start of the footer, bytes from start of file
//	64      8+8   first, last sequence
//	80      8+8   min, max HLC
//	96      16+16 min, max ID
//	128     2+2   min, max kind
//	132     4     zero
//	136     4+4   min, max lane
//	144     8     tree size
//	152     32    root
//	— summary up to here —
//	184     16×29 sections      offset u64 from start of the footer, length u64; in order, aligned, nothing between
//	648     8     body length   the page sums start there
//	656     4     CRC-32C of the page sums
//	660     4     trailer length   of all of it
//	664     2     version       1; a higher one is a footer from the future
//	666     2     flags         0; an unknown bit is from the future
//	668     4     magic         "SIDX"
//	672     4     CRC-32C of store, segment, and the trailer up to here
const (
	sidxMagic   = "SIDX"
	sidxVersion = 1

	// SummaryLen is the size of an encoded Summary.
	SummaryLen = 184
	trailerLen = SummaryLen + sectionCount*16 + 8 + 4 + tailLen
	// tailLen is the part of the trailer that no version moves.
	tailLen       = 4 + 2 + 2 + 4 + 4
	maxTrailerLen = 1 << 16
)

const (
	_ uint = trailerLen - 676
	_ uint = 676 - trailerLen
)

// AppendSummary appends the encoding of s to dst: [SummaryLen] bytes without a checksum of their own.
func AppendSummary(dst []byte, s *Summary) []byte {
	le := binary.LittleEndian
	dst = append(dst, s.Store[:]...)
	dst = le.AppendUint64(dst, s.Segment)
	dst = append(dst, s.Salt[:]...)
	for _, v := range [...]uint64{s.Events, s.Frames, uint64(s.End), s.FirstSeq, s.LastSeq, uint64(s.MinHLC), uint64(s.MaxHLC)} {
		dst = le.AppendUint64(dst, v)
	}
	dst = append(dst, s.MinID[:]...)
	dst = append(dst, s.MaxID[:]...)
	dst = le.AppendUint16(dst, uint16(s.MinKind))
	dst = le.AppendUint16(dst, uint16(s.MaxKind))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint32(dst, s.MinLane)
	dst = le.AppendUint32(dst, s.MaxLane)
	dst = le.AppendUint64(dst, s.TreeSize)
	return append(dst, s.Root[:]...)
}

// DecodeSummary decodes the [SummaryLen] bytes at the start of b; ok is false when they contradict themselves.
func DecodeSummary(b []byte) (s Summary, ok bool) {
	r := wire.Reader{B: b}
	r.Copy(s.Store[:])
	s.Segment = r.Uint64()
	r.Copy(s.Salt[:])
	s.Events, s.Frames, s.End = r.Uint64(), r.Uint64(), int64(r.Uint64())
	s.FirstSeq, s.LastSeq = r.Uint64(), r.Uint64()
	s.MinHLC, s.MaxHLC = event.HLC(r.Uint64()), event.HLC(r.Uint64())
	r.Copy(s.MinID[:])
	r.Copy(s.MaxID[:])
	s.MinKind, s.MaxKind = event.Kind(r.Uint16()), event.Kind(r.Uint16())
	zero := r.Uint32()
	s.MinLane, s.MaxLane = r.Uint32(), r.Uint32()
	s.TreeSize = r.Uint64()
	r.Copy(s.Root[:])
	return s, !r.Short && zero == 0 && s.sound()
}

// sound reports whether the counts of s can be true of one file.
func (s *Summary) sound() bool {
	if s.Segment == 0 || s.End < headerFixedLen || s.End > 1<<32 || s.Events > maxSidxRows || s.Events > s.Frames ||
		s.Frames > uint64(s.End)/FrameHeaderLen || s.TreeSize < s.Events {
		return false
	}
	if s.Events == 0 {
		return s.FirstSeq == 0 && s.LastSeq == 0
	}
	span := s.LastSeq - s.FirstSeq
	return s.FirstSeq > 0 && s.LastSeq >= s.FirstSeq && span >= s.Events-1 && span < 1<<32
}

// A footerPlace is a section: bytes from the start of the footer.
type footerPlace struct{ off, len uint64 }

// A trailer is a decoded trailer.
type trailer struct {
	sum      Summary
	sections [sectionCount]footerPlace
	bodyLen  uint64
	sumsCRC  uint32
}

// sumsLen returns the size of the page sums, which are padded to the alignment.
func sumsLen(bodyLen uint64) uint64 { return paged.SumsLen(bodyLen) }

func align(n uint64) uint64 { return (n + sidxAlign - 1) &^ (sidxAlign - 1) }

// footerSeed is what every checksum of a footer is continued from.
func footerSeed(store [16]byte, segment uint64) uint32 {
	return wire.SumUint64(wire.Sum(0, store[:]), segment)
}

// appendTrailer appends the encoding of t to dst.
func appendTrailer(dst []byte, t *trailer) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = AppendSummary(dst, &t.sum)
	for _, s := range t.sections {
		dst = le.AppendUint64(dst, s.off)
		dst = le.AppendUint64(dst, s.len)
	}
	dst = le.AppendUint64(dst, t.bodyLen)
	dst = le.AppendUint32(dst, t.sumsCRC)
	dst = le.AppendUint32(dst, trailerLen)
	dst = le.AppendUint16(dst, sidxVersion)
	dst = le.AppendUint16(dst, 0)
	dst = append(dst, sidxMagic...)
	return le.AppendUint32(dst, wire.Sum(footerSeed(t.sum.Store, t.sum.Segment), dst[start:]))
}

// A flawedTrailer is why a trailer does not hold.
type flawedTrailer struct {
	reason string
	err    error
}

// readTrailer reads and checks the trailer that ends at end in m. A zero flawedTrailer means that it holds.
func readTrailer(m *vfs.Map, end int64, t *trailer) (flawedTrailer, error) {
	var tail [tailLen]byte
	if end < headerFixedLen+tailLen || end > int64(m.Len()) {
		return flawedTrailer{"file too short", ErrAbsent}, nil
	}
	if _, err := m.ReadAt(tail[:], end-tailLen); err != nil {
		return flawedTrailer{}, err
	}
	if string(tail[8:12]) != sidxMagic {
		return flawedTrailer{"no magic", ErrAbsent}, nil
	}
	n := int64(binary.LittleEndian.Uint32(tail[:]))
	if n < SummaryLen+tailLen || n > maxTrailerLen || n > end {
		return flawedTrailer{"length", ErrDamaged}, nil
	}
	b := make([]byte, n)
	if _, err := m.ReadAt(b, end-n); err != nil {
		return flawedTrailer{}, err
	}
	return decodeTrailer(b, t), nil
}

// decodeTrailer decodes a whole trailer. Nothing is believed before its checksum.
func decodeTrailer(b []byte, t *trailer) flawedTrailer {
	le := binary.LittleEndian
	at := len(b) - 4
	var store [16]byte
	copy(store[:], b)
	if wire.Sum(footerSeed(store, le.Uint64(b[16:])), b[:at]) != le.Uint32(b[at:]) {
		return flawedTrailer{"checksum", ErrDamaged}
	}
	if version := le.Uint16(b[len(b)-tailLen+4:]); version > sidxVersion || le.Uint16(b[len(b)-tailLen+6:]) != 0 {
		return flawedTrailer{"version", ErrFuture}
	}
	var ok bool
	if t.sum, ok = DecodeSummary(b); !ok || len(b) != trailerLen {
		return flawedTrailer{"fields", ErrDamaged}
	}
	r := wire.Reader{B: b[SummaryLen:]}
	for i := range t.sections {
		t.sections[i] = footerPlace{r.Uint64(), r.Uint64()}
	}
	t.bodyLen, t.sumsCRC = r.Uint64(), r.Uint32()
	if reason := t.checkSections(); reason != "" {
		return flawedTrailer{reason, ErrDamaged}
	}
	return flawedTrailer{}
}

// checkSections reports what cannot be in the section table, or "".
func (t *trailer) checkSections() string {
	at := uint64(0)
	for i, s := range t.sections {
		if s.off != t.sectionStart(i, at) || s.len > 1<<40 || s.len%sectionShapes[i].size != 0 {
			return "section table"
		}
		at = s.off + s.len
	}
	if t.bodyLen != align(at) {
		return "body length"
	}
	return t.checkCounts()
}

// sectionStart returns where section i starts when the one before it ends at at. The buckets of the ID slots lie on
// cache lines of the mapped file.
func (t *trailer) sectionStart(i int, at uint64) uint64 {
	if i != secIDSlots {
		return align(at)
	}
	base := uint64(t.sum.End)
	return (base+at+idBucketLen-1)&^(idBucketLen-1) - base
}

// checkCounts reports a section whose length contradicts another one's, or "".
func (t *trailer) checkCounts() string {
	count := func(i int) uint64 { return t.sections[i].len / sectionShapes[i].size }
	rows := t.sum.Events
	for _, i := range [...]int{secLocators, secSeqs, secCoordinates, secKinds, secFlags, secClocks, secLanes, secHLCs,
		secEntityRows, secScopeRows, secKindRows} {
		if count(i) != rows {
			return "row count"
		}
	}
	for _, i := range [...]int{secEntities, secScopes, secKindTable, secTags} {
		if count(i) == 0 || count(i) > maxSidxRows {
			return "record table"
		}
	}
	switch {
	case count(secNames) > 1<<32-1 || count(secTagRows) > 1<<32-1:
		return "section too long"
	case count(secIDSlots) != newIDBuckets(rows).count || count(secEntitySlots) != newSidxSlots(count(secEntities)-1).count:
		return "slots"
	case count(secCoordinateTable) > maxSidxRows || count(secHeads) > rows:
		return "record table"
	case count(secKeyHashes) != count(secKeyRows) || count(secKeyRows) > rows,
		count(secCauseHashes) != count(secCauseRows) || count(secCauseRows) > rows,
		count(secCorrelationHashes) != count(secCorrelationRows) || count(secCorrelationRows) > rows:
		return "sparse list"
	}
	return ""
}
