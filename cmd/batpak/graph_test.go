package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

var rewriteGolden = flag.Bool("rewrite", false, "write the pictures that tests compare with anew")

// graphNode returns the node of a made-up event; cause is its index in the graph, -1 for none.
func graphNode(seq uint64, entity string, r role, cause int, payload string) node {
	n := node{role: r, cause: cause}
	n.Event = event.Event{
		ID: event.NewID(event.HLC(1_700_000_000_000+seq)<<16, seq), Seq: seq, Clock: 1, HLC: event.HLC(1_700_000_000_000+seq) << 16,
		Kind: event.MustKind(1, int(seq%3)+1), Payload: []byte(payload),
	}
	if entity != "" {
		n.Coordinate = coordinate.MustNew(entity, "eu")
	}
	return n
}

// storyGraph is small and has everything.
func storyGraph() *graph {
	g := &graph{asked: 3, causes: true, effects: true, nodes: []node{
		graphNode(0, "", roleCause, -1, ""),
		graphNode(2, "order:1042", roleCause, 0, `{"what":"placed"}`),
		graphNode(3, "payment:7", roleCause, 1, "asked for"),
		graphNode(5, "payment:7", roleAsked, 2, "received"),
		graphNode(6, "order:1042", roleEffect, 3, "\x00\xff\x01"),
		graphNode(7, `stock "<&>\n" of a warehouse with a name that is far too long for a picture`, roleEffect, 3, "left & right\n\x1b[31m<b>"),
		graphNode(8, "mail:a@b", roleEffect, 4, ""),
		graphNode(9, "order:1042", roleCorrelated, -1, "shipped"),
		graphNode(12, "invoice:3", roleEffect, 3, "sent"),
	}}
	g.nodes[0].Missing = batpak.MissingUnknown
	g.nodes[4].Missing, g.nodes[4].Kind, g.nodes[4].Payload = batpak.MissingHidden, 0, nil
	g.nodes[5].Lane, g.nodes[6].more = 4, 3
	return g
}

// TestGraphGolden fixes what pictures look like. With -rewrite they are written anew, to be looked at.
func TestGraphGolden(t *testing.T) {
	for format, draw := range graphFormats {
		var got, again bytes.Buffer
		if err := errors.Join(draw(&got, storyGraph(), false), draw(&again, storyGraph(), false)); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join("testdata", "graph."+format)
		if *rewriteGolden {
			if err := os.WriteFile(name, got.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), want) || !bytes.Equal(got.Bytes(), again.Bytes()) {
			t.Errorf("%s is not %s:\n%s", format, name, got.Bytes())
		}
	}
}

// randomGraph returns a graph of n events with names that mean something to XML, DOT and terminals.
func randomGraph(rng *rand.Rand, n, entities int) *graph {
	g := &graph{asked: rng.IntN(n)}
	for i := range n {
		cause := -1
		if i > 0 && rng.IntN(8) > 0 {
			cause = max(0, i-1-rng.IntN(min(i, 12)))
			if rng.IntN(2) == 0 {
				cause = max(0, g.nodes[i-1].cause)
			}
		}
		name := fmt.Sprintf(`%s entity %d`, [...]string{`a<b>&"c'`, `]]>`, `\"; evil [`, `--> ü 漢字`, `&amp;\N`}[rng.IntN(5)], rng.IntN(entities))
		r := roleEffect
		if i < g.asked {
			r = roleCause
		}
		g.nodes = append(g.nodes, graphNode(uint64(i+1), name, r, cause, "<payload>\x00\uffff"))
		if rng.IntN(10) == 0 {
			g.nodes[i].Missing = batpak.MissingHidden
		}
	}
	g.nodes[g.asked].role = roleAsked
	return g
}

