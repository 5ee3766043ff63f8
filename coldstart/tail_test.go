package coldstart

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// The last byte that is not zero is found wherever it is, also where a file is longer than one block, or than one
// goroutine looks through.
func TestLastNonZero(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	file := make([]byte, 3*lookAlone+12345)
	for n := range 400 {
		size := rng.IntN(20_000)
		switch n % 40 {
		case 0:
			size = len(file)
		case 1, 2:
			size = 600 << 10
		}
		b, from, want := file[:size], int64(rng.IntN(size/2+1)), int64(0)
		clear(b)
		want = from
		if size > int(from) && n%3 > 0 {
			want = from + 1 + rng.Int64N(int64(size)-from)
			b[want-1] = 1
			b[from+rng.Int64N(want-from)] = 7
		}
		if from > 0 {
			b[from-1] = 1 // not asked for
		}
		got, err := lastNonZero(bytes.NewReader(b), from, int64(size))
		if err != nil || got != want {
			t.Fatalf("lastNonZero of %d bytes from %d = %d, %v, want %d", size, from, got, err, want)
		}
	}
}
