package batpak

import (
	"context"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/index"
)

// A PartialReplayError says that some keys of a batch are known and some are not, so that the batch is neither a retry
// nor new. Nothing was written.
type PartialReplayError struct {
	Known []int // indexes of the drafts whose keys are known
}

func (e *PartialReplayError) Error() string {
	return fmt.Sprintf("%v: keys of drafts %v of the batch are known, the others are not", ErrIdempotency, e.Known)
}

// Unwrap returns [ErrIdempotency].
func (e *PartialReplayError) Unwrap() error { return ErrIdempotency }

// replay answers a request whose keys are all known with the receipts of their first commit (I7).
func (s *Store) replay(r *request) (replayed bool, err error) {
	var known []int
	settled := true
	for i := range r.items {
		if !r.items[i].keyed {
			continue
		}
		receipt, staged, ok, err := s.known(&r.items[i])
		for s.healed(err) {
			receipt, staged, ok, err = s.known(&r.items[i])
		}
		if err != nil {
			r.receipts, r.settled = r.receipts[:0], !staged
			if r.batch {
				err = &BatchError{Index: i, Err: err}
			}
			return false, err
		}
		if ok {
			settled = settled && !staged
			known = append(known, i)
			r.receipts = append(r.receipts, receipt)
		}
	}
	switch len(known) {
	case 0:
		return false, nil
	case len(r.items):
		r.settled = settled
		if r.ack == AckDurable && s.commit.writer.Durable() < s.commit.writer.End() {
			s.commit.durable, r.settled = true, false
		}
		return true, nil
	}
	r.receipts, r.settled = r.receipts[:0], settled
	return false, &PartialReplayError{Known: known}
}

// known looks for the event that used the key of it first; staged says that it is part of the group being committed.
func (s *Store) known(it *item) (r Receipt, staged, ok bool, err error) {
	if first, ok := s.commit.keys[it.key.Hash]; ok {
		if first.key.Fingerprint != it.key.Fingerprint {
			return r, true, false, &IdempotencyConflictError{
				Seq: first.receipt.Seq, ID: first.receipt.ID, Want: it.key.Fingerprint, Have: first.key.Fingerprint,
			}
		}
		if err := s.commit.undecided(it, first.fence); err != nil {
			return r, true, false, err
		}
		r = first.receipt
		r.Replayed = true
		return r, true, true, nil
	}
	v := s.set.Acquire()
	if v == nil {
		return r, false, false, ErrClosed
	}
	defer v.Release()
	raw, found, err := v.FindKey(it.key.Hash)
	if err != nil {
		return r, false, false, err
	}
	if !found {
		r, ok, err = s.evicted(it)
		return r, false, ok, err
	}
	if s.hidden.contains(raw.Seq) {
		return r, false, false, nil // its fence was cancelled: as if it had never been
	}
	if err := s.commit.undecided(it, raw.Fence); err != nil {
		return r, false, false, err
	}
	if raw.Key.Fingerprint != it.key.Fingerprint {
		return r, false, false, &IdempotencyConflictError{
			Seq: raw.Seq, ID: raw.ID, Want: it.key.Fingerprint, Have: raw.Key.Fingerprint,
		}
	}
	r, err = s.receiptOf(v, &raw)
	if errors.Is(err, ErrReceiptEvicted) {
		err = nil // the event is there, and a retry must learn so; without its Parent the receipt proves nothing
	}
	r.Replayed = true
	return r, false, err == nil, err
}

// evicted looks for the key of it among those whose events are gone from the log.
func (s *Store) evicted(it *item) (r Receipt, ok bool, err error) {
	if s.state.Idemp == nil {
		return r, false, nil
	}
	e, ok, err := s.state.Idemp.Find(it.key.Hash)
	if err != nil || !ok {
		return r, false, err
	}
	if e.Key.Fingerprint != it.key.Fingerprint {
		return r, false, &IdempotencyConflictError{Seq: e.Seq, ID: e.ID, Want: it.key.Fingerprint, Have: e.Key.Fingerprint}
	}
	return Receipt{
		Store: s.state.StoreID, ID: e.ID, Seq: e.Seq, Coordinate: it.at, Kind: e.Kind, Clock: e.Clock, Lane: e.Lane,
		HLC: e.HLC, Hash: e.Hash, Content: e.Content, Parent: e.Parent, Replayed: true,
	}, true, nil
}

// receiptOf returns the receipt of a committed event, as its append returned it. When the event before has been evicted
// the receipt comes with an error, and lacks its Parent.
//
// Errors: *[ReceiptError] about Parent with [ErrReceiptEvicted], or about Hash with [ErrReceiptMismatch] for an event
// that is not what was hashed; as [index.View.Scan].
func (s *Store) receiptOf(v *index.View, raw *event.Raw) (Receipt, error) {
	r := receiptFrom(s.state.StoreID, raw)
	r.Hash, r.Content = raw.Hash, raw.Content()
	parent, err := parentOf(v, raw)
	if err != nil {
		return r, err
	}
	r.Parent = parent
	return r, r.verifyHash()
}

// parentOf returns the hash of the event before raw on its stream: hidden ones count, too. No frame says it, since
// whoever has the event before has it.
//
// Errors: *[ReceiptError] about Parent with [ErrReceiptEvicted]; as [index.View.Scan].
func parentOf(v *index.View, raw *event.Raw) (event.Hash, error) {
	if raw.Clock == 1 {
		return event.Hash{}, nil
	}
	lane := raw.Lane
	cur := v.Scan(index.Query{
		Entity: string(raw.Entity), Lane: &lane, Before: raw.Seq, Reverse: true, System: true,
	}, true)
	defer cur.Close()
	if cur.Next() && cur.Raw().Clock == raw.Clock-1 {
		return cur.Raw().Hash, nil
	}
	if err := cur.Err(); err != nil {
		return event.Hash{}, err
	}
	return event.Hash{}, &ReceiptError{Field: "Parent", Err: ErrReceiptEvicted}
}

// Receipt returns the receipt of a committed event, the same as its append returned; with Options.SigningKeys it is
// signed, by the last of them. The event's bytes are read and their hash is computed anew.
//
// Errors: [ErrNotFound]; *[ReceiptError] about Parent with [ErrReceiptEvicted] when the event before on the stream has
// left the log and with it what the receipt needs, or about Hash with [ErrReceiptMismatch] when the event is not what
// was hashed; [ErrClosed]; *[CanceledError]; *segment.FrameError and *segment.FooterError for damage.
func (s *Store) Receipt(ctx context.Context, id event.ID) (Receipt, error) {
	var r Receipt
	err := s.look(ctx, func(v *index.View) error {
		raw, ok, err := v.RawByID(id)
		if err == nil && (!ok || s.hidden.contains(raw.Seq)) {
			err = ErrNotFound
		}
		if err != nil {
			return err
		}
		r, err = s.receiptOf(v, &raw)
		return err
	})
	if err != nil {
		return Receipt{}, fmt.Errorf("receipt of event %v: %w", id, err)
	}
	if s.signer != nil {
		s.signer.signAll(s.state.StoreID, []*Receipt{&r})
	}
	return r, nil
}
