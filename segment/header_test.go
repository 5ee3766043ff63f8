package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"reflect"
	"testing"

	"batpak/event"
)

// sampleHeader returns a header with every field set and a range of n hashes.
func sampleHeader(n int) Header {
	h := Header{
		Store: [16]byte{1, 2}, Segment: 42, Salt: saltA, FirstSeq: 1001, Created: 1_700_000_000_000,
		Previous: 41, End: 123_456, LastSeq: 1000, LastHLC: 77, TreeSize: 1<<n - 1, Root: event.Hash{9}, Recovered: true,
	}
	for i := range n {
		h.Range = append(h.Range, event.Hash{byte(i + 1), 31: 0xff})
	}
	return h
}

func TestHeaderRoundTrip(t *testing.T) {
	first := Header{Store: [16]byte{1}, Segment: 1, Salt: saltB, FirstSeq: 1, Root: event.Hash{1}}
	largest := sampleHeader(64)
	largest.TreeSize = 1<<64 - 1
	largest.Segment, largest.Previous = MaxID, MaxID-1
	largest.FirstSeq, largest.LastSeq, largest.LastHLC = 1<<64-1, 1<<64-2, 1<<64-1
	largest.End, largest.Created = 1<<63-1, 1<<63-1
	plainHeader := sampleHeader(3)
	plainHeader.Recovered = false
	early := sampleHeader(1)
	early.Created = -1
	for _, tt := range []struct {
		name string
		h    Header
	}{
		{"first of a store", first}, {"every field", sampleHeader(5)}, {"not recovered", plainHeader},
		{"largest", largest}, {"made before 1970", early},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := AppendHeader([]byte("before"), &tt.h)[len("before"):]
			if int64(len(b)) != tt.h.Len() || len(b) != headerFixedLen+32*bits.OnesCount64(tt.h.TreeSize) {
				t.Errorf("header of %d bytes, Len() = %d", len(b), tt.h.Len())
			}
			got, err := DecodeHeader(append(b, "behind"...), tt.h.Segment)
			if err != nil || !reflect.DeepEqual(got, tt.h) {
				t.Errorf("DecodeHeader = %+v, %v, want %+v", got, err, tt.h)
			}
		})
	}
	if maxLen := largest.Len(); maxLen != MaxHeaderLen {
		t.Errorf("the largest header has %d bytes, MaxHeaderLen is %d", maxLen, MaxHeaderLen)
	}
}

func TestHeaderEveryBitAndCut(t *testing.T) {
	h := sampleHeader(3)
	b := AppendHeader(nil, &h)
	for i := range len(b) * 8 {
		b[i/8] ^= 1 << (i % 8)
		if _, err := DecodeHeader(b, h.Segment); err == nil {
			t.Errorf("bit %d of byte %d is not covered", i%8, i/8)
		}
		b[i/8] ^= 1 << (i % 8)
	}
	for n := range len(b) {
		if _, err := DecodeHeader(b[:n], h.Segment); !errors.Is(err, ErrTorn) {
			t.Errorf("DecodeHeader of %d bytes = %v, want %v", n, err, ErrTorn)
		}
	}
}

