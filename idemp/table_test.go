package idemp

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
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
		Seq: seq, HLC: event.HLC(seq) << 20, Clock: seq/2 + 1, Fence: uint64(i) % 3,
		Lane: uint32(i % 3), Depth: uint32(i), Kind: event.MustKind(1, i%4000),
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
