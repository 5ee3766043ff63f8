package index

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

var catalogShape = testShape{entities: 60, scopes: 2, kinds: 2, lanes: 3, gaps: true, sparse: true, payload: 5}

// catalogLog returns a log of n sealed segments, each of which holds few of the streams, and an active one. The
// segments in memory stay unsealed.
func catalogLog(t testing.TB, dir vfs.Dir, seed uint64, n, perSegment int, memory ...uint64) *testLog {
	t.Helper()
	l := newTestLog(t, dir, seed, catalogShape)
	for id := range uint64(n) {
		if l.r.IntN(12) > 0 { // else it is empty
			l.add(perSegment)
		}
		l.rotate()
		if !slices.Contains(memory, id+1) {
			l.seal(id + 1)
		}
	}
	l.add(perSegment / 2)
	l.show()
	return l
}

// sealed returns the sealed segment id of the current epoch.
func (l *testLog) sealed(id uint64) (found *Sealed) {
	v := l.set.Acquire()
	defer v.Release()
	v.EachSegment(func(of uint64, s *Sealed) {
		if of == id {
			found = s
		}
	})
	return found
}

// singles returns the sealed segments [first, last] as parts.
func (l *testLog) singles(first, last uint64) (parts []CatalogPart) {
	for id := first; id <= last; id++ {
		if s := l.sealed(id); s != nil {
			parts = append(parts, CatalogPart{Sealed: s})
		}
	}
	return parts
}

var testCatalogKey = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9}

// catalog writes a catalog over parts, whose hashes have drop zeroed bits, and opens it.
func (l *testLog) catalog(drop uint8, parts ...CatalogPart) *Catalog {
	l.t.Helper()
	name, b := l.catalogBytes(drop, 0, parts...)
	if err := vfs.WriteFileAtomic(l.dir, name, b); err != nil {
		l.t.Fatal(err)
	}
	return l.openCatalog(drop, name)
}

func (l *testLog) catalogBytes(drop uint8, oldest uint64, parts ...CatalogPart) (string, []byte) {
	l.t.Helper()
	var b bytes.Buffer
	m := &merge{ctx: context.Background(), hash: newCatalogHash(testCatalogKey), oldest: oldest}
	m.hash.drop = drop
	name, size, err := m.write(&b, l.store, testCatalogKey, parts)
	if err != nil || size != int64(b.Len()) {
		l.t.Fatalf("write = %s, %d of %d bytes, %v", name, size, b.Len(), err)
	}
	return name, b.Bytes()
}

func (l *testLog) openCatalog(drop uint8, name string) *Catalog {
	l.t.Helper()
	c, err := OpenCatalog(l.dir, l.store, name)
	if err != nil {
		l.t.Fatal(err)
	}
	c.opened.Load().hash.drop = drop
	return c
}

// answers is what Head and FindKey must say of everything that there is, and of some things that there are not.
type answers struct {
	heads map[string]uint64 // last sequence by stream
	keys  map[[16]byte]uint64
}

func (l *testLog) answers() answers {
	a := answers{map[string]uint64{}, map[[16]byte]uint64{}}
	for i := range l.events {
		e := &l.events[i]
		a.heads[fmt.Sprint(e.Coordinate.Entity(), "\x00", e.Lane)] = e.Seq
		if e.Key.Hash != [16]byte{} {
			a.keys[e.Key.Hash] = e.Seq
		}
	}
	return a
}

// check compares what set says with a; it returns the first difference, or "".
func (a answers) check(set *Set) string {
	v := set.Acquire()
	defer v.Release()
	for e := range catalogShape.entities + 10 {
		for lane := range catalogShape.lanes + 1 {
			h, ok, err := v.Head(testEntity(e), lane)
			if want := a.heads[fmt.Sprint(testEntity(e), "\x00", lane)]; err != nil || h.Seq != want || ok != (want > 0) {
				return fmt.Sprintf("Head(%s, %d) = %d, %v, %v, want %d", testEntity(e), lane, h.Seq, ok, err, want)
			}
		}
	}
	for n := range uint64(510) {
		var key [16]byte
		binary.BigEndian.PutUint64(key[:], n)
		raw, ok, err := findKeyOf(v, key, 0, nil)
		if want := a.keys[key]; err != nil || raw.Seq != want || ok != (want > 0) {
			return fmt.Sprintf("FindKey(%d) = %d, %v, %v, want %d", n, raw.Seq, ok, err, want)
		}
	}
	return ""
}

