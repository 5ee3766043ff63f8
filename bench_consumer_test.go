package batpak_test

import (
	"context"
	"testing"

	"batpak"
	"batpak/event"
)

// BenchmarkConsume hands over 100,000 events, beside a read of the same, the floor, and of 1,000 that are answered in a
// store that does not sync.
func BenchmarkConsume(b *testing.B) {
	const events = 100_000
	st := openAt(b, b.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
	defer mustClose(b, st)
	drafts := make([]batpak.Draft, 1000)
	for i := range drafts {
		drafts[i] = plain("an event of some forty bytes or so, no more")
	}
	for range events / len(drafts) {
		if _, err := st.AppendBatch(b.Context(), drafts); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("floor=read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, err := range st.Read(b.Context(), batpak.Query{Before: events + 1}) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
		b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
	})
	b.Run("run", func(b *testing.B) { benchConsume(b, st, events, 0) })
	b.Run("react", func(b *testing.B) { benchConsume(b, st, 1000, 1) })
}

// benchConsume hands the first n events over and answers each with so many drafts.
func benchConsume(b *testing.B, st *batpak.Store, n uint64, answers int) {
	b.ReportAllocs()
	round := 0
	for b.Loop() {
		round++
		c := consumer(b, st, b.Name()+string(rune('a'+round%26))+string(rune('a'+round/26%26))+string(rune('a'+round/676)), batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}})
		ctx, cancel := context.WithCancel(context.Background())
		err := c.React(ctx, func(_ context.Context, ev event.Event) ([]batpak.Draft, error) {
			if ev.Seq == n {
				cancel()
				return nil, nil
			}
			if answers == 0 {
				return nil, nil
			}
			return replies(&ev)[:1], nil
		})
		if err != context.Canceled {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
