package batpak_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/internal/vfs"
)

// R9: a read lost rows when a compaction removed files between its look-up and its read. A follower that is slower than
// everything around it reads from views, and from whatever has taken the place of its files; see also
// TestReaderFollowsOverRecovery.
func TestReadWeakness09_FilesGoWhileOneReads(t *testing.T) {
	st, mem := storeInMem(t, batpak.Options{SegmentSize: smallSegment}, nil)
	fillStore(t, st, 100)
	st.WaitIdle()
	r := readerOf(t, mem)
	defer mustClose(t, r)
	n := uint64(0)
	for ev, err := range r.Follow(t.Context(), batpak.Query{}) {
		if err != nil || ev.Seq != n+1 {
			t.Fatalf("behind event %d: %d, %v", n, ev.Seq, err)
		}
		if n++; n == 200 {
			break
		}
		if n%20 != 10 {
			continue
		}
		mustClose(t, st)
		cutFooters(mem) // and the next open makes them anew
		for _, name := range []string{snapshotFile, checkpointFile} {
			mem.DeleteFile(name)
		}
		o := &batpak.Options{SegmentSize: smallSegment}
		o.SetFS(mem)
		st = openAt(t, vfs.MemDir, o)
		fillStore(t, st, 10)
	}
	mustClose(t, st)
}

// R10: an event that was committed between "the page is empty" and "this is the position" was jumped over.
func TestReadWeakness10_NothingBetweenLookAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _ := storeInMem(t, batpak.Options{}, nil)
		ctx, other := t.Context(), plain("x")
		other.Tags = []string{"other"}
		f, err := st.NewFollower(batpak.Query{Tags: []string{"wanted"}})
		if err != nil {
			t.Fatal(err)
		}
		wanted := plain("x")
		wanted.Tags = []string{"wanted"}
		for round := range uint64(50) {
			if seqs, at, err := f.Pull(ctx); len(seqs) > 0 || at != 3*round || err != nil {
				t.Fatalf("page %d: %d up to %d, %v", round, seqs, at, err)
			}
			for _, d := range []batpak.Draft{other, wanted, other} { // behind the page, before the wait
				if _, err := st.Append(ctx, d); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Wait(ctx); err != nil { // in the bubble, waiting for ever is a failure
				t.Fatal(err)
			}
			if seqs, at, err := f.Pull(ctx); !slices.Equal(seqs, []uint64{3*round + 2}) || at != 3*round+3 || err != nil {
				t.Fatalf("round %d: %d up to %d, %v", round, seqs, at, err)
			}
		}
		f.Close()
		mustClose(t, st)
	})
}

// R21: events were cloned for each subscriber on the writer. Here a follower that does not come on makes no append
// allocate more, however many there are.
func TestReadWeakness21_SlowFollowersCostTheWriterNothing(t *testing.T) {
	if racing {
		t.Skip("NOT TESTED under the race detector: what appends allocate beside followers: it allocates")
	}
	st, _ := storeInMem(t, batpak.Options{Sync: batpak.SyncNever}, nil)
	appends := func() float64 {
		return testing.AllocsPerRun(300, func() {
			if _, err := st.Append(t.Context(), plain("x")); err != nil {
				t.Error(err)
			}
		})
	}
	appendN(t, st, 1)
	alone := appends()
	stuck := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	const n = 50
	came, went := make(chan struct{}, n), make(chan struct{}, n)
	for range n {
		go func() {
			for range st.Follow(ctx, batpak.Query{After: st.Visible() - 1, Entity: "plain"}) {
				came <- struct{}{}
				<-stuck
			}
			went <- struct{}{}
		}()
		<-came
	}
	if beside := appends(); beside > alone+0.5 {
		t.Errorf("an append allocates %.1f times beside %d stuck followers, %.1f alone", beside, n, alone)
	}
	cancel()
	close(stuck)
	for range n {
		for done := false; !done; {
			select {
			case <-came:
			case <-went:
				done = true
			}
		}
	}
	mustClose(t, st)
}

// R25: following ended without a reason, could not be cancelled, and could not be resumed. The reasons are in
// TestFollowEnds, TestFollowPoisoned and TestReaderFollowsRolledBack; each comes with a place to go on from.
func TestReadWeakness25_EndsSayWhyAndWhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _ := storeInMem(t, batpak.Options{}, nil)
		last := uint64(0)
		for range 5 {
			appendN(t, st, 3)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			f := startFollow(ctx, st, batpak.Query{After: last})
			if err := <-f.end; err == nil {
				t.Error("ended without a reason")
			}
			checkSeqs(t, "since the last end", f.seqs(), last+1, last+2, last+3)
			last += 3
			cancel()
		}
		mustClose(t, st)
	})
}

// R32: a store was read by one process at a time, and none could follow the writer.
func TestReadWeakness32_ManyReadersFollowOneWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, mem := storeInMem(t, batpak.Options{SegmentSize: smallSegment}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var readers []*batpak.Store
		var feeds []feed
		for range 4 {
			r := readerOf(t, mem)
			readers = append(readers, r)
			feeds = append(feeds, startFollow(ctx, r, batpak.Query{}))
		}
		fillStore(t, st, 100)
		<-time.After(time.Second)
		for _, f := range feeds {
			if got := f.seqs(); len(got) != 100 || got[0] != 1 || got[99] != 100 {
				t.Errorf("a reader has %d", got)
			}
		}
		cancel()
		for i, f := range feeds {
			<-f.end
			mustClose(t, readers[i])
		}
		mustClose(t, st)
	})
}
