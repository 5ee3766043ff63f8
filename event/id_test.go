package event

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestNewIDLayout(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hlc    HLC
		random uint64
		want   string
	}{
		{"zero", 0, 0, "00000000-0000-7000-8000-000000000000"},
		{"RFC 9562 appendix A.6 time", 0x017f22e279b0_0000, 0, "017f22e2-79b0-7000-8000-000000000000"},
		{"counter splits 12 and 4", 0x017f22e279b0_abcd, 0, "017f22e2-79b0-7abc-b400-000000000000"},
		{"counter full", 0x017f22e279b0_ffff, 0, "017f22e2-79b0-7fff-bc00-000000000000"},
		{"random is cut to 58 bits", 0, 1<<64 - 1, "00000000-0000-7000-83ff-ffffffffffff"},
		{"all ones", 1<<64 - 1, 1<<64 - 1, "ffffffff-ffff-7fff-bfff-ffffffffffff"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id := NewID(tt.hlc, tt.random)
			if got := id.String(); got != tt.want {
				t.Errorf("NewID(%#x, %#x) = %s, want %s", uint64(tt.hlc), tt.random, got, tt.want)
			}
			if got := id.HLC(); got != tt.hlc {
				t.Errorf("HLC() = %#x, want %#x", uint64(got), uint64(tt.hlc))
			}
			if version, variant := id[6]>>4, id[8]>>6; version != 7 || variant != 2 {
				t.Errorf("version %d, variant %d, want 7, 2", version, variant)
			}
		})
	}
}

// IDs sort as their readings do, whatever the random bits.
func TestIDsSortAsHLC(t *testing.T) {
	const seed = 7
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, seed))
	for range 20_000 {
		a, b := HLC(rnd.Uint64()), HLC(rnd.Uint64())
		if rnd.IntN(2) == 0 {
			b = a + HLC(rnd.IntN(3)) // neighbours: the counter's edges matter
		}
		ida, idb := NewID(a, rnd.Uint64()), NewID(b, rnd.Uint64())
		if got := bytes.Compare(ida[:], idb[:]); a < b && got >= 0 || a > b && got <= 0 {
			t.Fatalf("readings %#x, %#x: IDs %v, %v compare %d", uint64(a), uint64(b), ida, idb, got)
		}
	}
}

func TestHLCNext(t *testing.T) {
	at := func(ms int64, counter uint16) HLC { return HLC(uint64(ms)<<16 | uint64(counter)) }
	wall := time.UnixMilli
	for _, tt := range []struct {
		name string
		last HLC
		wall time.Time
		want HLC
	}{
		{"first", 0, wall(1000), at(1000, 0)},
		{"first with a clock at zero", 0, wall(0), 1},
		{"clock ahead", at(1000, 5), wall(1001), at(1001, 0)},
		{"clock stuck", at(1000, 5), wall(1000), at(1000, 6)},
		{"same millisecond, later", at(1000, 5), wall(1000).Add(999 * time.Microsecond), at(1000, 6)},
		{"clock back", at(1000, 5), wall(10), at(1000, 6)},
		{"clock before 1970", at(1000, 5), wall(-1), at(1000, 6)},
		{"counter overflows into the millisecond", at(1000, 0xffff), wall(1000), at(1001, 0)},
		{"overflow meets the clock", at(1000, 0xffff), wall(1001), at(1001, 0)},
		{"overflow behind the clock", at(1000, 0xffff), wall(1002), at(1002, 0)},
		{"clock past the year 6429 is clamped", at(1000, 0), time.UnixMilli(1 << 50), at(1<<47, 0)},
		{"ahead of a clamped clock", at(maxHLCMillis, 0), time.UnixMilli(1 << 50), at(maxHLCMillis, 1)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.last.Next(tt.wall); got != tt.want {
				t.Errorf("%v.Next(%v) = %v, want %v", tt.last, tt.wall.UTC(), got, tt.want)
			}
		})
	}
}

