package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

// A feed is what a follower in a goroutine of its own has yielded.
type feed struct {
	events chan event.Event
	end    chan error // what ended it; nil when nothing did
}

// startFollow starts a follower.
func startFollow(ctx context.Context, st *batpak.Store, q batpak.Query) feed {
	f := feed{make(chan event.Event, 1<<16), make(chan error, 1)}
	go func() {
		for ev, err := range st.Follow(ctx, q) {
			if err != nil {
				f.end <- err
				return
			}
			f.events <- ev
		}
		f.end <- nil
	}()
	return f
}

// seqs returns the sequences yielded since the last call.
func (f feed) seqs() (seqs []uint64) {
	for {
		select {
		case ev := <-f.events:
			seqs = append(seqs, ev.Seq)
		default:
			return seqs
		}
	}
}

func TestFollowGoesOn(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				st := openAt(t, t.TempDir(), &batpak.Options{Sync: mode})
				appendN(t, st, 3)
				f := startFollow(ctx, st, batpak.Query{After: 1})
				synctest.Wait()
				checkSeqs(t, "history", f.seqs(), 2, 3)
				appendN(t, st, 2)
				synctest.Wait()
				checkSeqs(t, "live", f.seqs(), 4, 5)
				cancel()
				if err := <-f.end; !errors.Is(err, batpak.ErrCanceled) || !errors.Is(err, context.Canceled) {
					t.Errorf("ended with %v", err)
				}
				mustClose(t, st)
			})
		})
	}
}

// storeInMem opens a store in memory; before, unless it is nil, decides on each call to the file system.
func storeInMem(t *testing.T, o batpak.Options, before func(vfs.Call) vfs.Decision) (*batpak.Store, *vfs.Mem) {
	t.Helper()
	mem := vfs.NewMem()
	o.SetFS(mem)
	if before != nil {
		o.SetFS(vfs.Inject(mem, before))
	}
	return openAt(t, vfs.MemDir, &o), mem
}

// Each way in which following ends, with nothing to do and with history to read first.
func TestFollowEnds(t *testing.T) {
	cause := errors.New("enough")
	for _, tt := range []struct {
		name string
		q    batpak.Query
		end  func(t *testing.T, st *batpak.Store, cancel context.CancelCauseFunc)
		want []error // nil: no error
		seqs []uint64
	}{
		{"context", batpak.Query{}, func(_ *testing.T, _ *batpak.Store, cancel context.CancelCauseFunc) { cancel(cause) },
			[]error{batpak.ErrCanceled, cause}, []uint64{1, 2, 3}},
		{"deadline", batpak.Query{}, func(*testing.T, *batpak.Store, context.CancelCauseFunc) { <-time.After(2 * time.Minute) },
			[]error{batpak.ErrCanceled, context.DeadlineExceeded}, []uint64{1, 2, 3}},
		{"close", batpak.Query{}, func(t *testing.T, st *batpak.Store, _ context.CancelCauseFunc) { mustClose(t, st) },
			[]error{batpak.ErrClosed}, []uint64{1, 2, 3}},
		{"limit in history", batpak.Query{Limit: 2}, nil, nil, []uint64{1, 2}},
		{"limit of history", batpak.Query{Limit: 3}, nil, nil, []uint64{1, 2, 3}},
		{"limit", batpak.Query{Limit: 5}, func(t *testing.T, st *batpak.Store, _ context.CancelCauseFunc) { appendN(t, st, 3) },
			nil, []uint64{1, 2, 3, 4, 5}},
		{"before in history", batpak.Query{Before: 3}, nil, nil, []uint64{1, 2}},
		{"before of history", batpak.Query{Before: 4}, nil, nil, []uint64{1, 2, 3}},
		{"before", batpak.Query{Before: 6}, func(t *testing.T, st *batpak.Store, _ context.CancelCauseFunc) { appendN(t, st, 4) },
			nil, []uint64{1, 2, 3, 4, 5}},
		{"before, and nothing to yield", batpak.Query{Entity: "nobody", Before: 6},
			func(t *testing.T, st *batpak.Store, _ context.CancelCauseFunc) { appendN(t, st, 2) }, nil, nil},
		{"before the position", batpak.Query{After: 9, Before: 9}, nil, nil, nil},
		{"before is the next", batpak.Query{After: 9, Before: 10}, nil, nil, nil},
		{"end of time, and nothing to yield", batpak.Query{Entity: "nobody", ToHLC: event.HLC(testEpoch) << 16},
			func(t *testing.T, st *batpak.Store, _ context.CancelCauseFunc) { appendN(t, st, 1) }, nil, nil},
		{"end of time in history", batpak.Query{ToHLC: 1}, nil, nil, nil},
		{"end of time at the position", batpak.Query{After: 3, ToHLC: 1}, nil, nil, nil},
		{"end of time in front of the position", batpak.Query{After: 99, ToHLC: 1}, nil, nil, nil},
	} {
		for _, readOnly := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, read-only %v", tt.name, readOnly), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					followEnds(t, tt.q, readOnly, tt.end, tt.want, tt.seqs)
				})
			})
		}
	}
}

