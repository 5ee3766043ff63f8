package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"batpak"
)

// drawText draws causes from the first on, one below the other, then the event, then its effects as a tree.
func drawText(w io.Writer, g *graph, color bool) error {
	d := textDrawing{w: w, g: g, color: color}
	if g.causes {
		d.line("", "⋮", "earlier causes are left out")
	}
	for i := range g.nodes {
		if g.nodes[i].role == roleCause {
			d.node("", i)
			d.line("", "│", "")
		}
	}
	d.node("", g.asked)
	d.effects("", g.asked)
	d.members()
	return d.err
}

// A textDrawing writes lines.
type textDrawing struct {
	w     io.Writer
	g     *graph
	color bool
	err   error
}

// line writes one line behind a prefix.
func (d *textDrawing) line(prefix, mark, text string) {
	if d.err == nil {
		_, d.err = fmt.Fprintln(d.w, strings.TrimRight(prefix+mark+" "+text, " "))
	}
}

// node writes the line of a node.
func (d *textDrawing) node(prefix string, i int) {
	n := &d.g.nodes[i]
	mark, text := "○", nodeLine(n)
	switch {
	case n.Missing != batpak.Present:
		mark = "◌"
	case n.role == roleAsked:
		mark = "●"
	}
	if d.color && n.role == roleAsked {
		text = "\x1b[1m" + text + "\x1b[0m"
	}
	d.line(prefix, mark, text)
}

// effects writes the tree of a node's effects. Where only one of them has effects of its own, that one goes on below its
// cause, behind the others, so that a long story does not run out to the right.
func (d *textDrawing) effects(prefix string, cause int) {
	all := d.effectsOf(cause)
	trunk := -1
	for _, i := range all {
		if n := &d.g.nodes[i]; n.more > 0 || len(d.effectsOf(i)) > 0 {
			if trunk >= 0 {
				trunk = -1
				break
			}
			trunk = i
		}
	}
	all = slices.DeleteFunc(all, func(i int) bool { return i == trunk })
	more := d.g.nodes[cause].more
	for at, i := range all {
		if at == len(all)-1 && more == 0 && trunk < 0 {
			d.node(prefix+"└─", i)
			d.effects(prefix+"  ", i)
		} else {
			d.node(prefix+"├─", i)
			d.effects(prefix+"│ ", i)
		}
	}
	if more > 0 {
		d.line(prefix+"└─", "⋮", fmt.Sprintf("at least %s left out", plural(more, "effect")))
	}
	if trunk >= 0 {
		d.line(prefix, "│", "")
		d.node(prefix, trunk)
		d.effects(prefix, trunk)
	}
}

// effectsOf returns those effects of a node that are in the tree: what was left out of it may be a member of the group.
func (d *textDrawing) effectsOf(cause int) []int {
	return slices.DeleteFunc(d.g.effectsOf(cause), func(i int) bool { return d.g.nodes[i].role == roleCorrelated })
}

// members writes the events of the same correlation that are neither causes nor effects.
func (d *textDrawing) members() {
	first := true
	for i := range d.g.nodes {
		if d.g.nodes[i].role != roleCorrelated {
			continue
		}
		if first {
			d.line("", "\nthe same correlation:", "")
			first = false
		}
		d.node("", i)
	}
	if d.g.members {
		d.line("", "⋮", "further events of the same correlation are left out")
	}
}

// nodeLine says what a node is: sequence, entity, lane, kind, payload.
func nodeLine(n *node) string {
	if !n.known() {
		return fmt.Sprintf("%v  %v", n.what(), n.ID)
	}
	text := strconv.FormatUint(n.Seq, 10) + "  " + n.entity()
	if n.Lane != 0 {
		text += fmt.Sprintf("  lane %d", n.Lane)
	}
	text += "  " + n.what()
	if p := excerpt(n.Payload, 60); p != "" {
		text += "  " + p
	}
	return text
}

// excerpt returns the start of a payload as one line of at most n characters that a terminal and XML take: what is not
// text is told by its size.
func excerpt(payload []byte, n int) string {
	var b strings.Builder
	blank := false
	count := 0
	for rest := payload; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		rest = rest[size:]
		switch {
		case r == utf8.RuneError && size == 1:
			return byteCount(int64(len(payload)))
		case unicode.IsSpace(r) || !unicode.IsPrint(r):
			blank = b.Len() > 0
			continue
		case blank:
			b.WriteByte(' ')
			count++
		}
		blank = false
		if count++; count >= n && len(rest) > 0 {
			return b.String() + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}
