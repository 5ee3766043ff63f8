//go:build unix

package batpak_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/event"
)

// killEnv names the directory for the processes that TestKilledProcess starts.
const killEnv = "BATPAK_TEST_KILL"

// TestKilledProcess kills a process that appends, with SIGKILL and at any moment, again and again, in one directory:
// what it had said was committed is there, in order and once, and nothing needs a hand.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	rng := rand.New(rand.NewPCG(seed(t), 0))
	kills := envInt(t, "BATPAK_KILLS", sized(8, 60, 2000))
	acked := make(map[event.ID]bool)
	for i := range kills {
		lines := strings.SplitAfter(killOne(t, dir, rng.IntN(60), i), "\n")
		for _, line := range lines {
			text, whole := strings.CutSuffix(line, "\n")
			if id, err := event.ParseID(text); whole && err == nil {
				acked[id] = true
			}
		}
		if err := allThere(dir, acked); err != nil {
			t.Fatalf("after kill %d: %v", i+1, err)
		}
	}
	t.Logf("%d kills, %d events acknowledged", kills, len(acked))
}

// killOne starts a process that appends, kills it when it has printed n IDs, and returns what it printed.
func killOne(t *testing.T, dir string, n, run int) string {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessChild$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir, fmt.Sprintf("%s_RUN=%d", killEnv, run))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	r := bufio.NewReader(out)
	for i := 0; ; i++ {
		if i == n {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := r.ReadString('\n')
		printed.WriteString(line)
		if err != nil {
			break
		}
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the process ended by itself: %v\n%s", err, printed.String())
	}
	return printed.String()
}

// allThere checks that every acknowledged event is there, that the rest makes one history, and that nobody holds the
// lock.
func allThere(dir string, acked map[event.ID]bool) error {
	st, err := batpak.Open(dir, &batpak.Options{SegmentSize: 16 << 10})
	if err != nil {
		return err
	}
	got, err := collect(st, batpak.Query{})
	found := 0
	clocks := map[string]uint64{}
	for i := range got {
		ev := &got[i]
		if acked[ev.ID] {
			found++
		}
		clocks[ev.Coordinate.Entity()]++
		if ev.Seq != uint64(i+1) || ev.Clock != clocks[ev.Coordinate.Entity()] {
			err = errors.Join(err, fmt.Errorf("event %d at place %d has clock %d", ev.Seq, i, ev.Clock))
		}
	}
	if found < len(acked) {
		err = errors.Join(err, fmt.Errorf("%d of %d acknowledged events are there", found, len(acked)))
	}
	return errors.Join(err, st.Close())
}

// TestKilledProcessChild is the process that is killed: it appends from several goroutines and prints the IDs of what
// was committed.
func TestKilledProcessChild(t *testing.T) {
	dir := os.Getenv(killEnv)
	if dir == "" {
		t.Skip("only as a child of TestKilledProcess")
	}
	st, err := batpak.Open(dir, &batpak.Options{SegmentSize: 16 << 10, FillAhead: 8 << 10})
	if err != nil {
		t.Fatal(err)
	}
	run := os.Getenv(killEnv + "_RUN")
	for g := range 4 {
		go func() {
			r := &rig{}
			for {
				d := r.draft(streamA, 100*g)
				if g%2 == 1 {
					d.Coordinate = streamB
				}
				d.Payload = append(d.Payload, run...)
				rcpt, err := st.Append(context.Background(), d)
				if err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Println(rcpt.ID) // one write: the pipe takes lines as they are
			}
		}()
	}
	<-time.After(time.Minute) // nobody has killed it: do not write for ever
}
