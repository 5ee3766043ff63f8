package index

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"sync/atomic"
)

// A keyFilter says of most idempotency keys that a sealed run does not hold them, with one look at one cache line of
// the heap. Runs that no catalog covers have one once they are asked often: the newest few segments, and the index
// blocks behind a crash. It takes 12 bits per key, and lets one strange key in 150 pass.
type keyFilter struct {
	lines  [][8]uint64
	budget *atomic.Int64 // of the Set that it was made for
}

const (
	filterBits  = 12 // per key
	filterProbe = 6  // bits that a key sets, all in one line

	// filterAfter is how often a run is asked for keys before it gets a filter: making one reads them all.
	filterAfter = 256
	// filterMost bounds the bytes of all filters of a Set. Then the oldest runs do without.
	filterMost = 16 << 20
)

// keySeed is random in each process, so that nobody who chooses keys can choose where they land.
var keySeed = rand.Uint64()

// keyHash returns the hash that filters and the keys of an index in memory go by.
func keyHash(key *[16]byte) uint64 {
	le := binary.LittleEndian
	return mix(mix(le.Uint64(key[:8])^keySeed, hashK1)^le.Uint64(key[8:]), hashK2)
}

func (f *keyFilter) size() int64 { return int64(len(f.lines)) * 64 }

// at returns the line of hash h, and its bits in it, nine bits each.
func (f *keyFilter) at(h uint64) (line *[8]uint64, positions uint64) {
	n, _ := bits.Mul64(h, uint64(len(f.lines)))
	return &f.lines[n], h * hashK1
}

func (f *keyFilter) add(h uint64) {
	line, p := f.at(h)
	for range filterProbe {
		line[p>>6&7] |= 1 << (p & 63)
		p >>= 9
	}
}

// has reports whether the key with hash h may have been added.
func (f *keyFilter) has(h uint64) bool {
	if len(f.lines) == 0 {
		return false
	}
	line, p := f.at(h)
	for range filterProbe {
		if line[p>>6&7]&(1<<(p&63)) == 0 {
			return false
		}
		p >>= 9
	}
	return true
}

// mayHold reports whether the run may hold the key that s seeks. It is for runs that no catalog covers.
func (r *run) mayHold(set *Set, s *sought) bool {
	if r.sealed == nil || s.key == nil {
		return true
	}
	f := r.sealed.filter.Load()
	if f == nil {
		if r.sealed.asked.Add(1) < filterAfter {
			return true
		}
		if f = r.sealed.makeFilter(&set.filters); f == nil {
			return true
		}
	}
	return f.has(s.filterBy())
}

// filterBy returns the hash of the key that filters go by.
func (s *sought) filterBy() uint64 {
	if !s.filtered {
		s.filtered, s.filter = true, keyHash(s.key)
	}
	return s.filter
}

// makeFilter makes the filter of the run; nil when there is no room for it, or its keys cannot be read: whoever searches
// them will say why.
func (s *Sealed) makeFilter(budget *atomic.Int64) *keyFilter {
	s.asked.Store(-filterAfter << 8) // the next attempt, if this one fails
	mp, err := s.open()
	if err != nil {
		return nil
	}
	f := &keyFilter{budget: budget}
	if n := uint64(mp.foot.Keys()); n > 0 {
		f.lines = make([][8]uint64, n*filterBits/512+1)
	}
	if budget.Add(f.size()) > filterMost {
		budget.Add(-f.size())
		return nil
	}
	err = mp.m.Guarded(func() error {
		return mp.foot.EachKey(func(key *[16]byte) { f.add(keyHash(key)) })
	})
	if err != nil || !s.filter.CompareAndSwap(nil, f) {
		budget.Add(-f.size())
		return s.filter.Load()
	}
	return f
}

// dropFilter gives up the filter of a run that is asked no more, or that a catalog covers.
func (s *Sealed) dropFilter() {
	if f := s.filter.Swap(nil); f != nil {
		f.budget.Add(-f.size())
	}
}
