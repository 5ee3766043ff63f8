package event

import (
	"errors"
	"testing"
)

func TestNewKind(t *testing.T) {
	for _, tt := range []struct {
		name             string
		category, number int
		want             Kind
		err              error
	}{
		{"first", 1, 0, 0x1000, nil},
		{"usual", 1, 7, 0x1007, nil},
		{"last", 15, 4095, 0xffff, nil},
		{"system", CategorySystem, 1, 0, ErrKindReserved},
		{"effect", CategoryEffect, 1, 0, ErrKindReserved},
		{"beside effect", 0xe, 1, 0xe001, nil},
		{"category below", -1, 0, 0, ErrKindRange},
		{"category above", 16, 0, 0, ErrKindRange},
		{"number below", 1, -1, 0, ErrKindRange},
		{"number above", 1, 4096, 0, ErrKindRange},
		{"range before reserved", 0, 4096, 0, ErrKindRange},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k, err := NewKind(tt.category, tt.number)
			if k != tt.want || !errors.Is(err, tt.err) {
				t.Fatalf("NewKind(%d, %d) = %v, %v, want %v, %v", tt.category, tt.number, k, err, tt.want, tt.err)
			}
			if err == nil && (k.Category() != tt.category || k.Number() != tt.number) {
				t.Errorf("%v has category %d, number %d", k, k.Category(), k.Number())
			}
		})
	}
}

func TestMustKindPanics(t *testing.T) {
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, ErrKindReserved) {
			t.Errorf("MustKind(0, 1) panicked with %v, want %v", err, ErrKindReserved)
		}
	}()
	MustKind(0, 1)
}

// Every kind has one spelling, and it parses back.
func TestParseKindIsTheInverse(t *testing.T) {
	for k := range 1 << 16 {
		want := Kind(k)
		got, err := ParseKind(want.String())
		if err != nil || got != want {
			t.Fatalf("ParseKind(%q) = %v, %v", want.String(), got, err)
		}
		if category := k >> 12; want.Reserved() != (category == 0 || category == 0xd) {
			t.Fatalf("%v.Reserved() = %v", want, want.Reserved())
		}
	}
}

func TestParseKindIsStrict(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"empty", ""}, {"no number", "1:"}, {"no category", ":7"}, {"no colon", "17"}, {"two colons", "1:7:"},
		{"upper case", "F:7"}, {"leading zero", "01:7"}, {"number with leading zero", "1:07"}, {"plus", "1:+7"},
		{"sign", "-1:7"}, {"hexadecimal number", "1:0x7"}, {"prefix", "0x1:7"}, {"underscore", "1:1_0"},
		{"category too big", "10:7"}, {"number too big", "1:4096"}, {"huge", "1:99999999999999999999"},
		{"space", "1: 7"}, {"newline", "1:7\n"}, {"other digits", "1:٧"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if k, err := ParseKind(tt.text); !errors.Is(err, ErrSyntax) || k != 0 {
				t.Errorf("ParseKind(%q) = %v, %v, want %v", tt.text, k, err, ErrSyntax)
			}
		})
	}
}

func FuzzParseKind(f *testing.F) {
	f.Add("1:7")
	f.Add("f:4095")
	f.Add("D:1")
	f.Fuzz(func(t *testing.T, text string) {
		if k, err := ParseKind(text); err == nil && k.String() != text {
			t.Fatalf("ParseKind(%q) = %v: two spellings", text, k)
		}
	})
}
