package index

import "math/bits"

// A KeyProbe is an idempotency key that [View.Sift] is asked about.
type KeyProbe struct {
	Key [16]byte
	Of  int // what the caller has it for
	// May says that the key may have been used: [View.FindKey] knows. When it is false, FindKey would find nothing.
	May bool

	touched byte   // what touch has read: nothing depends on it
	hash    uint64 // keyHash
	catalog uint64 // hash for catalogs
}

// NewKeyProbe returns a probe for a key.
func NewKeyProbe(key [16]byte, of int) KeyProbe {
	return KeyProbe{Key: key, Of: of, hash: keyHash(&key)}
}

// Twins returns what the first two of probes that have the same key are of; twice the same where all keys differ.
func Twins(probes []KeyProbe) (first, second int) {
	if len(probes) < 2 {
		return 0, 0
	}
	// An open-addressing table of places in probes, plus one.
	slots := make([]uint32, 1<<bits.Len(uint(2*len(probes))))
	mask := uint32(len(slots) - 1)
	for i := range probes {
		p := &probes[i]
		at := uint32(p.hash) & mask
		for ; slots[at] != 0; at = (at + 1) & mask {
			if q := &probes[slots[at]-1]; q.Key == p.Key {
				return q.Of, p.Of
			}
		}
		slots[at] = uint32(i) + 1
	}
	return 0, 0
}

// siftMost is how many keys are looked for together: so many that waiting for memory is shared, and so few that what was
// fetched for the first is still near when the last one has been.
const siftMost = 32

// Sift says which keys may have been used: nearly always none. What [View.FindKey] does for one key after the other it
// does for many at once, so that their places are fetched together. It opens nothing, and where a place is not ready to
// be asked, or does not hold, it says that a key may be there.
func (v *View) Sift(probes []KeyProbe, from uint64) {
	for n := 0; len(probes) > 0; probes = probes[n:] {
		n = min(siftMost, len(probes))
		v.sift(probes[:n], from)
	}
}

// sift is Sift for a few.
func (v *View) sift(probes []KeyProbe, from uint64) {
	s := sieve{e: v.e, probes: probes, from: from}
	for i := range probes {
		probes[i].May = false
	}
	ok := false
	if o := v.e.anyCatalog(); o == nil {
		ok = s.sift()
	} else if err := o.m.Guarded(func() error { ok = s.sift(); return nil }); err != nil {
		ok = false
	}
	for i := 0; i < len(probes) && !ok; i++ {
		probes[i].May = true
	}
}

// anyCatalog returns a catalog that is in use, nil when there is none. One guard is for all maps: it is about the
// goroutine.
func (e *epoch) anyCatalog() *openCatalog {
	for i := range e.spans {
		if o := e.spans[i].catalog.opened.Load(); o != nil {
			return o
		}
	}
	return nil
}

// A sieve is a [View.Sift] under way.
type sieve struct {
	e      *epoch
	probes []KeyProbe
	from   uint64
	by     catalogHash // that KeyProbe.catalog is of
}

// sift reports whether every place could be asked.
func (s *sieve) sift() bool {
	if runs := s.e.runs; len(s.probes) == 1 && len(runs) == 1 && runs[0].memory != nil {
		s.askMemory(&runs[0].memory.keys) // nothing to fetch at the same time
		return true
	}
	for r, sp := range s.places {
		switch {
		case sp != nil:
			s.touchCatalog(sp.catalog)
		case r.memory != nil:
			s.touchMemory(&r.memory.keys)
		default:
			s.touchFilter(r.sealed.filter.Load())
		}
	}
	for r, sp := range s.places {
		ok := true
		switch {
		case sp != nil:
			ok = s.askCatalog(sp)
		case r.memory != nil:
			s.askMemory(&r.memory.keys)
		default:
			ok = s.askFilter(r.sealed.filter.Load())
		}
		if !ok {
			return false
		}
	}
	return true
}

// places yields where keys may be, as [epoch.search] would go through them: spans that a catalog is asked for, and runs
// that none covers.
func (s *sieve) places(yield func(*run, *span) bool) {
	runs, spans := s.e.runs, s.e.spans
	for i := len(runs) - 1; i >= 0; i-- {
		if i+1 < len(runs) && runs[i+1].first <= s.from {
			return
		}
		if last := len(spans) - 1; last >= 0 && i == spans[last].hi-1 {
			sp := &spans[last]
			spans, i = spans[:last], sp.lo
			if !yield(nil, sp) {
				return
			}
		} else if !yield(&runs[i], nil) {
			return
		}
	}
}

func (s *sieve) touchMemory(t *keyTable) {
	slots := t.table.Load().slots
	for i := range s.probes {
		p := &s.probes[i]
		p.touched += byte(slots[slotTag(p.hash)&uint32(len(slots)-1)].Load())
	}
}

func (s *sieve) askMemory(t *keyTable) {
	slots := t.table.Load()
	for i := range s.probes {
		p := &s.probes[i]
		_, _, ok := slots.next(p.hash, slotTag(p.hash))
		p.May = p.May || ok
	}
}

func (s *sieve) touchFilter(f *keyFilter) {
	if f == nil || len(f.lines) == 0 {
		return
	}
	for i := range s.probes {
		p := &s.probes[i]
		line, _ := f.at(p.hash)
		p.touched += byte(line[0])
	}
}

func (s *sieve) askFilter(f *keyFilter) bool {
	if f == nil {
		return false // who looks in the run makes one, in time
	}
	for i := range s.probes {
		p := &s.probes[i]
		p.May = p.May || f.has(p.hash)
	}
	return true
}

// hashBy sees to it that the hashes of the keys are those of a catalog; catalogs of one store nearly always share theirs.
func (s *sieve) hashBy(c catalogHash) {
	if s.by == c {
		return
	}
	s.by = c
	for i := range s.probes {
		s.probes[i].catalog = c.key(&s.probes[i].Key)
	}
}

func (s *sieve) touchCatalog(c *Catalog) {
	o := c.opened.Load()
	if o == nil {
		return
	}
	s.hashBy(o.hash)
	for i := range s.probes {
		p := &s.probes[i]
		p.touched += o.touch(p.catalog)
	}
}

func (s *sieve) askCatalog(sp *span) bool {
	o := sp.catalog.opened.Load()
	if o == nil || sp.verdict.Load() != spanFits || sp.catalog.Err() != nil {
		return false
	}
	s.hashBy(o.hash)
	for i := range s.probes {
		p := &s.probes[i]
		_, ok, err := o.find(p.catalog)
		if err != nil {
			return false // who asks it alone will say why
		}
		p.May = p.May || ok
	}
	return true
}
