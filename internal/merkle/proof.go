package merkle

import "batpak/event"

// A Prover is a whole tree over a few leaves, kept to prove the inclusion of each. Safe for concurrent use.
type Prover struct {
	size  int
	nodes []event.Hash // level by level, leaves first; the last node of an odd level stands for itself in the next
}

// NewProver returns the tree over the leaves that hold the given hashes; there is at least one.
func NewProver(hashes []event.Hash) *Prover {
	p := &Prover{size: len(hashes), nodes: make([]event.Hash, 0, 2*len(hashes)+32)}
	for i := range hashes {
		p.nodes = append(p.nodes, Leaf(&hashes[i]))
	}
	for from, n := 0, p.size; n > 1; n = (n + 1) / 2 {
		for i := 0; i+1 < n; i += 2 {
			p.nodes = append(p.nodes, Node(&p.nodes[from+i], &p.nodes[from+i+1]))
		}
		if n%2 == 1 {
			p.nodes = append(p.nodes, p.nodes[from+n-1])
		}
		from += n
	}
	return p
}

// Root returns the Merkle tree hash.
func (p *Prover) Root() event.Hash { return p.nodes[len(p.nodes)-1] }

// AppendPath appends the inclusion path of leaf i, in [0, size): the siblings from the leaf up (RFC 6962 §2.1.1).
func (p *Prover) AppendPath(dst []event.Hash, i int) []event.Hash {
	for from, n := 0, p.size; n > 1; n = (n + 1) / 2 {
		if sibling := i ^ 1; sibling < n {
			dst = append(dst, p.nodes[from+sibling])
		}
		from, i = from+n, i/2
	}
	return dst
}

// PathLen returns how many hashes the inclusion path of leaf index in a tree of size leaves has.
func PathLen(index, size uint64) int {
	count := 0
	for ; size > 1; size = size/2 + size%2 {
		if index^1 < size {
			count++
		}
		index /= 2
	}
	return count
}

// RootOf returns the root that the leaf holding h has by its inclusion path. ok is false when a tree of size leaves has
// no such leaf, or its path another length.
//
// Source: RFC 9162 §2.1.3.2.
func RootOf(h *event.Hash, index, size uint64, path []event.Hash) (root event.Hash, ok bool) {
	if index >= size || len(path) != PathLen(index, size) {
		return root, false
	}
	root = Leaf(h)
	for ; size > 1; size = size/2 + size%2 {
		switch {
		case index^1 >= size: // the last of an odd level
		case index%2 == 1:
			root, path = Node(&path[0], &root), path[1:]
		default:
			root, path = Node(&root, &path[0]), path[1:]
		}
		index /= 2
	}
	return root, true
}
