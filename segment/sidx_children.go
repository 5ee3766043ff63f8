package segment

import (
	"encoding/binary"

	"batpak/event"
)

// Children returns the rows that may name id as their causation or correlation, ascending. The list is by hash: a
// caller compares the event.
func (f *Footer) Children(by Relation, id event.ID) (List, error) {
	hashes, rows := secCauseHashes, secCauseRows
	if by == ByCorrelation {
		hashes, rows = secCorrelationHashes, secCorrelationRows
	}
	n := uint32(f.t.sections[rows].len / 4)
	lo, hi, err := f.hashSpan(hashes, n, hashID(f.nameSeed, &id))
	return List{rows, lo, hi - lo}, err
}

const (
	// hashBlock is how many hashes are read at once: they nearly always tell, also where each stands there some ten times,
	// once for each child of one event.
	hashBlock = 64
	// hashGuesses is how often a place is guessed before what is left is halved.
	hashGuesses = 6
)

// A hashSearch is a search for the first of ascending hashes that is not below a key: its number is in [lo, hi].
type hashSearch struct {
	lo, hi    uint32
	low, high uint64 // hashes lo-1 and hi; at the ends, the ends of all hashes
	guesses   int
}

// block returns the hashes to read next: around the place where hashes that are spread evenly would have key.
func (s *hashSearch) block(key uint64) (start, size uint32) {
	left := s.hi - s.lo
	size, guess := min(left, hashBlock), left/2
	if width := s.high - s.low; s.guesses < hashGuesses && width > 0 {
		s.guesses++
		guess = uint32(float64(key-s.low) / float64(width) * float64(left))
	}
	return s.lo + min(guess-min(guess, size/2), left-size), size
}

// hashSpan returns which of n ascending hashes are key.
func (f *Footer) hashSpan(sec int, n uint32, key uint64) (lo, hi uint32, err error) {
	var b [8 * hashBlock]byte
	at := func(i uint32) uint64 { return binary.LittleEndian.Uint64(b[8*i:]) }
	for s := (hashSearch{hi: n, high: 1<<64 - 1}); s.lo < s.hi; {
		start, size := s.block(key)
		if err := f.read(sec, uint64(start)*8, b[:8*size]); err != nil {
			return 0, 0, err
		}
		from, to := uint32(0), size
		for from < to {
			if mid := (from + to) / 2; at(mid) < key {
				from = mid + 1
			} else {
				to = mid
			}
		}
		for to < size && at(to) == key {
			to++
		}
		switch {
		case from == size && start+size < s.hi:
			s.lo, s.low = start+size, at(size-1)
		case from == 0 && start > s.lo:
			s.hi, s.high = start, at(0)
		case to < size:
			return start + from, start + to, nil
		default:
			hi, err = f.hashEnd(sec, start+size, n, key)
			return start + from, hi, err
		}
	}
	return 0, 0, nil // there are none
}

// hashEnd returns the first of the hashes [lo, n) that is above key, where all before them that count are key. These are few,
// or most of the list: doubling steps find their end either way.
func (f *Footer) hashEnd(sec int, lo, n uint32, key uint64) (uint32, error) {
	hi := lo
	for step := uint32(1); hi < n; step *= 2 {
		v, err := f.uint64At(sec, hi)
		if err != nil {
			return 0, err
		}
		if v != key {
			break
		}
		lo = hi + 1
		hi += min(step, n-hi)
	}
	return lowerBound(lo, hi, func(i uint32) (bool, error) {
		v, err := f.uint64At(sec, i)
		return v <= key, err
	})
}
