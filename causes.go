package batpak

import (
	"cmp"
	"context"
	"iter"
	"slices"

	"batpak/event"
	"batpak/index"
	"batpak/segment"
)

// Causes yields an event, then its cause ([Draft.Causation]), then the cause of that, up to one that nothing caused. Each
// step is one link further than the one before, and came earlier in commit order. On the last step End says why it is
// the last: EndGenesis for one that names no cause.
//
// A cause that is hidden is a stub, and the walk goes on with its cause; one that is not in this store is a stub and the
// end. The loop sees what was visible when it began, and may stop at any point; an event's bytes belong to the caller. It
// holds one event at a time, and reads one frame for each step.
//
// Errors: *[CauseError]; *[DraftError] for a zero id or an option below zero; *[CanceledError]; [ErrClosed];
// *segment.FrameError and *segment.FooterError for damage: an error is never a silent end.
func (s *Store) Causes(ctx context.Context, id event.ID, opts ...WalkOption) iter.Seq2[Step, error] {
	return s.walk(ctx, "causes of", id, opts, (*walk).causes)
}

func (w *walk) causes() error {
	step, _, err := w.find(w.id)
	if err != nil {
		return err
	}
	for {
		switch {
		case step.Seq == 0:
			step.End = EndMissing
		case step.Causation.IsZero():
			step.End = EndGenesis
		case step.Distance == w.most || w.left == 1:
			step.End = EndLimit
		}
		if err := w.give(&step); err != nil || step.End != NotEnded {
			return err
		}
		cause, seq, err := w.find(step.Causation)
		if err != nil {
			return err
		}
		if seq >= step.Seq {
			return &CauseError{Event: step.ID, Seq: step.Seq, Cause: step.Causation, CauseSeq: seq}
		}
		cause.Distance, cause.From = step.Distance+1, step.ID
		step = cause
	}
}

// Effects yields an event, then the events that name it as their cause ([Draft.Causation]), then the events that name one
// of those, and so on: breadth first, so that Distance never decreases, and in commit order among those of one Distance.
// From is the cause. Every event comes once, since it names one cause.
//
// Effects that are hidden are stubs, and the walk goes on with theirs. For an event that is not in this store it begins
// with a stub, and goes on with the effects that are: those of an event that has left the log are found. As with
// [Store.Causes] the loop sees what was visible when it began.
//
// Effects are looked up in the index of each segment from the event's own on, since nothing that stands before it is its
// effect; for up to 64 events of one level in one pass. Memory: 48 bytes for each event of two levels of the tree, or of
// as many as [MaxSteps] has left where that is less, and up to 1 MiB of events that were read before their turn.
//
// Errors: as Causes.
func (s *Store) Effects(ctx context.Context, id event.ID, opts ...WalkOption) iter.Seq2[Step, error] {
	return s.walk(ctx, "effects of", id, opts, (*walk).effects)
}

// An effect is one event of a level that is still to come.
type effect struct {
	seq  uint64 // 0 when the event is unknown
	id   event.ID
	from event.ID
	step int // number in the tree's steps, plus one; 0: to be read again
}

const (
	// effectsKept is how many bytes a level of effects may keep, stepKept of them for each beside its frame.
	effectsKept = 1 << 20
	stepKept    = 256
	// effectsTogether is for how many events of a level effects are looked up in one pass over the segments.
	effectsTogether = 64
	effectsFew      = 16
)

// A tree is an Effects under way.
type tree struct {
	*walk
	steps []Step // of the next level, as many as may be kept
	kept  int    // bytes of these

	// One pass over the segments.
	parents []index.Parent
	found   []effect
	parent  int // that the last effect was found of
	many    int // effects of that in a row
	wrong   error
}

func (w *walk) effects() error {
	first, seq, err := w.find(w.id)
	if err != nil {
		return err
	}
	t := tree{walk: w, steps: []Step{first}}
	level := []effect{{seq: seq, id: w.id, step: 1}}
	for distance := 0; len(level) > 0; distance++ {
		for i := range level {
			step, err := t.step(&level[i])
			if err != nil {
				return err
			}
			step.Distance, step.From = distance, level[i].from
			if err := w.give(step); err != nil {
				return err
			}
		}
		if distance == w.most {
			return nil
		}
		if level, err = t.expand(level); err != nil {
			return err
		}
	}
	return nil
}

// step returns the step of e.
func (t *tree) step(e *effect) (*Step, error) {
	if e.step > 0 {
		return &t.steps[e.step-1], nil
	}
	step := new(Step)
	err := t.read(func(v *index.View) error {
		ev, ok, err := v.EventBySeq(e.seq)
		if ok {
			*step = t.stepOf(ev)
		} else { // it left while the walk was under way, and files were replaced
			*step = Step{Event: event.Event{ID: e.id}, Missing: MissingEvicted}
		}
		return err
	})
	return step, err
}

// expand returns the effects of a level, in commit order; no more than may still be yielded.
func (t *tree) expand(level []effect) (next []effect, err error) {
	t.steps, t.kept = t.steps[:0], 0
	for some := range slices.Chunk(level, effectsTogether) {
		if err := t.effectsOf(some); err != nil {
			return nil, err
		}
		next = append(next, t.found...)
		if len(next)/2 > t.left { // all but the first will not be asked for
			next = earliest(next, t.left)
		}
	}
	return earliest(next, t.left), nil
}

