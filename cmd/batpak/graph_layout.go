package main

import (
	"slices"
	"unicode/utf8"
)

// A layout says where everything of a picture stands, in pixels. Time runs to the right: a layer holds events that follow
// each other in commit order, that have the same cause, and that are of different entities. Each entity has a row; rows are
// ordered by their first event.
//
//	             layer   layer   layer
//	             time    time    time
//	entity a     [#1]            [#4]
//	entity b             [#2]
//	entity c             [#3]
type layout struct {
	g     *graph
	boxes []box  // one for each node, in the same order
	edges []edge // what leads to an event that is drawn, from its cause
	rows  []row

	layers, pitch int // how many, and from one to the next
	nodeW         int
	left, top     int // where layers and rows begin
	bottom        int // below the last row
}

const (
	rowPitch  = 38
	nodeH     = 30
	headH     = 104 // above the rows
	nameMost  = 34  // characters of a name
	nameW     = 7   // of one of them, at most
	wideMost  = 9   // layers that have room for wide nodes
	legendGap = 34
)

// A box is where a node stands.
type box struct {
	row, layer int
	x, y       int // upper left corner
}

// A row is what one entity has.
type row struct {
	name       string // "" for events that are not in the store
	y          int    // middle
	first, end int    // x of its first node, and behind its last one
}

// A point is a place in the picture.
type point struct{ x, y int }

// An edge is drawn as curves: a start, and three points for each cubic curve.
type edge struct {
	from, to int // nodes
	points   []point
}

// arrange lays g out.
func arrange(g *graph) *layout {
	l := &layout{g: g, top: headH}
	at := make(map[string]int)
	longest := 0
	for i := range g.nodes {
		name := g.nodes[i].entity()
		if _, ok := at[name]; !ok {
			at[name] = len(l.rows)
			l.rows = append(l.rows, row{name: name})
			longest = max(longest, min(utf8.RuneCountInString(name), nameMost))
		}
		l.boxes = append(l.boxes, box{row: at[name], layer: l.layerOf(i, at[name])})
	}
	l.layers = l.boxes[len(l.boxes)-1].layer + 1
	l.bottom = l.top + len(l.rows)*rowPitch
	l.nodeW, l.pitch = 56, 94
	if l.layers <= wideMost {
		l.nodeW, l.pitch = 84, 136
	}
	l.left = 20 + max(longest, 11)*nameW + l.gap()
	l.place()
	for i := range g.nodes {
		if cause := g.nodes[i].cause; cause >= 0 && l.boxes[cause].layer < l.boxes[i].layer {
			l.edges = append(l.edges, edge{cause, i, l.route(cause, i)})
		}
	}
	return l
}

// gap is the room to the left of a layer, where its band begins, and behind the names.
func (l *layout) gap() int { return (l.pitch-l.nodeW)/2 + 8 }

// layerOf returns the layer of node i, when all before it have theirs.
func (l *layout) layerOf(i, row int) int {
	if i == 0 {
		return 0
	}
	layer := l.boxes[i-1].layer
	n, before := &l.g.nodes[i], &l.g.nodes[i-1]
	taken := slices.ContainsFunc(l.boxes, func(b box) bool { return b.layer == layer && b.row == row })
	if taken || n.cause < 0 || n.cause != before.cause {
		return layer + 1
	}
	return layer
}

// place gives boxes and rows their places.
func (l *layout) place() {
	for i := range l.boxes {
		b := &l.boxes[i]
		b.x, b.y = l.left+b.layer*l.pitch, l.top+b.row*rowPitch+(rowPitch-nodeH)/2
		r := &l.rows[b.row]
		if r.end == 0 {
			r.y, r.first = b.y+nodeH/2, b.x
		}
		r.end = b.x + l.nodeW
	}
}

// free reports whether no node stands in a row between two layers.
func (l *layout) free(row, from, to int) bool {
	return !slices.ContainsFunc(l.boxes, func(b box) bool { return b.row == row && b.layer > from && b.layer < to })
}

// arrow is how far from the node an edge ends, for its head.
const arrow = 6

// route leads an edge from a cause to its effect, past all others: up and down it goes between layers only, where there are
// no nodes; along it goes in the row of either end, where that is free, or between rows.
func (l *layout) route(cause, effect int) []point {
	from, to := &l.boxes[cause], &l.boxes[effect]
	start := point{from.x + l.nodeW, from.y + nodeH/2}
	end := point{to.x - arrow, to.y + nodeH/2}
	gap := l.pitch - l.nodeW - arrow
	// Where the gap behind the cause ends, and the one before the effect begins.
	behind, before := point{start.x + gap, end.y}, point{end.x - gap, start.y}
	switch {
	case to.layer == from.layer+1:
		return append([]point{start}, bend(start, end)...)
	case l.free(to.row, from.layer, to.layer):
		return slices.Concat([]point{start}, bend(start, behind), straight(behind, end))
	case l.free(from.row, from.layer, to.layer):
		return slices.Concat([]point{start}, straight(start, before), bend(before, end))
	}
	// Between two rows: beside the effect's, on the side of the cause. Edges of different causes part a little.
	side := 1
	if from.row < to.row {
		side = -1
	}
	y := end.y + side*(rowPitch/2) + cause%5 - 2
	behind.y, before.y = y, y
	return slices.Concat([]point{start}, bend(start, behind), straight(behind, before), bend(before, end))
}

// bend returns a curve that leaves and arrives to the right.
func bend(from, to point) []point {
	half := (to.x - from.x) / 2
	return []point{{from.x + half, from.y}, {to.x - half, to.y}, to}
}

// straight returns a line as a curve.
func straight(from, to point) []point {
	third := (to.x - from.x) / 3
	return []point{{from.x + third, from.y}, {to.x - third, to.y}, to}
}
