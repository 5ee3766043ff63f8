package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"batpak/coordinate"
	"batpak/event"
)

var (
	saltA = [16]byte{1, 2, 3, 4, 5, 6, 7, 8}
	saltB = [16]byte{1, 2, 3, 4, 5, 6, 7, 9}
)

// sampleEvent returns the body of a plain event with a payload.
func sampleEvent(seq uint64, payload string) []byte {
	h := event.Header{
		Seq: seq, ID: event.NewID(event.HLC(seq), seq), HLC: event.HLC(seq), Clock: seq, Kind: 0x1001,
		Coordinate: coordinate.MustNew("order:1042", "eu"),
	}
	var l event.Linker
	var parent event.Hash
	content := event.ContentHash(h.Salt, []byte(payload))
	meta := event.AppendMeta(nil, &h)
	hash := l.Link(&parent, &content, meta)
	return append(append(meta, hash[:]...), payload...)
}

// sampleBatch returns the frames of a batch of two events that stand at offset.
func sampleBatch(s Seal, offset int64) []byte {
	bodies := [][]byte{sampleEvent(1, "one"), sampleEvent(2, "two")}
	var digest BatchDigest
	digest.Reset()
	b := Batch{Count: 2, First: 1}
	for _, body := range bodies {
		r, err := event.DecodeBody(body)
		if err != nil {
			panic(err)
		}
		digest.Add(&r.Hash)
		b.Length += FrameHeaderLen + uint64(len(body))
	}
	digest.Sum(&b.Digest)
	dst := s.AppendFrame(nil, offset, TypeBatch, FlagGroup, 160, AppendBatch(nil, &b))
	for _, body := range bodies {
		dst = s.AppendFrame(dst, offset+int64(len(dst)), TypeEvent, FlagMember, 160, body)
	}
	return dst
}

func TestFrameRoundTrip(t *testing.T) {
	s := NewSeal(saltA)
	for _, tt := range []struct {
		name    string
		typ     Type
		flags   FrameFlags
		offset  int64
		through uint32
		body    []byte
	}{
		{"event", TypeEvent, 0, 160, 0, sampleEvent(1, "x")},
		{"member", TypeEvent, FlagMember, 1 << 20, 160, sampleEvent(9, "")},
		{"batch", TypeBatch, FlagGroup, 160, 160, AppendBatch(nil, &Batch{Count: 1, First: 1})},
		{"fence", TypeFence, FlagGroup, 160, 160, AppendFence(nil, &Fence{Op: FenceBegin, Fence: 1})},
		{"index", TypeIndex, 0, 160, 160, []byte("index")},
		{"mark", TypeMark, FlagGroup, 160, 160, markBody},
		{"all flags", TypeEvent, FlagMember | FlagGroup, 160, 160, []byte{0}},
		{"one byte", TypeEvent, 0, 160, 0, []byte{0xff}},
		{"far away", TypeEvent, 0, MaxSize - 1, MaxSize - 1, []byte("x")},
		{"mark at its own offset", TypeEvent, 0, 4096, 4096, []byte("x")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := s.AppendFrame([]byte("before"), tt.offset, tt.typ, tt.flags, tt.through, tt.body)[len("before"):]
			b = append(b, "behind"...)
			f, err := s.DecodeFrame(b, 1, tt.offset)
			if err != nil {
				t.Fatal(err)
			}
			if f.Type != tt.typ || f.Flags != tt.flags || f.Offset != tt.offset || f.Through != tt.through || !bytes.Equal(f.Body, tt.body) {
				t.Errorf("DecodeFrame = %+v, want %+v", f, tt)
			}
			if cap(f.Body) != len(f.Body) {
				t.Errorf("body can grow into the %d bytes behind it", cap(f.Body)-len(f.Body))
			}
			if want := tt.offset + int64(len(b)-len("behind")); f.End() != want || f.Len() != FrameHeaderLen+int64(len(tt.body)) {
				t.Errorf("End, Len = %d, %d, want %d", f.End(), f.Len(), want)
			}
			if n, err := s.FrameLen(b, 1, tt.offset); err != nil || n != f.Len() {
				t.Errorf("FrameLen = %d, %v, want %d", n, err, f.Len())
			}
		})
	}
}

