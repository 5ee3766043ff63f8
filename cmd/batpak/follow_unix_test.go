//go:build unix

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// TestReadFollows has another process follow a store that is written, closed and opened again here, and interrupts it.
func TestReadFollows(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	w := &followedWriter{t: t, dir: dir}
	w.append(5)
	cmd := exec.Command(os.Args[0], "read", "-f", "-entity", "followed", dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for i := range 60 {
		if i >= w.n {
			w.append(1 + i%7) // the reader has everything so far: it waits
		}
		text, err := lines.ReadString('\n')
		var ev struct {
			Entity  string
			Payload int
		}
		if err == nil {
			err = json.Unmarshal([]byte(text), &ev)
		}
		if err != nil || ev.Payload != i || ev.Entity != "followed" {
			_ = cmd.Process.Kill()
			t.Fatalf("line %d: %q, %v", i, text, err)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for ; err == nil; _, err = lines.ReadString('\n') { // what was appended beyond the 60
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after an interrupt: %v", err)
	}
}

// A followedWriter appends to a store that it opens each time.
type followedWriter struct {
	t   *testing.T
	dir string
	n   int // events of the stream so far
}

func (w *followedWriter) append(n int) {
	w.t.Helper()
	st, err := batpak.Open(w.dir, &batpak.Options{SegmentSize: 4 << 10})
	if err != nil {
		w.t.Fatal(err)
	}
	for range n {
		for _, entity := range []string{"followed", "other"} {
			d := batpak.Draft{
				Coordinate: coordinate.MustNew(entity, "s"), Kind: event.MustKind(1, 1), Payload: fmt.Append(nil, w.n),
				Tags: []string{strings.Repeat("x", 200)},
			}
			if _, err := st.Append(w.t.Context(), d); err != nil {
				w.t.Fatal(err)
			}
		}
		w.n++
	}
	if err := st.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func TestReadFollowEnds(t *testing.T) {
	dir := sampleStore(t)
	for args, want := range map[string]int{"-limit 3": 3, "-before 5": 4, "-before 5 -limit 9 -entity order:1": 2} {
		out := mustRun(t, "", append([]string{"read", "-f", dir}, strings.Fields(args)...)...)
		if got := strings.Count(out, "\n"); got != want {
			t.Errorf("read -f %s printed %d events, want %d", args, got, want)
		}
	}
	if o := batpakRun(t, nil, "read", "-f", "-reverse", dir); o.code != exitFailed {
		t.Errorf("read -f -reverse = %d, want %d", o.code, exitFailed)
	}
}
