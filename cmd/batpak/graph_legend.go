package main

import (
	"batpak"
)

// legend says what the marks mean, below the picture: only those that are in it.
func (d *svgDrawing) legend() {
	x, y := marginW, d.bottom+legendGap
	entry := func(mark func(), text string) {
		mark()
		d.f("<text class=\"s\" x=\"%d\" y=\"%d\">%s</text>\n", x+32, y+4, xmlText(text))
		x += 44 + 7*len([]rune(text))
	}
	node := func(class string) func() {
		return func() {
			d.f("<rect class=\"n%s\" x=\"%d\" y=\"%d\" width=\"24\" height=\"14\" rx=\"4\"/>", class, x, y-7)
		}
	}
	line := func(class string) func() {
		return func() {
			d.f("<path class=\"e%s\" d=\"M%d %dh18\"/><path class=\"x%s\" d=\"M%d %dl-7 -4v8z\"/>", class, x, y, class, x+24, y)
		}
	}
	entry(node(" a"), "asked for")
	var has struct{ causes, effects, members, stubs bool }
	for i := range d.g.nodes {
		n := &d.g.nodes[i]
		has.causes = has.causes || n.role == roleCause
		has.effects = has.effects || n.role == roleEffect
		has.members = has.members || n.role == roleCorrelated
		has.stubs = has.stubs || n.Missing != batpak.Present
	}
	for _, e := range []struct {
		is   bool
		mark func()
		text string
	}{
		{has.causes, line(" p"), "led to it"},
		{has.effects, line(""), "caused"},
		{has.members, node(" q"), "same correlation"},
		{has.stubs, node(" d"), "not shown"},
	} {
		if e.is {
			entry(e.mark, e.text)
		}
	}
	x, y = marginW, y+26
	for i, k := range d.kinds {
		text := "kind " + k.String()
		if i == kindColors {
			text = "other kinds"
		}
		entry(func() {
			d.f("<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"4\" height=\"14\" rx=\"2\"/>", d.color(k), x+16, y-7)
		}, text)
		if i == kindColors {
			break
		}
	}
}