// The promise of the design: at most 104 bytes beside entity, scope and payload.
func TestPlainFrameOverhead(t *testing.T) {
	s := NewSeal(saltA)
	for _, payload := range []string{"", "p", strings.Repeat("p", 70_000)} {
		frame := s.AppendFrame(nil, 160, TypeEvent, FlagGroup, 0, sampleEvent(1, payload))
		overhead := len(frame) - len("order:1042") - len("eu") - len(payload)
		if overhead > 104 {
			t.Errorf("payload of %d bytes: overhead %d bytes, want at most 104", len(payload), overhead)
		}
		if want := FrameHeaderLen + event.FixedLen; overhead != want {
			t.Errorf("overhead %d, want %d", overhead, want)
		}
	}
}

func TestFinishIsAppendFrame(t *testing.T) {
	s := NewSeal(saltA)
	body := sampleEvent(1, "x")
	want := s.AppendFrame(nil, 777, TypeEvent, FlagGroup, 160, body)
	got := append(bytes.Repeat([]byte{0xee}, FrameHeaderLen), body...)
	s.Finish(got, 777, TypeEvent, FlagGroup, 160)
	if !bytes.Equal(got, want) {
		t.Errorf("Finish = %x, want %x", got, want)
	}
}

// forge returns a frame whose sums hold, whatever its fields say.
func forge(s Seal, offset int64, head [FrameHeaderLen]byte, body []byte) []byte {
	b := append(head[:], body...)
	le := binary.LittleEndian
	le.PutUint32(b[offHeadSum:], s.headerSum(b, offset))
	return b
}

func TestDecodeFrameRefuses(t *testing.T) {
	s := NewSeal(saltA)
	good := s.AppendFrame(nil, 160, TypeEvent, 0, 0, sampleEvent(1, "payload"))
	head := func(length uint32, typ, flags byte, zero uint16, through uint32) (h [FrameHeaderLen]byte) {
		le := binary.LittleEndian
		le.PutUint32(h[:], length)
		h[offType], h[offFlags] = typ, flags
		le.PutUint16(h[offZero:], zero)
		le.PutUint32(h[offThrough:], through)
		return h
	}
	for _, tt := range []struct {
		name   string
		b      []byte
		want   error
		reason flaw
	}{
		{"nothing", nil, ErrTorn, flawShort},
		{"half a header", good[:FrameHeaderLen-1], ErrTorn, flawShort},
		{"no body", good[:FrameHeaderLen], ErrTorn, flawShort},
		{"one byte missing", good[:len(good)-1], ErrTorn, flawShort},
		{"zeroes", make([]byte, 4096), ErrTorn, flawZero},
		{"zeroes with something behind", append(make([]byte, FrameHeaderLen), good...), ErrTorn, flawZero},
		{"ones", bytes.Repeat([]byte{0xff}, 4096), ErrCorrupt, flawHeaderSum},
		{"length zero", forge(s, 160, head(0, 1, 0, 0, 0), nil), ErrCorrupt, flawLength},
		{"length over the limit", forge(s, 160, head(MaxBody+1, 1, 0, 0, 0), make([]byte, 64)), ErrCorrupt, flawLength},
		{"length of all ones", forge(s, 160, head(1<<32-1, 1, 0, 0, 0), make([]byte, 64)), ErrCorrupt, flawLength},
		{"length past the input", forge(s, 160, head(MaxBody, 1, 0, 0, 0), make([]byte, 64)), ErrTorn, flawShort},
		{"type zero", forge(s, 160, head(1, 0, 0, 0, 0), []byte{0}), ErrCorrupt, flawHeader},
		{"future type", forge(s, 160, head(1, byte(lastType)+1, 0, 0, 0), []byte{0}), ErrFuture, flawFutureType},
		{"last type", forge(s, 160, head(1, 255, 0, 0, 0), []byte{0}), ErrFuture, flawFutureType},
		{"future flag", forge(s, 160, head(1, 1, 4, 0, 0), []byte{0}), ErrFuture, flawFutureType},
		{"reserved bytes", forge(s, 160, head(1, 1, 0, 1, 0), []byte{0}), ErrCorrupt, flawHeader},
		{"mark behind the frame", forge(s, 160, head(1, 1, 0, 0, 161), []byte{0}), ErrCorrupt, flawHeader},
		{"body sum", forge(s, 160, head(1, 1, 0, 0, 0), []byte{7}), ErrCorrupt, flawBodySum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, err := s.DecodeFrame(tt.b, 42, 160)
			var fe *FrameError
			if !errors.As(err, &fe) || !errors.Is(err, tt.want) || f.Body != nil {
				t.Fatalf("DecodeFrame = %+v, %v, want %v", f, err, tt.want)
			}
			if fe.Segment != 42 || fe.Offset != 160 || fe.Reason != string(tt.reason) {
				t.Errorf("error %+v, want segment 42, offset 160, reason %q", fe, tt.reason)
			}
			if !strings.Contains(err.Error(), "000042") || !strings.Contains(err.Error(), "offset 160") {
				t.Errorf("Error() = %q does not name the place", err)
			}
		})
	}
}

