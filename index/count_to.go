package index

import (
	"fmt"
	"math"
)

// CountTo returns how many events the log holds up to a sequence, visible or not, without reading a frame: of segments
// that lie before it as a whole it needs no more than is in memory. It tells whether events were evicted since.
//
// Errors: as EventByID.
func (v *View) CountTo(seq uint64) (n uint64, err error) {
	for i := range v.e.runs {
		r := &v.e.runs[i]
		first, last, any := r.bounds()
		switch {
		case !any || first > seq:
			continue
		case r.sealed != nil && last <= seq:
			n += r.sealed.sum.Events
			continue
		}
		err := r.read(func(t table) error {
			row, err := t.rowOfSeq(min(seq, math.MaxUint64-1) + 1) // no event has the highest sequence
			n += uint64(row)
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("count: %w", err)
		}
	}
	return n, nil
}