func TestCatalogName(t *testing.T) {
	for _, r := range [][2]uint64{{1, 1}, {1, 4}, {17, 80}, {5, segment.MaxID}} {
		name := CatalogName(r[0], r[1])
		if first, last, ok := ParseCatalogName(name); !ok || first != r[0] || last != r[1] {
			t.Errorf("ParseCatalogName(%s) = %d, %d, %v", name, first, last, ok)
		}
	}
	for _, name := range []string{
		"", ".fbcat", "-.fbcat", "0000000001.fbcat", "0000000001-0000000004.fbat", "1-4.fbcat",
		"0000000004-0000000001.fbcat", "0000000000-0000000001.fbcat", "0000000001-+000000004.fbcat",
		"0000000001-0000000004.fbcat.tmp", "0000000001-0000000004-0000000005.fbcat",
	} {
		if _, _, ok := ParseCatalogName(name); ok {
			t.Errorf("ParseCatalogName(%q) holds", name)
		}
	}
}

// A catalog says of every stream and key what the footers say.
func TestCatalogAgainstFooters(t *testing.T) {
	for seed := range uint64(6) {
		l := catalogLog(t, memDir(t), 60+seed, 14, 30)
		left, right := l.catalog(0, l.singles(1, 4)...), l.catalog(0, l.singles(5, 7)...)
		merged := l.catalog(0, append([]CatalogPart{{Catalog: left}, {Catalog: right}}, l.singles(8, 11)...)...)
		_, straight := l.catalogBytes(0, 0, l.singles(1, 11)...)
		if _, again := l.catalogBytes(0, 0, CatalogPart{Catalog: merged}); !bytes.Equal(straight, again) {
			t.Errorf("seed %d: a merge is not what one pass makes", seed)
		}
		for _, c := range []*Catalog{left, right, merged} {
			if why := l.disagrees(c); why != "" {
				t.Errorf("seed %d, %s: %s", seed, c.Name(), why)
			}
			c.Close()
		}
	}
}

// disagrees compares every answer of c with the events of its segments.
func (l *testLog) disagrees(c *Catalog) string {
	first, last := c.Range()
	streams, keys := map[string]uint64{}, map[[16]byte]uint64{}
	for i := range l.events {
		e := &l.events[i]
		id := uint64(0)
		for k := range l.frames {
			if h := &l.frames[k].header; h.FirstSeq <= e.Seq {
				id = h.Segment
			}
		}
		if id < first || id > last {
			continue
		}
		streams[fmt.Sprint(e.Coordinate.Entity(), "\x00", e.Lane)] = id
		keys[e.Key.Hash] = id
	}
	delete(keys, [16]byte{})
	for e := range 200 {
		for lane := range uint32(4) {
			id, ok, err := c.Stream(testEntity(e), lane)
			if want := streams[fmt.Sprint(testEntity(e), "\x00", lane)]; err != nil || id != want || ok != (want > 0) {
				return fmt.Sprintf("Stream(%s, %d) = %d, %v, %v, want %d", testEntity(e), lane, id, ok, err, want)
			}
		}
	}
	for n := range uint64(600) {
		var key [16]byte
		binary.BigEndian.PutUint64(key[:], n)
		id, ok, err := c.Key(key)
		if want := keys[key]; err != nil || id != want || ok != (want > 0) {
			return fmt.Sprintf("Key(%d) = %d, %v, %v, want %d", n, id, ok, err, want)
		}
	}
	return ""
}

// Whatever catalogs a set has, Head and FindKey answer as they do without: over random ranges that overlap, segments
// that are in memory in their midst, hashes that collide, and files that are gone, damaged or of other segments.
func TestHeadsAndKeysWithAnyCatalogs(t *testing.T) {
	for seed := range uint64(30) {
		if testing.Short() && seed%4 > 0 {
			continue
		}
		r := rand.New(rand.NewPCG(seed, 5))
		memory := []uint64{1 + r.Uint64N(20), 1 + r.Uint64N(20)}
		dir := memDir(t)
		l := catalogLog(t, dir, 100+seed, 20, 25, memory...)
		want := l.answers()
		if why := want.check(l.set); why != "" {
			t.Fatalf("seed %d, without catalogs: %s", seed, why)
		}
		for round := range 4 {
			drop := []uint8{0, 50, 60, 63}[r.IntN(4)]
			catalogs := l.randomCatalogs(r, drop, memory)
			l.set.SetCatalogs(catalogs)
			if why := want.check(l.set); why != "" {
				t.Fatalf("seed %d, round %d, drop %d, %d catalogs: %s", seed, round, drop, len(catalogs), why)
			}
		}
		// What is in memory is sealed, under catalogs that do not know it.
		for _, id := range memory {
			l.seal(id)
		}
		if why := want.check(l.set); why != "" {
			t.Fatalf("seed %d, all sealed: %s", seed, why)
		}
		if err := l.set.Close(); err != nil {
			t.Error(err)
		}
	}
}

