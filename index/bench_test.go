package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// Benchmarks run over one million sealed events of about 230 bytes in five segments, and as many in memory as one
// segment holds.
const (
	benchEvents  = 1_000_000
	benchSegment = 200_000
)

var benchShape = testShape{entities: 20_000, scopes: 8, kinds: 6, lanes: 1, payload: 200}

var bench struct {
	once sync.Once
	log  *testLog
}

// benchLog returns a log whose events are all sealed; it lives as long as the process.
func benchLog(b *testing.B) *testLog {
	b.Helper()
	bench.once.Do(func() {
		dir, err := vfs.OS.OpenDir(mustTempDir(b), vfs.DirOptions{})
		if err != nil {
			b.Fatal(err)
		}
		l := newTestLog(b, dir, 1, benchShape)
		for id := range uint64(benchEvents / benchSegment) {
			l.add(benchSegment)
			l.rotate()
			l.seal(id + 1)
			l.frames[id].events = nil
		}
		l.show()
		bench.log = l
	})
	return bench.log
}

func BenchmarkEventByID(b *testing.B) {
	l := benchLog(b)
	r := rand.New(rand.NewPCG(1, 1))
	ids := make([]event.ID, 1<<16)
	for i := range ids {
		ids[i] = l.events[r.IntN(len(l.events))].ID
	}
	for _, id := range ids { // warm: pages of the map, page sums
		v := l.set.Acquire()
		if _, ok, err := v.EventByID(id); !ok || err != nil {
			b.Fatal(ok, err)
		}
		v.Release()
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		v := l.set.Acquire()
		if _, ok, err := v.EventByID(ids[i&(1<<16-1)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
		v.Release()
		i++
	}
}

func BenchmarkEventBySeq(b *testing.B) {
	l := benchLog(b)
	r := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		v := l.set.Acquire()
		if _, ok, err := v.EventBySeq(l.events[r.IntN(len(l.events))].Seq); !ok || err != nil {
			b.Fatal(ok, err)
		}
		v.Release()
	}
}

// BenchmarkScan reads everything. The floors are one pass over the same frames in the maps, in the same blocks:
// "copy" touches the bytes only, "decode" checks every frame as well.
func BenchmarkScan(b *testing.B) {
	l := benchLog(b)
	size := int64(0)
	for i := range l.frames {
		size += l.frames[i].end
	}
	buf := make([]byte, windowMost)
	pass := func(b *testing.B, fn func(s *Sealed)) {
		b.SetBytes(size)
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range l.set.current.Load().sealed {
				fn(s)
			}
		}
		b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds()/1e6, "Mevents/s")
	}
	b.Run("floor=copy", func(b *testing.B) {
		pass(b, func(s *Sealed) {
			mp, _ := s.open()
			for off := int64(0); off < s.sum.End; off += windowMost {
				mp.m.ReadAt(buf[:min(windowMost, s.sum.End-off)], off)
			}
		})
	})
	b.Run("floor=decode", func(b *testing.B) {
		pass(b, func(s *Sealed) {
			mp, _ := s.open()
			sc := segment.NewScanner(mp.m, &l.frames[s.sum.Segment-1].header, l.frames[s.sum.Segment-1].header.Len(), s.sum.End)
			for sc.Next() {
			}
		})
	})
	b.Run("floor=walk", func(b *testing.B) {
		pass(b, func(s *Sealed) {
			mp, _ := s.open()
			walkFrames(mp.m, l.frames[s.sum.Segment-1].header.Len(), s.sum.End, buf)
		})
	})
	for _, borrow := range []bool{true, false} {
		b.Run(fmt.Sprintf("borrow=%v", borrow), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				v := l.set.Acquire()
				c, n := v.Scan(Query{}, borrow), 0
				for c.Next() {
					n++
				}
				if c.Err() != nil || n != benchEvents {
					b.Fatal(n, c.Err())
				}
				c.Close()
				v.Release()
			}
			b.ReportMetric(float64(b.N)*benchEvents/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}

// walkFrames goes from frame to frame by their lengths, in blocks, and checksums the bodies: the least that a reader
// who believes nothing can do.
func walkFrames(m *vfs.Map, off, end int64, buf []byte) (sum uint32) {
	for off < end {
		b := buf[:min(int64(len(buf)), end-off)]
		m.ReadAt(b, off)
		at := 0
		for at+segment.FrameHeaderLen <= len(b) {
			n := segment.FrameHeaderLen + int(binary.LittleEndian.Uint32(b[at:]))
			if at+n > len(b) {
				break
			}
			sum += wire.Sum(0, b[at+segment.FrameHeaderLen:at+n])
			at += n
		}
		off += int64(at)
	}
	return sum
}

// BenchmarkPage reads pages of 100 events from a random place.
func BenchmarkPage(b *testing.B) {
	l := benchLog(b)
	r := rand.New(rand.NewPCG(1, 1))
	kinds := []event.Kind{l.events[0].Kind, l.events[1].Kind}
	lane := uint32(0)
	for _, c := range []struct {
		name string
		q    func() Query
	}{
		{"all", func() Query { return Query{} }},
		{"reverse", func() Query { return Query{Reverse: true} }},
		{"entity", func() Query { return Query{Entity: testEntity(r.IntN(benchShape.entities))} }},
		{"entity reverse", func() Query {
			return Query{Entity: testEntity(r.IntN(benchShape.entities)), Reverse: true, Lane: &lane}
		}},
		{"prefix narrow", func() Query { return Query{EntityPrefix: testEntity(r.IntN(benchShape.entities / 10))} }},
		{"prefix wide", func() Query { return Query{EntityPrefix: "o:1"} }},
		{"scope", func() Query { return Query{Scope: "scope-3"} }},
		{"kinds reverse", func() Query { return Query{Kinds: kinds, Reverse: true} }},
		{"scope and kinds", func() Query { return Query{Scope: "scope-3", Kinds: kinds} }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			events := 0
			for b.Loop() {
				v, q := l.set.Acquire(), c.q()
				at := l.events[r.IntN(len(l.events))].Seq
				if q.Reverse {
					q.Before = at
				} else {
					q.After = at
				}
				cur := v.Scan(q, true)
				for n := 0; n < 100 && cur.Next(); n++ {
					events++
				}
				if cur.Err() != nil {
					b.Fatal(cur.Err())
				}
				cur.Close()
				v.Release()
			}
			b.ReportMetric(float64(events)/float64(b.N), "events/page")
		})
	}
}

