package segment

import (
	"encoding/binary"
	"errors"

	"batpak/internal/paged"
	"batpak/internal/vfs"
)

// A Footer answers questions from the SIDX of one sealed segment, where it lies in the mapped file. It holds nothing
// but the section table and one bit per page; no method allocates unless it says so. Nothing that the file holds makes
// it panic: every offset and number is checked before it is used.
//
// A Footer is safe for concurrent use until the Map is closed. A file that shrinks under the map is a fault of the
// processor: callers guard a whole search with [vfs.Map.Guarded].
//
// Errors of all methods: *[FooterError] with [ErrDamaged], or with the error of the map.
type Footer struct {
	m        *vfs.Map
	base     int64 // of the body, bytes from start of file
	size     int64 // trailer included
	t        trailer
	body     paged.Body
	nameSeed uint64 // of the hashes

	entities, scopes, coordinates, kinds, tags, heads uint32
	entitySlots                                       sidxSlots
	idBuckets                                         idBuckets
}

// OpenFooter opens the footer that ends the file of segment in store. It reads the trailer and the page sums; pages
// are checked when they are used.
//
// Errors: *[FooterError] with [ErrAbsent], [ErrDamaged], [ErrFuture], or [ErrForeign] when it is a sound footer of
// another segment; or with the error of the map.
func OpenFooter(m *vfs.Map, store [16]byte, segment uint64) (*Footer, error) {
	f, err := openFooter(m, int64(m.Len()), store, segment)
	if err == nil && f.base != f.t.sum.End {
		return nil, &FooterError{Segment: segment, Section: "trailer", Offset: f.base, Reason: "file length", Err: ErrDamaged}
	}
	return f, err
}

// openFooter opens the footer whose trailer ends at end of m, wherever its body is then to start.
func openFooter(m *vfs.Map, end int64, store [16]byte, segment uint64) (*Footer, error) {
	f := &Footer{m: m}
	fail := func(section, reason string, err error) (*Footer, error) {
		return nil, &FooterError{Segment: segment, Section: section, Offset: f.base, Reason: reason, Err: err}
	}
	why, err := readTrailer(m, end, &f.t)
	switch {
	case err != nil:
		return fail("trailer", "read", err)
	case why.err != nil:
		return fail("trailer", why.reason, why.err)
	case f.t.sum.Store != store || f.t.sum.Segment != segment:
		return fail("trailer", "identity", ErrForeign)
	}
	size := int64(f.t.bodyLen) + int64(sumsLen(f.t.bodyLen)) + trailerLen
	if f.base, f.size = end-size, size; f.base < 0 {
		return fail("trailer", "body length", ErrDamaged)
	}
	f.nameSeed = sidxSeed(f.t.sum.Salt)
	f.body, err = paged.Open(m, f.base, f.t.bodyLen, footerSeed(store, segment), f.t.sumsCRC)
	if errors.Is(err, paged.ErrSum) {
		return fail("page sums", "checksum", ErrDamaged)
	} else if err != nil {
		return fail("page sums", "read", err)
	}
	f.count()
	return f, nil
}

// count derives the numbers of entries; the trailer's checks have bounded them.
func (f *Footer) count() {
	count := func(i int) uint32 { return uint32(f.t.sections[i].len / sectionShapes[i].size) }
	f.entities, f.scopes, f.tags = count(secEntities)-1, count(secScopes)-1, count(secTags)-1
	f.kinds, f.coordinates, f.heads = count(secKindTable)-1, count(secCoordinateTable), count(secHeads)
	f.entitySlots, f.idBuckets = newSidxSlots(uint64(f.entities)), newIDBuckets(f.t.sum.Events)
}

// Summary returns what the trailer says about the segment. It belongs to the Footer.
func (f *Footer) Summary() *Summary { return &f.t.sum }

// Rows returns the number of events.
func (f *Footer) Rows() uint32 { return uint32(f.t.sum.Events) }

// Size returns the size of the footer in bytes, trailer included.
func (f *Footer) Size() int64 { return f.size }

// VerifyAll checks every page of the footer.
func (f *Footer) VerifyAll() error {
	for page := uint64(0); page*sidxPage < f.t.bodyLen; page++ {
		if err := f.body.CheckPage(page); err != nil {
			return f.pageError(page, err)
		}
	}
	return nil
}

// read fills p from offset off of section sec, checking every page that is used for the first time.
func (f *Footer) read(sec int, off uint64, p []byte) error {
	s := &f.t.sections[sec]
	if off > s.len || uint64(len(p)) > s.len-off {
		return f.flaw(sec, off, "out of range")
	}
	if len(p) == 0 {
		return nil
	}
	at := s.off + off
	if page, err := f.body.Check(at, len(p)); err != nil {
		return f.pageError(page, err)
	}
	if _, err := f.m.ReadAt(p, f.base+int64(at)); err != nil {
		return f.ioError(sec, off, err)
	}
	return nil
}

// pageError locates a page that does not hold, or cannot be read.
func (f *Footer) pageError(page uint64, err error) error {
	start := page * sidxPage
	sec := f.sectionAt(start)
	if !errors.Is(err, paged.ErrSum) {
		return f.ioError(sec, 0, err)
	}
	return &FooterError{
		Segment: f.t.sum.Segment, Section: sectionShapes[sec].name, Offset: f.base + int64(start),
		Reason: "checksum", Err: ErrDamaged,
	}
}

// sectionAt returns the section that holds byte off of the body.
func (f *Footer) sectionAt(off uint64) int {
	sec := 0
	for i, s := range f.t.sections {
		if s.off <= off && s.len > 0 {
			sec = i
		}
	}
	return sec
}

// flaw returns the error of a section whose checksum holds and whose content cannot be.
func (f *Footer) flaw(sec int, off uint64, reason string) error {
	return &FooterError{
		Segment: f.t.sum.Segment, Section: sectionShapes[sec].name,
		Offset: f.base + int64(f.t.sections[sec].off+off), Reason: reason, Err: ErrDamaged,
	}
}

func (f *Footer) ioError(sec int, off uint64, err error) error {
	return &FooterError{
		Segment: f.t.sum.Segment, Section: sectionShapes[sec].name,
		Offset: f.base + int64(f.t.sections[sec].off+off), Reason: "read", Err: err,
	}
}

// uint32At returns number i of a section of 32-bit words.
func (f *Footer) uint32At(sec int, i uint32) (uint32, error) {
	var b [4]byte
	err := f.read(sec, uint64(i)*4, b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// uint64At returns number i of a section of 64-bit words.
func (f *Footer) uint64At(sec int, i uint32) (uint64, error) {
	var b [8]byte
	err := f.read(sec, uint64(i)*8, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

// lowerBound returns the first i in [lo, hi) for which before(i) is false, hi when there is none. before is true and
// then false along the range; whatever it is, the search ends.
func lowerBound(lo, hi uint32, before func(i uint32) (bool, error)) (uint32, error) {
	for lo < hi {
		mid := lo + (hi-lo)/2
		yes, err := before(mid)
		switch {
		case err != nil:
			return 0, err
		case yes:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, nil
}
