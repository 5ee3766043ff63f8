package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/hidden"
	"batpak/internal/vfs"
)

// payloads reads what q selects.
func payloads(t testing.TB, st *batpak.Store, q batpak.Query) (all []string) {
	t.Helper()
	for ev, err := range st.Read(context.Background(), q) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(ev.Payload))
	}
	return all
}

// appendAll appends through a fence, or beside all of them.
func appendAll(t testing.TB, to interface {
	Append(context.Context, batpak.Draft) (batpak.Receipt, error)
}, names ...string) (receipts []batpak.Receipt) {
	t.Helper()
	for _, name := range names {
		rcpt, err := to.Append(context.Background(), plain(name))
		if err != nil {
			t.Fatal(err)
		}
		receipts = append(receipts, rcpt)
	}
	return receipts
}

func openFence(t testing.TB, st *batpak.Store) *batpak.Fence {
	t.Helper()
	f, err := st.Fence(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// shows checks what reads see, in both directions.
func shows(t testing.TB, st *batpak.Store, want ...string) {
	t.Helper()
	if got := payloads(t, st, batpak.Query{}); !slices.Equal(got, want) {
		t.Errorf("reads see %q, want %q", got, want)
	}
	slices.Reverse(want)
	if got := payloads(t, st, batpak.Query{Reverse: true}); !slices.Equal(got, want) {
		t.Errorf("reads backwards see %q, want %q", got, want)
	}
	slices.Reverse(want)
}

func TestFenceHoldsBackUntilCommit(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	appendAll(t, st, "a")
	f := openFence(t, st)
	appendAll(t, st, "b") // nothing is staged yet: nobody waits
	shows(t, st, "a", "b")
	staged := appendAll(t, f, "c", "d")
	beside := appendAll(t, st, "e")
	shows(t, st, "a", "b")
	if f := st.Frontier(); f.Durable != 5 || f.Visible != 2 || st.Stats().Fences != 1 {
		t.Errorf("staged: %+v", f)
	}
	for _, rcpt := range append(staged, beside...) {
		if _, err := st.Event(ctx, rcpt.ID); !errors.Is(err, batpak.ErrNotFound) {
			t.Errorf("event %d: %v", rcpt.Seq, err)
		}
		if _, err := st.EventAt(ctx, rcpt.Seq); !errors.Is(err, batpak.ErrNotFound) {
			t.Errorf("event at %d: %v", rcpt.Seq, err)
		}
	}
	if staged[1].Clock != 4 || staged[1].Parent != staged[0].Hash || beside[0].Parent != staged[1].Hash {
		t.Error("staged events are not links of the chain")
	}
	if err := f.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	shows(t, st, "a", "b", "c", "d", "e")
	if err := f.Commit(ctx); !errors.Is(err, batpak.ErrFenceEnded) {
		t.Errorf("second Commit: %v", err)
	}
	var ended *batpak.FenceError
	if _, err := f.Append(ctx, plain("x")); !errors.As(err, &ended) || !ended.Committed || ended.Fence != f.Number() {
		t.Errorf("Append after Commit: %v", err)
	}
	if err := f.Cancel(ctx); !errors.Is(err, batpak.ErrFenceEnded) {
		t.Errorf("Cancel after Commit: %v", err)
	}
	mustClose(t, st)
	st = openAt(t, dir, nil)
	defer mustClose(t, st)
	shows(t, st, "a", "b", "c", "d", "e")
}

func TestFenceCancelled(t *testing.T) {
	ctx := context.Background()
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, st *batpak.Store, f *batpak.Fence, cancel context.CancelFunc)
	}{
		{"by Cancel", func(t *testing.T, st *batpak.Store, f *batpak.Fence, _ context.CancelFunc) {
			if err := f.Cancel(ctx); err != nil {
				t.Fatal(err)
			}
		}},
		{"by its context", func(t *testing.T, st *batpak.Store, f *batpak.Fence, cancel context.CancelFunc) {
			cancel()
			if err := st.WaitVisible(ctx, 4); err != nil {
				t.Fatal(err)
			}
			if err := f.Commit(ctx); !errors.Is(err, batpak.ErrFenceEnded) || !errors.Is(err, context.Canceled) {
				t.Errorf("Commit: %v", err)
			}
		}},
		{"by Close", func(t *testing.T, st *batpak.Store, f *batpak.Fence, _ context.CancelFunc) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			st := openAt(t, dir, nil)
			appendAll(t, st, "a")
			of, cancel := context.WithCancel(ctx)
			defer cancel()
			f, err := st.Fence(of)
			if err != nil {
				t.Fatal(err)
			}
			staged := appendAll(t, f, "b", "c")
			appendAll(t, st, "d")
			tc.end(t, st, f, cancel)
			if tc.name != "by Close" {
				shows(t, st, "a", "d")
			}
			for round := range 3 {
				mustClose(t, st)
				st = openAt(t, dir, nil)
				shows(t, st, "a", "d")
				if rep := st.OpenReport(); rep.OpenFences != 0 || !rep.Clean {
					t.Errorf("round %d: %v", round, rep)
				}
			}
			next := appendAll(t, st, "e")[0]
			if next.Clock != 5 || next.Seq != 5 {
				t.Errorf("hidden events lost their clock or their sequence: %+v", next)
			}
			if _, err := st.Event(ctx, staged[0].ID); !errors.Is(err, batpak.ErrNotFound) {
				t.Errorf("hidden event: %v", err)
			}
			if rep, err := batpak.Verify(ctx, dir, nil); err != nil || len(rep.Findings) > 0 {
				t.Errorf("verify: %v, %v", rep, err)
			}
			mustClose(t, st)
		})
	}
}

