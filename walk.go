package batpak

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"batpak/event"
	"batpak/index"
)

// A Step is one event that a walk came to: [Store.Causes], [Store.Effects], [Store.Correlated], [Store.Ancestors]. Where
// an event is not shown the step is a stub that says so in Missing, and the walk goes on with whatever can be reached:
// [Missing] says which fields a stub has.
type Step struct {
	event.Event // its bytes are the caller's

	Distance int      // links between the event asked for and this one; 0 for the event asked for
	From     event.ID // event whose link led here; zero for the event asked for
	Missing  Missing  // why this is a stub; Present for an event
	End      End      // on the last step of Causes and Ancestors: why it is the last
	// Verified: Hash is what the event's bytes and the hash of the event before it on its stream yield. Only Ancestors
	// verifies; it cannot where the event before has left the log.
	Verified bool
}

// A Missing says why a step has no event.
type Missing uint8

// The reasons of [Step.Missing].
const (
	// Present: the step is an event.
	Present Missing = iota
	// MissingHidden: the event was staged by a fence that never committed, and is hidden for good. It keeps its place, and
	// the walk goes on through it: the stub has ID, Seq, Coordinate, Lane, Clock, HLC, Hash, Fork, Correlation and
	// Causation. What it said it does not have: kind, payload, payload version, tags, extensions, depth.
	MissingHidden
	// MissingPending: the event is committed and not visible yet, since a fence is open. Only the event asked for can be
	// that, since what names an event comes behind it. The stub has the ID and nothing else, and nothing leads on.
	MissingPending
	// MissingUnknown: nothing in the log has this ID, be it that the event has left the log, or that it never was in this
	// store. The stub has the ID and nothing else. Events that name it may be there.
	MissingUnknown
	// MissingEvicted: the event was in the log, as the clocks or the fork of its stream prove, and has left it. In a gap of
	// a chain the stub has Lane and Clock, of the last event that is missing, since no event says the ID of the one before;
	// of the event that a lane branches from it has the ID.
	MissingEvicted
)

var missingNames = [...]string{"present", "hidden", "not visible yet", "unknown", "evicted"}

func (m Missing) String() string { return numberName(missingNames[:], uint8(m)) }

// An End says why a walk that goes from one event to the next ended.
type End uint8

// The reasons of [Step.End].
const (
	NotEnded   End = iota // another step comes, or the walk is none of Causes and Ancestors
	EndGenesis            // there is nothing before: no event caused it; it is the first of its stream, and branches from nothing
	EndMissing            // the step is a stub that leads no further
	EndLimit              // there is more: an option ended the walk
)

var endNames = [...]string{"not ended", "genesis", "missing", "limit"}

func (e End) String() string { return numberName(endNames[:], uint8(e)) }

// numberName returns the name of a small number.
func numberName(names []string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%d", i)
}

// ErrHistory: events contradict each other in a way that no append leaves, though every checksum holds.
var ErrHistory = errors.New("batpak: events contradict each other")

// A CauseError says that an event names one that was not committed before it, as its cause or its group. Appends name
// events that are there, so causes always come first and have no cycles; this log was made by something else.
type CauseError struct {
	Event    event.ID
	Seq      uint64 // of Event
	Cause    event.ID
	CauseSeq uint64 // of Cause; not below Seq
	Group    bool   // Event names Cause as its correlation, and not as its causation
}

func (e *CauseError) Error() string {
	link := "cause"
	if e.Group {
		link = "group"
	}
	return fmt.Sprintf("%v: event %v at sequence %d names as its %s event %v at sequence %d", ErrHistory, e.Event, e.Seq, link, e.Cause, e.CauseSeq)
}

// Unwrap returns [ErrHistory].
func (e *CauseError) Unwrap() error { return ErrHistory }

// A WalkOption bounds a walk.
type WalkOption func(*walkOptions)

type walkOptions struct {
	distance int // 0 means no limit
	steps    int // 0 means no limit
}

// MaxDistance leaves out what is more than n links away from the event asked for; 0 means no limit, which is the default.
func MaxDistance(n int) WalkOption { return func(o *walkOptions) { o.distance = n } }

// MaxSteps ends a walk behind n steps, stubs included; 0 means no limit, which is the default.
func MaxSteps(n int) WalkOption { return func(o *walkOptions) { o.steps = n } }

// A walk is one of the walks under way. All of it sees what was visible, and what was hidden, when it began; its view is
// taken anew, up to the same end, when a segment had to be healed.
type walk struct {
	store *Store
	ctx   context.Context
	id    event.ID // asked for
	yield func(Step, error) bool

	most   int                   // links
	left   int                   // steps
	end    uint64                // last visible sequence
	hidden func(seq uint64) bool // nil: nothing is hidden
	reads  int                   // so far; every so often ctx is looked at

	v     *index.View
	after again
}

