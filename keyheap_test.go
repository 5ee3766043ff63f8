package batpak_test

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// keyedStore writes n small events to a store in dir, with keys or without, and leaves it open.
func keyedStore(tb testing.TB, dir string, n int, keyed bool) *batpak.Store {
	tb.Helper()
	st, err := batpak.Open(dir, &batpak.Options{Sync: batpak.SyncNever})
	if err != nil {
		tb.Fatal(err)
	}
	drafts := make([]batpak.Draft, 1000)
	for i := range drafts {
		drafts[i] = batpak.Draft{
			Coordinate: coordinate.MustNew(fmt.Sprintf("device:%d", i), "eu"), Kind: event.MustKind(1, 1), Payload: []byte("21.5"),
		}
	}
	for done := 0; done < n; done += len(drafts) {
		for i := range drafts {
			if keyed {
				drafts[i].IdempotencyKey = requestKey(uint64(done + i))
			}
		}
		if _, err := st.AppendBatch(tb.Context(), drafts); err != nil {
			tb.Fatal(err)
		}
	}
	st.WaitIdle()
	return st
}

func requestKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte("request-"), n) }

// keyCosts is what the keys of a store cost.
type keyCosts struct {
	heap            int64         // bytes, more than the same events without keys
	unknown, known  time.Duration // of one look-up
	reopened, cold  time.Duration // of an unknown key, in a store that was opened again: settled, and the first one
	segments        int
	reopenedHeapMiB float64
}

// measureKeys writes n events with keys, and n without, and looks keys up.
func measureKeys(tb testing.TB, n int) (c keyCosts) {
	tb.Helper()
	root := tb.TempDir()
	before := heapInUse()
	plain := keyedStore(tb, filepath.Join(root, "plain"), n, false)
	without := heapInUse() - before
	if err := plain.Close(); err != nil {
		tb.Fatal(err)
	}
	plain = nil
	dir := filepath.Join(root, "keyed")
	before = heapInUse()
	st := keyedStore(tb, dir, n, true)
	c.unknown, c.known = lookUp(tb, st, n, n), lookUp(tb, st, 0, n)
	c.heap, c.segments = heapInUse()-before-without, st.Stats().Segments
	if err := st.Close(); err != nil {
		tb.Fatal(err)
	}
	st = nil
	before = heapInUse()
	again, err := batpak.Open(dir, nil)
	if err != nil {
		tb.Fatal(err)
	}
	defer again.Close()
	start := time.Now()
	if _, err := again.KnowsKey(batpak.HashKey(requestKey(uint64(n)))); err != nil {
		tb.Fatal(err)
	}
	c.cold = time.Since(start)
	c.reopened = lookUp(tb, again, n, n)
	c.reopenedHeapMiB = float64(heapInUse()-before) / (1 << 20)
	return c
}

// lookUp returns what a look-up of one of the keys [first, first+n) costs; below n all are known, above none is.
func lookUp(tb testing.TB, st *batpak.Store, first, n int) time.Duration {
	tb.Helper()
	const times = 100_000
	step := uint64(n)*2/3 | 1
	keys := make([][16]byte, times)
	for i := range keys {
		keys[i] = batpak.HashKey(requestKey(uint64(first) + uint64(i)*step%uint64(n)))
	}
	for _, key := range keys[:times/10] { // filters, and pages that are checked once
		if _, err := st.KnowsKey(key); err != nil {
			tb.Fatal(err)
		}
	}
	start := time.Now()
	for _, key := range keys {
		if known, err := st.KnowsKey(key); err != nil || known != (first < n) {
			tb.Fatal(known, err)
		}
	}
	return time.Since(start) / times
}

// TestKeysTakeLittleHeap: keys are on disk. Ten million take BATPAK_NIGHT=1 and 4 GB of disk.
func TestKeysTakeLittleHeap(t *testing.T) {
	n := sized(200_000, 1_000_000, 10_000_000)
	if racing {
		n = 50_000
	}
	c := measureKeys(t, n)
	if c.heap > 64<<20 {
		t.Errorf("%d keys take %d MiB of heap, want less than 64", n, c.heap>>20)
	}
	if night() && c.unknown > time.Microsecond {
		t.Errorf("an unknown key among %d takes %v, want 1 µs", n, c.unknown)
	}
	t.Logf("%d keys in %d segments: %.1f MiB of heap; unknown key %v, known %v; opened again: first %v, then %v, %.1f MiB",
		n, c.segments, float64(c.heap)/(1<<20), c.unknown, c.known, c.cold, c.reopened, c.reopenedHeapMiB)
}
