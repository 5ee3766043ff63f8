package batpak_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// The benchmarks of the append path. Each has its physical floor beside it, in the same run and over the same number of
// bytes: what a bare loop without index, hashes or checksums can do on this disk. Read them as ratios.

const benchPayload = 300

// benchFrame is what one benchmark event takes in a segment: payload, 102 bytes of frame, entity and scope.
const benchFrame = benchPayload + 102 + len("order:0000") + len("eu")

func benchDrafts(n int) []batpak.Draft {
	payload := []byte(`{"order":"0000","note":"` + strings.Repeat("x", benchPayload-26) + `"}`)
	drafts := make([]batpak.Draft, n)
	for i := range drafts {
		drafts[i] = batpak.Draft{
			Coordinate: coordinate.MustNew(fmt.Sprintf("order:%04d", i%10_000), "eu"),
			Kind:       event.MustKind(1, 7),
			Payload:    payload,
		}
	}
	return drafts
}

func benchStore(b *testing.B, o *batpak.Options) *batpak.Store {
	b.Helper()
	st, err := batpak.Open(filepath.Join(b.TempDir(), "store"), o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := st.Close(); err != nil {
			b.Error(err)
		}
	})
	return st
}

// floorFile is a zero-filled, synced file that wraps around: a log that never needs new blocks.
type floorFile struct {
	f   vfs.File
	at  int64
	len int64
}

func newFloorFile(b *testing.B, filled int64) *floorFile {
	b.Helper()
	d, err := vfs.OS.OpenDir(b.TempDir(), vfs.DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	f, err := d.Create("floor")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close(); d.Close() })
	zeroes := make([]byte, 1<<20)
	for off := int64(0); off < filled; off += int64(len(zeroes)) {
		if _, err := f.WriteAt(zeroes, off); err != nil {
			b.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	return &floorFile{f: f, len: filled}
}

func (f *floorFile) write(b *testing.B, p []byte, sync bool) {
	if f.at+int64(len(p)) > f.len && f.len > 0 {
		f.at = 0
	}
	if _, err := f.f.WriteAt(p, f.at); err != nil {
		b.Error(err)
	}
	f.at += int64(len(p))
	if sync {
		if err := f.f.Sync(); err != nil {
			b.Error(err)
		}
	}
}

func perSecond(b *testing.B, events int) {
	b.ReportMetric(float64(events)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkAppendDurable is one goroutine that waits for stable storage after every event.
func BenchmarkAppendDurable(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		f, p := newFloorFile(b, 64<<20), make([]byte, benchFrame)
		b.SetBytes(int64(benchFrame))
		for b.Loop() {
			f.write(b, p, true)
		}
		perSecond(b, 1)
	})
	b.Run("batpak", func(b *testing.B) { benchSerial(b, nil) })
}

// BenchmarkAppendNever is one goroutine that leaves syncing to the operating system.
func BenchmarkAppendNever(b *testing.B) { benchRelaxed(b, batpak.SyncNever) }

// BenchmarkAppendInterval is one goroutine that does not wait for the syncs that come all the time.
func BenchmarkAppendInterval(b *testing.B) { benchRelaxed(b, batpak.SyncInterval) }

func benchRelaxed(b *testing.B, mode batpak.SyncMode) {
	b.Run("floor", func(b *testing.B) {
		f, p := newFloorFile(b, 0), make([]byte, benchFrame)
		b.SetBytes(int64(benchFrame))
		for b.Loop() {
			f.write(b, p, false)
		}
		perSecond(b, 1)
	})
	b.Run("batpak", func(b *testing.B) { benchSerial(b, &batpak.Options{Sync: mode}) })
}

func benchSerial(b *testing.B, o *batpak.Options) {
	st, drafts := benchStore(b, o), benchDrafts(10_000)
	b.SetBytes(int64(benchFrame))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := st.Append(b.Context(), drafts[i%len(drafts)]); err != nil {
			b.Fatal(err)
		}
		i++
	}
	perSecond(b, 1)
}

// BenchmarkAppendDurable64 is 64 goroutines that each wait for stable storage.
func BenchmarkAppendDurable64(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		g := &bareGroup{file: newFloorFile(b, 64<<20)}
		p := make([]byte, benchFrame)
		b.SetBytes(int64(benchFrame))
		b.SetParallelism(32)
		b.RunParallel(func(pb *testing.PB) {
			wake := make(chan bool, 1)
			for pb.Next() {
				g.append(b, p, wake)
			}
		})
		perSecond(b, 1)
	})
	b.Run("batpak", func(b *testing.B) {
		st, drafts := benchStore(b, nil), benchDrafts(10_000)
		b.SetBytes(int64(benchFrame))
		b.ReportAllocs()
		b.SetParallelism(32)
		appendParallel(b, st, drafts)
	})
}

// appendParallel appends the drafts in turn, from as many goroutines as b was told.
func appendParallel(b *testing.B, st *batpak.Store, drafts []batpak.Draft) {
	b.Helper()
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := st.Append(b.Context(), drafts[int(next.Add(1))%len(drafts)]); err != nil {
				b.Error(err)
				return
			}
		}
	})
	perSecond(b, 1)
}

// A bareGroup is group commit and nothing else: whoever comes first writes and syncs for everyone who has come.
type bareGroup struct {
	file *floorFile

	mu      sync.Mutex
	led     bool
	buf     []byte
	waiting []chan bool
}

func (g *bareGroup) append(b *testing.B, p []byte, wake chan bool) {
	g.mu.Lock()
	g.buf = append(g.buf, p...)
	if g.led {
		g.waiting = append(g.waiting, wake)
		g.mu.Unlock()
		if !<-wake {
			return
		}
		g.mu.Lock()
	}
	g.led = true
	buf, group := g.buf, g.waiting
	g.buf, g.waiting = nil, nil
	g.mu.Unlock()
	g.file.write(b, buf, true)
	g.mu.Lock()
	if len(g.waiting) > 0 {
		next := g.waiting[0]
		g.waiting = g.waiting[1:]
		next <- true
	} else {
		g.led = false
	}
	g.mu.Unlock()
	for _, w := range group {
		if w != wake {
			w <- false
		}
	}
}

// BenchmarkAppendBatch is one goroutine that appends batches.
func BenchmarkAppendBatch(b *testing.B) {
	for _, bb := range []struct {
		name string
		size int
		sync batpak.SyncMode
	}{
		{"durable/100", 100, batpak.SyncAlways},
		{"never/10", 10, batpak.SyncNever},
		{"never/1000", 1000, batpak.SyncNever},
	} {
		b.Run(bb.name+"/floor", func(b *testing.B) {
			filled := int64(0)
			if bb.sync == batpak.SyncAlways {
				filled = 64 << 20
			}
			f, p := newFloorFile(b, filled), make([]byte, bb.size*benchFrame)
			b.SetBytes(int64(bb.size * benchFrame))
			for b.Loop() {
				f.write(b, p, bb.sync == batpak.SyncAlways)
			}
			perSecond(b, bb.size)
		})
		b.Run(bb.name+"/batpak", func(b *testing.B) {
			st, drafts := benchStore(b, &batpak.Options{Sync: bb.sync}), benchDrafts(10_000)
			b.SetBytes(int64(bb.size * benchFrame))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := st.AppendBatch(b.Context(), drafts[i:i+bb.size]); err != nil {
					b.Fatal(err)
				}
				i = (i + bb.size) % len(drafts)
			}
			perSecond(b, bb.size)
		})
	}
}
