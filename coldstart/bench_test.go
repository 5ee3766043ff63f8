package coldstart

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"batpak/coordinate"
	"batpak/event"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// grow appends groups of 100 events of 100 bytes each until the active segment holds size bytes.
func (s *testStore) grow(size int64) {
	for s.st.Writer.End() < size {
		s.write(s.group(100, false, 100))
	}
}

// BenchmarkOpen opens a store of one segment, by its frames: what the tail costs.
func BenchmarkOpen(b *testing.B) {
	for _, mib := range []int64{0, 1, 32} {
		b.Run(fmt.Sprintf("tail=%dMiB", mib), func(b *testing.B) {
			cfg := testConfig(vfs.OS)
			cfg.Dir, cfg.SegmentSize = b.TempDir(), 64<<20
			s := openTest(b, cfg)
			s.grow(mib << 20)
			s.close()
			b.SetBytes(max(1, mib<<20))
			b.ReportAllocs()
			for b.Loop() {
				st, err := Open(context.Background(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				if err := st.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpenSealed opens a store of many sealed segments, by their footers.
func BenchmarkOpenSealed(b *testing.B) {
	for _, segments := range []int{10, 1000} {
		b.Run(fmt.Sprintf("segments=%d", segments), func(b *testing.B) {
			cfg := testConfig(vfs.OS)
			cfg.Dir = b.TempDir()
			s := openTest(b, cfg)
			for range segments {
				s.write(s.group(10, false, 100))
				s.sync()
				s.seal(s.rotate())
			}
			s.close()
			for b.Loop() {
				st, err := Open(context.Background(), cfg)
				if err != nil {
					b.Fatal(err)
				}
				if err := st.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSeal writes the footer of a segment of 32 MiB.
func BenchmarkSeal(b *testing.B) {
	cfg := testConfig(vfs.OS)
	cfg.Dir, cfg.SegmentSize = b.TempDir(), 64<<20
	s := openTest(b, cfg)
	s.grow(32 << 20)
	u := s.rotate()
	b.SetBytes(32 << 20)
	for b.Loop() {
		if _, err := buildFooter(context.Background(), s.st.Dir, &u); err != nil {
			b.Fatal(err)
		}
	}
	s.close()
}

// orders appends events as an application writes them, of 10,000 entities and with 300 bytes of JSON, until the active
// segment holds size bytes.
func (s *testStore) orders(size int64) {
	w := s.st.Writer
	streams := make([]index.Head, 10_000)
	var group []byte
	for n := 0; w.End() < size; {
		group = group[:0]
		for range 1000 {
			stream := n * 7919 % len(streams)
			s.seq++
			n++
			s.hlc = s.hlc.Next(s.cfg.Now())
			head := &streams[stream]
			h := event.Header{
				Seq: s.seq, ID: event.NewID(s.hlc, s.seq), HLC: s.hlc, Clock: head.Clock + 1, Kind: event.MustKind(1, 7),
				Coordinate: coordinate.MustNew(fmt.Sprintf("order:%07d", stream), "eu"),
			}
			payload := fmt.Appendf(nil, `{"order":%d,"currency":"EUR","note":"%0*d"}`, s.seq, 256, s.seq)
			content := event.ContentHash(h.Salt, payload)
			body := event.AppendMeta(nil, &h)
			hash := s.linker.Link(&head.Hash, &content, body)
			body = append(append(body, hash[:]...), payload...)
			*head = index.Head{Seq: h.Seq, Clock: h.Clock, ID: h.ID, Hash: hash}
			at := w.End() + int64(len(group))
			group = w.Seal().AppendFrame(group, at, segment.TypeEvent, 0, uint32(w.Durable()), body)
			raw, _ := event.DecodeBody(body)
			if err := s.st.Active.Add(&raw, uint32(at), uint32(segment.FrameHeaderLen+len(body))); err != nil {
				s.t.Fatalf("Add = %v", err)
			}
			s.st.Folder.Take(hash)
		}
		if err := w.Write(group); err != nil {
			s.t.Fatalf("Write = %v", err)
		}
	}
	s.st.Active.Publish()
	s.st.Set.SetVisible(s.seq)
}

// BenchmarkReplay reads a segment of 60 MiB: its frames alone, the floor; the frames, decoded; the tail's index; the same
// with the tree, as of an older segment; and the footer, as a seal builds it.
func BenchmarkReplay(b *testing.B) {
	cfg := testConfig(vfs.OS)
	cfg.Dir, cfg.SegmentSize = b.TempDir(), 64<<20
	s := openTest(b, cfg)
	s.orders(60 << 20)
	u := s.rotate()
	h, end := &u.Header, u.Next.End
	ctx := context.Background()
	f, err := s.st.Dir.OpenRead(segment.Name(h.Segment))
	if err != nil {
		b.Fatal(err)
	}
	replay := func(b *testing.B, until int64) *replay {
		r, err := newReplay(ctx, s.st.Dir, nil, h, end, until, false)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	for _, part := range []struct {
		name string
		do   func(b *testing.B)
	}{
		{"floor", func(b *testing.B) {
			buf, sum := make([]byte, 256<<10), uint32(0)
			for off := int64(0); off < end; off += int64(len(buf)) {
				n, _ := f.ReadAt(buf[:min(int64(len(buf)), end-off)], off)
				sum = wire.Sum(sum, buf[:n])
			}
		}},
		{"frames", func(b *testing.B) {
			for sc := segment.NewScanner(f, h, h.Len(), end); sc.Next(); {
			}
		}},
		{"scan", func(b *testing.B) {
			sc := newScan(f, h, startOf(h), end, end)
			sc.each = func(*event.Raw, uint32, uint32) error { return nil }
			if err := sc.run(ctx); err != nil {
				b.Fatal(err)
			}
		}},
		{"tail", func(b *testing.B) { replay(b, wholeFile).close() }},
		{"older", func(b *testing.B) { r := replay(b, end); r.cut(); r.close() }},
		{"footer", func(b *testing.B) {
			v := u
			v.Tree = nil
			if _, err := buildFooter(ctx, s.st.Dir, &v); err != nil {
				b.Fatal(err)
			}
		}},
	} {
		b.Run(part.name, func(b *testing.B) {
			b.SetBytes(end)
			b.ReportAllocs()
			for b.Loop() {
				part.do(b)
			}
			b.ReportMetric(float64(b.N)*float64(s.seq)/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
	f.Close()
	s.crash()
}

// BenchmarkLastNonZero looks through the zeroes of a segment that has hardly begun.
func BenchmarkLastNonZero(b *testing.B) {
	const size = 60 << 20
	f, err := os.Create(filepath.Join(b.TempDir(), "zeroes"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, size)); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		if last, err := lastNonZero(f, 0, size); last != 0 || err != nil {
			b.Fatalf("lastNonZero = %d, %v", last, err)
		}
	}
}
