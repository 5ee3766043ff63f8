package idemp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

var (
	storeA = [16]byte{1, 2, 3}
	storeB = [16]byte{9}
)

// keyed returns an entry of key number i, carried by the event with this sequence.
func keyed(i int, seq uint64) Entry {
	hash := func(of ...any) event.Hash { return sha256.Sum256(fmt.Appendln(nil, of...)) }
	key, print := hash("key", i), hash("fingerprint", i, seq)
	key[0] |= 1 // as every key's hash has it
	return Entry{
		Key: event.Key{Hash: [16]byte(key[:16]), Fingerprint: [16]byte(print[:16])}, ID: event.NewID(event.HLC(seq)<<20, seq),
		Parent: hash("parent", i, seq), Hash: hash("hash", i, seq), Content: hash("content", i, seq),
		Seq: seq, HLC: event.HLC(seq) << 20, Clock: seq/2 + 1, Lane: uint32(i % 3), Kind: event.MustKind(1, i%4000),
	}
}

// entries returns n entries with different keys.
func entries(n int) []Entry {
	all := make([]Entry, n)
	for i := range all {
		all[i] = keyed(i, uint64(i)+1)
	}
	return all
}

func open(t testing.TB, fsys vfs.FS) vfs.Dir {
	t.Helper()
	dir, err := fsys.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// table writes a file and opens it.
func table(t testing.TB, dir vfs.Dir, u Update) *Table {
	t.Helper()
	u.Store = storeA
	if err := Write(dir, u); err != nil {
		t.Fatal(err)
	}
	tab, err := Open(dir, storeA)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tab.Close() })
	return tab
}

// A model is what a table must hold, by key.
type model map[[keyLen]byte]Entry

func modelOf(all []Entry) model {
	m := model{}
	for _, e := range all {
		m[e.Key.Hash] = e
	}
	return m
}

// differs says how tab is not m, or "". absent are keys that must not be found.
func (m model) differs(tab *Table, absent ...Entry) string {
	if tab.Len() != uint64(len(m)) {
		return fmt.Sprintf("Len = %d, want %d", tab.Len(), len(m))
	}
	for key, want := range m {
		if got, ok, err := tab.Find(key); err != nil || !ok || got != want {
			return fmt.Sprintf("Find(%x) = %+v, %v, %v, want %+v", key, got, ok, err, want)
		}
	}
	for _, e := range absent {
		if _, known := m[e.Key.Hash]; known {
			continue
		}
		if got, ok, err := tab.Find(e.Key.Hash); err != nil || ok {
			return fmt.Sprintf("Find(%x) = %+v, %v, %v, want none", e.Key.Hash, got, ok, err)
		}
	}
	var all []Entry
	for e, err := range tab.All() {
		if err != nil {
			return fmt.Sprintf("All: %v", err)
		}
		all = append(all, e)
	}
	if len(all) != len(m) || !slices.IsSortedFunc(all, func(a, b Entry) int { return compareKeys(&a, &b) }) ||
		!maps.Equal(modelOf(all), m) {
		return fmt.Sprintf("All yields %d entries, want %d others, or in order", len(all), len(m))
	}
	return ""
}

func TestFind(t *testing.T) {
	unknown := entries(4000)[3000:]
	for _, n := range []int{0, 1, 2, perPage - 1, perPage, perPage + 1, 2 * perPage, 500, 3000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			all := entries(n)
			tab := table(t, open(t, vfs.NewMem()), Update{Fresh: all, From: 1})
			if why := modelOf(all).differs(tab, unknown...); why != "" {
				t.Error(why)
			}
		})
	}
}

