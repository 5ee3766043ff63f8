package event

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"reflect"
	"slices"
	"strings"
	"testing"

	"batpak/coordinate"
)

// plain returns a header without optional fields.
func plain() Header {
	return Header{
		Seq: 0x0102030405060708, ID: NewID(0x017f22e279b0_abcd, 99), HLC: 0x017f22e279b0_abcd, Clock: 0x1112131415161718,
		Kind: 0x1007, PayloadVersion: 0x2122, Coordinate: coordinate.MustNew("order:1042", "eu"),
	}
}

// full returns a header with every optional field.
func full() Header {
	h := plain()
	h.Lane, h.Depth = 0x31323334, 0x41424344
	h.Fork, h.Correlation, h.Causation = NewID(1, 1), NewID(2, 2), NewID(3, 3)
	h.Key = Key{Hash: [16]byte{1, 2, 3}, Fingerprint: [16]byte{4, 5, 6}}
	h.Fence = 0x5152535455565758
	h.Tags = []string{"second", "first", "ünï"}
	h.Extensions = map[string][]byte{"b": []byte("2"), "a": {}, "c": bytes.Repeat([]byte{0}, 300)}
	h.Salt = [16]byte{7, 8, 9}
	return h
}

// encode returns the body of h and payload, chained to nothing.
func encode(h *Header, payload []byte) []byte {
	var l Linker
	var parent Hash
	meta := AppendMeta(nil, h)
	content := ContentHash(h.Salt, payload)
	hash := l.Link(&parent, &content, meta)
	return append(append(meta, hash[:]...), payload...)
}

var headerCases = []struct {
	name string
	edit func(*Header)
	size int // bytes beside the fixed ones and the names
}{
	{"plain", func(*Header) {}, 0},
	{"lane", func(h *Header) { h.Lane = 1 }, 8},
	{"depth", func(h *Header) { h.Depth = 1<<32 - 1 }, 8},
	{"lane and depth", func(h *Header) { h.Lane, h.Depth = 1<<32-1, 7 }, 8},
	{"fork", func(h *Header) { h.Fork = NewID(9, 9) }, 16},
	{"correlation", func(h *Header) { h.Correlation = NewID(9, 9) }, 16},
	{"causation", func(h *Header) { h.Causation = NewID(9, 9) }, 16},
	{"key", func(h *Header) { h.Key = Key{Hash: [16]byte{1}, Fingerprint: [16]byte{2}} }, 32},
	{"key without fingerprint", func(h *Header) { h.Key.Hash = [16]byte{15: 1} }, 32},
	{"fence", func(h *Header) { h.Fence = 1<<64 - 1 }, 8},
	{"one tag", func(h *Header) { h.Tags = []string{"t"} }, 2 + 3},
	{"tags keep their order and repeat", func(h *Header) { h.Tags = []string{"b", "a", "b"} }, 2 + 9},
	{"most tags", func(h *Header) { h.Tags = slices.Repeat([]string{"tag"}, MaxTags) }, 2 + 5*MaxTags},
	{"longest tag", func(h *Header) { h.Tags = []string{strings.Repeat("t", coordinate.MaxLen)} }, 2 + 2 + 1024},
	{"extension", func(h *Header) { h.Extensions = map[string][]byte{"k": []byte("v")} }, 4 + 8},
	{"extension of any bytes", func(h *Header) { h.Extensions = map[string][]byte{"é": {0, 0xff}} }, 4 + 10},
	{"most extensions", func(h *Header) { h.Extensions = manyExtensions(MaxExtensions, 900) }, 4 + MaxExtensions*(6+10+900)},
	{"largest extension", func(h *Header) {
		h.Extensions = map[string][]byte{"k": make([]byte, MaxExtensionBytes-1)}
	}, 4 + 6 + MaxExtensionBytes},
	{"salt", func(h *Header) { h.Salt = [16]byte{15: 1} }, 16},
	{"longest names", func(h *Header) {
		h.Coordinate = coordinate.MustNew(strings.Repeat("e", 1024), strings.Repeat("s", 1024))
	}, 0},
	{"largest numbers", func(h *Header) {
		h.Seq, h.Clock, h.HLC, h.Kind, h.PayloadVersion = 1<<64-1, 1<<64-1, 1<<64-1, 0xffff, 0xffff
	}, 0},
	{"reserved kind", func(h *Header) { h.Kind = 0xd001 }, 0},
}

