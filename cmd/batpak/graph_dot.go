package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"batpak"
)

// drawDot draws g in the language of Graphviz. Nodes of one entity are of one group, so that they stand in a column.
func drawDot(w io.Writer, g *graph, _ bool) error {
	var b strings.Builder
	b.WriteString("digraph batpak {\n\trankdir=TB;\n" +
		"\tnode [shape=box, style=rounded, fontname=\"sans-serif\", fontsize=11, margin=\"0.12,0.06\"];\n" +
		"\tedge [arrowsize=0.7, color=\"#808080\"];\n")
	if left := g.leftOut(); len(left) > 0 {
		fmt.Fprintf(&b, "\tlabel=%s;\n", dotText(strings.Join(left, "; ")))
	}
	for i := range g.nodes {
		n := &g.nodes[i]
		title, group := "unknown", ""
		if n.known() {
			title, group = shortName(n.entity(), 32), n.entity()
			if n.Lane != 0 {
				title += " lane " + strconv.FormatUint(uint64(n.Lane), 10)
			}
		}
		fmt.Fprintf(&b, "\tn%d [label=%s, group=%s, tooltip=%s%s];\n",
			i, dotText(title+"\n"+n.label()), dotText(group), dotText(n.tooltip()), dotStyle(n))
	}
	for i := range g.nodes {
		if cause := g.nodes[i].cause; cause >= 0 {
			fmt.Fprintf(&b, "\tn%d -> n%d;\n", cause, i)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// dotStyle returns the attributes that tell nodes apart.
func dotStyle(n *node) string {
	switch {
	case n.Missing != batpak.Present && n.role == roleAsked:
		return `, style="rounded,dashed,bold", color="#c2410c"`
	case n.Missing != batpak.Present:
		return `, style="rounded,dashed", fontcolor="#707070"`
	case n.role == roleAsked:
		return `, style="rounded,bold", color="#c2410c", penwidth=2.5`
	case n.role == roleCorrelated:
		return `, color="#a0a0a0"`
	}
	return ""
}

// dotText returns s as a quoted string: quotes and backslashes are escaped, and what would be an HTML entity.
func dotText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "&", "&amp;").Replace(s) + `"`
}

// label returns sequence and kind of an event, or what is known of a stub.
func (n *node) label() string {
	if !n.known() {
		return n.what()
	}
	return "#" + strconv.FormatUint(n.Seq, 10) + "  " + n.what()
}

// tooltip returns all that there is to say of a node, in lines.
func (n *node) tooltip() string {
	if !n.known() {
		return fmt.Sprintf("%v\n%v", n.ID, n.what())
	}
	lines := []string{
		fmt.Sprintf("%s in %s", n.entity(), n.Coordinate.Scope()),
		fmt.Sprintf("sequence %d, %s, clock %d, lane %d", n.Seq, n.what(), n.Clock, n.Lane),
		n.ID.String(),
		n.HLC.Time().Format("2006-01-02 15:04:05.000Z"),
	}
	if p := excerpt(n.Payload, 120); p != "" {
		lines = append(lines, p)
	}
	if n.more > 0 {
		lines = append(lines, fmt.Sprintf("at least %s left out", plural(n.more, "effect")))
	}
	return strings.Join(lines, "\n")
}

// shortName cuts the middle out of a name that is longer than n characters: both ends tell.
func shortName(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	head := n / 3
	return string(r[:head]) + "…" + string(r[len(r)-(n-1-head):])
}