// TestFindWhateverTheKeys: the search ends, and finds what is there, when keys do not lie evenly as hashes do.
func TestFindWhateverTheKeys(t *testing.T) {
	for name, key := range map[string]func(i uint64) (hi, lo uint64){
		"one after the other": func(i uint64) (uint64, uint64) { return 0, i + 1 },
		"at both ends":        func(i uint64) (uint64, uint64) { return -(i % 2), i + 1 },
		"doubling":            func(i uint64) (uint64, uint64) { return 1 << (i % 64), i + 1 },
		"crowded at the top":  func(i uint64) (uint64, uint64) { return ^i, ^i },
	} {
		t.Run(name, func(t *testing.T) {
			all := entries(2000)
			for i := range all {
				hi, lo := key(uint64(i))
				binary.BigEndian.PutUint64(all[i].Key.Hash[:8], hi)
				binary.BigEndian.PutUint64(all[i].Key.Hash[8:], lo)
			}
			tab := table(t, open(t, vfs.NewMem()), Update{Fresh: all, From: 1})
			if why := modelOf(all).differs(tab, entries(100)...); why != "" {
				t.Error(why)
			}
		})
	}
}

// TestTableIsItsModel writes a table again and again, from what it was and what is new, with a window that moves.
func TestTableIsItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := vfs.NewMem()
		dir := open(t, m)
		want, from := model{}, uint64(1)
		var old *Table
		for range rapid.IntRange(1, 5).Draw(rt, "writes") {
			var fresh []Entry
			for range rapid.IntRange(0, 60).Draw(rt, "fresh") {
				fresh = append(fresh, keyed(rapid.IntRange(0, 80).Draw(rt, "key"), rapid.Uint64Range(1, 300).Draw(rt, "seq")))
			}
			from += rapid.Uint64Range(0, 80).Draw(rt, "window")
			given := slices.Clone(fresh)
			u := Update{Store: storeA, Old: old, Fresh: fresh, From: from}
			if err := Write(dir, u); err != nil {
				rt.Fatal(err)
			}
			if !slices.Equal(fresh, given) {
				rt.Fatal("Write changes what it was given")
			}
			for _, e := range fresh {
				if e.Seq >= want[e.Key.Hash].Seq {
					want[e.Key.Hash] = e
				}
			}
			maps.DeleteFunc(want, func(_ [keyLen]byte, e Entry) bool { return e.Seq < from })
			tab, err := Open(dir, storeA)
			if err != nil {
				rt.Fatal(err)
			}
			if why := want.differs(tab, entries(90)...); why != "" {
				rt.Fatal(why)
			}
			if old != nil {
				if tab.Generation() != old.Generation()+1 || tab.From() != from {
					rt.Fatalf("generation %d after %d, from %d, want %d", tab.Generation(), old.Generation(), tab.From(), from)
				}
				old.Close()
			}
			old = tab
		}
		old.Close()
	})
}

