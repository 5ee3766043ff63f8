package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/internal/vfs"
)

// A gated store's next write, or sync, of a segment can be made to wait until a test says how it ends.
type gated struct {
	*batpak.Store
	t     *testing.T
	mem   *vfs.Mem
	kind  vfs.OpKind
	armed atomic.Bool
	calls atomic.Int64 // of kind, to segments

	entered chan struct{}
	goOn    chan vfs.Decision
}

// openGated opens an empty store in memory. kind is the call that waits.
func openGated(t *testing.T, kind vfs.OpKind, o batpak.Options) *gated {
	t.Helper()
	g := &gated{
		t: t, mem: vfs.NewMem(), kind: kind, entered: make(chan struct{}, 1), goOn: make(chan vfs.Decision, 1),
	}
	o.FillAhead = -1
	o.SetFS(vfs.Inject(g.mem, g.before))
	g.Store = openAt(t, vfs.MemDir, &o)
	return g
}

func (g *gated) before(c vfs.Call) vfs.Decision {
	if c.Kind != g.kind || !strings.HasSuffix(c.Name, ".fbat") {
		return vfs.Decision{}
	}
	g.calls.Add(1)
	if !g.armed.CompareAndSwap(true, false) {
		return vfs.Decision{}
	}
	g.entered <- struct{}{}
	return <-g.goOn
}

// reopen opens what is left, on a file system without faults.
func (g *gated) reopen() *batpak.Store {
	g.t.Helper()
	o := batpak.Options{}
	o.SetFS(g.mem)
	return openAt(g.t, vfs.MemDir, &o)
}

// An answer is what one append is told.
type answer struct {
	receipts []batpak.Receipt
	err      error
	done     chan struct{}
}

// send appends on a goroutine of its own; several drafts are a batch.
func (g *gated) send(ctx context.Context, drafts ...batpak.Draft) *answer {
	a := &answer{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		if len(drafts) > 1 {
			a.receipts, a.err = g.AppendBatch(ctx, drafts)
			return
		}
		r, err := g.Append(ctx, drafts[0])
		a.receipts, a.err = []batpak.Receipt{r}, err
	}()
	return a
}

// wait returns the answer when it is there.
func (a *answer) wait() error {
	<-a.done
	return a.err
}

// hold appends a draft whose write, or sync, waits.
func (g *gated) hold(d batpak.Draft) *answer {
	g.armed.Store(true)
	a := g.send(context.Background(), d)
	<-g.entered
	return a
}

// queue appends drafts one behind the other; each waits for a leader.
func (g *gated) queue(ctx context.Context, drafts ...batpak.Draft) []*answer {
	var answers []*answer
	for _, d := range drafts {
		answers = append(answers, g.send(ctx, d))
		g.waiting(len(answers))
	}
	return answers
}

// waiting returns when n appends wait for a leader.
func (g *gated) waiting(n int) {
	for g.Waiting() != n {
		runtime.Gosched()
	}
}

// next lets the call that waits happen, and makes the next one wait.
func (g *gated) next() {
	g.armed.Store(true)
	g.goOn <- vfs.Decision{}
	<-g.entered
}

// wantFound says whether the store holds an event with the payload of d.
func wantFound(t *testing.T, st *batpak.Store, d batpak.Draft, want bool) {
	t.Helper()
	got, err := collect(st, batpak.Query{})
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for i := range got {
		if string(got[i].Payload) == string(d.Payload) {
			found++
		}
	}
	if found > 1 || want != (found == 1) {
		t.Errorf("payload %q found %d times, want it: %v", d.Payload, found, want)
	}
}

// wantCanceled checks the error of an append whose context has ended.
func wantCanceled(t *testing.T, err error, mayLand bool, cause error) {
	t.Helper()
	var c *batpak.CanceledError
	if !errors.As(err, &c) || c.MayLand != mayLand || !errors.Is(err, cause) || !errors.Is(err, batpak.ErrCanceled) {
		t.Errorf("error %v, want canceled, MayLand %v, cause %v", err, mayLand, cause)
	}
}

