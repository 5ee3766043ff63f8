package batpak_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/hidden"
	"batpak/internal/vfs"
)

// A retry gets its receipt also while the event, and the one before it on its stream, wait behind an open fence.
func TestReplayBehindAnOpenFence(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	appendAll(t, st, "a")
	f := openFence(t, st)
	appendAll(t, f, "b")
	keyed := plain("c")
	keyed.IdempotencyKey = []byte("k")
	first, err := st.Append(ctx, keyed)
	if err != nil {
		t.Fatal(err)
	}
	inside := plain("d")
	inside.IdempotencyKey = []byte("l")
	staged, err := f.Append(ctx, inside)
	if err != nil {
		t.Fatal(err)
	}
	first.Replayed, staged.Replayed = true, true
	if again, err := st.Append(ctx, keyed); err != nil || again != first {
		t.Errorf("beside the fence: %+v, %v; want %+v", again, err, first)
	}
	if again, err := f.Append(ctx, inside); err != nil || again != staged {
		t.Errorf("through the fence: %+v, %v; want %+v", again, err, staged)
	}
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if again, err := st.Append(ctx, keyed); err != nil || again != first {
		t.Errorf("behind hidden events: %+v, %v; want %+v", again, err, first)
	}
}

// What ends a fence after its context has ended is the context, however late the store hears of it.
func TestFenceWhoseContextHasEnded(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	for i := range 50 {
		of, cancel := context.WithCancel(ctx)
		f, err := st.Fence(of)
		if err != nil {
			t.Fatal(err)
		}
		appendAll(t, f, "a")
		cancel()
		if i%2 == 0 {
			_, err = f.Append(ctx, plain("b"))
		} else {
			err = f.Commit(ctx)
		}
		if !errors.Is(err, batpak.ErrFenceEnded) || !errors.Is(err, context.Canceled) {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	shows(t, st)
}

// Whoever is too late by so little that the end of the fence is written in the same group hears of it as everybody does.
func TestFenceEndsInTheSameGroup(t *testing.T) {
	ctx := context.Background()
	for _, tt := range []struct {
		name      string
		end       func(f *batpak.Fence, cancel func())
		committed bool
		cause     error // nil for none
	}{
		{"context", func(_ *batpak.Fence, cancel func()) { cancel() }, false, context.Canceled},
		{"cancel", func(f *batpak.Fence, _ func()) { _ = f.Cancel(ctx) }, false, nil},
		{"commit", func(f *batpak.Fence, _ func()) { _ = f.Commit(ctx) }, true, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var hold atomic.Bool
			held, release := make(chan struct{}), make(chan struct{})
			o := &batpak.Options{FillAhead: -1}
			o.SetFS(vfs.Inject(vfs.NewMem(), func(c vfs.Call) vfs.Decision {
				if c.Kind == vfs.OpWrite && hold.CompareAndSwap(true, false) {
					close(held)
					<-release
				}
				return vfs.Decision{}
			}))
			st := openAt(t, vfs.MemDir, o)
			defer mustClose(t, st)
			of, cancel := context.WithCancel(ctx)
			defer cancel()
			f, err := st.Fence(of)
			if err != nil {
				t.Fatal(err)
			}
			appendAll(t, f, "a")
			var wg sync.WaitGroup
			waiting := func(n int, fn func()) {
				wg.Go(fn)
				for st.Waiting() < n {
					runtime.Gosched()
				}
			}
			hold.Store(true)
			wg.Go(func() { _, _ = st.Append(ctx, plain("b")) })
			<-held // all others wait for this write, and are one group behind it
			waiting(1, func() { tt.end(f, cancel) })
			waiting(2, func() { _, err = f.Append(ctx, plain("c")) })
			close(release)
			wg.Wait()
			var late *batpak.FenceError
			if !errors.As(err, &late) || late.Committed != tt.committed || !errors.Is(err, batpak.ErrFenceEnded) ||
				errors.Is(err, context.Canceled) != (tt.cause != nil) {
				t.Errorf("%v, want committed %v and cause %v", err, tt.committed, tt.cause)
			}
		})
	}
}

// A fence whose context ends while the disk is full is cancelled as soon as it is not.
func TestFenceEndsWhenTheDiskIsFull(t *testing.T) {
	ctx := context.Background()
	var full atomic.Bool
	refused := make(chan struct{}, 100)
	mem := vfs.NewMem()
	var o batpak.Options
	o.FillAhead = -1
	o.SetFS(vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		if full.Load() && c.Kind == vfs.OpWrite {
			refused <- struct{}{}
			return vfs.Decision{Err: syscall.ENOSPC}
		}
		return vfs.Decision{}
	}))
	st := openAt(t, vfs.MemDir, &o)
	defer mustClose(t, st)
	of, cancel := context.WithCancel(ctx)
	defer cancel()
	f, err := st.Fence(of)
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, f, "a")
	appendAll(t, st, "b")
	full.Store(true)
	cancel()
	<-refused
	var failed *batpak.WriteError
	if _, err := st.Append(ctx, plain("c")); !errors.As(err, &failed) {
		t.Fatal(err)
	}
	full.Store(false)
	rcpt := appendAll(t, st, "d")[0]
	if err := st.WaitVisible(ctx, rcpt.Seq); err != nil {
		t.Fatal(err)
	}
	shows(t, st, "b", "d")
}

