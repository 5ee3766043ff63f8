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

// A streamHead is what the next event of a stream builds on. The zero streamHead is a stream without events.
type streamHead struct {
	clock uint64
	seq   uint64
	hash  event.Hash
}

// streamsKept is how many heads each generation of the cache holds: 32 Ki heads in two generations take about 5 MiB,
// whatever the number of streams in the store.
const streamsKept = 16 << 10

// streams caches the heads of streams that were appended to lately; the runs hold all of them. It has two
// generations: a full one becomes the old one, and what is not used again goes with it. Owned by the committer.
type streams struct {
	young, old map[streamKey]*streamHead
	undo       []streamUndo // changes of the group being staged, oldest first
}

// A streamUndo takes one change back.
type streamUndo struct {
	head *streamHead
	was  streamHead
}

func newStreams() *streams {
	return &streams{young: make(map[streamKey]*streamHead)}
}

// head returns the head of a stream, which belongs to the cache; advance changes it.
func (c *streams) head(set *index.Set, k streamKey) (*streamHead, error) {
	if h := c.young[k]; h != nil {
		return h, nil
	}
	h := c.old[k]
	if h == nil {
		h = new(streamHead)
		if err := lookupHead(set, k, h); err != nil {
			return nil, err
		}
	}
	if len(c.young) >= streamsKept {
		c.old, c.young = c.young, make(map[streamKey]*streamHead, streamsKept)
	}
	c.young[k] = h
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
	*h = streamHead{clock: found.Clock, seq: found.Seq, hash: found.Hash}
	return nil
}

// advance records that the stream of h has a new last event; a rollback takes it back.
func (c *streams) advance(h *streamHead, seq uint64, hash *event.Hash) {
	c.undo = append(c.undo, streamUndo{head: h, was: *h})
	h.clock++
	h.seq, h.hash = seq, *hash
}

// rollback takes back every change since the undo log was keep long.
func (c *streams) rollback(keep int) {
	for i := len(c.undo) - 1; i >= keep; i-- {
		*c.undo[i].head = c.undo[i].was
	}
	c.undo = c.undo[:keep]
}

// settle forgets how to take changes back: they are committed.
func (c *streams) settle() { c.undo = c.undo[:0] }
