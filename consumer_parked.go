package batpak

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"batpak/event"
)

// A Parked is an event that a consumer could not handle, and has passed over.
type Parked struct {
	Seq      uint64
	ID       event.ID
	Attempts int    // of the run that parked it, and those that ended with their process
	Error    string // of the last one, cut to 4 KiB
	Panic    bool   // that one panicked
	Time     time.Time
}

// park notes that ev could not be handled, and goes on behind it, both in one batch.
func (r *consumerRun) park(ctx context.Context, ev *event.Event, failed *HandlerError) error {
	name := r.c.state.name
	next := r.next(ev)
	err := ErrLimit
	for _, most := range []int{maxParkedError, maxParkedError / 16, 0} { // a small segment may have no room for all of it
		if !errors.Is(err, ErrLimit) {
			break
		}
		record := parkedDraft(name, ev, &ParkedRecord{
			State: stateParked, Generation: next.Generation, Attempts: failed.Attempts,
			Error: cutText(failed.Err.Error(), most), Panic: failed.Panic != nil,
		})
		_, err = r.c.store.appendBatch(ctx, []Draft{record, positionDraft(name, next)}, nil)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil // run says why
		}
		return fmt.Errorf("park: %w: %w", failed, err)
	}
	r.moved(ev, true)
	r.c.opts.Logger.Error("event parked", "consumer", name, "event", ev.Seq, "attempts", failed.Attempts, "err", failed.Err)
	return nil
}

// parkedDraft returns the draft of a record about ev.
func parkedDraft(name string, ev *event.Event, record *ParkedRecord) Draft {
	record.Seq, record.ID = ev.Seq, ev.ID
	d := recordDraft(consumerEntity(name), KindParked, record)
	d.Correlation, d.Causation = ev.Correlation, ev.ID
	return d
}

// Parked returns the events that the consumer of that name has parked, and that were neither replayed nor forgotten
// since, nor come again after [Consumer.Reset] or [Consumer.Seek]; in commit order. It reads all that was ever parked.
//
// Errors: [ErrNoConsumer]; as [Store.Read].
func (s *Store) Parked(ctx context.Context, name string) ([]Parked, error) {
	if err := checkConsumerName(name); err != nil {
		return nil, err
	}
	var places []ConsumerRecord
	q := Query{Entity: ConsumersEntity, Kinds: []event.Kind{KindConsumer}, Tags: []string{name}}
	err := s.each(ctx, q, func(raw *event.Raw) (bool, error) {
		var place ConsumerRecord
		err := decodeStrictly(raw.Payload, &place)
		places = append(places, place)
		return true, err
	})
	if err == nil && len(places) == 0 {
		err = ErrNoConsumer
	}
	var parked []Parked
	if err == nil {
		parked, err = s.parked(ctx, name, places)
	}
	if err != nil {
		return nil, fmt.Errorf("what consumer %q has parked: %w", name, err)
	}
	return parked, nil
}

