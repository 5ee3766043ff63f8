// Package merkle computes the tree hash of RFC 6962 §2.1 over event hashes, one leaf at a time.
//
// A [Range] is what is left of a tree of n leaves: the hashes of the perfect subtrees that n splits into, largest
// first (Crosby and Wallach, "Efficient Data Structures for Tamper-Evident Logging", 2009). It has as many hashes as
// n has set bits, and it is all that is needed to append, to get the root, and, with the tile hashes that
// [Range.Append] reports, to prove inclusion and consistency later.
package merkle

import (
	"crypto/sha256"
	"math/bits"

	"batpak/event"
)

// TileHeight is the height of the subtrees whose hashes a SIDX keeps: 256 leaves.
const TileHeight = 8

// Prefixes of RFC 6962 §2.1: leaves and inner nodes never collide.
const (
	leafPrefix = 0
	nodePrefix = 1
)

// Leaf returns the hash of the leaf that holds h.
func Leaf(h *event.Hash) event.Hash {
	var b [1 + event.HashLen]byte
	b[0] = leafPrefix
	copy(b[1:], h[:])
	return sha256.Sum256(b[:])
}

// Node returns the hash of the inner node over two subtrees.
func Node(left, right *event.Hash) event.Hash {
	var b [1 + 2*event.HashLen]byte
	b[0] = nodePrefix
	copy(b[1:], left[:])
	copy(b[1+event.HashLen:], right[:])
	return sha256.Sum256(b[:])
}

// A Range is the compact range of a growing tree. The zero Range is the empty tree. Not safe for concurrent use.
type Range struct {
	size   uint64
	hashes []event.Hash // perfect subtrees, largest first
}

// NewRange continues a tree of size leaves; hashes are copied. ok is false when they are not as many as size demands.
func NewRange(size uint64, hashes []event.Hash) (r Range, ok bool) {
	if bits.OnesCount64(size) != len(hashes) {
		return Range{}, false
	}
	return Range{size: size, hashes: append([]event.Hash(nil), hashes...)}, true
}

// Append adds the leaf of an event's hash. Where that completes a tile, it returns the tile's hash and true.
func (r *Range) Append(h *event.Hash) (tile event.Hash, complete bool) {
	node := Leaf(h)
	for level := 0; r.size>>level&1 == 1; level++ {
		last := len(r.hashes) - 1
		node = Node(&r.hashes[last], &node)
		r.hashes = r.hashes[:last]
		if level+1 == TileHeight {
			tile, complete = node, true
		}
	}
	r.hashes = append(r.hashes, node)
	r.size++
	return tile, complete
}

// AppendAll is [Range.Append] for many leaves. It appends the hashes of the tiles that they complete to tiles.
func (r *Range) AppendAll(tiles, hashes []event.Hash) []event.Hash {
	for i := range hashes {
		if tile, ok := r.Append(&hashes[i]); ok {
			tiles = append(tiles, tile)
		}
	}
	return tiles
}

// Size returns the number of leaves.
func (r *Range) Size() uint64 { return r.size }

// Hashes returns the hashes of the perfect subtrees, largest first. They belong to r.
func (r *Range) Hashes() []event.Hash { return r.hashes }

// Clone returns a copy that grows on its own.
func (r *Range) Clone() Range {
	return Range{size: r.size, hashes: append([]event.Hash(nil), r.hashes...)}
}

// Root returns the Merkle tree hash; of no leaves it is the SHA-256 of nothing.
func (r *Range) Root() event.Hash {
	if len(r.hashes) == 0 {
		return sha256.Sum256(nil)
	}
	root := r.hashes[len(r.hashes)-1]
	for i := len(r.hashes) - 2; i >= 0; i-- {
		root = Node(&r.hashes[i], &root)
	}
	return root
}
