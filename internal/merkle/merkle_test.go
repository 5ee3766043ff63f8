package merkle

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"batpak/event"
)

// leafAt returns the hash of event i.
func leafAt(i int) event.Hash {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(i))
	return sha256.Sum256(b[:])
}

// A record is the tree as golang.org/x/mod computes it: an implementation that shares no code with ours.
type record struct {
	t      *testing.T
	hashes []tlog.Hash
}

func (r *record) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, at := range indexes {
		out[i] = r.hashes[at]
	}
	return out, nil
}

func (r *record) append(n int, h event.Hash) {
	r.t.Helper()
	stored, err := tlog.StoredHashes(int64(n), h[:], r)
	if err != nil {
		r.t.Fatal(err)
	}
	r.hashes = append(r.hashes, stored...)
}

func (r *record) root(n int) event.Hash {
	r.t.Helper()
	root, err := tlog.TreeHash(int64(n), r)
	if err != nil {
		r.t.Fatal(err)
	}
	return event.Hash(root)
}

func TestAgainstSumDB(t *testing.T) {
	const leaves = 1100 // past four tiles
	ref := &record{t: t}
	var tree Range
	var tiles []event.Hash
	for n := range leaves {
		if n > 0 && tree.Root() != ref.root(n) {
			t.Fatalf("Root of %d leaves = %x, want %x", n, tree.Root(), ref.root(n))
		}
		h := leafAt(n)
		ref.append(n, h)
		tile, ok := tree.Append(&h)
		if complete := (n+1)%(1<<TileHeight) == 0; ok != complete {
			t.Fatalf("leaf %d completes a tile = %v, want %v", n, ok, complete)
		}
		if ok {
			tiles = append(tiles, tile)
		}
	}
	for i, tile := range tiles {
		want := ref.hashes[tlog.StoredHashIndex(TileHeight, int64(i))]
		if tile != event.Hash(want) {
			t.Errorf("tile %d = %x, want %x", i, tile, want)
		}
	}
	// The compact range is the perfect subtrees, largest first.
	at := int64(0)
	for i, h := range tree.Hashes() {
		level := 63 - countLeading(uint64(leaves)-uint64(at))
		want := ref.hashes[tlog.StoredHashIndex(level, at>>level)]
		if h != event.Hash(want) {
			t.Errorf("range hash %d = %x, want %x", i, h, want)
		}
		at += 1 << level
	}
	if at != leaves {
		t.Errorf("range covers %d leaves, want %d", at, leaves)
	}
}

func countLeading(n uint64) int {
	zeroes := 0
	for ; n>>63 == 0; n <<= 1 {
		zeroes++
	}
	return zeroes
}

// A proof made from the hashes that segments keep is accepted by an independent verifier.
func TestProofsVerify(t *testing.T) {
	ref := &record{t: t}
	const leaves = 300
	var tree Range
	for n := range leaves {
		h := leafAt(n)
		ref.append(n, h)
		tree.Append(&h)
	}
	for _, n := range []int64{0, 1, 255, 256, 299} {
		proof, err := tlog.ProveRecord(leaves, n, ref)
		if err != nil {
			t.Fatal(err)
		}
		h := leafAt(int(n))
		if err := tlog.CheckRecord(proof, leaves, tlog.Hash(tree.Root()), n, tlog.Hash(Leaf(&h))); err != nil {
			t.Errorf("CheckRecord(%d): %v", n, err)
		}
	}
}

func TestEmptyTree(t *testing.T) {
	var tree Range
	want, _ := hex.DecodeString("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855") // RFC 6962 §2.1
	if root := tree.Root(); string(root[:]) != string(want) {
		t.Errorf("Root of nothing = %x, want %x", root, want)
	}
	if tree.Size() != 0 || len(tree.Hashes()) != 0 {
		t.Errorf("zero Range has %d leaves, %d hashes", tree.Size(), len(tree.Hashes()))
	}
}

func TestNewRangeContinues(t *testing.T) {
	var whole Range
	for n := range 600 {
		resumed, ok := NewRange(whole.Size(), whole.Hashes())
		if !ok {
			t.Fatalf("NewRange(%d) refused its own hashes", whole.Size())
		}
		h := leafAt(n)
		clone := whole.Clone()
		tile1, ok1 := whole.Append(&h)
		tile2, ok2 := resumed.Append(&h)
		if whole.Root() != resumed.Root() || tile1 != tile2 || ok1 != ok2 {
			t.Fatalf("a range continued at %d leaves differs", n)
		}
		if clone.Size() != uint64(n) {
			t.Fatalf("Clone grew to %d with its original", clone.Size())
		}
	}
	for _, tt := range []struct {
		name   string
		size   uint64
		hashes int
	}{{"one too many", 4, 2}, {"one too few", 3, 1}, {"hashes of nothing", 0, 1}, {"none", 1, 0}, {"all ones", 1<<64 - 1, 63}} {
		if _, ok := NewRange(tt.size, make([]event.Hash, tt.hashes)); ok {
			t.Errorf("%s: NewRange(%d, %d hashes) is ok", tt.name, tt.size, tt.hashes)
		}
	}
}

