package batpak_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
)

func TestFrontier(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
	defer mustClose(t, st)
	if f := st.Frontier(); f != (batpak.Frontier{}) {
		t.Errorf("of an empty store: %+v", f)
	}
	for range 3 {
		if _, err := st.Append(ctx, plain("x")); err != nil {
			t.Fatal(err)
		}
	}
	if f := st.Frontier(); f.Accepted != 3 || f.Written != 3 || f.Durable != 0 || f.Visible != 3 {
		t.Errorf("written: %+v", f)
	}
	if err := st.WaitDurable(ctx, 2); err != nil { // nothing else would sync
		t.Fatal(err)
	}
	if f := st.Frontier(); f.Durable < 2 {
		t.Errorf("waited for: %+v", f)
	}
	if err := st.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if f := st.Frontier(); f.Durable != 3 {
		t.Errorf("flushed: %+v", f)
	}
}

func TestLaneFrontier(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	for _, lane := range []uint32{0, 2, 0, 2, 0} {
		d := plain("x")
		d.Lane = lane
		if _, err := st.Append(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	for lane, want := range map[uint32]uint64{0: 5, 1: 0, 2: 4} {
		f, err := st.LaneFrontier(ctx, lane)
		if err != nil || f != (batpak.Frontier{want, want, want, want}) {
			t.Errorf("lane %d: %+v, %v; want %d", lane, f, err, want)
		}
	}
}

// A wait for what nobody has appended yet ends with the append, and with nothing else.
func TestWaitsForLaterEvents(t *testing.T) {
	ctx := context.Background()
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			st := openAt(t, t.TempDir(), &batpak.Options{Sync: mode, SyncEvery: time.Hour})
			defer mustClose(t, st)
			const events = 50
			order := rand.New(rand.NewPCG(1, uint64(mode))).Perm(events)
			var waits sync.WaitGroup
			for _, i := range order {
				seq := uint64(i + 1)
				waits.Go(func() {
					if err := st.WaitVisible(ctx, seq); err != nil || st.Visible() < seq {
						t.Errorf("WaitVisible(%d) = %v at %d", seq, err, st.Visible())
					}
				})
				waits.Go(func() {
					if err := st.WaitDurable(ctx, seq); err != nil || st.Frontier().Durable < seq {
						t.Errorf("WaitDurable(%d) = %v", seq, err)
					}
				})
			}
			for range events {
				if _, err := st.Append(ctx, plain("x")); err != nil {
					t.Fatal(err)
				}
			}
			waits.Wait()
		})
	}
}

func TestWaitsThatEndEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := openAt(t, t.TempDir(), nil)
		ended, cancel := context.WithCancel(context.Background())
		outcomes := make(chan error, 3)
		go func() { outcomes <- st.WaitVisible(ended, 9) }()
		synctest.Wait()
		cancel()
		if err := <-outcomes; !errors.Is(err, batpak.ErrCanceled) || !errors.Is(err, context.Canceled) {
			t.Errorf("context ended: %v", err)
		}
		go func() { outcomes <- st.WaitVisible(context.Background(), 9) }()
		go func() { outcomes <- st.WaitDurable(context.Background(), 9) }()
		synctest.Wait()
		mustClose(t, st)
		for range 2 {
			if err := <-outcomes; !errors.Is(err, batpak.ErrClosed) {
				t.Errorf("store closed: %v", err)
			}
		}
		if err := st.WaitVisible(context.Background(), 9); !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// BenchmarkWaiters measures how long it takes from the start of a flush until everybody who waited for it is awake.
func BenchmarkWaiters(b *testing.B) {
	const waiters = 10_000
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		st := openAt(b, b.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
		var all sync.WaitGroup
		before := make(chan struct{})
		for i := range waiters {
			all.Go(func() {
				if i == waiters-1 {
					close(before)
				}
				if err := st.WaitDurable(ctx, uint64(i+1)); err != nil {
					b.Error(err)
				}
			})
		}
		<-before
		drafts := make([]batpak.Draft, waiters)
		for i := range drafts {
			drafts[i] = plain("x")
		}
		if _, err := st.AppendBatch(ctx, drafts); err != nil { // wakes the sync, too
			b.Fatal(err)
		}
		b.StartTimer()
		if err := st.Flush(ctx); err != nil {
			b.Fatal(err)
		}
		all.Wait()
		b.StopTimer()
		mustClose(b, st)
		b.StartTimer()
	}
}

// Whoever waits for durability asks for the sync when the waiter is known, and not before: else an append in between would
// see nobody who waits, and nobody would sync.
func TestWaiterIsKnownBeforeItAsks(t *testing.T) {
	if !batpak.KnownWhenEntered() {
		t.Error("a waiter asks before it is known")
	}
}
