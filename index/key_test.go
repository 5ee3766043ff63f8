package index

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"batpak/event"
	"batpak/segment"
)

// keyHashed returns the hash of key number n, as even as real ones.
func keyHashed(n uint64) (key [16]byte) {
	binary.BigEndian.PutUint64(key[:], n*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(key[8:], n)
	key[0] |= 1
	return key
}

// addKeyed commits an event with key number n.
func (l *testLog) addKeyed(n uint64) uint64 {
	h := l.random()
	h.Key = event.Key{Hash: keyHashed(n)}
	l.addEvent(h)
	l.flush()
	return l.seq
}

// A keyLayout has two events under key 1, and others.
type keyLayout struct {
	name  string
	build func(l *testLog) (older, newer uint64)
}

// turn ends the active segment; sealed says whether it is served from its footer.
func (l *testLog) turn(sealed bool) {
	id := l.header.Segment
	l.rotate()
	if sealed {
		l.seal(id)
	}
}

// twoIn commits two events under key 1 to the active segment, among others.
func twoIn(l *testLog) (older, newer uint64) {
	l.add(5)
	older = l.addKeyed(1)
	l.addKeyed(2)
	newer = l.addKeyed(1)
	l.add(5)
	return older, newer
}

// apart commits the two to segments of their own: the older one is sealed, and so is the newer one if both is set.
func apart(l *testLog, between int, both bool) (older, newer uint64) {
	l.add(3)
	older = l.addKeyed(1)
	l.turn(true)
	for range between {
		l.add(4)
		l.turn(true)
	}
	l.add(2)
	newer = l.addKeyed(1)
	l.add(2)
	if both {
		l.turn(true)
	}
	return older, newer
}

// under puts a catalog over the segments [first, last].
func (l *testLog) under(ranges ...[2]uint64) {
	var all []*Catalog
	for _, r := range ranges {
		all = append(all, l.catalog(0, l.singles(r[0], r[1])...))
	}
	l.set.SetCatalogs(all)
}

var keyLayouts = []keyLayout{
	{"both in the active segment", twoIn},
	{"both in one in memory", func(l *testLog) (uint64, uint64) { a, b := twoIn(l); l.turn(false); return a, b }},
	{"both in one sealed", func(l *testLog) (uint64, uint64) { a, b := twoIn(l); l.turn(true); return a, b }},
	{"sealed and active", func(l *testLog) (uint64, uint64) { return apart(l, 2, false) }},
	{"sealed and sealed", func(l *testLog) (uint64, uint64) { return apart(l, 0, true) }},
	{"both in one segment of a catalog", func(l *testLog) (uint64, uint64) {
		a, b := twoIn(l)
		l.turn(true)
		l.add(3)
		l.turn(true)
		l.under([2]uint64{1, 2})
		return a, b
	}},
	{"in two segments of one catalog", func(l *testLog) (uint64, uint64) {
		a, b := apart(l, 2, true)
		l.under([2]uint64{1, 4})
		return a, b
	}},
	{"in two catalogs", func(l *testLog) (uint64, uint64) {
		a, b := apart(l, 2, true)
		l.under([2]uint64{1, 2}, [2]uint64{3, 4})
		return a, b
	}},
	{"catalog and sealed", func(l *testLog) (uint64, uint64) {
		a, b := apart(l, 2, true)
		l.under([2]uint64{1, 3})
		return a, b
	}},
	{"catalog and active", func(l *testLog) (uint64, uint64) {
		a, b := apart(l, 2, false)
		l.under([2]uint64{1, 3})
		return a, b
	}},
}

// TestFindKeyPassesOverTheHidden has two events under one key, as a cancelled write and its retry leave them.
func TestFindKeyPassesOverTheHidden(t *testing.T) {
	for _, layout := range keyLayouts {
		for _, filtered := range []bool{false, true} {
			l := newTestLog(t, memDir(t), 40, everything)
			older, newer := layout.build(l)
			l.show()
			l.filterAll(filtered)
			for _, tt := range []struct {
				name   string
				hidden []uint64
				want   uint64
			}{
				{"none", nil, newer}, {"the newer one", []uint64{newer}, older}, {"the older one", []uint64{older}, newer},
				{"both", []uint64{older, newer}, 0},
			} {
				v := l.set.Acquire()
				raw, ok, err := findKeyOf(v, keyHashed(1), 0, func(seq uint64) bool { return slices.Contains(tt.hidden, seq) })
				if err != nil || ok != (tt.want > 0) || raw.Seq != tt.want {
					t.Errorf("%s, filters %v, hidden is %s: FindKey = %d, %v, %v, want %d", layout.name, filtered, tt.name, raw.Seq, ok, err, tt.want)
				}
				v.Release()
			}
			l.set.Close()
		}
	}
}

// filterAll gives every sealed run a filter, or takes it.
func (l *testLog) filterAll(on bool) {
	v := l.set.Acquire()
	defer v.Release()
	for _, s := range v.e.sealed {
		s.dropFilter()
		if on && s.makeFilter(&l.set.filters) == nil {
			l.t.Fatal("no filter")
		}
	}
}

// TestFindKeyAgainstModel looks keys up in random logs: some events hidden, a random start of the window, any catalogs,
// filters or none.
func TestFindKeyAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 9))
		shape := everything
		shape.sparse = false
		l := newTestLog(t, memDir(t), 300+seed, shape)
		var keys []uint64 // of the event with the sequence of the same place in seqs
		var seqs []uint64
		for range 12 {
			for range r.IntN(20) {
				n := 1 + r.Uint64N(40)
				seqs, keys = append(seqs, l.addKeyed(n)), append(keys, n)
			}
			l.turn(r.IntN(5) > 0)
		}
		l.show()
		l.filterAll(r.IntN(2) == 0)
		l.set.SetCatalogs(l.randomCatalogs(r, []uint8{0, 60}[r.IntN(2)], nil))
		hidden := map[uint64]bool{}
		for _, seq := range seqs {
			hidden[seq] = r.IntN(3) == 0
		}
		for range 30 {
			from := r.Uint64N(l.seq + 2)
			for n := range uint64(45) {
				want := uint64(0)
				for i, seq := range seqs {
					if keys[i] == n && !hidden[seq] {
						want = seq
					}
				}
				v := l.set.Acquire()
				raw, ok, err := findKeyOf(v, keyHashed(n), from, func(seq uint64) bool { return hidden[seq] })
				if err != nil || ok && raw.Seq != want || !ok && want >= max(from, 1) {
					t.Fatalf("seed %d: FindKey(%d, from %d) = %d, %v, %v, want %d", seed, n, from, raw.Seq, ok, err, want)
				}
				probes := []KeyProbe{NewKeyProbe(keyHashed(n), 3)}
				if v.Sift(probes, from); !probes[0].May {
					if _, ok, _ := findKeyOf(v, keyHashed(n), from, nil); ok {
						t.Fatalf("seed %d: Sift says that key %d is not there, and FindKey finds it", seed, n)
					}
				}
				v.Release()
			}
		}
		if err := l.set.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestFindKeyCostsTheWindow looks for a key among many segments of which the window covers few: the files of the others
