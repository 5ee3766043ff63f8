package batpak_test

import (
	"context"
	"testing"

	"batpak"
)

// BenchmarkRefresh measures a reader that follows a writer in the same directory. "open" is what it would cost to open
// the store anew instead.
func BenchmarkRefresh(b *testing.B) {
	setup := func(b *testing.B) (dir string, st, r *batpak.Store) {
		dir = b.TempDir()
		st = openAt(b, dir, &batpak.Options{Sync: batpak.SyncAlways})
		fillStore(b, st, 10_000)
		st.WaitIdle()
		r = openAt(b, dir, &batpak.Options{ReadOnly: true})
		b.Cleanup(func() { mustClose(b, r); mustClose(b, st) })
		return dir, st, r
	}
	refresh := func(b *testing.B, r *batpak.Store, want bool) {
		changed, err := r.Refresh(context.Background())
		if err != nil || changed != want {
			b.Fatal(changed, err)
		}
	}
	b.Run("nothing new", func(b *testing.B) {
		_, _, r := setup(b)
		refresh(b, r, false)
		b.ReportAllocs()
		for b.Loop() {
			refresh(b, r, false)
		}
	})
	for _, n := range []int{1, 1000} {
		name := map[int]string{1: "1 new event", 1000: "1,000 new events"}[n]
		b.Run(name, func(b *testing.B) {
			_, st, r := setup(b)
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				fillStore(b, st, n)
				b.StartTimer()
				refresh(b, r, true)
			}
		})
	}
	b.Run("open", func(b *testing.B) {
		dir, _, _ := setup(b)
		for b.Loop() {
			mustClose(b, openAt(b, dir, &batpak.Options{ReadOnly: true}))
		}
	})
}