// parked returns what is parked by a consumer that was put to places.
func (s *Store) parked(ctx context.Context, name string, places []ConsumerRecord) ([]Parked, error) {
	found := make(map[uint64]Parked)
	q := Query{Entity: consumerEntity(name), Kinds: []event.Kind{KindParked}}
	err := s.each(ctx, q, func(raw *event.Raw) (bool, error) {
		var r ParkedRecord
		if err := decodeStrictly(raw.Payload, &r); err != nil {
			return false, err
		}
		again := slices.ContainsFunc(places, func(p ConsumerRecord) bool {
			return p.Generation > r.Generation && p.Seq < r.Seq
		})
		switch {
		case r.State != stateParked:
			delete(found, r.Seq)
		case !again:
			found[r.Seq] = Parked{
				Seq: r.Seq, ID: r.ID, Attempts: r.Attempts, Error: r.Error, Panic: r.Panic, Time: raw.HLC.Time(),
			}
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	bySeq := func(a, b Parked) int { return cmp.Compare(a.Seq, b.Seq) }
	return slices.SortedFunc(maps.Values(found), bySeq), nil
}

// Parked is [Store.Parked] of the consumer.
func (c *Consumer) Parked(ctx context.Context) ([]Parked, error) {
	return c.store.Parked(ctx, c.state.name)
}

// Replay hands parked events over once more, in commit order: those with the given sequences, or all where none is
// given. One that fn handles is parked no longer. It is for the goroutine of the caller, beside a run or without one; an
// event that the position has passed long ago comes out of order by nature.
//
// Errors: *[HandlerError] for the first event that fn fails on, which stays parked, as those behind it do; [ErrNotParked];
// [ErrNotFound] for an event that is gone; [ErrConsumerRunning] while another goroutine replays or forgets; as
// [Store.Append] and [Store.Read].
func (c *Consumer) Replay(ctx context.Context, fn func(context.Context, event.Event) error, seqs ...uint64) error {
	return c.replay(ctx, func(ctx context.Context, ev event.Event) ([]Draft, error) { return nil, fn(ctx, ev) }, seqs)
}

// ReplayReact is Replay for a reactor: what fn returns, and that the event is parked no longer, are committed in one
// batch, as in [Consumer.React].
//
// Errors: as [Consumer.Replay].
func (c *Consumer) ReplayReact(ctx context.Context, fn func(context.Context, event.Event) ([]Draft, error), seqs ...uint64) error {
	return c.replay(ctx, fn, seqs)
}

func (c *Consumer) replay(ctx context.Context, fn reaction, seqs []uint64) error {
	return c.eachParked(ctx, seqs, func(p Parked) error {
		ev, err := c.store.EventAt(ctx, p.Seq)
		if err != nil {
			return err
		}
		drafts, err := call(ctx, fn, ev)
		written := false
		done := parkedDraft(c.state.name, &ev, &ParkedRecord{State: stateReplayed, Generation: c.generation()})
		if err == nil && len(drafts) > 0 {
			written, err = c.answer(ctx, &ev, drafts, done)
		}
		var fatal *fatalError
		switch {
		case errors.As(err, &fatal):
			return fatal.err
		case err != nil:
			return handlerError(c.state.name, &ev, 1, err)
		case written:
			return nil
		}
		_, err = c.store.Append(ctx, done)
		return err
	})
}

// Forget takes events off the list of those that are parked, without handling them: those with the given sequences, or
// all where none is given.
//
// Errors: [ErrNotParked]; [ErrConsumerRunning] while another goroutine replays or forgets; as [Store.Append].
func (c *Consumer) Forget(ctx context.Context, seqs ...uint64) error {
	return c.eachParked(ctx, seqs, func(p Parked) error {
		ev := event.Event{ID: p.ID, Seq: p.Seq}
		_, err := c.store.Append(ctx, parkedDraft(c.state.name, &ev, &ParkedRecord{State: stateForgotten, Generation: c.generation()}))
		return err
	})
}

// generation returns the generation of the consumer's position.
func (c *Consumer) generation() uint64 {
	at, _, _ := c.state.position()
	return max(at.Generation, 1)
}

// eachParked calls fn with the parked events that have the given sequences, or with all.
func (c *Consumer) eachParked(ctx context.Context, seqs []uint64, fn func(Parked) error) error {
	if err := c.store.writable(ctx); err != nil {
		return err
	}
	if !c.state.parking.TryLock() {
		return fmt.Errorf("%w: %q is replayed", ErrConsumerRunning, c.state.name)
	}
	defer c.state.parking.Unlock()
	parked, err := c.Parked(ctx)
	if err != nil {
		return err
	}
	for _, seq := range seqs {
		if !slices.ContainsFunc(parked, func(p Parked) bool { return p.Seq == seq }) {
			return fmt.Errorf("consumer %q: %w: %d", c.state.name, ErrNotParked, seq)
		}
	}
	for _, p := range parked {
		if len(seqs) > 0 && !slices.Contains(seqs, p.Seq) {
			continue
		}
		if err := fn(p); err != nil {
			return err
		}
	}
	return nil
}