// Several fences: the oldest one holds all others back, whatever the order in which they end.
func TestFencesEndInAnyOrder(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, &batpak.Options{SegmentSize: 4096})
	a, b, c := openFence(t, st), openFence(t, st), openFence(t, st)
	var want []string
	for i := range 40 { // over several segments
		appendAll(t, a, fmt.Sprint("a", i))
		appendAll(t, b, fmt.Sprint("b", i))
		appendAll(t, c, fmt.Sprint("c", i))
		appendAll(t, st, fmt.Sprint("-", i))
		want = append(want, fmt.Sprint("a", i), fmt.Sprint("c", i), fmt.Sprint("-", i))
	}
	if err := c.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := b.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	shows(t, st)
	if err := a.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	shows(t, st, want...)
	mustClose(t, st)
	st = openAt(t, dir, nil)
	defer mustClose(t, st)
	shows(t, st, want...)
	reader := openAt(t, dir, &batpak.Options{ReadOnly: true})
	defer mustClose(t, reader)
	shows(t, reader, want...)
}

// openMem opens the store in a file system in memory.
func openMem(t testing.TB, mem *vfs.Mem) *batpak.Store {
	t.Helper()
	var o batpak.Options
	o.SetFS(mem)
	return openAt(t, vfs.MemDir, &o)
}

// A fence that its process did not end is over, and what it staged stays hidden, however often the store opens.
func TestFenceOfADeadProcess(t *testing.T) {
	mem := vfs.NewMem()
	open := func() *batpak.Store { return openMem(t, mem) }
	st := open()
	appendAll(t, st, "a")
	appendAll(t, openFence(t, st), "b")
	appendAll(t, st, "c")
	shows(t, st, "a")
	for round := range 3 {
		left := mem.Clone() // what a killed process leaves
		mustClose(t, st)
		mem = left
		st = open()
		shows(t, st, append([]string{"a", "c"}, []string{"0", "1"}[:round]...)...)
		if rep := st.OpenReport(); rep.OpenFences > 1 {
			t.Errorf("round %d: %d fences rolled back", round, rep.OpenFences)
		}
		appendAll(t, st, fmt.Sprint(round))
		f := openFence(t, st)
		if f.Number() == 1 {
			t.Errorf("round %d: the number of the lost fence is used again", round)
		}
	}
	mustClose(t, st)
}

// A reader beside the writer stops in front of an open fence, and goes on when it has ended.
func TestFenceBesideAReader(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	defer mustClose(t, st)
	appendAll(t, st, "a")
	early := openAt(t, dir, &batpak.Options{ReadOnly: true}) // before the store's first fence
	defer mustClose(t, early)
	f := openFence(t, st)
	appendAll(t, f, "b")
	appendAll(t, st, "c")
	late := openAt(t, dir, &batpak.Options{ReadOnly: true})
	defer mustClose(t, late)
	see := func(want ...string) {
		t.Helper()
		for _, reader := range []*batpak.Store{early, late} {
			if _, err := reader.Refresh(ctx); err != nil {
				t.Fatal(err)
			}
			shows(t, reader, want...)
		}
	}
	see("a")
	if err := f.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	see("a", "b", "c")
	f = openFence(t, st)
	appendAll(t, f, "d")
	appendAll(t, st, "e")
	see("a", "b", "c")
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	see("a", "b", "c", "e")
}

