package main

import (
	"math"
	"slices"
)

// A layout says where everything of a picture stands, in pixels. Time runs downwards: a layer holds events that follow
// each other in commit order, that have the same cause, and that are of different entities. Each entity has a column;
// columns are ordered by their first event.
//
//	              entity   entity   entity
//	              a        b        c
//	layer  time   [#1]
//	layer  time            [#2]     [#3]
//	layer  time   [#4]
type layout struct {
	g       *graph
	boxes   []box  // one for each node, in the same order
	edges   []edge // what leads to an event that is drawn, from its cause
	columns []column
	layers  []int // where the nodes of each begin
	heads   []head

	nodeW, pitch int // of a column: its nodes, and from one to the next
	gap          int // from a layer to the next, or to the names between them
	left, right  int // of the first column, and behind the last one
	bottom       int // below the last layer
}

const (
	nodeH    = 30
	titleH   = 64  // above the names
	marginW  = 20  // beside everything
	timesW   = 74  // beside the columns
	headGap  = 16  // from the names at the top to the first layer
	nameMost = 30  // characters of a name
	nameTurn = -50 // degrees

	legendGap = 34 // below the layers
)

// layersBelowNames is how many layers follow each other before the names of columns are written again, so that a name is
// always near; a rest of at most fewLayers goes without.
const (
	layersBelowNames = 16
	fewLayers        = 3
)

// A box is where a node stands.
type box struct {
	column, layer int
	x, y          int // upper left corner
}

// A column is what one entity has.
type column struct {
	name string // "" for events that are not in the store
	x    int    // middle
	end  int    // below its last node
}

// A head is the name of a column, written above it or once more further down.
type head struct{ column, y int }

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
	at := make(map[string]int)
	for i := range g.nodes {
		name := g.nodes[i].entity()
		if _, ok := at[name]; !ok {
			at[name] = len(l.columns)
			l.columns = append(l.columns, column{name: name})
		}
		l.boxes = append(l.boxes, box{column: at[name], layer: l.layerOf(i, at[name])})
	}
	l.fit(l.boxes[len(l.boxes)-1].layer + 1)
	l.place()
	for i := range g.nodes {
		if cause := g.nodes[i].cause; cause >= 0 && l.boxes[cause].layer < l.boxes[i].layer {
			l.edges = append(l.edges, edge{cause, i, l.route(cause, i)})
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
	n, before := &l.g.nodes[i], &l.g.nodes[i-1]
	taken := slices.ContainsFunc(l.boxes, func(b box) bool { return b.layer == layer && b.column == column })
	if taken || n.cause < 0 || n.cause != before.cause {
		return layer + 1
	}
	return layer
}

// fit chooses sizes: the more there is, the closer it stands.
func (l *layout) fit(layers int) {
	l.layers = make([]int, layers)
	l.gap = 34
	if layers > 2*layersBelowNames {
		l.gap = 28
	}
	switch n := len(l.columns); {
	case n <= 12:
		l.nodeW, l.pitch = 72, 92
	case n <= 30:
		l.nodeW, l.pitch = 56, 66
	default:
		l.nodeW, l.pitch = 42, 48
	}
	last := &l.g.nodes[len(l.g.nodes)-1]
	if least := textWidth(last.number()) + 13; least > l.nodeW { // a sequence is written whole
		l.nodeW, l.pitch = least, l.pitch+least-l.nodeW
	}
	l.left = marginW + timesW + (l.pitch-l.nodeW)/2
}

// place gives layers, columns, names and boxes their places.
func (l *layout) place() {
	for i := range l.columns {
		l.columns[i].x = l.left + i*l.pitch + l.nodeW/2
	}
	y := titleH
	for layer := range l.layers {
		if rest := len(l.layers) - layer; layer == 0 || layer%layersBelowNames == 0 && rest > fewLayers {
			end := layer + layersBelowNames
			if len(l.layers)-end <= fewLayers {
				end = len(l.layers)
			}
			y = l.placeNames(layer, end, y)
		}
		l.layers[layer] = y
		y += nodeH + l.gap
	}
	l.bottom = y - l.gap
	l.right = max(l.right, l.left+len(l.columns)*l.pitch)
	for i := range l.boxes {
		b := &l.boxes[i]
		c := &l.columns[b.column]
		b.x, b.y = c.x-l.nodeW/2, l.layers[b.layer]
		c.end = b.y + nodeH
	}
}

// placeNames places names above a layer: at the top those of all columns, further down those of columns that have nodes before
// the layer end, where names are written again. It returns where the layer begins.
func (l *layout) placeNames(layer, end, y int) int {
	sin, cos := math.Sincos(-nameTurn * math.Pi / 180)
	named := make([]bool, len(l.columns))
	for _, b := range l.boxes {
		if layer == 0 || b.layer >= layer && b.layer < end {
			named[b.column] = true
		}
	}
	longest := 0
	for i, ok := range named {
		if ok {
			width := textWidth(l.columns[i].heading())
			longest = max(longest, width)
			l.right = max(l.right, l.columns[i].x+int(float64(width)*cos)+marginW)
		}
	}
	y += int(float64(longest) * sin)
	for i, ok := range named {
		if ok {
			l.heads = append(l.heads, head{i, y})
		}
	}
	if layer > 0 {
		return y + l.gap // for arrows
	}
	return y + headGap
}

// heading returns the name of a column, as it is drawn.
func (c *column) heading() string {
	if c.name == "" {
		return "not in view"
	}
	return shortName(c.name, nameMost)
}

// textWidth returns how wide a text is, about.
func textWidth(s string) int {
	width := 0.0
	for _, r := range s {
		if r >= 0x1100 { // most of these are wide
			width += 5
		}
		width += 6.5
	}
	return int(width)
}

// free reports whether no node stands in a column between two layers.
func (l *layout) free(column, from, to int) bool {
	return !slices.ContainsFunc(l.boxes, func(b box) bool { return b.column == column && b.layer > from && b.layer < to })
}