func followEnds(
	t *testing.T, q batpak.Query, readOnly bool, end func(*testing.T, *batpak.Store, context.CancelCauseFunc), want []error,
	seqs []uint64,
) {
	t.Helper()
	// The clock is behind the end of time until history is written.
	wall := int64(testEpoch - 1000)
	if q.ToHLC == 1 {
		wall = testEpoch
	}
	st, mem := storeInMem(t, batpak.Options{Clock: func() time.Time { return time.UnixMilli(wall) }}, nil)
	appendN(t, st, 3)
	wall = testEpoch
	shows := st
	if readOnly {
		o := &batpak.Options{ReadOnly: true}
		o.SetFS(mem)
		shows = openAt(t, vfs.MemDir, o)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	f := startFollow(ctx, shows, q)
	synctest.Wait()
	switch {
	case end != nil && len(want) > 0 && readOnly:
		end(t, shows, cancel) // whatever ends it here
	case end != nil:
		end(t, st, cancel)
	}
	err := <-f.end
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("ended with %v, want %v", err, w)
		}
	}
	if len(want) == 0 && err != nil {
		t.Errorf("ended with %v", err)
	}
	checkSeqs(t, "yielded", f.seqs(), seqs...)
	if st.Followed() {
		t.Error("appends still look for followers")
	}
	mustClose(t, shows)
	mustClose(t, st)
}

func TestFollowRefusesReverse(t *testing.T) {
	st, _ := storeInMem(t, batpak.Options{}, nil)
	defer mustClose(t, st)
	for _, tt := range []struct {
		field string
		q     batpak.Query
	}{{"Reverse", batpak.Query{Reverse: true}}, {"Limit", batpak.Query{Limit: -1}}, {"Entity", batpak.Query{Entity: "\x00"}}} {
		n := 0
		for _, err := range st.Follow(t.Context(), tt.q) {
			var draft *batpak.DraftError
			if n++; !errors.As(err, &draft) || draft.Field != tt.field {
				t.Errorf("%s: %v", tt.field, err)
			}
		}
		if n != 1 {
			t.Errorf("%s: %d steps", tt.field, n)
		}
	}
}

// A store whose writer has failed shows everything that is visible, and then why nothing will come: to those who wait
// and to those who come later.
func TestFollowPoisoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := false
		st, _ := storeInMem(t, batpak.Options{}, func(c vfs.Call) vfs.Decision {
			if fail && c.Kind == vfs.OpSync {
				return vfs.Decision{Err: syscall.EIO}
			}
			return vfs.Decision{}
		})
		appendN(t, st, 3)
		waits := startFollow(t.Context(), st, batpak.Query{})
		idle := startFollow(t.Context(), st, batpak.Query{Entity: "nobody"})
		synctest.Wait()
		fail = true
		if _, err := st.Append(t.Context(), plain("x")); !errors.Is(err, batpak.ErrPoisoned) {
			t.Fatalf("append: %v", err)
		}
		late := startFollow(t.Context(), st, batpak.Query{After: 1})
		for _, f := range []feed{waits, idle, late} {
			var failed *batpak.WriteError
			if err := <-f.end; !errors.As(err, &failed) || !failed.Poisoned || !errors.Is(err, syscall.EIO) {
				t.Errorf("ended with %v", err)
			}
		}
		checkSeqs(t, "who waited", waits.seqs(), 1, 2, 3)
		checkSeqs(t, "who came later", late.seqs(), 2, 3)
		_ = st.Close() // says the same
	})
}

