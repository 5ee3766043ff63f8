package batpak

import (
	"errors"
	"fmt"

	"batpak/coordinate"
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

// receiptOf returns the receipt of a committed event, as its append returned it.
func (s *Store) receiptOf(v *index.View, raw *event.Raw) (Receipt, error) {
	r := Receipt{
		Store: s.state.StoreID, ID: raw.ID, Seq: raw.Seq,
		Coordinate: coordinate.Stored(string(raw.Entity), string(raw.Scope)),
		Kind:       raw.Kind, Clock: raw.Clock, Lane: raw.Lane, HLC: raw.HLC, Hash: raw.Hash, Content: raw.Content(),
	}
	if raw.Clock == 1 {
		return r, nil
	}
	lane := raw.Lane
	cur := v.Scan(index.Query{
		Entity: r.Coordinate.Entity(), Lane: &lane, Before: raw.Seq, Reverse: true, System: true,
	}, true)
	defer cur.Close()
	if !cur.Next() {
		return r, errors.Join(cur.Err(), fmt.Errorf("%w: the event before sequence %d on its stream", ErrNotFound, raw.Seq))
	}
	r.Parent = cur.Raw().Hash
	return r, nil
}
