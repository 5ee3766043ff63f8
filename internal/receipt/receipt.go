// Package receipt is the bytes of a receipt, and the signatures over the receipts of a write group: pure functions over
// bytes and hashes.
//
// # What a signature says
//
// The hash of an event covers every field of its header, the hash of the event before it and the hash of its payload.
// So a receipt is signed by signing its store and its hash, and whoever checks it first computes the hash from the
// fields. One signature serves a whole write group: it is over the Merkle tree (RFC 6962 §2.1) of the group's hashes,
//
//	message = "batpak.receipts.v1\n", store (16), leaves (uint32, little-endian), root (32)
//
// and each receipt carries its place in the tree and its inclusion path. A receipt signed alone is a tree of one leaf.
package receipt

import (
	"encoding/binary"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/internal/wire"
)

// Errors of the decoders.
var (
	ErrFormat = errors.New("receipt: malformed")
	ErrFuture = errors.New("receipt: from a newer version")
)

// A receipt, little-endian:
//
//	offset  size  field
//	0       8     magic "BATPAKRC"
//	8       2     version 1
//	10      2     length of the signature; 0 when there is none
//	12      4     length of meta
//	16      16    store
//	32      32    parent
//	64      32    hash
//	96      32    content hash
//	128     …     meta: the hashed head of the event's body (event/body.go), as it was committed
//	        …     signature
//
// There is no checksum: hash covers everything before the signature but store, which the signature covers.
const (
	magic     = "BATPAKRC"
	version   = 1
	headerLen = 8 + 2 + 2 + 4 + 16 + 3*event.HashLen
)

const (
	_ uint = headerLen - 128
	_ uint = 128 - headerLen
)

// MaxLen bounds the encoding of any receipt: the fields of the largest header, with room to spare.
const MaxLen = headerLen + event.MaxTagBytes + event.MaxExtensionBytes + event.MaxExtensions*6 + 4096 + maxSignatureLen

// Fields is what a receipt consists of.
type Fields struct {
	Store                 [16]byte
	Parent, Hash, Content event.Hash
	Meta                  []byte
	Signature             []byte // encoded; empty when there is none
}

// Append appends the encoding of f to dst.
func Append(dst []byte, f *Fields) []byte {
	le := binary.LittleEndian
	dst = append(dst, magic...)
	dst = le.AppendUint16(dst, version)
	dst = le.AppendUint16(dst, uint16(len(f.Signature)))
	dst = le.AppendUint32(dst, uint32(len(f.Meta)))
	dst = append(dst, f.Store[:]...)
	dst = append(dst, f.Parent[:]...)
	dst = append(dst, f.Hash[:]...)
	dst = append(dst, f.Content[:]...)
	dst = append(dst, f.Meta...)
	return append(dst, f.Signature...)
}

// Decode decodes all of b, which the result aliases. It takes what Append makes of a receipt, and nothing else: whatever
// decodes has one encoding. It does not look at hashes and signatures, only at their form.
//
// Errors: [ErrFormat]; [ErrFuture].
func Decode(b []byte) (f Fields, head event.Raw, err error) {
	r := wire.Reader{B: b}
	if string(r.Bytes(len(magic))) != magic {
		return f, head, fmt.Errorf("%w: no magic", ErrFormat)
	}
	switch v := r.Uint16(); {
	case v > version:
		return f, head, fmt.Errorf("%w: version %d", ErrFuture, v)
	case v != version || len(b) > MaxLen:
		return f, head, fmt.Errorf("%w: version %d, %d bytes", ErrFormat, v, len(b))
	}
	signatureLen, metaLen := r.Uint16(), r.Uint32()
	r.Copy(f.Store[:])
	r.Copy(f.Parent[:])
	r.Copy(f.Hash[:])
	r.Copy(f.Content[:])
	if uint64(metaLen)+uint64(signatureLen) != uint64(len(r.B)) {
		return f, head, fmt.Errorf("%w: %d bytes", ErrFormat, len(b))
	}
	f.Meta, f.Signature = r.Bytes(int(metaLen)), r.Bytes(int(signatureLen))
	if head, err = DecodeMeta(f.Meta); err != nil {
		return f, head, err
	}
	if len(f.Signature) > 0 {
		_, err = DecodeSignature(f.Signature)
	}
	return f, head, err
}

// DecodeMeta decodes all of meta, which the result aliases, and checks it as strictly as an append would.
//
// Errors: [ErrFormat]; [ErrFuture].
func DecodeMeta(meta []byte) (event.Raw, error) {
	head, err := event.DecodeMeta(meta)
	if err == nil && (len(head.Meta) != len(meta) || head.Flags&event.FlagRedacted != 0) {
		err = event.ErrBody
	}
	if err == nil {
		err = head.Check()
	}
	switch {
	case err == nil:
		return head, nil
	case errors.Is(err, event.ErrFuture):
		return head, fmt.Errorf("%w: %w", ErrFuture, err)
	}
	return head, fmt.Errorf("%w: %w", ErrFormat, err)
}