// Close does not wait for the disk before it tells followers.
func TestFollowEndsBeforeCloseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		closing := false
		st, _ := storeInMem(t, batpak.Options{Sync: batpak.SyncNever}, func(c vfs.Call) vfs.Decision {
			if closing && c.Kind == vfs.OpSync {
				<-hold
			}
			return vfs.Decision{}
		})
		appendN(t, st, 1)
		f := startFollow(t.Context(), st, batpak.Query{})
		synctest.Wait()
		closing = true
		closed := make(chan error, 1)
		go func() { closed <- st.Close() }()
		synctest.Wait()
		select {
		case err := <-f.end:
			if !errors.Is(err, batpak.ErrClosed) {
				t.Errorf("ended with %v", err)
			}
		default:
			t.Error("still waits")
		}
		close(hold)
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// What a fence stages is seen when it commits, with everything behind it, and never when it is cancelled.
func TestFollowFences(t *testing.T) {
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprint("commits ", commits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st, _ := storeInMem(t, batpak.Options{}, nil)
				defer mustClose(t, st)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				f := startFollow(ctx, st, batpak.Query{Entity: "plain"})
				synctest.Wait()
				fence, err := st.Fence(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := fence.Append(t.Context(), plain("staged")); err != nil {
					t.Fatal(err)
				}
				appendN(t, st, 2)
				late := startFollow(ctx, st, batpak.Query{})
				synctest.Wait()
				checkSeqs(t, "fence open", append(f.seqs(), late.seqs()...))
				end, want := fence.Commit, []uint64{1, 2, 3}
				if !commits {
					end, want = fence.Cancel, want[1:]
				}
				if err := end(t.Context()); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				checkSeqs(t, "who waited", f.seqs(), want...)
				checkSeqs(t, "who came while the fence was open", late.seqs(), want...)
				cancel()
				<-f.end
				<-late.end
			})
		})
	}
}

// A follower that is busy misses nothing, and one that breaks off leaves nothing behind.
func TestFollowSlowly(t *testing.T) {
	st, _ := storeInMem(t, batpak.Options{SegmentSize: smallSegment}, nil)
	defer mustClose(t, st)
	appendN(t, st, 1)
	want := uint64(1)
	for ev, err := range st.Follow(t.Context(), batpak.Query{Borrow: true}) {
		if err != nil || ev.Seq != want {
			t.Fatalf("event %d, %v, want %d", ev.Seq, err, want)
		}
		if want++; want == 300 {
			break
		}
		appendN(t, st, int(want%3)) // while nobody waits
	}
	if st.Followed() {
		t.Error("appends still look for followers")
	}
}

// An event that nobody will see ends time, too: what comes is later still.
func TestFollowEndOfTimeIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wall := int64(testEpoch - 1000)
		st, _ := storeInMem(t, batpak.Options{Clock: func() time.Time { return time.UnixMilli(wall) }}, nil)
		defer mustClose(t, st)
		appendN(t, st, 1)
		f := startFollow(t.Context(), st, batpak.Query{ToHLC: event.HLC(testEpoch) << 16})
		synctest.Wait()
		wall = testEpoch
		fence, err := st.Fence(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fence.Append(t.Context(), plain("staged")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		checkSeqs(t, "in front", f.seqs(), 1)
		if err := fence.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-f.end:
			if err != nil {
				t.Errorf("ended with %v", err)
			}
		default:
			t.Error("still waits")
			mustClose(t, st)
		}
	})
}

// Whoever is told why following ended is followed no longer, even before the loop body has returned.
func TestFollowLeavesBeforeItsError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _ := storeInMem(t, batpak.Options{}, nil)
		defer mustClose(t, st)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, err := range st.Follow(ctx, batpak.Query{}) {
			if !errors.Is(err, context.DeadlineExceeded) || st.Followed() {
				t.Errorf("%v; appends still look for followers: %v", err, st.Followed())
			}
		}
	})
}

// Every follower is woken for each event that its query selects, and for no other.
func TestFollowersAreWokenForWhatConcernsThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed(t), 3))
		st, _ := storeInMem(t, batpak.Options{SegmentSize: smallSegment}, nil)
		ctx, cancel := context.WithCancel(t.Context())
		var queries []batpak.Query
		var feeds []feed
		for range 100 {
			q := randomFollow(rng)
			queries, feeds = append(queries, q), append(feeds, startFollow(ctx, st, q))
		}
		synctest.Wait()
		w := &followWorld{}
		for range 200 {
			was, want := st.Woken(), uint64(0)
			rcpt, err := st.Append(ctx, w.draft(rng))
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			ev, err := st.EventAt(ctx, rcpt.Seq)
			if err != nil {
				t.Fatal(err)
			}
			for i := range feeds {
				var seqs []uint64
				if matches(&queries[i], &ev) {
					seqs = []uint64{ev.Seq}
					want++
				}
				checkSeqs(t, fmt.Sprintf("%+v", queries[i]), feeds[i].seqs(), seqs...)
			}
			if woken := st.Woken() - was; woken != want {
				t.Fatalf("event %d: %d followers were woken, want %d", ev.Seq, woken, want)
			}
		}
		if n := st.Asleep(); n != len(feeds) {
			t.Errorf("%d followers sleep, want %d", n, len(feeds))
		}
		cancel()
		for _, f := range feeds {
			<-f.end
		}
		if st.Followed() {
			t.Error("appends still look for followers")
		}
		mustClose(t, st)
	})
}

