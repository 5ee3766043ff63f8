package batpak

import (
	"errors"
	"runtime"
	"slices"
	"sync/atomic"

	"batpak/event"
	"batpak/internal/planted"
	"batpak/segment"
)

// A savepoint is how far staging had come, to take one request back without the others of its group.
type savepoint struct {
	buf, staged, undo, steps int
	seq                      uint64
	hlc                      event.HLC
}

func (c *committer) save() savepoint {
	return savepoint{len(c.buf), len(c.staged), len(c.streams.undo), len(c.steps), c.seq, c.hlc}
}

func (c *committer) restore(p savepoint) {
	c.buf, c.staged, c.hashes = c.buf[:p.buf], c.staged[:p.staged], c.hashes[:p.staged]
	c.streams.rollback(p.undo)
	c.undoSteps(p.steps)
	c.seq, c.hlc = p.seq, p.hlc
}

// stageAll stages requests in order, each with its own outcome.
func (s *Store) stageAll(group []*request) {
	for _, r := range group {
		r.err = s.stage(r)
	}
}

// stage checks a request against the log and, if it holds, puts its frames into the group buffer: known keys first,
// then conditions, then sequence, clocks and hashes. A request that fails leaves no trace.
func (s *Store) stage(r *request) error {
	c := &s.commit
	first := c.save()
	if r.fence != nil {
		if done, err := s.stageFence(r); done || err != nil {
			return err
		}
	}
	if len(r.items) == 0 { // a flush
		c.durable = true
		return nil
	}
	p := c.save()
	if replayed, err := s.replay(r); err != nil || replayed {
		c.restore(first)
		return err
	}
	if err := s.checkUnless(r, p); err != nil {
		c.restore(first)
		r.settled = !c.hangs(err)
		return err
	}
	if err := s.placeAll(r, first, p); err != nil {
		return err
	}
	s.linkAll(r, p)
	if r.batch {
		c.closeBatch(r, p)
	}
	if r.ack == AckDurable {
		c.durable = true
	} else if planted.On(planted.WeakestSyncWins) && s.opts.Sync != SyncAlways {
		c.durable = false
	}
	c.keys.add(r)
	return nil
}

// placeAll gives every item of r its place, and makes room for them behind p. When one of them has none it takes all back,
// to first, and puts the record of a denial there, if that is what it was and was asked for.
func (s *Store) placeAll(r *request, first, p savepoint) error {
	c := &s.commit
	end := len(c.buf)
	if r.batch {
		end += segment.BatchLen
	}
	for i := range r.items {
		next, err := s.place(&r.items[i], end, p)
		if err == nil {
			end = next
			continue
		}
		denied, trace := isDenial(err), []GateResult(nil)
		if denied != nil && r.items[i].draft.RecordDenial {
			// As the gate saw it: the batch's earlier drafts still count.
			if trace, err = s.evaluate(&r.items[i], p); err == nil {
				err = denied
			}
		}
		c.restore(first)
		r.settled = !c.hangs(err)
		if trace != nil && err == denied {
			r.settled = false
			err = s.recordDenial(&r.items[i], i, denied, trace)
			c.durable = c.durable || r.ack == AckDurable
		}
		if r.batch {
			err = &BatchError{Index: i, Err: err}
		}
		return err
	}
	c.extend(end)
	return nil
}

// extend makes the group buffer end bytes long.
func (c *committer) extend(end int) { c.buf = slices.Grow(c.buf, end-len(c.buf))[:end] }

// hangs reports whether err tells of an event that the group is about to commit: when the group fails, that event was
// never there, and the group's error is the answer.
func (c *committer) hangs(err error) bool {
	if len(c.staged) > 0 && isDenial(err) != nil {
		return true // the gate may have seen them
	}
	var conflict *ConflictError
	return errors.As(err, &conflict) && conflict.Seq > c.seq-uint64(len(c.staged))
}

// place gives the draft of it its place in the log: the sequence, clocks and ID, and the bytes from from on in the group
// buffer. It returns where they end. before is where staging stood in front of the request.
func (s *Store) place(it *item, from int, before savepoint) (to int, err error) {
	c := &s.commit
	entity := c.active.Entity(it.at.Entity())
	head, err := s.headOf(it, entity)
	if err != nil {
		return 0, err
	}
	if !it.expect.holds(head.clock) {
		return 0, &ConflictError{Coordinate: it.at, Lane: it.lane, Want: it.expect, Have: head.clock, Seq: head.seq, ReadAfter: head.seq}
	}
	depth, err := s.branch(it, head)
	if err != nil {
		return 0, err
	}
	if it.draft != nil {
		if err := s.gate(it, head, before); err != nil {
			return 0, err
		}
	}
	c.seq++
	c.hlc = c.hlc.Next(c.wall)
	if planted.On(planted.OrderByClock) {
		c.hlc = event.HLCAt(c.wall) | c.hlc&0xffff
	}
	after := uint32(0)
	if head.seq > before.seq {
		after = uint32(head.seq - before.seq)
	}
	c.streams.advance(head, c.seq, depth)
	c.staged = append(c.staged, span{
		from: from, to: from + len(it.frame), depth: depth, head: head, after: after, fence: it.fence, key: it.key.Hash,
		row: segment.Row{
			ID: event.NewID(c.hlc, c.random.Uint64()), Seq: c.seq, Clock: head.clock, HLC: c.hlc,
			Entity: entity, Scope: c.active.Scope(it.at.Scope()), Lane: it.lane, Kind: it.kind, Flags: it.flags,
		},
	})
	return from + len(it.frame), nil
}

