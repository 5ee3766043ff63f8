package receipt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"batpak/coordinate"
	"batpak/event"
)

// fullHeader uses every field.
func fullHeader() event.Header {
	return event.Header{
		Seq: 7, ID: event.NewID(9, 9), HLC: 9, Clock: 3, Kind: event.MustKind(1, 7), PayloadVersion: 2,
		Coordinate: coordinate.MustNew("order:1042", "eu"), Lane: 1, Depth: 2, Fork: event.ID{1}, Correlation: event.ID{2},
		Causation: event.ID{3}, Key: event.Key{Hash: [16]byte{4}, Fingerprint: [16]byte{5}}, Fence: 6,
		Tags: []string{"b", "a"}, Extensions: map[string][]byte{"x": {1}, "y": nil}, Salt: [16]byte{7},
	}
}

func fullFields() Fields {
	h := fullHeader()
	return Fields{
		Store: [16]byte{1}, Parent: event.Hash{2}, Hash: event.Hash{3}, Content: event.Hash{4},
		Meta: event.AppendMeta(nil, &h), Signature: AppendSignature(nil, &Signature{Leaves: 3, Index: 2, Path: make([]event.Hash, 1)}),
	}
}

func TestRoundTrip(t *testing.T) {
	want := fullFields()
	for _, signed := range []bool{true, false} {
		if !signed {
			want.Signature = nil
		}
		b := Append([]byte("before"), &want)
		got, head, err := Decode(b[len("before"):])
		if err != nil || head.Seq != 7 || head.Fence != 6 {
			t.Fatalf("signed %v: Decode = %+v, %v", signed, head, err)
		}
		if again := Append([]byte("before"), &got); !bytes.Equal(again, b) {
			t.Errorf("signed %v: encoded again: %x, want %x", signed, again, b)
		}
	}
}

// What is not a receipt is refused, and what comes from a newer version is told apart.
func TestDecode(t *testing.T) {
	const metaAt = headerLen
	le := binary.LittleEndian
	edit := func(do func(b []byte) []byte) func(*Fields) []byte {
		return func(f *Fields) []byte { return do(Append(nil, f)) }
	}
	put := func(at int, v ...byte) func(*Fields) []byte {
		return edit(func(b []byte) []byte { copy(b[at:], v); return b })
	}
	meta := func(do func(h *event.Header)) func(*Fields) []byte {
		return func(f *Fields) []byte {
			h := fullHeader()
			do(&h)
			f.Meta = event.AppendMeta(nil, &h)
			return Append(nil, f)
		}
	}
	signature := func(do func(s *Signature)) func(*Fields) []byte {
		return func(f *Fields) []byte {
			s := Signature{Leaves: 3, Index: 2, Path: make([]event.Hash, 1)}
			do(&s)
			f.Signature = AppendSignature(nil, &s)
			return Append(nil, f)
		}
	}
	for _, tt := range []struct {
		name string
		make func(*Fields) []byte
		want error
	}{
		{"intact", put(0), nil},
		{"empty", edit(func([]byte) []byte { return nil }), ErrFormat},
		{"magic", put(0, 'b'), ErrFormat},
		{"version 0", put(8, 0), ErrFormat},
		{"version 2", put(8, 2), ErrFuture},
		{"version 2 of another length", edit(func(b []byte) []byte { b[8] = 2; return append(b, 9) }), ErrFuture},
		{"a byte more", edit(func(b []byte) []byte { return append(b, 0) }), ErrFormat},
		{"meta a byte longer", put(12, 255), ErrFormat},
		{"meta huge", put(12, 255, 255, 255, 255), ErrFormat},
		{"meta takes a byte of the signature", edit(func(b []byte) []byte { b[10]--; b[12]++; return b }), ErrFormat},
		{"too long", func(f *Fields) []byte { f.Meta = make([]byte, MaxLen); return Append(nil, f) }, ErrFormat},
		{"sequence 0", meta(func(h *event.Header) { h.Seq = 0 }), ErrFormat},
		{"clock 0", meta(func(h *event.Header) { h.Clock = 0 }), ErrFormat},
		{"entity with a control character", meta(func(h *event.Header) { h.Coordinate = coordinate.Stored("a\x00", "b") }), ErrFormat},
		{"no scope", meta(func(h *event.Header) { h.Coordinate = coordinate.Stored("a", "") }), ErrFormat},
		{"tag empty", meta(func(h *event.Header) { h.Tags = []string{""} }), ErrFormat},
		{"extension key empty", meta(func(h *event.Header) { h.Extensions = map[string][]byte{"": nil} }), ErrFormat},
		{"redacted", edit(func(b []byte) []byte { setFlag(b, event.FlagRedacted); return b }), ErrFormat},
		{"compressed", edit(func(b []byte) []byte { setFlag(b, event.FlagCompressed); return b }), ErrFuture},
		{"unknown flag", edit(func(b []byte) []byte { setFlag(b, 1<<15); return b }), ErrFuture},
		{"signature without leaves", signature(func(s *Signature) { s.Leaves, s.Index, s.Path = 0, 0, nil }), ErrFormat},
		{"signature beyond the leaves", signature(func(s *Signature) { s.Index = 3 }), ErrFormat},
		{"signature path too short", signature(func(s *Signature) { s.Path = nil }), ErrFormat},
		{"signature path too long", signature(func(s *Signature) { s.Path = make([]event.Hash, 2) }), ErrFormat},
		{"signature cut", func(f *Fields) []byte { f.Signature = f.Signature[:50]; return Append(nil, f) }, ErrFormat},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := fullFields()
			_, _, err := Decode(tt.make(&f))
			if !errors.Is(err, tt.want) || (err == nil) != (tt.want == nil) || errors.Is(err, ErrFormat) && errors.Is(err, ErrFuture) {
				t.Errorf("Decode = %v, want %v", err, tt.want)
			}
		})
	}
	f := fullFields()
	whole := Append(nil, &f)
	for n := range whole {
		if _, _, err := Decode(whole[:n]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: %v, want %v", n, err, ErrFormat)
		}
	}
	if got := le.Uint32(whole[12:]); int(got) != len(f.Meta) || !bytes.Equal(whole[metaAt:metaAt+len(f.Meta)], f.Meta) {
		t.Errorf("meta of %d bytes is not where it is drawn", got)
	}
}