func manyExtensions(n, size int) map[string][]byte {
	m := make(map[string][]byte)
	for i := range n {
		m[fmt.Sprintf("key-%06d", i)] = make([]byte, size)
	}
	return m
}

// mustRoundTrip decodes body and compares everything with h and payload.
func mustRoundTrip(t *testing.T, body []byte, h Header, payload []byte) Raw {
	t.Helper()
	r, err := DecodeBody(body)
	if err != nil {
		t.Fatalf("DecodeBody: %v", err)
	}
	if err := r.Check(); err != nil {
		t.Fatalf("Check: %v", err)
	}
	if got := r.Header(); !reflect.DeepEqual(got, h) {
		t.Errorf("Header() = %+v, want %+v", got, h)
	}
	if !bytes.Equal(r.Payload, payload) {
		t.Errorf("Payload = %q, want %q", r.Payload, payload)
	}
	mustEvent(t, r.Event(), h, payload, r.Hash)
	if again := AppendMeta(nil, &h); !bytes.Equal(again, r.Meta) {
		t.Errorf("AppendMeta = %x, want Meta %x", again, r.Meta)
	}
	return r
}

func mustEvent(t *testing.T, ev Event, h Header, payload []byte, hash Hash) {
	t.Helper()
	want := Event{
		ID: h.ID, Seq: h.Seq, Coordinate: h.Coordinate, Kind: h.Kind, Clock: h.Clock, Lane: h.Lane, Depth: h.Depth,
		HLC: h.HLC, Correlation: h.Correlation, Causation: h.Causation, PayloadVersion: h.PayloadVersion, Tags: h.Tags,
		Hash: hash, Extensions: h.Extensions, Fork: h.Fork,
	}
	if len(payload) > 0 {
		want.Payload = payload
	}
	if !reflect.DeepEqual(ev, want) {
		t.Errorf("Event() = %+v, want %+v", ev, want)
	}
}

func TestBodyRoundTrip(t *testing.T) {
	for _, tt := range headerCases {
		t.Run(tt.name, func(t *testing.T) {
			h := plain()
			tt.edit(&h)
			for _, payload := range [][]byte{nil, []byte("p"), bytes.Repeat([]byte{0xab, 0}, 5000)} {
				body := encode(&h, payload)
				want := FixedLen + len(h.Coordinate.Entity()) + len(h.Coordinate.Scope()) + tt.size + len(payload)
				if len(body) != want {
					t.Errorf("body of %d bytes, want %d", len(body), want)
				}
				mustRoundTrip(t, body, h, payload)
			}
		})
	}
	h := full()
	r := mustRoundTrip(t, encode(&h, []byte("all of it")), h, []byte("all of it"))
	if want := FlagRedacted - 1; r.Flags != want {
		t.Errorf("flags of every field = %#x, want %#x", r.Flags, want)
	}
}

func TestRedactedRoundTrip(t *testing.T) {
	for _, h := range []Header{plain(), full()} {
		body := encode(&h, []byte("secret"))
		content := ContentHash(h.Salt, []byte("secret"))
		redacted := append(bytes.Clone(body[:len(body)-len("secret")]), content[:]...)
		redacted[offFlags+1] |= byte(FlagRedacted >> 8)
		before, _ := DecodeBody(body)
		r, err := DecodeBody(redacted)
		if err != nil || r.Check() != nil {
			t.Fatalf("DecodeBody(redacted) = %v, %v", err, r.Check())
		}
		var l Linker
		if r.Hash != before.Hash || !l.Verify(&r, Hash{}) {
			t.Error("the hash of a redacted event does not hold")
		}
		if got := r.Header(); !reflect.DeepEqual(got, h) || len(r.Payload) != 0 || r.Content() != content {
			t.Errorf("redacted: %+v with %d bytes, want %+v without", got, len(r.Payload), h)
		}
		if ev := r.Event(); !ev.Redacted || ev.Payload != nil {
			t.Errorf("Event() of a redacted body: redacted %v, payload %q", ev.Redacted, ev.Payload)
		}
	}
}

