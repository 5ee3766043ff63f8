package merkle

import (
	"runtime"
	"sync"

	"batpak/event"
)

// A Folder takes event hashes in commit order and folds them into a [Range] off the append path: taking one costs a
// copy, folding one costs three SHA-256 blocks and is left to whoever calls [Folder.Fold]. Safe for concurrent use.
type Folder struct {
	mu      sync.Mutex     // guards the next four
	pending [][]event.Hash // taken, not folded
	count   int            // in pending
	taken   uint64         // leaves, folded and pending
	spare   [][]event.Hash // empty

	fold  sync.Mutex // guards what is below; taken before mu
	tree  Range
	tiles []event.Hash // completed since the last Cut
	past  []Range      // trees after earlier folds, ascending; see At
}

// chunkLen is how many pending hashes lie together, so that taking many copies none twice.
// spareMost is how many chunks are kept for later.
const (
	chunkLen  = 512
	spareMost = 16
)

// pastMost is how many trees a folder remembers, pastEvery how many leaves apart they are at least, but for the last.
const (
	pastMost  = 64
	pastEvery = 512
)

// A Tree is what a segment keeps of the Merkle tree at its end.
type Tree struct {
	Size  uint64
	Root  event.Hash
	Range []event.Hash // compact range, largest subtree first
	Tiles []event.Hash // hashes at TileHeight completed since the segment began
}

// NewFolder returns a folder that continues tree.
func NewFolder(tree Range) *Folder { return &Folder{tree: tree.Clone(), taken: tree.Size()} }

// Take adds hashes; they are copied. It never waits for a fold.
func (f *Folder) Take(hashes ...event.Hash) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count += len(hashes)
	for len(hashes) > 0 {
		if len(f.pending) == 0 || f.taken%chunkLen == 0 {
			f.pending = append(f.pending, f.chunkLocked())
		}
		n := min(len(hashes), int(chunkLen-f.taken%chunkLen))
		last := &f.pending[len(f.pending)-1]
		*last = append(*last, hashes[:n]...)
		hashes, f.taken = hashes[n:], f.taken+uint64(n)
	}
}

// chunkLocked returns an empty chunk.
func (f *Folder) chunkLocked() []event.Hash {
	last := len(f.spare) - 1
	if last < 0 {
		return make([]event.Hash, 0, chunkLen)
	}
	chunk := f.spare[last]
	f.spare = f.spare[:last]
	return chunk
}

// Pending returns how many hashes wait to be folded.
func (f *Folder) Pending() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Fold folds everything taken so far.
func (f *Folder) Fold() {
	f.fold.Lock()
	defer f.fold.Unlock()
	f.foldLocked()
}

func (f *Folder) foldLocked() {
	f.mu.Lock()
	work := f.pending
	f.pending, f.count = nil, 0
	f.mu.Unlock()
	if len(work) == 0 {
		return
	}
	for _, chunk := range work {
		runtime.Gosched() // a committer that comes back from the disk must not wait for all of them
		f.tiles = f.tree.AppendAll(f.tiles, chunk)
	}
	f.mu.Lock()
	for _, chunk := range work[:min(len(work), spareMost-len(f.spare))] {
		f.spare = append(f.spare, chunk[:0])
	}
	f.mu.Unlock()
	if n := len(f.past); n > 1 && f.past[n-1].size-f.past[n-2].size < pastEvery {
		f.past = f.past[:n-1]
	} else if n == pastMost {
		f.past = append(f.past[:0], f.past[1:]...)
	}
	f.past = append(f.past, f.tree.Clone())
}

// At returns the largest tree of at most size leaves that the folder remembers: it remembers the last one, and those at
// the ends of earlier folds, some hundred leaves apart. ok is false when all of them are larger.
func (f *Folder) At(size uint64) (tree Range, ok bool) {
	f.fold.Lock()
	defer f.fold.Unlock()
	for i := len(f.past) - 1; i >= 0; i-- {
		if f.past[i].size <= size {
			return f.past[i].Clone(), true
		}
	}
	return Range{}, false
}

// Cut folds everything taken so far and returns the tree at the end of a segment. Tiles begin anew.
func (f *Folder) Cut() Tree {
	f.fold.Lock()
	defer f.fold.Unlock()
	f.foldLocked()
	t := Tree{
		Size:  f.tree.Size(),
		Root:  f.tree.Root(),
		Range: append([]event.Hash(nil), f.tree.Hashes()...),
		Tiles: f.tiles,
	}
	f.tiles = nil
	return t
}

// Len returns how many leaves the tree has with everything taken so far.
func (f *Folder) Len() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.taken
}
