package batpak_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"batpak"
	"batpak/internal/vfs"
)

// A joined store is gated, and calls a function when the store looks at the clock for the group that follows the first.
type joined struct {
	*gated
	looks atomic.Int64
	clock atomic.Pointer[func(n int64) time.Time] // of that group, at the nth look from 1; nil before it
}

// openJoined opens an empty store in memory. kind is the call that waits.
func openJoined(t *testing.T, kind vfs.OpKind, o batpak.Options) *joined {
	t.Helper()
	j := new(joined)
	o.Clock = func() time.Time {
		clock := j.clock.Load()
		if clock == nil {
			return time.UnixMilli(testEpoch)
		}
		return (*clock)(j.looks.Add(1))
	}
	j.gated = openGated(t, kind, o)
	return j
}

// group makes a group of the early drafts, which the late ones join while it is staged. A group of one event is committed
// before it. clock says what time it is at the nth look of the group, from 1. The late ones' answers are there when the
// first of the early ones has its own.
func (j *joined) group(ctx context.Context, early, late []batpak.Draft, clock func(n int64) time.Time) (answers func() []*answer) {
	j.t.Helper()
	first := j.hold(plain("first"))
	all := j.queue(ctx, early...)
	withLate := func(n int64) time.Time {
		if n == 1 {
			all = append(all, j.queue(ctx, late...)...)
		}
		return clock(n)
	}
	j.clock.Store(&withLate)
	leader := all[0]
	j.goOn <- vfs.Decision{}
	if err := first.wait(); err != nil {
		j.t.Fatal(err)
	}
	return func() []*answer {
		<-leader.done
		return all
	}
}

// held is group; it returns when the write, or sync, of the group waits.
func (j *joined) held(ctx context.Context, early, late []batpak.Draft) (answers func() []*answer) {
	j.t.Helper()
	answers = j.group(ctx, early, late, func(n int64) time.Time {
		if n == 1 {
			j.armed.Store(true)
		}
		return epochAt(n)
	})
	<-j.entered
	return answers
}

func epochAt(n int64) time.Time { return time.UnixMilli(testEpoch + n) }

var earlyTwo, lateTwo = []batpak.Draft{plain("early 1"), plain("early 2")}, []batpak.Draft{plain("late 1"), plain("late 2")}

// TestJoin has two appends join the group of two others: one write, one sync, in the order of arrival, and none of them
// older than its append.
func TestJoin(t *testing.T) {
	j := openJoined(t, vfs.OpSync, batpak.Options{})
	before := j.calls.Load()
	answers := j.held(t.Context(), earlyTwo, lateTwo)
	if f := j.Frontier(); f != (batpak.Frontier{Accepted: 5, Written: 5, Durable: 1, Visible: 1}) {
		t.Errorf("while the group is synced the frontier is %+v, want 5 written and 1 durable", f)
	}
	j.goOn <- vfs.Decision{}
	for i, a := range answers() {
		if err := a.wait(); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
		r := a.receipts[0]
		if at := int64(1 + i/2); r.Seq != uint64(i+2) || r.HLC.Millis() != testEpoch+at {
			t.Errorf("append %d has sequence %d at %v, want %d at %v", i, r.Seq, r.HLC.Time(), i+2, epochAt(at))
		}
	}
	if n := j.calls.Load() - before; n != 2 {
		t.Errorf("%d syncs, want one for each of 2 groups", n)
	}
	mustClose(t, j.Store)
}

