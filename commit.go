package batpak

import (
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"batpak/coldstart"
	"batpak/event"
	"batpak/fault"
	"batpak/hidden"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/planted"
	"batpak/segment"
)

// segmentReserve is what a segment keeps free of events: its header, at the largest.
const segmentReserve = segment.MaxHeaderLen

// maxGroupBytes bounds one write group, and with it how long a caller waits for the others'.
const maxGroupBytes = 8 << 20

// The committer turns encoded requests into committed events, one write group at a time: stage (check, stamp, link)
// → write → sync → publish → answer. Everything in it is owned by whoever holds mu: the leader of a group, Close, or
// the background's sync.
type committer struct {
	mu      sync.Mutex
	current atomic.Pointer[segment.Writer] // writer, for the background

	writer  *segment.Writer
	relaxed bool // most groups are not synced each by itself
	loose   bool // nobody waits for syncs of it
	active  *index.Active
	seal    segment.Seal
	folder  *merkle.Folder

	// The end of the log, as staged.
	seq     uint64 // last one given out
	hlc     event.HLC
	streams *streams
	random  seeded

	// The group being committed.
	group   []*request // everybody whom the leader has taken, in order; those who join it are its end
	buf     []byte     // frames, as they will stand in the file
	base    int64      // offset of buf[0] in the file
	staged  []span     // event frames in buf
	hashes  []event.Hash
	linked  []atomic.Bool // chunks of a large batch
	keys    stagedKeys
	durable bool // somebody asked for a sync
	steps   []fenceStep
	wall    time.Time

	hubKeys  []hubKey   // of one event, under which somebody may follow
	sleepers []*sleeper // to be woken with publish

	fences  map[uint64]*Fence // that are open and have staged something
	tracker *hidden.Tracker   // of all fences; nil in a store that never had one
	late    []*Fence          // open ones whose context has ended, and whose cancel could not be written

	linkers [2]event.Linker
	digest  segment.BatchDigest
	raw     event.Raw
	cursor  index.Cursor // of conditions
	found   event.Raw    // under a key

	suspects []int // items of a request whose keys may be known
}

// A span is an event of the group: its frame in the group buffer, and what it was stamped with.
type span struct {
	from, to int
	row      segment.Row // in the active segment's index, but for its place
	depth    uint32      // on another lane than 0
	after    uint32      // sequence of the stream's event before, counted from the first of the request, which is 1; 0: it is older
	head     *streamHead
	fence    uint64   // that stages it; 0 for none
	key      [16]byte // hash of its idempotency key; zero for none
}

// lead commits one group: first, if there is one, everyone who waits, and those who come while it is staged. Then it hands
// the lead on.
func (s *Store) lead(first *request) {
	group := s.commitLocked(s.queue.take(first))
	leader := first
	if leader == nil {
		leader = group[0] // it was woken to lead, and is the first who waited
	}
	// The answers go out before the lead does: whoever appends again at once can then be part of the next group.
	for _, r := range group {
		switch {
		case r.ticket != nil:
			s.answer(r)
		case r != leader:
			r.wake <- false
		}
	}
	answered := len(group)
	clear(group)
	s.leave(answered)
	s.kick()
}

// commitLocked commits requests in order. A panic in here is a mistake of ours: it must neither answer anybody with a
// success nor leave the others waiting for ever, so it poisons the writer, as a failed sync does.
//
// It returns group, and behind it those who have come while it was staged: they have their outcome, too.
func (s *Store) commitLocked(group []*request) (all []*request) {
	c := &s.commit
	c.mu.Lock()
	defer c.mu.Unlock()
	c.group = group
	defer func() {
		all, c.group = c.group, nil
		if p := recover(); p != nil {
			err := c.writer.Poison(fmt.Errorf("batpak: panic in the committer: %v\n%s", p, debug.Stack()))
			fail(all, &WriteError{MayLand: true, Poisoned: true, Err: err})
			s.opts.Logger.Error("commit", "err", err)
		}
		if c.writer.Err() != nil {
			s.endWaits() // nothing will move on
		}
	}()
	if len(c.late) > 0 {
		s.retryCancels()
	}
	s.commitAll(group, true)
	c.noteLate(c.group)
	return c.group
}

