package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// sampleStore makes a store of six events and returns its directory.
func sampleStore(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, `{"entity":"order:1","scope":"eu","kind":"1:1","payload":1,"tags":["x"]}
{"entity":"order:2","scope":"us","kind":"1:2","payload":2}

{"entity":"order:1","scope":"eu","kind":"1:2","payload":3,"lane":7,"tags":["x","y"]}
{"entity":"user:1","scope":"eu","kind":"2:1","payload_base64":"AP8="}
{"entity":"order:1","scope":"us","kind":"1:1","payload":{"b": 5}}
{"entity":"order:10","scope":"eu","kind":"1:3","payload":6}`, "ingest", dir)
	return dir
}

func TestReadFlags(t *testing.T) {
	dir := sampleStore(t)
	for _, tt := range []struct {
		args string
		want []uint64
	}{
		{"", []uint64{1, 2, 3, 4, 5, 6}},
		{"-entity order:1", []uint64{1, 3, 5}},
		{"-prefix order:1", []uint64{1, 3, 5, 6}},
		{"-scope us", []uint64{2, 5}},
		{"-kind 1:2", []uint64{2, 3}},
		{"-kind 1:2 -kind 2:1", []uint64{2, 3, 4}},
		{"-tag x", []uint64{1, 3}},
		{"-tag x -tag y", []uint64{3}},
		{"-lane 7", []uint64{3}},
		{"-lane 0 -entity order:1", []uint64{1, 5}},
		{"-after 2 -before 5", []uint64{3, 4}},
		{"-limit 2", []uint64{1, 2}},
		{"-reverse -limit 2", []uint64{6, 5}},
		{"-entity order:1 -reverse -before 5", []uint64{3, 1}},
		{"-entity nobody", nil},
		{"-entity user:1 -entity order:10", []uint64{4, 6}},
		{"-prefix user -prefix order:1", []uint64{1, 3, 4, 5, 6}},
		{"-prefix order:1 -entity order:1 -entity order:2", []uint64{1, 3, 5}},
		{"-category 2", []uint64{4}},
		{"-category 2 -kind 1:3", []uint64{4, 6}},
		{"-category f", nil},
		{"-from 2000-01-01T00:00:00Z -to 2000-01-02T00:00:00Z", nil},
		{"-from 2000-01-01T00:00:00Z -limit 1", []uint64{1}},
		{"-to ffffffffffffffff -limit 1", []uint64{1}},
		{"-correlation 00000000-0000-0000-0000-000000000001", nil},
		{"-causation 00000000-0000-0000-0000-000000000001", nil},
		{"-system", []uint64{1, 2, 3, 4, 5, 6}},
	} {
		out := mustRun(t, "", append([]string{"read", dir}, strings.Fields(tt.args)...)...)
		var got []uint64
		for text := range strings.Lines(out) {
			var ev struct{ Seq uint64 }
			if err := json.Unmarshal([]byte(text), &ev); err != nil {
				t.Fatalf("read %s printed %q: %v", tt.args, text, err)
			}
			got = append(got, ev.Seq)
		}
		args := append([]string{dir}, strings.Fields(tt.args)...)
		if n := mustRun(t, "", append([]string{"read", "-count"}, args...)...); n != fmt.Sprintln(len(tt.want)) {
			t.Errorf("read -count %s = %s, want %d", tt.args, n, len(tt.want))
		}
		code, text := exitOK, "true\n"
		if len(tt.want) == 0 {
			code, text = exitRefused, "false\n"
		}
		if o := batpakRun(t, nil, append([]string{"read", "-exists"}, args...)...); o.code != code || o.out != text {
			t.Errorf("read -exists %s = %d, %q, want %d, %q", tt.args, o.code, o.out, code, text)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("read %s = %v, want %v", tt.args, got, tt.want)
		}
	}
}

