package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"batpak"
	"batpak/internal/vfs"
)

// Tickets come in the order of submission, whoever else appends meanwhile.
func TestSubmit(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	var beside sync.WaitGroup
	beside.Go(func() {
		for range 50 {
			if _, err := st.Append(ctx, plain("beside")); err != nil {
				t.Error(err)
			}
		}
	})
	var tickets []*batpak.Ticket
	for i := range 500 {
		ticket, err := st.Submit(ctx, plain(fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	batch, err := st.SubmitBatch(ctx, []batpak.Draft{plain("a"), plain("b")})
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(0)
	for i, ticket := range tickets {
		<-ticket.Done()
		rcpt, err := ticket.Wait(ctx)
		if err != nil || rcpt.Seq <= last {
			t.Fatalf("ticket %d: sequence %d after %d, %v", i, rcpt.Seq, last, err)
		}
		last = rcpt.Seq
		ev, err := st.EventAt(ctx, rcpt.Seq)
		if err != nil || string(ev.Payload) != fmt.Sprint(i) || ev.ID != rcpt.ID {
			t.Fatalf("event %d: %q, %v", rcpt.Seq, ev.Payload, err)
		}
	}
	receipts, err := batch.Wait(ctx)
	if err != nil || len(receipts) != 2 || receipts[0].Seq <= last || receipts[1].Seq != receipts[0].Seq+1 {
		t.Errorf("batch: %v, %v", receipts, err)
	}
	beside.Wait()
	if p := st.Pressure(); p.Events != 0 || p.Bytes != 0 || p.Load() != 0 {
		t.Errorf("nothing is pending: %+v", p)
	}
}

func TestSubmitRefuses(t *testing.T) {
	ctx := context.Background()
	g := openGated(t, vfs.OpSync, batpak.Options{MaxPending: 4})
	st := g.Store
	g.armed.Store(true)
	var tickets []*batpak.Ticket
	var overload *batpak.OverloadError
	for i := 0; ; i++ {
		ticket, err := st.Submit(ctx, plain("x"))
		if errors.As(err, &overload) {
			break
		}
		if err != nil || i > 100 {
			t.Fatalf("submission %d: %v", i, err)
		}
		tickets = append(tickets, ticket)
	}
	if len(tickets) != 4 || overload.Pressure.Events != 4 || overload.Pressure.MaxEvents != 4 || !errors.Is(overload, batpak.ErrOverload) {
		t.Errorf("refused after %d: %v", len(tickets), overload)
	}
	if p := st.Pressure(); p.Load() != 1 {
		t.Errorf("pressure %+v", p)
	}
	if _, err := st.Submit(ctx, batpak.Draft{}); !errors.Is(err, batpak.ErrInvalid) {
		t.Errorf("empty draft: %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := st.Submit(ended, plain("x")); !errors.Is(err, batpak.ErrCanceled) {
		t.Errorf("ended context: %v", err)
	}
	var canceled *batpak.CanceledError
	if _, err := tickets[0].Wait(ended); !errors.As(err, &canceled) || !canceled.MayLand {
		t.Errorf("wait with an ended context: %v", err)
	}
	g.goOn <- vfs.Decision{}
	for _, ticket := range tickets {
		if _, err := ticket.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	mustClose(t, st)
	if _, err := st.Submit(ctx, plain("x")); !errors.Is(err, batpak.ErrClosed) {
		t.Errorf("closed store: %v", err)
	}
}

// submitAll submits n events.
func submitAll(t *testing.T, st *batpak.Store, n int) (tickets []*batpak.Ticket) {
	t.Helper()
	for range n {
		ticket, err := st.Submit(context.Background(), plain("x"))
		if err != nil {
			t.Fatal(err)
		}
		tickets = append(tickets, ticket)
	}
	return tickets
}

// Flush waits for what was submitted before it.
func TestFlushCommitsWhatWasSubmitted(t *testing.T) {
	ctx := context.Background()
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		st := openAt(t, t.TempDir(), &batpak.Options{Sync: mode})
		tickets := submitAll(t, st, 100)
		if err := st.Flush(ctx); err != nil {
			t.Fatal(err)
		}
		if f := st.Frontier(); f.Durable != 100 {
			t.Errorf("%v: flushed %+v", mode, f)
		}
		for _, ticket := range tickets {
			if _, err := ticket.Wait(ctx); err != nil {
				t.Error(err)
			}
		}
		mustClose(t, st)
	}
}

// Close waits for what was submitted.
func TestCloseCommitsWhatWasSubmitted(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	tickets := submitAll(t, st, 100)
	mustClose(t, st)
	for _, ticket := range tickets {
		if _, err := ticket.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	st = openAt(t, dir, nil)
	defer mustClose(t, st)
	if st.Visible() != 100 {
		t.Errorf("%d events", st.Visible())
	}
}

// A callback that panics inside the committer neither hangs the others nor lets anybody think that it has landed.
func TestPanicInTheCommitterPoisons(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	var boom atomic.Bool
	st := openAt(t, dir, &batpak.Options{Clock: func() time.Time {
		if boom.Load() {
			panic("clock")
		}
		return time.Unix(1, 0)
	}})
	if _, err := st.Append(ctx, plain("before")); err != nil {
		t.Fatal(err)
	}
	boom.Store(true)
	waits := make(chan error)
	go func() { waits <- st.WaitVisible(ctx, 2) }()
	for range 2 {
		if _, err := st.Append(ctx, plain("x")); !errors.Is(err, batpak.ErrPoisoned) {
			t.Fatalf("Append = %v", err)
		}
	}
	if err := <-waits; !errors.Is(err, batpak.ErrPoisoned) {
		t.Errorf("WaitVisible = %v", err)
	}
	if err := st.Close(); !errors.Is(err, batpak.ErrPoisoned) {
		t.Errorf("Close = %v", err)
	}
	st = openAt(t, dir, nil)
	defer mustClose(t, st)
	if st.Visible() != 1 {
		t.Errorf("%d events", st.Visible())
	}
}
