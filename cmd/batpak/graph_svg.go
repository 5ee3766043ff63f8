package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"batpak"
	"batpak/event"
)

// svgStyle is for light and dark surroundings; nothing is loaded from elsewhere.
const svgStyle = `
text{font:11px ui-sans-serif,system-ui,"Segoe UI",Helvetica,Arial,sans-serif;fill:#24292f}
.bg{fill:#ffffff}
.h{font-size:15px;font-weight:600}
.s,.t{fill:#6e7781}
.t{font-size:10px}
.m{text-anchor:middle}
.r{text-anchor:end}
.c,.o{stroke:#ffffff;stroke-width:3px;stroke-linejoin:round;paint-order:stroke}
.g{stroke:#d8dee4;stroke-dasharray:2 4;fill:none}
.b{fill:#f6f8fa;opacity:.7}
.n{fill:#ffffff;stroke:#8c959f;stroke-width:1.2}
.n.a{fill:#fff1e5;stroke:#bc4c00;stroke-width:2.6}
.n.q{stroke:#b8c0c8;stroke-width:1}
.n.d{fill:none;stroke-dasharray:4 3}
.w{font-weight:600;font-size:11.5px}
.k{font-size:9.5px;fill:#57606a}
.e{fill:none;stroke:#8c959f;stroke-width:1.3}
.e.p{stroke:#bc4c00;stroke-width:2}
.x{fill:#8c959f}
.x.p{fill:#bc4c00}
.k0{fill:#0969da}.k1{fill:#1a7f37}.k2{fill:#8250df}.k3{fill:#bf8700}.k4{fill:#cf222e}.k5{fill:#1b7c83}.k6{fill:#6e7781}
@media (prefers-color-scheme:dark){
text{fill:#d1d7e0}.bg{fill:#0d1117}.c,.o{stroke:#0d1117}.s,.t{fill:#8d96a0}.g{stroke:#30363d}.b{fill:#161b22}
.n{fill:#161b22;stroke:#6e7681}.n.a{fill:#3b2011;stroke:#f0883e}.n.q{stroke:#3d444d}.k{fill:#9198a1}
.e{stroke:#6e7681}.e.p{stroke:#f0883e}.x{fill:#6e7681}.x.p{fill:#f0883e}
.k0{fill:#4493f8}.k1{fill:#3fb950}.k2{fill:#ab7df8}.k3{fill:#d29922}.k4{fill:#f85149}.k5{fill:#39c5cf}.k6{fill:#8d96a0}
}
`

// kindColors is how many kinds have a color of their own; the others share the last one.
const kindColors = 6

// drawSVG draws g as a picture that stands alone.
func drawSVG(w io.Writer, g *graph, _ bool) error {
	d := svgDrawing{layout: arrange(g), kinds: kindsOf(g)}
	d.frame()
	d.guides()
	for _, path := range []bool{false, true} { // what led to the event asked for is drawn over the rest
		for i := range d.layout.edges {
			if e := &d.layout.edges[i]; d.leads(e) == path {
				d.edge(e)
			}
		}
	}
	d.times()
	d.names()
	for i := range d.boxes {
		d.box(i)
	}
	d.legend()
	d.b.WriteString("</svg>\n")
	_, err := io.WriteString(w, d.b.String())
	return err
}

// An svgDrawing writes elements.
type svgDrawing struct {
	*layout
	kinds []event.Kind // by their first event
	b     strings.Builder
}

