package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// Traffic is many goroutines that use one store at the same time.
type traffic struct {
	st   *batpak.Store
	sync batpak.SyncMode

	findings findings
	mu       sync.Mutex
	told     []told // guarded by mu
	acked    atomic.Int64
}

const (
	trafficWriters = 64
	trafficRounds  = 5
	trafficBatch   = 3
)

// sharedStream is one of a few streams that all writers append to.
func sharedStream(n int) coordinate.Coordinate {
	return coordinate.MustNew(fmt.Sprintf("shared:%d", n%4), "all")
}

// record keeps what a writer was told.
func (tr *traffic) record(drafts []batpak.Draft, receipts []batpak.Receipt) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.told = append(tr.told, tell(drafts, receipts)...)
	tr.acked.Add(1)
}

// recent returns something that a writer was told, or nothing.
func (tr *traffic) recent() (told, bool) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if len(tr.told) == 0 {
		return told{}, false
	}
	return tr.told[len(tr.told)-1], true
}

// one appends a single draft.
func (tr *traffic) one(d batpak.Draft) (batpak.Receipt, error) {
	r, err := tr.st.Append(context.Background(), d)
	if err == nil {
		tr.record([]batpak.Draft{d}, []batpak.Receipt{r})
	}
	return r, err
}

// batch appends a batch whose payloads name it, so that readers can tell half of one.
func (tr *traffic) batch(writer, round int) error {
	drafts := make([]batpak.Draft, trafficBatch)
	for i := range drafts {
		drafts[i] = batpak.Draft{
			Coordinate: sharedStream(writer + i), Kind: kindTwo,
			Payload: fmt.Appendf(nil, "batch %d.%d part %d", writer, round, i),
		}
	}
	drafts[1].Ack = batpak.Ack(round % 2)
	drafts[2].CausedByDraft = batpak.DraftAt(0)
	receipts, err := tr.st.AppendBatch(context.Background(), drafts)
	if err == nil {
		tr.record(drafts, receipts)
	}
	return err
}

// keyed appends with a key, then once more: the second time is the first time's receipt.
func (tr *traffic) keyed(d batpak.Draft, key string) error {
	d.IdempotencyKey = []byte(key)
	first, err := tr.one(d)
	if err != nil {
		return err
	}
	again, err := tr.st.Append(context.Background(), d)
	if err != nil {
		return err
	}
	first.Replayed = true
	if again != first {
		return fmt.Errorf("retry of key %q = %+v, want %+v", key, again, first)
	}
	return nil
}

// expecting appends behind the head that it has read, and reads again when somebody was faster.
func (tr *traffic) expecting(d batpak.Draft) error {
	for {
		d.Expect = batpak.Absent()
		h, err := tr.st.Head(context.Background(), d.Coordinate.Entity(), d.Lane)
		if err == nil {
			d.Expect = batpak.Clock(h.Clock)
		} else if !errors.Is(err, batpak.ErrNotFound) {
			return err
		}
		r, err := tr.one(d)
		var conflict *batpak.ConflictError
		switch {
		case errors.As(err, &conflict):
			if conflict.Want != d.Expect || conflict.Have <= h.Clock || conflict.ReadAfter <= h.Seq {
				return fmt.Errorf("conflict %+v behind head %+v", conflict, h)
			}
		case err != nil:
			return err
		case r.Clock != h.Clock+1:
			return fmt.Errorf("appended with clock %d behind clock %d", r.Clock, h.Clock)
		default:
			return nil
		}
	}
}

// step is one round of one writer.
func (tr *traffic) step(writer, round int) error {
	d := batpak.Draft{
		Coordinate: sharedStream(writer), Kind: kindOne, Payload: fmt.Appendf(nil, "single %d.%d", writer, round),
		Ack: batpak.Ack((writer + round) % 2),
	}
	switch (writer + round) % 5 {
	case 0:
		d.Coordinate = coordinate.MustNew(fmt.Sprintf("own:%d", writer), "one")
		_, err := tr.one(d)
		return err
	case 1:
		return tr.batch(writer, round)
	case 2:
		return tr.keyed(d, fmt.Sprintf("key %d.%d", writer, round))
	case 3:
		return tr.expecting(d)
	}
	d.Lane, d.Tags = 7, []string{"urgent"}
	_, err := tr.one(d)
	return err
}

// part returns which batch an event belongs to, and its place in it.
func part(ev *event.Event) (batch string, place int) {
	batch, _, ok := strings.Cut(string(ev.Payload), " part ")
	if !ok {
		return "", 0
	}
	return batch, int(ev.Payload[len(ev.Payload)-1] - '0')
}