// Decoding into a used Raw leaves nothing of the event before.
func TestDecodeSetsEveryField(t *testing.T) {
	hFull, hPlain := full(), plain()
	var r Raw
	if err := r.Decode(encode(&hFull, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	body := encode(&hPlain, []byte("y"))
	if err := r.Decode(body); err != nil {
		t.Fatal(err)
	}
	fresh, _ := DecodeBody(body)
	if !reflect.DeepEqual(r, fresh) {
		t.Errorf("Decode into a used Raw = %+v, want %+v", r, fresh)
	}
}

// Every cut of a body is an error or, inside the payload only, a body with a shorter payload.
// BodyHash finds what Decode finds, whatever the body carries and wherever it is cut off.
func TestBodyHash(t *testing.T) {
	for _, tt := range headerCases {
		h := plain()
		tt.edit(&h)
		body := encode(&h, []byte("payload"))
		if len(body) > 4096 {
			continue
		}
		for n := range len(body) + 1 {
			r, want := DecodeBody(body[:n])
			got, err := BodyHash(body[:n])
			if (err == nil) != (want == nil) || err == nil && *got != r.Hash {
				t.Fatalf("%s: BodyHash of %d bytes: %v, Decode: %v", tt.name, n, err, want)
			}
		}
	}
	h := plain()
	for _, field := range []int{offSeq, offClock} {
		body := encode(&h, nil)
		clear(body[field : field+8])
		if _, err := BodyHash(body); !errors.Is(err, ErrBody) {
			t.Errorf("BodyHash with a zero field at %d = %v, want ErrBody", field, err)
		}
	}
}

func TestDecodeEveryCut(t *testing.T) {
	h := full()
	body := encode(&h, []byte("payload"))
	head := len(body) - len("payload")
	for n := range len(body) {
		r, err := DecodeBody(body[:n])
		if ok := err == nil; ok != (n >= head) {
			t.Errorf("DecodeBody(%d of %d bytes) = %v, want error: %v", n, len(body), err, n < head)
		} else if ok && len(r.Payload) != n-head {
			t.Errorf("DecodeBody(%d bytes): payload of %d, want %d", n, len(r.Payload), n-head)
		} else if !ok && !errors.Is(err, ErrBody) {
			t.Errorf("DecodeBody(%d bytes) = %v, want %v", n, err, ErrBody)
		}
	}
}

// Every flipped bit breaks the layout, the check, or the chain: the hash covers all of it.
func TestEveryBitIsHashed(t *testing.T) {
	for name, h := range map[string]Header{"plain": plain(), "full": full()} {
		body := encode(&h, []byte("payload"))
		for i := range len(body) * 8 {
			body[i/8] ^= 1 << (i % 8)
			r, err := DecodeBody(body)
			var l Linker
			if err == nil && l.Verify(&r, Hash{}) {
				t.Errorf("%s: bit %d of byte %d is not covered", name, i%8, i/8)
			}
			body[i/8] ^= 1 << (i % 8)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	h := plain()
	good := encode(&h, []byte("payload"))
	for _, tt := range []struct {
		name string
		edit func(b []byte) []byte
		want error
	}{
		{"nothing", func([]byte) []byte { return nil }, ErrBody},
		{"sequence zero", func(b []byte) []byte { clear(b[offSeq:offID]); return b }, ErrBody},
		{"clock zero", func(b []byte) []byte { clear(b[offClock:offKind]); return b }, ErrBody},
		{"no entity", func(b []byte) []byte { b[offEntityLen] = 0; return b }, ErrBody},
		{"no scope", func(b []byte) []byte { b[offScopeLen] = 0; return b }, ErrBody},
		{"entity longer than the body", func(b []byte) []byte { b[offEntityLen+1] = 0xff; return b }, ErrBody},
		{"scope longer than the body", func(b []byte) []byte { b[offScopeLen+1] = 0xff; return b }, ErrBody},
		{"unknown flag", func(b []byte) []byte { b[offFlags+1] |= 0x10; return b }, ErrFuture},
		{"last unknown flag", func(b []byte) []byte { b[offFlags+1] |= 0x80; return b }, ErrFuture},
		{"all flags", func(b []byte) []byte { b[offFlags], b[offFlags+1] = 0xff, 0xff; return b }, ErrFuture},
		{"redacted with a payload", func(b []byte) []byte { b[offFlags+1] |= byte(FlagRedacted >> 8); return b }, ErrBody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := DecodeBody(tt.edit(bytes.Clone(good))); !errors.Is(err, tt.want) {
				t.Errorf("DecodeBody = %v, want %v", err, tt.want)
			}
		})
	}
}

// Lengths inside the optional fields never lead out of them.
func TestDecodeRefusesLengths(t *testing.T) {
	h := plain()
	h.Tags = []string{"t"}
	tagged := encode(&h, nil)
	h = plain()
	h.Extensions = map[string][]byte{"k": []byte("v")}
	extended := encode(&h, nil)
	at := fixedLen + len("order:1042") + len("eu")
	for _, tt := range []struct {
		name    string
		body    []byte
		off     int
		value   []byte
		decodes bool // and Check is to refuse it
	}{
		{"tag block too long", tagged, at, []byte{0xff, 0xff}, false},
		{"tag block cuts the tag", tagged, at, []byte{2, 0}, true},
		{"tag block empty", tagged, at, []byte{0, 0}, true},
		{"tag longer than its block", tagged, at + 2, []byte{2, 0}, true},
		{"tag huge", tagged, at + 2, []byte{0xff, 0xff}, true},
		{"tag empty", tagged, at + 2, []byte{0, 0}, true},
		{"extension block over the limit", extended, at, []byte{0xff, 0xff, 0xff, 0xff}, false},
		{"extension block too long", extended, at, []byte{200, 0, 0, 0}, false},
		{"extension block empty", extended, at, []byte{0, 0, 0, 0}, true},
		{"extension key empty", extended, at + 4, []byte{0, 0}, true},
		{"extension key too long", extended, at + 4, []byte{0xff, 0xff}, true},
		{"extension value overflows", extended, at + 6, []byte{0xff, 0xff, 0xff, 0xff}, true},
		{"extension value wraps to fit", extended, at + 4, []byte{2, 0, 0, 0, 0, 0x80}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := bytes.Clone(tt.body)
			copy(b[tt.off:], tt.value)
			r, err := DecodeBody(b)
			if (err == nil) != tt.decodes {
				t.Fatalf("DecodeBody = %v, want decodes = %v", err, tt.decodes)
			}
			if err == nil {
				r.Event() // must not panic
				err = r.Check()
			}
			if !errors.Is(err, ErrBody) {
				t.Errorf("error %v, want %v", err, ErrBody)
			}
		})
	}
}

func TestCheckRefuses(t *testing.T) {
	tooMany := func() map[string][]byte { return manyExtensions(MaxExtensions+1, 1) }
	for _, tt := range []struct {
		name string
		edit func(*Header)
		want error
	}{
		{"control character in the entity", func(h *Header) { h.Coordinate = coordinate.Stored("a\nb", "s") }, ErrBody},
		{"scope that is not UTF-8", func(h *Header) { h.Coordinate = coordinate.Stored("e", "\xff") }, ErrBody},
		{"entity too long", func(h *Header) { h.Coordinate = coordinate.Stored(strings.Repeat("e", 1025), "s") }, ErrBody},
		{"empty tag", func(h *Header) { h.Tags = []string{"a", ""} }, ErrBody},
		{"control character in a tag", func(h *Header) { h.Tags = []string{"\u0085"} }, ErrBody},
		{"tag too long", func(h *Header) { h.Tags = []string{strings.Repeat("t", 1025)} }, ErrBody},
		{"too many tags", func(h *Header) { h.Tags = slices.Repeat([]string{"t"}, MaxTags+1) }, ErrBody},
		{"empty extension key", func(h *Header) { h.Extensions = map[string][]byte{"": {1}} }, ErrBody},
		{"extension key not UTF-8", func(h *Header) { h.Extensions = map[string][]byte{"\xff": {1}} }, ErrBody},
		{"extension key too long", func(h *Header) { h.Extensions = map[string][]byte{strings.Repeat("k", 256): {1}} }, ErrBody},
		{"too many extensions", func(h *Header) { h.Extensions = tooMany() }, ErrBody},
		{"extensions too large", func(h *Header) {
			h.Extensions = map[string][]byte{"k": make([]byte, MaxExtensionBytes)}
		}, ErrBody},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := plain()
			tt.edit(&h)
			r, err := DecodeBody(encode(&h, nil))
			if err == nil {
				err = r.Check()
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("Check = %v, want %v", err, tt.want)
			}
		})
	}
}