// earliest returns the n effects that come first, in commit order, each once.
func earliest(all []effect, n int) []effect {
	bySeq := func(a, b effect) int { return cmp.Compare(a.seq, b.seq) }
	if !slices.IsSortedFunc(all, bySeq) {
		slices.SortFunc(all, bySeq)
	}
	all = slices.CompactFunc(all, func(a, b effect) bool { return a.seq == b.seq })
	return all[:min(n, len(all))]
}

// effectsOf finds the effects of some events of a level: all, or at least those that may still be yielded.
func (t *tree) effectsOf(some []effect) error {
	t.parents = t.parents[:0]
	for i := range some {
		t.parents = append(t.parents, index.Parent{Seq: some[i].seq, ID: some[i].id})
	}
	steps, kept := len(t.steps), t.kept
	err := t.read(func(v *index.View) error {
		t.steps, t.kept = t.steps[:steps], kept
		t.found, t.parent, t.many, t.wrong = t.found[:0], -1, 0, nil
		return v.EachChild(t.parents, segment.ByCausation, t.end+1, t.add)
	})
	if err == nil {
		err = t.wrong
	}
	return err
}

// add takes an effect of one of parents, and reports whether more of that are wanted.
func (t *tree) add(parent int, raw *event.Raw) bool {
	from := &t.parents[parent]
	switch {
	case t.wrong != nil:
	case raw.Seq <= from.Seq:
		t.wrong = &CauseError{Event: raw.ID, Seq: raw.Seq, Cause: from.ID, CauseSeq: from.Seq}
	default:
		t.wrong = t.check() // an event may have very many
	}
	if t.wrong != nil {
		return false
	}
	if cap(t.found) == 0 { // most events have few effects: growing step by step would cost more than reading them
		t.found, t.steps = make([]effect, 0, effectsFew), make([]Step, 0, effectsFew)
	}
	found := effect{seq: raw.Seq, id: raw.ID, from: from.ID}
	if size := len(raw.Meta) + len(raw.Payload) + stepKept; t.kept+size <= effectsKept {
		t.steps, t.kept = append(t.steps, t.stepOf(raw.Event())), t.kept+size
		found.step = len(t.steps)
	}
	if t.found = append(t.found, found); len(t.found)/2 > t.left {
		t.found = earliest(t.found, t.left)
	}
	if parent != t.parent {
		t.parent, t.many = parent, 0
	}
	t.many++
	return t.many < t.left
}

// Correlated yields the group that an event belongs to, in commit order: the events that carry the same correlation
// ([Draft.Correlation]), and the event that the correlation names. The group of an event without correlation is the one
// that it gives its ID to: itself, and the events that name it. An ID that is in no event is taken for one that names a
// group: so an ID that callers made up finds its group, too.
//
// The event that names the group comes first, as a stub where it is hidden or not in this store; From of all others is its
// ID. Distance is 0 for the event asked for, 1 between it and the one that names the group, and 2 between two others.
// Hidden members are stubs. Every event comes once. As with [Store.Causes] the loop sees what was visible when it began;
// it holds one event at a time, and looks into every segment for members.
//
// Errors: as Causes.
func (s *Store) Correlated(ctx context.Context, id event.ID, opts ...WalkOption) iter.Seq2[Step, error] {
	return s.walk(ctx, "events correlated with", id, opts, (*walk).correlated)
}

func (w *walk) correlated() error {
	name, seq, err := w.find(w.id)
	if err != nil {
		return err
	}
	asked := 0 // distance of the event asked for and the one that names the group
	if group := name.Correlation; !group.IsZero() && group != w.id {
		asked = 1
		if name, seq, err = w.find(group); err != nil {
			return err
		}
	}
	name.Distance = asked
	if asked == 1 {
		name.From = w.id
	}
	if name.Distance <= w.most {
		if err := w.give(&name); err != nil {
			return err
		}
	}
	m := members{walk: w, group: name.ID, named: seq, asked: asked}
	for m.again() {
	}
	return m.err
}

// members are those of a group, but for the event that names it.
type members struct {
	*walk
	group event.ID
	named uint64 // sequence of the event that names it; 0 when that is unknown
	asked int
	last  uint64 // sequence of the last one
	err   error
}

// again reads from where m stands, and reports whether it must be called once more.
func (m *members) again() bool {
	from := m.last
	q := index.Query{Correlation: m.group, After: m.last, Before: m.end + 1, System: true, Done: m.ctx.Done()}
	cur := m.v.Scan(q, false)
	defer cur.Close()
	for cur.Next() {
		raw := cur.Raw()
		if m.last = raw.Seq; raw.ID == m.group {
			continue // it came first
		}
		if m.err = m.member(raw); m.err != nil {
			return false
		}
	}
	if m.err = cur.Err(); m.err == nil {
		return false
	}
	if m.last != from {
		m.after.renewed = false
	}
	m.err = m.mend(m.err)
	return m.err == nil
}

// member yields one of the group.
func (m *members) member(raw *event.Raw) error {
	if raw.Seq <= m.named {
		return &CauseError{Event: raw.ID, Seq: raw.Seq, Cause: m.group, CauseSeq: m.named, Group: true}
	}
	step := m.stepOf(raw.Event())
	step.Distance, step.From = 1+m.asked, m.group
	if raw.ID == m.id {
		step.Distance = 0
	}
	if step.Distance > m.most {
		return nil
	}
	if err := m.check(); err != nil {
		return err
	}
	return m.give(&step)
}
