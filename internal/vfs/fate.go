package vfs

import (
	"math/rand/v2"
	"slices"
)

// A fate is what becomes of an op in doubt.
type fate struct {
	kind fateKind
	cut  int    // bytes that arrived, of fateTorn and fateTornZero
	seed uint64 // of fateGarbage and fateBlocks
}

type fateKind uint8

const (
	fateLost     fateKind = iota
	fateKept              // as written
	fateTorn              // only the first cut bytes arrived
	fateTornZero          // the same, but the file has grown, with zeros behind the cut
	fateZero              // zeros arrived in the place of the bytes
	fateGarbage           // garbage arrived in the place of the bytes
	fateBlocks            // each block has a fate of its own
)

// applyTo makes the change of a write or truncate to c, as far as its fate lets it. Fillings leave bytes
// before fillFrom as they are.
func (r *rec) applyTo(c *content, f fate, fillFrom int64) {
	if f.kind == fateLost {
		return
	}
	if r.op.Kind == OpTruncate {
		c.truncate(r.op.Size)
		return
	}
	data, off := r.op.Data, r.op.Off
	switch f.kind {
	case fateKept:
		r.write(c, data, off)
	case fateTorn:
		r.write(c, data[:f.cut], off)
	case fateTornZero:
		r.write(c, data[:f.cut], off)
		c.extend(off + int64(len(data)))
	case fateZero, fateGarbage:
		r.fill(c, f, off, off+int64(len(data)), fillFrom)
	case fateBlocks:
		r.applyBlocks(c, f.seed, fillFrom)
	}
}

// write writes data, except for what lies in a dead span; the file grows all the same.
func (r *rec) write(c *content, data []byte, off int64) {
	if len(r.dead) == 0 {
		c.writeAt(data, off)
		return
	}
	end := off + int64(len(data))
	c.extend(end)
	for off < end {
		stop := r.nextEdge(off, end)
		if !r.isDead(off) {
			c.writeAt(data[:stop-off], off)
		}
		data = data[stop-off:]
		off = stop
	}
}

// nextEdge returns where the first dead span behind off starts or ends, at most end.
func (r *rec) nextEdge(off, end int64) int64 {
	for _, s := range r.dead {
		if s.start > off {
			end = min(end, s.start)
		}
		if s.end > off {
			end = min(end, s.end)
		}
	}
	return end
}

func (r *rec) isDead(off int64) bool {
	return slices.ContainsFunc(r.dead, func(s span) bool { return s.start <= off && off < s.end })
}

// fill lets zeros or garbage arrive at [start, end).
func (r *rec) fill(c *content, f fate, start, end, from int64) {
	c.extend(end)
	start = max(start, from)
	if start >= end {
		return
	}
	p := make([]byte, end-start)
	if f.kind == fateGarbage {
		rng := rand.NewChaCha8(seedOf(f.seed))
		_, _ = rng.Read(p)
	}
	r.write(c, p, start)
}

// applyBlocks gives each block of the write a fate: most are kept or lost, some are filled or torn.
func (r *rec) applyBlocks(c *content, seed uint64, fillFrom int64) {
	rng := rand.New(rand.NewPCG(seed, uint64(r.op.Index)))
	data, off := r.op.Data, r.op.Off
	for len(data) > 0 {
		n := int(min(int64(len(data)), blockSize-off%blockSize))
		switch rng.IntN(16) {
		case 0:
			r.write(c, data[:rng.IntN(n+1)], off)
		case 1:
			r.fill(c, fate{kind: fateZero}, off, off+int64(n), fillFrom)
		case 2:
			r.fill(c, fate{kind: fateGarbage, seed: rng.Uint64()}, off, off+int64(n), fillFrom)
		case 3, 4, 5, 6, 7, 8:
		default:
			r.write(c, data[:n], off)
		}
		data = data[n:]
		off += int64(n)
	}
}

// extend makes c at least size long.
func (c *content) extend(size int64) {
	if size > c.size {
		c.take()
		c.grow(size)
	}
}

// seedOf spreads a seed over the key of a generator.
func seedOf(seed uint64) (key [32]byte) {
	rng := rand.New(rand.NewPCG(seed, 0))
	for i := range key {
		key[i] = byte(rng.Uint32())
	}
	return key
}
