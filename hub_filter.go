package batpak

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync/atomic"

	"batpak/event"
	"batpak/index"
)

// A hubKey is the hash of something that a query asks for and an event has.
type hubKey uint64

// hubSeed sees to it that nobody can choose names that share a key.
var hubSeed = maphash.MakeSeed()

// A hubPart is what a key is made of.
type hubPart uint8

// The parts, first those that few events share.
const (
	hubEntity hubPart = iota
	hubCausation
	hubCorrelation
	hubTag
	hubScope
	hubPrefix
	hubAny // every event
)

// A hubShape is a sort of keys.
type hubShape struct {
	part  hubPart
	kinds bool // the kind is part of the key
	len   int  // hubPrefix: bytes of the entity
}

// A hubPlace is where a follower may stand.
type hubPlace struct {
	shape hubShape
	key   hubKey
}

// mostPlaces bounds under how many keys one follower stands.
const mostPlaces = 64

// prefixLens are the lengths that prefixes are cut to, so that an event has few keys.
var prefixLens = [...]int{48, 32, 24, 20, 16, 14, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}

// hubChoices returns where a follower that asks for q may stand: in all places of any one choice.
func hubChoices(q *index.Query) (choices [][]hubPlace) {
	add := func(part hubPart, names ...string) {
		if len(names) > 0 && len(names) <= mostPlaces {
			choices = append(choices, hubPlaces(q, part, names))
		}
	}
	one := func(part hubPart, name string) {
		if name != "" {
			add(part, name)
		}
	}
	if q.ToHLC == 0 { // else any event may end it
		one(hubEntity, q.Entity)
		add(hubEntity, q.Entities...)
		if q.Causation != (event.ID{}) {
			add(hubCausation, string(q.Causation[:]))
		}
		if q.Correlation != (event.ID{}) {
			add(hubCorrelation, string(q.Correlation[:]))
		}
		for _, tag := range q.Tags {
			add(hubTag, tag)
		}
		one(hubScope, q.Scope)
		one(hubPrefix, q.EntityPrefix)
		add(hubPrefix, q.EntityPrefixes...)
	}
	if len(choices) == 0 {
		add(hubAny, "")
	}
	return choices
}

// hubPlaces returns the places of one choice, each once.
func hubPlaces(q *index.Query, part hubPart, names []string) (places []hubPlace) {
	kinds := q.Kinds
	if q.Categories != 0 || q.ToHLC != 0 || len(kinds)*len(names) > mostPlaces {
		kinds = nil
	}
	for _, name := range names {
		s := hubShape{part: part, kinds: len(kinds) > 0}
		if part == hubPrefix {
			s.len = prefixLens[slices.IndexFunc(prefixLens[:], func(n int) bool { return n <= len(name) })]
			name = name[:s.len]
		}
		h := maphash.String(hubSeed, name)
		if len(kinds) == 0 {
			places = append(places, hubPlace{s, s.key(h, 0)})
		}
		for _, k := range kinds {
			places = append(places, hubPlace{s, s.key(h, k)})
		}
	}
	slices.SortFunc(places, func(a, b hubPlace) int { return cmp.Compare(a.key, b.key) })
	return slices.CompactFunc(places, func(a, b hubPlace) bool { return a.key == b.key })
}

// key makes a key from the hash of a name.
func (s hubShape) key(name uint64, kind event.Kind) hubKey {
	h := name + uint64(s.part)<<32 + uint64(s.len)<<40
	if s.kinds {
		h += uint64(kind)<<8 + 1
	}
	h *= 0x9E3779B97F4A7C15
	return hubKey(h ^ h>>29)
}

// A hubFilter tells which keys nobody stands under. The committer reads it while those who join set bits in it.
type hubFilter struct {
	shapes []hubShape // of all keys; not changed
	bits   [1 << 9]atomic.Uint64
}

// newHubFilter returns a filter for those who stand somewhere.
func newHubFilter(places map[hubKey][]*sleeper) *hubFilter {
	f := new(hubFilter)
	for _, at := range places {
		for _, s := range at {
			f.shapes = addShapes(f.shapes, s.places)
			f.add(s.places)
		}
	}
	return f
}

// addShapes adds the shapes of places that are not among shapes.
func addShapes(shapes []hubShape, places []hubPlace) []hubShape {
	for _, p := range places {
		if !slices.Contains(shapes, p.shape) {
			shapes = append(shapes, p.shape)
		}
	}
	return shapes
}

// covers reports whether f knows the shapes of places.
func (f *hubFilter) covers(places []hubPlace) bool {
	return !slices.ContainsFunc(places, func(p hubPlace) bool { return !slices.Contains(f.shapes, p.shape) })
}

// add lets places through.
func (f *hubFilter) add(places []hubPlace) {
	for _, p := range places {
		word, bit := f.at(p.key)
		word.Or(bit)
	}
}

// at returns the bit of a key.
func (f *hubFilter) at(k hubKey) (word *atomic.Uint64, bit uint64) {
	return &f.bits[k>>6%hubKey(len(f.bits))], 1 << (k % 64)
}

// appendKeys appends the keys of r under which somebody may stand.
func (f *hubFilter) appendKeys(dst []hubKey, r *event.Raw) []hubKey {
	for i := range f.shapes {
		switch s := &f.shapes[i]; s.part {
		case hubEntity:
			dst = f.appendKey(dst, s, r.Entity, r.Kind)
		case hubPrefix:
			if len(r.Entity) >= s.len {
				dst = f.appendKey(dst, s, r.Entity[:s.len], r.Kind)
			}
		case hubScope:
			dst = f.appendKey(dst, s, r.Scope, r.Kind)
		case hubCausation:
			dst = f.appendKey(dst, s, r.Causation[:], r.Kind)
		case hubCorrelation:
			dst = f.appendKey(dst, s, r.Correlation[:], r.Kind)
		case hubTag:
			for tag := range r.EachTag {
				dst = f.appendKey(dst, s, tag, r.Kind)
			}
		default:
			dst = f.appendKey(dst, s, nil, r.Kind)
		}
	}
	return dst
}

// appendKey appends the key that a name makes, unless nobody stands under it.
func (f *hubFilter) appendKey(dst []hubKey, s *hubShape, name []byte, kind event.Kind) []hubKey {
	k := s.key(maphash.Bytes(hubSeed, name), kind)
	if word, bit := f.at(k); word.Load()&bit == 0 {
		return dst
	}
	return append(dst, k)
}
