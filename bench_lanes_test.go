package batpak_test

import (
	"testing"

	"batpak"
	"batpak/event"
)

// BenchmarkLanes puts what lanes cost beside the same on lane 0: nothing is synced, so that it is seen.
func BenchmarkLanes(b *testing.B) {
	for _, bb := range []struct {
		name string
		lane uint32
	}{{"append/lane 0", 0}, {"append/lane 1", 1}} {
		b.Run(bb.name, func(b *testing.B) {
			st, drafts := benchStore(b, &batpak.Options{Sync: batpak.SyncNever}), benchDrafts(10_000)
			for i := range drafts {
				drafts[i].Lane = bb.lane
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := st.Append(b.Context(), drafts[i%len(drafts)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("fork", func(b *testing.B) {
		st, drafts := benchStore(b, &batpak.Options{Sync: batpak.SyncNever}), benchDrafts(10_000)
		roots := make(map[string]event.ID, len(drafts))
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			d := drafts[i%len(drafts)]
			at, forked := roots[d.Coordinate.Entity()]
			var err error
			if !forked {
				var r batpak.Receipt
				r, err = st.Append(b.Context(), d)
				roots[d.Coordinate.Entity()] = r.ID
			} else {
				_, err = st.Fork(b.Context(), at, d)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("branch of 100 over 3 lanes", func(b *testing.B) {
		st := benchStore(b, &batpak.Options{Sync: batpak.SyncNever})
		last, err := st.Append(b.Context(), plain("root"))
		for i := 1; i < 100 && err == nil; i++ {
			d := plain("event of a branch")
			if i%40 == 0 {
				last, err = st.Fork(b.Context(), last.ID, d)
				continue
			}
			d.Lane = last.Lane
			last, err = st.Append(b.Context(), d)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			n := 0
			for _, err := range st.Branch(b.Context(), "plain", last.Lane) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}
			if n != 100 {
				b.Fatalf("%d events", n)
			}
		}
	})
}
