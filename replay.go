package batpak

import (
	"context"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/planted"
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
	suspects, err := s.suspects(r)
	if len(suspects) == 0 || err != nil {
		return false, err // nearly always
	}
	var known []int
	settled := true
	for _, i := range suspects {
		var receipt Receipt
		staged, ok, err := s.known(&r.items[i], &receipt)
		for s.healed(err) {
			staged, ok, err = s.known(&r.items[i], &receipt)
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
			receipt.Replayed = true
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

// suspects returns the items of r whose keys may be known, which [Store.known] says for sure: nearly always none. The
// result is valid until the next call.
func (s *Store) suspects(r *request) ([]int, error) {
	c := &s.commit
	c.suspects = c.suspects[:0]
	if len(r.probes) == 0 {
		return nil, nil
	}
	v := s.set.AcquireAll()
	if v == nil {
		return nil, ErrClosed
	}
	v.Sift(r.probes, idemp.WindowStart(c.seq, s.opts.IdempotencyWindow))
	v.Release()
	evicted := s.state.HasEvictedKeys()
	for i := range r.probes {
		p := &r.probes[i]
		may := p.May
		if first, _ := c.keys.find(&p.Key); first != nil {
			may = true
		}
		if evicted && !may {
			_, ok, err := s.state.EvictedKey(p.Key)
			may = ok || err != nil // known meets the error, too
		}
		if may {
			c.suspects = append(c.suspects, p.Of)
		}
	}
	return c.suspects, nil
}

// known looks for the event that used the key of it first, and fills in its receipt; staged says that it is part of the
// group being committed. An event whose fence was cancelled is as if it had never been.
func (s *Store) known(it *item, r *Receipt) (staged, ok bool, err error) {
	if first, receipt := s.commit.keys.find(&it.key.Hash); first != nil {
		*r = *receipt
		it.stagedBy = first.fence
		if err = it.sameAs(&first.key, r.Seq, r.ID); err == nil {
			err = s.commit.undecided(it, first.fence)
		}
		return true, err == nil, err
	}
	v := s.set.AcquireAll() // the event, and the one before it on its stream, may wait behind an open fence
	if v == nil {
		return false, false, ErrClosed
	}
	defer v.Release()
	raw, seq := &s.commit.found, uint64(0)
	from := idemp.WindowStart(s.commit.seq, s.opts.IdempotencyWindow)
	found, err := v.FindKey(raw, it.key.Hash, from, s.hidden.keyFilter())
	if err != nil {
		return false, false, err
	}
	if found {
		seq = raw.Seq
	}
	evicted, ok, err := s.state.EvictedKey(it.key.Hash)
	switch {
	case err != nil:
		return false, false, err
	case ok && evicted.Seq >= seq && !s.hidden.contains(evicted.Seq):
		// Of an event that is still there it knows the parent, which may be gone.
		*r = s.evictedReceipt(it, &evicted)
		it.stagedBy = evicted.Fence
		err = it.sameAs(&evicted.Key, evicted.Seq, evicted.ID)
		return false, err == nil, err
	case !found:
		return false, false, nil
	}
	if err = s.commit.undecided(it, raw.Fence); err == nil {
		err = it.sameAs(&raw.Key, raw.Seq, raw.ID)
	}
	if err == nil {
		*r, err = s.receiptOf(v, raw)
	}
	if errors.Is(err, ErrReceiptEvicted) {
		err = nil // the event is there, and a retry must learn so; without its Parent the receipt proves nothing
	}
	*raw = event.Raw{} // its payload may be large
	return false, err == nil, err
}

// sameAs returns nil when the request of it is the one that used its key first, for the event with this sequence and ID.
//
// Errors: *[IdempotencyConflictError].
func (it *item) sameAs(first *event.Key, seq uint64, id event.ID) error {
	if first.Fingerprint == it.key.Fingerprint {
		return nil
	}
	return &IdempotencyConflictError{Seq: seq, ID: id, Want: it.key.Fingerprint, Have: first.Fingerprint}
}

// evictedReceipt returns the receipt of the event that e is about, as its append returned it: the request of it is the same.
func (s *Store) evictedReceipt(it *item, e *idemp.Entry) Receipt {
	return Receipt{
		Store: s.state.StoreID, ID: e.ID, Seq: e.Seq, Coordinate: it.at, Kind: e.Kind, Clock: e.Clock, Lane: e.Lane,
		HLC: e.HLC, Hash: e.Hash, Content: e.Content, Parent: e.Parent, Depth: e.Depth,
	}
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

// stagedKeys are the idempotency keys whose events are in the group being committed. Owned by the committer.
type stagedKeys struct {
	fresh []*request // whose keys are not in places yet: a group of one request is never asked
	place map[[16]byte]stagedPlace
	lost  map[[16]byte]*lostKey // planted.KeyStagedBeforeDurable
}

// A lostKey is one that a planted bug goes on to know.
type lostKey struct {
	item    item
	receipt Receipt
}

// A stagedPlace is where a key of the group stands.
type stagedPlace struct {
	r *request
	i int // item
}

// keysKept is how many keys the map may have held that the next group uses again: to clear it costs what it once held.
const keysKept = 1 << 10

// reset forgets the group.
func (k *stagedKeys) reset() {
	clear(k.fresh)
	k.fresh = k.fresh[:0]
	if len(k.place) > keysKept {
		k.place = nil
	}
	clear(k.place)
}

// add lets later requests of the group find the keys of r, which was staged.
func (k *stagedKeys) add(r *request) {
	for i := range r.items {
		if !r.items[i].keyed {
			continue
		}
		if planted.On(planted.KeyStagedBeforeDurable) {
			if k.lost == nil {
				k.lost = make(map[[16]byte]*lostKey)
			}
			k.lost[r.items[i].key.Hash] = &lostKey{r.items[i], r.receipts[i]}
			continue
		}
		k.fresh = append(k.fresh, r)
		return
	}
}

// find returns the item of the group that has a key, and its receipt; nil when none does.
func (k *stagedKeys) find(hash *[16]byte) (*item, *Receipt) {
	if len(k.fresh) > 0 {
		k.take()
	}
	if at, ok := k.lost[*hash]; ok && planted.On(planted.KeyStagedBeforeDurable) {
		return &at.item, &at.receipt
	}
	if at, ok := k.place[*hash]; ok {
		return &at.r.items[at.i], &at.r.receipts[at.i]
	}
	return nil, nil
}

// take puts the fresh keys into the map.
func (k *stagedKeys) take() {
	if k.place == nil {
		k.place = make(map[[16]byte]stagedPlace)
	}
	for _, r := range k.fresh {
		for i := range r.items {
			if r.items[i].keyed {
				k.place[r.items[i].key.Hash] = stagedPlace{r, i}
			}
		}
	}
	clear(k.fresh)
	k.fresh = k.fresh[:0]
}