// are not opened.
func TestFindKeyCostsTheWindow(t *testing.T) {
	dir := memDir(t)
	l := newTestLog(t, dir, 41, everything)
	var sums []segment.Summary
	for range 20 {
		l.add(10)
		id := l.header.Segment
		l.rotate()
		sums = append(sums, *l.seal(id).sum)
	}
	var sealed []*Sealed
	for _, sum := range sums {
		sealed = append(sealed, NewSealed(dir, &sum))
	}
	set := NewSet(sealed, nil)
	defer set.Close()
	v := set.Acquire()
	defer v.Release()
	if _, ok, err := findKeyOf(v, keyHashed(7), sums[17].FirstSeq, nil); ok || err != nil {
		t.Fatal(ok, err)
	}
	for i, s := range sealed {
		if opened := s.mapped.Load() != nil; opened != (i >= 17) {
			t.Errorf("segment %d was opened: %v", i+1, opened)
		}
	}
}

// TestKeyFilter: a run that is asked often gets a filter, which lets every key pass that is there and few others; it goes
// with a catalog, and with the run.
func TestKeyFilter(t *testing.T) {
	l := newTestLog(t, memDir(t), 42, testShape{entities: 9, scopes: 1, kinds: 1, lanes: 1})
	const n = 4000
	for i := range uint64(n) {
		l.addKeyed(i)
	}
	l.turn(true)
	l.addKeyed(n)
	l.turn(true)
	l.show()
	find := func(key uint64) bool {
		v := l.set.Acquire()
		defer v.Release()
		_, ok, err := findKeyOf(v, keyHashed(key), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return ok
	}
	for i := range uint64(filterAfter) {
		if l.sealed(1).filter.Load() != nil {
			t.Fatalf("a filter after %d look-ups", i)
		}
		find(n + 1 + i)
	}
	f := l.sealed(1).filter.Load()
	if f == nil || l.set.filters.Load() != f.size()+l.sealed(2).filter.Load().size() {
		t.Fatalf("after %d look-ups: %v, %d bytes", filterAfter, f, l.set.filters.Load())
	}
	strange := 0
	for i := range uint64(n) {
		if !find(i) {
			t.Fatalf("key %d is not found", i)
		}
		key := keyHashed(1_000_000 + i)
		if f.has(keyHash(&key)) {
			strange++
		}
	}
	if strange > n/50 || f.size() > n*filterBits/8+64 {
		t.Errorf("%d of %d strange keys pass a filter of %d bytes", strange, n, f.size())
	}
	l.under([2]uint64{1, 2})
	if l.set.filters.Load() != 0 || !find(3) || find(n+1) {
		t.Errorf("under a catalog: %d bytes of filters", l.set.filters.Load())
	}
	l.set.filters.Store(filterMost)
	if l.sealed(1).makeFilter(&l.set.filters) != nil || l.set.filters.Load() != filterMost {
		t.Error("a filter beyond the bound")
	}
	l.set.Close()
}

// TestSiftIsSure looks for many keys at once in every layout: those that are there may be, and of the others nearly none.
func TestSiftIsSure(t *testing.T) {
	for _, layout := range keyLayouts {
		l := newTestLog(t, memDir(t), 43, everything)
		older, newer := layout.build(l)
		l.show()
		l.filterAll(true)
		v := l.set.Acquire()
		var probes []KeyProbe
		for n := range uint64(500) {
			probes = append(probes, NewKeyProbe(keyHashed(100+n), int(n)))
		}
		probes[70] = NewKeyProbe(keyHashed(1), 70)
		if v.Sift(probes, 0); len(l.set.CatalogFindings()) > 0 {
			t.Errorf("%s: %v", layout.name, l.set.CatalogFindings())
		}
		for range 2 { // catalogs are asked once somebody has opened them
			if _, ok, err := findKeyOf(v, keyHashed(99), 0, nil); ok || err != nil {
				t.Fatal(ok, err)
			}
			v.Sift(probes, 0)
		}
		may := 0
		for i := range probes {
			if probes[i].Of != i {
				t.Fatalf("%s: probe %d is of %d", layout.name, i, probes[i].Of)
			}
			if probes[i].May {
				may++
			}
		}
		if !probes[70].May || may > 25 {
			t.Errorf("%s, events %d and %d: the key may be there: %v, and so may %d keys in all", layout.name, older, newer, probes[70].May, may)
		}
		v.Release()
		l.set.Close()
	}
}

// TestTwins finds the first key that comes twice.
func TestTwins(t *testing.T) {
	probes := func(keys ...uint64) (p []KeyProbe) {
		for i, n := range keys {
			p = append(p, NewKeyProbe(keyHashed(n), 10+i))
		}
		return p
	}
	for _, tt := range []struct {
		name          string
		keys          []uint64
		first, second int
	}{
		{"none", nil, 0, 0}, {"one", []uint64{1}, 0, 0}, {"two", []uint64{1, 2}, 0, 0}, {"twice", []uint64{1, 1}, 10, 11},
		{"apart", []uint64{5, 6, 7, 8, 6, 5}, 11, 14},
	} {
		if i, j := Twins(probes(tt.keys...)); i != tt.first || j != tt.second {
			t.Errorf("%s: Twins = %d, %d, want %d, %d", tt.name, i, j, tt.first, tt.second)
		}
	}
}

// TestKeysInMemory puts keys that come again and again into a table, and looks for the newest below a row.
func TestKeysInMemory(t *testing.T) {
	const seed, rows, keys = 44, 3000, 700
	r := rand.New(rand.NewPCG(seed, 1))
	var table keyTable
	table.init()
	var of [rows]uint64
	for row := range of {
		of[row] = r.Uint64N(keys)
		key := keyHashed(of[row])
		table.add(&key, uint32(row))
	}
	table.settle()
	for range 5000 {
		n, end := r.Uint64N(keys+20), r.IntN(rows+1)
		want := end - 1
		for want >= 0 && of[want] != n {
			want--
		}
		key := keyHashed(n)
		if row, ok := table.find(&key, uint32(end)); ok != (want >= 0) || ok && int(row) != want {
			t.Fatalf("find(%d, below %d) = %d, %v, want %d", n, end, row, ok, want)
		}
	}
	if i := table.from(17); table.entries.at(i).row != 17 || table.next(i, 19) != i+2 {
		t.Errorf("from(17) = %d, next(%d, 19) = %d", i, i, table.next(i, 19))
	}
}
