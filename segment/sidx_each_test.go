package segment

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

func TestEachHeadAndEachKeyGiveEverything(t *testing.T) {
	for seed, shape := range []sidxShape{
		{events: 0, entities: 1, scopes: 1, kinds: 1, lanes: 1},
		{events: 1, entities: 1, scopes: 1, kinds: 1, lanes: 1},
		{events: 3000, entities: 700, scopes: 2, kinds: 2, lanes: 1, sparse: true},
		{events: 3000, entities: 3, scopes: 2, kinds: 2, lanes: 900, sparse: true},
		{events: 2000, entities: 130, scopes: 2, kinds: 2, lanes: 4, gaps: true, sparse: true},
	} {
		m := newSidxModel(t, uint64(seed+40), shape)
		var streams, keys []string
		for i := range m.events {
			h := &m.events[i]
			streams = append(streams, fmt.Sprintf("%s %010d", h.Coordinate.Entity(), h.Lane))
			if h.Key.Hash != [16]byte{} {
				keys = append(keys, string(h.Key.Hash[:]))
			}
		}
		slices.Sort(streams)
		slices.Sort(keys)
		f := m.open(t)
		var got []string
		if err := f.EachHead(func(entity []byte, lane uint32) {
			got = append(got, fmt.Sprintf("%s %010d", entity, lane))
		}); err != nil {
			t.Fatal(err)
		}
		if want := slices.Compact(streams); !slices.Equal(got, want) {
			t.Errorf("shape %d: EachHead gives %d heads, want %d", seed, len(got), len(want))
		}
		got = nil
		if err := f.EachKey(func(hash *[16]byte) { got = append(got, string(hash[:])) }); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, keys) || int(f.Keys()) != len(keys) {
			t.Errorf("shape %d: EachKey gives %d keys, want %d", seed, len(got), len(keys))
		}
	}
}

// A walk over a damaged footer gives what is there, or an error that says where the damage is.
func TestEachHeadFindsDamage(t *testing.T) {
	m := newSidxModel(t, 50, sidxShape{events: 300, entities: 40, scopes: 2, kinds: 2, lanes: 3, sparse: true})
	found := 0
	const block = 256 // bytes that share one test, whose maps are closed at its end
	step := 1
	if testing.Short() {
		step = 8
	}
	for from := int(m.end); from < len(m.file); from += block {
		t.Run(fmt.Sprint(from), func(t *testing.T) {
			for i := from; i < min(from+block, len(m.file)); i += step {
				found += eachHeadFinds(t, m, i)
			}
		})
	}
	if found < int(m.open(t).heads)*headLen/step {
		t.Errorf("damage was found at %d bytes only", found)
	}
}

// eachHeadFinds damages byte i and reports, as 0 or 1, whether a walk over all heads and keys finds it.
func eachHeadFinds(t *testing.T, m *sidxModel, i int) int {
	m.file[i] ^= 0x20
	defer func() { m.file[i] ^= 0x20 }()
	f, err := OpenFooter(mapBytes(t, m.file), m.header.Store, m.header.Segment)
	if err == nil {
		err = errors.Join(f.EachHead(func([]byte, uint32) {}), f.EachKey(func(*[16]byte) {}))
	}
	var fe *FooterError
	if err != nil && !errors.As(err, &fe) {
		t.Fatalf("byte %d: %v, want *FooterError", i, err)
	}
	if err != nil {
		return 1
	}
	return 0
}

// Records with sound checksums that make no sense are errors, never faults.
func TestEachHeadRefusesImpossibleRecords(t *testing.T) {
	shape := sidxShape{events: 300, entities: 40, scopes: 2, kinds: 2, lanes: 3, sparse: true}
	for at := range 3 * entityLen {
		m := newSidxModel(t, 51, shape)
		f := m.open(t)
		m.file[f.base+int64(f.t.sections[secEntities].off)+int64(at)] ^= 0x80
		forgeFooter(m, m.file)
		again, err := OpenFooter(mapBytes(t, m.file), m.header.Store, m.header.Segment)
		if err != nil {
			t.Fatalf("byte %d: OpenFooter = %v", at, err)
		}
		var fe *FooterError
		if err := again.EachHead(func([]byte, uint32) {}); err != nil && !errors.As(err, &fe) {
			t.Errorf("byte %d: %v, want *FooterError", at, err)
		}
	}
}