// TestJoinAndFail fails the write, or the sync, of a group that others have joined.
func TestJoinAndFail(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kind    vfs.OpKind
		d       vfs.Decision
		mayLand bool
	}{
		{"write", vfs.OpWrite, vfs.FullDisk, false},
		{"sync", vfs.OpSync, vfs.Decision{Err: syscall.EIO}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			j := openJoined(t, tt.kind, batpak.Options{})
			answers := j.held(t.Context(), earlyTwo, lateTwo)
			j.goOn <- tt.d
			for i, a := range answers() {
				var w *batpak.WriteError
				if err := a.wait(); !errors.As(err, &w) || w.MayLand != tt.mayLand || w.Poisoned != tt.mayLand {
					t.Errorf("append %d: error %v, want a *WriteError, may land: %v", i, err, tt.mayLand)
				}
			}
			if f := j.Frontier(); f.Visible != 1 || f.Durable != 1 || !tt.mayLand && f.Accepted != 1 {
				t.Errorf("frontier %+v behind the failed group, want that of the group before", f)
			}
			d := plain("next")
			d.Expect = batpak.Clock(1)
			r, err := j.Append(t.Context(), d)
			if tt.mayLand {
				if !errors.Is(err, batpak.ErrPoisoned) {
					t.Errorf("append behind a failed sync: %v", err)
				}
				j.Close()
				return
			}
			if err != nil || r.Seq != 2 || r.Clock != 2 {
				t.Errorf("append behind a failed write: %+v, %v; want sequence and clock 2", r, err)
			}
			mustClose(t, j.Store)
		})
	}
}

// TestJoinWhereThereIsRoom has more come than the segment holds: those who fit join, in order, and nobody passes by the
// first who does not.
func TestJoinWhereThereIsRoom(t *testing.T) {
	j := openJoined(t, vfs.OpWrite, batpak.Options{SegmentSize: smallSegment})
	large := func() batpak.Draft { return plain(strings.Repeat("large", 300)) } // a segment holds two of them
	late := []batpak.Draft{plain("late 1"), large(), plain("late 2")}
	answers := j.group(t.Context(), []batpak.Draft{large(), large()}, late, epochAt)
	for i, a := range answers() {
		if err := a.wait(); err != nil {
			t.Fatalf("append %d: %v", i, err)
		}
		r := a.receipts[0]
		if joins, at := i == 2, r.HLC.Millis()-testEpoch; r.Seq != uint64(i+2) || joins != (at == 2) {
			t.Errorf("append %d has sequence %d, staged at look %d; want sequence %d, and the second look only for the one that joins",
				i, r.Seq, at, i+2)
		}
	}
	if got := j.Stats().Segments; got != 2 {
		t.Errorf("%d segments, want 2", got)
	}
	mustClose(t, j.Store)
	wantAll(t, j.reopen(), 6)
}

// wantAll checks that st, which is closed then, holds n events, and that they hold.
func wantAll(t *testing.T, st *batpak.Store, n int) {
	t.Helper()
	got, err := collect(st, batpak.Query{})
	if err != nil || len(got) != n {
		t.Errorf("%d events, %v; want %d", len(got), err, n)
	}
	mustClose(t, st)
}

// TestJoinAndCancel cancels everybody in a group that others have joined, while its write waits.
func TestJoinAndCancel(t *testing.T) {
	j := openJoined(t, vfs.OpWrite, batpak.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	answers := j.held(ctx, earlyTwo, lateTwo)
	cancel()
	j.goOn <- vfs.Decision{}
	for i, a := range answers() {
		err := a.wait()
		if i == 0 && err != nil {
			t.Errorf("the leader's error is %v, want its outcome", err)
		}
		if err != nil {
			wantCanceled(t, err, true, context.Canceled)
		}
	}
	mustClose(t, j.Store)
	wantAll(t, j.reopen(), 5)
}

// TestJoinAndPanic has the store panic between joining and staging: everybody hears of it.
func TestJoinAndPanic(t *testing.T) {
	j := openJoined(t, vfs.OpSync, batpak.Options{})
	answers := j.group(t.Context(), earlyTwo, lateTwo, func(n int64) time.Time {
		if n > 1 {
			panic("the clock stopped")
		}
		return epochAt(n)
	})
	for i, a := range answers() {
		var w *batpak.WriteError
		if err := a.wait(); !errors.As(err, &w) || !w.Poisoned {
			t.Errorf("append %d: %v, want a poisoned writer", i, err)
		}
	}
	if err := j.Close(); !errors.Is(err, batpak.ErrPoisoned) {
		t.Errorf("close: %v", err)
	}
}
