package segment

import (
	"errors"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// A loose writer brings the zeroes for small groups itself, up to the segment's end; large groups let the file grow.
func TestLooseWriterBringsZeroes(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		const size = 2*fillWrite + 5000
		w := mustWriter(t, dir, size, 0)
		w.Loosen()
		h := *w.Header()
		fileSize := func() int64 { return int64(len(contents(t, dir, h.Segment))) }
		if err := w.Write(frameFor(w, make([]byte, looseMost))); err != nil {
			t.Fatal(err)
		}
		if n := fileSize(); n != w.End() {
			t.Errorf("behind a large group the file ends at %d, want %d", n, w.End())
		}
		want := 1
		for ; w.Room() > 1000; want++ {
			ready := w.filled.Load()
			body := make([]byte, 500)
			body[0] = 1
			if err := w.Write(frameFor(w, body)); err != nil {
				t.Fatal(err)
			}
			if ready < w.End() {
				ready = min(w.End()/fillWrite*fillWrite+fillWrite, size)
			}
			if n := fileSize(); n != ready {
				t.Fatalf("behind group %d, which ends at %d, the file ends at %d, want %d", want, w.End(), n, ready)
			}
		}
		if frames, end := mustScan(t, &h, contents(t, dir, h.Segment)); frames != want || end != w.End() {
			t.Errorf("file holds %d frames up to %d, want %d up to %d", frames, end, want, w.End())
		}
		if err := errors.Join(w.Sync(), w.Trim()); err != nil {
			t.Fatal(err)
		}
		if n := fileSize(); n != w.End() {
			t.Errorf("trimmed, the file ends at %d, want %d", n, w.End())
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Zeroes that a loose writer cannot write cost speed and nothing else, and are tried once.
func TestLooseZeroesThatFail(t *testing.T) {
	for _, tt := range []struct {
		name string
		d    vfs.Decision
	}{
		{"full", vfs.FullDisk},
		{"refused", vfs.Decision{Err: syscall.EIO}},
		{"written and reported failed", vfs.Decision{Err: syscall.EIO, Apply: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fills := 0
			dir, _ := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
				if c.Kind == vfs.OpWrite && c.Len > 8<<10 {
					fills++
					return tt.d
				}
				return vfs.Decision{}
			})
			w := mustWriter(t, dir, 4<<20, 0)
			w.Loosen()
			h := *w.Header()
			for range 300 {
				if err := w.Write(frameFor(w, make([]byte, 1000))); err != nil {
					t.Fatal(err)
				}
			}
			if fills != 1 {
				t.Errorf("zeroes were written %d times, want 1", fills)
			}
			if err := errors.Join(w.Sync(), w.Trim(), w.Close()); err != nil {
				t.Fatal(err)
			}
			if frames, _ := mustScan(t, &h, contents(t, dir, h.Segment)); frames != 300 {
				t.Errorf("file holds %d frames, want 300", frames)
			}
		})
	}
}
