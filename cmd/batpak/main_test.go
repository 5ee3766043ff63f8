package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"batpak"
	"batpak/event"
)

// TestMain lets the test binary be the demo's writer process, and one that reads.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == demoWriterCommand.name {
		os.Exit(run(context.Background(), newConsole(os.Stdin, os.Stdout, os.Stderr), os.Args[1:]))
	}
	if len(os.Args) > 1 && os.Args[1] == readCommand.name {
		main()
	}
	os.Exit(m.Run())
}

// An outcome is what a command left.
type outcome struct {
	code     int
	out, err string
}

// batpakRun runs a command line on in-memory streams.
func batpakRun(t *testing.T, in io.Reader, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), newConsole(in, &out, &errs), args)
	return outcome{code, out.String(), errs.String()}
}

// mustRun is batpakRun for commands that must succeed.
func mustRun(t *testing.T, in string, args ...string) string {
	t.Helper()
	o := batpakRun(t, strings.NewReader(in), args...)
	if o.code != exitOK {
		t.Fatalf("batpak %q = %d, want 0\n%s%s", args, o.code, o.out, o.err)
	}
	return o.out
}

// readAll returns the events of a store.
func readAll(t *testing.T, dir string) []event.Event {
	t.Helper()
	st, err := batpak.Open(dir, &batpak.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var events []event.Event
	for ev, err := range st.Read(t.Context(), batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, ev)
	}
	return events
}

func TestHelp(t *testing.T) {
	for _, cmd := range commands() {
		for _, args := range [][]string{{cmd.name, "-h"}, {cmd.name, "--help"}, {cmd.name, "dir", "-h"}, {"help", cmd.name}} {
			out := mustRun(t, "", args...)
			for _, want := range []string{"usage: batpak " + cmd.name, cmd.summary, "exit codes:"} {
				if !strings.Contains(out, want) {
					t.Errorf("batpak %q printed %q, want %q in it", args, out, want)
				}
			}
			if !cmd.hidden && !strings.Contains(out, "examples:\n  ") {
				t.Errorf("batpak %q printed no examples", args)
			}
		}
	}
	for _, args := range [][]string{{"-h"}, {"help"}, {"--help"}} {
		out := mustRun(t, "", args...)
		for _, cmd := range commands() {
			if strings.Contains(out, cmd.summary) == cmd.hidden {
				t.Errorf("batpak %q lists %s = %v, want %v", args, cmd.name, cmd.hidden, !cmd.hidden)
			}
		}
	}
}

func TestExitCodes(t *testing.T) {
	empty := t.TempDir()
	file := filepath.Join(empty, "file")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(empty, "missing")
	for _, tt := range []struct {
		name string
		args []string
		want int
		err  string // in what is printed to the error stream
	}{
		{"no command", nil, 2, "usage:"},
		{"unknown command", []string{"reed"}, 2, `no command "reed"`},
		{"unknown flag", []string{"read", "-entitty", "x", empty}, 2, "-entitty"},
		{"no directory", []string{"read"}, 2, "0 arguments"},
		{"two directories", []string{"read", "a", "b"}, 2, "2 arguments"},
		{"read of nothing", []string{"read", missing}, 2, "missing"},
		{"read of an empty folder", []string{"read", t.TempDir()}, 2, "no store"},
		{"read of a file", []string{"read", file}, 2, "file"},
		{"stat of nothing", []string{"stat", missing}, 2, "missing"},
		{"verify of nothing", []string{"verify", missing}, 2, "missing"},
		{"verify of a file", []string{"verify", file}, 2, "file"},
		{"ingest of nothing", []string{"ingest", missing, filepath.Join(empty, "no.jsonl")}, 2, "no.jsonl"},
		{"bad kind", []string{"read", "-kind", "7", empty}, 2, "kind"},
		{"bad lane", []string{"read", "-lane", "-1", empty}, 2, "4294967295"},
		{"bad limit", []string{"read", "-limit", "-1", empty}, 2, ""},
		{"bad sync", []string{"ingest", "-sync", "sometimes", missing}, 2, "always, interval or never"},
		{"bad size", []string{"ingest", "-segment-size", "4KB", missing}, 2, "64MiB"},
		{"small size", []string{"ingest", "-segment-size", "1KiB", missing}, 2, "SegmentSize"},
		{"bad batch", []string{"ingest", "-batch", "0", missing}, 2, "-batch 0"},
		{"refused line", []string{"ingest", filepath.Join(t.TempDir(), "store")}, 1, "line 1"},
		{"demo of nothing", []string{"demo", "-repo", missing}, 2, "demo"},
		{"demo on something", []string{"demo", "-dir", empty}, 2, "not empty"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := batpakRun(t, strings.NewReader("{}\n"), tt.args...)
			if o.code != tt.want || !strings.Contains(o.err, tt.err) {
				t.Errorf("batpak %q = %d, %q, want %d, %q", tt.args, o.code, o.err, tt.want, tt.err)
			}
		})
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("a command that could not run made a store")
	}
}

func TestFlagsBehindArguments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "-odd")
	mustRun(t, `{"entity":"a","scope":"s","kind":"1:1","payload":1}`+"\n", "ingest", "-sync", "never", "--", dir)
	if got := mustRun(t, "", "read", dir, "-limit", "1"); strings.Count(got, "\n") != 1 {
		t.Errorf("read DIR -limit 1 printed %q, want one line", got)
	}
}
