package batpak

import (
	"errors"

	"batpak/event"
	"batpak/internal/planted"
	"batpak/segment"
)

// A savepoint is how far staging had come, to take one request back without the others of its group.
type savepoint struct {
	buf, staged, undo int
	seq               uint64
	hlc               event.HLC
}

func (c *committer) save() savepoint {
	return savepoint{len(c.buf), len(c.staged), len(c.streams.undo), c.seq, c.hlc}
}

func (c *committer) restore(p savepoint) {
	c.buf, c.staged, c.hashes = c.buf[:p.buf], c.staged[:p.staged], c.hashes[:p.staged]
	c.streams.rollback(p.undo)
	c.seq, c.hlc = p.seq, p.hlc
}

// stage checks a request against the log and, if it holds, puts its frames into the group buffer: known keys first,
// then conditions, then sequence, clocks and hashes. A request that fails leaves no trace.
func (s *Store) stage(r *request) error {
	c := &s.commit
	p := c.save()
	if replayed, err := s.replay(r); err != nil || replayed {
		return err
	}
	if r.batch {
		c.buf = append(c.buf, make([]byte, segment.BatchLen)...)
		c.digest.Reset()
	}
	for i := range r.items {
		if err := s.stageItem(r, i); err != nil {
			c.restore(p)
			r.settled = !c.hangs(err)
			if r.batch {
				err = &BatchError{Index: i, Err: err}
			}
			return err
		}
	}
	if r.batch {
		c.closeBatch(r, p)
	}
	if r.ack == AckDurable {
		c.durable = true
	} else if planted.On(planted.WeakestSyncWins) && s.opts.Sync != SyncAlways {
		c.durable = false
	}
	c.rememberKeys(r)
	return nil
}

// hangs reports whether err tells of an event that the group is about to commit: when the group fails, that event was
// never there, and the group's error is the answer.
func (c *committer) hangs(err error) bool {
	var conflict *ConflictError
	return errors.As(err, &conflict) && conflict.ReadAfter > c.seq-uint64(len(c.staged))
}

// stageItem stamps, links and copies one draft.
func (s *Store) stageItem(r *request, i int) error {
	c, it := &s.commit, &r.items[i]
	entity := c.active.Entity(it.at.Entity())
	head, err := c.streams.head(s.set, entity, streamKey{it.at.Entity(), it.lane})
	if err != nil {
		return err
	}
	if !it.expect.holds(head.clock) {
		return &ConflictError{Coordinate: it.at, Lane: it.lane, Want: it.expect, Have: head.clock, ReadAfter: head.seq}
	}
	c.seq++
	c.hlc = c.hlc.Next(c.wall)
	if planted.On(planted.OrderByClock) {
		c.hlc = event.HLCAt(c.wall) | c.hlc&0xffff
	}
	id := event.NewID(c.hlc, c.random.Uint64())

	from := len(c.buf)
	c.buf = append(c.buf, r.buf[it.start:it.end]...)
	frame := c.buf[from:]
	meta := frame[segment.FrameHeaderLen:][:it.metaLen]
	event.Stamp(meta, c.seq, id, c.hlc, head.clock+1)
	if it.cause >= 0 {
		event.SetCausation(meta, r.receipts[it.cause].ID)
	}
	parent := head.hash
	if r.batch && i > 0 && planted.On(planted.ChainFromBatchsLast) {
		parent = r.receipts[i-1].Hash
	}
	hash := c.linker.Link(&parent, &it.content, meta)
	copy(frame[segment.FrameHeaderLen+it.metaLen:], hash[:])
	c.finish(r, frame, from)

	c.staged = append(c.staged, span{from, len(c.buf), entity})
	c.hashes = append(c.hashes, hash)
	c.streams.advance(head, c.seq, &hash)
	r.receipts = append(r.receipts, Receipt{
		Store: s.state.StoreID, ID: id, Seq: c.seq, Coordinate: it.at, Kind: it.kind, Clock: head.clock, Lane: it.lane,
		HLC: c.hlc, Parent: parent, Hash: hash, Content: it.content,
	})
	return nil
}

// finish writes the frame's header. Only the first frame of a group carries the mark of one.
func (c *committer) finish(r *request, frame []byte, from int) {
	var flags segment.FrameFlags
	if r.batch {
		flags = segment.FlagMember
	}
	if from == 0 {
		flags |= segment.FlagGroup
	}
	c.seal.Finish(frame, c.base+int64(from), segment.TypeEvent, flags, uint32(c.writer.Durable()))
}

// closeBatch fills in the frame that opens the batch staged since p.
func (c *committer) closeBatch(r *request, p savepoint) {
	b := segment.Batch{
		Count:  uint32(len(r.items)),
		Length: uint64(len(c.buf) - p.buf - segment.BatchLen),
		First:  p.seq + 1,
	}
	for i := range c.hashes[p.staged:] {
		c.digest.Add(&c.hashes[p.staged+i])
	}
	c.digest.Sum(&b.Digest)
	frame := c.buf[p.buf : p.buf+segment.BatchLen]
	segment.AppendBatch(frame[:segment.FrameHeaderLen], &b)
	var flags segment.FrameFlags
	if p.buf == 0 {
		flags = segment.FlagGroup
	}
	c.seal.Finish(frame, c.base+int64(p.buf), segment.TypeBatch, flags, uint32(c.writer.Durable()))
}

// rememberKeys lets later requests of the same group find the keys of r.
func (c *committer) rememberKeys(r *request) {
	for i := range r.items {
		if !r.items[i].keyed {
			continue
		}
		if c.keys == nil {
			c.keys = make(map[[16]byte]stagedKey)
		}
		c.keys[r.items[i].key.Hash] = stagedKey{r.items[i].key, r.receipts[i]}
	}
}
