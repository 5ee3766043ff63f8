package idemp

import (
	"encoding/binary"

	"batpak/event"
	"batpak/internal/wire"
)

// An Entry is one key, the request that used it first, and what came of that. It holds all of the receipt but what the
// request itself says: a retry has the same fingerprint, and so the same coordinate, tags and extensions.
type Entry struct {
	Key     event.Key // hash ≠ 0, and fingerprint of the request
	ID      event.ID
	Parent  event.Hash // of the event before on the same (entity, lane); zero for the first
	Hash    event.Hash
	Content event.Hash
	Seq     uint64 // ≥ 1
	HLC     event.HLC
	Clock   uint64 // ≥ 1
	Fence   uint64 // that staged the event; 0 for none
	Lane    uint32
	Depth   uint32
	Kind    event.Kind
}

// EntryOf returns the entry of an event that has a key; parent is the hash of the event before it on its (entity, lane).
func EntryOf(r *event.Raw, parent event.Hash) Entry {
	return Entry{
		Key: r.Key, ID: r.ID, Parent: parent, Hash: r.Hash, Content: r.Content(),
		Seq: r.Seq, HLC: r.HLC, Clock: r.Clock, Fence: r.Fence, Lane: r.Lane, Depth: r.Depth, Kind: r.Kind,
	}
}

// An entry, little-endian:
//
//	offset  size  field
//	0       16    key          hash of the idempotency key; not zero
//	16      16    fingerprint  of the request
//	32      16    ID
//	48      32    parent
//	80      32    hash
//	112     32    content
//	144     8     sequence     ≥ 1
//	152     8     HLC
//	160     8     clock        ≥ 1
//	168     8     fence        0 for none
//	176     4     lane
//	180     4     depth
//	184     2     kind
//	186     6     zero
const (
	keyLen   = 16
	entryLen = keyLen + 16 + event.IDLen + 3*event.HashLen + 4*8 + 4 + 4 + 2 + 6
)

const (
	_ uint = entryLen - 192
	_ uint = 192 - entryLen
)

// appendEntry appends the encoding of e to dst.
func appendEntry(dst []byte, e *Entry) []byte {
	le := binary.LittleEndian
	dst = append(dst, e.Key.Hash[:]...)
	dst = append(dst, e.Key.Fingerprint[:]...)
	dst = append(dst, e.ID[:]...)
	dst = append(dst, e.Parent[:]...)
	dst = append(dst, e.Hash[:]...)
	dst = append(dst, e.Content[:]...)
	dst = le.AppendUint64(dst, e.Seq)
	dst = le.AppendUint64(dst, uint64(e.HLC))
	dst = le.AppendUint64(dst, e.Clock)
	dst = le.AppendUint64(dst, e.Fence)
	dst = le.AppendUint32(dst, e.Lane)
	dst = le.AppendUint32(dst, e.Depth)
	dst = le.AppendUint16(dst, uint16(e.Kind))
	return append(dst, 0, 0, 0, 0, 0, 0)
}

// decodeEntry sets e to the entry at the start of b; false says that it cannot be one.
func decodeEntry(b []byte, e *Entry) bool {
	r := wire.Reader{B: b}
	r.Copy(e.Key.Hash[:])
	r.Copy(e.Key.Fingerprint[:])
	r.Copy(e.ID[:])
	r.Copy(e.Parent[:])
	r.Copy(e.Hash[:])
	r.Copy(e.Content[:])
	e.Seq, e.HLC, e.Clock = r.Uint64(), event.HLC(r.Uint64()), r.Uint64()
	e.Fence = r.Uint64()
	e.Lane, e.Depth, e.Kind = r.Uint32(), r.Uint32(), event.Kind(r.Uint16())
	zero := r.Bytes(6)
	return !r.Short && allZero(zero) && e.Seq > 0 && e.Clock > 0 && e.Key.Hash != [keyLen]byte{}
}