// errWalked ends a walk whose caller has had enough.
var errWalked = errors.New("batpak: end of a walk")

// walk returns the iterator of a walk that do carries out.
func (s *Store) walk(ctx context.Context, what string, id event.ID, opts []WalkOption, do func(*walk) error) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		w := &walk{store: s, ctx: ctx, id: id, yield: yield}
		if err := w.run(opts, do); err != nil && err != errWalked {
			yield(Step{}, fmt.Errorf("%s event %v: %w", what, id, err))
		}
	}
}

// run takes a view, and gives it up also where the caller's loop panics.
func (w *walk) run(opts []WalkOption, do func(*walk) error) error {
	defer w.release()
	if err := w.begin(opts); err != nil {
		return err
	}
	return do(w)
}

// begin takes the options and a view.
func (w *walk) begin(opts []WalkOption) error {
	var o walkOptions
	for _, option := range opts {
		option(&o)
	}
	switch {
	case w.id.IsZero():
		return &DraftError{Field: "ID", Reason: "names no event"}
	case o.distance < 0:
		return &DraftError{Field: "MaxDistance", Reason: "below zero"}
	case o.steps < 0:
		return &DraftError{Field: "MaxSteps", Reason: "below zero"}
	}
	w.most, w.left = limit(o.distance), limit(o.steps)
	if err := w.look(); err != nil {
		return err
	}
	w.end = w.v.Visible()
	w.hidden = w.store.hidden.filter()
	return nil
}

// limit returns the number that 0 stands for.
func limit(n int) int {
	if n == 0 {
		return math.MaxInt
	}
	return n
}

// look takes a view.
func (w *walk) look() (err error) {
	w.after.builds = w.store.state.Builds()
	w.v, err = w.store.view(w.ctx)
	return err
}

// release gives the view up.
func (w *walk) release() {
	if w.v != nil {
		w.v.Release()
		w.v = nil
	}
}

// check looks whether the walk may go on, once in a while.
func (w *walk) check() error {
	if w.reads++; w.reads%checkEvery == 0 {
		return w.store.mayRead(w.ctx)
	}
	return nil
}

// read calls fn with the view, and again with another one when a footer that it met was damaged and healed, or when files
// of a read-only store had been replaced. fn does not yield.
func (w *walk) read(fn func(*index.View) error) error {
	if err := w.check(); err != nil {
		return err
	}
	for {
		err := fn(w.v)
		if err == nil {
			w.after.renewed = false
			return nil
		}
		if err = w.mend(err); err != nil {
			return err
		}
	}
}

// mend sees to it that a read that ended in err can begin again; otherwise it returns what to say of it.
func (w *walk) mend(err error) error {
	w.release()
	if err = w.store.mend(w.ctx, &w.after, err); err != nil {
		return err
	}
	return w.look()
}

// find returns the event with an ID, as far as the walk may know it, and its sequence, which is 0 for one that is unknown.
func (w *walk) find(id event.ID) (step Step, seq uint64, err error) {
	var raw event.Raw
	var ok bool
	err = w.read(func(v *index.View) (err error) {
		raw, ok, err = v.FindID(id)
		return err
	})
	switch {
	case err != nil:
		return Step{}, 0, err
	case !ok:
		return Step{Event: event.Event{ID: id}, Missing: MissingUnknown}, 0, nil
	case raw.Seq > w.end:
		return Step{Event: event.Event{ID: id}, Missing: MissingPending}, raw.Seq, nil
	}
	return w.stepOf(raw.Event()), raw.Seq, nil
}

// stepOf returns the step of an event that is visible or hidden.
func (w *walk) stepOf(ev event.Event) Step {
	if w.hidden == nil || !w.hidden(ev.Seq) {
		return Step{Event: ev}
	}
	return Step{Missing: MissingHidden, Event: event.Event{
		ID: ev.ID, Seq: ev.Seq, Coordinate: ev.Coordinate, Lane: ev.Lane, Clock: ev.Clock, HLC: ev.HLC, Hash: ev.Hash,
		Fork: ev.Fork, Correlation: ev.Correlation, Causation: ev.Causation,
	}}
}

// give yields a step.
//
// Errors: errWalked when it is the last one that was asked for.
func (w *walk) give(step *Step) error {
	w.left--
	if !w.yield(*step, nil) || w.left == 0 {
		return errWalked
	}
	return nil
}
