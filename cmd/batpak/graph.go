package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"

	"batpak"
	"batpak/event"
)

var graphCommand = command{
	name:     "graph",
	synopsis: "[flags] DIR EVENT",
	summary:  "draws what caused an event of the store in DIR, and what it caused; works beside a writer",
	examples: `  batpak graph store 1042                                    the event at sequence 1042, as a tree
  batpak graph -format svg -depth 3 store 1042 > graph.svg   a picture for a browser
  batpak graph -format dot store 1042 | dot -Tpng > graph.png
  batpak graph -correlated store 0190d1a2-5b7c-7000-8000-0123456789ab

EVENT is a sequence or an ID; for an ID that is not in the store its effects are drawn that are. Causes are followed up to
the first, effects down to the last, unless -depth or -limit end it; half of the limit is for causes. Events that are hidden, or not
in the store, stand in the graph as what they are.
`,
	minArgs: 2, maxArgs: 2,
	setup: setupGraph,
}

// graphFormats are what -format takes.
var graphFormats = map[string]func(io.Writer, *graph, bool) error{"text": drawText, "dot": drawDot, "svg": drawSVG}

func setupGraph(fs *flag.FlagSet) runner {
	format := fs.String("format", "text", "`F` is text, dot or svg")
	var o graphOptions
	fs.IntVar(&o.depth, "depth", 0, "follow at most `N` links in each direction; 0 means all")
	fs.IntVar(&o.limit, "limit", 200, "draw at most `N` events")
	fs.BoolVar(&o.correlated, "correlated", false, "draw the events of the same correlation, too")
	return func(ctx context.Context, c *console, args []string) error {
		draw, ok := graphFormats[*format]
		switch {
		case !ok:
			return usagef("-format %q: want text, dot or svg", *format)
		case o.depth < 0:
			return usagef("-depth %d: want 0 or more", o.depth)
		case o.limit < 1:
			return usagef("-limit %d: want 1 or more", o.limit)
		}
		return withReader(ctx, args[0], func(st *batpak.Store) error {
			id, err := eventNamed(ctx, st, args[1])
			if err != nil {
				return err
			}
			g, err := gather(ctx, st, id, o)
			if err != nil {
				return err
			}
			out := bufio.NewWriter(c.out)
			return errors.Join(draw(out, g, c.color), out.Flush())
		})
	}
}

// eventNamed returns the ID of the event that an argument names.
func eventNamed(ctx context.Context, st *batpak.Store, arg string) (event.ID, error) {
	if seq, err := strconv.ParseUint(arg, 10, 64); err == nil {
		ev, err := st.EventAt(ctx, seq)
		return ev.ID, err
	}
	id, err := event.ParseID(arg)
	if err != nil {
		return id, usagef("%q is neither a sequence nor an ID", arg)
	}
	return id, nil
}

// graphOptions say how much is drawn.
type graphOptions struct {
	depth      int // links in each direction; 0 means all
	limit      int // events
	correlated bool
}

// A role is what a node is to the event asked for.
type role uint8

const (
	roleAsked role = iota
	roleCause
	roleEffect
	roleCorrelated
)

// A node is an event of a graph, or the stub of one.
type node struct {
	batpak.Step
	role  role
	cause int // index of the node that caused it; -1 for none in the graph
	more  int // effects that are not drawn, as far as is known
}

// A graph is the events around one event, in commit order; those that are not in the store come first.
type graph struct {
	nodes   []node
	asked   int  // index
	causes  bool // causes were left out
	effects bool // effects were left out
	members bool // correlated events were left out
}

// gather collects the graph around an event.
//
// Errors: [batpak.ErrNotFound] for an event of which nothing is known; those of the walks.
func gather(ctx context.Context, st *batpak.Store, id event.ID, o graphOptions) (*graph, error) {
	b := graphBuilder{at: make(map[event.ID]int), left: o.limit}
	for step, err := range st.Causes(ctx, id, batpak.MaxDistance(o.depth), batpak.MaxSteps(max(1, o.limit/2))) {
		if err != nil {
			return nil, err
		}
		b.causes = step.End == batpak.EndLimit
		b.add(step, roleCause)
	}
	b.nodes[0].role = roleAsked
	if err := b.addEffects(ctx, st, id, o); err != nil {
		return nil, err
	}
	if o.correlated {
		for step, err := range st.Correlated(ctx, id, batpak.MaxSteps(o.limit+1)) {
			if err != nil {
				return nil, err
			}
			b.members = !b.add(step, roleCorrelated) || b.members
		}
	}
	if len(b.nodes) == 1 && b.nodes[0].Missing == batpak.MissingUnknown {
		return nil, fmt.Errorf("%w: ID %v", batpak.ErrNotFound, id)
	}
	return b.finish(), nil
}

// A graphBuilder puts a graph together.
type graphBuilder struct {
	graph
	at   map[event.ID]int // index of a node
	left int              // nodes
}

// add adds a step, unless it is there. It returns false when there is no room for it.
func (b *graphBuilder) add(step batpak.Step, r role) bool {
	if _, ok := b.at[step.ID]; ok {
		return true
	}
	if b.left == 0 {
		return false
	}
	b.left--
	b.at[step.ID] = len(b.nodes)
	b.nodes = append(b.nodes, node{Step: step, role: r, cause: -1})
	return true
}

// addEffects walks one link further than is drawn, so that it can be said where there is more.
func (b *graphBuilder) addEffects(ctx context.Context, st *batpak.Store, id event.ID, o graphOptions) error {
	further := o.depth
	if further > 0 {
		further++
	}
	for step, err := range st.Effects(ctx, id, batpak.MaxDistance(further), batpak.MaxSteps(b.left+2)) {
		if err != nil {
			return err
		}
		if o.depth > 0 && step.Distance > o.depth || !b.add(step, roleEffect) {
			b.effects = true
			if from, ok := b.at[step.From]; ok {
				b.nodes[from].more++
			}
		}
	}
	return nil
}

// finish orders the nodes and links them.
func (b *graphBuilder) finish() *graph {
	slices.SortStableFunc(b.nodes, func(x, y node) int { return cmp.Compare(x.Seq, y.Seq) })
	for i := range b.nodes {
		b.at[b.nodes[i].ID] = i
	}
	for i := range b.nodes {
		n := &b.nodes[i]
		if cause, ok := b.at[n.Causation]; ok && !n.Causation.IsZero() {
			n.cause = cause
		}
		if n.role == roleAsked {
			b.asked = i
		}
	}
	return &b.graph
}

// effectsOf returns the indexes of a node's effects, in commit order.
func (g *graph) effectsOf(cause int) (all []int) {
	for i := range g.nodes {
		if g.nodes[i].cause == cause {
			all = append(all, i)
		}
	}
	return all
}

// known reports whether more is known of the event than its ID.
func (n *node) known() bool { return n.Seq != 0 }

// entity returns the name of the node's stream, "" when that is unknown.
func (n *node) entity() string {
	if !n.known() {
		return ""
	}
	return n.Coordinate.Entity()
}

// what returns the kind of an event, or why there is none.
func (n *node) what() string {
	if n.Missing != batpak.Present {
		return n.Missing.String()
	}
	return n.Kind.String()
}

// leftOut says what is not drawn, "" for nothing.
func (g *graph) leftOut() (all []string) {
	for _, part := range []struct {
		what string
		is   bool
	}{{"earlier causes", g.causes}, {"further effects", g.effects}, {"further events of the same correlation", g.members}} {
		if part.is {
			all = append(all, part.what+" are left out")
		}
	}
	return all
}