// A key that a cancelled fence has used hides no other use of it: neither one before nor one after, on any stream.
func TestKeyOfACancelledFenceOverSegments(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, &batpak.Options{SegmentSize: 4096})
	defer func() { mustClose(t, st) }()
	keyed := plain("x")
	keyed.IdempotencyKey = []byte("k")
	var last batpak.Receipt
	for round := range 6 {
		f := openFence(t, st)
		for i := range 30 { // into the next segment
			d := plain("filler")
			d.Coordinate = coordinate.MustNew("filler", "s")
			if i == 15 {
				d = keyed
			}
			rcpt, err := f.Append(ctx, d)
			if err != nil {
				t.Fatal(err)
			}
			if i == 15 && (rcpt.Replayed != (round > 3) || round > 3 && rcpt.Seq != last.Seq) {
				t.Fatalf("round %d: %+v", round, rcpt)
			}
			if i == 15 && round == 3 {
				last = rcpt
			}
		}
		end := f.Cancel
		if round == 3 {
			end = f.Commit
		}
		if err := end(ctx); err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			mustClose(t, st)
			st = openAt(t, dir, nil)
		}
	}
}

// A file of hidden ranges that speaks of events which are gone, since a disk has lost them, says nothing about the ones
// that get their sequences.
func TestHiddenRangesAheadOfTheLog(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	open := func() *batpak.Store { return openMem(t, mem) }
	st := open()
	f := openFence(t, st)
	appendAll(t, f, "a")
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	appendAll(t, st, "b")
	id := st.ID()
	mustClose(t, st)
	ahead := hidden.File{Set: hidden.Of(hidden.Range{From: 1, To: 2}, hidden.Range{From: 3, To: 5}), Covers: 9, LastFence: 1}
	mem.SetFile(hidden.FileName, hidden.AppendFile(nil, id, &ahead))
	for round := range 2 {
		st = open()
		f = openFence(t, st)
		appendAll(t, f, "c")
		appendAll(t, st, "d")
		shows(t, st, []string{"b", "d"}[:1+round]...) // the fence is open
		mem = mem.Clone()
		mustClose(t, st)
		st = open()
		shows(t, st, []string{"b", "d", "d"}[:2+round]...)
		mustClose(t, st)
	}
}

// What a fence has staged appears at once, also when another fence that is open has staged something between.
func TestFenceAroundAnOpenOne(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	defer func() { mustClose(t, st) }()
	reader := openAt(t, dir, &batpak.Options{ReadOnly: true})
	defer mustClose(t, reader)
	see := func(want ...string) {
		t.Helper()
		if _, err := reader.Refresh(ctx); err != nil {
			t.Fatal(err)
		}
		shows(t, st, want...)
		shows(t, reader, want...)
	}
	a, b := openFence(t, st), openFence(t, st)
	appendAll(t, st, "1")
	appendAll(t, a, "2")
	appendAll(t, b, "3")
	appendAll(t, a, "4")
	if err := a.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	appendAll(t, st, "5")
	see("1")
	if err := b.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	see("1", "2", "3", "4", "5")
}