// f writes formatted text; strings of users go through [xmlText] before.
func (d *svgDrawing) f(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

// xmlText returns s as text in an element or attribute.
func xmlText(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a Builder takes everything
	return b.String()
}

func kindsOf(g *graph) (kinds []event.Kind) {
	for i := range g.nodes {
		n := &g.nodes[i]
		if n.Missing == batpak.Present && !slices.Contains(kinds, n.Kind) {
			kinds = append(kinds, n.Kind)
		}
	}
	return kinds
}

// color returns the class of a kind's color.
func (d *svgDrawing) color(k event.Kind) string {
	return "k" + strconv.Itoa(min(slices.Index(d.kinds, k), kindColors))
}

// legendLeast is the width that the legend takes.
const legendLeast = 560

// frame begins the picture and says what it is of. Every second layer has a band.
func (d *svgDrawing) frame() {
	title, summary := d.title(), d.summary()
	width := max(d.right+marginW, legendLeast, 2*marginW+textWidth(title)*4/3, 2*marginW+textWidth(summary))
	height := d.bottom + legendGap + 60
	d.f(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" role="img">`+"\n", width, height, width, height)
	d.f("<title>%s</title>\n<style>%s</style>\n", xmlText(title), svgStyle)
	d.f("<rect class=\"bg\" width=\"%d\" height=\"%d\"/>\n", width, height)
	d.f("<text class=\"h\" x=\"%d\" y=\"30\">%s</text>\n", marginW, xmlText(title))
	d.f("<text class=\"s\" x=\"%d\" y=\"49\">%s</text>\n", marginW, xmlText(summary))
	const beside = 8
	for layer := 0; layer < len(d.layers); layer += 2 {
		d.f("<rect class=\"b\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n",
			marginW-beside, d.layers[layer]-beside, d.left+len(d.columns)*d.pitch-marginW+beside, nodeH+2*beside)
	}
}

// title names the event asked for.
func (d *svgDrawing) title() string {
	n := &d.g.nodes[d.g.asked]
	if !n.known() {
		return fmt.Sprintf("Event %v (%v) and its effects", n.ID, n.what())
	}
	return fmt.Sprintf("Event %d of %s, its causes and effects", n.Seq, shortName(n.entity(), 48))
}

// summary says how much is drawn.
func (d *svgDrawing) summary() string {
	text := fmt.Sprintf("%s of %d entities", plural(len(d.g.nodes), "event"), len(d.columns))
	if len(d.columns) == 1 {
		text = plural(len(d.g.nodes), "event") + " of 1 entity"
	}
	last := &d.g.nodes[len(d.g.nodes)-1]
	if last.known() {
		text += ", until " + last.HLC.Time().Format("2006-01-02 15:04:05 UTC")
	}
	return strings.Join(append([]string{text}, d.g.leftOut()...), "; ")
}

// guides draws a line down each column, to its last event.
func (d *svgDrawing) guides() {
	for i := range d.columns {
		c := &d.columns[i]
		d.f("<path class=\"g\" d=\"M%d %dV%d\"/>\n", c.x, d.heads[i].y, c.end)
	}
}

// names writes the names of the columns. Those between layers are drawn over arrows.
func (d *svgDrawing) names() {
	for _, h := range d.heads {
		c := &d.columns[h.column]
		full := c.name
		if full == "" {
			full = "events of which the store shows no more than an ID"
		}
		d.f("<text class=\"c\" transform=\"translate(%d %d) rotate(%d)\">%s<title>%s</title></text>\n",
			c.x+9, h.y, nameTurn, xmlText(c.heading()), xmlText(full))
	}
}

// farAway is how far to the right the first node of a layer stands before the time is written beside it, too.
const farAway = 700

// times writes the time of each layer, where it is another one than before, and each date once.
func (d *svgDrawing) times() {
	date, last := "", ""
	for i := range d.boxes {
		b, n := &d.boxes[i], &d.g.nodes[i]
		if i > 0 && d.boxes[i-1].layer == b.layer || !n.known() {
			continue
		}
		t := n.HLC.Time()
		if day := t.Format(time.DateOnly); day != date {
			d.f("<text class=\"s t\" x=\"%d\" y=\"%d\">%s</text>\n", marginW, b.y+7, day)
			date = day
		}
		if at := t.Format("15:04:05.000"); at != last {
			d.f("<text class=\"s t\" x=\"%d\" y=\"%d\">%s</text>\n", marginW, b.y+nodeH/2+4, at)
			last = at
			if x := d.leftmost(b.layer); x > farAway {
				d.f("<text class=\"s t o r\" x=\"%d\" y=\"%d\">%s</text>\n", x-8, b.y+nodeH/2+4, at)
			}
		}
	}
}

// leftmost returns where the first node of a layer, in the order of columns, begins.
func (l *layout) leftmost(layer int) int {
	x := l.right
	for i := range l.boxes {
		if l.boxes[i].layer == layer {
			x = min(x, l.boxes[i].x)
		}
	}
	return x
}

// leads reports whether an edge is of the path to the event asked for.
func (l *layout) leads(e *edge) bool {
	r := l.g.nodes[e.to].role
	return r == roleCause || r == roleAsked
}

// edge draws an arrow from a cause to its effect.
func (d *svgDrawing) edge(e *edge) {
	class := ""
	if d.leads(e) {
		class = " p"
	}
	p := e.points
	d.f("<path class=\"e%s\" d=\"M%d %d", class, p[0].x, p[0].y)
	for i := 1; i+2 < len(p); i += 3 {
		switch from, to := p[i-1], p[i+2]; {
		case from.x == to.x:
			d.f("V%d", to.y)
		case from.y == to.y:
			d.f("H%d", to.x)
		default:
			d.f("C%d %d %d %d %d %d", p[i].x, p[i].y, p[i+1].x, p[i+1].y, to.x, to.y)
		}
	}
	tip := p[len(p)-1]
	d.f("\"/><path class=\"x%s\" d=\"M%d %dl-4 -7h8z\"/>\n", class, tip.x, tip.y+arrow)
}

// box draws node i.
func (d *svgDrawing) box(i int) {
	b, n := &d.boxes[i], &d.g.nodes[i]
	d.f("<g><title>%s</title><rect class=\"n%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"6\"/>",
		xmlText(n.tooltip()), nodeClass(n), b.x, b.y, d.nodeW, nodeH)
	x := b.x + d.nodeW/2
	if n.Missing == batpak.Present {
		d.f("<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"4\" height=\"%d\" rx=\"2\"/>", d.color(n.Kind), b.x+3, b.y+5, nodeH-10)
		x += 3
	}
	bottom := n.what()
	if n.Lane != 0 && n.Missing == batpak.Present {
		bottom += " lane " + strconv.FormatUint(uint64(n.Lane), 10)
	}
	d.f("<text class=\"w m\" x=\"%d\" y=\"%d\">%s</text><text class=\"k m\" x=\"%d\" y=\"%d\">%s</text>",
		x, b.y+13, n.number(), x, b.y+25, xmlText(shortName(bottom, d.nodeW/5)))
	if n.more > 0 {
		d.f("<text class=\"k o\" x=\"%d\" y=\"%d\">+%d</text>", b.x+d.nodeW/2+5, b.y+nodeH+12, n.more)
	}
	d.b.WriteString("</g>\n")
}

// number returns how a node is called in a picture.
func (n *node) number() string {
	if !n.known() {
		return "?"
	}
	return "#" + strconv.FormatUint(n.Seq, 10)
}

func nodeClass(n *node) (class string) {
	switch n.role {
	case roleAsked:
		class = " a"
	case roleCorrelated:
		class = " q"
	}
	if n.Missing != batpak.Present {
		class += " d"
	}
	return class
}