// BenchmarkActiveAdd adds events of known entities, one segment's worth after the other; one op is one event. The events
// are stamped as a committer stamps them: they are in the cache when they are added.
func BenchmarkActiveAdd(b *testing.B) {
	l := newTestLog(b, memDir(b), 1, benchShape)
	l.add(1 << 10)
	raws := make([]event.Raw, 1<<10)
	for i, p := range l.frames[0].events {
		raws[i], _ = event.DecodeBody(p.body)
	}
	b.ReportAllocs()
	a, n := NewActive(&l.header, l.file), uint64(0)
	for b.Loop() {
		r := &raws[n%(1<<10)]
		if n++; n%benchSegment == 0 {
			a = NewActive(&l.header, l.file)
		}
		r.Seq, r.HLC, r.Clock = n, event.HLC(n), n
		r.ID = event.NewID(r.HLC, n*0x9e3779b97f4a7c15)
		if err := a.Add(r, uint32(n), 100); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkHead(b *testing.B) {
	l := benchLog(b)
	r := rand.New(rand.NewPCG(1, 1))
	b.ReportAllocs()
	for b.Loop() {
		v := l.set.Acquire()
		if _, ok, err := v.Head(testEntity(r.IntN(benchShape.entities)), 0); !ok || err != nil {
			b.Fatal(ok, err)
		}
		v.Release()
	}
}

func BenchmarkHeadOfNewEntity(b *testing.B) {
	l := benchLog(b)
	b.ReportAllocs()
	for b.Loop() {
		v := l.set.Acquire()
		if _, ok, err := v.Head("nobody", 0); ok || err != nil {
			b.Fatal(ok, err)
		}
		v.Release()
	}
}
