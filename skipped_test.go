package batpak_test

import (
	"context"
	"errors"
	"testing"

	"batpak"
	"batpak/internal/vfs"
)

// Sequences that recovery gives up, since a relaxed writer may have shown them, count as far as waits and frontiers go.
func TestWaitsBehindSequencesThatWereGivenUp(t *testing.T) {
	ctx := context.Background()
	r := newRig(batpak.Options{Sync: batpak.SyncNever})
	if err := errors.Join(r.open(), second(r.append(r.draft(streamA, 0))), r.flush(), second(r.append(r.draft(streamA, 0)))); err != nil {
		t.Fatal(err)
	}
	r.settle()
	r.kill()
	skipped := uint64(0)
	for state := range r.mem.CrashStates(r.mem.OpCount(), vfs.StateOptions{Workload: t.Name()}) {
		l := &life{opts: r.opts, mem: state.FS()}
		st, err := l.open()
		if err != nil {
			t.Fatal(err)
		}
		refused := r.draft(streamA, 0)
		refused.Expect = batpak.Absent()
		if _, err := st.Append(ctx, refused); !errors.Is(err, batpak.ErrConflict) {
			t.Fatal(err)
		}
		f := st.Frontier()
		if f.Accepted != f.Written || f.Written != f.Durable || f.Visible != f.Written {
			t.Errorf("%s: %+v, skipped %d", state.Name, f, st.OpenReport().SkippedSeqs)
		}
		if err := errors.Join(st.WaitDurable(ctx, f.Written), st.WaitVisible(ctx, f.Written)); err != nil {
			t.Error(err)
		}
		skipped += st.OpenReport().SkippedSeqs
		mustClose(t, st)
	}
	if skipped == 0 {
		t.Error("no state made recovery give up a sequence")
	}
}
