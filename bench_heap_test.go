package batpak_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"batpak"
)

// BenchmarkHeap opens a store of sealed events, serves every one of them once and some by ID, and reports how much
// heap that holds on to: it must not grow with the store. Ten million events take BATPAK_NIGHT=1 and 5 GB of disk.
func BenchmarkHeap(b *testing.B) {
	sizes := []int{100_000, 1_000_000}
	if os.Getenv("BATPAK_NIGHT") != "" {
		sizes = append(sizes, 10_000_000)
	}
	for _, n := range sizes {
		b.Run(fmt.Sprintf("events=%d", n), func(b *testing.B) { benchHeap(b, n) })
	}
}

func benchHeap(b *testing.B, n int) {
	dir := filepath.Join(b.TempDir(), "store")
	ids := writeBench(b, dir, n, false)
	before := heapInUse()
	began := time.Now()
	st, err := batpak.Open(dir, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	opened := time.Since(began)
	for b.Loop() {
		seen := 0
		for _, err := range st.Read(b.Context(), batpak.Query{Borrow: true}) {
			if err != nil {
				b.Fatal(err)
			}
			seen++
		}
		for i := 0; i < len(ids); i += 1000 {
			if _, err := st.Event(b.Context(), ids[i]); err != nil {
				b.Fatal(err)
			}
		}
		if seen < n {
			b.Fatalf("read %d events of %d", seen, n)
		}
	}
	b.ReportMetric(float64(heapInUse()-before)/(1<<20), "heap-MiB")
	runtime.KeepAlive(ids) // counted before, so counted after
	b.ReportMetric(float64(st.Stats().Active)/(1<<20), "active-MiB")
	b.ReportMetric(float64(opened.Microseconds())/1000, "open-ms")
	b.ReportMetric(float64(st.Stats().Bytes)/float64(n), "disk-B/event")
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
