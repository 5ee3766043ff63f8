package coldstart

import (
	"context"
	"fmt"
	"testing"

	"batpak/internal/vfs"
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
