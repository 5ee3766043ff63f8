package batpak_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"batpak"
)

// BenchmarkAppendSigned is 64 goroutines, or one, that each wait for stable storage and a receipt, with and without
// signatures.
func BenchmarkAppendSigned(b *testing.B) {
	for _, goroutines := range []int{64, 1} {
		for name, o := range map[string]batpak.Options{"unsigned": {}, "signed": signedBy(1)} {
			b.Run(fmt.Sprintf("%d/%s", goroutines, name), func(b *testing.B) {
				st, drafts := benchStore(b, &o), benchDrafts(10_000)
				b.SetBytes(int64(benchFrame))
				b.ReportAllocs()
				if goroutines == 1 {
					for i := 0; b.Loop(); i++ {
						if _, err := st.Append(b.Context(), drafts[i%len(drafts)]); err != nil {
							b.Fatal(err)
						}
					}
					perSecond(b, 1)
					return
				}
				b.SetParallelism(goroutines / 2)
				appendParallel(b, st, drafts)
			})
		}
	}
}

// BenchmarkReceipt is what can be done with a receipt.
func BenchmarkReceipt(b *testing.B) {
	o := signedBy(1)
	st, drafts := benchStore(b, &o), benchDrafts(64)
	rcpts, err := st.AppendBatch(b.Context(), drafts)
	if err != nil {
		b.Fatal(err)
	}
	r, rules := rcpts[9], batpak.ReceiptRules{Keys: publicKeys(1)}
	for name, do := range map[string]func() error{
		"MarshalBinary":      func() error { return second(r.MarshalBinary()) },
		"MarshalJSON":        func() error { return second(r.MarshalJSON()) },
		"VerifyReceipt":      func() error { return batpak.VerifyReceipt(r, rules) },
		"SignReceipt":        func() error { return second(st.SignReceipt(b.Context(), r)) },
		"StoreVerifyReceipt": func() error { return st.VerifyReceipt(b.Context(), r) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppendSignedRatio takes turns between a store that signs and one that does not, 64 goroutines each, so that
// what else the machine does meets both: it reports the throughput of the first as a part of the second's.
func BenchmarkAppendSignedRatio(b *testing.B) {
	const goroutines, each = 64, 100
	o := signedBy(1)
	stores := [2]*batpak.Store{benchStore(b, nil), benchStore(b, &o)}
	drafts := benchDrafts(10_000)
	var took [2]time.Duration
	for b.Loop() {
		for i, st := range stores {
			started := time.Now()
			var all sync.WaitGroup
			for g := range goroutines {
				all.Go(func() {
					for n := range each {
						if _, err := st.Append(b.Context(), drafts[(g*each+n)%len(drafts)]); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			took[i] += time.Since(started)
		}
	}
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "signed/unsigned")
	b.ReportMetric(float64(b.N*goroutines*each)/took[1].Seconds(), "signed-events/s")
}
