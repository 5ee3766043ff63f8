package batpak_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"batpak"
	"batpak/event"
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
