package main

import "slices"

// arrow is how far from the node an edge ends, for its head.
const arrow = 6

// route leads an edge from a cause to its effect, past all others: to the left and right it goes between layers only, where
// there are no nodes; down it goes in the column of either end, where that is free, or between columns.
func (l *layout) route(cause, effect int) []point {
	from, to := &l.boxes[cause], &l.boxes[effect]
	start := point{l.columns[from.column].x, from.y + nodeH}
	end := point{l.columns[to.column].x, to.y - arrow}
	// Where the gap below the cause ends, and the one above the effect begins.
	below, above := point{end.x, start.y + l.gap - arrow}, point{start.x, end.y - l.gap + arrow}
	track := cause%5 - 2 // edges of different causes part a little
	switch {
	case l.free(to.column, from.layer, to.layer):
		return slices.Concat([]point{start}, l.bend(start, below, track), straight(below, end))
	case l.free(from.column, from.layer, to.layer):
		return slices.Concat([]point{start}, straight(start, above), l.bend(above, end, track))
	}
	// Between two columns: beside the effect's, on the side of the cause.
	side := 1
	if from.column < to.column {
		side = -1
	}
	x := end.x + side*(l.pitch/2) + track
	below.x, above.x = x, x
	return slices.Concat([]point{start}, l.bend(start, below, track), straight(below, above), l.bend(above, end, track))
}

// bend returns curves that leave and arrive downwards. What goes further than to the next column goes level in between, on
// one of five tracks.
func (l *layout) bend(from, to point, track int) []point {
	half, width := (to.y-from.y)/2, to.x-from.x
	if max(width, -width) <= l.pitch {
		return []point{{from.x, to.y}, {to.x, from.y}, to}
	}
	y := from.y + half + 2*track
	turn := min(max(-half-4, width), half+4) // to the side
	first, last := point{from.x + turn, y}, point{to.x - turn, y}
	return slices.Concat(
		[]point{{from.x, y}, {from.x, y}, first},
		straight(first, last),
		[]point{{to.x, y}, {to.x, y}, to})
}

// straight returns a line as a curve; nothing for no line.
func straight(from, to point) []point {
	if from == to {
		return nil
	}
	x, y := (to.x-from.x)/3, (to.y-from.y)/3
	return []point{{from.x + x, from.y + y}, {to.x - x, to.y - y}, to}
}
