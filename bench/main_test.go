package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestMain(m *testing.M) {
	if isChild() { // the program starts itself, and in tests that is this binary
		if err := child(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// smallConfig answers every question in seconds.
func smallConfig(t *testing.T) config {
	t.Helper()
	c := config{segmentSize: 256 << 10, closeEvents: 2000, appends: 200, acked: 5}
	if err := parse([]string{"-events", "200,2000", "-entities", "50", "-wide", "300", "-runs", "2", "-dir", t.TempDir()}, &c); err != nil {
		t.Fatal(err)
	}
	c.json = filepath.Join(t.TempDir(), "out.json")
	return c
}

func TestEveryTable(t *testing.T) {
	c := smallConfig(t)
	var out strings.Builder
	if err := run(t.Context(), c, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(c.json)
	if err != nil {
		t.Fatal(err)
	}
	var tables []struct {
		Title string
		Rows  []map[string]any
	}
	if err := json.Unmarshal(b, &tables); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"1": 3 * 8, "3": 3 * 3, "4": 3 * 4, "5": 3, "6": 4, "7": 2}
	for _, tab := range tables {
		number, _, _ := strings.Cut(tab.Title, ".")
		if len(tab.Rows) != want[number] {
			t.Errorf("table %q has %d rows, want %d", tab.Title, len(tab.Rows), want[number])
		}
		delete(want, number)
		if !strings.Contains(out.String(), tab.Title) {
			t.Errorf("table %q is not printed", tab.Title)
		}
	}
	if len(want) > 0 {
		t.Errorf("no tables with the numbers of %v", want)
	}
	if left, _ := os.ReadDir(c.dir); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestNothingIsLeftBehindWhenInterrupted(t *testing.T) {
	c := smallConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	log := writerFunc(func(b []byte) (int, error) {
		if strings.Contains(string(b), "killed at 50") {
			cancel()
		}
		return len(b), nil
	})
	if err := run(ctx, c, io.Discard, log); err == nil {
		t.Error("an interrupted run ends without an error")
	}
	if left, _ := os.ReadDir(c.dir); len(left) > 0 {
		t.Errorf("%v is left behind", left)
	}
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// Taking artifacts away must not change the store.
func TestHideAndStripComeBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := build(t.Context(), "batpak", dir, fill{Entities: 10, Events: 3000, SegmentSize: 256 << 10}); err != nil {
		t.Fatal(err)
	}
	before := contents(t, dir)
	restoreFiles, err := hide(dir, "anchor", "index.*", "nothing*")
	if err != nil {
		t.Fatal(err)
	}
	restoreFooters, err := stripFooters(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := measure(t.Context(), job{Kind: "batpak-readonly", Path: dir, Entity: entityOf(0, 10)})
	if err != nil || r.Rung != "frames" || r.Last != 3000 {
		t.Errorf("stripped store opens by %q up to %d, %v; want frames up to 3000", r.Rung, r.Last, err)
	}
	if err := restoreFooters(); err != nil {
		t.Fatal(err)
	}
	if err := restoreFiles(); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, dir); !slices.Equal(before, after) {
		t.Error("the store is not what it was")
	}
}

// contents returns the names and bytes of the files in dir, but for the lock, which says who was there last.
func contents(t *testing.T, dir string) (out []string) {
	t.Helper()
	names, err := filesBelow(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if filepath.Base(name) == ".lock" {
			continue
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, filepath.Base(name), string(b))
	}
	return out
}

func TestSourceIsTheSameEveryTime(t *testing.T) {
	for _, entities := range []int{1, 10, 7919, 10_000} {
		seen := make(map[string]bool)
		s := newSource(entities)
		for i := range entities {
			d := s.batch(1)[0]
			if d.Coordinate.Entity() != entityOf(i, entities) {
				t.Fatalf("event %d of %d streams is of %s, want %s", i, entities, d.Coordinate.Entity(), entityOf(i, entities))
			}
			if len(d.Payload) != payloadLen || !json.Valid(d.Payload) {
				t.Fatalf("payload %q", d.Payload)
			}
			seen[entityOf(i, entities)] = true
		}
		if len(seen) != entities {
			t.Errorf("%d events of %d streams meet %d streams", entities, entities, len(seen))
		}
	}
}

func TestFlags(t *testing.T) {
	for _, args := range []string{"-events 0", "-events x", "-tables 1,x", "-rungs none", "-entities 0", "left over"} {
		c := defaults()
		if err := parse(strings.Fields(args), &c); err == nil {
			t.Errorf("%s is accepted", args)
		}
	}
	c := defaults()
	if err := parse(strings.Fields("-tables 2 -rungs frames,footers -events 5,3"), &c); err != nil {
		t.Fatal(err)
	}
	if !c.cold || !slices.Equal(c.rungs, []string{"footers", "frames"}) || !slices.Equal(c.events, []int{3, 5}) {
		t.Errorf("parsed as %+v", c)
	}
}