// TestSVGIsXML parses pictures, and finds every name and every node in them.
func TestSVGIsXML(t *testing.T) {
	for seed := range uint64(20) {
		g := randomGraph(rand.New(rand.NewPCG(seed, 1)), 10+int(seed)*10, 3+int(seed)*2)
		var b bytes.Buffer
		if err := drawSVG(&b, g, false); err != nil {
			t.Fatal(err)
		}
		titles, boxes := map[string]bool{}, 0
		d := xml.NewDecoder(&b)
		d.Strict = true
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			if e, ok := token.(xml.StartElement); ok {
				for _, a := range e.Attr {
					if a.Name.Local == "href" || strings.Contains(a.Value, "url(") {
						t.Errorf("seed %d: %s %v", seed, e.Name.Local, a)
					}
				}
				if e.Name.Local == "g" {
					boxes++
				}
				if e.Name.Local == "title" {
					text, err := d.Token()
					if err != nil {
						t.Fatal(err)
					}
					if c, ok := text.(xml.CharData); ok {
						titles[string(c)] = true
					}
				}
			}
		}
		for i := range g.nodes {
			if !titles[g.nodes[i].entity()] {
				t.Errorf("seed %d: no title %q", seed, g.nodes[i].entity())
			}
		}
		if boxes != len(g.nodes) {
			t.Errorf("seed %d: %d boxes for %d nodes", seed, boxes, len(g.nodes))
		}
	}
}

// dotLine is what each line of a drawing may be: no string ends early.
var dotLine = regexp.MustCompile(`^(digraph batpak \{|\t(rankdir=TB|(graph|node|edge|n\d+) \[(\w+=("(\\.|[^"\\])*"|[\w.]+)(, )?)+\]|label="(\\.|[^"\\])*"|n\d+ -> n\d+);|\})$`)

func TestDotIsQuoted(t *testing.T) {
	for seed := range uint64(20) {
		g := randomGraph(rand.New(rand.NewPCG(seed, 2)), 40, 12)
		var b bytes.Buffer
		if err := drawDot(&b, g, false); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if !dotLine.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("seed %d: %s", seed, line)
			}
		}
	}
}

// curve returns a place on a cubic curve; t goes from 0 to 1.
func curve(p []point, t float64) (x, y float64) {
	u := 1 - t
	for i, w := range [...]float64{u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t} {
		x += w * float64(p[i].x)
		y += w * float64(p[i].y)
	}
	return x, y
}

// TestLayout: time never runs back, nodes do not lie on each other, each entity has a column with its name, and arrows go down
// and pass by the nodes that they do not concern.
func TestLayout(t *testing.T) {
	for seed := range uint64(12) {
		g := randomGraph(rand.New(rand.NewPCG(seed, 3)), 20+int(seed)*16, 2+int(seed)*4)
		l := arrange(g)
		taken := map[[2]int]bool{}
		for i, b := range l.boxes {
			if at := [2]int{b.column, b.layer}; taken[at] {
				t.Errorf("seed %d: two nodes at %v", seed, at)
			} else {
				taken[at] = true
			}
			if i > 0 && b.layer < l.boxes[i-1].layer {
				t.Errorf("seed %d: node %d stands before the one before it", seed, i)
			}
			if c := g.nodes[i].cause; c >= 0 && l.boxes[c].layer >= b.layer {
				t.Errorf("seed %d: node %d does not stand behind its cause", seed, i)
			}
		}
		checkColumns(t, seed, l)
		for _, e := range l.edges {
			if last := checkDownwards(e.points); last != len(e.points) {
				t.Errorf("seed %d: the arrow from %d to %d goes up: %v", seed, e.from, e.to, e.points[last-1:])
			}
			if hit := l.hit(&e); hit >= 0 {
				t.Errorf("seed %d: the arrow from %d to %d runs over %d: %v", seed, e.from, e.to, hit, e.points)
			}
		}
	}
}

