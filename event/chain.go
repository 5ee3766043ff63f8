package event

import (
	"crypto/sha256"
	"encoding/binary"
)

// chainDomain separates the hash of an event from every other use of SHA-256.
const chainDomain = "batpak.event.v1\n"

// linkHeadLen is what stands before meta when an event is hashed.
const linkHeadLen = len(chainDomain) + 2*HashLen

// ContentHash returns the SHA-256 of the salt, if it is not zero, and the payload. Without a salt it is what
// sha256sum prints for the payload.
func ContentHash(salt [16]byte, payload []byte) Hash {
	if salt == [16]byte{} {
		return sha256.Sum256(payload)
	}
	d := sha256.New()
	d.Write(salt[:])
	d.Write(payload)
	return Hash(d.Sum(nil))
}

// A Linker computes chain hashes with one scratch buffer. The zero Linker is ready; it is not safe for concurrent use.
type Linker struct {
	scratch []byte // domain | parent | content | meta
}

// Link returns the hash of the event with the given parent hash, content hash and meta (see the package comment).
// It keeps none of its arguments.
func (l *Linker) Link(parent, content *Hash, meta []byte) Hash {
	s := append(l.scratch[:0], chainDomain...)
	s = append(s, parent[:]...)
	s = append(s, content[:]...)
	s = append(s, meta...)
	l.scratch = s
	// The flag that says "redacted" may be set after the commit; the hash stands for the event as it was committed.
	at := linkHeadLen + offFlags
	f := binary.LittleEndian.Uint16(s[at:]) &^ uint16(FlagRedacted)
	binary.LittleEndian.PutUint16(s[at:], f)
	return sha256.Sum256(s)
}

// Verify reports whether r carries the hash that its fields, its content and parent yield.
func (l *Linker) Verify(r *Raw, parent Hash) bool {
	content := r.Content()
	return l.Link(&parent, &content, r.Meta) == r.Hash
}
