package batpak_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

// TestRefreshBetweenCalls lets readers look again between any two calls that a writer makes to the file system: in the
// middle of commits, rotations, seals, checkpoints and recoveries.
func TestRefreshBetweenCalls(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		for _, fill := range []int64{-1, 2 << 10} {
			t.Run(fmt.Sprintf("%v, fill %d", mode, fill), func(t *testing.T) {
				t.Parallel()
				first := seed(t)
				for i := range sized(6, 10, 300) {
					refreshBetween(t, mode, fill, first+uint64(i))
				}
			})
		}
	}
}

// A peeker looks at a store between the calls of its writer.
type peeker struct {
	mu  sync.Mutex
	rng *rand.Rand
	st  *batpak.Store
	r   *rig

	shown []event.ID // so far
	ends  []int      // how many events were shown at some time
	findings
}

// peek refreshes, and notes what is shown.
func (p *peeker) peek(c vfs.Call) vfs.Decision {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.st == nil || p.rng.IntN(4) > 0 {
		return vfs.Decision{}
	}
	if err := p.look(); err != nil {
		p.add(fmt.Errorf("before %v of %s: %w", c.Kind, c.Name, err))
	}
	return vfs.Decision{}
}

func (p *peeker) look() error {
	p.r.mu.Lock()
	least := len(p.r.told)
	p.r.mu.Unlock()
	if _, err := p.st.Refresh(context.Background()); err != nil {
		return err
	}
	got, err := collect(p.st, batpak.Query{})
	if err != nil {
		return err
	}
	if len(got) < max(least, len(p.shown)) {
		return fmt.Errorf("%d events; %d were acknowledged, %d shown before", len(got), least, len(p.shown))
	}
	for i := range got {
		if i > 0 && got[i].Seq <= got[i-1].Seq || i < len(p.shown) && got[i].ID != p.shown[i] {
			return fmt.Errorf("event %d at place %d is another one than before", got[i].Seq, i)
		}
		if i >= len(p.shown) {
			p.shown = append(p.shown, got[i].ID)
		}
	}
	p.ends = append(p.ends, len(got))
	return nil
}

func refreshBetween(t *testing.T, mode batpak.SyncMode, fill int64, seed uint64) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 13))
	r := newRig(batpak.Options{Sync: mode, FillAhead: fill})
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	p := &peeker{rng: rand.New(rand.NewPCG(seed, 14)), st: readerOf(t, r.mem), r: r}
	r.intercept = p.peek
	for i := range 60 {
		if err := refreshStep(r, rng); err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, i, err)
		}
		if len(p.first) > 0 {
			t.Errorf("seed %d, step %d", seed, i)
			break
		}
	}
	r.settle()
	p.mu.Lock()
	if err := p.look(); err != nil {
		p.add(err)
	}
	st := p.st
	p.st = nil
	p.mu.Unlock()
	h := r.history()
	for _, n := range p.ends {
		if n > 0 && (n > len(h) || !h[n-1].last || h[n-1].ID != p.shown[n-1]) {
			p.add(fmt.Errorf("%d events were shown: not the end of a batch", n))
		}
	}
	p.report(t)
	sameShown(t, st, r.st)
	mustClose(t, st)
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
}
