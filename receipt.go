package batpak

import (
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/receipt"
)

// A Receipt is what a committed append returns: a proof of what was committed and where, that outlives the store. With
// the payload it is all that the event's Hash is computed from, so whoever holds both can check them without the store,
// and with a signature also who said so: see [VerifyReceipt] and [Receipt.VerifyPayload]. [Store.VerifyReceipt] checks it
// against the log, and [Store.Receipt] returns the receipt of any event. Compaction, recovery and reopening change none
// of it: the place on disk is no part of it.
//
// Receipts are comparable values. Two of the same event agree in all but Replayed, which belongs to a call, and
// Signature, of which there may be several: [Receipt.Same] leaves these out.
//
// The receipt of an event that a [Fence] staged says that the event is in the log, before it is known whether the fence
// commits: Header().Fence tells.
//
// A receipt has one binary and one JSON form. Neither says Replayed.
type Receipt struct {
	Store      [16]byte // identity of the store
	ID         event.ID
	Seq        uint64 // global commit order; ≥ 1
	Coordinate coordinate.Coordinate
	Kind       event.Kind
	Clock      uint64 // of the event's (entity, lane); ≥ 1
	Lane       uint32
	HLC        event.HLC
	Parent     event.Hash // of the event before on the same (entity, lane); zero for the first
	Hash       event.Hash // of Parent, Content and every field of the header
	Content    event.Hash // of the payload
	Replayed   bool       // the idempotency key was known; nothing was written

	Depth          uint32
	PayloadVersion uint16
	Signature      Signature // zero: not signed

	optional event.Optional
}

// Header returns every field of the event's header: also its correlation, causation, tags, extensions and the hash of
// its idempotency key. It belongs to the caller.
func (r Receipt) Header() event.Header {
	raw, err := event.DecodeMeta(r.meta())
	if err != nil {
		return r.plain() // of no event: such a receipt verifies nowhere
	}
	return raw.Header()
}

// Same reports whether r and other say the same of the same event, whoever signed them.
func (r Receipt) Same(other Receipt) bool {
	r.Replayed, r.Signature = other.Replayed, other.Signature
	return r == other
}

// VerifyPayload checks that payload is what was committed: that its hash is Content, which Hash covers.
//
// Errors: *[ReceiptError] about Content, with [ErrReceiptMismatch].
func (r Receipt) VerifyPayload(payload []byte) error {
	content := event.ContentHash(r.Header().Salt, payload)
	return mismatch("Content", content, r.Content)
}

// plain returns the fields of the header that every event has.
func (r *Receipt) plain() event.Header {
	return event.Header{
		Seq: r.Seq, ID: r.ID, HLC: r.HLC, Clock: r.Clock, Kind: r.Kind, PayloadVersion: r.PayloadVersion,
		Coordinate: r.Coordinate, Lane: r.Lane, Depth: r.Depth,
	}
}

// meta returns the hashed head of the event's body.
func (r *Receipt) meta() []byte {
	h := r.plain()
	return event.AppendMetaWith(nil, &h, r.optional)
}

// link returns the hash that the fields of r yield.
func (r *Receipt) link() event.Hash {
	var l event.Linker
	return l.Link(&r.Parent, &r.Content, r.meta())
}

// receiptFrom returns the receipt of a decoded event, without what no header says: parent, hash and content.
func receiptFrom(store [16]byte, raw *event.Raw) Receipt {
	return Receipt{
		Store: store, ID: raw.ID, Seq: raw.Seq, Coordinate: coordinate.Stored(string(raw.Entity), string(raw.Scope)),
		Kind: raw.Kind, Clock: raw.Clock, Lane: raw.Lane, HLC: raw.HLC,
		Depth: raw.Depth, PayloadVersion: raw.PayloadVersion, optional: event.OptionalOf(raw.Meta),
	}
}

// MarshalBinary implements [encoding.BinaryMarshaler]; docs/format.md says where the bytes are drawn.
//
// Errors: as [Receipt.AppendBinary].
func (r Receipt) MarshalBinary() ([]byte, error) { return r.AppendBinary(nil) }

// AppendBinary implements [encoding.BinaryAppender]: it appends what MarshalBinary returns.
//
// Errors: *[ReceiptError] with [ErrReceiptFormat] for a receipt whose fields no event can have.
func (r Receipt) AppendBinary(dst []byte) ([]byte, error) {
	meta := r.meta()
	if _, err := receipt.DecodeMeta(meta); err != nil {
		return dst, receiptForm(err)
	}
	return receipt.Append(dst, &receipt.Fields{
		Store: r.Store, Parent: r.Parent, Hash: r.Hash, Content: r.Content, Meta: meta, Signature: []byte(r.Signature.text),
	}), nil
}

// UnmarshalBinary implements [encoding.BinaryUnmarshaler]. It takes what MarshalBinary returns and nothing else, and
// keeps nothing of b. That b is a receipt says nothing about its truth: verify it. After an error r is as it was.
//
// Errors: *[ReceiptError] with [ErrReceiptFormat], or [ErrReceiptFuture] for a receipt of a newer version.
func (r *Receipt) UnmarshalBinary(b []byte) error {
	f, head, err := receipt.Decode(b)
	if err != nil {
		return receiptForm(err)
	}
	got := receiptFrom(f.Store, &head)
	got.Parent, got.Hash, got.Content = f.Parent, f.Hash, f.Content
	got.Signature = Signature{text: string(f.Signature)}
	*r = got
	return nil
}
