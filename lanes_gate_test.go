package batpak_test

import (
	"context"
	"errors"
	"testing"

	"batpak"
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
