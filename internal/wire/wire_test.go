package wire

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func TestSumIsCastagnoli(t *testing.T) {
	// The check value of CRC-32C (RFC 3720 appendix B.4 gives the polynomial, "123456789" is its usual probe).
	if got, want := Sum(0, []byte("123456789")), uint32(0xe3069283); got != want {
		t.Errorf("Sum(0, 123456789) = %#x, want %#x", got, want)
	}
	// 32 zero bytes, RFC 3720 appendix B.4.
	if got, want := Sum(0, make([]byte, 32)), uint32(0x8a9136aa); got != want {
		t.Errorf("Sum(0, zeroes) = %#x, want %#x", got, want)
	}
	whole := Sum(0, []byte("123456789"))
	if got := Sum(Sum(0, []byte("1234")), []byte("56789")); got != whole {
		t.Errorf("Sum in two steps = %#x, want %#x", got, whole)
	}
}

func TestSumUint64(t *testing.T) {
	for _, seed := range []uint32{0, 1, 0xe3069283, 1<<32 - 1} {
		for _, v := range []uint64{0, 1, 0xff, 0x0102030405060708, 1<<64 - 1} {
			want := Sum(seed, binary.LittleEndian.AppendUint64(nil, v))
			if got := SumUint64(seed, v); got != want {
				t.Errorf("SumUint64(%#x, %#x) = %#x, want %#x", seed, v, got, want)
			}
		}
	}
	if n := testing.AllocsPerRun(100, func() { SumUint64(1, 2) }); n != 0 {
		t.Errorf("SumUint64 allocates %v times, want 0", n)
	}
}

func TestReader(t *testing.T) {
	b := []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}
	r := Reader{B: b}
	var two [2]byte
	if got := r.Uint8(); got != 1 {
		t.Errorf("Uint8 = %d, want 1", got)
	}
	if got := r.Uint16(); got != 0x0302 {
		t.Errorf("Uint16 = %#x, want 0x0302", got)
	}
	if got := r.Uint32(); got != 0x07060504 {
		t.Errorf("Uint32 = %#x, want 0x07060504", got)
	}
	if got := r.Uint64(); got != 0x0f0e0d0c0b0a0908 {
		t.Errorf("Uint64 = %#x, want 0x0f0e0d0c0b0a0908", got)
	}
	if r.Copy(two[:]); two != [2]byte{16, 17} {
		t.Errorf("Copy = %v, want 16 17", two)
	}
	if got := r.Bytes(2); !bytes.Equal(got, []byte{18, 19}) || cap(got) != 2 {
		t.Errorf("Bytes = %v, cap %d, want 18 19, cap 2", got, cap(got))
	}
	if !r.Done() {
		t.Error("Done = false at the end")
	}
}

func TestReaderShort(t *testing.T) {
	for _, tt := range []struct {
		name string
		take func(*Reader) bool // reports whether the field came out zero
	}{
		{"uint8", func(r *Reader) bool { r.Bytes(7); return r.Uint8() == 0 }},
		{"uint16", func(r *Reader) bool { r.Bytes(6); return r.Uint16() == 0 }},
		{"uint32", func(r *Reader) bool { r.Bytes(4); return r.Uint32() == 0 }},
		{"uint64", func(r *Reader) bool { return r.Uint64() == 0 }},
		{"bytes", func(r *Reader) bool { return r.Bytes(8) == nil }},
		{"negative", func(r *Reader) bool { return r.Bytes(-1) == nil }},
		{"huge", func(r *Reader) bool { return r.Bytes(1<<31-1) == nil }},
		{"copy", func(r *Reader) bool { var d [8]byte; r.Copy(d[:]); return d == [8]byte{} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := Reader{B: []byte{1, 2, 3, 4, 5, 6, 7}}
			if !tt.take(&r) || !r.Short || r.Done() {
				t.Errorf("cut off field: %+v, want zero and Short", r)
			}
			if r.Uint8() != 0 || !r.Short {
				t.Error("a field behind a cut off one is not zero")
			}
		})
	}
}

func TestDoneWithRest(t *testing.T) {
	r := Reader{B: []byte{1, 2}}
	if r.Uint8(); r.Done() {
		t.Error("Done = true with a byte left")
	}
}
