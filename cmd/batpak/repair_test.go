package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"batpak"
)

// dirBytes returns what is in a directory, without the lock file.
func dirBytes(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := make(map[string]string)
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != ".lock" {
			files[e.Name()] = string(b)
		}
	}
	return files
}

// edit changes a file in place.
func edit(t *testing.T, name string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err == nil {
		err = os.WriteFile(name, change(b), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func flipAt(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[(at+len(b))%len(b)] ^= 0x10
		return b
	}
}

// segmentsOf returns the paths of the segments, oldest first.
func segmentsOf(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.fbat"))
	if err != nil || len(names) < 3 {
		t.Fatalf("%d segments, %v, want some", len(names), err)
	}
	slices.Sort(names)
	return names
}

func TestRepairCommand(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, input(200, nil), "ingest", "-segment-size", "4KiB", dir)
	want := readAll(t, dir)
	if out := mustRun(t, "", "repair", "-write", dir); !strings.Contains(out, "nothing to do") {
		t.Errorf("repair of a sound store printed\n%s", out)
	}
	edit(t, filepath.Join(dir, "store.meta"), flipAt(20))
	edit(t, filepath.Join(dir, "anchor"), func([]byte) []byte { return []byte("?") })
	edit(t, segmentsOf(t, dir)[0], flipAt(-9))
	if o := batpakRun(t, nil, "read", dir); o.code != exitFailed || !strings.Contains(o.err, "repair") {
		t.Errorf("read of the damaged store = %d, %q, want 2 and the way to repair it", o.code, o.err)
	}

	before := dirBytes(t, dir)
	o := batpakRun(t, nil, "repair", dir)
	if o.code != exitRefused || strings.Count(o.out, "\nwould ") != 3 || !strings.Contains(o.out, "dry run, 3 to do") {
		t.Errorf("repair = %d, want 1 and what it would do\n%s%s", o.code, o.out, o.err)
	}
	after := dirBytes(t, dir)
	for name, was := range before {
		if after[name] != was || len(after) != len(before) {
			t.Errorf("a dry run changed %s, or made another file", name)
		}
	}
	var report struct {
		Store   string
		DryRun  bool `json:"dry_run"`
		Actions []struct {
			File string
			Done bool
		}
		Findings []any
	}
	o = batpakRun(t, nil, "repair", "-json", dir)
	if err := json.Unmarshal([]byte(o.out), &report); err != nil || o.code != exitRefused || !report.DryRun || len(report.Actions) != 3 || report.Findings == nil {
		t.Errorf("repair -json = %d, %v, %+v\n%s", o.code, err, report, o.out)
	}

	if out := mustRun(t, "", "repair", dir, "-write"); strings.Count(out, "\ndid ") != 3 || !strings.Contains(out, "3 of 3 done") {
		t.Errorf("repair -write printed\n%s", out)
	}
	mustRun(t, "", "verify", dir)
	mustRun(t, "", "repair", dir)
	got := readAll(t, dir)
	if len(got) != len(want) {
		t.Fatalf("%d events after the repair, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i].Hash != want[i].Hash || string(got[i].Payload) != string(want[i].Payload) {
			t.Errorf("event %d is another one", got[i].Seq)
		}
	}
	if out := mustRun(t, "", "stat", dir); !strings.Contains(out, "store.meta.quarantine") || !strings.Contains(out, "that a repair has replaced") {
		t.Errorf("stat does not tell of the files set aside\n%s", out)
	}
}

func TestRepairCommandFindings(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	mustRun(t, input(200, nil), "ingest", "-segment-size", "4KiB", dir)
	segments := segmentsOf(t, dir)
	edit(t, segments[1], flipAt(500))
	edit(t, segments[2], flipAt(-9))
	was := dirBytes(t, dir)[filepath.Base(segments[1])]
	o := batpakRun(t, nil, "repair", "-write", dir)
	for _, want := range []string{"1 of 1 done; beyond repair: 1", "did          rebuild " + filepath.Base(segments[2]), "finding      " + filepath.Base(segments[1]) + " offset ", "sequences "} {
		if !strings.Contains(o.out, want) {
			t.Errorf("repair -write printed\n%s%s, want %q in it", o.out, o.err, want)
		}
	}
	if o.code != exitRefused {
		t.Errorf("repair of damaged events = %d, want 1", o.code)
	}
	if dirBytes(t, dir)[filepath.Base(segments[1])] != was {
		t.Error("repair touched a segment whose frames are damaged")
	}
}

func TestRepairCommandCannotRun(t *testing.T) {
	dir := sampleStore(t)
	st, err := batpak.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	empty := t.TempDir()
	for _, tt := range []struct {
		dir, err string
	}{{dir, "lock"}, {empty, "no store"}, {filepath.Join(empty, "missing"), "missing"}} {
		if o := batpakRun(t, nil, "repair", "-write", tt.dir); o.code != exitFailed || !strings.Contains(o.err, tt.err) || o.out != "" {
			t.Errorf("repair of %s = %d, %q, %q, want 2 and %q", tt.dir, o.code, o.out, o.err, tt.err)
		}
	}
	if entries, err := os.ReadDir(empty); err != nil || len(entries) > 0 {
		t.Errorf("repair of an empty directory left %v, %v", entries, err)
	}
}
