package index

import "fmt"

// BytesFrom returns how many bytes of the log's segments lie between the first event of v whose sequence is at least seq
// and the end of the last event, visible or not: no frame is read, only the index of each run.
//
// Errors: as EventByID.
func (v *View) BytesFrom(seq uint64) (n int64, err error) {
	for i := range v.e.runs {
		r := &v.e.runs[i]
		if _, last, ok := r.bounds(); !ok || last < seq {
			continue
		}
		err := r.read(func(t table) error {
			in, err := bytesIn(t, seq)
			n += in
			return err
		})
		if err != nil {
			return 0, fmt.Errorf("bytes behind %d: %w", seq, err)
		}
	}
	return n, nil
}

// bytesIn is [View.BytesFrom] in one run.
func bytesIn(t table, seq uint64) (int64, error) {
	row, err := t.rowOfSeq(seq)
	if err != nil || row >= t.count() {
		return 0, err
	}
	first, err := t.place(row)
	if err != nil {
		return 0, err
	}
	last, err := t.place(t.count() - 1)
	return int64(last.offset) + int64(last.length) - int64(first.offset), err
}
