package segment

import (
	"encoding/binary"

	"batpak/event"
)

// A List is a run of row numbers in a footer, ascending unless it spans several entities or kinds. The zero List is
// empty.
type List struct {
	section int
	start   uint32
	count   uint32
}

// Len returns the number of rows.
func (l List) Len() uint32 { return l.count }

// ReadList fills dst with the rows of l from number i on.
func (f *Footer) ReadList(l List, i uint32, dst []uint32) error {
	if i > l.count || uint64(len(dst)) > uint64(l.count-i) {
		return f.flaw(l.section, uint64(l.start)*4, "list out of range")
	}
	var b [4 * columnBlock]byte
	rows := f.Rows()
	at := uint64(l.start) + uint64(i)
	for len(dst) > 0 {
		n := min(len(dst), columnBlock)
		if err := f.read(l.section, at*4, b[:n*4]); err != nil {
			return err
		}
		for k := range dst[:n] {
			dst[k] = binary.LittleEndian.Uint32(b[k*4:])
			if dst[k] >= rows {
				return f.flaw(l.section, (at+uint64(k))*4, "row out of range")
			}
		}
		dst, at = dst[n:], at+uint64(n)
	}
	return nil
}

// recordSpan returns the start that entry i of a record table has at byte field, and the next entry's; most bounds them.
func (f *Footer) recordSpan(sec int, i uint32, field int, most uint32) (lo, hi uint32, err error) {
	if lo, err = f.recordStart(sec, i, field); err != nil {
		return 0, 0, err
	}
	if hi, err = f.recordStart(sec, i+1, field); err != nil {
		return 0, 0, err
	}
	if lo > hi || hi > most {
		return 0, 0, f.flaw(sec, uint64(i)*sectionShapes[sec].size, "record out of range")
	}
	return lo, hi, nil
}

func (f *Footer) recordStart(sec int, i uint32, field int) (uint32, error) {
	var b [4]byte
	err := f.read(sec, uint64(i)*sectionShapes[sec].size+uint64(field), b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// spanList returns the list between the starts of entries lo and hi of a record table.
func (f *Footer) spanList(records int, field int, lo, hi uint32, rows int) (List, error) {
	from, err := f.recordStart(records, lo, field)
	if err != nil {
		return List{}, err
	}
	to, err := f.recordStart(records, hi, field)
	if err != nil {
		return List{}, err
	}
	if from > to || uint64(to) > f.t.sections[rows].len/4 {
		return List{}, f.flaw(records, uint64(lo)*sectionShapes[records].size, "list out of range")
	}
	return List{rows, from, to - from}, nil
}

// EntityRows returns the rows of the entities [lo, hi): with hi = lo+1, of one entity and ascending.
func (f *Footer) EntityRows(lo, hi uint32) (List, error) {
	return f.spanList(secEntities, 8, lo, hi, secEntityRows)
}

// EntityCoordinates returns the coordinates [clo, chi) of the entities [lo, hi).
func (f *Footer) EntityCoordinates(lo, hi uint32) (clo, chi uint32, err error) {
	if clo, err = f.recordStart(secEntities, lo, 4); err != nil {
		return 0, 0, err
	}
	if chi, err = f.recordStart(secEntities, hi, 4); err != nil {
		return 0, 0, err
	}
	if clo > chi || chi > f.coordinates {
		return 0, 0, f.flaw(secEntities, uint64(lo)*entityLen, "coordinates out of range")
	}
	return clo, chi, nil
}

// ScopeRows returns the rows of a scope, ascending.
func (f *Footer) ScopeRows(scope uint32) (List, error) {
	return f.spanList(secScopes, 4, scope, scope+1, secScopeRows)
}

// TagRows returns the rows that carry a tag, ascending.
func (f *Footer) TagRows(tag uint32) (List, error) {
	return f.spanList(secTags, 4, tag, tag+1, secTagRows)
}

// KindAt returns kind number i; kinds ascend.
func (f *Footer) KindAt(i uint32) (event.Kind, error) {
	k, err := f.recordStart(secKindTable, i, 0)
	if err == nil && (k > 1<<16-1 || i >= f.kinds) {
		return 0, f.flaw(secKindTable, uint64(i)*recordLen, "kind out of range")
	}
	return event.Kind(k), err
}

// KindsFrom returns the number of the first kind that is at least k; Kinds() when there is none. k may be 1<<16.
func (f *Footer) KindsFrom(k uint32) (uint32, error) {
	return lowerBound(0, f.kinds, func(i uint32) (bool, error) {
		kind, err := f.KindAt(i)
		return uint32(kind) < k, err
	})
}

// KindRows returns the rows of the kinds numbered [lo, hi): with hi = lo+1, of one kind and ascending.
func (f *Footer) KindRows(lo, hi uint32) (List, error) {
	return f.spanList(secKindTable, 4, lo, hi, secKindRows)
}