// commitAll commits requests in order, in as many write groups as the segments demand. open says that they are the leader's
// group, whose end others may join.
func (s *Store) commitAll(group []*request, open bool) {
	for len(group) > 0 {
		n, limit, err := s.room(group)
		if err != nil {
			fail(group[:1], err)
			group = group[1:]
			continue
		}
		if !open || n < len(group) {
			limit = 0 // nobody goes before those who are left
		}
		s.commitGroup(group[:n], limit)
		group = group[n:]
	}
}

// room returns how many of the requests fit into the active segment as one group, after a rotation if not even the
// first one does, and how many bytes such a group may have.
func (s *Store) room(group []*request) (n int, limit int64, err error) {
	c := &s.commit
	if err := c.writer.Err(); err != nil {
		return 0, 0, &WriteError{Poisoned: true, Err: err}
	}
	if group[0].size() > c.writer.Room() {
		if err := s.rotate(); err != nil {
			return 0, 0, err
		}
	}
	limit = min(c.writer.Room(), max(maxGroupBytes, group[0].size()))
	total := int64(0)
	for _, r := range group {
		if total += r.size(); total > limit {
			break
		}
		n++
	}
	return max(n, 1), limit, nil
}

// rotate starts the next segment and hands the full one to the background. Nothing is staged.
//
// A rotation that fails leaves the segment as it was, and the next append tries again, unless it poisoned the writer.
func (s *Store) rotate() error {
	c := &s.commit
	full, err := s.state.Rotate(coldstart.End{
		Pos: segment.Pos{Segment: c.writer.Header().Segment, Offset: c.writer.End()}, Seq: c.seq, HLC: c.hlc,
	})
	if c.writer != s.state.Writer {
		c.use(s.state.Writer, s.state.Active)
		s.background.queueSeal(full)
		s.durable.Store(c.seq)
	}
	if err != nil {
		return &WriteError{Poisoned: errors.Is(err, segment.ErrPoisoned), Err: err}
	}
	return nil // the beacon follows with the next sync; the new segment's header says as much
}

// fail gives err to every request whose outcome hangs on the group.
func fail(group []*request, err error) {
	for _, r := range group {
		if !r.settled {
			r.err = err
		}
	}
}

// commitGroup makes a group durable, as far as it asks for it, then visible (I1, I3). After the sync nothing can fail. limit
// is how many bytes of frames it may have with those who join it; 0: nobody may, since it is not the end of c.group.
func (s *Store) commitGroup(group []*request, limit int64) {
	c := &s.commit
	c.begin(s.opts.Sync == SyncAlways, s.opts.Clock())
	seq, hlc := c.seq, c.hlc
	s.stageAll(group)
	if limit > 0 {
		from := len(c.group) - len(group)
		s.gather(limit)
		if !planted.On(planted.JoinersNotTold) {
			group = c.group[from:]
		}
	}
	s.signGroup(group)
	if err := s.write(seq, hlc); err != nil {
		if planted.On(planted.GroupErrorToLeaderOnly) {
			group = group[:1]
		}
		fail(group, err)
		return
	}
	s.publish()
	for _, r := range group {
		r.settled = true
	}
}

// begin empties the group buffer. sync says that the store's mode asks for a sync; wall is the time of the group.
func (c *committer) begin(sync bool, wall time.Time) {
	c.buf, c.staged, c.hashes = c.buf[:0], c.staged[:0], c.hashes[:0]
	c.base, c.durable, c.wall = c.writer.End(), sync, wall
	c.steps = c.steps[:0]
	c.keys.reset()
	c.streams.settle()
}

// write writes the group, and syncs it if anybody asked: the strictest demand of a group counts for all of it. seq and
// hlc are what the log ended with before the group.
//
// A failed write leaves no trace, on disk or here. A failed sync poisons the writer: see [segment.Writer.Sync].
func (s *Store) write(seq uint64, hlc event.HLC) error {
	c := &s.commit
	if len(c.buf) == 0 {
		return s.syncIfAsked() // a replayed key may ask for more than its first append did
	}
	last := c.seq
	s.accepted.Store(last)
	err := s.opts.hook.Hit(fault.Site{Point: fault.GroupStamped, Segment: c.writer.Header().Segment, Seq: last})
	if err == nil {
		err = c.writer.Write(c.buf)
	}
	if err != nil {
		c.streams.rollback(0)
		c.undoSteps(0)
		c.seq, c.hlc = seq, hlc
		s.accepted.Store(seq)
		poisoned := errors.Is(err, segment.ErrPoisoned)
		return &WriteError{MayLand: poisoned, Poisoned: poisoned, Err: err}
	}
	s.written.Store(last)
	if err := s.hit(fault.GroupWritten); err != nil {
		return err
	}
	if planted.On(planted.PublishBeforeSync) {
		s.index()
		s.publish()
		c.staged, c.hashes = c.staged[:0], c.hashes[:0]
	}
	if len(c.staged) < indexAside || !c.durable {
		s.index()
		return s.syncIfAsked()
	}
	// The disk works for a while: the other core can index the group meanwhile.
	var aside sync.WaitGroup
	aside.Go(s.index)
	err = s.syncIfAsked()
	aside.Wait()
	return err
}

