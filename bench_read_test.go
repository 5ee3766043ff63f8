package batpak_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// The benchmarks of the read path run over one store of sealed events, with a bare pass over the same mapped frames
// beside them.

const readEvents = 1_000_000

// A readStore is an open store of readEvents sealed events, and four big ones that filled the last segment.
type readStore struct {
	*batpak.Store
	dir string
	ids []event.ID
}

func newReadStore(b *testing.B) *readStore {
	b.Helper()
	r := &readStore{dir: filepath.Join(b.TempDir(), "store")}
	r.ids = writeBench(b, r.dir, readEvents, true)
	var err error
	if r.Store, err = batpak.Open(r.dir, nil); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { r.Store.Close() })
	return r
}

// writeBench writes n events of 10,000 streams to a new store and returns their IDs. With full it also fills the active
// segment, so that all of them are sealed.
func writeBench(b *testing.B, dir string, n int, full bool) (ids []event.ID) {
	b.Helper()
	st, err := batpak.Open(dir, &batpak.Options{Sync: batpak.SyncNever})
	if err != nil {
		b.Fatal(err)
	}
	drafts := benchDrafts(10_000)
	for i := 0; i < n; i += 1000 {
		receipts, err := st.AppendBatch(b.Context(), drafts[i%10_000:i%10_000+1000])
		if err != nil {
			b.Fatal(err)
		}
		for _, receipt := range receipts {
			ids = append(ids, receipt.ID)
		}
	}
	if full {
		fillAndClose(b, st)
	} else if err := st.Close(); err != nil {
		b.Fatal(err)
	}
	return ids
}

// mappedFrames maps the segments of the read store and returns the place of every event frame.
func (r *readStore) mappedFrames(b *testing.B) (maps []*vfs.Map, at []framePlace) {
	b.Helper()
	maps = mapFrames(b, r.dir, func(_ *segment.Frame, p framePlace) bool {
		at = append(at, p)
		return len(at) < readEvents
	})
	return maps, at
}

// mapFrames maps the segments of a store, one after the other, and calls fn with their event frames until it returns false.
func mapFrames(b *testing.B, dir string, fn func(*segment.Frame, framePlace) bool) (maps []*vfs.Map) {
	b.Helper()
	d, err := vfs.OS.OpenDir(dir, vfs.DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	for more := true; more; {
		id := uint64(len(maps) + 1)
		m, err := d.Map(segment.Name(id))
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { m.Close() })
		head := make([]byte, segment.MaxHeaderLen)
		m.ReadAt(head, 0)
		h, err := segment.DecodeHeader(head, id)
		if err != nil {
			b.Fatal(err)
		}
		for sc := segment.NewScanner(m, &h, h.Len(), int64(m.Len())); more && sc.Next(); {
			if f := sc.Frame(); f.Type == segment.TypeEvent {
				more = fn(f, framePlace{len(maps), f.Offset, int(f.Len())})
			}
		}
		maps = append(maps, m)
	}
	return maps
}

// scanFloor walks the mapped frames of all events and checksums every body: what a scan cannot do without.
func (r *readStore) scanFloor(b *testing.B) {
	maps, at := r.mappedFrames(b)
	b.ReportAllocs()
	buf := make([]byte, 256<<10)
	var sum uint32
	for b.Loop() {
		for _, m := range maps {
			sum += bareWalk(m, buf)
		}
	}
	runtime.KeepAlive(sum)
	perSecond(b, len(at))
}

// sealAll fills the active segment, so that all before it are sealed, and opens the store anew.
func sealAll(b *testing.B, st *batpak.Store, dir string) *batpak.Store {
	b.Helper()
	fillAndClose(b, st)
	st, err := batpak.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { st.Close() })
	return st
}

// fillAndClose fills the active segment and closes the store, which waits for the seals.
func fillAndClose(b *testing.B, st *batpak.Store) {
	b.Helper()
	big := batpak.Draft{Coordinate: coordinate.MustNew("z", "z"), Kind: event.MustKind(14, 1), Payload: make([]byte, 16<<20)}
	for range 4 {
		if _, err := st.Append(b.Context(), big); err != nil {
			b.Fatal(err)
		}
	}
	if err := st.Close(); err != nil {
		b.Fatal(err)
	}
}

type framePlace struct {
	file   int
	offset int64
	len    int
}

// BenchmarkEventByID reads random events of a warm store by ID. The floor knows where each frame stands: it copies it
// out of the map and checksums it.
func BenchmarkEventByID(b *testing.B) {
	st := newReadStore(b)
	rng := rand.New(rand.NewPCG(1, 2))
	b.Run("floor", func(b *testing.B) {
		maps, at := st.mappedFrames(b)
		b.ReportAllocs()
		var sum uint32
		for b.Loop() {
			p := at[rng.IntN(len(at))]
			buf := make([]byte, p.len)
			maps[p.file].ReadAt(buf, p.offset)
			sum += wire.Sum(0, buf)
		}
		runtime.KeepAlive(sum)
	})
	b.Run("batpak", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := st.Event(b.Context(), st.ids[rng.IntN(readEvents)]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkScan reads all events in commit order. The floor walks the same mapped frames and checksums every body.
func BenchmarkScan(b *testing.B) {
	st := newReadStore(b)
	b.Run("floor", st.scanFloor)
	for _, borrow := range []bool{true, false} {
		b.Run(fmt.Sprintf("batpak/borrow=%v", borrow), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				n := 0
				for ev, err := range st.Read(b.Context(), batpak.Query{Borrow: borrow, Limit: readEvents}) {
					if err != nil {
						b.Fatal(err)
					}
					n += min(len(ev.Payload), 1)
				}
				if n != readEvents {
					b.Fatalf("read %d events, want %d", n, readEvents)
				}
			}
			perSecond(b, readEvents)
		})
	}
}

// bareWalk goes from frame to frame by their lengths, in blocks, and checksums the bodies.
func bareWalk(m *vfs.Map, buf []byte) (sum uint32) {
	var head [12]byte
	m.ReadAt(head[:], 0)
	off := int64(binary.LittleEndian.Uint32(head[8:])) // the header's length
	for {
		n, _ := m.ReadAt(buf, off)
		at := 0
		for at+segment.FrameHeaderLen <= n {
			l := int(binary.LittleEndian.Uint32(buf[at:]))
			if l == 0 || l > 1<<20 {
				return sum // zeroes, the footer, or the big events at the end
			}
			if at+segment.FrameHeaderLen+l > n {
				break
			}
			sum += wire.Sum(0, buf[at+segment.FrameHeaderLen:at+segment.FrameHeaderLen+l])
			at += segment.FrameHeaderLen + l
		}
		if at == 0 {
			return sum
		}
		off += int64(at)
	}
}

// BenchmarkStream reads the 100 events of one entity among all.
func BenchmarkStream(b *testing.B) {
	st := newReadStore(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		at := coordinate.MustNew(fmt.Sprintf("order:%04d", i*7919%10_000), "eu")
		n := 0
		for _, err := range st.Read(b.Context(), batpak.Query{Entity: at.Entity(), Borrow: true}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		if n < readEvents/10_000 {
			b.Fatalf("stream %v has %d events", at, n)
		}
		i++
	}
	perSecond(b, readEvents/10_000)
}
