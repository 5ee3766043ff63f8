package batpak_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"batpak"
	"batpak/event"
)

// BenchmarkCauses walks from events with causes and ten effects among a million sealed events of ten thousand entities. The
// floor reads as many events by their IDs.
func BenchmarkCauses(b *testing.B) {
	const n, fan = 1_000_000, 10
	dir := filepath.Join(b.TempDir(), "store")
	st, err := batpak.Open(dir, &batpak.Options{Sync: batpak.SyncNever})
	if err != nil {
		b.Fatal(err)
	}
	// Of each thousand, event 0 causes the ten at 90, 180, …; each of these is of its group, and caused the next
	// thousand's event 0 or nothing. All others have no links.
	drafts := benchDrafts(10_000)
	var roots []event.ID
	effects := map[event.ID][]event.ID{}
	for i := 0; i < n; i += 1000 {
		batch := append([]batpak.Draft(nil), drafts[i%10_000:i%10_000+1000]...)
		if len(roots) > 0 {
			batch[0].Causation = effects[roots[len(roots)-1]][0]
		}
		for k := range fan {
			batch[90*(k+1)].CausedByDraft = batpak.DraftAt(0)
		}
		receipts, err := st.AppendBatch(b.Context(), batch)
		if err != nil {
			b.Fatal(err)
		}
		root := receipts[0].ID
		roots = append(roots, root)
		for k := range fan {
			effects[root] = append(effects[root], receipts[90*(k+1)].ID)
		}
	}
	st = sealAll(b, st, dir)
	warm := roots[:200]
	b.Run("floor/10 events by ID", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			for _, id := range effects[warm[i%len(warm)]] {
				if _, err := st.Event(b.Context(), id); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	for _, bb := range []struct {
		name string
		o    []batpak.WalkOption
		want int
	}{
		{"effects/10 of one event", []batpak.WalkOption{batpak.MaxDistance(1)}, 1 + fan},
		{"effects/10 and theirs", []batpak.WalkOption{batpak.MaxDistance(2)}, 1 + fan + 1},
		{"effects/until 100", []batpak.WalkOption{batpak.MaxSteps(100)}, 100},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				got := 0
				for _, err := range st.Effects(b.Context(), warm[i%len(warm)], bb.o...) {
					if err != nil {
						b.Fatal(err)
					}
					got++
				}
				if got != bb.want {
					b.Fatal(fmt.Errorf("%d steps, want %d", got, bb.want))
				}
			}
		})
	}
	b.Run("causes/10 links", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			got := 0
			for _, err := range st.Causes(b.Context(), warm[20+i%100], batpak.MaxSteps(11)) {
				if err != nil {
					b.Fatal(err)
				}
				got++
			}
			if got != 11 {
				b.Fatalf("%d steps", got)
			}
		}
	})
	b.Run("ancestors/10 links", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			got := 0
			for _, err := range st.Ancestors(b.Context(), roots[len(roots)-1-i%100], batpak.MaxSteps(11)) {
				if err != nil {
					b.Fatal(err)
				}
				got++
			}
			if got != 11 {
				b.Fatalf("%d steps", got)
			}
		}
	})
}