// scan reads forward or backward and checks that the snapshot is whole and, in SyncAlways, durable.
func (tr *traffic) scan(reverse bool) error {
	after := uint64(0)
	if last, ok := tr.recent(); ok && last.Seq > 200 {
		after = last.Seq - 200
	}
	var got []event.Event
	for ev, err := range tr.st.Read(context.Background(), batpak.Query{After: after, Reverse: reverse}) {
		if err != nil {
			return err
		}
		got = append(got, ev)
	}
	if reverse {
		slices.Reverse(got)
	}
	for i := range got {
		if i > 0 && got[i].Seq != got[i-1].Seq+1 {
			return fmt.Errorf("sequence %d follows %d", got[i].Seq, got[i-1].Seq)
		}
	}
	if len(got) == 0 {
		return nil
	}
	last := &got[len(got)-1]
	if batch, place := part(last); batch != "" && place != trafficBatch-1 {
		return fmt.Errorf("snapshot ends with part %d of %s", place, batch)
	}
	if s := tr.st.Stats(); tr.sync == batpak.SyncAlways && (s.Durable < last.Seq || s.Durable < s.Visible) {
		return fmt.Errorf("event %d was seen, durable is %d, visible %d", last.Seq, s.Durable, s.Visible)
	}
	return nil
}

// look reads what somebody was told lately in every other way.
func (tr *traffic) look() error {
	want, ok := tr.recent()
	if !ok {
		return nil
	}
	ctx := context.Background()
	ev, err := tr.st.Event(ctx, want.ID)
	if err != nil {
		return err
	}
	if err := sameEvent(&ev, &want.Event); err != nil {
		return err
	}
	head, err := tr.st.Head(ctx, want.Coordinate.Entity(), want.Lane)
	if err != nil {
		return err
	}
	if head.Clock < want.Clock || head.Seq < want.Seq {
		return fmt.Errorf("head %+v, but clock %d was acknowledged", head, want.Clock)
	}
	return nil
}

// read runs readers until stop is closed or one of them gets an error, which over may forgive.
func (tr *traffic) read(wg *sync.WaitGroup, stop <-chan struct{}, over func(error) bool) {
	for _, do := range []func() error{
		func() error { return tr.scan(false) }, func() error { return tr.scan(true) }, tr.look,
	} {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := do(); err != nil {
					if !over(err) {
						tr.findings.add(fmt.Errorf("reader: %w", err))
					}
					return
				}
			}
		})
	}
}

// check holds the store to everything that was told, and to nothing else.
func (tr *traffic) check(t *testing.T, st *batpak.Store) {
	t.Helper()
	history := slices.Clone(tr.told)
	slices.SortFunc(history, func(a, b told) int { return int(int64(a.Seq) - int64(b.Seq)) })
	if err := chained(history); err != nil {
		t.Error(err)
	}
	c := claim{want: history, least: len(history), most: len(history), shown: uint64(len(history))}
	if _, _, err := c.holds(st); err != nil {
		t.Error(err)
	}
	if n := len(history); n > 0 && history[n-1].Seq != uint64(n) {
		t.Errorf("last sequence %d after %d events: there are gaps", history[n-1].Seq, n)
	}
}

func TestConcurrentAppendsAndReads(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			o := &batpak.Options{Sync: mode, SyncEvery: time.Millisecond, SegmentSize: 32 << 10, FillAhead: 16 << 10}
			st := openAt(t, dir, o)
			tr := &traffic{st: st, sync: mode}
			var readers, writers sync.WaitGroup
			stop := make(chan struct{})
			tr.read(&readers, stop, func(error) bool { return false })
			for w := range trafficWriters {
				writers.Go(func() {
					for round := range trafficRounds {
						if err := tr.step(w, round); err != nil {
							tr.findings.add(fmt.Errorf("writer %d round %d: %w", w, round, err))
							return
						}
					}
				})
			}
			writers.Wait()
			close(stop)
			readers.Wait()
			tr.findings.report(t)
			tr.check(t, st)
			st.WaitIdle()
			if stats := st.Stats(); stats.Segments < 3 || stats.Sealed < 2 {
				t.Errorf("%d segments, %d sealed: want some of both", stats.Segments, stats.Sealed)
			}
			mustClose(t, st)
			st = openAt(t, dir, o)
			tr.check(t, st)
			mustClose(t, st)
		})
	}
}

func TestCloseDuringAppendsAndReads(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			o := &batpak.Options{Sync: mode, SegmentSize: 16 << 10}
			st := openAt(t, dir, o)
			tr := &traffic{st: st, sync: batpak.SyncNever}
			var wg sync.WaitGroup
			closed := func(err error) bool { return errors.Is(err, batpak.ErrClosed) }
			tr.read(&wg, nil, closed)
			for w := range 16 {
				wg.Go(func() {
					for round := 0; ; round++ {
						if err := tr.step(w, round); closed(err) {
							return
						} else if err != nil {
							tr.findings.add(fmt.Errorf("writer %d round %d: %w", w, round, err))
							return
						}
					}
				})
			}
			for tr.acked.Load() < 150 {
				runtime.Gosched()
			}
			for range 3 {
				wg.Go(func() {
					if err := st.Close(); err != nil {
						tr.findings.add(fmt.Errorf("close: %w", err))
					}
					if _, err := st.Append(t.Context(), plain("after close")); !closed(err) {
						tr.findings.add(fmt.Errorf("append after close: %w", err))
					}
				})
			}
			wg.Wait()
			tr.findings.report(t)
			st = openAt(t, dir, o)
			tr.check(t, st)
			mustClose(t, st)
		})
	}
}
