package vfs

import (
	"bytes"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestContentIsLikeASlice compares contents, and copies that share their blocks, with plain slices.
func TestContentIsLikeASlice(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		contents, models := []content{{}}, [][]byte{nil}
		for range 200 {
			i := rng.IntN(len(contents))
			c := &contents[i]
			switch off := rng.Int64N(4 * blockSize); rng.IntN(8) {
			case 0:
				contents, models = append(contents, c.share()), append(models, slices.Clone(models[i]))
			case 1, 2:
				c.truncate(off)
				models[i] = resize(models[i], off)
			default:
				p := make([]byte, rng.IntN(2*blockSize))
				if rng.IntN(4) > 0 {
					for j := range p {
						p[j] = byte(rng.Uint32())
					}
				}
				c.writeAt(p, off)
				if end := off + int64(len(p)); len(p) > 0 && end > int64(len(models[i])) {
					models[i] = resize(models[i], end)
				}
				if len(p) > 0 {
					copy(models[i][off:], p)
				}
			}
		}
		for i := range contents {
			checkContent(t, seed, &contents[i], models[i], rng)
		}
	}
}

func resize(p []byte, size int64) []byte {
	q := make([]byte, size)
	copy(q, p)
	return q
}

func checkContent(t *testing.T, seed uint64, c *content, model []byte, rng *rand.Rand) {
	t.Helper()
	if c.size != int64(len(model)) || !bytes.Equal(c.bytes(), model) {
		t.Errorf("seed %d: content differs from its model", seed)
	}
	off := rng.Int64N(5 * blockSize)
	p := make([]byte, rng.IntN(2*blockSize)+1)
	n, err := c.readAt(p, off)
	want := model[min(off, c.size):min(off+int64(len(p)), c.size)]
	if !bytes.Equal(p[:n], want) || (err == io.EOF) != (n < len(p)) {
		t.Errorf("seed %d: readAt(%d, %d) = %d, %v, want %d", seed, len(p), off, n, err, len(want))
	}
	fresh := contentOf(model)
	for i := range c.blocks {
		if *c.blocks[i].hash() != *fresh.blocks[i].hash() {
			t.Errorf("seed %d: block %d has a stale hash", seed, i)
		}
	}
}

func TestTornAt(t *testing.T) {
	for _, tt := range []struct {
		name        string
		off         int64
		size, limit int
		want        []int
	}{
		{"one byte", 0, 1, 32, []int{0}},
		{"frame", 0, 100, 32, []int{0, 1, 20, 50, 99}},
		{"over a sector", 500, 100, 32, []int{0, 1, 12, 20, 50, 99}},
		{"over a page", 4000, 200, 32, []int{0, 1, 20, 96, 100, 199}},
		{"limited", 0, 1 << 20, 8, []int{0, 1, 20, 4096, 352256, 1 << 19, 700416, 1<<20 - 1}},
		{"limit too low", 0, 1 << 20, 1, []int{0, 1, 20, 1 << 19, 1<<20 - 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tornAt(tt.off, tt.size, tt.limit); !slices.Equal(got, tt.want) {
				t.Errorf("tornAt(%d, %d, %d) = %v, want %v", tt.off, tt.size, tt.limit, got, tt.want)
			}
		})
	}
}

func TestLockHint(t *testing.T) {
	for _, pid := range []int{0, 1, 4194304} {
		hint := lockHint(pid)
		if len(hint) != LockHintSize || readLockHint(bytes.NewReader(hint)) != pid {
			t.Errorf("lockHint(%d) = %q", pid, hint)
		}
	}
	for _, bad := range []string{"", "12", "x\n", "-1\n", "99999999999999999999\n"} {
		if got := readLockHint(bytes.NewReader([]byte(bad))); got != 0 {
			t.Errorf("readLockHint(%q) = %d, want 0", bad, got)
		}
	}
}