// headOf returns the head of the stream of it; entity is the number of that. It chooses the lane, where that is asked for.
func (s *Store) headOf(it *item, entity uint32) (*streamHead, error) {
	if it.newLane {
		var err error
		if it.lane, err = s.freeLane(it.at.Entity()); err != nil {
			return nil, err
		}
	}
	key := streamKey{it.at.Entity(), it.lane}
	head, err := s.commit.streams.head(s.set, entity, key)
	for s.healed(err) {
		head, err = s.commit.streams.head(s.set, entity, key)
	}
	return head, err
}

// linkChunk is how many events of a large batch one core links at once: neighbours, since their bytes are.
const linkChunk = 32

// linkAll fills in the frames, hashes and receipts of r, which was placed since p.
func (s *Store) linkAll(r *request, p savepoint) {
	c := &s.commit
	n := len(r.items)
	c.hashes = slices.Grow(c.hashes, n)[:p.staged+n]
	r.receipts = slices.Grow(r.receipts, n)[:n]
	if n < shareFrom || planted.On(planted.ChainFromBatchsLast) {
		for i := range n {
			s.link(r, p, i, &c.linkers[0])
		}
		return
	}
	chunks := (n + linkChunk - 1) / linkChunk
	if cap(c.linked) < chunks {
		c.linked = make([]atomic.Bool, chunks)
	}
	c.linked = c.linked[:chunks]
	clear(c.linked)
	share(chunks, func(worker, chunk int) bool {
		for i := chunk * linkChunk; i < min((chunk+1)*linkChunk, n); i++ {
			c.awaitLink(c.staged[p.staged+i].after, chunk)
			s.link(r, p, i, &c.linkers[worker])
		}
		c.linked[chunk].Store(true)
		return true
	})
}

// awaitLink returns when the event that stands in front of place after of the request is linked, if it is in an earlier
// chunk than the caller's: those are done, or under way.
func (c *committer) awaitLink(after uint32, chunk int) {
	for first := (int(after) - 1) / linkChunk; after > 0 && first < chunk && !c.linked[first].Load(); {
		runtime.Gosched()
	}
}

// link copies item i of r, which was placed since p, stamps it, links it to the one before it on its stream, and fills in
// its receipt.
func (s *Store) link(r *request, p savepoint, i int, linker *event.Linker) {
	c := &s.commit
	it, sp := &r.items[i], &c.staged[p.staged+i]
	frame := c.buf[sp.from:sp.to]
	copy(frame, it.frame)
	meta := frame[segment.FrameHeaderLen:][:it.metaLen]
	event.Stamp(meta, sp.row.Seq, sp.row.ID, sp.row.HLC, sp.row.Clock)
	if it.lane != 0 {
		event.SetBranch(meta, it.lane, sp.depth)
	}
	if it.cause >= 0 {
		event.SetCausation(meta, c.staged[p.staged+it.cause].row.ID)
	}
	parent := sp.head.hash
	if r.batch && i > 0 && planted.On(planted.ChainFromBatchsLast) {
		parent = r.receipts[i-1].Hash
	}
	hash := linker.Link(&parent, &it.content, meta)
	copy(frame[segment.FrameHeaderLen+it.metaLen:], hash[:])
	sp.head.hash = hash
	c.hashes[p.staged+i] = hash
	c.finish(r, frame, sp.from)
	r.receipts[i] = Receipt{
		Store: s.state.StoreID, ID: sp.row.ID, Seq: sp.row.Seq, Coordinate: it.at, Kind: it.kind, Clock: sp.row.Clock,
		Lane: it.lane, HLC: sp.row.HLC, Parent: parent, Hash: hash, Content: it.content, Depth: sp.depth,
	}
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
	c.digest.Reset()
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

// indexPlain adds a staged event to the active segment's index if its row says all that is indexed: its frame is not looked
// at then, which may be far by now. It reports false for the others.
func (c *committer) indexPlain(sp *span) bool {
	if sp.row.Sparse() && !sp.row.OnlyKeyed() || planted.On(planted.BatchVisibleItemByItem) {
		return false
	}
	sp.row.Offset, sp.row.Length = uint32(c.base+int64(sp.from)), uint32(sp.to-sp.from)
	if err := c.active.AddRow(&sp.row, &sp.key); err != nil {
		panic("batpak: a staged event does not index: " + err.Error())
	}
	return true
}