// Every single flipped bit of a frame is detected.
func TestFrameEveryBit(t *testing.T) {
	s := NewSeal(saltA)
	for name, frame := range map[string][]byte{
		"event": s.AppendFrame(nil, 160, TypeEvent, FlagGroup, 160, sampleEvent(1, "payload")),
		"mark":  s.AppendMark(nil, 160, 160),
		"fence": s.AppendFrame(nil, 160, TypeFence, FlagGroup, 0, AppendFence(nil, &Fence{Op: FenceBegin, Fence: 1})),
	} {
		for i := range len(frame) * 8 {
			frame[i/8] ^= 1 << (i % 8)
			if _, err := s.DecodeFrame(frame, 1, 160); err == nil {
				t.Errorf("%s: bit %d of byte %d is not covered", name, i%8, i/8)
			}
			frame[i/8] ^= 1 << (i % 8)
		}
		if _, err := s.DecodeFrame(frame, 1, 160); err != nil {
			t.Errorf("%s: the frame itself: %v", name, err)
		}
	}
}

// Every single flipped bit of a batch is detected: by a frame, or by the envelope.
func TestBatchEveryBit(t *testing.T) {
	s := NewSeal(saltA)
	group := sampleBatch(s, 160)
	if n := decodeBatchFrames(s, group, 160); n != 2 {
		t.Fatalf("the batch itself decodes to %d members, want 2", n)
	}
	for i := range len(group) * 8 {
		group[i/8] ^= 1 << (i % 8)
		if n := decodeBatchFrames(s, group, 160); n == 2 {
			t.Errorf("bit %d of byte %d is not covered", i%8, i/8)
		}
		group[i/8] ^= 1 << (i % 8)
	}
	for n := range len(group) {
		if decodeBatchFrames(s, group[:n], 160) == 2 {
			t.Errorf("%d of %d bytes decode as the whole batch", n, len(group))
		}
	}
}

// decodeBatchFrames returns the members of the batch at the start of b, or 0 when it is not whole.
func decodeBatchFrames(s Seal, b []byte, offset int64) int {
	f, err := s.DecodeFrame(b, 1, offset)
	if err != nil || f.Type != TypeBatch {
		return 0
	}
	batch, ok := DecodeBatch(f.Body)
	if !ok || batch.Length > uint64(len(b))-uint64(f.Len()) {
		return 0
	}
	var digest BatchDigest
	digest.Reset()
	at, members := f.Len(), 0
	for ; at < f.Len()+int64(batch.Length); members++ {
		m, err := s.DecodeFrame(b[at:], 1, offset+at)
		if err != nil || m.Flags&FlagMember == 0 {
			return 0
		}
		r, err := event.DecodeBody(m.Body)
		if err != nil || r.Seq != batch.First+uint64(members) {
			return 0
		}
		digest.Add(&r.Hash)
		at += m.Len()
	}
	var sum event.Hash
	if digest.Sum(&sum); sum != batch.Digest || members != int(batch.Count) {
		return 0
	}
	return members
}

