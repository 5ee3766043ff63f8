package batpak

import (
	"batpak/event"
	"batpak/index"
)

// A streamKey names what a clock and a chain belong to.
type streamKey struct {
	entity string
	lane   uint32
}

// A streamHead is what the next event of a stream builds on. Without a clock the stream has no event.
type streamHead struct {
	key   streamKey
	clock uint64
	seq   uint64
	hash  event.Hash

	depth uint32 // of the last event, on another lane than 0, if deep
	deep  bool   // depth is known
}

// streams holds the heads of the streams that the active segment has events of; the runs hold all of them. It goes
// with the segment, so that its size does not follow the number of streams in the store. Owned by the committer.
type streams struct {
	old   map[streamKey]*streamHead // of the segment before, up to streamsKept
	main  []*streamHead             // of lane 0, by the entity's number in the active segment; nil: not looked up
	lanes map[streamKey]*streamHead // of the other lanes
	tops  map[string]uint32         // highest lane of an entity, at least, where a fork has asked for it
	undo  []streamUndo              // changes of the group being staged, oldest first
}

// A streamUndo takes one change back.
type streamUndo struct {
	head  *streamHead
	seq   uint64
	hash  event.Hash
	depth uint32
	deep  bool
}

func newStreams() *streams {
	return &streams{lanes: make(map[streamKey]*streamHead), tops: make(map[string]uint32)}
}

// streamsKept is how many heads outlive their segment: those who append to many streams find most of them here instead
// of in the runs. They take about 3 MiB.
const streamsKept = 16 << 10

// reset makes room for the heads of another segment, which numbers entities anew.
func (c *streams) reset() {
	c.old = make(map[streamKey]*streamHead, min(len(c.main), streamsKept))
	for _, h := range c.main {
		if h != nil && len(c.old) < streamsKept {
			c.old[h.key] = h
		}
	}
	clear(c.main)
	c.main = c.main[:0]
	clear(c.lanes)
	clear(c.tops)
}

// head returns the head of a stream, which belongs to c; advance changes it. entity is the number of k.entity.
func (c *streams) head(set *index.Set, entity uint32, k streamKey) (*streamHead, error) {
	if k.lane != 0 {
		if h := c.lanes[k]; h != nil {
			return h, nil
		}
	} else if int(entity) < len(c.main) && c.main[entity] != nil {
		return c.main[entity], nil
	}
	h := c.old[k]
	if h == nil {
		h = &streamHead{key: k}
		if err := lookupHead(set, k, h); err != nil {
			return nil, err
		}
	}
	if k.lane != 0 {
		c.lanes[k] = h
		return h, nil
	}
	for len(c.main) <= int(entity) {
		c.main = append(c.main, nil)
	}
	c.main[entity] = h
	return h, nil
}

// lookupHead fills h from the runs.
func lookupHead(set *index.Set, k streamKey, h *streamHead) error {
	v := set.Acquire()
	if v == nil {
		return ErrClosed
	}
	defer v.Release()
	found, ok, err := v.Head(k.entity, k.lane)
	if err != nil || !ok {
		return err
	}
	h.clock, h.seq, h.hash = found.Clock, found.Seq, found.Hash
	return nil
}

// advance records that the stream of h has a new last event, whose hash the caller sets; a rollback takes it back. The
// depth matters on another lane than 0.
func (c *streams) advance(h *streamHead, seq uint64, depth uint32) {
	c.undo = append(c.undo, streamUndo{head: h, seq: h.seq, hash: h.hash, depth: h.depth, deep: h.deep})
	h.clock++
	h.seq = seq
	if h.key.lane == 0 {
		return
	}
	h.depth, h.deep = depth, true
	if top, ok := c.tops[h.key.entity]; ok {
		c.tops[h.key.entity] = max(top, h.key.lane)
	}
}

// rollback takes back every change since the undo log was keep long.
func (c *streams) rollback(keep int) {
	for i := len(c.undo) - 1; i >= keep; i-- {
		u := &c.undo[i]
		u.head.clock--
		u.head.seq, u.head.hash = u.seq, u.hash
		u.head.depth, u.head.deep = u.depth, u.deep
	}
	c.undo = c.undo[:keep]
}

// settle forgets how to take changes back: they are committed.
func (c *streams) settle() { c.undo = c.undo[:0] }
