package batpak

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"batpak/event"
	"batpak/index"
)

// A ForkError says why a lane cannot branch from an event, in which case nothing was written, or why [Store.Branch]
// does not find the event that a lane branches from.
type ForkError struct {
	Entity string
	Lane   uint32   // that branches; 0 where [Store.Fork] was to choose it
	Event  event.ID // that it branches from; zero when the first event of the lane, which names it, is gone
	// Err is [ErrNotFound] when there is no such event, or it is hidden; [ErrInvalid] when it cannot be branched from,
	// since it is of another entity; a *[FenceError] with [ErrFenceOpen] while another fence may still hide it.
	Err error
}

func (e *ForkError) Error() string {
	if e.Event.IsZero() {
		return fmt.Sprintf("%v: %q lane %d: %v", ErrFork, e.Entity, e.Lane, e.Err)
	}
	return fmt.Sprintf("%v: %q lane %d from event %v: %v", ErrFork, e.Entity, e.Lane, e.Event, e.Err)
}

// Unwrap returns [ErrFork] and the reason.
func (e *ForkError) Unwrap() []error { return []error{ErrFork, e.Err} }

// Fork appends d as the first event of a new lane that branches from the event at, and returns its receipt, which says
// which lane that is: one above the highest that the entity of at has, so that no two forks get the same. What is
// appended to that lane later links to d; the lane that at is on goes on as before. d is of the same entity as at, in any
// scope, and leaves Lane zero.
//
// Which event may be at, and which depth d gets, is said at [Draft.Fork] and [Draft.Depth]; for the promise of a nil
// error, see [Store.Append]. A retry with the same key returns the receipt of the first time. The first fork of an entity
// in a segment looks for its highest lane in every segment that has events on other lanes than 0.
//
// Errors: as Append; *[ForkError].
func (s *Store) Fork(ctx context.Context, at event.ID, d Draft) (Receipt, error) {
	return s.fork(ctx, at, d, nil)
}

// Fork is [Store.Fork] through the fence: at may be an event that the fence has staged. The lane is taken whatever
// becomes of the fence.
//
// Errors: those of Store.Fork; *[FenceError].
func (f *Fence) Fork(ctx context.Context, at event.ID, d Draft) (Receipt, error) {
	return f.store.fork(ctx, at, d, f)
}

// fork appends the first event of a new lane, through a fence unless that is nil.
func (s *Store) fork(ctx context.Context, at event.ID, d Draft, f *Fence) (Receipt, error) {
	switch {
	case at.IsZero():
		return Receipt{}, &DraftError{Field: "Fork", Reason: "names no event"}
	case !d.Fork.IsZero() && d.Fork != at:
		return Receipt{}, &DraftError{Field: "Fork", Reason: "names another event"}
	case d.Lane != 0:
		return Receipt{}, &DraftError{Field: "Lane", Reason: "is chosen by Fork"}
	}
	d.Fork, d.newLane = at, true
	d.Lane = 1 // room in the frame for the one that is chosen
	return s.append(ctx, d, f)
}