func TestContextEndsBeforeAppend(t *testing.T) {
	g := openGated(t, vfs.OpSync, batpak.Options{})
	cause := errors.New("test is over")
	ctx, cancel := context.WithCancelCause(t.Context())
	before := plain("before")
	if _, err := g.Append(ctx, before); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	single, batch := plain("single"), plain("batch")
	_, err := g.Append(ctx, single)
	wantCanceled(t, err, false, cause)
	_, err = g.AppendBatch(ctx, []batpak.Draft{batch})
	wantCanceled(t, err, false, cause)
	wantCanceled(t, g.Flush(ctx), false, cause)
	for _, err := range g.Read(ctx, batpak.Query{}) {
		wantCanceled(t, err, false, cause)
	}
	_, err = g.Head(ctx, before.Coordinate.Entity(), 0)
	wantCanceled(t, err, false, cause)
	_, err = g.EventAt(ctx, 1)
	wantCanceled(t, err, false, cause)
	mustClose(t, g.Store)
	st := g.reopen()
	wantFound(t, st, before, true)
	wantFound(t, st, single, false)
	wantFound(t, st, batch, false)
	mustClose(t, st)
}

func TestContextEndsInTheQueue(t *testing.T) {
	g := openGated(t, vfs.OpSync, batpak.Options{})
	first := g.hold(plain("first"))
	ctx, cancel := context.WithCancel(t.Context())
	gone := g.send(ctx, plain("gone"))
	g.waiting(1)
	stays := g.send(t.Context(), plain("stays"))
	g.waiting(2)
	cancel()
	wantCanceled(t, gone.wait(), false, context.Canceled) // while the leader hangs
	g.waiting(1)
	g.goOn <- vfs.Decision{}
	for _, a := range []*answer{first, stays} {
		if err := a.wait(); err != nil {
			t.Error(err)
		}
	}
	if got := stays.receipts[0].Seq; got != 2 {
		t.Errorf("sequence %d behind the one that was taken back, want 2", got)
	}
	mustClose(t, g.Store)
	st := g.reopen()
	wantFound(t, st, plain("gone"), false)
	wantFound(t, st, plain("stays"), true)
	mustClose(t, st)
}

// TestContextEndsInTheGroup cancels everyone in a group while its write waits: the leader learns what became of it,
// the others that it may land, and both outcomes happen.
func TestContextEndsInTheGroup(t *testing.T) {
	for _, tt := range []struct {
		name  string
		d     vfs.Decision
		lands bool
	}{
		{"it lands", vfs.Decision{}, true},
		{"it does not land", vfs.FullDisk, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := openGated(t, vfs.OpWrite, batpak.Options{})
			g.hold(plain("first"))
			ctx, cancel := context.WithCancel(t.Context())
			leads, taken := plain("leads"), plain("taken")
			taken.IdempotencyKey = []byte("retry me")
			answers := g.queue(ctx, leads, taken)
			g.next()
			cancel()
			wantCanceled(t, answers[1].wait(), true, context.Canceled) // while the leader hangs
			g.goOn <- tt.d
			if err := answers[0].wait(); (err == nil) != tt.lands || !tt.lands && !errors.Is(err, batpak.ErrNotLanded) {
				t.Errorf("the leader's error is %v, want its outcome", err)
			}
			wantFound(t, g.Store, leads, tt.lands)
			wantFound(t, g.Store, taken, tt.lands)
			r, err := g.Append(t.Context(), taken)
			if err != nil || r.Replayed != tt.lands {
				t.Errorf("retry: %+v, %v; want replayed %v", r, err, tt.lands)
			}
			mustClose(t, g.Store)
			st := g.reopen()
			wantFound(t, st, leads, tt.lands)
			wantFound(t, st, taken, true)
			mustClose(t, st)
		})
	}
}

// doomed returns the drafts of a group that is going to fail: each would be another outcome if it did not.
func doomed() []batpak.Draft {
	key := batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("keyed"), IdempotencyKey: []byte("k")}
	other := key
	other.Payload = []byte("another request")
	durable := plain("durable")
	durable.Ack = batpak.AckDurable
	fresh := batpak.Draft{Coordinate: streamB, Kind: kindOne, Payload: []byte("fresh"), Expect: batpak.Absent()}
	second := fresh
	second.Payload = []byte("a second fresh one")
	return []batpak.Draft{plain("plain"), key, key, other, durable, fresh, second}
}

