package batpak

import (
	"context"
	"fmt"
	"iter"

	"batpak/coordinate"
	"batpak/event"
	"batpak/index"
)

// Branch yields a lane of an entity with its ancestry, in commit order: what the lane's state is made of. The events of
// the lane come last; before them those of the lane that it branches from, up to the event that [Draft.Fork] named, that
// one included; and so on. A lane that branches from nothing is alone, as is lane 0. A lane without an event that reads
// see has no ancestry either, and yields nothing.
//
// As with [Store.Read], hidden events are passed over, the loop sees what was visible when it began and may stop at any
// point, and an event's bytes belong to the caller.
//
// Errors: *[ForkError] with [ErrNotFound] when the event that a lane branches from, or the first event of such a lane,
// is not in the log any more: it comes before any event; else as Read.
func (s *Store) Branch(ctx context.Context, entity string, lane uint32) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		parts, err := s.ancestry(ctx, entity, lane)
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		for i := len(parts) - 1; i >= 0; i-- {
			q := Query{Entity: entity, Lane: &parts[i].lane, Before: parts[i].before}
			for ev, err := range s.Read(ctx, q) {
				if !yield(ev, err) || err != nil {
					return
				}
			}
		}
	}
}

// A branchPart is what a branch takes of one lane: the events before a sequence.
type branchPart struct {
	lane   uint32
	before uint64
}

// ancestry returns the parts of a branch, the lane itself first.
func (s *Store) ancestry(ctx context.Context, entity string, lane uint32) (parts []branchPart, err error) {
	if err := coordinate.Check("Entity", entity); err != nil {
		return nil, &DraftError{Field: "Entity", Err: err}
	}
	err = s.look(ctx, func(v *index.View) (err error) {
		parts, err = ancestryIn(v, entity, lane, s.hidden.filter())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("branch of %q lane %d: %w", entity, lane, err)
	}
	return parts, nil
}

// ancestryIn is ancestry in a view.
func ancestryIn(v *index.View, entity string, lane uint32, hidden func(uint64) bool) (parts []branchPart, err error) {
	q := index.Query{Entity: entity, Lane: &lane, Hidden: hidden}
	if _, ok, err := firstIn(v, q); err != nil || !ok {
		return nil, err
	}
	for before := v.Visible() + 1; ; {
		parts = append(parts, branchPart{lane, before})
		if lane == 0 {
			return parts, nil
		}
		// A first event that is hidden still says where the lane branches, as it still counts in the lane's clock.
		at := lane
		first, ok, err := firstIn(v, index.Query{Entity: entity, Lane: &at, System: true})
		if err != nil {
			return nil, err
		}
		if !ok || first.Clock != 1 {
			return nil, &ForkError{Entity: entity, Lane: lane, Err: fmt.Errorf("%w: the first of the lane", ErrNotFound)}
		}
		if first.Fork.IsZero() {
			return parts, nil
		}
		from, ok, err := v.FindID(first.Fork)
		switch {
		case err != nil:
			return nil, err
		case !ok:
			return nil, &ForkError{Entity: entity, Lane: lane, Event: first.Fork, Err: ErrNotFound}
		case from.Seq >= first.Seq || string(from.Entity) != entity || from.Lane == lane:
			return nil, &ForkError{Entity: entity, Lane: lane, Event: first.Fork, Err: ErrInvalid}
		}
		lane, before = from.Lane, from.Seq+1
	}
}

// firstIn returns the first event that q selects; its bytes are the caller's.
func firstIn(v *index.View, q index.Query) (first event.Raw, ok bool, err error) {
	cur := v.Scan(q, false)
	defer cur.Close()
	if !cur.Next() {
		return event.Raw{}, false, cur.Err()
	}
	return *cur.Raw(), true, nil
}