// A thousand followers that nothing is for are not woken, and take no goroutine but their callers'.
func TestIdleFollowersSleep(t *testing.T) {
	st, _ := storeInMem(t, batpak.Options{Sync: batpak.SyncNever}, nil)
	defer mustClose(t, st)
	stop := startIdle(t, st, 1000)
	drafts := benchDrafts(300)
	for i := range drafts {
		if _, err := st.Append(t.Context(), drafts[i]); err != nil {
			t.Fatal(err)
		}
	}
	if woken, asleep := st.Woken(), st.Asleep(); woken != 0 || asleep != 1000 {
		t.Errorf("%d were woken, %d sleep", woken, asleep)
	}
	d := plain("x")
	d.Tags = []string{"customer:3"}
	f := startFollow(t.Context(), st, batpak.Query{After: 299, Limit: 2})
	if _, err := st.Append(t.Context(), d); err != nil { // scope is not the one that number 3 asks for
		t.Fatal(err)
	}
	if err := <-f.end; err != nil {
		t.Error(err)
	}
	if woken := st.Woken(); woken > 1 {
		t.Errorf("%d were woken, want the one that follows everything", woken)
	}
	stop()
	if st.Followed() {
		t.Error("appends still look for followers")
	}
}

// The positions at which one breaks off are where another goes on, in this process or the next.
func TestFollowResumes(t *testing.T) {
	o := batpak.Options{SegmentSize: smallSegment}
	st, mem := storeInMem(t, o, nil)
	o.SetFS(mem)
	var got []uint64
	for last := uint64(0); last < 100; {
		appendN(t, st, 7)
		for ev, err := range st.Follow(t.Context(), batpak.Query{After: last, Limit: 5}) {
			if err != nil {
				t.Fatal(err)
			}
			last = ev.Seq
			got = append(got, last)
		}
		mustClose(t, st)
		st = openAt(t, vfs.MemDir, &o)
	}
	mustClose(t, st)
	for i, seq := range got {
		if seq != uint64(i+1) {
			t.Fatalf("event %d at place %d", seq, i)
		}
	}
}

// A follower for whoever keeps positions sees what is durable, and asks for the sync where nobody else would.
func TestFollowDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever} {
			st, _ := storeInMem(t, batpak.Options{Sync: mode, SyncEvery: time.Hour}, nil)
			ctx, cancel := context.WithCancel(t.Context())
			var seqs []uint64
			ended := make(chan error, 1)
			go func() {
				ended <- st.FollowDurable(ctx, batpak.Query{Entity: "plain"}, func(ev event.Event) bool {
					if durable := st.Frontier().Durable; ev.Seq > durable {
						t.Errorf("%v: event %d is shown, durable is %d", mode, ev.Seq, durable)
					}
					seqs = append(seqs, ev.Seq)
					return true
				})
			}()
			for range 3 {
				synctest.Wait()
				appendN(t, st, 2)
			}
			synctest.Wait()
			cancel()
			if err := <-ended; !errors.Is(err, batpak.ErrCanceled) {
				t.Errorf("%v: ended with %v", mode, err)
			}
			if !slices.Equal(seqs, []uint64{1, 2, 3, 4, 5, 6}) {
				t.Errorf("%v: %d", mode, seqs)
			}
			mustClose(t, st)
		}
	})
}

// appendN appends n events.
func appendN(t *testing.T, st *batpak.Store, n int) {
	t.Helper()
	for range n {
		if _, err := st.Append(t.Context(), plain("x")); err != nil {
			t.Fatal(err)
		}
	}
}

// checkSeqs compares what was yielded.
func checkSeqs(t *testing.T, what string, got []uint64, want ...uint64) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%s: %d, want %d", what, got, want)
		return
	}
	for i := range got {
		if got[i] != want[i] {
			t.Errorf("%s: %d, want %d", what, got, want)
			return
		}
	}
}