func TestFailedSyncReachesTheWholeGroup(t *testing.T) {
	g := openGated(t, vfs.OpSync, batpak.Options{})
	first := g.hold(plain("first"))
	drafts := doomed()
	answers := g.queue(t.Context(), drafts...)
	batch := g.send(t.Context(), plain("batch 1"), plain("batch 2"))
	g.waiting(len(drafts) + 1)
	g.next()
	g.goOn <- vfs.Decision{Err: syscall.EIO}
	if err := first.wait(); err != nil {
		t.Errorf("the group before: %v", err)
	}
	cause := answers[0].wait()
	var origin *batpak.WriteError
	if !errors.As(cause, &origin) {
		t.Fatalf("the group's error is %v, want a *WriteError", cause)
	}
	wantPoisoned := func(what string, err error, mayLand bool) {
		t.Helper()
		var w *batpak.WriteError
		if !errors.As(err, &w) || w.MayLand != mayLand || !w.Poisoned || !errors.Is(err, batpak.ErrPoisoned) ||
			!errors.Is(err, syscall.EIO) || w.Err.Error() != origin.Err.Error() {
			t.Errorf("%s: error %v, want %v, may land %v", what, err, cause, mayLand)
		}
	}
	for i, a := range append(answers, batch) {
		wantPoisoned(fmt.Sprintf("member %d", i), a.wait(), true)
	}
	for i := range 3 {
		_, err := g.Append(t.Context(), plain("too late"))
		wantPoisoned(fmt.Sprintf("append %d after", i), err, false)
	}
	wantPoisoned("flush", g.Flush(t.Context()), false)
	if stats := g.Stats(); !errors.Is(stats.Failed, syscall.EIO) || stats.Visible != 1 {
		t.Errorf("Stats() = %+v, want the failure and one event", stats)
	}
	wantFound(t, g.Store, plain("first"), true)
	wantFound(t, g.Store, plain("plain"), false)
	wantPoisoned("close", g.Close(), false)
	st := g.reopen()
	wantFound(t, st, plain("first"), true)
	wantFound(t, st, plain("too late"), false)
	if _, err := st.Append(t.Context(), plain("next life")); err != nil {
		t.Error(err)
	}
	mustClose(t, st)
}

func TestFailedWriteReachesTheWholeGroup(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			g := openGated(t, vfs.OpWrite, batpak.Options{Sync: mode})
			first := g.hold(plain("first"))
			drafts := doomed()
			answers := g.queue(t.Context(), drafts...)
			g.next()
			g.goOn <- vfs.FullDisk
			if err := first.wait(); err != nil {
				t.Errorf("the group before: %v", err)
			}
			for i, a := range answers {
				var w *batpak.WriteError
				err := a.wait()
				if !errors.As(err, &w) || w.MayLand || !errors.Is(err, batpak.ErrNotLanded) || !errors.Is(err, syscall.ENOSPC) {
					t.Errorf("member %d (%s): error %v, want %v", i, drafts[i].Payload, err, batpak.ErrNotLanded)
				}
			}
			d := doomed()[5]
			d.Payload = []byte("there is room again")
			r, err := g.Append(t.Context(), d) // still expects an absent stream
			if err != nil || r.Seq != first.receipts[0].Seq+1 || r.Clock != 1 {
				t.Errorf("the append after: %+v, %v; want the next sequence and clock 1", r, err)
			}
			for _, st := range []*batpak.Store{g.Store, nil} {
				if st == nil {
					st = g.reopen()
				}
				for _, d := range drafts {
					wantFound(t, st, d, false)
				}
				wantFound(t, st, plain("first"), true)
				wantFound(t, st, d, true)
				mustClose(t, st)
			}
		})
	}
}

// TestConflictsOfAFailedGroup: a refusal that the log itself justifies stays what it is when the group fails.
func TestConflictsOfAFailedGroup(t *testing.T) {
	g := openGated(t, vfs.OpWrite, batpak.Options{})
	known := batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("known"), IdempotencyKey: []byte("k")}
	old, err := g.Append(t.Context(), known)
	if err != nil {
		t.Fatal(err)
	}
	g.hold(plain("first"))
	misfit, other := known, known
	misfit.IdempotencyKey, misfit.Expect = nil, batpak.Absent()
	other.Payload = []byte("another request")
	answers := g.queue(t.Context(), plain("plain"), known, misfit, other)
	g.next()
	g.goOn <- vfs.FullDisk
	if err := answers[0].wait(); !errors.Is(err, batpak.ErrNotLanded) {
		t.Errorf("error %v, want %v", err, batpak.ErrNotLanded)
	}
	old.Replayed = true
	if err := answers[1].wait(); err != nil || answers[1].receipts[0] != old {
		t.Errorf("replay: %+v, %v; want %+v", answers[1].receipts, err, old)
	}
	var conflict *batpak.ConflictError
	if err := answers[2].wait(); !errors.As(err, &conflict) || conflict.Have != 1 || conflict.ReadAfter != old.Seq {
		t.Errorf("condition: %v, want a conflict with clock 1", err)
	}
	var used *batpak.IdempotencyConflictError
	if err := answers[3].wait(); !errors.As(err, &used) || used.Seq != old.Seq {
		t.Errorf("key: %v, want a conflict with event %d", err, old.Seq)
	}
	mustClose(t, g.Store)
}

