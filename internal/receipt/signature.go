package receipt

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"batpak/event"
	"batpak/internal/merkle"
	"batpak/internal/wire"
)

// domain separates the signature of receipts from every other use of the key.
const domain = "batpak.receipts.v1\n"

// keyDomain separates the name of a key from every other hash of it.
const keyDomain = "batpak.key-id.v1\n"

// KeyID returns the name of a public key.
func KeyID(key ed25519.PublicKey) [32]byte {
	return sha256.Sum256(append([]byte(keyDomain), key...))
}

// A signature, little-endian:
//
//	offset  size  field
//	0       32    key ID     SHA-256("batpak.key-id.v1\n", public key)
//	32      64    signature  Ed25519 (RFC 8032)
//	96      4     leaves     of the group's tree; ≥ 1
//	100     4     index      of this receipt's leaf
//	104     32×n  path       siblings from the leaf up; n follows from leaves and index
const (
	signatureHeadLen = 32 + ed25519.SignatureSize + 4 + 4
	maxSignatureLen  = signatureHeadLen + 32*event.HashLen
)

// A Signature is one receipt's part of a signed group.
type Signature struct {
	Key       [32]byte // ID of the key
	Signature [ed25519.SignatureSize]byte
	Leaves    uint32 // of the group; ≥ 1
	Index     uint32 // in the group
	Path      []event.Hash
}

// AppendSignature appends the encoding of s to dst.
func AppendSignature(dst []byte, s *Signature) []byte {
	le := binary.LittleEndian
	dst = append(dst, s.Key[:]...)
	dst = append(dst, s.Signature[:]...)
	dst = le.AppendUint32(dst, s.Leaves)
	dst = le.AppendUint32(dst, s.Index)
	for i := range s.Path {
		dst = append(dst, s.Path[i][:]...)
	}
	return dst
}

// DecodeSignature decodes all of b.
//
// Errors: [ErrFormat].
func DecodeSignature(b []byte) (Signature, error) {
	var s Signature
	r := wire.Reader{B: b}
	r.Copy(s.Key[:])
	r.Copy(s.Signature[:])
	s.Leaves, s.Index = r.Uint32(), r.Uint32()
	if r.Short || s.Index >= s.Leaves {
		return Signature{}, fmt.Errorf("%w: signature of %d bytes, leaf %d of %d", ErrFormat, len(b), s.Index, s.Leaves)
	}
	n := merkle.PathLen(uint64(s.Index), uint64(s.Leaves))
	if len(r.B) != n*event.HashLen {
		return Signature{}, fmt.Errorf("%w: path of %d bytes, want %d hashes", ErrFormat, len(r.B), n)
	}
	if n > 0 {
		s.Path = make([]event.Hash, n)
	}
	for i := range s.Path {
		r.Copy(s.Path[i][:])
	}
	return s, nil
}

// Verify reports whether s is what the owner of key signed for the event with this hash in store.
func (s *Signature) Verify(key ed25519.PublicKey, store [16]byte, hash *event.Hash) bool {
	root, ok := merkle.RootOf(hash, uint64(s.Index), uint64(s.Leaves), s.Path)
	return ok && ed25519.Verify(key, message(store, s.Leaves, &root), s.Signature[:])
}

// message returns what is signed for a group.
func message(store [16]byte, leaves uint32, root *event.Hash) []byte {
	m := make([]byte, 0, len(domain)+len(store)+4+event.HashLen)
	m = append(m, domain...)
	m = append(m, store[:]...)
	m = binary.LittleEndian.AppendUint32(m, leaves)
	return append(m, root[:]...)
}

// A Group is the signature of a write group, and what it takes to hand each receipt its part. Safe for concurrent use.
type Group struct {
	key       [32]byte
	signature [ed25519.SignatureSize]byte
	tree      *merkle.Prover
	leaves    uint32
}

// Sign signs the events with these hashes in store: one signature, whatever their number. There is at least one. id is
// the key's.
func Sign(key ed25519.PrivateKey, id [32]byte, store [16]byte, hashes []event.Hash) *Group {
	g := &Group{key: id, tree: merkle.NewProver(hashes), leaves: uint32(len(hashes))}
	root := g.tree.Root()
	copy(g.signature[:], ed25519.Sign(key, message(store, g.leaves, &root)))
	return g
}

// Signature returns the encoded signature of the event at index i, in [0, leaves).
func (g *Group) Signature(i int) string {
	var path [32]event.Hash
	var room [maxSignatureLen]byte
	return string(AppendSignature(room[:0], &Signature{
		Key: g.key, Signature: g.signature, Leaves: g.leaves, Index: uint32(i), Path: g.tree.AppendPath(path[:0], i),
	}))
}
