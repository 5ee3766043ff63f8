package segment

import (
	"encoding/binary"

	"batpak/event"
)

// A Column names a fact that every row has and that fits into 32 bits.
type Column uint8

// The columns that [Footer.ReadColumn] reads.
const (
	ColumnSeq        Column = iota // sequence, less Summary.FirstSeq
	ColumnCoordinate               // number in the coordinate table
	ColumnKind
	ColumnFlags
	ColumnLane
)

var columnSections = [...]int{
	ColumnSeq: secSeqs, ColumnCoordinate: secCoordinates, ColumnKind: secKinds, ColumnFlags: secFlags, ColumnLane: secLanes,
}

// columnBlock is how many entries are read at once.
const columnBlock = 256

// ReadColumn fills dst with the column's entries of the rows from row on.
func (f *Footer) ReadColumn(c Column, row uint32, dst []uint32) error {
	sec := columnSections[c]
	size := int(sectionShapes[sec].size)
	var b [4 * columnBlock]byte
	for len(dst) > 0 {
		n := min(len(dst), columnBlock)
		if err := f.read(sec, uint64(row)*uint64(size), b[:n*size]); err != nil {
			return err
		}
		if size == 2 {
			for i := range dst[:n] {
				dst[i] = uint32(binary.LittleEndian.Uint16(b[i*2:]))
			}
		} else {
			for i := range dst[:n] {
				dst[i] = binary.LittleEndian.Uint32(b[i*4:])
			}
		}
		dst, row = dst[n:], row+uint32(n)
	}
	return nil
}

// column returns one entry of a column.
func (f *Footer) column(c Column, row uint32) (uint32, error) {
	sec := columnSections[c]
	if sectionShapes[sec].size == 2 {
		var b [2]byte
		err := f.read(sec, uint64(row)*2, b[:])
		return uint32(binary.LittleEndian.Uint16(b[:])), err
	}
	return f.uint32At(sec, row)
}

// Locator returns the place of the event in row.
func (f *Footer) Locator(row uint32) (Locator, error) {
	var b [locatorLen]byte
	if err := f.read(secLocators, uint64(row)*locatorLen, b[:]); err != nil {
		return Locator{}, err
	}
	l := Locator{Offset: binary.LittleEndian.Uint32(b[:]), Length: binary.LittleEndian.Uint32(b[4:])}
	if l.Length < FrameHeaderLen || uint64(l.Offset)+uint64(l.Length) > uint64(f.t.sum.End) {
		return Locator{}, f.flaw(secLocators, uint64(row)*locatorLen, "frame out of range")
	}
	return l, nil
}

// TouchPlaces fetches what Locator and Seq will read of the given rows; see [vfs.Map.Touch].
func (f *Footer) TouchPlaces(rows []uint32) (sum byte) {
	locators, seqs := f.base+int64(f.t.sections[secLocators].off), f.base+int64(f.t.sections[secSeqs].off)
	for _, row := range rows {
		sum += f.m.Touch(locators+int64(row)*locatorLen, 1) + f.m.Touch(seqs+int64(row)*4, 1)
	}
	return sum
}

// Seq returns the sequence of the event in row.
func (f *Footer) Seq(row uint32) (uint64, error) {
	delta, err := f.uint32At(secSeqs, row)
	return f.t.sum.FirstSeq + uint64(delta), err
}

// Kind returns the kind of the event in row.
func (f *Footer) Kind(row uint32) (event.Kind, error) {
	k, err := f.column(ColumnKind, row)
	return event.Kind(k), err
}

// Flags returns the flags of the event in row.
func (f *Footer) Flags(row uint32) (event.Flags, error) {
	v, err := f.column(ColumnFlags, row)
	return event.Flags(v), err
}

// Lane returns the lane of the event in row.
func (f *Footer) Lane(row uint32) (uint32, error) { return f.uint32At(secLanes, row) }

// HLC returns the stamp of the event in row.
func (f *Footer) HLC(row uint32) (event.HLC, error) {
	v, err := f.uint64At(secHLCs, row)
	return event.HLC(v), err
}

// Coordinate returns the number of the coordinate of the event in row.
func (f *Footer) Coordinate(row uint32) (uint32, error) {
	c, err := f.uint32At(secCoordinates, row)
	if err == nil && c >= f.coordinates {
		return 0, f.flaw(secCoordinates, uint64(row)*4, "coordinate out of range")
	}
	return c, err
}

// Clock returns the clock of the event in row.
func (f *Footer) Clock(row uint32) (uint64, error) {
	low, err := f.uint32At(secClocks, row)
	if err != nil {
		return 0, err
	}
	lane, err := f.Lane(row)
	if err != nil {
		return 0, err
	}
	c, err := f.Coordinate(row)
	if err != nil {
		return 0, err
	}
	entity, _, err := f.CoordinateParts(c)
	if err != nil {
		return 0, err
	}
	head, ok, err := f.Head(entity, lane)
	if err != nil {
		return 0, err
	}
	if !ok || uint64(uint32(head.Last)-low) >= head.Last {
		return 0, f.flaw(secClocks, uint64(row)*4, "clock without a head")
	}
	return head.Last - uint64(uint32(head.Last)-low), nil
}

// RowOfSeq returns the first row whose sequence is at least seq; Rows() when there is none.
func (f *Footer) RowOfSeq(seq uint64) (uint32, error) {
	s := &f.t.sum
	switch {
	case s.Events == 0 || seq <= s.FirstSeq:
		return 0, nil
	case seq > s.LastSeq:
		return f.Rows(), nil
	}
	// A row is at most as far from the first one as its sequence is, and falls short of that by the gaps at most.
	far := seq - s.FirstSeq
	gaps := s.LastSeq - s.FirstSeq + 1 - s.Events
	hi := uint32(min(far, s.Events))
	lo := uint32(0)
	if far > gaps {
		lo = uint32(far - gaps)
	}
	return lowerBound(lo, hi, func(row uint32) (bool, error) {
		delta, err := f.uint32At(secSeqs, row)
		return uint64(delta) < far, err
	})
}

// RowOfHLC returns the first row whose stamp is at least h; Rows() when there is none.
func (f *Footer) RowOfHLC(h event.HLC) (uint32, error) {
	switch s := &f.t.sum; {
	case s.Events == 0 || h <= s.MinHLC:
		return 0, nil
	case h > s.MaxHLC:
		return f.Rows(), nil
	}
	return lowerBound(0, f.Rows(), func(row uint32) (bool, error) {
		v, err := f.HLC(row)
		return v < h, err
	})
}