// The keys of a fence: known inside it, in doubt outside of it, kept by a commit, forgotten by a cancel.
func TestFenceAndKeys(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	defer func() { mustClose(t, st) }()
	keyed := plain("x")
	keyed.IdempotencyKey = []byte("k")
	f := openFence(t, st)
	first, err := f.Append(ctx, keyed)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Append(ctx, keyed)
	if err != nil || !again.Replayed || again.Seq != first.Seq {
		t.Errorf("through the same fence: %+v, %v", again, err)
	}
	var doubt *batpak.FenceError
	if _, err := st.Append(ctx, keyed); !errors.As(err, &doubt) || !errors.Is(err, batpak.ErrFenceOpen) || doubt.Fence != f.Number() {
		t.Errorf("beside the fence: %v", err)
	}
	if _, err := openFence(t, st).Append(ctx, keyed); !errors.Is(err, batpak.ErrFenceOpen) {
		t.Errorf("through another fence: %v", err)
	}
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	f = openFence(t, st)
	second, err := f.Append(ctx, keyed)
	if err != nil || second.Replayed || second.Seq <= first.Seq {
		t.Fatalf("after Cancel: %+v, %v", second, err)
	}
	if err := f.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		third, err := st.Append(ctx, keyed)
		if err != nil || !third.Replayed || third.Seq != second.Seq {
			t.Fatalf("round %d, after Commit: %+v, %v", round, third, err)
		}
		mustClose(t, st)
		st = openAt(t, dir, nil)
	}
}

// The conditions of a draft count what is staged: it will have its clock, whatever becomes of it.
func TestFenceAndConditions(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	f := openFence(t, st)
	staged := appendAll(t, f, "a")[0]
	d := plain("b")
	d.Unless = []batpak.Unless{{Query: batpak.Query{Entity: d.Coordinate.Entity()}}}
	if _, err := st.Append(ctx, d); !errors.Is(err, batpak.ErrConflict) {
		t.Errorf("Unless beside an open fence: %v", err)
	}
	e := plain("c")
	e.Expect = batpak.Absent()
	if _, err := st.Append(ctx, e); !errors.Is(err, batpak.ErrConflict) {
		t.Errorf("Expect beside an open fence: %v", err)
	}
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if rcpt, err := st.Append(ctx, d); err != nil || rcpt.Clock != staged.Clock+1 {
		t.Errorf("Unless after Cancel: %+v, %v", rcpt, err)
	}
}

// Batches, refused drafts and fences without events leave nothing that would hold readers back.
func TestFenceThatStagedNothing(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	appendAll(t, st, "a")
	f := openFence(t, st)
	refused := plain("x")
	refused.Expect = batpak.Absent()
	if _, err := f.Append(ctx, refused); !errors.Is(err, batpak.ErrConflict) {
		t.Fatal(err)
	}
	appendAll(t, st, "b")
	shows(t, st, "a", "b")
	if _, err := f.AppendBatch(ctx, []batpak.Draft{plain("c"), plain("d")}); err != nil {
		t.Fatal(err)
	}
	shows(t, st, "a", "b")
	if err := f.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	for _, end := range []func(*batpak.Fence, context.Context) error{(*batpak.Fence).Commit, (*batpak.Fence).Cancel} {
		if err := end(openFence(t, st), ctx); err != nil {
			t.Error(err)
		}
	}
	shows(t, st, "a", "b", "c", "d")
}

// A fence ends at the deadline of its context.
func TestFenceDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		st := openAt(t, t.TempDir(), nil)
		f, err := st.Fence(ctx)
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, f, "a")
		appendAll(t, st, "b")
		start := time.Now()
		if err := st.WaitVisible(context.Background(), 2); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited != time.Minute {
			t.Errorf("waited for %v", waited)
		}
		shows(t, st, "b")
		mustClose(t, st)
	})
}

// A store that has had fences is not opened without its hidden ranges, and repair derives them.
func TestI8_MissingHiddenRangesAreNotShown(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	remove := func(name string) {
		t.Helper()
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	st := openAt(t, dir, nil)
	appendAll(t, st, "a")
	f := openFence(t, st)
	appendAll(t, f, "b")
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	mustClose(t, st)
	remove(hidden.FileName)
	var refused *coldstart.HiddenError
	if _, err := batpak.Open(dir, nil); !errors.As(err, &refused) || !errors.Is(err, coldstart.ErrAbsent) {
		t.Fatalf("Open without the file: %v", err)
	}
	remove("store.meta") // both are lost: repair finds the fences in the log
	for _, lost := range []string{"", hidden.FileName} {
		if lost != "" {
			remove(lost)
		}
		rep, err := batpak.Repair(ctx, dir, &batpak.RepairOptions{Write: true})
		if err != nil {
			t.Fatalf("repair: %v, %v", rep, err)
		}
		st = openAt(t, dir, nil)
		shows(t, st, "a")
		mustClose(t, st)
	}
}
