package event

import (
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"testing"
)

var payloadSizes = []int{0, 256, 4096}

func BenchmarkDecodeBody(b *testing.B) {
	for _, size := range payloadSizes {
		h := plain()
		benchDecode(b, fmt.Sprintf("plain/%d", size), encode(&h, make([]byte, size)))
	}
	h := full()
	benchDecode(b, "full/256", encode(&h, make([]byte, 256)))
}

func benchDecode(b *testing.B, name string, body []byte) {
	b.Run(name, func(b *testing.B) {
		var r Raw
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			if err := r.Decode(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	// The floor: the checksum that every reader of a body has to take anyway.
	b.Run(name+"/floor-crc", func(b *testing.B) {
		table := crc32.MakeTable(crc32.Castagnoli)
		b.SetBytes(int64(len(body)))
		for b.Loop() {
			crc32.Checksum(body, table)
		}
	})
}

func BenchmarkAppendMeta(b *testing.B) {
	h := plain()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendMeta(buf[:0], &h)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkLink(b *testing.B) {
	h := plain()
	meta := AppendMeta(nil, &h)
	var l Linker
	var parent Hash
	content := ContentHash(h.Salt, nil)
	b.Run("link", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(linkHeadLen + len(meta)))
		for b.Loop() {
			parent = l.Link(&parent, &content, meta)
		}
	})
	b.Run("floor-sha256", func(b *testing.B) {
		same := make([]byte, linkHeadLen+len(meta))
		b.SetBytes(int64(len(same)))
		for b.Loop() {
			sha256.Sum256(same)
		}
	})
}