func TestStrictestSyncOfAGroupWins(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncInterval, batpak.SyncNever} {
		for place := range 3 {
			t.Run(fmt.Sprintf("%v/durable is %d", mode, place), func(t *testing.T) {
				g := openGated(t, vfs.OpWrite, batpak.Options{Sync: mode, SyncEvery: time.Hour})
				g.hold(plain("first"))
				drafts := []batpak.Draft{plain("0"), plain("1"), plain("2")}
				drafts[place].Ack = batpak.AckDurable
				answers := g.queue(t.Context(), drafts...)
				g.goOn <- vfs.Decision{}
				for _, a := range answers {
					if err := a.wait(); err != nil {
						t.Error(err)
					}
				}
				if got := g.Stats().Durable; got != 4 {
					t.Errorf("durable up to %d, want 4", got)
				}
				mustClose(t, g.Store)
			})
		}
	}
}

func TestReadersDoNotWaitForTheWriter(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpWrite, vfs.OpSync} {
		t.Run(kind.String(), func(t *testing.T) {
			ctx := t.Context()
			g := openGated(t, kind, batpak.Options{})
			r, err := g.Append(ctx, plain("before"))
			if err != nil {
				t.Fatal(err)
			}
			held := g.hold(plain("held"))
			wantFound(t, g.Store, plain("before"), true)
			wantFound(t, g.Store, plain("held"), false)
			if _, err := g.Event(ctx, r.ID); err != nil {
				t.Error(err)
			}
			if _, err := g.EventAt(ctx, r.Seq+1); !errors.Is(err, batpak.ErrNotFound) {
				t.Errorf("the event that is held: error %v, want %v", err, batpak.ErrNotFound)
			}
			if h, err := g.Head(ctx, r.Coordinate.Entity(), 0); err != nil || h.Seq != r.Seq {
				t.Errorf("Head() = %+v, %v; want sequence %d", h, err, r.Seq)
			}
			g.goOn <- vfs.Decision{}
			if err := held.wait(); err != nil {
				t.Error(err)
			}
			wantFound(t, g.Store, plain("held"), true)
			mustClose(t, g.Store)
		})
	}
}

func TestOneKeyFromManyGoroutines(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	single := batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("once"), IdempotencyKey: []byte("once")}
	batch := []batpak.Draft{single, single}
	batch[0].IdempotencyKey, batch[1].IdempotencyKey = []byte("b1"), []byte("b2")
	batch[1].Coordinate = coordinate.MustNew("other", "eu")
	const callers = 32
	var receipts [callers][3]batpak.Receipt
	var errs findings
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			r, err := st.Append(t.Context(), single)
			if err != nil {
				errs.add(err)
			}
			rs, err := st.AppendBatch(t.Context(), batch)
			if err != nil {
				errs.add(err)
				return
			}
			receipts[i] = [3]batpak.Receipt{r, rs[0], rs[1]}
		})
	}
	wg.Wait()
	errs.report(t)
	var first [3]int
	for i := range receipts {
		for k := range receipts[i] {
			if !receipts[i][k].Replayed {
				first[k]++
			}
			receipts[i][k].Replayed = false
		}
		if receipts[i] != receipts[0] {
			t.Errorf("caller %d was told %+v, caller 0 %+v", i, receipts[i], receipts[0])
		}
	}
	if first != [3]int{1, 1, 1} {
		t.Errorf("appended %v times, want once each", first)
	}
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 3 {
		t.Errorf("%d events, error %v; want 3", len(got), err)
	}
	mustClose(t, st)
}

// Whoever tests a service in a bubble of testing/synctest may use other stores outside of it: nothing that belongs to the
// bubble is left in what stores share.
func TestStoresInAndOutsideOfABubble(t *testing.T) {
	crowd := func(t *testing.T) {
		st := openAt(t, t.TempDir(), nil)
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 16 {
					if _, err := st.Append(context.Background(), plain("x")); err != nil {
						t.Error(err)
					}
				}
				drafts := make([]batpak.Draft, 100)
				for i := range drafts {
					drafts[i] = plain("y")
				}
				if _, err := st.AppendBatch(context.Background(), drafts); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		for range st.Read(context.Background(), batpak.Query{}) {
		}
		mustClose(t, st)
	}
	for range 3 {
		synctest.Test(t, crowd)
		crowd(t)
	}
}
