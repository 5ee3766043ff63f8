package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// The weaknesses of reads that queries must not have; TestWorkOfPages, TestWorkOfRanges and TestWorkOfCounts of package
// index, and TestQueryIsWhatANaiveFilterSelects, cover the others.

// The latest event of a stream is the last one that is visible: behind an open fence, and behind a cancelled one.
func TestReadWeakness04_LatestIsTheLastVisible(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	defer st.Close()
	ctx, at := t.Context(), coordinate.MustNew("e", "s")
	draft := batpak.Draft{Coordinate: at, Kind: event.MustKind(1, 1)}
	shown, err := st.Append(ctx, draft)
	if err != nil {
		t.Fatal(err)
	}
	f, err := st.Fence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 40 {
		if _, err := f.Append(ctx, draft); err != nil {
			t.Fatal(err)
		}
	}
	latest := func(when string) {
		t.Helper()
		got, err := collect(st, batpak.Query{Entity: "e", Reverse: true, Limit: 1})
		if err != nil || len(got) != 1 || got[0].Seq != shown.Seq {
			t.Errorf("%s: %d events, %v, want event %d", when, len(got), err, shown.Seq)
		}
		if n, err := st.Count(ctx, batpak.Query{Entity: "e"}); n != 1 || err != nil {
			t.Errorf("%s: Count = %d, %v, want 1", when, n, err)
		}
	}
	latest("while the fence is open")
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	latest("after it was cancelled")
}

// Events that stand together are read together: neither one call for each, nor a pass over what was not asked for.
func TestReadWeakness18_EventsAreReadTogether(t *testing.T) {
	var reads atomic.Int64
	fs := vfs.Inject(vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRead {
			reads.Add(1)
		}
		return vfs.Decision{}
	})
	o := batpak.Options{Sync: batpak.SyncNever, IndexEvery: 1 << 30}
	o.SetFS(fs)
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	const events = 2000
	drafts := make([]batpak.Draft, events)
	for i := range drafts {
		drafts[i] = batpak.Draft{Coordinate: coordinate.MustNew(fmt.Sprintf("e:%d", i%2), "s"), Kind: event.MustKind(1, 1)}
	}
	if _, err := st.AppendBatch(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	st.WaitIdle()
	for _, q := range []batpak.Query{{}, {Reverse: true}, {Entity: "e:1"}, {Entity: "e:1", Reverse: true}, {EntityPrefix: "e:"}} {
		before := reads.Load()
		got, err := collect(st, q)
		if err != nil || len(got) < events/2 {
			t.Fatalf("%+v: %d events, %v", q, len(got), err)
		}
		if n := reads.Load() - before; n > int64(len(got)/20) {
			t.Errorf("%+v: %d reads for %d events, want far fewer", q, n, len(got))
		}
	}
}

// A read allocates one object for a plain event, and none when it borrows, whatever the event has.
func TestReadWeakness20_HitsAreNotCloned(t *testing.T) {
	st := openAt(t, t.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
	defer st.Close()
	const events = 1000
	drafts := make([]batpak.Draft, events)
	for i := range drafts {
		drafts[i] = batpak.Draft{Coordinate: coordinate.MustNew("plain", "s"), Kind: event.MustKind(1, 1), Payload: []byte("payload")}
		if i%2 == 1 {
			drafts[i].Coordinate = coordinate.MustNew("rich", "s")
			drafts[i].Tags, drafts[i].Extensions = []string{"x", "y", "z"}, map[string][]byte{"k": []byte("v")}
		}
	}
	if _, err := st.AppendBatch(t.Context(), drafts); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		q    batpak.Query
		most float64
	}{
		{batpak.Query{Entity: "plain", Borrow: true}, 0},
		{batpak.Query{Entity: "rich", Borrow: true}, 0},
		{batpak.Query{Entity: "plain"}, 1},
		{batpak.Query{Borrow: true}, 0},
	} {
		n := 0
		allocs := testing.AllocsPerRun(3, func() {
			n = 0
			for _, err := range st.Read(context.Background(), tt.q) {
				if err != nil {
					t.Fatal(err)
				}
				n++
			}
		})
		const fixed = 40 // of the read as a whole
		if per := max(0, allocs-fixed) / float64(n); n < events/2 || per > tt.most {
			t.Errorf("%+v: %.2f allocations for each of %d events, want %v", tt.q, per, n, tt.most)
		}
	}
}

// The store's own events are read by who asks for them, and opening a store adds none.
func TestReadWeakness24_SystemEventsAreAskedFor(t *testing.T) {
	l := newQueryLog(t)
	ctx := t.Context()
	l.add(12)
	d := l.draft()
	d.Tags, d.RecordDenial = []string{"deny"}, true
	var denied *batpak.DeniedError
	if _, err := l.st.Append(ctx, d); !errors.As(err, &denied) || denied.Receipt == nil {
		t.Fatal(err)
	}
	counts := func() (all, system, category uint64) {
		t.Helper()
		for _, c := range []struct {
			q batpak.Query
			n *uint64
		}{{batpak.Query{}, &all}, {batpak.Query{System: true}, &system}, {batpak.Query{Categories: []int{event.CategoryEffect}}, &category}} {
			n, err := l.st.Count(ctx, c.q)
			got, readErr := collect(l.st, c.q)
			if err != nil || readErr != nil || n != uint64(len(got)) {
				t.Fatalf("Count(%+v) = %d, %v, want %d, %v", c.q, n, err, len(got), readErr)
			}
			*c.n = n
		}
		return all, system, category
	}
	all, system, category := counts()
	if category == 0 || all+category != system {
		t.Errorf("%d events, %d with the store's own, %d of those", all, system, category)
	}
	l.open()
	if a, s, c := counts(); a != all || s != system || c != category {
		t.Errorf("opened again: %d, %d, %d events, want %d, %d, %d", a, s, c, all, system, category)
	}
}
