package index

import (
	"testing"

	"batpak/internal/vfs"
)

// TestWindowTellsStreamsFromLooks has blocks read side by side, in both directions and from run to run, and far apart.
func TestWindowTellsStreamsFromLooks(t *testing.T) {
	dir, err := vfs.OS.OpenDir(t.TempDir(), vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Create("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	m, err := dir.Map("f")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const block = 16 << 10
	for _, tt := range []struct {
		name string
		offs []int64
		want bool
	}{
		{"one block", []int64{0}, false},
		{"three blocks in order", []int64{0, block, 2 * block}, false},
		{"four blocks in order", []int64{0, block, 2 * block, 3 * block}, true},
		{"four blocks from the end", []int64{9 * block, 8 * block, 7 * block, 6 * block}, true},
		{"with what is small between them", []int64{0, block + 4096, 2*block + 5000, 3*block + 9000}, true},
		{"far apart", []int64{0, 20 * block, 5 * block, 40 * block, 10 * block}, false},
		{"a jump on the way", []int64{0, block, 2 * block, 40 * block, 41 * block}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := window{inside: true}
			defer w.release()
			fr := frames{m: m, end: 1 << 20}
			for _, off := range tt.offs {
				if err := w.load(&fr, off, block); err != nil {
					t.Fatalf("load at %d = %v", off, err)
				}
			}
			if got := w.near == streamLeast; got != tt.want {
				t.Errorf("blocks at %d are a stream: %v, want %v", tt.offs, got, tt.want)
			}
			near := w.near
			if w.reset(); w.near != near {
				t.Errorf("the next run begins with %d bytes side by side, want %d", w.near, near)
			}
		})
	}
}
