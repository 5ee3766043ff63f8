package vfs

import (
	"bytes"
	"crypto/sha256"
	"io"
	"slices"
	"sync/atomic"
)

// blockSize is the unit in which contents share memory, and in which random crash states keep or lose a
// write. It is the page of the systems we run on.
const blockSize = 4096

// A block holds blockSize bytes of a file. Bytes behind the end of the file are zero.
type block struct {
	data  [blockSize]byte
	owner *owner                            // the content that may write to it in place; others copy first
	sum   atomic.Pointer[[sha256.Size]byte] // memo of the hash of data, nil until asked
}

// An owner is the identity of one content between two shares.
type owner struct{ _ byte }

// zeroBlockSum is the hash of a block of zeros.
var zeroBlockSum = sha256.Sum256(make([]byte, blockSize))

// hash returns the hash of b; nil is a block of zeros.
func (b *block) hash() *[sha256.Size]byte {
	if b == nil {
		return &zeroBlockSum
	}
	if sum := b.sum.Load(); sum != nil {
		return sum
	}
	sum := sha256.Sum256(b.data[:])
	b.sum.Store(&sum)
	return &sum
}

// A content is the bytes of a file, in blocks that copies of it share until one of them writes. The zero
// content is empty. Its methods are not safe for concurrent use, but two contents that share blocks are.
type content struct {
	size   int64
	blocks []*block // ⌈size / blockSize⌉; nil is a block of zeros
	own    *owner   // nil: blocks itself is shared, too
}

// share returns a copy of c. A content that was shared and not written since is only read by it.
func (c *content) share() content {
	if c.own != nil {
		c.own = nil
	}
	return *c
}

// take makes c.blocks writable.
func (c *content) take() {
	if c.own == nil {
		c.own = new(owner)
		c.blocks = slices.Clone(c.blocks)
	}
}

// writable returns block i, writable.
func (c *content) writable(i int64) *block {
	b := c.blocks[i]
	switch {
	case b == nil:
		b = &block{owner: c.own}
	case b.owner != c.own:
		b = &block{data: b.data, owner: c.own}
	default:
		b.sum.Store(nil)
		return b
	}
	c.blocks[i] = b
	return b
}

func (c *content) readAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) && off < c.size {
		in := off % blockSize
		part := p[n:min(int64(len(p)), int64(n)+min(blockSize-in, c.size-off))]
		if b := c.blocks[off/blockSize]; b != nil {
			copy(part, b.data[in:])
		} else {
			clear(part)
		}
		n += len(part)
		off += int64(len(part))
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (c *content) writeAt(p []byte, off int64) {
	if len(p) == 0 {
		return
	}
	c.take()
	if end := off + int64(len(p)); end > c.size {
		c.grow(end)
	}
	for len(p) > 0 {
		in := off % blockSize
		part := p[:min(int64(len(p)), blockSize-in)]
		if i := off / blockSize; c.blocks[i] != nil || !isZero(part) {
			copy(c.writable(i).data[in:], part)
		}
		p = p[len(part):]
		off += int64(len(part))
	}
}

// grow makes c longer, with zeros. It must have been taken.
func (c *content) grow(size int64) {
	need := int((size + blockSize - 1) / blockSize)
	c.blocks = append(c.blocks, make([]*block, need-len(c.blocks))...)
	c.size = size
}

func (c *content) truncate(size int64) {
	c.take()
	if size >= c.size {
		c.grow(size)
		return
	}
	keep := (size + blockSize - 1) / blockSize
	clear(c.blocks[keep:])
	c.blocks = c.blocks[:keep]
	c.size = size
	if in := size % blockSize; in != 0 && c.blocks[keep-1] != nil {
		clear(c.writable(keep - 1).data[in:])
	}
}

// bytes returns a copy of all of c.
func (c *content) bytes() []byte {
	p := make([]byte, c.size)
	_, _ = c.readAt(p, 0)
	return p
}

func contentOf(data []byte) content {
	var c content
	c.writeAt(data, 0)
	return c.share()
}

var zeros [blockSize]byte

// isZero reports whether p, at most one block, is all zeros.
func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }
