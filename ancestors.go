package batpak

import (
	"context"
	"fmt"
	"iter"

	"batpak/event"
	"batpak/index"
)

// A ChainError says that the hash chain of a stream does not hold: the bytes of an event and the hash of the one before it
// do not yield the event's hash, or the one before has a clock that it cannot have. Checksums hold; something else than an
// append has written one of the two.
type ChainError struct {
	Entity string
	Lane   uint32
	Event  event.ID
	Seq    uint64 // of Event
	Clock  uint64 // of Event
	Before uint64 // clock of the event before it on the stream; 0 when Event is the first

	Want event.Hash // what Event and the event before yield; zero when Before cannot be
	Have event.Hash // what Event says
}

func (e *ChainError) Error() string {
	at := fmt.Sprintf("%v: %q lane %d clock %d (event %v at sequence %d)", ErrHistory, e.Entity, e.Lane, e.Clock, e.Event, e.Seq)
	if e.Want.IsZero() {
		return fmt.Sprintf("%s: the event before has clock %d", at, e.Before)
	}
	return fmt.Sprintf("%s: hash is %x, want %x", at, e.Have, e.Want)
}

// Unwrap returns [ErrHistory].
func (e *ChainError) Unwrap() error { return ErrHistory }

// Ancestors yields the hash chain that an event stands in, newest first: the event, the one before it on its (entity,
// lane), and so on, down to the first; then, where that branches from an event ([Draft.Fork]), this event of another lane
// and those before it. It follows clocks, never hashes: equal events are told apart. Before an event is yielded its
// hash is computed anew from its bytes and the hash of the one before, and compared: Verified says so. The first event of a
// lane has no one before; the ID of the event that it branches from is in its bytes.
//
// From is the step before. On the last step End says why it is the last: EndGenesis for the first event of a lane that
// branches from nothing, which proves all steps behind the last gap.
//
// Hidden events are in the chain: they are verified, and yielded as stubs. Where events have left the log one stub with
// MissingEvicted stands for all of a gap; the event behind the gap cannot be verified, and the walk goes on, if there is
// any, with the event before the gap, at the Distance that it has on the chain. The store's own events on the stream,
// such as recorded denials, are part of the chain.
//
// As with [Store.Causes] the loop sees what was visible when it began. It holds two events at a time, and looks into
// the index of each segment once for each lane.
//
// Errors: *[ChainError], which comes in the place of the step that does not hold; *[ForkError] with [ErrInvalid] for a
// lane that branches from an event that it cannot branch from; else as Causes.
func (s *Store) Ancestors(ctx context.Context, id event.ID, opts ...WalkOption) iter.Seq2[Step, error] {
	return s.walk(ctx, "ancestors of", id, opts, (*walk).ancestors)
}

func (w *walk) ancestors() error {
	a := ancestry{walk: w}
	defer a.close()
	missing, err := a.enter(w.id)
	if err != nil {
		return err
	}
	if missing != Present {
		return w.give(&Step{Event: event.Event{ID: w.id}, Missing: missing, End: EndMissing})
	}
	for more := true; more && err == nil; {
		more, err = a.next()
	}
	return err
}

// An ancestry is an Ancestors under way.
type ancestry struct {
	*walk
	held     event.Raw // whose turn it is
	distance int       // of held
	from     event.ID  // of held

	q      index.Query // the events before held on its lane, newest first
	cur    *index.Cursor
	linker event.Linker
}

// close gives the cursor up.
func (a *ancestry) close() {
	if a.cur != nil {
		a.cur.Close()
		a.cur = nil
	}
}

// enter makes the event with an ID the one whose turn it is, or says why it cannot.
func (a *ancestry) enter(id event.ID) (missing Missing, err error) {
	a.close()
	err = a.read(func(v *index.View) error {
		raw, ok, err := v.FindID(id)
		switch {
		case err != nil:
			return err
		case !ok:
			missing = MissingUnknown
		case raw.Seq > a.end:
			missing = MissingPending
		default:
			missing, a.held = Present, raw
		}
		return nil
	})
	lane := a.held.Lane
	a.q = index.Query{
		Entity: string(a.held.Entity), Lane: &lane, Before: a.held.Seq, Reverse: true, System: true, Done: a.ctx.Done(),
	}
	return missing, err
}