// checkColumns finds a column for each entity, and its name above each of its nodes: at the top, and never far away.
func checkColumns(t *testing.T, seed uint64, l *layout) {
	t.Helper()
	names := map[string]bool{}
	for i, c := range l.columns {
		names[c.name] = true
		if i > 0 && c.x-l.columns[i-1].x < l.nodeW || c.x+l.nodeW/2 > l.right {
			t.Errorf("seed %d: no room for column %d", seed, i)
		}
		if h := l.heads[i]; h.column != i || h.y >= l.layers[0] {
			t.Errorf("seed %d: column %d has no name at the top", seed, i)
		}
	}
	if len(names) != len(l.columns) {
		t.Errorf("seed %d: %d columns of %d entities", seed, len(l.columns), len(names))
	}
	for i, b := range l.boxes {
		if c := l.columns[b.column]; c.name != l.g.nodes[i].entity() || b.x != c.x-l.nodeW/2 {
			t.Errorf("seed %d: node %d is not in the column of its entity", seed, i)
		}
		far := l.layers[max(0, b.layer-layersBelowNames-fewLayers)]
		if !slices.ContainsFunc(l.heads, func(h head) bool { return h.column == b.column && h.y < b.y && h.y >= far-l.layers[0] }) {
			t.Errorf("seed %d: no name near node %d", seed, i)
		}
	}
}

// checkDownwards returns how many points of an edge there are until it goes up. The middle of a curve stays between its ends
// where its other points do.
func checkDownwards(p []point) int {
	for at := 0; at+3 < len(p); at += 3 {
		top, bottom := p[at].y, p[at+3].y
		if bottom < top || min(p[at+1].y, p[at+2].y) < top || max(p[at+1].y, p[at+2].y) > bottom {
			return at + 1
		}
	}
	return len(p)
}

// hit returns a node that an edge runs over; -1 for none.
func (l *layout) hit(e *edge) int {
	for at := 0; at+3 < len(e.points); at += 3 {
		for step := range 41 {
			x, y := curve(e.points[at:], float64(step)/40)
			for i := range l.boxes {
				b := &l.boxes[i]
				inside := x > float64(b.x)-1 && x < float64(b.x+l.nodeW)+1 && y > float64(b.y) && y < float64(b.y+nodeH)
				if inside && i != e.from && i != e.to {
					return i
				}
			}
		}
	}
	return -1
}

