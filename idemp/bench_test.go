package idemp

import (
	"math/rand/v2"
	"testing"

	"batpak/internal/vfs"
)

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
