package merkle

import (
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"batpak/event"
)

// Every path of every small tree is the one that golang.org/x/mod proves, and leads to its root.
func TestPathsAgainstSumDB(t *testing.T) {
	const most = 70
	ref := &record{t: t}
	var hashes []event.Hash
	for n := 1; n <= most; n++ {
		h := leafAt(n)
		hashes = append(hashes, h)
		ref.append(n-1, h)
		tree, root := NewProver(hashes), ref.root(n)
		if tree.Root() != root {
			t.Fatalf("root of %d leaves = %x, want %x", n, tree.Root(), root)
		}
		for i := range n {
			proof, err := tlog.ProveRecord(int64(n), int64(i), ref)
			if err != nil {
				t.Fatal(err)
			}
			path := tree.AppendPath(nil, i)
			if !slices.EqualFunc(path, proof, func(a event.Hash, b tlog.Hash) bool { return a == event.Hash(b) }) {
				t.Fatalf("path of leaf %d of %d differs", i, n)
			}
			if got, ok := RootOf(&hashes[i], uint64(i), uint64(n), path); !ok || got != root {
				t.Fatalf("RootOf leaf %d of %d = %x, %v, want %x", i, n, got, ok, root)
			}
		}
	}
}

// A path leads to the root from its own leaf and place only.
func TestPathsOfOthers(t *testing.T) {
	hashes := make([]event.Hash, 11)
	for i := range hashes {
		hashes[i] = leafAt(i)
	}
	tree := NewProver(hashes)
	root := tree.Root()
	for i := range hashes {
		path := tree.AppendPath(nil, i)
		for j := range hashes {
			if got, ok := RootOf(&hashes[j], uint64(j), 11, path); ok && got == root && j != i {
				t.Errorf("the path of leaf %d proves leaf %d", i, j)
			}
			if got, ok := RootOf(&hashes[i], uint64(j), 11, path); ok && got == root && j != i {
				t.Errorf("the path of leaf %d proves it at %d", i, j)
			}
		}
		for k := range path {
			changed := slices.Clone(path)
			changed[k][k] ^= 1
			if got, ok := RootOf(&hashes[i], uint64(i), 11, changed); !ok || got == root {
				t.Errorf("leaf %d: changed hash %d of the path: %v, the same root %v", i, k, ok, got == root)
			}
		}
		for _, wrong := range [][]event.Hash{path[1:], append(slices.Clone(path), path[0])} {
			if _, ok := RootOf(&hashes[i], uint64(i), 11, wrong); ok {
				t.Errorf("leaf %d: a path of %d hashes is taken", i, len(wrong))
			}
		}
	}
	for _, at := range [][2]uint64{{0, 0}, {1, 1}, {5, 5}, {1 << 63, 1 << 63}} {
		if _, ok := RootOf(&hashes[0], at[0], at[1], nil); ok {
			t.Errorf("leaf %d of %d is there", at[0], at[1])
		}
	}
	if n := PathLen(1<<64-2, 1<<64-1); n != 63 {
		t.Errorf("PathLen of the last leaf of 2^64-1 = %d, want 63", n)
	}
}