// randomCatalogs makes catalogs over random ranges, one in a while bad.
func (l *testLog) randomCatalogs(r *rand.Rand, drop uint8, memory []uint64) (catalogs []*Catalog) {
	for range 1 + r.IntN(5) {
		first := 1 + r.Uint64N(18)
		last := first + r.Uint64N(21-first)
		parts := l.singles(first, last)
		if len(parts) == 0 {
			continue
		}
		c := l.catalog(drop, parts...)
		at := slices.IndexFunc(catalogs, func(o *Catalog) bool { return o.Name() == c.Name() })
		if at >= 0 {
			c.Close()
			continue
		}
		switch r.IntN(8) {
		case 0:
			c.Close()
			l.dir.Remove(c.Name())
			c, _ = NewCatalog(l.dir, l.store, c.Name())
		case 1:
			c.Close()
			l.flipIn(r, c.Name())
			c, _ = NewCatalog(l.dir, l.store, c.Name())
		}
		catalogs = append(catalogs, c)
	}
	return catalogs
}

// flipIn flips a bit of a file.
func (l *testLog) flipIn(r *rand.Rand, name string) {
	l.t.Helper()
	f, err := l.dir.OpenWrite(name)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Size()
	at := r.Int64N(size)
	var b [1]byte
	f.ReadAt(b[:], at)
	b[0] ^= 1 << r.IntN(8)
	f.WriteAt(b[:], at)
}

// A head costs one footer when there is a catalog, and a new entity none.
func TestCatalogSparesFooters(t *testing.T) {
	l := catalogLog(t, memDir(t), 70, 16, 30)
	l.set.SetCatalogs([]*Catalog{l.catalog(0, l.singles(1, 16)...)})
	e := l.set.current.Load()
	count := func(s *sought) (n int) {
		e.search(s, func(r *run) (bool, error) {
			n++
			_, ok, err := r.headOf(s.entity, s.lane)
			return ok, err
		})
		return n
	}
	if n := count(&sought{entity: "nobody"}); n != 1 {
		t.Errorf("%d runs were probed for a new entity, want 1, the active one", n)
	}
	for i := range l.events {
		if n := count(&sought{entity: l.events[i].Coordinate.Entity(), lane: l.events[i].Lane}); n > 2 {
			t.Fatalf("%d runs were probed for %s, want 2 at most", n, l.events[i].Coordinate.Entity())
		}
	}
	if found := l.set.CatalogFindings(); len(found) != 0 {
		t.Errorf("findings %v", found)
	}
}

// A catalog over segments of which the oldest are gone still answers for the others, and the next one is without them.
func TestCatalogOutlivesSegments(t *testing.T) {
	l := catalogLog(t, memDir(t), 71, 12, 30)
	c := l.catalog(0, l.singles(1, 10)...)
	l.set.SetCatalogs([]*Catalog{c})
	l.set.Replace([]uint64{1, 2, 3})
	kept := l.events[:0]
	for _, e := range l.events {
		if e.Seq >= l.frames[3].header.FirstSeq {
			kept = append(kept, e)
		}
	}
	l.events = kept
	want := l.answers()
	if why := want.check(l.set); why != "" {
		t.Error(why)
	}
	name, less := l.catalogBytes(0, 4, CatalogPart{Catalog: c})
	_, straight := l.catalogBytes(0, 4, l.singles(4, 10)...)
	if name != CatalogName(4, 10) || len(less) != len(straight) {
		t.Errorf("%s of %d bytes, want %s of %d", name, len(less), CatalogName(4, 10), len(straight))
	}
	if err := vfs.WriteFileAtomic(l.dir, name, less); err != nil {
		t.Fatal(err)
	}
	l.set.SetCatalogs([]*Catalog{l.openCatalog(0, name)})
	if why := want.check(l.set); why != "" {
		t.Error(why)
	}
	l.set.Replace([]uint64{6}) // in the middle: found by going on with older ones
	l.events = slices.DeleteFunc(l.events, func(e testEvent) bool {
		return e.Seq >= l.frames[5].header.FirstSeq && e.Seq < l.frames[6].header.FirstSeq
	})
	if why := l.answers().check(l.set); why != "" {
		t.Error(why)
	}
	if found := l.set.CatalogFindings(); len(found) != 0 {
		t.Errorf("findings %v", found)
	}
}

