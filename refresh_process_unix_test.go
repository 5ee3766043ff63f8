//go:build unix

package batpak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"batpak"
	"batpak/event"
)

// TestRefreshBesideProcesses follows processes that append and are killed, one after the other, in one directory: what a
// process had said was committed before a refresh is there after it, and what was shown stays.
func TestRefreshBesideProcesses(t *testing.T) {
	t.Parallel()
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			refreshBesideProcesses(t, mode)
		})
	}
}

func refreshBesideProcesses(t *testing.T, mode batpak.SyncMode) {
	dir := filepath.Join(t.TempDir(), "store")
	mustClose(t, openAt(t, dir, &batpak.Options{SegmentSize: 16 << 10, Sync: mode}))
	r := openAt(t, dir, &batpak.Options{ReadOnly: true})
	defer mustClose(t, r)
	f := &processFollower{st: r, mode: mode, acked: map[event.ID]bool{}, rng: rand.New(rand.NewPCG(seed(t), 17))}
	for i := range sized(6, 20, 300) {
		if err := f.follow(dir, i); err != nil {
			t.Fatalf("process %d: %v", i+1, err)
		}
	}
	if len(f.acked) < 100 || f.looks < 20 {
		t.Errorf("%d looks at %d events: this tests nothing", f.looks, len(f.acked))
	}
	t.Logf("%d looks, %d built anew, %d events acknowledged", f.looks, r.Builds(), len(f.acked))
}

type processFollower struct {
	st    *batpak.Store
	mode  batpak.SyncMode
	rng   *rand.Rand
	acked map[event.ID]bool
	shown []event.ID
	looks int
}

// follow starts a process, follows it for a while, kills it and looks once more.
func (f *processFollower) follow(dir string, run int) error {
	err := killAfter(dir, run, 100+f.rng.IntN(200), f.mode, func(id event.ID) error {
		f.acked[id] = true
		if f.rng.IntN(20) > 0 {
			return nil
		}
		return f.look()
	})
	if err != nil {
		return err
	}
	return f.look()
}

// look refreshes and checks what is new.
func (f *processFollower) look() error {
	f.looks++
	if _, err := f.st.Refresh(context.Background()); err != nil {
		return err
	}
	got, err := collect(f.st, batpak.Query{})
	if err != nil {
		return err
	}
	if len(got) < len(f.shown) {
		return fmt.Errorf("%d events are shown, %d were", len(got), len(f.shown))
	}
	clocks, found, last := map[string]uint64{}, 0, uint64(0)
	for i := range got {
		ev := &got[i]
		clocks[ev.Coordinate.Entity()]++
		switch {
		case ev.Seq <= last || f.mode == batpak.SyncAlways && ev.Seq != last+1 || ev.Clock != clocks[ev.Coordinate.Entity()]:
			return fmt.Errorf("event %d at place %d has clock %d", ev.Seq, i, ev.Clock)
		case i >= len(f.shown):
			f.shown = append(f.shown, ev.ID)
		case ev.ID != f.shown[i]:
			return fmt.Errorf("event %d is another one than before", ev.Seq)
		}
		if last = ev.Seq; f.acked[ev.ID] {
			found++
		}
	}
	if found < len(f.acked) {
		return fmt.Errorf("%d of %d acknowledged events are shown", found, len(f.acked))
	}
	return nil
}