// Lanes returns the heads of all lanes of an entity, ascending by lane: what [Store.Head] returns for each of them, and
// nothing for an entity without events. It reads footers, and of the newest segment one frame for each lane; segments
// without events on other lanes than 0 are not looked at.
//
// Errors: [ErrClosed]; *[CanceledError]; *segment.FrameError and *segment.FooterError for damage.
func (s *Store) Lanes(ctx context.Context, entity string) ([]Head, error) {
	var found map[uint32]index.Head
	err := s.look(ctx, func(v *index.View) (err error) {
		found, err = v.Lanes(entity)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("lanes of %q: %w", entity, err)
	}
	heads := make([]Head, 0, len(found))
	for _, lane := range slices.Sorted(maps.Keys(found)) {
		h := found[lane]
		heads = append(heads, Head{Seq: h.Seq, ID: h.ID, Clock: h.Clock, Lane: lane, Hash: h.Hash})
	}
	return heads, nil
}

// branch returns the depth of it and checks that its lane can branch from where it says. head is that of its stream.
//
// Errors: *[ConflictError]; *[ForkError]; errors of a read.
func (s *Store) branch(it *item, head *streamHead) (depth uint32, err error) {
	if it.lane == 0 {
		return it.depth, nil
	}
	if depth, err = s.branchDepth(it, head); err == nil && it.draft != nil {
		it.draft.Lane, it.draft.Depth, it.draft.newLane = it.lane, depth, false // gates see it as it will be committed
	}
	return depth, err
}

// branchDepth is branch for another lane than 0.
func (s *Store) branchDepth(it *item, head *streamHead) (depth uint32, err error) {
	if it.fork.IsZero() {
		if it.depth != 0 || head.clock == 0 {
			return it.depth, nil
		}
		return s.depthOf(head)
	}
	if head.clock != 0 {
		return 0, &ConflictError{
			Coordinate: it.at, Lane: it.lane, Want: Absent(), Have: head.clock, Seq: head.seq, ReadAfter: head.seq,
		}
	}
	from, err := s.forkedFrom(it)
	for s.healed(err) {
		from, err = s.forkedFrom(it)
	}
	if err != nil || it.depth != 0 {
		return it.depth, err
	}
	return from + min(1, math.MaxUint32-from), nil
}

// depthOf returns the depth of the last event of a stream, which is in its frame; it is read once for each segment.
func (s *Store) depthOf(head *streamHead) (uint32, error) {
	for !head.deep {
		v := s.set.AcquireAll()
		if v == nil {
			return 0, ErrClosed
		}
		last, ok, err := v.EventBySeq(head.seq)
		v.Release()
		switch {
		case s.healed(err):
		case err != nil:
			return 0, err
		case !ok:
			return 0, fmt.Errorf("%w: the last one of %q lane %d, at sequence %d", ErrNotFound, head.key.entity, head.key.lane, head.seq)
		default:
			head.depth, head.deep = last.Depth, true
		}
	}
	return head.depth, nil
}

// forkedFrom returns the depth of the event that it branches from.
//
// Errors: *[ForkError]; errors of a read.
func (s *Store) forkedFrom(it *item) (depth uint32, err error) {
	v := s.set.Acquire()
	if v == nil {
		return 0, ErrClosed
	}
	defer v.Release()
	at, ok, err := v.FindID(it.fork)
	if err != nil {
		return 0, err
	}
	refuse := &ForkError{Entity: it.at.Entity(), Lane: it.lane, Event: it.fork}
	if it.newLane {
		refuse.Lane = 0
	}
	switch {
	case !ok || s.hidden.contains(at.Seq):
		refuse.Err = ErrNotFound
	case string(at.Entity) != it.at.Entity():
		refuse.Err = fmt.Errorf("%w: it is of %q", ErrInvalid, at.Entity)
	case at.Fence != 0 && at.Fence != it.fence && s.commit.fences[at.Fence] != nil:
		refuse.Err = &FenceError{Fence: at.Fence, Err: fmt.Errorf("%w: it has staged the event", ErrFenceOpen)}
	default:
		return at.Depth, nil
	}
	return 0, refuse
}

// freeLane returns the lane that the next fork of an entity takes.
//
// Errors: *[LimitError] when every lane is in use; errors of a read.
func (s *Store) freeLane(entity string) (uint32, error) {
	c := &s.commit
	top, ok := c.streams.tops[entity]
	for !ok {
		var err error
		if top, err = s.topLane(entity); err == nil {
			break
		}
		if !s.healed(err) {
			return 0, err
		}
	}
	if top < math.MaxUint32 {
		c.streams.tops[entity] = top
		return top + 1, nil
	}
	return s.gapLane(entity)
}

// topLane returns the highest lane of an entity, in the log or staged.
func (s *Store) topLane(entity string) (uint32, error) {
	v := s.set.Acquire()
	if v == nil {
		return 0, ErrClosed
	}
	defer v.Release()
	top, err := v.TopLane(entity)
	for i := range s.commit.staged {
		if k := &s.commit.staged[i].head.key; k.entity == entity {
			top = max(top, k.lane)
		}
	}
	return top, err
}

// gapLane returns the lowest lane of an entity that is free, since the highest one is not.
func (s *Store) gapLane(entity string) (uint32, error) {
	c := &s.commit
	number := c.active.Entity(entity)
	for lane := uint32(1); lane != 0; lane++ {
		head, err := c.streams.head(s.set, number, streamKey{entity, lane})
		for s.healed(err) {
			head, err = c.streams.head(s.set, number, streamKey{entity, lane})
		}
		if err != nil || head.clock == 0 {
			return lane, err
		}
	}
	return 0, &LimitError{Field: "lanes", Value: math.MaxUint32 + 1, Limit: math.MaxUint32}
}