// TestLargeMerge crosses the writer's blocks.
func TestLargeMerge(t *testing.T) {
	all := entries(5 * writeBlock / entryLen)
	dir := open(t, vfs.NewMem())
	old := table(t, dir, Update{Fresh: all[:2*len(all)/3], From: 1})
	tab := table(t, dir, Update{Old: old, Fresh: all[len(all)/3:], From: 100})
	if why := modelOf(all[99:]).differs(tab, all[:99]...); why != "" {
		t.Error(why)
	}
	if why := modelOf(all[:2*len(all)/3]).differs(old); why != "" {
		t.Errorf("the old table, replaced: %s", why)
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	all := entries(5000)
	disk, err := vfs.OS.OpenDir(t.TempDir(), vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	tab := table(t, disk, Update{Fresh: all, From: 1})
	i := 0
	find := func() {
		if _, ok, err := tab.Find(all[i%len(all)].Key.Hash); !ok || err != nil {
			t.Fatal(ok, err)
		}
		i += 97
	}
	for range all {
		find() // every page is checked once
	}
	if n := testing.AllocsPerRun(1000, find); n != 0 {
		t.Errorf("Find allocates %v times, want 0", n)
	}
}

// BenchmarkFind is beside its floor: a copy of an entry from a place that is known.
func BenchmarkFind(b *testing.B) {
	dir, err := vfs.OS.OpenDir(b.TempDir(), vfs.DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	const n = 200_000
	all, unknown := entries(n), entries(n + 1000)[n:]
	tab := table(b, dir, Update{Fresh: all, From: 1})
	rng := rand.New(rand.NewPCG(1, 2))
	rng.Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	for _, bench := range []struct {
		name string
		keys []Entry
	}{{"known", all}, {"unknown", unknown}} {
		b.Run(bench.name, func(b *testing.B) {
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := tab.Find(bench.keys[i].Key.Hash); err != nil {
					b.Fatal(err)
				}
				if i++; i == len(bench.keys) {
					i = 0
				}
			}
		})
	}
	b.Run("floor", func(b *testing.B) {
		var e Entry
		var buf [entryLen]byte
		i := uint64(0)
		b.ReportAllocs()
		for b.Loop() {
			tab.m.ReadAt(buf[:], pageAt(i*7919%tab.pages()))
			decodeEntry(buf[:], &e)
			i++
		}
	})
}

// BenchmarkWrite merges an old table with a tenth of new entries.
func BenchmarkWrite(b *testing.B) {
	dir, err := vfs.OS.OpenDir(b.TempDir(), vfs.DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	const n = 100_000
	all := entries(n + n/10)
	old := table(b, dir, Update{Fresh: all[:n], From: 1})
	b.SetBytes(int64(len(all)) * entryLen)
	b.ReportAllocs()
	for b.Loop() {
		if err := Write(dir, Update{Store: storeA, Old: old, Fresh: all[n:], From: 1}); err != nil {
			b.Fatal(err)
		}
	}
}

// mustBe ends the test unless err is a *FileError with the condition want, and with no other.
func mustBe(t *testing.T, what string, err, want error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) || fe.File != FileName || fe.Err != want {
		t.Fatalf("%s: %v, want a *FileError with %v", what, err, want)
	}
	for _, other := range []error{ErrAbsent, ErrDamaged, ErrForeign, ErrFuture} {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%s: %v is %v, too", what, err, other)
		}
	}
}

// sealAll sets every checksum, so that what stands under them is looked at.
func sealAll(b []byte, store [16]byte) []byte {
	if len(b) < pageLen {
		return b
	}
	h := header{store: store, generation: binary.LittleEndian.Uint64(b[offStore+16:])}
	for page := uint64(0); pageAt(page+1) <= int64(len(b)); page++ {
		p := b[pageAt(page):][:pageLen]
		binary.LittleEndian.PutUint32(p[pageLen-4:], pageSum(h.seed(), page, p))
	}
	binary.LittleEndian.PutUint32(b[offSum:], headerSum(b[:pageLen]))
	return b
}

// use opens the file and looks at all of it.
func use(dir vfs.Dir, store [16]byte) (int, error) {
	tab, err := Open(dir, store)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, err := range tab.All() {
		if err != nil {
			return n, errors.Join(err, tab.Close())
		}
		n++
	}
	return n, tab.Close()
}

func TestOpen(t *testing.T) {
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	number := func(at int, v uint64) func([]byte) []byte {
		return put(at, binary.LittleEndian.AppendUint64(nil, v)...)
	}
	const first, second = pageLen, 2 * pageLen
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"intact", func(b []byte) []byte { return b }, nil},
		{"another generation", number(offStore+16, 77), nil},
		{"empty", func([]byte) []byte { return []byte{} }, ErrDamaged},
		{"header only", func(b []byte) []byte { return b[:pageLen] }, ErrDamaged},
		{"magic", put(0, 'X'), ErrDamaged},
		{"page length", put(8, 1), ErrDamaged},
		{"version 0", put(offVersion, 0), ErrDamaged},
		{"version 2", put(offVersion, 2), ErrFuture},
		{"flag", put(offVersion+2, 1), ErrFuture},
		{"version 2 of another length", func(b []byte) []byte { return append(put(offVersion, 2)(b), 5) }, ErrFuture},
		{"entry length", put(offVersion+4, 1), ErrDamaged},
		{"other store", put(offStore, 7), ErrForeign},
		{"generation 0", number(offStore+16, 0), ErrDamaged},
		{"count too high", number(offStore+24, 1000), ErrDamaged},
		{"count far too high", number(offStore+24, 1<<63), ErrDamaged},
		{"count too low", number(offStore+24, 1), ErrDamaged},
		{"count one too low", number(offStore+24, perPage+6), ErrDamaged},
		{"window 0", number(offStore+32, 0), ErrDamaged},
		{"window above an entry", number(offStore+32, 9), ErrDamaged},
		{"rest of the header", put(headerLen+9, 1), ErrDamaged},
		{"a page more", func(b []byte) []byte { return append(b, make([]byte, pageLen)...) }, ErrDamaged},
		{"a page less", func(b []byte) []byte { return b[:second] }, ErrDamaged},
		{"key zero", put(first, make([]byte, keyLen)...), ErrDamaged},
		{"sequence zero", number(first+144, 0), ErrDamaged},
		{"clock zero", number(first+160, 0), ErrDamaged},
		{"end of an entry", put(first+174, 1), ErrDamaged},
		{"end of a page", put(first+pageLen-9, 1), ErrDamaged},
		{"end of the last page", put(second+8*entryLen, 1), ErrDamaged},
		{"keys not sorted", put(first+entryLen, 0, 0), ErrDamaged},
		{"key twice", func(b []byte) []byte { copy(b[first+entryLen:], b[first:][:keyLen]); return b }, ErrDamaged},
		{"pages not sorted", put(second, 0, 0), ErrDamaged},
		{"pages swapped", func(b []byte) []byte {
			half := bytes.Clone(b[first : first+4*entryLen])
			copy(b[first:], b[second:second+4*entryLen])
			copy(b[second:], half)
			return b
		}, ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			table(t, open(t, m), Update{Fresh: entries(perPage + 7), From: 1})
			m.SetFile(FileName, sealAll(tt.change(m.Files()[FileName]), storeA))
			n, err := use(open(t, m), storeA)
			if tt.want != nil {
				mustBe(t, tt.name, err, tt.want)
			} else if err != nil || n != perPage+7 {
				t.Errorf("%d entries, %v, want %d", n, err, perPage+7)
			}
		})
	}
}