// An announced field that is zero would be a second spelling of a header without it.
func TestCheckRefusesSecondSpellings(t *testing.T) {
	for _, tt := range []struct {
		name string
		flag Flags
		size int
	}{
		{"fork", FlagFork, 16}, {"correlation", FlagCorrelation, 16}, {"causation", FlagCausation, 16},
		{"key", FlagKey, 32}, {"fence", FlagFence, 8}, {"salt", FlagSalted, 16},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := plain()
			body := encode(&h, nil)
			at := fixedLen + len("order:1042") + len("eu")
			body = slices.Insert(body, at, make([]byte, tt.size)...)
			body[offFlags] |= byte(tt.flag)
			body[offFlags+1] |= byte(tt.flag >> 8)
			r, err := DecodeBody(body)
			if err == nil {
				err = r.Check()
			}
			if !errors.Is(err, ErrBody) {
				t.Errorf("a zero %s: %v, want %v", tt.name, err, ErrBody)
			}
		})
	}
}

func TestCheckTypesUnreadablePayloads(t *testing.T) {
	for _, flag := range []Flags{FlagCompressed, FlagEncrypted} {
		h := plain()
		body := encode(&h, []byte("x"))
		body[offFlags+1] |= byte(flag >> 8)
		r, err := DecodeBody(body)
		if err != nil {
			t.Fatalf("flag %#x: DecodeBody = %v: the header can be read", flag, err)
		}
		if err := r.Check(); !errors.Is(err, ErrFuture) {
			t.Errorf("flag %#x: Check = %v, want %v", flag, err, ErrFuture)
		}
	}
}

