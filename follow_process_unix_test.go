//go:build unix

package batpak_test

import (
	"context"
	"errors"
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
		if err := killAfter(dir, run, 60, batpak.SyncAlways, func(id event.ID) error { acked[id] = true; return nil }); err != nil {
			t.Fatalf("process %d: %v", run+1, err)
		}
	}
	st := openAt(t, dir, nil)
	log, err := collect(st, batpak.Query{})
	if err != nil {
		t.Fatal(err)
	}
	mustClose(t, st)
	told := len(acked)
	for i := range log {
		ev := <-f.events
		if ev.Seq != log[i].Seq || ev.ID != log[i].ID || ev.Hash != log[i].Hash {
			t.Fatalf("event %d at place %d, want %d", ev.Seq, i, log[i].Seq)
		}
		delete(acked, ev.ID)
	}
	if told < 60 {
		t.Errorf("%d events were acknowledged: this tests nothing", told)
	}
	if len(acked) > 0 {
		t.Errorf("%d events that were acknowledged are not there", len(acked))
	}
	cancel()
	<-f.end
	checkSeqs(t, "behind the end of the log", f.seqs())
}

// killAfter starts a process that appends, and kills it when it has acknowledged n events, or when told fails. told is
// called with each event that is acknowledged, also behind the kill.
func killAfter(dir string, run, n int, mode batpak.SyncMode, told func(event.ID) error) error {
	cmd, lines, err := startAppending(dir, run, mode)
	if err != nil {
		return err
	}
	var failed error
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return errors.Join(failed, waitKilled(cmd))
		}
		id, err := event.ParseID(strings.TrimSpace(line))
		if err != nil || failed != nil {
			continue
		}
		failed = told(id)
		if n--; n == 0 || failed != nil {
			failed = errors.Join(failed, cmd.Process.Kill())
		}
	}
}