// graphStore makes a store of ten events: an order, what it caused, and what that caused, one of it hidden.
func graphStore(t *testing.T) (dir string, ids []event.ID) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "store")
	st, err := batpak.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i, cause := range []int{-1, 0, 0, 1, 3, 3, 4, 4, 2, -1} {
		d := batpak.Draft{Coordinate: coordinate.MustNew(fmt.Sprintf("thing:%d", i%4), "eu"), Kind: event.MustKind(1, 1), Payload: fmt.Appendf(nil, `{"n":%d}`, i+1)}
		if cause >= 0 {
			d.Causation, d.Correlation = ids[cause], ids[0]
		}
		write := st.Append
		if i == 4 {
			f, err := st.Fence(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			write = f.Append
			defer f.Cancel(t.Context())
		}
		r, err := write(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	return dir, ids
}

func TestGraphCommand(t *testing.T) {
	dir, ids := graphStore(t)
	for _, tt := range []struct {
		args string
		want []string // lines, without IDs
	}{
		{"4", []string{
			`○ 1  thing:0  1:1  {"n":1}`, `│`, `○ 2  thing:1  1:1  {"n":2}`, `│`, `● 4  thing:3  1:1  {"n":4}`,
			`├─○ 6  thing:1  1:1  {"n":6}`, `│`, `◌ 5  thing:0  hidden`, `├─○ 7  thing:2  1:1  {"n":7}`, `└─○ 8  thing:3  1:1  {"n":8}`,
		}},
		{ids[3].String() + " -depth 1", []string{
			`⋮ earlier causes are left out`, `○ 2  thing:1  1:1  {"n":2}`, `│`, `● 4  thing:3  1:1  {"n":4}`,
			`├─○ 6  thing:1  1:1  {"n":6}`, `│`, `◌ 5  thing:0  hidden`, `└─⋮ at least 2 effects left out`,
		}},
		{"1 -limit 3", []string{
			`● 1  thing:0  1:1  {"n":1}`, `├─○ 3  thing:2  1:1  {"n":3}`, `│`, `○ 2  thing:1  1:1  {"n":2}`, `└─⋮ at least 1 effect left out`,
		}},
		{"9 -correlated -limit 4", []string{
			`⋮ earlier causes are left out`, `○ 3  thing:2  1:1  {"n":3}`, `│`, `● 9  thing:0  1:1  {"n":9}`, "", "the same correlation:",
			`○ 1  thing:0  1:1  {"n":1}`, `○ 2  thing:1  1:1  {"n":2}`, `⋮ further events of the same correlation are left out`,
		}},
		{ids[4].String(), []string{
			`○ 1  thing:0  1:1  {"n":1}`, `│`, `○ 2  thing:1  1:1  {"n":2}`, `│`, `○ 4  thing:3  1:1  {"n":4}`, `│`, `◌ 5  thing:0  hidden`,
			`├─○ 7  thing:2  1:1  {"n":7}`, `└─○ 8  thing:3  1:1  {"n":8}`,
		}},
	} {
		out := mustRun(t, "", append([]string{"graph", dir}, strings.Fields(tt.args)...)...)
		if got := strings.Split(strings.TrimSuffix(out, "\n"), "\n"); !slices.Equal(got, tt.want) {
			t.Errorf("graph %s:\n%s\nwant\n%s", tt.args, out, strings.Join(tt.want, "\n"))
		}
	}
	for _, format := range []string{"dot", "svg"} {
		out := mustRun(t, "", "graph", "-format", format, dir, "4")
		for _, id := range []int{1, 2, 4, 5, 6, 7, 8} {
			if !strings.Contains(out, fmt.Sprintf("#%d", id)) {
				t.Errorf("%s has no event %d", format, id)
			}
		}
	}
}

func TestGraphRefusals(t *testing.T) {
	dir, ids := graphStore(t)
	for _, tt := range []struct {
		args []string
		err  string
	}{
		{[]string{"graph", dir}, "1 arguments"},
		{[]string{"graph", dir, "99"}, "no such event"},
		{[]string{"graph", dir, "5"}, "no such event"}, // which is hidden: only who has its ID asks for it
		{[]string{"graph", dir, event.ID{1}.String()}, "no such event"},
		{[]string{"graph", dir, "first"}, "neither a sequence nor an ID"},
		{[]string{"graph", "-format", "png", dir, "1"}, "text, dot or svg"},
		{[]string{"graph", "-depth", "-1", dir, "1"}, "-depth"},
		{[]string{"graph", "-limit", "0", dir, "1"}, "-limit"},
		{[]string{"graph", dir + "x", ids[0].String()}, "no such file"},
	} {
		if o := batpakRun(t, nil, tt.args...); o.code != exitFailed || !strings.Contains(o.err, tt.err) || o.out != "" {
			t.Errorf("%q = %d %q %q", tt.args, o.code, o.out, o.err)
		}
	}
}

func TestExcerpt(t *testing.T) {
	for _, tt := range []struct{ payload, want string }{
		{"", ""},
		{"short", "short"},
		{"a\n  b\t\x1b[31m\u202e", "a b [31m"},
		{"\xff", "1 B"},
		{"0123456789", "0123456789"},
		{"0123456789a", "012345678…"},
	} {
		if got := excerpt([]byte(tt.payload), 10); got != tt.want {
			t.Errorf("excerpt(%q) = %q, want %q", tt.payload, got, tt.want)
		}
	}
}

// TestGraphTextOnce: an event of the same correlation beyond the depth is in the list of those, and not in the tree as well.
func TestGraphTextOnce(t *testing.T) {
	g := &graph{nodes: []node{
		graphNode(1, "a", roleAsked, -1, "asked"),
		graphNode(2, "b", roleEffect, 0, "near"),
		graphNode(3, "c", roleCorrelated, 1, "far"),
	}}
	var b bytes.Buffer
	if err := drawText(&b, g, false); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"asked", "near", "far"} {
		if n := strings.Count(b.String(), what); n != 1 {
			t.Errorf("%q is drawn %d times:\n%s", what, n, b.String())
		}
	}
}
