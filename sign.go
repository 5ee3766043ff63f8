package batpak

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"fmt"
	"slices"

	"batpak/event"
	"batpak/internal/receipt"
)

// A KeyID names a public key: a hash of it.
type KeyID [32]byte

// KeyIDOf returns the name of key.
func KeyIDOf(key ed25519.PublicKey) KeyID { return receipt.KeyID(key) }

// String returns 64 hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// A Signature is an Ed25519 signature (RFC 8032) by which a store vouches for a receipt: for its Store and its Hash,
// which covers every field but Replayed. Events that are committed together are signed together: one signature over the
// Merkle tree of their hashes, of which each Signature carries the path of its own. The zero Signature is none.
// Signatures are comparable; one event may have several that hold.
type Signature struct {
	text string // as internal/receipt encodes it
}

// IsZero reports whether there is no signature.
func (s Signature) IsZero() bool { return s.text == "" }

// KeyID returns the name of the key that s says it was made with; zero for the zero Signature.
func (s Signature) KeyID() KeyID {
	d, err := receipt.DecodeSignature([]byte(s.text))
	if err != nil {
		return KeyID{}
	}
	return d.Key
}

// A keyring is the public keys whose signatures count.
type keyring map[KeyID]ed25519.PublicKey

// A signer signs for a store. It never changes.
type signer struct {
	key  ed25519.PrivateKey // signs
	id   KeyID
	ring keyring // of all keys
}

// newSigner returns the signer with copies of keys, which were checked; nil when there are none. The last one signs.
func newSigner(keys []ed25519.PrivateKey) *signer {
	if len(keys) == 0 {
		return nil
	}
	s := &signer{key: slices.Clone(keys[len(keys)-1]), ring: make(keyring, len(keys))}
	for _, key := range keys {
		public := slices.Clone(key.Public().(ed25519.PublicKey))
		s.id = KeyIDOf(public)
		s.ring[s.id] = public
	}
	return s
}

// signingKeysHold reports whether every key is one: its halves belong together.
func signingKeysHold(keys []ed25519.PrivateKey) bool {
	return !slices.ContainsFunc(keys, func(key ed25519.PrivateKey) bool {
		return len(key) != ed25519.PrivateKeySize || !ed25519.NewKeyFromSeed(key.Seed()).Equal(key)
	})
}

// sign returns one signature for all of the hashes.
func (s *signer) sign(store [16]byte, hashes []event.Hash) *receipt.Group {
	return receipt.Sign(s.key, s.id, store, hashes)
}

// A signedGroup is the signature of a write group, which comes while the group is written.
type signedGroup struct {
	first  uint64       // sequence of the first event
	hashes []event.Hash // of the events, in order of sequence
	done   chan struct{}
	group  *receipt.Group // when done is closed
}

// signature returns that of the event of r, if it is in the group. It waits until the group is signed.
func (g *signedGroup) signature(r *Receipt) (s Signature, ok bool) {
	i := r.Seq - g.first // far out when r is older
	if i >= uint64(len(g.hashes)) || g.hashes[i] != r.Hash {
		return s, false
	}
	<-g.done
	return Signature{text: g.group.Signature(int(i))}, true
}

// signGroup has the staged group signed on another goroutine, which the requests of the group wait for when they have
// their outcome: so the signature comes while the disk works. To be called by the committer between staging and
// writing. It keeps nothing of the committer's. Where it is not called, finishReceipts signs each request on its own.
func (s *Store) signGroup(group []*request) {
	c := &s.commit
	if s.signer == nil || len(c.hashes) == 0 {
		return
	}
	g := &signedGroup{first: c.seq - uint64(len(c.hashes)) + 1, hashes: slices.Clone(c.hashes), done: make(chan struct{})}
	for _, r := range group {
		r.signed = g
	}
	go func() {
		defer close(g.done)
		g.group = s.signer.sign(s.state.StoreID, g.hashes)
	}()
}

