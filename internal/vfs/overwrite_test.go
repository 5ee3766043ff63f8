package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// overwritten is how many bytes of zeroes the tests overwrite: a few windows.
const overwritten = 5<<20 + 1234

// zeroed makes the file "f" with n zeroes behind the byte 'x'.
func zeroed(t testing.TB, d vfs.Dir, n int) vfs.File {
	t.Helper()
	f, err := d.Create("f")
	must(t, err)
	_, err = f.WriteAt(append([]byte{'x'}, make([]byte, n)...), 0)
	must(t, err)
	return f
}

// TestOverwriteAt overwrites zeroes with pieces of all sizes, forwards and sometimes again, beside plain writes.
func TestOverwriteAt(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		f := zeroed(t, d, overwritten-1)
		want := append([]byte{'x'}, make([]byte, overwritten-1)...)
		other, err := d.OpenRead("f")
		must(t, err)
		rng := rand.New(rand.NewPCG(7, 7))
		for off := 1; off < overwritten; {
			n := min(1+rng.IntN(1+rng.IntN(20_000)), overwritten-off)
			p := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, n)
			at, write := off, func(p []byte, off int64) (int, error) { return vfs.OverwriteAt(f, p, off, overwritten) }
			switch rng.IntN(16) {
			case 0:
				write = f.WriteAt
			case 1:
				at = max(1, off-rng.IntN(2<<20)) // back into what was given up
			}
			if got, err := write(p, int64(at)); err != nil || got != n {
				t.Fatalf("%d bytes at %d: %d, %v", n, at, got, err)
			}
			copy(want[at:], p)
			seen := make([]byte, n)
			if _, err := other.ReadAt(seen, int64(at)); err != nil || !bytes.Equal(seen, p) {
				t.Fatalf("another handle does not see %d bytes at %d: %v", n, at, err)
			}
			if at < off {
				continue
			}
			off += n
			if rng.IntN(64) == 0 {
				must(t, f.Sync())
			}
		}
		must(t, f.Close())
		must(t, other.Close())
		if got := readFile(t, d, "f"); got != string(want) {
			t.Errorf("the file of %d bytes is not what was written", len(got))
		}
	})
}

// TestOverwriteAtEdges: what OverwriteAt is not made for is a write like any other.
func TestOverwriteAtEdges(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		const page = 4 << 10
		f := zeroed(t, d, page-1)
		for _, tt := range []struct {
			name         string
			n            int
			off, written int64
		}{
			{"nothing", 0, 10, page},
			{"the first byte", 1, 0, page},
			{"the last byte that is there", 1, page - 1, page},
			{"up to the last byte", page, 0, page},
			{"over the last byte", 10, page - 5, page},
			{"far behind", 10, 3 * page, page},
			{"nothing was written", 10, 5, 0},
			{"a large piece", 3 << 20, 1, 3<<20 + 1},
		} {
			p := bytes.Repeat([]byte("p"), tt.n)
			if n, err := vfs.OverwriteAt(f, p, tt.off, tt.written); n != tt.n || err != nil {
				t.Errorf("%s: %d, %v", tt.name, n, err)
			}
			got := make([]byte, tt.n)
			if n, err := f.ReadAt(got, tt.off); n != tt.n || err != nil || !bytes.Equal(got, p) {
				t.Errorf("%s: read %d, %v", tt.name, n, err)
			}
		}
		if size, err := f.Size(); size != 3<<20+1 || err != nil {
			t.Errorf("Size = %d, %v", size, err)
		}
		_, err := vfs.OverwriteAt(f, []byte("p"), -1, page)
		wantErr(t, "a negative offset", err, fs.ErrInvalid)
		must(t, f.Close())
		_, err = vfs.OverwriteAt(f, []byte("p"), 0, page)
		wantErr(t, "a closed file", err, fs.ErrClosed)
	})
}

// TestOverwriteAtBehindACut: a file that was cut and has grown again holds what was written since, and nothing older.
func TestOverwriteAtBehindACut(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		f := zeroed(t, d, 1<<16)
		for _, piece := range []string{"first", "second", "third"} {
			_, err := vfs.OverwriteAt(f, []byte(piece), 100, 1<<16)
			must(t, err)
			_, err = vfs.OverwriteAt(f, []byte("old"), 1<<15, 1<<16)
			must(t, err)
			must(t, f.Truncate(100))
			_, err = f.WriteAt(make([]byte, 1<<16-100), 100)
			must(t, err)
		}
		_, err := vfs.OverwriteAt(f, []byte("last"), 1, 1<<16)
		must(t, err)
		must(t, f.Close())
		if got, want := readFile(t, d, "f"), "xlast"+string(make([]byte, 1<<16-5)); got != want {
			t.Error("the file holds something that was cut off")
		}
	})
}