// TestReadSpelling fixes the spelling of a line.
func TestReadSpelling(t *testing.T) {
	var id, group event.ID
	id[15], group[15] = 1, 2
	ev := event.Event{
		ID: id, Seq: 9, Coordinate: coordinate.MustNew(`a"b`, "é"), Kind: event.MustKind(0xf, 7), Payload: []byte(`{"a": 1}`), Clock: 3, Lane: 4, Depth: 5,
		HLC: event.HLC(1_700_000_000_000<<16 | 2), Fork: group, Correlation: group, Causation: id, PayloadVersion: 6,
		Tags: []string{"x", `\`}, Extensions: map[string][]byte{"k": {1}, "j": nil},
	}
	want := `{"seq":9,"id":"00000000-0000-0000-0000-000000000001","entity":"a\"b","scope":"é","kind":"f:7","clock":3,` +
		`"lane":4,"depth":5,"fork":"00000000-0000-0000-0000-000000000002","correlation":"00000000-0000-0000-0000-000000000002",` +
		`"causation":"00000000-0000-0000-0000-000000000001","payload_version":6,"tags":["x","\\"],` +
		`"extensions":{"j":"","k":"AQ=="},"time":"2023-11-14T22:13:20.000Z","hlc":"018bcfe568000002","hash":"` +
		strings.Repeat("0", 64) + `","payload":{"a": 1}}` + "\n"
	if got := string(appendEvent(nil, &ev)); got != want {
		t.Errorf("appendEvent =\n%s, want\n%s", got, want)
	}
}

// TestReadBesideWriter reads and measures a store that is being written.
func TestReadBesideWriter(t *testing.T) {
	dir := t.TempDir()
	st, err := batpak.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	for i := range 3 {
		d := batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, 1), Payload: fmt.Append(nil, i)}
		if _, err := st.Append(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Count(mustRun(t, "", "read", dir), "\n"); got != 3 {
		t.Errorf("read beside a writer printed %d events, want 3", got)
	}
	mustRun(t, "", "stat", dir)
	mustRun(t, "", "verify", dir)
	o := batpakRun(t, strings.NewReader(goodLine), "ingest", dir)
	if o.code != exitFailed || !strings.Contains(o.err, "lock") {
		t.Errorf("ingest beside a writer = %d, %q, want 2 and the lock", o.code, o.err)
	}
}

func TestStat(t *testing.T) {
	dir := sampleStore(t)
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	text := mustRun(t, "", "stat", dir)
	for _, want := range []string{"events     6\n", "sequences  1 to 6\n", "segment: the events", "not the store's", "how it opened, read-only\nrung"} {
		if !strings.Contains(text, want) {
			t.Errorf("stat printed\n%s, want %q in it", text, want)
		}
	}
	var got struct {
		Store    string
		Events   uint64
		FirstSeq uint64 `json:"first_seq"`
		LastSeq  uint64 `json:"last_seq"`
		Durable  uint64 `json:"durable_seq"`
		Files    []storeFile
		Open     struct {
			Rung, Verdict string
			Replayed      int      `json:"events_replayed"`
			Unknown       []string `json:"unknown_files"`
			Sources       []map[string]any
			Phases        []map[string]any
		}
	}
	if err := json.Unmarshal([]byte(mustRun(t, "", "stat", "-json", dir)), &got); err != nil {
		t.Fatal(err)
	}
	if o := got.Open; o.Rung == "" || o.Verdict == "" || o.Replayed != 6 || len(o.Unknown) != 1 || len(o.Sources) != 1 || len(o.Phases) == 0 {
		t.Errorf("stat -json, open = %+v", o)
	}
	if got.Events != 6 || got.FirstSeq != 1 || got.LastSeq != 6 || got.Durable != 6 || len(got.Store) != 32 || len(got.Files) < 3 {
		t.Errorf("stat -json = %+v", got)
	}
	mustRun(t, "", "ingest", dir)
	empty := filepath.Join(t.TempDir(), "empty")
	mustRun(t, "", "ingest", empty)
	if text := mustRun(t, "", "stat", empty); !strings.Contains(text, "events    0\n") {
		t.Errorf("stat of an empty store printed\n%s", text)
	}
}

func TestFileTable(t *testing.T) {
	files := []storeFile{{Name: ".lock"}}
	for i := range 12 {
		files = append(files, storeFile{Name: fmt.Sprintf("%010d.fbat", i+1), Size: 1 << 20, Role: "segment"})
	}
	var b strings.Builder
	fileTable(files).print(&b)
	if got := b.String(); !strings.Contains(got, "(10 more)") || !strings.Contains(got, "10.0 MiB") || strings.Count(got, "\n") != 5 {
		t.Errorf("fileTable =\n%s, want the ten in the middle as one row", got)
	}
}

// TestVerify damages one byte in the middle of a sealed segment.
func TestVerify(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, input(200, nil), "ingest", "-segment-size", "4KiB", dir)
	if out := mustRun(t, "", "verify", dir); out == "" {
		t.Error("verify of a clean store printed nothing")
	}
	var clean map[string]any
	if err := json.Unmarshal([]byte(mustRun(t, "", "verify", "-json", dir)), &clean); err != nil {
		t.Fatal(err)
	}
	segments, err := filepath.Glob(filepath.Join(dir, "*.fbat"))
	if err != nil || len(segments) < 3 {
		t.Fatalf("%d segments, %v, want some", len(segments), err)
	}
	b, err := os.ReadFile(segments[1])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/3] ^= 0x10
	if err := os.WriteFile(segments[1], b, 0o600); err != nil {
		t.Fatal(err)
	}
	o := batpakRun(t, nil, "verify", dir)
	if o.code != exitRefused || !strings.Contains(o.out, filepath.Base(segments[1])) {
		t.Errorf("verify of a damaged store = %d, want 1 and the name of the file\n%s%s", o.code, o.out, o.err)
	}
	o = batpakRun(t, nil, "verify", "-json", dir)
	var damaged struct{ Findings []map[string]any }
	if err := json.Unmarshal([]byte(o.out), &damaged); err != nil || o.code != exitRefused || len(damaged.Findings) == 0 {
		t.Errorf("verify -json of a damaged store = %d, %v\n%s", o.code, err, o.out)
	}
}
