package batpak_test

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// A walkNode is what the model knows of one event.
type walkNode struct {
	batpak.Receipt
	draft  batpak.Draft
	fence  *batpak.Fence // that staged it; nil for none
	hidden bool
}

// A walkModel is the naive graph of a store: it looks through everything for each link.
type walkModel struct {
	nodes   []walkNode // by sequence
	visible uint64
}

func (m *walkModel) find(id event.ID) *walkNode {
	for i := range m.nodes {
		if m.nodes[i].ID == id {
			return &m.nodes[i]
		}
	}
	return nil
}

// A wantStep is what a walk should yield.
type wantStep struct {
	id       event.ID
	distance int
	from     event.ID
	missing  batpak.Missing
	end      batpak.End
}

// step returns the step of an event with an ID.
func (m *walkModel) step(id event.ID, distance int, from event.ID) wantStep {
	w := wantStep{id: id, distance: distance, from: from}
	switch n := m.find(id); {
	case n == nil:
		w.missing = batpak.MissingUnknown
	case n.Seq > m.visible:
		w.missing = batpak.MissingPending
	case n.hidden:
		w.missing = batpak.MissingHidden
	}
	return w
}

func (m *walkModel) causes(id event.ID) []wantStep {
	return m.chain(id, func(n *walkNode) event.ID { return n.draft.Causation })
}

// chain goes from one event to the next, until there is none or none that is known.
func (m *walkModel) chain(id event.ID, next func(*walkNode) event.ID) (all []wantStep) {
	from := event.ID{}
	for distance := 0; ; distance++ {
		w := m.step(id, distance, from)
		all = append(all, w)
		last := &all[len(all)-1]
		if w.missing == batpak.MissingUnknown || w.missing == batpak.MissingPending {
			last.end = batpak.EndMissing
			return all
		}
		from, id = id, next(m.find(id))
		if id.IsZero() {
			last.end = batpak.EndGenesis
			return all
		}
	}
}

func (m *walkModel) effects(id event.ID) []wantStep {
	all := []wantStep{m.step(id, 0, event.ID{})}
	for i, distance := 0, 1; i < len(all); distance++ {
		level := all[i:]
		i = len(all)
		for n := range m.nodes { // by sequence
			at := slices.IndexFunc(level, func(w wantStep) bool { return w.id == m.nodes[n].draft.Causation })
			if at >= 0 && m.nodes[n].Seq <= m.visible {
				all = append(all, m.step(m.nodes[n].ID, distance, level[at].id))
			}
		}
	}
	return all
}

func (m *walkModel) correlated(id event.ID) (all []wantStep) {
	group := id
	if n := m.find(id); n != nil && n.Seq <= m.visible && !n.draft.Correlation.IsZero() {
		group = n.draft.Correlation
	}
	away := 0
	if group != id {
		away = 1
		all = append(all, m.step(group, 1, id))
	} else {
		all = append(all, m.step(id, 0, event.ID{}))
	}
	for i := range m.nodes {
		if n := &m.nodes[i]; n.draft.Correlation == group && n.Seq <= m.visible {
			distance := 1 + away
			if n.ID == id {
				distance = 0
			}
			all = append(all, m.step(n.ID, distance, group))
		}
	}
	return all
}

func (m *walkModel) ancestors(id event.ID) []wantStep {
	return m.chain(id, func(n *walkNode) event.ID {
		if n.Clock > 1 {
			return m.before(n)
		}
		return n.draft.Fork
	})
}

// before returns the event before n on its stream.
func (m *walkModel) before(n *walkNode) event.ID {
	for i := range m.nodes {
		o := &m.nodes[i]
		if o.Coordinate.Entity() == n.Coordinate.Entity() && o.Lane == n.Lane && o.Clock == n.Clock-1 {
			return o.ID
		}
	}
	return event.ID{}
}

// A walking is a walk of the store beside the same of the model.
type walking struct {
	name  string
	walk  func(context.Context, event.ID, ...batpak.WalkOption) iter.Seq2[batpak.Step, error]
	model func(event.ID) []wantStep
	chain bool // ends are told
}

func walkings(st *batpak.Store, m *walkModel) []walking {
	return []walking{
		{"Causes", st.Causes, m.causes, true},
		{"Effects", st.Effects, m.effects, false},
		{"Correlated", st.Correlated, m.correlated, false},
		{"Ancestors", st.Ancestors, m.ancestors, true},
	}
}

// walked returns all steps of a walk, and what ended it.
func walked(seq iter.Seq2[batpak.Step, error]) (all []batpak.Step, err error) {
	for step, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, step)
	}
	return all, nil
}