// setFlag sets a flag of the meta in an encoded receipt.
func setFlag(b []byte, f event.Flags) {
	const at = headerLen + 42 // event/body.go
	binary.LittleEndian.PutUint16(b[at:], binary.LittleEndian.Uint16(b[at:])|uint16(f))
}

// The largest header that an append takes fits.
func TestMaxLen(t *testing.T) {
	h := fullHeader()
	name := string(bytes.Repeat([]byte("n"), coordinate.MaxLen))
	h.Coordinate = coordinate.MustNew(name, name)
	h.Tags = nil
	for range event.MaxTags - 1 {
		h.Tags = append(h.Tags, name)
	}
	h.Extensions = map[string][]byte{}
	for i := range event.MaxExtensions {
		h.Extensions[fmt.Sprint(i)+name[:event.MaxExtensionKey-2]] = make([]byte, event.MaxExtensionBytes/event.MaxExtensions-event.MaxExtensionKey)
	}
	f := Fields{Meta: event.AppendMeta(nil, &h), Signature: AppendSignature(nil, &Signature{Leaves: 1<<32 - 1, Path: make([]event.Hash, 32)})}
	b := Append(nil, &f)
	if _, _, err := Decode(b); err != nil || len(b) < MaxLen-8192 {
		t.Errorf("Decode of %d bytes (at most %d) = %v", len(b), MaxLen, err)
	}
}

func FuzzDecode(f *testing.F) {
	fields := fullFields()
	f.Add(Append(nil, &fields))
	fields.Signature = nil
	f.Add(Append(nil, &fields))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, _, err := Decode(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) && !errors.Is(err, ErrFuture) {
				t.Fatalf("Decode = %v, want a typed error", err)
			}
			return
		}
		if again := Append(nil, &got); !bytes.Equal(again, b) {
			t.Fatalf("encoded again: %x, want %x", again, b)
		}
		if len(got.Signature) > 0 {
			s, err := DecodeSignature(got.Signature)
			if err != nil || !bytes.Equal(AppendSignature(nil, &s), got.Signature) {
				t.Fatalf("the signature decodes as %+v, %v", s, err)
			}
		}
	})
}