// A frame decodes at its own offset of its own segment and nowhere else.
func TestFrameIsBoundToItsPlace(t *testing.T) {
	a, b := NewSeal(saltA), NewSeal(saltB)
	frame := a.AppendFrame(nil, 1000, TypeEvent, 0, 0, sampleEvent(1, "payload"))
	for offset := int64(0); offset < 1<<17; offset++ {
		if _, err := a.DecodeFrame(frame, 1, offset); (err == nil) != (offset == 1000) {
			t.Fatalf("DecodeFrame at %d of a frame of offset 1000 = %v", offset, err)
		}
	}
	for bit := range 31 { // offsets are below MaxSize
		if _, err := a.DecodeFrame(frame, 1, 1000^1<<bit); err == nil {
			t.Errorf("the frame decodes at offset %d", 1000^int64(1)<<bit)
		}
	}
	if _, err := b.DecodeFrame(frame, 2, 1000); err == nil {
		t.Error("the frame decodes in a segment with another salt")
	}
	for bit := range 128 {
		salt := saltA
		salt[bit/8] ^= 1 << (bit % 8)
		if _, err := NewSeal(salt).DecodeFrame(frame, 2, 1000); err == nil {
			t.Errorf("the frame decodes with bit %d of the salt flipped", bit)
		}
	}
}

func TestZeroesNeverDecode(t *testing.T) {
	zero := make([]byte, 1<<16)
	for salt := range 64 {
		s := NewSeal([16]byte{byte(salt)})
		for offset := range int64(2048) {
			if _, err := s.DecodeFrame(zero, 1, offset); err == nil {
				t.Fatalf("zeroes decode at offset %d with salt %d", offset, salt)
			}
		}
	}
}

// Two halves of two frames never make one: a torn overwrite cannot pass.
func TestSplicedFramesNeverDecode(t *testing.T) {
	s := NewSeal(saltA)
	one := s.AppendFrame(nil, 160, TypeEvent, 0, 0, sampleEvent(1, "payload A"))
	two := s.AppendFrame(nil, 160, TypeEvent, 0, 0, sampleEvent(2, "payload B"))
	for cut := 1; cut < len(one); cut++ {
		mixed := append(bytes.Clone(one[:cut]), two[cut:]...)
		if bytes.Equal(mixed, one) || bytes.Equal(mixed, two) {
			continue
		}
		if _, err := s.DecodeFrame(mixed, 1, 160); err == nil {
			t.Errorf("%d bytes of one frame and the rest of another decode", cut)
		}
	}
}

func TestPosCompare(t *testing.T) {
	order := []Pos{{}, {0, 1}, {1, 0}, {1, 1}, {1, 1 << 40}, {2, 0}, {1<<64 - 1, 0}}
	for i, p := range order {
		for j, q := range order {
			if got, want := p.Compare(q), compareInts(i, j); got != want {
				t.Errorf("%v.Compare(%v) = %d, want %d", p, q, got, want)
			}
		}
	}
	if got, want := fmt.Sprint(Pos{7, 9}), "segment 000007 offset 9"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
}

func compareInts(i, j int) int {
	switch {
	case i < j:
		return -1
	case i > j:
		return 1
	}
	return 0
}

// Readers and writers of frames allocate nothing of their own.
func TestFrameCodecAllocatesNothing(t *testing.T) {
	s := NewSeal(saltA)
	body := sampleEvent(1, "payload")
	buf := s.AppendFrame(nil, 160, TypeEvent, 0, 0, body)
	for name, step := range map[string]func(){
		"AppendFrame": func() { buf = s.AppendFrame(buf[:0], 160, TypeEvent, 0, 0, body) },
		"DecodeFrame": func() {
			if _, err := s.DecodeFrame(buf, 1, 160); err != nil {
				t.Fatal(err)
			}
		},
	} {
		if n := testing.AllocsPerRun(100, step); n != 0 {
			t.Errorf("%s allocates %v times, want 0", name, n)
		}
	}
}