// check compares a walk with the model, under limits; 0 is none.
func (w *walking) check(m *walkModel, id event.ID, most, limit int) error {
	got, err := walked(w.walk(context.Background(), id, batpak.MaxDistance(most), batpak.MaxSteps(limit)))
	if err != nil {
		return err
	}
	want := w.model(id)
	if most > 0 {
		want = slices.DeleteFunc(want, func(s wantStep) bool { return s.distance > most })
	}
	if limit > 0 && len(want) > limit {
		want = want[:limit]
	}
	if last := len(want) - 1; w.chain && want[last].end == batpak.NotEnded {
		want[last].end = batpak.EndLimit
	}
	if len(got) != len(want) {
		return fmt.Errorf("%d steps, want %d", len(got), len(want))
	}
	for i := range got {
		g := &got[i]
		if have := (wantStep{g.ID, g.Distance, g.From, g.Missing, g.End}); have != want[i] {
			return fmt.Errorf("step %d is %+v, want %+v", i, have, want[i])
		}
		if err := m.holds(g, w.name == "Ancestors"); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// holds checks the fields of a step.
func (m *walkModel) holds(g *batpak.Step, verified bool) error {
	n := m.find(g.ID)
	bare := batpak.Step{Event: event.Event{ID: g.ID}, Distance: g.Distance, From: g.From, Missing: g.Missing, End: g.End}
	switch g.Missing {
	case batpak.MissingUnknown, batpak.MissingPending:
		if fmt.Sprint(*g) != fmt.Sprint(bare) {
			return fmt.Errorf("a stub says %+v", *g)
		}
		return nil
	case batpak.MissingHidden:
		if g.Payload != nil || g.Kind != 0 || g.Tags != nil || g.Extensions != nil || g.PayloadVersion != 0 || g.Depth != 0 {
			return fmt.Errorf("a hidden event says %+v", *g)
		}
	default:
		if string(g.Payload) != string(n.draft.Payload) || g.Kind != n.draft.Kind {
			return fmt.Errorf("event is %+v, want %+v", g.Event, n.draft)
		}
	}
	if g.Seq != n.Seq || g.Clock != n.Clock || g.Lane != n.Lane || g.Hash != n.Hash || g.Coordinate != n.Coordinate ||
		g.Causation != n.draft.Causation || g.Correlation != n.draft.Correlation || g.Fork != n.draft.Fork || g.HLC != n.HLC {
		return fmt.Errorf("event is %+v, want %+v", g.Event, n.Receipt)
	}
	if g.Verified != verified {
		return fmt.Errorf("verified is %v", g.Verified)
	}
	return nil
}

// A walkWriter fills a store and its model at random.
type walkWriter struct {
	*rig
	model  walkModel
	rng    *rand.Rand
	fences []*batpak.Fence
	made   []event.ID // IDs of no event
	seen   map[string]int
}

// link returns the ID of some event that came before, of none, or zero.
func (w *walkWriter) link() event.ID {
	n := len(w.model.nodes)
	switch pick := w.rng.IntN(10); {
	case n == 0 || pick < 2:
		return event.ID{}
	case pick < 3:
		return w.made[w.rng.IntN(len(w.made))]
	case pick < 7: // close by, so that there are long chains
		return w.model.nodes[n-1-w.rng.IntN(min(n, 4))].ID
	}
	return w.model.nodes[w.rng.IntN(n)].ID
}

// draft returns a draft with links, and the fence that stages it, if one does.
func (w *walkWriter) draft() (d batpak.Draft, f *batpak.Fence) {
	at := [...]coordinate.Coordinate{streamA, streamB}[w.rng.IntN(2)]
	d = w.rig.draft(at, w.rng.IntN(2)*w.rng.IntN(600))
	if w.rng.IntN(3) == 0 {
		d.Payload = []byte("the same") // R1, R2
	}
	d.Causation, d.Correlation = w.link(), w.link()
	d.Tags, d.PayloadVersion = []string{"tag"}, 3
	if len(w.fences) > 0 && w.rng.IntN(3) == 0 {
		f = w.fences[w.rng.IntN(len(w.fences))]
	}
	var lanes, forks []*walkNode
	for i := range w.model.nodes {
		if n := &w.model.nodes[i]; n.Coordinate == at && !n.hidden && (n.fence == nil || n.fence == f) {
			forks = append(forks, n)
		}
		if n := &w.model.nodes[i]; n.Coordinate == at {
			lanes = append(lanes, n)
		}
	}
	switch {
	case len(forks) > 0 && w.rng.IntN(8) == 0:
		d.Lane, d.Fork = uint32(len(w.model.nodes)+1), forks[w.rng.IntN(len(forks))].ID
	case len(lanes) > 0:
		d.Lane = lanes[w.rng.IntN(len(lanes))].Lane
	}
	return d, f
}

// step does one thing to the store.
func (w *walkWriter) step() error {
	ctx := context.Background()
	switch pick := w.rng.IntN(20); {
	case pick == 0:
		f, err := w.st.Fence(ctx)
		w.fences = append(w.fences, f)
		return err
	case pick <= 2 && len(w.fences) > 0:
		i := w.rng.IntN(len(w.fences))
		f := w.fences[i]
		w.fences = slices.Delete(w.fences, i, i+1)
		if w.rng.IntN(2) == 0 {
			w.ended(f, false)
			return f.Commit(ctx)
		}
		w.ended(f, true)
		return f.Cancel(ctx)
	}
	d, f := w.draft()
	write := w.st.Append
	if f != nil {
		write = f.Append
	}
	rcpt, err := write(ctx, d)
	if err != nil {
		return err
	}
	w.model.nodes = append(w.model.nodes, walkNode{Receipt: rcpt, draft: d, fence: f})
	w.settle()
	return nil
}

// ended says what became of a fence.
func (w *walkWriter) ended(f *batpak.Fence, hidden bool) {
	for i := range w.model.nodes {
		if n := &w.model.nodes[i]; n.fence == f {
			n.fence, n.hidden = nil, hidden
		}
	}
}

// reopen closes the store, which cancels its fences, and opens it.
func (w *walkWriter) reopen() error {
	if err := w.close(); err != nil {
		return err
	}
	for _, f := range w.fences {
		w.ended(f, true)
	}
	w.fences = nil
	return w.open()
}

// checkAll compares all walks from all events.
func (w *walkWriter) checkAll(t *testing.T) {
	t.Helper()
	w.model.visible = w.st.Frontier().Visible
	for _, walk := range walkings(w.st, &w.model) {
		for _, id := range append(w.made, event.ID{1}) {
			if err := walk.check(&w.model, id, 0, 0); err != nil {
				t.Errorf("%s(%v): %v", walk.name, id, err)
			}
		}
		for i := range w.model.nodes {
			id := w.model.nodes[i].ID
			for _, l := range [][2]int{{0, 0}, {1 + w.rng.IntN(4), 0}, {0, 1 + w.rng.IntN(6)}, {1 + w.rng.IntN(3), 1 + w.rng.IntN(5)}} {
				for _, s := range walk.model(id) {
					w.seen[walk.name+" "+s.missing.String()]++
				}
				if err := walk.check(&w.model, id, l[0], l[1]); err != nil {
					t.Errorf("%s(event %d) distance %d steps %d: %v", walk.name, w.model.nodes[i].Seq, l[0], l[1], err)
				}
			}
		}
	}
}

// TestWalksAgainstAModel compares every walk from every event of random stores with a graph that knows no index: over
// segments, lanes, forks, fences that are open, committed and cancelled, and after reopening.
func TestWalksAgainstAModel(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	rounds := sized(4, 12, 100)
	if racing {
		rounds = 2
	}
	for round := range rounds {
		seed := uint64(round) + 1
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			w := &walkWriter{rig: startRig(t, batpak.Options{}), rng: rand.New(rand.NewPCG(seed, 5)), seen: seen}
			for range 3 {
				w.made = append(w.made, event.NewID(event.HLC(w.rng.Uint64()), w.rng.Uint64()))
			}
			for i := range 90 {
				if err := w.step(); err != nil {
					t.Fatalf("seed %d step %d: %v", seed, i, err)
				}
				if i == 40 {
					w.checkAll(t)
				}
			}
			w.checkAll(t)
			if err := w.reopen(); err != nil {
				t.Fatal(err)
			}
			w.checkAll(t)
			if n := w.st.Stats().Segments; n < 4 {
				t.Errorf("%d segments", n)
			}
		})
	}
	t.Logf("steps: %v", seen)
	for _, name := range []string{"Causes", "Effects", "Correlated", "Ancestors"} {
		for _, missing := range []batpak.Missing{batpak.Present, batpak.MissingHidden, batpak.MissingPending} {
			if seen[name+" "+missing.String()] == 0 {
				t.Errorf("%s met nothing that was %v", name, missing)
			}
		}
	}
}