// TestFileGolden fixes the bytes: an old file must be read for ever.
func TestFileGolden(t *testing.T) {
	m := vfs.NewMem()
	table(t, open(t, m), Update{Fresh: entries(perPage + 1), From: 1})
	sum := sha256.Sum256(m.Files()[FileName])
	if got, want := hex.EncodeToString(sum[:]), "aee0473a7d4af8f2d951a0c79ff05c41247f707d6b079b30a4f9625ebe002fb5"; got != want {
		t.Errorf("SHA-256 of the file = %s, want %s", got, want)
	}
}

// TestEveryBitAndLength: a file that differs by one bit, ends early or goes on is never taken for one, and no key gets
// a wrong answer from it.
func TestEveryBitAndLength(t *testing.T) {
	all := entries(perPage + 3)
	want := modelOf(all)
	m := vfs.NewMem()
	dir := open(t, m)
	table(t, dir, Update{Fresh: all, From: 1})
	whole := m.Files()[FileName]
	refuse := func(what string, b []byte) {
		t.Helper()
		m.SetFile(FileName, b)
		_, err := use(dir, storeA)
		mustBe(t, what, err, ErrDamaged)
	}
	for bit := range 8 * len(whole) {
		if testing.Short() && bit%29 != 0 {
			continue
		}
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		refuse(fmt.Sprint("flip of bit ", bit), b)
		if bit%61 != 0 {
			continue
		}
		tab, err := Open(dir, storeA)
		if err != nil {
			continue
		}
		for key, e := range want {
			if got, ok, err := tab.Find(key); err == nil && (!ok || got != e) {
				t.Fatalf("bit %d: Find(%x) = %+v, %v", bit, key, got, ok)
			}
		}
		tab.Close()
	}
	for n := range whole {
		if n < 200 || n%37 == 0 || n%pageLen < 3 {
			refuse(fmt.Sprint("cut to ", n), whole[:n])
		}
	}
	for n := 1; n <= pageLen; n += n/4 + 1 {
		refuse("zeroes behind", append(bytes.Clone(whole), make([]byte, n)...))
		refuse("own end behind", append(bytes.Clone(whole), whole[len(whole)-n:]...))
	}
}