// indexAside is the size of a group from which it is indexed beside its sync: below, starting a goroutine costs more.
const indexAside = 16

// syncIfAsked syncs if the store's mode or any draft of the group asks for it.
func (s *Store) syncIfAsked() error {
	c := &s.commit
	if !c.durable || c.writer.Durable() == c.writer.End() {
		return nil
	}
	if planted.On(planted.AckBeforeSync) || planted.On(planted.SyncOnCloseOnly) {
		return nil
	}
	return s.syncWritten()
}

// syncWritten makes everything written durable and says so where recovery and other processes will look.
func (s *Store) syncWritten() error {
	c := &s.commit
	err := c.writer.Sync()
	if err != nil && planted.On(planted.SyncRetried) {
		err = nil
	}
	if err != nil {
		return &WriteError{MayLand: true, Poisoned: true, Err: err}
	}
	if err := s.hit(fault.GroupSynced); err != nil {
		return err
	}
	s.durable.Store(c.seq)
	if err := s.state.Beacon.Publish(s.position(), c.seq); err != nil {
		// The beacon is a hint to others; the events are durable without it.
		s.opts.Logger.Warn("publish beacon", "err", err)
	}
	return nil
}

// hit asks the injector, if there is one. A fault behind the write leaves the outcome unknown, as a failed sync does.
func (s *Store) hit(p fault.Point) error {
	c := &s.commit
	if err := s.opts.hook.Hit(fault.Site{Point: p, Segment: c.writer.Header().Segment, Seq: c.seq}); err != nil {
		return &WriteError{MayLand: true, Poisoned: true, Err: c.writer.Poison(err)}
	}
	return nil
}

// position returns the end of what is durable.
func (s *Store) position() segment.Pos {
	w := s.commit.writer
	return segment.Pos{Segment: w.Header().Segment, Offset: w.Durable()}
}

// index adds the group to the active segment's index, where nobody sees it before publish. A group whose sync then
// fails stays unseen for good: the writer is poisoned.
func (s *Store) index() {
	c := &s.commit
	following := s.hub.filter.Load()
	for i := range c.staged {
		sp := &c.staged[i]
		if following == nil && c.indexPlain(sp) {
			continue
		}
		body := c.buf[sp.from+segment.FrameHeaderLen : sp.to]
		if err := c.raw.Decode(body); err != nil {
			panic("batpak: a staged body does not decode: " + err.Error())
		}
		if err := c.active.AddTo(sp.row.Entity, &c.raw, uint32(c.base+int64(sp.from)), uint32(sp.to-sp.from)); err != nil {
			panic("batpak: a staged event does not index: " + err.Error())
		}
		if following != nil {
			if c.hubKeys = following.appendKeys(c.hubKeys[:0], &c.raw); len(c.hubKeys) > 0 {
				c.sleepers = s.hub.touch(c.sleepers, c.hubKeys, &c.raw)
			}
		}
		if i < len(c.staged)-1 && planted.On(planted.BatchVisibleItemByItem) {
			c.active.Publish()
			s.set.SetVisible(c.raw.Seq)
		}
	}
}

// publish makes the group visible, all of it at once.
func (s *Store) publish() {
	c := &s.commit
	c.active.Publish()
	c.folder.Take(c.hashes...)
	visible := c.seq
	if c.tracker != nil || len(c.steps) > 0 {
		visible = s.settleFences()
	}
	s.set.SetVisible(visible)
	if planted.On(planted.WaiterWokenEarly) {
		visible = c.seq
	}
	s.visible.Store(visible)
	s.hub.wake(c.sleepers)
	clear(c.sleepers)
	c.sleepers = c.sleepers[:0]
	// A fault here is a crash before anybody has an answer; nothing is left that could fail.
	_ = s.opts.hook.Hit(fault.Site{Point: fault.GroupPublished, Segment: c.writer.Header().Segment, Seq: c.seq})
}
