package index

import (
	"math"
	"testing"
)

// TestCountTo counts events up to every sequence, in sealed segments and in memory, and compares with a scan.
func TestCountTo(t *testing.T) {
	l := mixed(t, memDir(t), 3, everything, 50)
	v := l.set.AcquireAll()
	defer v.Release()
	_, last := v.Bounds()
	if got, err := v.CountTo(math.MaxUint64); got != uint64(len(l.events)) || err != nil {
		t.Errorf("CountTo of everything = %d, %v, want %d", got, err, len(l.events))
	}
	for seq := range last + 3 {
		want := uint64(0)
		for cur := v.Scan(Query{System: true, Before: seq + 1}, true); seq > 0 && cur.Next(); {
			want++
		}
		if got, err := v.CountTo(seq); got != want || err != nil {
			t.Errorf("CountTo(%d) = %d, %v, want %d", seq, got, err, want)
		}
	}
}
