package statefile

import (
	"crypto/sha256"
	"encoding/binary"

	"batpak/event"
	"batpak/internal/wire"
)

// A Key says whose state a file holds.
type Key struct {
	Store   [16]byte // identity of the store
	Name    string   // of the projection, 1 to MaxName bytes
	Version uint32   // of its schema; ≥ 1
	Selects [32]byte // [Fingerprint] of what it folds and of how the state is encoded
}

// A State is a folded state, and the history that it covers.
type State struct {
	At      uint64     // every visible event up to here was looked at
	Seq     uint64     // of the last event of the log up to At, whoever's it is; 0 for none
	Hash    event.Hash // of that event
	Events  uint64     // of the log up to At: fewer than when the file was written means that some were evicted
	Applied uint64     // events that were folded
	Saved   int64      // Unix milliseconds, for people
	Data    []byte     // the state as the projection's codec encodes it
}

// MaxName is the longest name of a projection, in bytes.
const MaxName = 1024

// A file, little-endian:
//
//	offset  size  field
//	0       8     magic     "BATPAKPS"
//	8       8     length    bytes of all of it
//	16      4     checksum  CRC-32C of all of it but these four bytes
//	20      2     version   1; a higher one is from the future
//	22      2     flags     0; an unknown bit is from the future
//	24      16    store     identity of the store
//	40      4     schema    version of the projection's schema, ≥ 1
//	44      4     N         bytes of the projection's name, 1 ≤ N ≤ 1,024
//	48      32    selects   fingerprint of query and codec
//	80      8     at        sequence up to which every visible event was looked at
//	88      8     sequence  of the last event of the log up to at, ≤ at; 0 for none
//	96      32    hash      of that event; zero for none
//	128     8     events    of the log up to at, ≤ sequence
//	136     8     applied   events folded, ≤ events
//	144     8     saved     Unix milliseconds, for people
//	152     N     name      of the projection
//	152+N   …     state     as the projection's codec encodes it
//
// Magic, length, checksum, version and flags stay where they are in every version.
const (
	magic       = "BATPAKPS"
	version     = 1
	offLength   = 8
	offSum      = offLength + 8
	offVersion  = offSum + 4
	offStore    = offVersion + 2 + 2
	offSchema   = offStore + 16
	offSelects  = offSchema + 4 + 4
	offAt       = offSelects + 32
	offSeq      = offAt + 8
	headerLen   = offSeq + 8 + event.HashLen + 8 + 8 + 8
	mostWithout = headerLen + MaxName // bytes of a file with an empty state, at most
)

const (
	_ uint = headerLen - 152
	_ uint = 152 - headerLen
)

// Append appends the encoding of s to dst.
func Append(dst []byte, k *Key, s *State) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, magic...)
	dst = le.AppendUint64(dst, uint64(headerLen+len(k.Name)+len(s.Data)))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, version)
	dst = le.AppendUint16(dst, 0)
	dst = append(dst, k.Store[:]...)
	dst = le.AppendUint32(dst, k.Version)
	dst = le.AppendUint32(dst, uint32(len(k.Name)))
	dst = append(dst, k.Selects[:]...)
	dst = le.AppendUint64(dst, s.At)
	dst = le.AppendUint64(dst, s.Seq)
	dst = append(dst, s.Hash[:]...)
	for _, v := range [...]uint64{s.Events, s.Applied, uint64(s.Saved)} {
		dst = le.AppendUint64(dst, v)
	}
	dst = append(dst, k.Name...)
	dst = append(dst, s.Data...)
	le.PutUint32(dst[start+offSum:], sum(dst[start:]))
	return dst
}

// sum is the checksum of an encoded file, its own field left out.
func sum(b []byte) uint32 { return wire.Sum(wire.Sum(0, b[:offSum]), b[offSum+4:]) }

// Decode decodes the whole file b, which is to hold a state of k. Data aliases b.
//
// Errors: *[FileError] with [ErrDamaged], [ErrFuture], [ErrForeign] or [ErrStale].
func Decode(b []byte, k *Key) (State, error) { return decode("", b, k) }

func decode(file string, b []byte, k *Key) (State, error) {
	le := binary.LittleEndian
	switch {
	case len(b) < headerLen:
		return State{}, flaw(file, 0, "too short", ErrDamaged)
	case string(b[:len(magic)]) != magic:
		return State{}, flaw(file, 0, "magic", ErrDamaged)
	case le.Uint32(b[offSum:]) != sum(b):
		return State{}, flaw(file, offSum, "checksum", ErrDamaged)
	}
	r := wire.Reader{B: b[offVersion:]}
	if v, flags := r.Uint16(), r.Uint16(); v > version || flags != 0 {
		return State{}, flaw(file, offVersion, "version", ErrFuture)
	} else if v == 0 {
		return State{}, flaw(file, offVersion, "version", ErrDamaged)
	}
	if le.Uint64(b[offLength:]) != uint64(len(b)) {
		return State{}, flaw(file, offLength, "length", ErrDamaged)
	}
	have, s, err := decodeFields(file, &r)
	if err != nil {
		return State{}, err
	}
	if err := have.differsFrom(file, k); err != nil {
		return State{}, err
	}
	s.Data = r.B
	return s, nil
}

// decodeFields decodes what stands between the flags and the state, which r is left at.
func decodeFields(file string, r *wire.Reader) (k Key, s State, err error) {
	r.Copy(k.Store[:])
	k.Version = r.Uint32()
	nameLen := r.Uint32()
	r.Copy(k.Selects[:])
	s.At, s.Seq = r.Uint64(), r.Uint64()
	r.Copy(s.Hash[:])
	s.Events, s.Applied, s.Saved = r.Uint64(), r.Uint64(), int64(r.Uint64())
	if k.Version == 0 || nameLen == 0 || nameLen > MaxName || uint64(nameLen) > uint64(len(r.B)) || !s.sound() {
		return Key{}, State{}, flaw(file, offSchema, "fields", ErrDamaged)
	}
	k.Name = string(r.Bytes(int(nameLen)))
	return k, s, nil
}

// sound reports whether the fields of s may stand together.
func (s *State) sound() bool {
	return s.Seq <= s.At && s.Events <= s.Seq && s.Applied <= s.Events && (s.Seq == 0) == (s.Events == 0) &&
		(s.Seq == 0) == (s.Hash == event.Hash{})
}

// differsFrom says why a file of k is not one of want; nil when it is.
func (k *Key) differsFrom(file string, want *Key) error {
	switch {
	case k.Store != want.Store:
		return flaw(file, offStore, "store", ErrForeign)
	case k.Name != want.Name:
		return flaw(file, headerLen, "name", ErrForeign)
	case k.Version != want.Version:
		return flaw(file, offSchema, "schema version", ErrStale)
	case k.Selects != want.Selects:
		return flaw(file, offSelects, "query or codec", ErrStale)
	}
	return nil
}

// Fingerprint returns what stands for parts in a file. Parts that differ, or stand in another order, have another one.
func Fingerprint(parts ...string) [32]byte {
	b := []byte("batpak.projection.v1\n")
	for _, part := range parts {
		b = binary.LittleEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return sha256.Sum256(b)
}