func TestDecodeHeaderRefuses(t *testing.T) {
	le := binary.LittleEndian
	for _, tt := range []struct {
		name string
		edit func(b []byte) // before the checksum is made to hold
		want error
	}{
		{"future version", func(b []byte) { le.PutUint16(b[16:], version+1) }, ErrFuture},
		{"last version", func(b []byte) { le.PutUint16(b[16:], 1<<16-1) }, ErrFuture},
		{"version zero", func(b []byte) { le.PutUint16(b[16:], 0) }, ErrCorrupt},
		{"future algorithm", func(b []byte) { b[18] = 2 }, ErrFuture},
		{"future flag", func(b []byte) { b[19] |= 2 }, ErrFuture},
		{"last flag", func(b []byte) { b[19] |= 0x80 }, ErrFuture},
		{"reserved bytes", func(b []byte) { b[20] = 1 }, ErrCorrupt},
		{"reserved bytes behind the count", func(b []byte) { b[156] = 1 }, ErrCorrupt},
		{"segment zero", func(b []byte) { le.PutUint64(b[40:], 0) }, ErrCorrupt},
		{"previous is itself", func(b []byte) { le.PutUint64(b[80:], 42) }, ErrCorrupt},
		{"previous is later", func(b []byte) { le.PutUint64(b[80:], 43) }, ErrCorrupt},
		{"first sequence behind the last", func(b []byte) { le.PutUint64(b[64:], 1000) }, ErrCorrupt},
		{"negative end", func(b []byte) { le.PutUint64(b[88:], 1<<63) }, ErrCorrupt},
		{"range count too small", func(b []byte) { le.PutUint32(b[152:], 2) }, ErrCorrupt},
		{"range count huge", func(b []byte) { le.PutUint32(b[152:], 1<<32-1) }, ErrCorrupt},
		{"range is not that of the tree", func(b []byte) { le.PutUint64(b[112:], 8) }, ErrCorrupt},
		{"tree of nothing with a range", func(b []byte) { le.PutUint64(b[112:], 0) }, ErrCorrupt},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := sampleHeader(3)
			b := AppendHeader(nil, &h)
			tt.edit(b)
			le.PutUint32(b[offHeaderSum:], headerSum(b))
			if _, err := DecodeHeader(b, 42); !errors.Is(err, tt.want) {
				t.Errorf("DecodeHeader = %v, want %v", err, tt.want)
			}
		})
	}
}

func TestDecodeHeaderUnsummed(t *testing.T) {
	h := sampleHeader(3)
	good := AppendHeader(nil, &h)
	edit := func(at int, v ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], v)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		id   uint64
		want error
	}{
		{"nothing", nil, 42, ErrTorn},
		{"zeroes", make([]byte, 4096), 42, ErrCorrupt},
		{"magic", edit(0, 'X'), 42, ErrCorrupt},
		{"length too small", edit(8, 100, 0, 0, 0), 42, ErrCorrupt},
		{"length too large", edit(8, 0xff, 0xff, 0xff, 0xff), 42, ErrCorrupt},
		{"length past the input", edit(8, 0xa0, 1, 0, 0), 42, ErrTorn},
		{"under another name", good, 43, ErrForeign},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := DecodeHeader(tt.b, tt.id)
			var fe *FrameError
			if !errors.As(err, &fe) || !errors.Is(err, tt.want) || fe.Segment != tt.id || fe.Offset != 0 {
				t.Errorf("DecodeHeader = %v, want %v in segment %d", err, tt.want, tt.id)
			}
		})
	}
}

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		id   uint64
		name string
	}{{1, "0000000001.fbat"}, {42, "0000000042.fbat"}, {MaxID, "9999999999.fbat"}} {
		if got := Name(tt.id); got != tt.name {
			t.Errorf("Name(%d) = %q, want %q", tt.id, got, tt.name)
		}
		if id, ok := ParseName(tt.name); !ok || id != tt.id {
			t.Errorf("ParseName(%q) = %d, %v, want %d", tt.name, id, ok, tt.id)
		}
	}
	for _, name := range []string{
		"", ".fbat", "0000000000.fbat", "000000001.fbat", "00000000001.fbat", "0000000001", "0000000001.FBAT",
		"+000000001.fbat", "-000000001.fbat", " 000000001.fbat", "0000000001.fbat ", "0000000001.fbat.tmp", "000000000a.fbat",
		"0x00000001.fbat", "0_00000001.fbat", "../0000000001.fbat", "٠٠٠٠٠.fbat", Name(MaxID + 1),
	} {
		if id, ok := ParseName(name); ok {
			t.Errorf("ParseName(%q) = %d, want refused", name, id)
		}
	}
}
