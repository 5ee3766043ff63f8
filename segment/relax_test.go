package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// relaxedSystems are the file systems on which a relaxed writer is tried: with windows and without, and with calls that fail.
var relaxedSystems = []struct {
	name string
	open func(t *testing.T) (vfs.FS, string)
}{
	{"OS", func(t *testing.T) (vfs.FS, string) { return vfs.OS, t.TempDir() }},
	{"Mem", func(*testing.T) (vfs.FS, string) { return vfs.NewMem(), vfs.MemDir }},
}

// relaxedWriters are the ways in which a relaxed writer comes by zeroes.
var relaxedWriters = []struct {
	name  string
	ahead int64
	fill  bool // by Fill, beside the writer
	loose bool // by itself
}{
	{"loose", 0, false, true},
	{"filled", 1 << 20, true, false},
	{"without zeroes", 0, false, false},
}

// TestRelaxedWriter writes groups of all sizes, some of which fail, with syncs and fills beside, and goes on in between as after
// the death of a process. What other handles see is what was written, at any time.
func TestRelaxedWriter(t *testing.T) {
	for _, fsys := range relaxedSystems {
		for _, kind := range relaxedWriters {
			t.Run(fsys.name+"/"+kind.name, func(t *testing.T) {
				inner, path := fsys.open(t)
				r := &relaxing{t: t, rng: rand.New(rand.NewPCG(3, 1)), loose: kind.loose, fill: kind.fill}
				dir, err := vfs.Inject(inner, r.decide).OpenDir(path, vfs.DirOptions{Create: true})
				if err != nil {
					t.Fatal(err)
				}
				const size = 6 << 20
				w := mustWriter(t, dir, size, kind.ahead)
				r.dir, r.h = dir, *w.Header()
				r.want = contents(t, dir, r.h.Segment)[:w.End()]
				for r.take(w); r.w.Room() > 1<<18; {
					r.step()
					if r.rng.IntN(400) == 0 {
						r.again(size, kind.ahead)
					}
				}
				r.end()
				if err := dir.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// A relaxing is a relaxed writer and what its file must hold.
type relaxing struct {
	t           *testing.T
	dir         vfs.Dir
	rng         *rand.Rand
	h           Header
	loose, fill bool

	w       *Writer
	want    []byte
	filling sync.WaitGroup

	mu   sync.Mutex
	bad  vfs.Decision // of the write of so many bytes at off
	off  int64
	size int
}

func (r *relaxing) decide(c vfs.Call) vfs.Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c.Kind == vfs.OpWrite && c.Off == r.off && c.Len == r.size {
		return r.bad
	}
	return vfs.Decision{}
}

// fail makes the next write of size bytes at the end come to d.
func (r *relaxing) fail(size int, d vfs.Decision) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.off, r.size, r.bad = r.w.End(), size, d
}

func (r *relaxing) check(what string, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatalf("%s = %v", what, err)
	}
}

// take goes on with w.
func (r *relaxing) take(w *Writer) {
	r.w = w
	w.Relax()
	if r.loose {
		w.Loosen()
	}
}

// step writes one group, and now and then does something else.
func (r *relaxing) step() {
	n := 1 + r.rng.IntN(1000)
	if r.rng.IntN(30) == 0 {
		n = 1 + r.rng.IntN(64_000)
	}
	group := frameFor(r.w, bytes.Repeat([]byte{byte(1 + r.rng.IntN(255))}, n))
	if r.rng.IntN(50) == 0 {
		d := []vfs.Decision{vfs.FullDisk, {Err: syscall.EIO}, {Err: syscall.EIO, Apply: true}}[r.rng.IntN(3)]
		r.fail(len(group), d)
		err := r.w.Write(group)
		r.fail(0, vfs.Decision{})
		if !errors.Is(err, d.Err) || r.w.Err() != nil || r.w.End() != int64(len(r.want)) {
			r.t.Fatalf("a write that fails = %v, poison %v, end %d, want %d", err, r.w.Err(), r.w.End(), len(r.want))
		}
		return
	}
	r.check("Write", r.w.Write(group))
	r.want = append(r.want, group...)
	switch r.rng.IntN(200) {
	case 0:
		r.check("Sync", r.w.Sync())
	case 1:
		if r.fill {
			r.filling.Wait()
			r.filling.Go(func() {
				if err := r.w.Fill(); err != nil {
					r.t.Errorf("Fill = %v", err)
				}
			})
		}
	case 2:
		r.look()
	}
}

// look compares the file with what was written, through another handle.
func (r *relaxing) look() {
	r.t.Helper()
	got := contents(r.t, r.dir, r.h.Segment)
	if len(got) < len(r.want) || !bytes.Equal(got[:len(r.want)], r.want) {
		r.t.Fatalf("the file of %d bytes is not what was written, %d bytes", len(got), len(r.want))
	}
}

// again closes the writer without a sync, as the death of the process does, and goes on with another.
func (r *relaxing) again(size, ahead int64) {
	r.filling.Wait()
	r.check("Close", r.w.Close())
	w, err := Resume(r.dir, &r.h, int64(len(r.want)), size, ahead)
	r.check("Resume", err)
	r.take(w)
}

// end closes the segment.
func (r *relaxing) end() {
	r.filling.Wait()
	r.look()
	r.check("Sync", r.w.Sync())
	r.check("Trim", r.w.Trim())
	r.check("Close", r.w.Close())
	if got := contents(r.t, r.dir, r.h.Segment); !bytes.Equal(got, r.want) {
		r.t.Errorf("at the end the file of %d bytes is not what was written, %d bytes", len(got), len(r.want))
	}
}

// TestSyncsAreFollowedByCalls: the pages that a sync has been at, the writer's own or that of zeroes, are written by calls;
// so is what was there before the writer.
func TestSyncsAreFollowedByCalls(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		w := mustWriter(t, dir, 1<<20, 256<<10)
		w.Relax()
		h := *w.Header()
		if got := w.byCall.Load(); got != 0 {
			t.Errorf("a new writer calls up to %d", got)
		}
		if err := w.Write(frameFor(w, []byte("one"))); err != nil {
			t.Fatal(err)
		}
		if err := w.Fill(); err != nil {
			t.Fatal(err)
		}
		if got, want := w.byCall.Load(), w.End()+vfs.WindowStep; got != want {
			t.Errorf("behind a fill, calls up to %d, want %d", got, want)
		}
		if err := w.Write(frameFor(w, []byte("two"))); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		if got, want := w.byCall.Load(), w.End()+vfs.WindowStep; got != want {
			t.Errorf("behind a sync, calls up to %d, want %d", got, want)
		}
		end, length := w.End(), int64(len(contents(t, dir, h.Segment)))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		w, err := Resume(dir, &h, end, 1<<20, 256<<10)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		if got := w.byCall.Load(); got != length || length <= end {
			t.Errorf("a writer that goes on calls up to %d, want the end of the file, %d", got, length)
		}
	})
}
