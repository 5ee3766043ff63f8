package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// canceledLog is a store of many segments whose first event has very many effects.
func canceledLog(t *testing.T, fs vfs.FS) (*batpak.Store, event.ID) {
	t.Helper()
	o := batpak.Options{Sync: batpak.SyncNever, SegmentSize: 8 << 10, IndexEvery: 1 << 30}
	o.SetFS(fs)
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		t.Fatal(err)
	}
	draft := batpak.Draft{Coordinate: coordinate.MustNew("e", "s"), Kind: event.MustKind(1, 1), Tags: []string{"a", "z"}}
	first, err := st.Append(t.Context(), draft)
	if err != nil {
		t.Fatal(err)
	}
	draft.Correlation, draft.Causation = first.ID, first.ID
	for range 600 {
		if _, err := st.Append(t.Context(), draft); err != nil {
			t.Fatal(err)
		}
	}
	st.WaitIdle()
	return st, first.ID
}

// TestReadsThatFindNothingCanBeCanceled: a read, or a count, that runs through segment after segment looks at its context
// though it has nothing to yield.
func TestReadsThatFindNothingCanBeCanceled(t *testing.T) {
	var touched func() // called as soon as a segment is read
	st, first := canceledLog(t, vfs.Inject(vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if touched != nil && c.Kind == vfs.OpRead {
			touched()
		}
		return vfs.Decision{}
	}))
	defer st.Close()
	group := batpak.Query{Correlation: first}
	nothing := batpak.Query{Tags: []string{"nowhere"}}
	for name, do := range map[string]func(ctx context.Context) (any, error){
		"Count":  func(ctx context.Context) (any, error) { return st.Count(ctx, group) },
		"Exists": func(ctx context.Context) (any, error) { return st.Exists(ctx, nothing) },
		"Read": func(ctx context.Context) (n any, err error) {
			for _, err = range st.Read(ctx, nothing) {
			}
			return nil, err
		},
		"Correlated": func(ctx context.Context) (n any, err error) { return nil, lastError(st.Correlated(ctx, first)) },
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			mine := fmt.Errorf("enough of %s", name)
			touched = func() { cancel(mine) }
			defer func() { touched = nil }()
			got, err := do(ctx)
			if canceled, ok := errors.AsType[*batpak.CanceledError](err); !ok || !errors.Is(canceled, mine) {
				t.Errorf("%v, %v, want a *batpak.CanceledError", got, err)
			}
		})
	}
}

func lastError(steps func(func(batpak.Step, error) bool)) (err error) {
	for _, err = range steps {
	}
	return err
}

// TestEffectsOfOneEventCanBeCanceled: also between two effects of the same event.
func TestEffectsOfOneEventCanBeCanceled(t *testing.T) {
	st, first := canceledLog(t, vfs.NewMem())
	defer st.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for step, err := range st.Effects(ctx, first) {
		if cancel(); err != nil {
			if _, ok := errors.AsType[*batpak.CanceledError](err); !ok {
				t.Errorf("ends with %v, want a *batpak.CanceledError", err)
			}
			return
		}
		if n++; n > 1 {
			t.Fatalf("step %d, distance %d, long after the cancel", n, step.Distance)
		}
	}
	t.Errorf("ends behind %d steps without an error", n)
}

// TestWalksEndWhereLoopsPanic: a walk gives up what it holds, so that a closed store has no file open.
func TestWalksEndWhereLoopsPanic(t *testing.T) {
	if whole, cut := openAfterWalks(t, func() {}), openAfterWalks(t, func() { panic("mine") }); cut != whole {
		t.Errorf("%d files stay open where loops panic", cut-whole)
	}
}

// openAfterWalks begins each walk once and closes the store. It returns how many more calls have opened something than have
// closed it; those that find nothing to open are among them.
func openAfterWalks(t *testing.T, loop func()) (left int) {
	faulty := vfs.Inject(vfs.NewMem(), func(vfs.Call) vfs.Decision { return vfs.Decision{} })
	st, first := canceledLog(t, faulty)
	for _, w := range walkings(st, new(walkModel)) {
		func() {
			defer func() { recover() }()
			for range w.walk(t.Context(), first) {
				loop()
				break
			}
		}()
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []vfs.OpKind{vfs.OpCreate, vfs.OpOpenRead, vfs.OpOpenWrite, vfs.OpMap, vfs.OpLock, vfs.OpOpenDir} {
		left += faulty.CountOf(kind)
	}
	return left - faulty.CountOf(vfs.OpClose)
}
