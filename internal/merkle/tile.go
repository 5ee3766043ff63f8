package merkle

import (
	"encoding/binary"

	"batpak/event"
)

// tileLen is the number of leaves of a tile.
const tileLen = 1 << TileHeight

// A tiler computes the hashes of whole tiles, two nodes of one level at a time where the processor has a use for that:
// a tree that grows leaf by leaf has to wait for every node before it can begin the next one.
type tiler struct {
	level [tileLen]event.Hash
	// The padded messages of two leaves and of two nodes.
	leaves [2][64]byte
	nodes  [2][128]byte
}

func (t *tiler) init() {
	for i := range 2 {
		l, n := t.leaves[i][:], t.nodes[i][:]
		l[0], l[1+event.HashLen] = leafPrefix, 0x80
		binary.BigEndian.PutUint64(l[len(l)-8:], 8*(1+event.HashLen))
		n[0], n[1+2*event.HashLen] = nodePrefix, 0x80
		binary.BigEndian.PutUint64(n[len(n)-8:], 8*(1+2*event.HashLen))
	}
}

// appendTiles is AppendAll for whole tiles.
func (r *Range) appendTiles(tiles, hashes []event.Hash) []event.Hash {
	var t tiler
	t.init()
	for ; len(hashes) > 0; hashes = hashes[tileLen:] {
		tile := t.tile((*[tileLen]event.Hash)(hashes))
		r.push(tile, TileHeight)
		tiles = append(tiles, tile)
	}
	return tiles
}

// tile returns the hash of the tile over hashes.
func (t *tiler) tile(hashes *[tileLen]event.Hash) event.Hash {
	var out [2]event.Hash
	for i := 0; i < tileLen; i += 2 {
		copy(t.leaves[0][1:], hashes[i][:])
		copy(t.leaves[1][1:], hashes[i+1][:])
		sum2(&out, &t.leaves[0][0], &t.leaves[1][0], len(t.leaves[0])/64)
		t.level[i], t.level[i+1] = out[0], out[1]
	}
	for width := tileLen / 2; width > 1; width /= 2 {
		for i := 0; i < width; i += 2 {
			t.node(0, 2*i)
			t.node(1, 2*i+2)
			sum2(&out, &t.nodes[0][0], &t.nodes[1][0], len(t.nodes[0])/64)
			t.level[i], t.level[i+1] = out[0], out[1]
		}
	}
	return Node(&t.level[0], &t.level[1])
}

// node makes message number lane that of the node over two hashes of the level.
func (t *tiler) node(lane, at int) {
	copy(t.nodes[lane][1:], t.level[at][:])
	copy(t.nodes[lane][1+event.HashLen:], t.level[at+1][:])
}
