package batpak_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"batpak"
)

// BenchmarkAppendKeyed appends with an idempotency key and without, by turns and to two stores, so that both meet the
// same disk and the same clock. ratio is what a keyed append costs, in plain ones.
func BenchmarkAppendKeyed(b *testing.B) {
	for _, mode := range []struct {
		name string
		sync batpak.SyncMode
		n    int // drafts in a batch; 1 for Append
	}{
		{"durable", batpak.SyncAlways, 1}, {"durable/batch=100", batpak.SyncAlways, 100},
		{"never", batpak.SyncNever, 1}, {"never/batch=100", batpak.SyncNever, 100}, {"never/batch=1000", batpak.SyncNever, 1000},
	} {
		b.Run(mode.name, func(b *testing.B) {
			o := &batpak.Options{Sync: mode.sync}
			plain := &keyedBench{st: benchStore(b, o), drafts: benchDrafts(10_000), n: mode.n}
			keyed := &keyedBench{st: benchStore(b, o), drafts: benchDrafts(10_000), n: mode.n, keyed: true}
			for b.Loop() {
				plain.step(b)
				keyed.step(b)
			}
			b.ReportMetric(float64(plain.spent)/float64(b.N*mode.n), "plain-ns")
			b.ReportMetric(float64(keyed.spent)/float64(b.N*mode.n), "keyed-ns")
			b.ReportMetric(float64(keyed.spent)/float64(plain.spent), "ratio")
		})
	}
}

// A keyedBench is one of the two stores.
type keyedBench struct {
	st     *batpak.Store
	drafts []batpak.Draft
	n      int
	keyed  bool

	at    int // next draft
	key   uint64
	spent time.Duration
}

// step appends the next draft, or the next batch.
func (k *keyedBench) step(b *testing.B) {
	if k.at += k.n; k.at > len(k.drafts) {
		k.at = k.n
	}
	drafts := k.drafts[k.at-k.n : k.at]
	for i := range drafts {
		if k.keyed {
			k.key++
			drafts[i].IdempotencyKey = binary.BigEndian.AppendUint64([]byte("request-2026-11-"), k.key)
		}
	}
	var err error
	start := time.Now()
	if k.n == 1 {
		_, err = k.st.Append(context.Background(), drafts[0])
	} else {
		_, err = k.st.AppendBatch(context.Background(), drafts)
	}
	k.spent += time.Since(start)
	if err != nil {
		b.Fatal(err)
	}
}