// TestOverwriteAtIsAWrite: whoever records or fails calls sees the same as of WriteAt.
func TestOverwriteAtIsAWrite(t *testing.T) {
	type step struct {
		off, n int64
		d      vfs.Decision
	}
	steps := []step{
		{0, 100, vfs.Decision{}}, {100, 100, vfs.FullDisk}, {200, 10, vfs.Decision{Err: syscall.EIO}},
		{300, 5000, vfs.Decision{Err: syscall.EIO, Apply: true}}, {9000, 1, vfs.Decision{}},
	}
	run := func(fsys vfs.FS, path string, write func(f vfs.File, p []byte, off int64) (int, error)) (log []string, content string) {
		var decision vfs.Decision
		inject := vfs.Inject(fsys, func(c vfs.Call) vfs.Decision {
			if c.Kind == vfs.OpWrite && c.Name == "f" {
				log = append(log, fmt.Sprintf("%v %d %d", c.Kind, c.Off, c.Len))
			}
			return decision
		})
		d, err := inject.OpenDir(path, vfs.DirOptions{Create: true})
		must(t, err)
		f := zeroed(t, d, 10_000)
		for i, s := range steps {
			decision = s.d
			n, err := write(f, bytes.Repeat([]byte{byte('a' + i)}, int(s.n)), s.off)
			decision = vfs.Decision{}
			log = append(log, fmt.Sprint(n, errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EIO)))
		}
		must(t, f.Close())
		content = readFile(t, d, "f")
		must(t, d.Close())
		return log, content
	}
	for _, name := range []string{"os", "mem"} {
		t.Run(name, func(t *testing.T) {
			system := systems(t)[name]
			fsys, path := system(t)
			wantLog, want := run(fsys, path, func(f vfs.File, p []byte, off int64) (int, error) { return f.WriteAt(p, off) })
			fsys, path = system(t)
			log, got := run(fsys, path, func(f vfs.File, p []byte, off int64) (int, error) {
				return vfs.OverwriteAt(f, p, off, 10_001)
			})
			if !slices.Equal(log, wantLog) || got != want {
				t.Errorf("calls and outcomes are\n%q, of WriteAt\n%q; same content: %v", log, wantLog, got == want)
			}
		})
	}
	record := func(write func(f vfs.File, p []byte, off int64) (int, error)) []vfs.Op {
		m := vfs.NewMem()
		_, _ = run(m, vfs.MemDir, write)
		return m.Ops()
	}
	plain := record(func(f vfs.File, p []byte, off int64) (int, error) { return f.WriteAt(p, off) })
	over := record(func(f vfs.File, p []byte, off int64) (int, error) { return vfs.OverwriteAt(f, p, off, 10_001) })
	if fmt.Sprint(plain) != fmt.Sprint(over) || len(plain) == 0 {
		t.Errorf("the traces are\n%v\nand of WriteAt\n%v", over, plain)
	}
}

// TestOverwriteAtBesideEverything: whatever else is done with the file, no call of it faults. Run with -race.
func TestOverwriteAtBesideEverything(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		for range 8 {
			const size = 3 << 20
			f := zeroed(t, d, size-1)
			var wg sync.WaitGroup
			for g := range int64(2) {
				wg.Go(func() {
					p := bytes.Repeat([]byte{byte('a' + g)}, 700)
					for off := g; off+700 < size; off += 700 {
						if n, err := vfs.OverwriteAt(f, p, off, size); err != nil && n == 0 {
							wantErr(t, "OverwriteAt", err, fs.ErrClosed)
							return
						}
					}
				})
			}
			wg.Go(func() {
				for _, call := range []func() error{f.Sync, func() error { return f.Truncate(100) }, f.Sync, func() error { return f.Truncate(size) }} {
					if err := call(); err != nil {
						wantErr(t, "a call beside", err, fs.ErrClosed)
					}
				}
			})
			wg.Go(func() { must(t, f.Close()) })
			wg.Wait()
			must(t, d.Remove("f"))
		}
	})
}

// BenchmarkOverwriteAt appends small writes to a growing file: each by a call, each by a call into zeroes that come by
// 64 KiB, and each through the window into such zeroes.
func BenchmarkOverwriteAt(b *testing.B) {
	const step, most = 64 << 10, 64 << 20
	zeroes := make([]byte, step)
	plain := func(f vfs.File, p []byte, off, _ int64) (int, error) { return f.WriteAt(p, off) }
	for _, bb := range []struct {
		name   string
		size   int
		zeroes bool
		write  func(f vfs.File, p []byte, off, written int64) (int, error)
	}{
		{"430/growing", 430, false, plain},
		{"430/WriteAt", 430, true, plain},
		{"430/OverwriteAt", 430, true, vfs.OverwriteAt},
		{"4000/growing", 4000, false, plain},
		{"4000/WriteAt", 4000, true, plain},
		{"4000/OverwriteAt", 4000, true, vfs.OverwriteAt},
		{"17000/growing", 17_000, false, plain},
		{"17000/WriteAt", 17_000, true, plain},
	} {
		b.Run(bb.name, func(b *testing.B) {
			d, err := vfs.OS.OpenDir(b.TempDir(), vfs.DirOptions{})
			must(b, err)
			f, err := d.Create("f")
			must(b, err)
			p, off, filled := make([]byte, bb.size), int64(0), int64(0)
			b.SetBytes(int64(bb.size))
			for b.Loop() {
				if off+int64(bb.size) > most {
					must(b, f.Truncate(0))
					off, filled = 0, 0
				}
				if bb.zeroes && off+int64(bb.size) > filled {
					_, err := f.WriteAt(zeroes, filled)
					must(b, err)
					filled += step
				}
				if _, err := bb.write(f, p, off, filled); err != nil {
					b.Fatal(err)
				}
				off += int64(bb.size)
			}
			must(b, f.Close())
			must(b, d.Close())
		})
	}
}
