package batpak_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"batpak"
	"batpak/internal/vfs"
)

// Gates see lane and depth as they will be committed; a denied fork takes no lane.
func TestGatesSeeForks(t *testing.T) {
	ctx := context.Background()
	var saw batpak.Draft
	deny := false
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{{
		Name: "look", Check: func(v *batpak.GateView, d *batpak.Draft) *batpak.Denial {
			if saw = *d; deny {
				return &batpak.Denial{Code: "no"}
			}
			return nil
		},
	}}})
	defer mustClose(t, st)
	must := mustDo(t)
	root := must(st.Append(ctx, plain("root")))
	one := must(st.Fork(ctx, root.ID, plain("one")))
	if saw.Lane != 1 || saw.Depth != 1 || saw.Fork != root.ID {
		t.Errorf("a fork is shown as lane %d, depth %d, fork %v", saw.Lane, saw.Depth, saw.Fork)
	}
	two := must(st.Fork(ctx, one.ID, plain("two")))
	must(st.Append(ctx, onLane(two.Lane, "next")))
	if saw.Lane != 2 || saw.Depth != 2 || !saw.Fork.IsZero() {
		t.Errorf("the next event is shown as lane %d, depth %d, fork %v", saw.Lane, saw.Depth, saw.Fork)
	}
	if results, err := st.EvaluateGates(ctx, onLane(two.Lane, "x")); err != nil || len(results) != 1 || saw.Depth != 2 {
		t.Errorf("EvaluateGates = %+v, %v with depth %d", results, err, saw.Depth)
	}
	again := onLane(two.Lane, "x")
	again.Fork = root.ID
	if _, err := st.EvaluateGates(ctx, again); !errors.Is(err, batpak.ErrConflict) {
		t.Errorf("EvaluateGates of a fork to a lane in use: %v", err)
	}
	deny = true
	d := plain("denied")
	d.RecordDenial = true
	var denied *batpak.DeniedError
	if _, err := st.Fork(ctx, root.ID, d); !errors.As(err, &denied) || denied.Receipt == nil || saw.Lane != 3 {
		t.Errorf("denied fork: %v, shown as lane %d", err, saw.Lane)
	}
	deny = false
	if next := must(st.Fork(ctx, root.ID, plain("three"))); next.Lane != 3 {
		t.Errorf("lane %d, want 3", next.Lane)
	}
}

// A fork sees the lanes that others take in the same write group, and what they hear of each other when it fails.
func TestForksInOneGroup(t *testing.T) {
	for _, fails := range []bool{false, true} {
		ctx := context.Background()
		g := openGated(t, vfs.OpWrite, batpak.Options{})
		root := mustDo(t)(g.Append(ctx, plain("root")))
		held := g.hold(plain("held"))
		named := onLane(9, "named")
		named.Fork = root.ID
		answers := g.queue(ctx, named)
		forks := make(chan batpak.Receipt, 2)
		for range cap(forks) {
			a := &answer{done: make(chan struct{})}
			go func() {
				defer close(a.done)
				var rcpt batpak.Receipt
				rcpt, a.err = g.Fork(ctx, root.ID, plain("fork"))
				forks <- rcpt
			}()
			answers = append(answers, a)
			g.waiting(len(answers))
		}
		answers = append(answers, g.send(ctx, named)) // too late
		g.waiting(len(answers))
		g.next()
		if fails {
			g.goOn <- vfs.Decision{Err: syscall.ENOSPC}
		} else {
			g.goOn <- vfs.Decision{}
		}
		if err := held.wait(); err != nil {
			t.Fatal(err)
		}
		want := []error{nil, nil, nil, batpak.ErrConflict}
		if fails {
			want = slices.Repeat([]error{batpak.ErrNotLanded}, 4)
		}
		for i, a := range answers {
			if err := a.wait(); !errors.Is(err, want[i]) || (err == nil) != (want[i] == nil) {
				t.Errorf("fails %v: answer %d: %v, want %v", fails, i, err, want[i])
			}
		}
		if one, two := <-forks, <-forks; !fails && (one.Lane+two.Lane != 10+11 || one.Lane == two.Lane) {
			t.Errorf("lanes %d and %d, want 10 and 11", one.Lane, two.Lane)
		}
		if heads, err := g.Lanes(ctx, "plain"); err != nil || len(heads) != map[bool]int{false: 4, true: 1}[fails] {
			t.Errorf("fails %v: lanes %+v, %v", fails, heads, err)
		}
		if fails { // nothing was there: the lane is free
			if rcpt, err := g.Append(ctx, named); err != nil || rcpt.Clock != 1 {
				t.Errorf("named again: %+v, %v", rcpt, err)
			}
		}
		mustClose(t, g.Store)
	}
}

// The depth of a lane is that of its last event, also when that is in an older segment and waits behind an open fence.
func TestDepthBehindAnOpenFence(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), &batpak.Options{SegmentSize: 4096})
	defer mustClose(t, st)
	must := mustDo(t)
	f := openFence(t, st)
	deep := onLane(1, "deep")
	deep.Depth = 5
	must(f.Append(ctx, deep))
	for range 3 { // a segment holds one of them
		must(st.Append(ctx, plain(strings.Repeat("x", 1500))))
	}
	must(st.Append(ctx, onLane(1, "as deep")))
	if err := f.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	if got := depths(t, st, 1); !slices.Equal(got, []uint32{5}) {
		t.Errorf("depths %v, want the one of the event that is hidden now", got)
	}
}
