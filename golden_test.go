package batpak_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// Golden stores are directories that an earlier version wrote, and what it said was in them. They are never written
// again: -new-golden makes those that are missing, for the next format version.
var newGolden = flag.Bool("new-golden", false, "make the golden directories that are missing")

// A golden is one directory below testdata.
type golden struct {
	name    string
	clean   bool // the log ends as a clean close leaves it
	torn    bool // recovery finds a torn tail
	damage  func(t *testing.T, dir string)
	scanned int // older segments whose footer is gone
}

var goldens = []golden{
	{name: "v1-clean", clean: true},
	{name: "v1-torn-tail", torn: true, damage: func(t *testing.T, dir string) {
		// A write that reached the file in part: behind everything that was acknowledged.
		name := newestSegment(t, dir)
		f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		f.Write(bytes.Repeat([]byte{0xa5, 0x5a, 3}, 70))
	}},
	{name: "v1-lost-footer", clean: true, scanned: 1, damage: func(t *testing.T, dir string) {
		name := filepath.Join(dir, "0000000002.fbat")
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b[:len(b)-1], 0o600); err != nil {
			t.Fatal(err)
		}
	}},
}

func newestSegment(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.fbat"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments of %s: %v, %v", dir, names, err)
	}
	return names[len(names)-1]
}

func TestGoldenStores(t *testing.T) {
	for _, g := range goldens {
		t.Run(g.name, func(t *testing.T) {
			home := filepath.Join("testdata", g.name)
			if _, err := os.Stat(home); os.IsNotExist(err) && *newGolden {
				g.make(t, home)
			}
			dir := filepath.Join(t.TempDir(), "store")
			if err := os.CopyFS(dir, os.DirFS(home)); err != nil {
				t.Fatal(err)
			}
			st, err := batpak.Open(dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			g.check(t, st)
			if report, err := batpak.Verify(t.Context(), dir, nil); err != nil || !report.Clean() {
				t.Errorf("Verify = %v, %v, want a clean store", report, err)
			}
		})
	}
}

func (g *golden) check(t *testing.T, st *batpak.Store) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join("testdata", g.name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(t, st); !bytes.Equal(got, want) {
		t.Errorf("events of %s:\n%s\nwant\n%s", g.name, got, want)
	}
	r := st.OpenReport()
	if r.Clean != g.clean || (r.TornBytes > 0) != g.torn || r.Scanned != g.scanned {
		t.Errorf("report of %s: clean %v, %d torn bytes, %d scanned; want %v, torn %v, %d\n%v",
			g.name, r.Clean, r.TornBytes, r.Scanned, g.clean, g.torn, g.scanned, r)
	}
}

// dump returns everything a reader can see of st, one line an event.
func dump(t *testing.T, st *batpak.Store) []byte {
	t.Helper()
	var b bytes.Buffer
	for ev, err := range st.Read(t.Context(), batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(map[string]any{
			"seq": ev.Seq, "id": ev.ID, "entity": ev.Coordinate.Entity(), "scope": ev.Coordinate.Scope(), "kind": ev.Kind.String(),
			"payload": ev.Payload, "clock": ev.Clock, "lane": ev.Lane, "depth": ev.Depth, "hlc": ev.HLC,
			"correlation": ev.Correlation, "causation": ev.Causation, "version": ev.PayloadVersion, "tags": ev.Tags,
			"hash": fmt.Sprintf("%x", ev.Hash), "extensions": ev.Extensions,
		})
		if err != nil {
			t.Fatal(err)
		}
		b.Write(append(line, '\n'))
	}
	return b.Bytes()
}

// make writes a store with every field in use, and what it holds.
func (g *golden) make(t *testing.T, home string) {
	st, err := batpak.Open(home, &batpak.Options{SegmentSize: 4 << 10, FillAhead: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12 {
		first, err := st.Append(t.Context(), goldenDraft(3*i))
		if err != nil {
			t.Fatal(err)
		}
		d := goldenDraft(3*i + 1)
		d.Causation, d.Correlation = first.ID, first.ID
		e := goldenDraft(3*i + 2)
		e.CausedByDraft, e.Lane, e.Depth = batpak.DraftAt(0), uint32(i%2), 3
		if _, err := st.AppendBatch(t.Context(), []batpak.Draft{d, e}); err != nil {
			t.Fatal(err)
		}
	}
	events := dump(t, st)
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	os.Remove(filepath.Join(home, ".lock")) // says how far the log is durable; the frames and the anchor must do
	if g.damage != nil {
		g.damage(t, home)
	}
	if err := os.WriteFile(filepath.Join("testdata", g.name+".json"), events, 0o644); err != nil {
		t.Fatal(err)
	}
}

func goldenDraft(i int) batpak.Draft {
	return batpak.Draft{
		Coordinate:     coordinate.MustNew(fmt.Sprintf("größe/%d ..", i%5), []string{"eu", "東京"}[i%2]),
		Kind:           event.MustKind(1+i%3, i),
		Payload:        bytes.Repeat([]byte{byte(i), 0, '"'}, 20*(i%4)),
		IdempotencyKey: fmt.Appendf(nil, "key %d", i),
		Tags:           []string{"all", fmt.Sprintf("tag-%d", i%3)}[:1+i%2],
		Extensions:     map[string][]byte{"x-trace": {byte(i)}},
		PayloadVersion: uint16(i % 7),
	}
}