// TestPagesOfOtherFilesDoNotHold: the same page of another generation, of another store, or of another place.
func TestPagesOfOtherFilesDoNotHold(t *testing.T) {
	all := entries(3 * perPage)
	m := vfs.NewMem()
	dir := open(t, m)
	old := table(t, dir, Update{Fresh: all, From: 1})
	first := m.Files()[FileName]
	table(t, dir, Update{Old: old, From: 1})
	second := m.Files()[FileName]
	if err := Write(dir, Update{Store: storeB, Fresh: all, From: 1}); err != nil {
		t.Fatal(err)
	}
	third := m.Files()[FileName]
	page := func(b []byte, n int) []byte { return b[n*pageLen:][:pageLen] }
	for name, other := range map[string][]byte{
		"generation": page(first, 2), "store": page(third, 2), "place": page(second, 1),
	} {
		b := bytes.Clone(second)
		copy(page(b, 2), other)
		m.SetFile(FileName, b)
		_, err := use(dir, storeA)
		mustBe(t, name, err, ErrDamaged)
	}
}

func TestAbsentAndForeign(t *testing.T) {
	dir := open(t, vfs.NewMem())
	_, err := Open(dir, storeA)
	mustBe(t, "no file", err, ErrAbsent)
	tab := table(t, dir, Update{Fresh: entries(3), From: 1})
	_, err = Open(dir, storeB)
	mustBe(t, "other store", err, ErrForeign)
	mustBe(t, "table of another store", Write(dir, Update{Store: storeB, Old: tab}), ErrForeign)
}

// TestCrashInWrite: whatever a power failure leaves of a replacement, the old table is there or the new one.
func TestCrashInWrite(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	all := entries(2 * perPage)
	before, after := modelOf(all[:perPage]), modelOf(all[9:])
	old := table(t, dir, Update{Fresh: all[:perPage], From: 1})
	start := m.OpCount()
	table(t, dir, Update{Old: old, Fresh: all[perPage:], From: 10})
	states := 0
	for ops := start; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, vfs.StateOptions{Workload: t.Name(), MaxTorn: 8}) {
			states++
			tab, err := Open(open(t, state.FS()), storeA)
			if err != nil {
				t.Fatalf("%s: %v", state.Name, err)
			}
			if why := after.differs(tab); why != "" && (ops == m.OpCount() || before.differs(tab) != "") {
				t.Errorf("%s: %s", state.Name, why)
			}
			tab.Close()
		}
	}
	t.Logf("%d states", states)
}

// TestWriteFails fails every call to the file system: the table that was there is there still, or the new one.
func TestWriteFails(t *testing.T) {
	all := entries(2 * perPage)
	for n := 1; ; n++ {
		m := vfs.NewMem()
		old := table(t, open(t, m), Update{Fresh: all[:perPage], From: 1})
		faulty := vfs.Inject(m, vfs.FailAt(n, vfs.Decision{Err: syscall.EIO}))
		dir, err := faulty.OpenDir(vfs.MemDir, vfs.DirOptions{})
		if err == nil {
			err = Write(dir, Update{Store: storeA, Old: old, Fresh: all[perPage:], From: 1})
		}
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d: %v", n, err)
		}
		tab, openErr := Open(open(t, m), storeA)
		if openErr != nil {
			t.Fatalf("call %d: %v", n, openErr)
		}
		whole := modelOf(all).differs(tab)
		if whole != "" && (err == nil || modelOf(all[:perPage]).differs(tab) != "") {
			t.Errorf("call %d, %v: %s", n, err, whole)
		}
		tab.Close()
		if faulty.Count() < n {
			return
		}
	}
}

