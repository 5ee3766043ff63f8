package coordinate_test

import (
	"errors"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"batpak/coordinate"
)

func TestNew(t *testing.T) {
	long := strings.Repeat("x", coordinate.MaxLen)
	for _, tt := range []struct {
		name          string
		entity, scope string
		field, reason string // empty: accepted
		offset        int
	}{
		{name: "plain", entity: "order:1042", scope: "eu"},
		{name: "one byte each", entity: "e", scope: "s"},
		{name: "longest", entity: long, scope: long},
		{name: "longest in three-byte letters", entity: strings.Repeat("語", 341) + "x", scope: "s"},
		{name: "slash", entity: "a/b", scope: "/"},
		{name: "dots", entity: "..", scope: "../../etc/passwd"},
		{name: "spaces", entity: " ", scope: "  a  b  "},
		{name: "no-break space", entity: "\u00a0", scope: "s"},
		{name: "at sign", entity: "a@b", scope: "@"},
		{name: "quotes and shell", entity: "'\"`$(x)\\", scope: "*?[]"},
		{name: "many scripts", entity: "заказ-Ωμέγα-注文-주문-סדר-طلب-आदेश-🛒", scope: "ß"},
		{name: "combining, joiner, BOM", entity: "e\u0301\u200d\ufeff", scope: "s"},
		{name: "written replacement character", entity: "\ufffd", scope: "s"},
		{name: "last code point", entity: "\U0010ffff", scope: "s"},
		{name: "behind C1", entity: "\u00a0", scope: "\u00ff"},

		{name: "empty entity", entity: "", scope: "s", field: "entity", reason: "empty"},
		{name: "empty scope", entity: "e", scope: "", field: "scope", reason: "empty"},
		{name: "both empty names the first", field: "entity", reason: "empty"},
		{name: "entity one too long", entity: long + "x", scope: "s", field: "entity", reason: "too long", offset: 1024},
		{name: "scope one too long", entity: "e", scope: long + "x", field: "scope", reason: "too long", offset: 1024},
		{name: "NUL", entity: "a\x00b", scope: "s", field: "entity", reason: "control character", offset: 1},
		{name: "NUL at the end", entity: "ab\x00", scope: "s", field: "entity", reason: "control character", offset: 2},
		{name: "newline", entity: "a\nb", scope: "s", field: "entity", reason: "control character", offset: 1},
		{name: "tab", entity: "\t", scope: "s", field: "entity", reason: "control character"},
		{name: "unit separator", entity: "abc\x1f", scope: "s", field: "entity", reason: "control character", offset: 3},
		{name: "delete", entity: "a\x7f", scope: "s", field: "entity", reason: "control character", offset: 1},
		{name: "first of C1", entity: "é\u0080", scope: "s", field: "entity", reason: "control character", offset: 2},
		{name: "next line", entity: "e", scope: "\u0085", field: "scope", reason: "control character"},
		{name: "last of C1", entity: "\u009f", scope: "s", field: "entity", reason: "control character"},
		{name: "bare continuation byte", entity: "a\x80", scope: "s", field: "entity", reason: "not UTF-8", offset: 1},
		{name: "raw C1 byte", entity: "\x9f", scope: "s", field: "entity", reason: "not UTF-8"},
		{name: "cut letter", entity: "ab\xe8\xaa", scope: "s", field: "entity", reason: "not UTF-8", offset: 2},
		{name: "overlong slash", entity: "\xc0\xaf", scope: "s", field: "entity", reason: "not UTF-8"},
		{name: "overlong NUL", entity: "\xc0\x80", scope: "s", field: "entity", reason: "not UTF-8"},
		{name: "surrogate half", entity: "\xed\xa0\x80", scope: "s", field: "entity", reason: "not UTF-8"},
		{name: "behind the last code point", entity: "\xf4\x90\x80\x80", scope: "s", field: "entity", reason: "not UTF-8"},
		{name: "byte FF", entity: "e", scope: "\xff", field: "scope", reason: "not UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := coordinate.New(tt.entity, tt.scope)
			if tt.reason == "" {
				if err != nil || c.Entity() != tt.entity || c.Scope() != tt.scope || c.IsZero() {
					t.Fatalf("New(%q, %q) = %v, %v, want accepted", tt.entity, tt.scope, c, err)
				}
				return
			}
			var e *coordinate.Error
			if !errors.As(err, &e) || !errors.Is(err, coordinate.ErrInvalid) || !c.IsZero() {
				t.Fatalf("New(%q, %q) = %v, %v, want *Error", tt.entity, tt.scope, c, err)
			}
			bad := map[string]string{"entity": tt.entity, "scope": tt.scope}[tt.field]
			want := coordinate.Error{Field: tt.field, Reason: tt.reason, Offset: tt.offset, Len: len(bad)}
			if *e != want {
				t.Errorf("New(%q, %q): error %+v, want %+v", tt.entity, tt.scope, *e, want)
			}
			for _, part := range []string{tt.field, tt.reason} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("Error() = %q, want it to name %q", err, part)
				}
			}
		})
	}
}