// finishReceipts puts into the receipts of r, which has its outcome, what the committer need not know, and signs them. It
// runs on the caller's goroutine, if r has one that waits.
func (s *Store) finishReceipts(r *request) {
	if r.err != nil {
		s.finishDenial(r)
		return
	}
	optional := event.OptionalOf
	if len(r.receipts) > 1 {
		optional = new(event.Optionals).Of
	}
	for i := range r.receipts {
		r.complete(i, optional)
	}
	if s.signer != nil {
		s.signReceipts(r)
	}
}

// finishDenial signs the receipt of the denial that r ended in, if it was recorded.
func (s *Store) finishDenial(r *request) {
	if s.signer == nil {
		return
	}
	if denied := isDenial(r.err); denied != nil && denied.Receipt != nil {
		s.signEach(r.signed, denied.Receipt)
	}
}

// complete sets the fields of receipt i that the log did not say: a retry has the same ones as the first request. optional
// is event.OptionalOf, or as good.
func (r *request) complete(i int, optional func(meta []byte) event.Optional) {
	it, rcpt := &r.items[i], &r.receipts[i]
	if rcpt.fromLog() {
		return
	}
	meta := it.meta()
	if it.cause >= 0 {
		event.SetCausation(meta, r.receipts[it.cause].ID)
	}
	rcpt.PayloadVersion, rcpt.optional = it.version, optional(meta)
	if rcpt.Replayed { // the retry may come through another fence than the first request
		rcpt.optional = rcpt.optional.WithFence(it.stagedBy)
	}
}

// fromLog reports whether r was read from a frame, and so is complete. Only a retry is, which has a key.
func (r *Receipt) fromLog() bool { return r.Replayed && !r.optional.IsZero() }

// signReceipts signs the receipts of r. Those that do not prove themselves stay unsigned: see [Options.SigningKeys].
func (s *Store) signReceipts(r *request) {
	receipts := make([]*Receipt, 0, len(r.receipts))
	for i := range r.receipts {
		if rcpt := &r.receipts[i]; !rcpt.Replayed || rcpt.link() == rcpt.Hash {
			receipts = append(receipts, rcpt)
		}
	}
	s.signEach(r.signed, receipts...)
}

// signEach signs receipts that are true: from the group's signature where it covers them, the others with one of their
// own.
func (s *Store) signEach(g *signedGroup, receipts ...*Receipt) {
	rest := receipts[:0]
	for _, r := range receipts {
		ok := false
		if g != nil {
			r.Signature, ok = g.signature(r)
		}
		if !ok {
			rest = append(rest, r)
		}
	}
	s.signer.signAll(s.state.StoreID, rest)
}

// signAll signs receipts that are known to be true, with one signature.
func (s *signer) signAll(store [16]byte, receipts []*Receipt) {
	if len(receipts) == 0 {
		return
	}
	hashes := make([]event.Hash, len(receipts))
	for i, r := range receipts {
		hashes[i] = r.Hash
	}
	g := s.sign(store, hashes)
	for i, r := range receipts {
		r.Signature = Signature{text: g.Signature(i)}
	}
}

// SignReceipt returns r signed with the last of Options.SigningKeys, in place of the signature it had. It first checks r
// against the log, as [Store.VerifyReceipt] does, and signs nothing that is not true. A signature that r has is not
// looked at: so receipts of keys that are gone can be signed anew.
//
// Errors: [ErrNoSigningKey]; as [Store.VerifyReceipt].
func (s *Store) SignReceipt(ctx context.Context, r Receipt) (Receipt, error) {
	if s.signer == nil {
		return Receipt{}, ErrNoSigningKey
	}
	r.Signature = Signature{}
	if err := s.VerifyReceipt(ctx, r); err != nil {
		return Receipt{}, fmt.Errorf("sign receipt of event %v: %w", r.ID, err)
	}
	s.signer.signAll(s.state.StoreID, []*Receipt{&r})
	return r, nil
}