// A clock that jumps at random never makes two readings equal or descending, and IDs follow.
func TestHLCStrictlyIncreases(t *testing.T) {
	const seed = 11
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, seed))
	last, lastID := HLC(0), ID{}
	ms := int64(1_700_000_000_000)
	for i := range 200_000 {
		switch rnd.IntN(100) {
		case 0:
			ms -= rnd.Int64N(1_000_000)
		case 1:
			ms += rnd.Int64N(100_000)
		}
		next := last.Next(time.UnixMilli(ms))
		id := NewID(next, rnd.Uint64())
		if next <= last || bytes.Compare(id[:], lastID[:]) <= 0 {
			t.Fatalf("step %d: %v, %v behind %v, %v", i, next, id, last, lastID)
		}
		last, lastID = next, id
	}
}

func TestHLCParts(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 123_456_789, time.FixedZone("x", 3600))
	h := HLCAt(at) + 9
	if got, want := h.Millis(), at.UnixMilli(); got != want {
		t.Errorf("Millis = %d, want %d", got, want)
	}
	if got := h.Counter(); got != 9 {
		t.Errorf("Counter = %d, want 9", got)
	}
	if got, want := h.String(), "2026-07-01T11:00:00.123Z+9"; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got := HLCAt(time.Unix(-5, 0)); got != 0 {
		t.Errorf("HLCAt before 1970 = %v, want 0", got)
	}
}

func TestParseID(t *testing.T) {
	const good = "017f22e2-79b0-7abc-b400-0123456789ab"
	id, err := ParseID(good)
	if err != nil || id.String() != good {
		t.Fatalf("ParseID(%q) = %v, %v", good, id, err)
	}
	for _, tt := range []struct{ name, text string }{
		{"empty", ""},
		{"upper case", strings.ToUpper(good)},
		{"one upper digit", good[:35] + "B"},
		{"no dashes", strings.ReplaceAll(good, "-", "")},
		{"braces", "{" + good + "}"},
		{"URN", "urn:uuid:" + good},
		{"space before", " " + good},
		{"space behind", good + " "},
		{"newline behind", good + "\n"},
		{"short", good[:35]},
		{"long", good + "0"},
		{"not hexadecimal", good[:35] + "g"},
		{"dash misplaced", "017f22e27-9b0-7abc-b400-0123456789ab"},
		{"dash among the digits", "-17f22e2-79b0-7abc-b400-0123456789ab"},
		{"sign", "+17f22e2-79b0-7abc-b400-0123456789ab"},
		{"letter that folds to k", "017f22e2-79b0-7abc-b400-01234567\u212a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if id, err := ParseID(tt.text); !errors.Is(err, ErrSyntax) || !id.IsZero() {
				t.Errorf("ParseID(%q) = %v, %v, want %v", tt.text, id, err, ErrSyntax)
			}
		})
	}
}

func TestIDText(t *testing.T) {
	want := NewID(0x017f22e279b0_abcd, 12345)
	text, err := want.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var got ID
	if err := got.UnmarshalText(text); err != nil || got != want {
		t.Errorf("UnmarshalText(%s) = %v, %v, want %v", text, got, err, want)
	}
	if err := got.UnmarshalText(text[1:]); !errors.Is(err, ErrSyntax) || got != want {
		t.Errorf("UnmarshalText of a cut text = %v and left %v, want %v and %v", err, got, ErrSyntax, want)
	}
}

func FuzzParseID(f *testing.F) {
	f.Add("017f22e2-79b0-7abc-b400-0123456789ab")
	f.Add("017F22E2-79b0-7abc-b400-0123456789ab")
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err == nil && id.String() != text {
			t.Fatalf("ParseID(%q) = %v: two spellings", text, id)
		}
		if err != nil && !errors.Is(err, ErrSyntax) {
			t.Fatalf("ParseID(%q): %v, want %v", text, err, ErrSyntax)
		}
	})
}
