package batpak

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/index"
	"batpak/internal/receipt"
)

// ReceiptRules is what a receipt must meet. The zero ReceiptRules trust no key, and so no receipt.
type ReceiptRules struct {
	// Keys are the public keys that are trusted. A signature by any other is refused.
	Keys []ed25519.PublicKey
	// AllowUnsigned takes a receipt without a signature, too: its fields are checked against its Hash, but anybody could
	// have made it. A signature that is there must hold all the same.
	AllowUnsigned bool
	// Store is the identity of the store that the receipt must be of. Zero means any: which one it is, is signed.
	Store [16]byte
}

// VerifyReceipt checks r without its store. A nil error means that Hash is what the other fields yield, and that the
// owner of one of the keys signed it, unless the rules allow otherwise. Which field was changed cannot be told from the
// receipt alone: a change in any that Hash covers is reported as one of Hash, one in Store as one of the signature.
//
// Errors: *[ReceiptError]: [ErrReceiptForeign]; [ErrReceiptUnsigned]; [ErrReceiptMismatch] of Hash, or of Parent where
// the first event of a stream has one; [ErrReceiptEvicted] of Parent where the store did not know it any more;
// [ErrReceiptUnknownKey], [ErrReceiptWrongKey], [ErrReceiptSignature], [ErrReceiptFormat] of Signature.
func VerifyReceipt(r Receipt, rules ReceiptRules) error {
	if rules.Store != [16]byte{} && rules.Store != r.Store {
		return foreign(rules.Store, r.Store)
	}
	if r.Signature.IsZero() && !rules.AllowUnsigned {
		return &ReceiptError{Field: "Signature", Err: ErrReceiptUnsigned}
	}
	if err := r.verifyHash(); err != nil {
		return err
	}
	if r.Signature.IsZero() {
		return nil
	}
	ring := make(keyring, len(rules.Keys))
	for _, key := range rules.Keys {
		if len(key) == ed25519.PublicKeySize {
			ring[KeyIDOf(key)] = key
		}
	}
	return ring.verify(&r)
}

func foreign(want, have [16]byte) error {
	return &ReceiptError{Field: "Store", Want: event.ID(want), Have: event.ID(have), Err: ErrReceiptForeign}
}

// verifyHash checks that the fields of r yield its hash.
func (r *Receipt) verifyHash() error {
	switch {
	case r.Clock == 1 && !r.Parent.IsZero():
		return mismatch("Parent", event.Hash{}, r.Parent)
	case r.Clock > 1 && r.Parent.IsZero():
		return &ReceiptError{Field: "Parent", Err: ErrReceiptEvicted}
	}
	return mismatch("Hash", r.link(), r.Hash)
}

// verify checks the signature of r, whose hash was checked.
func (k keyring) verify(r *Receipt) error {
	s, err := receipt.DecodeSignature([]byte(r.Signature.text))
	if err != nil {
		return &ReceiptError{Field: "Signature", Err: ErrReceiptFormat, Cause: err}
	}
	key, ok := k[s.Key]
	if !ok {
		return &ReceiptError{Field: "Signature", Have: KeyID(s.Key), Err: ErrReceiptUnknownKey}
	}
	if s.Verify(key, r.Store, &r.Hash) {
		return nil
	}
	for id, other := range k {
		if s.Verify(other, r.Store, &r.Hash) {
			return &ReceiptError{Field: "Signature", Want: id, Have: KeyID(s.Key), Err: ErrReceiptWrongKey}
		}
	}
	return &ReceiptError{Field: "Signature", Err: ErrReceiptSignature}
}

// VerifyReceipt checks r against the log. A nil error means that the bytes of the event, read now, are what r says:
// every field of its header, its payload by Content, and Hash computed anew from these and Parent; and that r's
// signature, if it has one, is by one of Options.SigningKeys. A receipt without a signature is not refused, since the
// log proves it; who demands one calls the function [VerifyReceipt].
//
// Errors: *[ReceiptError]: [ErrReceiptForeign]; [ErrReceiptMissing], also while the event is not visible since a [Fence] is
// open; [ErrReceiptHidden], also when its fence was cancelled; [ErrReceiptEvicted] when the event has left the log, and its
// idempotency key confirms the receipt; [ErrReceiptMismatch], for the first field in the order of the header that
// differs; for the signature as the function. [ErrClosed]; *[CanceledError]; *segment.FrameError, *segment.FooterError
// and *idemp.FileError for damage.
func (s *Store) VerifyReceipt(ctx context.Context, r Receipt) error {
	if r.Store != s.state.StoreID {
		return foreign(s.state.StoreID, r.Store)
	}
	err := s.look(ctx, func(v *index.View) error {
		raw, found, err := eventOf(v, &r)
		switch {
		case err != nil:
			return err
		case !found:
			return s.gone(&r)
		case s.hidden.contains(raw.Seq):
			return &ReceiptError{Have: r.Seq, Err: ErrReceiptHidden}
		}
		return compareToLog(v, &raw, &r)
	})
	if err != nil || r.Signature.IsZero() {
		return err
	}
	if s.signer == nil {
		return keyring{}.verify(&r)
	}
	return s.signer.ring.verify(&r)
}

