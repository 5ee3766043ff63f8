package batpak_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// contractRound is how many appends of one kind are made before the other kind has its turn: both meet the same disk.
const contractRound = 64

// BenchmarkContracts compares an append that promises or demands something with a plain one, beside it in the same run:
// the ratio of their times is the metric "x-plain".
func BenchmarkContracts(b *testing.B) {
	pass := batpak.Gate{Name: "pass", Check: func(*batpak.GateView, *batpak.Draft) *batpak.Denial { return nil }}
	payload := make([]byte, 300)
	at := coordinate.MustNew("order:1042", "eu")
	base := batpak.Draft{Coordinate: at, Kind: kindOne, Payload: payload}
	key := make([]byte, 0, 16) // the caller's own: what it costs to make keys is not measured
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		for _, contract := range []struct {
			name  string
			gates []batpak.Gate
			draft func(d *batpak.Draft, n, clock, seq uint64)
		}{
			{"keyed", nil, func(d *batpak.Draft, n, _, _ uint64) {
				d.IdempotencyKey = binary.LittleEndian.AppendUint64(append(key, "key:"...), n)
			}},
			{"expect", nil, func(d *batpak.Draft, _, clock, _ uint64) { d.Expect = batpak.Clock(clock) }},
			{"unless", nil, func(d *batpak.Draft, _, _, seq uint64) {
				d.Unless = []batpak.Unless{{Query: batpak.Query{Entity: "order:1042"}, Seq: seq}}
			}},
			{"unless-older", nil, func(d *batpak.Draft, _, _, seq uint64) {
				d.Unless = []batpak.Unless{{Query: batpak.Query{Entity: "order:1043"}, Seq: seq - min(seq, 10_000)}}
			}},
			{"gated", []batpak.Gate{pass}, func(*batpak.Draft, uint64, uint64, uint64) {}},
		} {
			b.Run(mode.String()+"/"+contract.name, func(b *testing.B) {
				ctx := context.Background()
				with := openAt(b, b.TempDir(), &batpak.Options{Sync: mode, Gates: contract.gates})
				defer mustClose(b, with)
				without := openAt(b, b.TempDir(), &batpak.Options{Sync: mode})
				defer mustClose(b, without)
				var took [2]time.Duration
				var n, clock, seq uint64
				b.ReportAllocs()
				b.SetBytes(int64(2 * contractRound * len(payload)))
				for b.Loop() {
					start := time.Now()
					for range contractRound {
						d := base
						n++
						contract.draft(&d, n, clock, seq)
						rcpt, err := with.Append(ctx, d)
						if err != nil {
							b.Fatal(err)
						}
						clock, seq = rcpt.Clock, rcpt.Seq
					}
					took[0] += time.Since(start)
					start = time.Now()
					for range contractRound {
						if _, err := without.Append(ctx, base); err != nil {
							b.Fatal(err)
						}
					}
					took[1] += time.Since(start)
				}
				b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "x-plain")
				b.ReportMetric(float64(took[0].Nanoseconds())/float64(n), "ns/append")
			})
		}
	}
}

// BenchmarkUnlessOnLongStream measures the condition alone: what an append with it takes longer than one without, on a
// stream of a million events over many segments.
func BenchmarkUnlessOnLongStream(b *testing.B) {
	ctx := context.Background()
	const events = 1_000_000
	st := openAt(b, b.TempDir(), &batpak.Options{Sync: batpak.SyncNever, SegmentSize: 16 << 20})
	defer mustClose(b, st)
	at := coordinate.MustNew("hot", "eu")
	batch := make([]batpak.Draft, 10_000)
	for i := range batch {
		batch[i] = batpak.Draft{Coordinate: at, Kind: kindOne, Payload: []byte("0123456789")}
	}
	for range events / len(batch) {
		if _, err := st.AppendBatch(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	seq := st.Visible()
	for _, tc := range []struct {
		name  string
		query batpak.Query
		after uint64
	}{
		{"nothing newer", batpak.Query{Entity: "hot"}, seq},
		{"nothing newer of another kind", batpak.Query{Entity: "hot", Kinds: []event.Kind{kindTwo}}, seq},
		{"another entity", batpak.Query{Entity: "cold"}, 0},
		{"conflict with the first", batpak.Query{Entity: "hot"}, 0},
		{"conflict in the middle", batpak.Query{Entity: "hot"}, seq / 2},
	} {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := st.Selected(batpak.Unless{Query: tc.query, Seq: tc.after}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
