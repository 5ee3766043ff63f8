package segment

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"testing"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// benchFloor measures the checksum of the same bytes: what no codec can be faster than.
func benchFloor(b *testing.B, name string, same []byte) {
	b.Run(name, func(b *testing.B) {
		b.SetBytes(int64(len(same)))
		for b.Loop() {
			crc32.Checksum(same, castagnoli)
		}
	})
}

func BenchmarkAppendFrame(b *testing.B) {
	s := NewSeal(saltA)
	for _, size := range []int{0, 256, 4096, 65536} {
		body := sampleEvent(1, string(make([]byte, size)))
		b.Run(fmt.Sprintf("append/%d", size), func(b *testing.B) {
			var buf []byte
			b.ReportAllocs()
			b.SetBytes(int64(len(body) + FrameHeaderLen))
			for b.Loop() {
				buf = s.AppendFrame(buf[:0], 160, TypeEvent, FlagGroup, 160, body)
			}
		})
		benchFloor(b, fmt.Sprintf("floor-crc/%d", size), make([]byte, len(body)+FrameHeaderLen))
	}
}

func BenchmarkDecodeFrame(b *testing.B) {
	s := NewSeal(saltA)
	for _, size := range []int{0, 256, 4096, 65536} {
		frame := s.AppendFrame(nil, 160, TypeEvent, FlagGroup, 160, sampleEvent(1, string(make([]byte, size))))
		b.Run(fmt.Sprintf("decode/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frame)))
			for b.Loop() {
				if _, err := s.DecodeFrame(frame, 1, 160); err != nil {
					b.Fatal(err)
				}
			}
		})
		benchFloor(b, fmt.Sprintf("floor-crc/%d", size), frame)
	}
}

func BenchmarkScanner(b *testing.B) {
	for _, size := range []int{256, 4096} {
		s := newSegmentFile()
		for len(s.bytes) < 16<<20 {
			s.add(size, 0)
		}
		b.Run(fmt.Sprintf("scan/%d", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(s.bytes)))
			for b.Loop() {
				sc := s.scanner()
				for sc.Next() {
				}
				if sc.Fault() != nil {
					b.Fatal(sc.Fault())
				}
			}
		})
		// The floor: the same bytes read in the same blocks, and checksummed once.
		b.Run(fmt.Sprintf("floor-read-crc/%d", size), func(b *testing.B) {
			buf := make([]byte, scanBlock)
			b.SetBytes(int64(len(s.bytes)))
			for b.Loop() {
				src := bytes.NewReader(s.bytes)
				for {
					n, err := io.ReadFull(src, buf)
					crc32.Checksum(buf[:n], castagnoli)
					if err != nil {
						break
					}
				}
			}
		})
	}
}
