package batpak_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"batpak"
	"batpak/event"
)

// idleQueries are what idle followers ask for: nothing that [benchDrafts] makes.
func idleQuery(i int) batpak.Query {
	kind := []event.Kind{event.MustKind(2, i%50)}
	return [...]batpak.Query{
		{Entity: fmt.Sprintf("invoice:%04d", i)},
		{EntityPrefix: fmt.Sprintf("invoice:%02d", i%100)},
		{EntityPrefix: "order:", Kinds: kind},
		{Tags: []string{fmt.Sprintf("customer:%d", i)}, Scope: "eu"},
		{Scope: fmt.Sprintf("tenant-%d", i)},
		{Kinds: kind},
		{Correlation: event.NewID(event.HLC(i+1)<<16, 1)},
		{Entities: []string{fmt.Sprintf("cart:%d", i), fmt.Sprintf("cart:%d", i+1)}},
	}[i%8]
}

// startIdle starts n followers that nothing is for, and returns when all of them sleep.
func startIdle(b testing.TB, st *batpak.Store, n int) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var followers sync.WaitGroup
	after := st.Visible()
	for i := range n {
		q := idleQuery(i)
		q.After = after
		followers.Go(func() {
			for ev := range st.Follow(ctx, q) {
				if ctx.Err() == nil {
					b.Errorf("%+v was shown event %d", q, ev.Seq)
				}
			}
		})
	}
	for st.Asleep() < n {
		runtime.Gosched()
	}
	return func() { cancel(); followers.Wait() }
}

// idlePairs is for how many pairs of rounds BenchmarkFollowIdle runs at least: what one round takes varies by a tenth and
// more from one to the next, so that the median of fewer would say nothing about 5 %.
const idlePairs = 200

// BenchmarkFollowIdle compares appends beside followers that nothing is for with appends beside none, over one store, in
// pairs of short rounds of which either comes first by turns: cost-% is what followers add to an append in the median
// pair, error-% the standard error of that, and all-% what they add to all rounds together. beside none=0 compares rounds of the same sort: what it says is noise.
func BenchmarkFollowIdle(b *testing.B) {
	for _, bb := range []struct {
		name    string
		sync    batpak.SyncMode
		writers int
		events  int
	}{
		{"always/1", batpak.SyncAlways, 1, 20},
		{"always/64", batpak.SyncAlways, 64, 1000},
		{"never/1", batpak.SyncNever, 1, 2000},
		{"never/64", batpak.SyncNever, 64, 4000},
	} {
		for _, followers := range []int{0, 1, 1000} {
			b.Run(fmt.Sprintf("%s/followers=%d", bb.name, followers), func(b *testing.B) {
				st, drafts := benchStore(b, &batpak.Options{Sync: bb.sync}), benchDrafts(10_000)
				round := func() float64 { // without what starting the followers, or ending them, has left behind
					runtime.GC()
					appendTimed(b, st, drafts, bb.writers, bb.events/4)
					return appendTimed(b, st, drafts, bb.writers, bb.events)
				}
				var alone, beside []float64
				for range 10 {
					round()
				}
				for i := 0; i < idlePairs || b.Loop(); i++ {
					for side := range 2 {
						if side == i%2 {
							alone = append(alone, round())
							continue
						}
						stop := startIdle(b, st, followers)
						woken := st.Woken()
						beside = append(beside, round())
						if n := st.Woken() - woken; n > 0 {
							b.Errorf("idle followers were woken %d times", n)
						}
						stop()
					}
				}
				reportPairs(b, alone, beside)
			})
		}
	}
}

// reportPairs reports how beside compares with alone, pair by pair and in all.
func reportPairs(b *testing.B, alone, beside []float64) {
	b.Helper()
	var ratios []float64
	was, is := 0.0, 0.0
	for i := range alone {
		ratios = append(ratios, beside[i]/alone[i])
		was, is = was+alone[i], is+beside[i]
	}
	slices.Sort(ratios)
	n := len(ratios)
	b.ReportMetric(median(alone), "ns/append-alone")
	b.ReportMetric(median(beside), "ns/append-beside")
	b.ReportMetric(100*(ratios[n/2]-1), "cost-%")
	b.ReportMetric(100*0.93*(ratios[n*3/4]-ratios[n/4])/math.Sqrt(float64(n)), "error-%") // of a median, from the quartiles
	b.ReportMetric(100*(is/was-1), "all-%")
	b.ReportMetric(0, "ns/op")
}

// appendTimed appends n events from as many goroutines as writers, and returns the time per event in nanoseconds.
func appendTimed(b *testing.B, st *batpak.Store, drafts []batpak.Draft, writers, n int) float64 {
	b.Helper()
	var all sync.WaitGroup
	begin := time.Now()
	for w := range writers {
		all.Go(func() {
			for i := w; i < n; i += writers {
				if _, err := st.Append(context.Background(), drafts[i%len(drafts)]); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	return float64(time.Since(begin).Nanoseconds()) / float64(n)
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}

// BenchmarkFollowLatency is the time from the return of Append to the delivery of its event to a follower in the same
// process; it is below zero where the follower is faster than the way back to the caller.
func BenchmarkFollowLatency(b *testing.B) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		for _, q := range []batpak.Query{{}, {EntityPrefix: "order:", Kinds: []event.Kind{event.MustKind(1, 7)}}} {
			b.Run(fmt.Sprintf("%v/%s", mode, q.EntityPrefix), func(b *testing.B) {
				st, drafts := benchStore(b, &batpak.Options{Sync: mode}), benchDrafts(10_000)
				delivered := make(chan time.Time, 1)
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				go func() {
					for _, err := range st.Follow(ctx, q) {
						if err != nil {
							return
						}
						delivered <- time.Now()
					}
				}()
				var took []float64
				for i := 0; b.Loop(); i++ {
					for st.Asleep() == 0 {
						runtime.Gosched()
					}
					if _, err := st.Append(ctx, drafts[i%len(drafts)]); err != nil {
						b.Fatal(err)
					}
					returned := time.Now()
					took = append(took, float64((<-delivered).Sub(returned).Nanoseconds()))
				}
				slices.Sort(took)
				b.ReportMetric(took[len(took)/2]/1000, "p50-µs")
				b.ReportMetric(took[len(took)*99/100]/1000, "p99-µs")
			})
		}
	}
}

// BenchmarkFollowHistory compares how fast Follow catches up with how fast Read reads.
func BenchmarkFollowHistory(b *testing.B) {
	const events = 200_000
	st, drafts := benchStore(b, &batpak.Options{Sync: batpak.SyncNever}), benchDrafts(10_000)
	for i := 0; i < events; i += 1000 {
		if _, err := st.AppendBatch(b.Context(), drafts[i%10_000:i%10_000+1000]); err != nil {
			b.Fatal(err)
		}
	}
	q := batpak.Query{Borrow: true, Limit: events}
	for _, bb := range []struct {
		name string
		read func() error
	}{
		{"read", func() error {
			for _, err := range st.Read(b.Context(), q) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"follow", func() error {
			for _, err := range st.Follow(b.Context(), q) {
				if err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bb.read(); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, events)
		})
	}
}
