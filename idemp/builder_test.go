package idemp

import (
	"errors"
	"maps"
	"strings"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"batpak/internal/vfs"
)

// build writes a table of u and fresh with a Builder that holds limit entries, and opens it.
func build(dir vfs.Dir, u Update, fresh []Entry, limit int) (*Table, error) {
	u.Store = storeA
	b := NewBuilder(dir, u)
	b.limit = limit
	for i := range fresh {
		if err := b.Add(&fresh[i]); err != nil {
			return nil, errors.Join(err, b.Discard())
		}
	}
	if err := b.Write(); err != nil {
		return nil, err
	}
	return Open(dir, storeA)
}

// TestBuilderIsItsModel: whatever a Builder writes aside on its way, the table is that of all entries.
func TestBuilderIsItsModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := vfs.NewMem()
		dir := open(t, m)
		want, from := model{}, uint64(1)
		var old *Table
		for range rapid.IntRange(1, 3).Draw(rt, "writes") {
			from += rapid.Uint64Range(0, 60).Draw(rt, "window")
			var fresh []Entry
			for range rapid.IntRange(0, 150).Draw(rt, "fresh") {
				e := keyed(rapid.IntRange(0, 120).Draw(rt, "key"), rapid.Uint64Range(1, 300).Draw(rt, "seq"))
				fresh = append(fresh, e)
				if e.Seq >= want[e.Key.Hash].Seq {
					want[e.Key.Hash] = e
				}
			}
			maps.DeleteFunc(want, func(_ [keyLen]byte, e Entry) bool { return e.Seq < from })
			tab, err := build(dir, Update{Old: old, From: from}, fresh, rapid.IntRange(1, 70).Draw(rt, "limit"))
			if err != nil {
				rt.Fatal(err)
			}
			if why := want.differs(tab, entries(130)...); why != "" {
				rt.Fatal(why)
			}
			if old != nil {
				old.Close()
			}
			old = tab
			if files := m.Files(); len(files) != 1 {
				rt.Fatalf("%d files, want %s alone", len(files), FileName)
			}
		}
		old.Close()
	})
}

// TestBuilderLarge merges runs of several pages with an old table.
func TestBuilderLarge(t *testing.T) {
	all := entries(60 * perPage)
	dir := open(t, vfs.NewMem())
	old := table(t, dir, Update{Fresh: all[:20*perPage], From: 1})
	tab, err := build(dir, Update{Old: old, From: 50}, all[10*perPage:], 4*perPage+3)
	if err != nil {
		t.Fatal(err)
	}
	defer tab.Close()
	if why := modelOf(all[49:]).differs(tab, all[:49]...); why != "" {
		t.Error(why)
	}
}

// TestBuilderFails fails every call to the file system: the old table is there or the new one, and nothing else.
func TestBuilderFails(t *testing.T) {
	all := entries(3 * perPage)
	for n := 1; ; n++ {
		m := vfs.NewMem()
		old := table(t, open(t, m), Update{Fresh: all[:perPage], From: 1})
		faulty := vfs.Inject(m, vfs.FailAt(n, vfs.Decision{Err: syscall.EIO}))
		dir, err := faulty.OpenDir(vfs.MemDir, vfs.DirOptions{})
		if err == nil {
			var tab *Table
			if tab, err = build(dir, Update{Old: old, From: 1}, all[perPage:], perPage); err == nil {
				tab.Close()
			}
		}
		if err != nil && !errors.Is(err, syscall.EIO) {
			t.Fatalf("call %d: %v", n, err)
		}
		tab, openErr := Open(open(t, m), storeA)
		if openErr != nil {
			t.Fatalf("call %d: %v", n, openErr)
		}
		if whole := modelOf(all).differs(tab); whole != "" && (err == nil || modelOf(all[:perPage]).differs(tab) != "") {
			t.Errorf("call %d, %v: %s", n, err, whole)
		}
		tab.Close()
		if faulty.Count() < n {
			return
		}
	}
}

// TestBuilderSpillRots flips bits of what a Builder has written aside: it says so, and the old table stays.
func TestBuilderSpillRots(t *testing.T) {
	all := entries(4 * perPage)
	for bit := range 8 * perPage * entryLen / 97 {
		m := vfs.NewMem()
		dir := open(t, m)
		old := table(t, dir, Update{Fresh: all[:perPage], From: 1})
		b := NewBuilder(dir, Update{Store: storeA, Old: old, From: 1})
		b.limit = 2 * perPage
		for i := range all[perPage:] {
			if err := b.Add(&all[perPage+i]); err != nil {
				t.Fatal(err)
			}
		}
		at := pageLen + bit*97/8
		if _, err := b.aside.WriteAt([]byte{m.Files()[SpillName][at] ^ 1<<(bit%8)}, int64(at)); err != nil {
			t.Fatal(err)
		}
		err := b.Write()
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), SpillName) {
			t.Fatalf("bit %d: Write = %v", bit, err)
		}
		if why := modelOf(all[:perPage]).differs(old); why != "" || m.Files()[SpillName] != nil {
			t.Fatalf("bit %d: %s", bit, why)
		}
		old.Close()
	}
}

// TestBuilderDiscard leaves nothing, after a crash, too: a spill file that lies there is made anew.
func TestBuilderDiscard(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	m.SetFile(SpillName, []byte("left over"))
	b := NewBuilder(dir, Update{Store: storeA, From: 5})
	b.limit = 2
	for _, e := range entries(8) {
		if err := b.Add(&e); err != nil {
			t.Fatal(err)
		}
	}
	if b.Added() != 4 || b.From() != 5 || len(m.Files()[SpillName]) == 0 {
		t.Errorf("Added = %d, From = %d, %d bytes aside", b.Added(), b.From(), len(m.Files()[SpillName]))
	}
	for range 2 {
		if err := b.Discard(); err != nil || len(m.Files()) > 0 {
			t.Errorf("Discard = %v, %d files", err, len(m.Files()))
		}
	}
}

func TestWindowStart(t *testing.T) {
	for _, tt := range []struct{ last, window, want uint64 }{
		{0, 1, 1}, {1, 1, 1}, {2, 1, 2}, {9, 10, 1}, {10, 10, 1}, {11, 10, 2}, {1 << 63, 1 << 62, 1<<63 - 1<<62 + 1},
	} {
		if got := WindowStart(tt.last, tt.window); got != tt.want {
			t.Errorf("WindowStart(%d, %d) = %d, want %d", tt.last, tt.window, got, tt.want)
		}
	}
}