// before returns the event before held on its lane that is in the log.
func (a *ancestry) before() (raw event.Raw, ok bool, err error) {
	if err := a.check(); err != nil {
		return raw, false, err
	}
	for {
		if a.cur == nil {
			a.cur = a.v.Scan(a.q, false)
		}
		if a.cur.Next() {
			raw = *a.cur.Raw()
			a.q.Before, a.after.renewed = raw.Seq, false
			return raw, true, nil
		}
		if err = a.cur.Err(); err == nil {
			return raw, false, nil
		}
		a.close()
		if err = a.mend(err); err != nil {
			return raw, false, err
		}
	}
}

// next yields held and goes on to the one before; more is false at the end.
func (a *ancestry) next() (more bool, err error) {
	step := a.stepOf(a.held.Event())
	step.Distance, step.From = a.distance, a.from
	if a.held.Clock == 1 {
		return a.first(&step)
	}
	before, ok, err := a.before()
	if err != nil {
		return false, err
	}
	gap := a.held.Clock - before.Clock
	switch {
	case ok && before.Clock >= a.held.Clock:
		return false, a.broken(before.Clock, event.Hash{})
	case ok && gap == 1:
		if err := a.verify(before.Clock, before.Hash); err != nil {
			return false, err
		}
		step.Verified = true
	}
	if more, err = a.giveBefore(&step, 1); err != nil || !more {
		return false, err
	}
	if !step.Verified {
		missing := Step{Missing: MissingEvicted, From: a.held.ID, Distance: a.distance + 1}
		missing.Lane, missing.Clock = a.held.Lane, a.held.Clock-1
		if !ok {
			missing.End = EndMissing
		}
		if more, err = a.giveBefore(&missing, gap-1); err != nil || !more {
			return false, err
		}
	}
	a.from, a.distance, a.held = a.held.ID, a.distance+int(gap), before
	return true, nil
}

// giveBefore yields a step that another one follows at a distance, unless its End says otherwise or that is too far.
func (a *ancestry) giveBefore(step *Step, gap uint64) (more bool, err error) {
	if step.End == NotEnded && (uint64(a.most-step.Distance) < gap || a.left == 1) {
		step.End = EndLimit
	}
	return step.End == NotEnded, a.give(step)
}

// first is next for the first event of a lane.
func (a *ancestry) first(step *Step) (more bool, err error) {
	if err := a.verify(0, event.Hash{}); err != nil {
		return false, err
	}
	step.Verified = true
	if step.Fork.IsZero() {
		step.End = EndGenesis
	}
	if more, err = a.giveBefore(step, 1); err != nil || !more {
		return false, err
	}
	first, entity, lane, seq := step.Fork, a.q.Entity, a.held.Lane, a.held.Seq
	a.from, a.distance = a.held.ID, a.distance+1
	missing, err := a.enter(first)
	switch {
	case err != nil:
		return false, err
	case missing == MissingUnknown:
		return false, a.give(&Step{
			Event: event.Event{ID: first}, Missing: MissingEvicted, End: EndMissing, Distance: a.distance, From: a.from,
		})
	case missing == MissingPending || a.held.Seq >= seq || a.q.Entity != entity || a.held.Lane == lane:
		return false, &ForkError{Entity: entity, Lane: lane, Event: first, Err: ErrInvalid}
	}
	return true, nil
}

// verify checks that the hash of held is what its bytes and the hash of the event before yield.
func (a *ancestry) verify(clock uint64, parent event.Hash) error {
	content := a.held.Content()
	if want := a.linker.Link(&parent, &content, a.held.Meta); want != a.held.Hash {
		return a.broken(clock, want)
	}
	return nil
}

// broken returns what is wrong with held, given the clock of the event before.
func (a *ancestry) broken(before uint64, want event.Hash) error {
	return &ChainError{
		Entity: a.q.Entity, Lane: a.held.Lane, Event: a.held.ID, Seq: a.held.Seq, Clock: a.held.Clock, Before: before,
		Want: want, Have: a.held.Hash,
	}
}
