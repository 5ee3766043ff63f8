package main

import (
	"math"
	"slices"
)

// A layout says where everything of a picture stands, in pixels. Time runs downwards: a layer holds events that follow
// each other in commit order, that have the same cause, and that are of different entities. Each entity has a column; columns
// are ordered by their first event.
//
//	     margin  column   column
//	            | name   | name
//	layer  time |   [#1] |
//	layer  time |        |   [#2]
type layout struct {
	g     *graph
	wide  bool // names stand above their columns; else they are turned
	boxes []box
	edges []edge
	heads []head
	times []int // y of each layer

	pitch, nodeW    int // of columns, of nodes
	left, top       int // where columns and layers begin
	width, bottom   int // of the columns; below the last layer
	layers, columns int
}

const (
	layerPitch = 62
	nodeH      = 32
	marginW    = 92 // for times
	wideMost   = 8  // columns that have room for their names
)

// A box is where a node stands.
type box struct {
	node, column, layer int
	x, y                int // upper left corner
}

// A head is the name of a column.
type head struct {
	name string // "" for events that are not in the store
	x    int    // middle of the column
	end  int    // y below its last node
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
	l := &layout{g: g}
	columns := make(map[string]int)
	for i := range g.nodes {
		name := g.nodes[i].entity()
		column, ok := columns[name]
		if !ok {
			column = len(l.heads)
			columns[name] = column
			l.heads = append(l.heads, head{name: name})
		}
		l.boxes = append(l.boxes, box{node: i, column: column, layer: l.layerOf(i, column)})
	}
	l.layers, l.columns = l.boxes[len(l.boxes)-1].layer+1, len(l.heads)
	l.measure()
	for i := range l.boxes {
		b := &l.boxes[i]
		b.x, b.y = l.middle(b.column)-l.nodeW/2, l.top+b.layer*layerPitch
		l.heads[b.column].end = b.y + nodeH
	}
	for i := range l.heads {
		l.heads[i].x = l.middle(i)
	}
	for i := range g.nodes {
		if cause := g.nodes[i].cause; cause >= 0 && l.boxes[cause].layer < l.boxes[i].layer {
			l.edges = append(l.edges, edge{cause, i, l.route(&l.boxes[cause], &l.boxes[i])})
		}
	}
	return l
}

// layerOf returns the layer of node i, when all before it have theirs.
func (l *layout) layerOf(i, column int) int {
	if i == 0 {
		return 0
	}
	layer := l.boxes[i-1].layer
	if n, before := &l.g.nodes[i], &l.g.nodes[i-1]; n.cause < 0 || n.cause != before.cause {
		return layer + 1
	}
	taken := slices.ContainsFunc(l.boxes, func(b box) bool { return b.layer == layer && b.column >= column })
	if taken { // so that a layer goes from left to right
		return layer + 1
	}
	return layer
}

// measure sets the sizes.
func (l *layout) measure() {
	l.left = marginW
	if l.wide = l.columns <= wideMost; l.wide {
		l.pitch, l.nodeW, l.top = 128, 96, 112
		if l.columns <= 4 {
			l.pitch = 164
		}
	} else {
		l.pitch, l.nodeW, l.top = 58, 48, 196
	}
	l.width = l.columns * l.pitch
	l.bottom = l.top + (l.layers-1)*layerPitch + nodeH
	for layer := range l.layers {
		l.times = append(l.times, l.top+layer*layerPitch+nodeH/2)
	}
}

// middle returns the x of the middle of a column.
func (l *layout) middle(column int) int { return l.left + column*l.pitch + l.pitch/2 }

// free reports whether no node stands in a column between two layers.
func (l *layout) free(column, above, below int) bool {
	return !slices.ContainsFunc(l.boxes, func(b box) bool {
		return b.column == column && b.layer > above && b.layer < below
	})
}

// arrow is how far from the node an edge ends, for its head.
const arrow = 5

// route leads an edge from a node down to one below, past all others: sideways it goes between layers only, where there are
// no nodes; down it goes in the column of either end, where that is free, or between columns.
func (l *layout) route(from, to *box) []point {
	start := point{l.middle(from.column), from.y + nodeH}
	end := point{l.middle(to.column), to.y - arrow}
	below := point{0, start.y + layerPitch - nodeH - arrow} // where the gap below the upper one ends
	above := point{0, to.y - (layerPitch - nodeH)}          // where the gap above the lower one begins
	switch {
	case to.layer == from.layer+1:
		return append([]point{start}, bend(start, end)...)
	case l.free(to.column, from.layer, to.layer):
		below.x = end.x
		return slices.Concat([]point{start}, bend(start, below), straight(below, end))
	case l.free(from.column, from.layer, to.layer):
		above.x = start.x
		return slices.Concat([]point{start}, straight(start, above), bend(above, end))
	}
	// Between two columns: beside the lower one, on the side of the upper one. Edges of different causes part a little.
	side := 1
	if from.column < to.column {
		side = -1
	}
	room := (l.pitch-l.nodeW)/2 - 2
	x := end.x + side*(l.pitch/2) + from.node%(2*min(room, 4)) - min(room, 4)
	below.x, above.x = x, x
	return slices.Concat([]point{start}, bend(start, below), straight(below, above), bend(above, end))
}

// bend returns a curve that leaves and arrives downwards.
func bend(from, to point) []point {
	half := (to.y - from.y) / 2
	return []point{{from.x, from.y + half}, {to.x, to.y - half}, to}
}

// straight returns a line as a curve.
func straight(from, to point) []point {
	third := (to.y - from.y) / 3
	return []point{{from.x, from.y + third}, {to.x, to.y - third}, to}
}

// at returns a place on a curve; t goes from 0 to 1.
func at(p0, p1, p2, p3 point, t float64) (x, y float64) {
	u := 1 - t
	a, b, c, d := u*u*u, 3*u*u*t, 3*u*t*t, t*t*t
	x = a*float64(p0.x) + b*float64(p1.x) + c*float64(p2.x) + d*float64(p3.x)
	y = a*float64(p0.y) + b*float64(p1.y) + c*float64(p2.y) + d*float64(p3.y)
	return math.Round(x*10) / 10, math.Round(y*10) / 10
}