// Every single code point is allowed unless Unicode calls it a control character.
func TestEveryCodePoint(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		if got, want := coordinate.Check("entity", string(r)) == nil, !unicode.IsControl(r); got != want {
			t.Fatalf("Check(%U) accepts = %v, want %v", r, got, want)
		}
	}
}

func TestMustNew(t *testing.T) {
	if got, want := coordinate.MustNew("e", "s").String(), "e@s"; got != want {
		t.Errorf("String() = %q, want %q", got, want)
	}
	defer func() {
		if err, ok := recover().(error); !ok || !errors.Is(err, coordinate.ErrInvalid) {
			t.Errorf("MustNew panicked with %v, want %v", err, coordinate.ErrInvalid)
		}
	}()
	coordinate.MustNew("", "s")
}

func TestZero(t *testing.T) {
	var zero coordinate.Coordinate
	if !zero.IsZero() || zero.Entity() != "" || zero.Scope() != "" {
		t.Errorf("zero Coordinate = %q, want empty", zero)
	}
	if coordinate.MustNew("e", "s") != coordinate.Stored("e", "s") {
		t.Error("Stored and New differ for the same names")
	}
}

func TestRegionContains(t *testing.T) {
	c := coordinate.MustNew("order:1042", "eu")
	for _, tt := range []struct {
		name   string
		region coordinate.Region
		want   bool
	}{
		{"zero holds all", coordinate.Region{}, true},
		{"entity", coordinate.Region{Entity: "order:1042"}, true},
		{"other entity", coordinate.Region{Entity: "order:104"}, false},
		{"prefix", coordinate.Region{EntityPrefix: "order:"}, true},
		{"prefix is plain bytes", coordinate.Region{EntityPrefix: "order:10"}, true},
		{"whole as prefix", coordinate.Region{EntityPrefix: "order:1042"}, true},
		{"longer prefix", coordinate.Region{EntityPrefix: "order:1042x"}, false},
		{"scope", coordinate.Region{Scope: "eu"}, true},
		{"other scope", coordinate.Region{Scope: "e"}, false},
		{"all agree", coordinate.Region{Entity: "order:1042", EntityPrefix: "ord", Scope: "eu"}, true},
		{"one does not", coordinate.Region{Entity: "order:1042", EntityPrefix: "x", Scope: "eu"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.region.Contains(c); got != tt.want {
				t.Errorf("%+v.Contains(%v) = %v, want %v", tt.region, c, got, tt.want)
			}
		})
	}
}

func FuzzCoordinate(f *testing.F) {
	for _, seed := range []string{"", "e", "a/b", "..", "\x00", "\u0085", "\xff", strings.Repeat("語", 342), "🛒"} {
		f.Add(seed, "s")
		f.Add("e", seed)
	}
	valid := func(s string) bool {
		return s != "" && len(s) <= coordinate.MaxLen && utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
	}
	f.Fuzz(func(t *testing.T, entity, scope string) {
		c, err := coordinate.New(entity, scope)
		if got, want := err == nil, valid(entity) && valid(scope); got != want {
			t.Fatalf("New(%q, %q) = %v, want accepted = %v", entity, scope, err, want)
		}
		if err == nil && (c.Entity() != entity || c.Scope() != scope) {
			t.Fatalf("New(%q, %q) = %q, %q", entity, scope, c.Entity(), c.Scope())
		}
		var e *coordinate.Error
		if err != nil && (!errors.As(err, &e) || e.Offset < 0 || e.Offset > e.Len) {
			t.Fatalf("New(%q, %q) = %#v, want *Error with an offset inside", entity, scope, err)
		}
	})
}

func BenchmarkNew(b *testing.B) {
	for _, bb := range []struct{ name, entity string }{{"ascii", "order:00001042"}, {"greek", "παραγγελία:1042"}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bb.entity) + 2))
			for b.Loop() {
				if _, err := coordinate.New(bb.entity, "eu"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