// eventOf finds the event that r is about: by its ID, or by its sequence when the log has no such ID.
func eventOf(v *index.View, r *Receipt) (raw event.Raw, ok bool, err error) {
	if raw, ok, err = v.RawByID(r.ID); ok || err != nil || r.Seq == 0 || r.Seq > v.Visible() {
		return raw, ok, err
	}
	cur := v.Scan(index.Query{After: r.Seq - 1, Before: r.Seq + 1, System: true}, false)
	defer cur.Close()
	if ok = cur.Next(); ok {
		raw = *cur.Raw()
	}
	return raw, ok, cur.Err()
}

// gone tells why the log has no event of r.
func (s *Store) gone(r *Receipt) error {
	key := r.Header().Key
	if key.Hash == [16]byte{} {
		return &ReceiptError{Have: r.Seq, Err: ErrReceiptMissing}
	}
	s.keys.RLock()
	defer s.keys.RUnlock()
	if s.closed.Load() {
		return ErrClosed
	}
	e, ok, err := s.state.EvictedKey(key.Hash)
	switch {
	case err != nil:
		return err
	case !ok || e.Seq != r.Seq && e.ID != r.ID:
		return &ReceiptError{Have: r.Seq, Err: ErrReceiptMissing}
	}
	err = firstOf(
		mismatch("ID", e.ID, r.ID), mismatch("Seq", e.Seq, r.Seq), mismatch("Kind", e.Kind, r.Kind),
		mismatch("Clock", e.Clock, r.Clock), mismatch("Lane", e.Lane, r.Lane), mismatch("HLC", e.HLC, r.HLC),
		mismatch("Key", e.Key, key), mismatch("Content", e.Content, r.Content), mismatch("Parent", e.Parent, r.Parent),
		mismatch("Hash", e.Hash, r.Hash), mismatch("Hash", r.link(), r.Hash),
	)
	if err != nil {
		return err
	}
	return &ReceiptError{Have: r.Seq, Err: ErrReceiptEvicted}
}

// compareToLog checks r against the bytes of its event.
//
// The event before need not be in the log any more: that the bytes and r.Parent yield the hash proves r.Parent.
func compareToLog(v *index.View, raw *event.Raw, r *Receipt) error {
	content := raw.Content()
	if err := firstOf(compareHeaders(raw, r), mismatch("Content", content, r.Content)); err != nil {
		return err
	}
	var l event.Linker
	if hash := l.Link(&r.Parent, &content, raw.Meta); hash == raw.Hash {
		return mismatch("Hash", raw.Hash, r.Hash)
	}
	parent, err := parentOf(v, raw)
	if err != nil && !errors.Is(err, ErrReceiptEvicted) {
		return err
	}
	if err != nil { // which hash the event before had, nobody knows; that it was not r.Parent, the hash says
		return &ReceiptError{Field: "Parent", Have: r.Parent, Err: ErrReceiptMismatch}
	}
	// With the right parent, the log's event is not what was hashed.
	return firstOf(mismatch("Parent", parent, r.Parent), mismatch("Hash", r.link(), r.Hash), mismatch("Hash", raw.Hash, r.Hash))
}

// compareHeaders returns the first field of the header in which r differs from the event in the log.
func compareHeaders(raw *event.Raw, r *Receipt) error {
	want, have := raw.Header(), r.plain()
	err := firstOf(
		mismatch("ID", want.ID, have.ID), mismatch("Seq", want.Seq, have.Seq),
		mismatch("Coordinate", want.Coordinate, have.Coordinate), mismatch("Kind", want.Kind, have.Kind),
		mismatch("Clock", want.Clock, have.Clock), mismatch("Lane", want.Lane, have.Lane), mismatch("HLC", want.HLC, have.HLC),
		mismatch("Depth", want.Depth, have.Depth), mismatch("PayloadVersion", want.PayloadVersion, have.PayloadVersion),
	)
	if err != nil || event.OptionalOf(raw.Meta) == r.optional {
		return err
	}
	have = r.Header()
	return firstOf(
		mismatch("Fork", want.Fork, have.Fork), mismatch("Correlation", want.Correlation, have.Correlation),
		mismatch("Causation", want.Causation, have.Causation), mismatch("Key", want.Key, have.Key),
		mismatch("Fence", want.Fence, have.Fence), mismatch("Tags", fmt.Sprintf("%q", want.Tags), fmt.Sprintf("%q", have.Tags)),
		mismatch("Extensions", fmt.Sprintf("%q", want.Extensions), fmt.Sprintf("%q", have.Extensions)),
		&ReceiptError{Field: "Salt", Want: want.Salt, Have: have.Salt, Err: ErrReceiptMismatch},
	)
}

// firstOf returns the first error there is.
func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
