//go:build unix

package batpak_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/event"
)

// TestFollowBesideProcesses follows processes that append and are killed, one after the other, in one directory: it gets
// everything that they had said was committed, and in the end what the log holds, each event once and in order.
func TestFollowBesideProcesses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "store")
	mustClose(t, openAt(t, dir, &batpak.Options{SegmentSize: 16 << 10}))
	r := openAt(t, dir, &batpak.Options{ReadOnly: true, FollowEvery: time.Millisecond})
	defer mustClose(t, r)
	ctx, cancel := context.WithCancel(t.Context())
	f := startFollow(ctx, r, batpak.Query{})
	acked := map[event.ID]bool{}
	for run := range sized(3, 10, 200) {
		if err := killAfter(dir, run, 60, acked); err != nil {
			t.Fatalf("process %d: %v", run+1, err)
		}
	}
	st := openAt(t, dir, nil)
	log, err := collect(st, batpak.Query{})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, st)
	for i := range log {
		ev := <-f.events
		if ev.Seq != log[i].Seq || ev.ID != log[i].ID || ev.Hash != log[i].Hash {
			t.Fatalf("event %d at place %d, want %d", ev.Seq, i, log[i].Seq)
		}
		delete(acked, ev.ID)
	}
	if len(acked) > 0 {
		t.Errorf("%d events that were acknowledged are not there", len(acked))
	}
	cancel()
	<-f.end
	checkSeqs(t, "behind the end of the log", f.seqs())
}

// killAfter starts a process that appends, and kills it when it has acknowledged n events, which are noted.
func killAfter(dir string, run, n int, acked map[event.ID]bool) error {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessChild$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir, fmt.Sprintf("%s_RUN=%d", killEnv, run))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		if id, err := event.ParseID(strings.TrimSpace(line)); err == nil {
			acked[id] = true
		}
		if n--; n == 0 {
			if err := cmd.Process.Kill(); err != nil {
				return err
			}
		}
	}
	_ = cmd.Wait() // it was killed
	return nil
}
