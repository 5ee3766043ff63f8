package event

import (
	"bytes"
	"testing"

	"batpak/coordinate"
)

// What is taken apart by OptionalOf is put together again by AppendMetaWith, for every field.
func TestOptionalRoundTrip(t *testing.T) {
	var shared Optionals
	made := map[string]Optional{}
	for _, tt := range headerCases {
		t.Run(tt.name, func(t *testing.T) {
			h := plain()
			tt.edit(&h)
			meta := AppendMeta(nil, &h)
			o := OptionalOf(meta)
			bare := h
			bare.Tags, bare.Extensions = []string{"not this one"}, nil
			if got := AppendMetaWith([]byte("x"), &bare, o); !bytes.Equal(got[1:], meta) || got[0] != 'x' {
				t.Errorf("AppendMetaWith = %x, want %x", got[1:], meta)
			}
			if again := OptionalOf(bytes.Clone(meta)); again != o {
				t.Errorf("OptionalOf the same bytes = %v, want %v", again, o)
			}
			if with := shared.Of(meta); with != o {
				t.Errorf("Optionals.Of = %v, want %v", with, o)
			}
			made[tt.name] = shared.Of(meta)
			rest := h
			rest.Lane, rest.Depth = 0, 0
			if got, want := o.IsZero(), rest.flags() == 0; got != want {
				t.Errorf("IsZero = %v, want %v", got, want)
			}
		})
	}
	for _, tt := range headerCases {
		h := plain()
		tt.edit(&h)
		if want := OptionalOf(AppendMeta(nil, &h)); made[tt.name] != want {
			t.Errorf("%s: what Optionals.Of made is %v behind others, want %v", tt.name, made[tt.name], want)
		}
	}
	h := full()
	meta := AppendMeta(nil, &h)
	before := OptionalOf(meta)
	clear(meta[fixedLen:])
	if got := AppendMetaWith(nil, &h, before); !bytes.Equal(got, AppendMeta(nil, &h)) {
		t.Error("OptionalOf kept the bytes it was given")
	}
}

func TestOptionalOfNothing(t *testing.T) {
	h := plain()
	meta := AppendMeta(nil, &h)
	for n := range meta {
		if o := OptionalOf(meta[:n]); !o.IsZero() {
			t.Errorf("OptionalOf(%d bytes) = %v, want none", n, o)
		}
	}
	if n := testing.AllocsPerRun(100, func() { OptionalOf(meta) }); n != 0 {
		t.Errorf("OptionalOf a plain event takes %v allocations, want none", n)
	}
}

func TestOptionalWithFence(t *testing.T) {
	for _, h := range []Header{
		{},
		{Fence: 5},
		{Fork: ID{1}, Correlation: ID{2}, Causation: ID{3}, Key: Key{Hash: [16]byte{4}}, Tags: []string{"t"}, Salt: [16]byte{6}},
		{Fork: ID{1}, Key: Key{Hash: [16]byte{4}}, Fence: 7, Extensions: map[string][]byte{"k": {1}}},
	} {
		h.Coordinate = coordinate.MustNew("e", "s")
		o := OptionalOf(AppendMeta(nil, &h))
		for _, h.Fence = range []uint64{0, 1, 1 << 40} {
			if got, want := o.WithFence(h.Fence), OptionalOf(AppendMeta(nil, &h)); got != want {
				t.Errorf("fence %d: %+v, want %+v", h.Fence, got, want)
			}
		}
	}
}
