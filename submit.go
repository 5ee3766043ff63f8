package batpak

import (
	"context"
	"fmt"
	"sync/atomic"
)

// A ticket is where the outcome of a submitted request goes.
type ticket struct {
	events   int64 // reserved in the store's pressure
	bytes    int64
	done     chan struct{} // closed when the outcome is there
	receipts []Receipt
	err      error
}

// wait returns the outcome when it is there.
func (t *ticket) wait(ctx context.Context) ([]Receipt, error) {
	select {
	case <-t.done:
		return t.receipts, t.err
	default:
	}
	select {
	case <-t.done:
		return t.receipts, t.err
	case <-ctx.Done():
		return nil, &CanceledError{MayLand: true, Err: context.Cause(ctx)}
	}
}

// A Ticket stands for an append that was submitted. It is safe for concurrent use, and need not be waited for.
type Ticket struct{ t *ticket }

// Done returns a channel that is closed when the outcome is there.
func (t *Ticket) Done() <-chan struct{} { return t.t.done }

// Wait returns the outcome of the append, as [Store.Append] would have. It may be called any number of times. ctx bounds
// the wait and takes nothing back.
//
// Errors: as Append; *[CanceledError] with MayLand when ctx ends first.
func (t *Ticket) Wait(ctx context.Context) (Receipt, error) {
	receipts, err := t.t.wait(ctx)
	if err != nil {
		return Receipt{}, err
	}
	return receipts[0], nil
}

// A BatchTicket stands for a batch that was submitted. It is safe for concurrent use, and need not be waited for.
type BatchTicket struct{ t *ticket }

// Done returns a channel that is closed when the outcome is there.
func (t *BatchTicket) Done() <-chan struct{} { return t.t.done }

// Wait returns the outcome of the batch, as [Store.AppendBatch] would have, each time in the same slice. ctx bounds the
// wait and takes nothing back.
//
// Errors: as AppendBatch; *[CanceledError] with MayLand when ctx ends first.
func (t *BatchTicket) Wait(ctx context.Context) ([]Receipt, error) { return t.t.wait(ctx) }

// Submit hands an append over and returns without waiting for it, not even for others: the event is committed in the
// order of submission, and shares writes and syncs as those of [Store.Append] do. Its outcome is the ticket's. The draft
// is checked and encoded before Submit returns, so that its payload may be used again.
//
// What was submitted and is not committed is in memory, and bounded by [Options.MaxPending] and
// [Options.MaxPendingBytes]: beyond, Submit refuses rather than wait. [Store.Pressure] says how near that is.
//
// Errors: *[OverloadError]; *[DraftError], *[LimitError]; *[CanceledError] when ctx has ended before; [ErrClosed];
// [ErrReadOnly]. Nothing was submitted then.
func (s *Store) Submit(ctx context.Context, d Draft) (*Ticket, error) {
	t, err := s.submitWith(ctx, func(r *request) error { return s.encodeOne(r, &d) })
	if err != nil {
		return nil, err
	}
	return &Ticket{t}, nil
}

// SubmitBatch is [Store.Submit] for a batch, which commits as a whole or not at all.
//
// Errors: as Submit, wrapped in a *[BatchError] where one draft is to blame.
func (s *Store) SubmitBatch(ctx context.Context, drafts []Draft) (*BatchTicket, error) {
	t, err := s.submitWith(ctx, func(r *request) error { return s.encodeBatch(r, drafts) })
	if err != nil {
		return nil, err
	}
	return &BatchTicket{t}, nil
}

// submitWith encodes a request and puts it into the queue.
func (s *Store) submitWith(ctx context.Context, encode func(*request) error) (*ticket, error) {
	if err := s.writable(ctx); err != nil {
		return nil, err
	}
	r := newRequest()
	if err := encode(r); err != nil {
		r.free()
		return nil, err
	}
	t := &ticket{events: int64(len(r.items)), bytes: r.size(), done: make(chan struct{})}
	r.ticket = t
	err := s.pressure.enter(t, &s.opts)
	if err == nil {
		if err = s.submit(r); err != nil {
			s.pressure.leave(t)
		}
	}
	if err != nil {
		r.free()
		return nil, err
	}
	return t, nil
}

// answer gives the outcome of r to its ticket, and r back.
func (s *Store) answer(r *request) {
	t := r.ticket
	s.finishReceipts(r)
	if t.err = r.err; t.err == nil {
		t.receipts = r.receipts
		r.receipts = nil // they are the caller's
	}
	s.pressure.leave(t)
	r.free()
	close(t.done)
}

// A Pressure says how much was submitted and is not committed yet.
type Pressure struct {
	Events, MaxEvents int64
	Bytes, MaxBytes   int64 // of frames
}

// Load returns how full the fuller of the two is: 0 when nothing is pending, 1 where Submit refuses.
func (p Pressure) Load() float64 {
	return max(float64(p.Events)/float64(p.MaxEvents), float64(p.Bytes)/float64(p.MaxBytes))
}

// Pressure returns how near [Store.Submit] is to refusing. It takes no lock.
func (s *Store) Pressure() Pressure {
	return Pressure{
		Events: s.pressure.events.Load(), MaxEvents: int64(s.opts.MaxPending),
		Bytes: s.pressure.bytes.Load(), MaxBytes: s.opts.MaxPendingBytes,
	}
}

// A pressure counts what is pending. The zero value counts nothing; safe for concurrent use.
type pressure struct{ events, bytes atomic.Int64 }

// enter counts t, unless that would be too much.
//
// Errors: *[OverloadError].
func (p *pressure) enter(t *ticket, o *Options) error {
	events, bytes := p.events.Add(t.events), p.bytes.Add(t.bytes)
	if events == t.events || events <= int64(o.MaxPending) && bytes <= o.MaxPendingBytes {
		return nil
	}
	p.leave(t)
	return &OverloadError{Pressure{
		Events: events - t.events, MaxEvents: int64(o.MaxPending),
		Bytes: bytes - t.bytes, MaxBytes: o.MaxPendingBytes,
	}}
}

func (p *pressure) leave(t *ticket) {
	p.events.Add(-t.events)
	p.bytes.Add(-t.bytes)
}

// An OverloadError says that too much is pending for another request. Nothing was submitted; what is pending goes on.
type OverloadError struct {
	Pressure Pressure // without the refused request
}

func (e *OverloadError) Error() string {
	return fmt.Sprintf("%v: %d of %d events, %d of %d bytes are pending",
		ErrOverload, e.Pressure.Events, e.Pressure.MaxEvents, e.Pressure.Bytes, e.Pressure.MaxBytes)
}

// Unwrap returns [ErrOverload].
func (e *OverloadError) Unwrap() error { return ErrOverload }