// Many leaves at once make the tree that they make one by one, wherever they begin and however many they are.
func TestAppendAll(t *testing.T) {
	const leaves = 3000
	all := make([]event.Hash, leaves)
	for i := range all {
		all[i] = leafAt(i)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		var one, many Range
		var wantTiles, tiles []event.Hash
		for at := 0; at < leaves; {
			n := min(1+rng.IntN(1<<rng.IntN(12)), leaves-at)
			for i := range n {
				if tile, ok := one.Append(&all[at+i]); ok {
					wantTiles = append(wantTiles, tile)
				}
			}
			tiles = many.AppendAll(tiles, all[at:at+n])
			if at += n; many.Size() != one.Size() || many.Root() != one.Root() || !slices.Equal(tiles, wantTiles) {
				t.Fatalf("AppendAll up to leaf %d: root %x, %d tiles, want %x, %d", at, many.Root(), len(tiles), one.Root(), len(wantTiles))
			}
		}
	}
}

// Leaves and nodes never collide, and order matters.
func TestPrefixes(t *testing.T) {
	a, b := leafAt(1), leafAt(2)
	if Node(&a, &b) == Node(&b, &a) {
		t.Error("Node does not depend on the order")
	}
	if Leaf(&a) == a || Leaf(&a) == sha256.Sum256(a[:]) {
		t.Error("Leaf has no prefix")
	}
}

func TestFolder(t *testing.T) {
	const leaves = 1000
	var want Range
	var tiles []event.Hash
	all := make([]event.Hash, leaves)
	for i := range all {
		all[i] = leafAt(i)
		if tile, ok := want.Append(&all[i]); ok {
			tiles = append(tiles, tile)
		}
	}
	f := NewFolder(Range{})
	var got []event.Hash
	for i := 0; i < leaves; i += 7 {
		f.Take(all[i:min(i+7, leaves)]...)
		if i%3 == 0 {
			f.Fold()
		}
		if i == 490 {
			got = append(got, f.Cut().Tiles...)
		}
	}
	tree := f.Cut()
	got = append(got, tree.Tiles...)
	if tree.Size != leaves || tree.Root != want.Root() || !slices.Equal(tree.Range, want.Hashes()) {
		t.Errorf("Cut = %d leaves, root %x, want %d, %x", tree.Size, tree.Root, leaves, want.Root())
	}
	if !slices.Equal(got, tiles) {
		t.Errorf("tiles of two cuts: %d, want %d equal ones", len(got), len(tiles))
	}
	if n := f.Pending(); n != 0 {
		t.Errorf("Pending = %d behind Cut, want 0", n)
	}
	if again := f.Cut(); len(again.Tiles) != 0 || again.Root != tree.Root {
		t.Errorf("a second Cut has %d tiles, root %x", len(again.Tiles), again.Root)
	}
}

// One goroutine takes, another folds: order is that of taking.
func TestFolderConcurrent(t *testing.T) {
	const leaves = 5000
	f := NewFolder(Range{})
	var want Range
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				f.Fold()
			}
		}
	})
	for i := range leaves {
		h := leafAt(i)
		want.Append(&h)
		f.Take(h)
	}
	close(stop)
	wg.Wait()
	if tree := f.Cut(); tree.Root != want.Root() || tree.Size != leaves {
		t.Errorf("Cut = %d leaves, root %x, want %d, %x", tree.Size, tree.Root, leaves, want.Root())
	}
}

// BenchmarkAppendAll appends leaves by the thousand; one op is one leaf.
func BenchmarkAppendAll(b *testing.B) {
	var tree Range
	hashes := make([]event.Hash, 1024)
	var tiles []event.Hash
	b.ReportAllocs()
	b.SetBytes(event.HashLen)
	for n := 0; b.Loop(); n++ {
		if n%len(hashes) == 0 {
			tiles = tree.AppendAll(tiles[:0], hashes)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	var tree Range
	h := leafAt(1)
	b.ReportAllocs()
	b.SetBytes(event.HashLen)
	for b.Loop() {
		tree.Append(&h)
	}
}

// A folder remembers its last tree, and earlier ones not far apart, however small the folds are.
func TestFolderAt(t *testing.T) {
	f := NewFolder(Range{})
	if _, ok := f.At(10); ok {
		t.Error("At of a new folder")
	}
	const leaves = 5000
	trees := make([]Range, 1, leaves+1) // by number of leaves
	var tree Range
	for n := range leaves {
		h := leafAt(n)
		tree.Append(&h)
		trees = append(trees, tree.Clone())
		f.Take(h)
		if n%3 == 2 || n == leaves-1 {
			f.Fold()
		}
	}
	for _, size := range []uint64{leaves + 1000, leaves, leaves - 1, 4000, 2500, 1234} {
		got, ok := f.At(size)
		if most := min(size, leaves); !ok || got.Size() > most || got.Size()+2*pastEvery < most ||
			size >= leaves && got.Size() != leaves || got.Root() != trees[got.Size()].Root() {
			t.Errorf("At(%d) = %d leaves, %v", size, got.Size(), ok)
		}
	}
	if _, ok := f.At(2); ok {
		t.Error("At(2) found a tree")
	}
}
