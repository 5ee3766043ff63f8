package batpak_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/event"
	"batpak/internal/vfs"
)

// countedReader opens the store in mem read-only and counts its calls to the file system.
func countedReader(t *testing.T, mem *vfs.Mem, every time.Duration) (*batpak.Store, *atomic.Int64) {
	t.Helper()
	calls := new(atomic.Int64)
	o := &batpak.Options{ReadOnly: true, FollowEvery: every}
	o.SetFS(vfs.Inject(mem, func(vfs.Call) vfs.Decision { calls.Add(1); return vfs.Decision{} }))
	return openAt(t, vfs.MemDir, o), calls
}

// The followers of a read-only store look by turns, as often as the options say, and less often while nothing comes.
func TestReaderFollowsByTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const every = 10 * time.Millisecond
		st, mem := storeInMem(t, batpak.Options{SegmentSize: smallSegment}, nil)
		appendN(t, st, 2)
		looks := map[int]int64{}
		for _, n := range []int{1, 100} {
			r, calls := countedReader(t, mem, every)
			ctx, cancel := context.WithCancel(t.Context())
			var feeds []feed
			for i := range n {
				q := batpak.Query{After: st.Visible()}
				if i%2 == 1 {
					q.Entity = "nobody"
				}
				feeds = append(feeds, startFollow(ctx, r, q))
			}
			<-time.After(time.Second)
			calls.Store(0)
			<-time.After(10 * time.Second)
			looks[n] = calls.Load()
			appendN(t, st, 1)
			for range 100 { // something comes all the time: every look finds it
				<-time.After(2 * every)
				appendN(t, st, 1)
				was := time.Now()
				ev := <-feeds[0].events
				if ev.Seq == st.Visible() && time.Since(was) > every {
					t.Errorf("event %d took %v", ev.Seq, time.Since(was))
				}
			}
			<-time.After(10 * every)
			last := st.Visible()
			for i, f := range feeds {
				seqs := f.seqs()
				if i%2 == 0 && (len(seqs) == 0 || seqs[len(seqs)-1] != last) || i%2 == 1 && len(seqs) > 0 {
					t.Errorf("follower %d has %d, the last event is %d", i, seqs, last)
				}
			}
			cancel()
			for _, f := range feeds {
				if err := <-f.end; !errors.Is(err, batpak.ErrCanceled) {
					t.Errorf("ended with %v", err)
				}
			}
			mustClose(t, r)
		}
		if looks[1] == 0 || looks[100] > looks[1]+looks[1]/5 {
			t.Errorf("100 followers make %d calls, one makes %d", looks[100], looks[1])
		}
		if looks[1] > 10*int64(10*time.Second/(8*every)) {
			t.Errorf("%d calls in 10 s while nothing comes", looks[1])
		}
		mustClose(t, st)
	})
}

// A reader whose directory went back says so, and shows what it had until then.
func TestReaderFollowsRolledBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := batpak.Options{SegmentSize: smallSegment}
		st, mem := storeInMem(t, o, nil)
		o.SetFS(mem)
		fillStore(t, st, 30)
		mustClose(t, st)
		backup := mem.Files()
		st = openAt(t, vfs.MemDir, &o)
		r, _ := countedReader(t, mem, time.Millisecond)
		f := startFollow(t.Context(), r, batpak.Query{})
		fillStore(t, st, 50)
		mustClose(t, st)
		<-time.After(time.Second)
		if n := len(f.seqs()); n != 80 {
			t.Errorf("%d events, want 80", n)
		}
		for name := range mem.Files() {
			mem.DeleteFile(name)
		}
		for name, b := range backup {
			mem.SetFile(name, b)
		}
		var missing *coldstart.TailMissingError
		if err := <-f.end; !errors.As(err, &missing) {
			t.Errorf("the log is shorter: %v", err)
		}
		st = openAt(t, vfs.MemDir, &o)
		fillStore(t, st, 90)
		mustClose(t, st)
		var other *coldstart.HeadMismatchError
		for _, err := range r.Follow(t.Context(), batpak.Query{After: 80}) {
			if !errors.As(err, &other) {
				t.Errorf("the log is another one: %v", err)
			}
		}
		mustClose(t, r)
	})
}

// A slow follower goes on while the writer dies, recovery moves what it had written to other files, and footers are
// made anew.
func TestReaderFollowsOverRecovery(t *testing.T) {
	rig := newRig(batpak.Options{Sync: batpak.SyncNever})
	if err := rig.open(); err != nil {
		t.Fatal(err)
	}
	appendRig(t, rig, 1)
	r := readerOf(t, rig.mem)
	defer mustClose(t, r)
	var got []uint64
	for ev, err := range r.Follow(t.Context(), batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, ev.Seq); len(got) == 120 {
			break
		}
		switch len(got) % 30 {
		case 10: // what was written and not synced
			rig.kill()
			if err := rig.open(); err != nil {
				t.Fatal(err)
			}
		case 20:
			if err := rig.close(); err != nil {
				t.Fatal(err)
			}
			cutFooters(rig.mem)
			if err := rig.open(); err != nil {
				t.Fatal(err)
			}
		}
		appendRig(t, rig, 1+len(got)%2)
	}
	want, err := collect(rig.st, batpak.Query{})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want[:len(got)], func(seq uint64, ev event.Event) bool { return seq == ev.Seq }) {
		t.Errorf("got %d", got)
	}
	if r.Builds() == 0 {
		t.Error("no file was replaced: this tests nothing")
	}
	if err := rig.close(); err != nil {
		t.Fatal(err)
	}
}

// A slow follower goes on while segments that it has read, reads and will read are compacted beside it. Whether it meets
// one that it must build anew for depends on when the background seals: it is run until that was seen.
func TestReaderFollowsOverCompaction(t *testing.T) {
	builds := uint64(0)
	for try := 0; builds == 0 && try < 30; try++ {
		builds = followOverCompactions(t)
	}
	if builds == 0 {
		t.Error("nothing was ever built anew: this tests nothing")
	}
}

// followOverCompactions returns how often the reader was built anew.
func followOverCompactions(t *testing.T) (builds uint64) {
	t.Helper()
	rig := newRig(batpak.Options{SegmentSize: smallSegment})
	if err := rig.open(); err != nil {
		t.Fatal(err)
	}
	appendRig(t, rig, 60)
	r := readerOf(t, rig.mem)
	defer mustClose(t, r)
	var got []uint64
	rewritten := uint64(0)
	for ev, err := range r.Follow(t.Context(), batpak.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, ev.Seq); len(got) == 120 {
			break
		}
		appendRig(t, rig, 1)
		if len(got)%10 == 5 {
			rig.st.WaitIdle()
			rewritten++
			if err := rig.st.Rewrite(t.Context(), rewritten); err != nil {
				t.Fatalf("segment %d: %v", rewritten, err)
			}
			rig.kill()
			if err := rig.open(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want, err := collect(rig.st, batpak.Query{})
	if err != nil || len(want) < len(got) {
		t.Fatalf("%d events, %v", len(want), err)
	}
	for i, seq := range got {
		if seq != want[i].Seq {
			t.Fatalf("event %d has sequence %d, want %d", i, seq, want[i].Seq)
		}
	}
	if rewritten < 10 {
		t.Errorf("%d compactions: this tests nothing", rewritten)
	}
	if err := rig.close(); err != nil {
		t.Fatal(err)
	}
	return r.Builds()
}

func appendRig(t *testing.T, r *rig, n int) {
	t.Helper()
	for range n {
		if _, err := r.append(r.draft(streamA, 300)); err != nil {
			t.Fatal(err)
		}
	}
}