// TestDamagedOldTable: nothing is forgotten silently.
func TestDamagedOldTable(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	table(t, dir, Update{Fresh: entries(2 * perPage), From: 1})
	b := m.Files()[FileName]
	b[2*pageLen+5] ^= 1
	m.SetFile(FileName, b)
	old, err := Open(dir, storeA)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	mustBe(t, "Write", Write(dir, Update{Store: storeA, Old: old, Fresh: entries(1), From: 1}), ErrDamaged)
	if !bytes.Equal(m.Files()[FileName], b) {
		t.Error("a failed Write has replaced the file")
	}
}

func TestEntryOf(t *testing.T) {
	h := event.Header{
		Seq: 7, ID: event.NewID(9<<20, 7), HLC: 9 << 20, Clock: 3, Kind: event.MustKind(2, 5), Lane: 4,
		Key: event.Key{Hash: [16]byte{1}, Fingerprint: [16]byte{2}}, Coordinate: coordinate.MustNew("e", "s"),
	}
	payload := []byte("payload")
	hash := event.Hash{5}
	body := append(append(event.AppendMeta(nil, &h), hash[:]...), payload...)
	raw, err := event.DecodeBody(body)
	if err != nil {
		t.Fatal(err)
	}
	want := Entry{
		Key: h.Key, ID: h.ID, Parent: event.Hash{6}, Hash: hash, Content: event.ContentHash([16]byte{}, payload),
		Seq: 7, HLC: h.HLC, Clock: 3, Lane: 4, Kind: h.Kind,
	}
	if got := EntryOf(&raw, event.Hash{6}); got != want {
		t.Errorf("EntryOf = %+v, want %+v", got, want)
	}
}

// FuzzOpen gives bytes as they are, and once more with checksums that hold, so that what stands under them is reached.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 2, perPage + 1} {
		m := vfs.NewMem()
		table(f, open(f, m), Update{Fresh: entries(n), From: 1})
		f.Add(m.Files()[FileName])
	}
	known := entries(perPage + 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			m := vfs.NewMemFrom(map[string][]byte{FileName: b})
			dir := open(t, m)
			tab, err := Open(dir, storeA)
			if err != nil {
				mustBeTyped(t, err)
				return
			}
			defer tab.Close()
			for i := range known {
				if _, _, err := tab.Find(known[i].Key.Hash); err != nil {
					mustBeTyped(t, err)
				}
			}
			for e, err := range tab.All() {
				if err != nil {
					mustBeTyped(t, err)
					return
				}
				if got, ok, err := tab.Find(e.Key.Hash); err != nil || !ok || got != e {
					// Only a table whose pages are out of order may lose a key, and All says so.
					if _, err := use(dir, storeA); err == nil {
						t.Fatalf("Find(%x) = %+v, %v, want %+v", e.Key.Hash, got, ok, e)
					}
				}
			}
			if _, err := use(dir, storeA); err != nil {
				return
			}
			// What holds is written again as it was, but for the generation.
			if tab.Generation() == 1<<64-1 {
				return
			}
			if err := Write(dir, Update{Store: storeA, Old: tab, From: tab.From()}); err != nil {
				t.Fatal(err)
			}
			again := m.Files()[FileName]
			want := bytes.Clone(b)
			binary.LittleEndian.PutUint64(want[offStore+16:], tab.Generation()+1)
			if want = sealAll(want, storeA); !bytes.Equal(again, want) {
				t.Fatalf("written again: %d bytes, want the same %d", len(again), len(want))
			}
		}
		check(b)
		b = bytes.Clone(b)
		copy(b, magic)
		if len(b) >= pageLen {
			copy(b[offStore:], storeA[:])
		}
		check(sealAll(b, storeA))
	})
}

func mustBeTyped(t *testing.T, err error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) {
		t.Fatalf("%v is not a *FileError", err)
	}
}
