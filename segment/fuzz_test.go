package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"
)

// mustTyped requires the error to be a *FrameError with one of the package's conditions.
func mustTyped(t *testing.T, err error) {
	t.Helper()
	var fe *FrameError
	if !errors.As(err, &fe) {
		t.Fatalf("%v is not a *FrameError", err)
	}
	switch fe.Err {
	case ErrTorn, ErrCorrupt, ErrFuture, ErrForeign:
	default:
		t.Fatalf("%v has no condition", err)
	}
}

// FuzzDecodeHeader gives bytes as they are, and once more with a checksum that holds, so that the fields are reached.
func FuzzDecodeHeader(f *testing.F) {
	for _, n := range []int{0, 1, 3, 64} {
		h := sampleHeader(n)
		f.Add(AppendHeader(nil, &h), uint64(42))
	}
	f.Add([]byte(headerMagic), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, name uint64) {
		check := func(b []byte) {
			h, err := DecodeHeader(b, name)
			if err != nil {
				mustTyped(t, err)
				return
			}
			again := AppendHeader(nil, &h)
			if !bytes.Equal(again, b[:len(again)]) {
				t.Fatalf("AppendHeader = %x, want %x", again, b[:len(again)])
			}
		}
		check(b)
		if len(b) < headerFixedLen {
			return
		}
		b = bytes.Clone(b)
		copy(b, headerMagic)
		if n := binary.LittleEndian.Uint32(b[offHeaderLen:]); n >= headerFixedLen && uint64(n) <= uint64(len(b)) {
			binary.LittleEndian.PutUint32(b[offHeaderSum:], headerSum(b[:n]))
			check(b)
		}
	})
}

// FuzzDecodeFrame gives bytes as they are, and once more with a header sum that holds.
func FuzzDecodeFrame(f *testing.F) {
	s := NewSeal(saltA)
	f.Add(s.AppendFrame(nil, 160, TypeEvent, FlagGroup, 160, sampleEvent(1, "x")), int64(160))
	f.Add(s.AppendMark(nil, 4096, 4000), int64(4096))
	f.Add(make([]byte, 64), int64(0))
	f.Fuzz(func(t *testing.T, b []byte, offset int64) {
		check := func(b []byte) {
			frame, err := s.DecodeFrame(b, 1, offset)
			n, lenErr := s.FrameLen(b, 1, offset)
			if err != nil {
				mustTyped(t, err)
				return
			}
			if lenErr != nil || n != frame.Len() {
				t.Fatalf("FrameLen = %d, %v, want %d", n, lenErr, frame.Len())
			}
			again := s.AppendFrame(nil, offset, frame.Type, frame.Flags, frame.Through, frame.Body)
			if !bytes.Equal(again, b[:len(again)]) {
				t.Fatalf("AppendFrame = %x, want %x", again, b[:len(again)])
			}
		}
		check(b)
		if len(b) < FrameHeaderLen {
			return
		}
		b = bytes.Clone(b)
		sum := s.headerSum(b, offset)
		binary.LittleEndian.PutUint32(b[offHeadSum:], sum)
		check(b)
	})
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(AppendBatch(nil, &Batch{Count: 2, Length: 100, First: 7}))
	f.Add(make([]byte, batchLen))
	f.Fuzz(func(t *testing.T, body []byte) {
		if b, ok := DecodeBatch(body); ok && !bytes.Equal(AppendBatch(nil, &b), body) {
			t.Fatalf("AppendBatch(%+v) is not %x", b, body)
		}
	})
}

func FuzzDecodeFence(f *testing.F) {
	f.Add(AppendFence(nil, &Fence{Op: FenceBegin, Fence: 1, Seq: 2, Deadline: 3}))
	f.Add(AppendFence(nil, &Fence{Op: FenceCancel, Fence: 1, Seq: 2}))
	f.Add(make([]byte, fenceLen))
	f.Fuzz(func(t *testing.T, body []byte) {
		if fence, ok := DecodeFence(body); ok && !bytes.Equal(AppendFence(nil, &fence), body) {
			t.Fatalf("AppendFence(%+v) is not %x", fence, body)
		}
	})
}

func FuzzParseName(f *testing.F) {
	f.Add("0000000001.fbat")
	f.Add("9999999999.fbat")
	f.Add("+000000001.fbat")
	f.Fuzz(func(t *testing.T, name string) {
		if id, ok := ParseName(name); ok && (id == 0 || id > MaxID || Name(id) != name) {
			t.Fatalf("ParseName(%q) = %d: two spellings", name, id)
		}
	})
}

// FuzzScanner scans any bytes as a segment: it ends, its frames lie in order and decode again, and what it allocates
// is bounded by the input.
func FuzzScanner(f *testing.F) {
	s := newSegmentFile()
	s.add(30, 0)
	s.bytes = append(s.bytes, sampleBatch(s.seal, int64(len(s.bytes)))...)
	f.Add(s.bytes[s.header.Len():], uint16(0))
	f.Add(append(bytes.Clone(s.bytes[s.header.Len():]), make([]byte, 100)...), uint16(40))
	f.Add(append([]byte{0xaa}, s.bytes[s.header.Len():]...), uint16(1))
	f.Add([]byte{}, uint16(9))
	f.Fuzz(func(t *testing.T, b []byte, flip uint16) {
		file := append(AppendHeader(nil, &s.header), b...)
		start := s.header.Len()
		if len(b) > 0 {
			file[start+int64(flip)%int64(len(b))] ^= 0x10
		}
		sc := NewScanner(bytes.NewReader(file), &s.header, start, int64(len(file)))
		at := start
		for sc.Next() {
			got := sc.Frame()
			want, err := s.seal.DecodeFrame(file[at:], s.header.Segment, at)
			if err != nil || !reflect.DeepEqual(*got, want) {
				t.Fatalf("frame at %d = %+v, want %+v, %v", at, got, want, err)
			}
			at = got.End()
		}
		if sc.Offset() != at || sc.Err() != nil || (sc.Fault() == nil) != (at == int64(len(file))) {
			t.Fatalf("scan ends at %d of %d: %v, %v", sc.Offset(), len(file), sc.Err(), sc.Fault())
		}
		if sc.Fault() != nil {
			mustTyped(t, sc.Fault())
		}
		last := at
		err := sc.Resync(func(got *Frame) bool {
			if got.Offset <= last && got.Offset != at || got.End() > int64(len(file)) {
				t.Fatalf("Resync finds a frame at %d behind %d", got.Offset, last)
			}
			last = got.Offset
			return true
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sc.Zeroes(at); err != nil {
			t.Fatal(err)
		}
	})
}