func TestCatalogOfOtherSegmentsIsStale(t *testing.T) {
	dir := memDir(t)
	l := catalogLog(t, dir, 72, 6, 30)
	c := l.catalog(0, l.singles(1, 4)...)
	if err := c.Covers([]*Sealed{l.sealed(2), l.sealed(4)}); err != nil {
		t.Errorf("Covers = %v", err)
	}
	other := *l.sealed(2).Summary()
	for name, change := range map[string]func(*segment.Summary){
		"salt":   func(s *segment.Summary) { s.Salt[3]++ },
		"end":    func(s *segment.Summary) { s.End++ },
		"last":   func(s *segment.Summary) { s.LastSeq++ },
		"number": func(s *segment.Summary) { s.Segment = 5 },
	} {
		sum := other
		change(&sum)
		var ce *CatalogError
		if err := c.Covers([]*Sealed{NewSealed(dir, &sum)}); !errors.Is(err, ErrCatalogStale) || !errors.As(err, &ce) {
			t.Errorf("%s: Covers = %v, want ErrCatalogStale", name, err)
		}
	}
	if c.Err() != nil {
		t.Errorf("a catalog that is about other segments was given up: %v", c.Err())
	}
	// In a set it is a finding, and nobody asks it.
	sum := other
	sum.Salt[0]++
	set := NewSet([]*Sealed{l.sealed(1), NewSealed(dir, &sum)}, nil)
	set.SetCatalogs([]*Catalog{c})
	v := set.Acquire()
	v.Head("nobody", 0)
	if found := set.CatalogFindings(); len(found) != 1 || !errors.Is(found[0], ErrCatalogStale) {
		t.Errorf("findings %v, want ErrCatalogStale once", found)
	}
	v.Release()
}

func TestCatalogConditions(t *testing.T) {
	dir := memDir(t)
	l := catalogLog(t, dir, 73, 5, 20)
	name, good := l.catalogBytes(0, 0, l.singles(1, 4)...)
	future := slices.Clone(good)
	binary.LittleEndian.PutUint16(future[len(good)-12:], catalogVersion+1)
	resumTrailer(future)
	flags := slices.Clone(good)
	flags[len(good)-10] = 1
	resumTrailer(flags)
	other := l.store
	other[5]++
	for _, tt := range []struct {
		what, name string
		b          []byte
		store      [16]byte
		want       error
	}{
		{"whole", name, good, l.store, nil},
		{"absent", CatalogName(1, 9), nil, l.store, ErrCatalogAbsent},
		{"empty", name, []byte{}, l.store, ErrCatalogDamaged},
		{"zeroes", name, make([]byte, 4096), l.store, ErrCatalogDamaged},
		{"longer", name, append(slices.Clone(good), 0), l.store, ErrCatalogDamaged},
		{"behind other bytes", name, append(make([]byte, 8), good...), l.store, ErrCatalogDamaged},
		{"another store", name, good, other, ErrCatalogForeign},
		{"another name", CatalogName(1, 3), good, l.store, ErrCatalogForeign},
		{"not a name", "x", good, l.store, ErrCatalogForeign},
		{"next version", name, future, l.store, ErrCatalogFuture},
		{"unknown flag", name, flags, l.store, ErrCatalogFuture},
	} {
		if tt.b != nil {
			if err := vfs.WriteFileAtomic(dir, tt.name, tt.b); err != nil {
				t.Fatal(err)
			}
		}
		c, err := OpenCatalog(dir, tt.store, tt.name)
		var ce *CatalogError
		if !errors.Is(err, tt.want) || tt.want != nil && (!errors.As(err, &ce) || ce.File != tt.name) {
			t.Errorf("%s: OpenCatalog = %v, want %v", tt.what, err, tt.want)
		}
		if c != nil {
			c.Close()
		}
	}
}

// resumTrailer puts a sound checksum on the trailer that ends b.
func resumTrailer(b []byte) {
	trailer := b[len(b)-catalogTrailer:]
	binary.LittleEndian.PutUint32(trailer[catalogTrailer-4:], sumOf(trailer[:catalogTrailer-4]))
}

// Names and keys of any pattern spread evenly: a search looks at a few slots, whatever the key of the hash.
func TestCatalogHashSpreads(t *testing.T) {
	const n = 100_000
	for _, key := range [][16]byte{{}, testCatalogKey} {
		hash := newCatalogHash(key)
		for name, of := range map[string]func(i uint32) uint64{
			"names": func(i uint32) uint64 { return hashStream(hash, fmt.Sprintf("customer:%d", i), 0) },
			"lanes": func(i uint32) uint64 { return hashStream(hash, "one", i) },
			"keys": func(i uint32) uint64 {
				var key [16]byte
				binary.LittleEndian.PutUint32(key[4:], i)
				return hash.key(&key)
			},
		} {
			hashes := make([]uint64, n)
			for i := range hashes {
				hashes[i] = of(uint32(i))
			}
			slices.Sort(hashes)
			h, next, far := catalogHead{homes: homesFor(n)}, uint64(0), uint64(0)
			for i, v := range hashes {
				if i > 0 && v == hashes[i-1] {
					t.Errorf("%s: two of %d collide", name, n)
				}
				home := h.home(v)
				next = max(next, home)
				far = max(far, next-home)
				next++
			}
			if far > 100 {
				t.Errorf("%s: a slot is %d from its home", name, far)
			}
		}
	}
}