func TestStamp(t *testing.T) {
	want := full()
	h := want
	h.Seq, h.ID, h.HLC, h.Clock = 0, ID{}, 0, 0
	meta := AppendMeta(nil, &h)
	Stamp(meta, want.Seq, want.ID, want.HLC, want.Clock)
	if got := AppendMeta(nil, &want); !bytes.Equal(meta, got) {
		t.Errorf("Stamp = %x, want %x", meta, got)
	}
}

// SetBranch, SetCausation and SetFingerprint find their field behind whatever stands before it, and touch nothing else.
func TestSetInEncodedMeta(t *testing.T) {
	cause, fingerprint := NewID(77, 77), [16]byte{42, 15: 43}
	cases := append(slices.Clone(headerCases), headerCases[0])
	cases[len(cases)-1].edit = func(h *Header) { *h = full() }
	for _, tt := range cases {
		want := plain()
		tt.edit(&want)
		meta := AppendMeta(nil, &want)
		if want.Lane != 0 || want.Depth != 0 {
			want.Lane, want.Depth = 0xA1A2A3A4, 0xB1B2B3B4
		}
		if !want.Causation.IsZero() {
			want.Causation = cause
		}
		if want.Key.Hash != [16]byte{} {
			want.Key.Fingerprint = fingerprint
		}
		SetBranch(meta, 0xA1A2A3A4, 0xB1B2B3B4)
		SetCausation(meta, cause)
		SetFingerprint(meta, fingerprint)
		if got := AppendMeta(nil, &want); !bytes.Equal(meta, got) {
			t.Errorf("%s: set in %x, want %x", tt.name, meta, got)
		}
	}
	SetBranch(nil, 1, 1)
	SetCausation(nil, cause) // too short to hold one
}

// The flags are the promise of the format: these values are on disk.
func TestFlagValues(t *testing.T) {
	for i, f := range []Flags{FlagBranch, FlagFork, FlagCorrelation, FlagCausation, FlagKey, FlagFence, FlagTags,
		FlagExtensions, FlagSalted, FlagRedacted, FlagCompressed, FlagEncrypted} {
		if f != 1<<i {
			t.Errorf("flag %d = %#x, want %#x", i, f, 1<<i)
		}
	}
	if bits.OnesCount16(uint16(knownFlags)) != 12 {
		t.Errorf("knownFlags = %#x, want 12 bits", knownFlags)
	}
}

// The event belongs to its caller: growing the payload must not write into the bytes behind it.
func TestEventSlicesAreCapped(t *testing.T) {
	h := full()
	body := append(encode(&h, []byte("abc")), "behind"...)
	r, err := DecodeBody(body[:len(body)-len("behind")])
	if err != nil {
		t.Fatal(err)
	}
	ev := r.Event()
	_ = append(ev.Payload, "XXX"...)
	for _, v := range ev.Extensions {
		_ = append(v, 'X')
	}
	if !bytes.HasSuffix(body, []byte("behind")) {
		t.Error("append to a payload wrote behind it")
	}
	if fresh := encode(&h, []byte("abc")); !bytes.Equal(body[:len(fresh)], fresh) {
		t.Error("append to an extension wrote behind it")
	}
}
