package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"batpak/internal/paged"
	"batpak/internal/vfs"
)

// The segments of the catalog benchmarks are small and many: 500 events of 20,000 streams each, a quarter with keys.
var manyShape = testShape{entities: 20_000, scopes: 1, kinds: 2, lanes: 1, payload: 20, sparse: true}

const manyEvents = 500

var many struct {
	mu   sync.Mutex
	logs map[int]*testLog
}

// manySegments returns a log of n sealed segments and an empty active one; it lives as long as the process.
func manySegments(b *testing.B, n int) *testLog {
	b.Helper()
	many.mu.Lock()
	defer many.mu.Unlock()
	if l := many.logs[n]; l != nil {
		return l
	}
	dir, err := vfs.OS.OpenDir(mustTempDir(b), vfs.DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	l := newTestLog(b, dir, uint64(n), manyShape)
	for id := range uint64(n) {
		l.add(manyEvents)
		l.rotate()
		l.seal(id + 1)
		l.frames[id].events = nil
	}
	l.show()
	if many.logs == nil {
		many.logs = make(map[int]*testLog)
	}
	many.logs[n] = l
	return l
}

// tiered makes catalogs over n segments as so many seals leave them, and returns their names.
func tiered(b *testing.B, l *testLog, n int) (names []string) {
	b.Helper()
	first := 1
	for size := 256; size >= 4; size /= 4 {
		for ; n-first+1 >= size; first += size {
			c := l.catalog(0, l.singles(uint64(first), uint64(first+size-1))...)
			names = append(names, c.Name())
			c.Close()
		}
	}
	return names
}

// withCatalogs runs fn over 63 and 639 segments, once without and once with catalogs: 6 and 9, and three segments that
// have none yet.
func withCatalogs(b *testing.B, fn func(b *testing.B, l *testLog)) {
	for _, n := range []int{63, 639} {
		l := manySegments(b, n)
		names := tiered(b, l, n)
		for _, with := range []bool{false, true} {
			var catalogs []*Catalog
			for _, name := range names {
				if c, _ := NewCatalog(l.dir, l.store, name); with {
					catalogs = append(catalogs, c)
				}
			}
			l.set.SetCatalogs(catalogs)
			b.Run(fmt.Sprintf("segments=%d/catalogs=%d", n, len(catalogs)), func(b *testing.B) { fn(b, l) })
		}
		if found := l.set.CatalogFindings(); len(found) > 0 {
			b.Fatal(found)
		}
		l.set.SetCatalogs(nil)
	}
}

// BenchmarkManyHeadNew looks for streams that there are not: what the first append to a new entity does.
func BenchmarkManyHeadNew(b *testing.B) {
	withCatalogs(b, func(b *testing.B, l *testLog) {
		names := make([]string, 1<<12)
		for i := range names {
			names[i] = fmt.Sprintf("newcomer:%d", i)
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			v := l.set.Acquire()
			if _, ok, err := v.Head(names[i&(1<<12-1)], 0); ok || err != nil {
				b.Fatal(ok, err)
			}
			v.Release()
			i++
		}
	})
}

// BenchmarkManyHeadOld looks for streams that there are. With 16 events per stream at 639 segments, the last one is
// mostly in one of the newest 40.
func BenchmarkManyHeadOld(b *testing.B) {
	withCatalogs(b, func(b *testing.B, l *testLog) {
		r := rand.New(rand.NewPCG(1, 1))
		b.ReportAllocs()
		for b.Loop() {
			e := &l.events[r.IntN(len(l.events)/8)]
			v := l.set.Acquire()
			if _, ok, err := v.Head(e.Coordinate.Entity(), e.Lane); !ok || err != nil {
				b.Fatal(ok, err)
			}
			v.Release()
		}
	})
}

// BenchmarkManyFindKeyNew looks for keys that there are not: what every first write under a key does.
func BenchmarkManyFindKeyNew(b *testing.B) {
	withCatalogs(b, func(b *testing.B, l *testLog) {
		r := rand.New(rand.NewPCG(1, 1))
		b.ReportAllocs()
		for b.Loop() {
			var key [16]byte
			binary.LittleEndian.PutUint64(key[:], r.Uint64())
			binary.LittleEndian.PutUint64(key[8:], r.Uint64()|1)
			v := l.set.Acquire()
			if _, ok, err := findKeyOf(v, key, 0, nil); ok || err != nil {
				b.Fatal(ok, err)
			}
			v.Release()
		}
	})
}

// BenchmarkManyFirstTouch is the first Head after an open: every map is cold. One op is an open of all files, not
// counted, and one Head of a new entity.
func BenchmarkManyFirstTouch(b *testing.B) {
	withCatalogs(b, func(b *testing.B, l *testLog) {
		v := l.set.Acquire()
		defer v.Release()
		for b.Loop() {
			b.StopTimer()
			var sealed []*Sealed
			var catalogs []*Catalog
			v.EachSegment(func(_ uint64, s *Sealed) {
				if s != nil {
					sealed = append(sealed, NewSealed(l.dir, s.sum))
				}
			})
			for _, c := range v.Catalogs() {
				again, _ := NewCatalog(l.dir, l.store, c.Name())
				catalogs = append(catalogs, again)
			}
			set := NewSet(sealed, nil)
			set.SetCatalogs(catalogs)
			cold := set.Acquire()
			b.StartTimer()
			if _, ok, err := cold.Head("newcomer", 0); ok || err != nil {
				b.Fatal(ok, err)
			}
			b.StopTimer()
			cold.Release()
			set.Close()
			b.StartTimer()
		}
	})
}

// BenchmarkCatalogMerge makes a catalog of four segments of 100,000 streams each, and of four catalogs over them. The
// floor writes as many bytes with their sums.
func BenchmarkCatalogMerge(b *testing.B) {
	const streams = 100_000
	l := newTestLog(b, memDir(b), 5, testShape{entities: 1 << 30, scopes: 1, kinds: 1, lanes: 1})
	var catalogs []CatalogPart
	for id := range uint64(4) {
		l.add(streams)
		l.rotate()
		l.seal(id + 1)
		catalogs = append(catalogs, CatalogPart{Catalog: l.catalog(0, l.singles(id+1, id+1)...)})
	}
	run := func(name string, fn func() error) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := fn(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)*4*streams/b.Elapsed().Seconds()/1e6, "Mentries/s")
		})
	}
	run("floor=sums", func() error {
		w := paged.NewWriter(nowhere{}, 1)
		for i := range uint64(5 * streams) {
			w.Uint64(i)
		}
		_, _, err := w.Finish()
		return err
	})
	merge := func(parts []CatalogPart) func() error {
		return func() error {
			_, _, err := WriteCatalog(b.Context(), nowhere{}, l.store, testCatalogKey, 0, parts)
			return err
		}
	}
	run("catalogs", merge(catalogs))
	run("footers", merge(l.singles(1, 4)))
}
