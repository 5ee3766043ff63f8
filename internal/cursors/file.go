// Package cursors is where the durable positions of consumers lie: one small file for each, in a directory of their own
// beside the log. A position is bound to the store, to the events that its consumer selects, and to the event that it
// names, so that whoever reads one can tell whether it is about this log.
//
// A file is replaced as a whole and never written in place: a crash leaves the old one or the new one, so whatever does
// not hold is damage, and said so. (Two slots written in turn would cost one sync less. But one of them may then be torn
// by any crash, and damage to the newer one would look the same: a silent step back. Positions are written once a second,
// not once an event.)
package cursors

import (
	"encoding/binary"
	"errors"
	"fmt"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/wire"
)

// What can be wrong with a file. They come inside a *[FileError].
var (
	// ErrAbsent: it is not there.
	ErrAbsent = errors.New("cursors: absent")
	// ErrDamaged: it fails its checks.
	ErrDamaged = errors.New("cursors: damaged")
	// ErrForeign: it is sound and belongs to another store.
	ErrForeign = errors.New("cursors: belongs to another store")
	// ErrFuture: a newer version wrote it; nothing here may rewrite it.
	ErrFuture = errors.New("cursors: written by a newer version")
)

// A FileError says what is wrong with a file, and where.
type FileError struct {
	File   string // name in the store's directory
	Offset int64  // bytes from start of file; 0 when the whole file is meant
	Reason string // short and constant: "checksum", "name"
	Err    error  // ErrAbsent, ErrDamaged, ErrForeign, ErrFuture
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%v: %s offset %d: %s", e.Err, e.File, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *FileError) Unwrap() error { return e.Err }

// MaxName is how many bytes the name of a consumer may have.
const MaxName = 255

// A Position is a place in the log: everything up to it has been handled. Within a generation a position only moves on;
// whoever puts it elsewhere begins a new generation.
type Position struct {
	Generation uint64     // ≥ 1
	Seq        uint64     // of the last event that was handled; 0 for none
	Hash       event.Hash // of that event; zero where there is none to compare with
}

// Before reports whether p is older than q.
func (p Position) Before(q Position) bool {
	return p.Generation < q.Generation || p.Generation == q.Generation && p.Seq < q.Seq
}

// A File is what the file of a consumer says.
type File struct {
	Name     string // of the consumer: a name as those of coordinates, at most MaxName bytes
	Position Position
	Query    [32]byte // fingerprint of what the consumer selects
	Written  int64    // Unix milliseconds, for people
}

// The file, little-endian:
//
//	offset  size  field
//	0       8     magic        "BATPAKCU"
//	8       4     length       bytes of all of it
//	12      4     checksum     CRC-32C of all of it but these four bytes
//	16      2     version      1; a higher one is from the future
//	18      2     flags        0; an unknown bit is from the future
//	20      4     zero
//	24      16    store        identity of the store
//	40      8     generation   ≥ 1
//	48      8     sequence     of the last event that was handled; 0 for none
//	56      32    hash         of that event; zero where there is none to compare with, as for sequence 0
//	88      32    query        SHA-256 of what the consumer selects, as text
//	120     8     written      Unix milliseconds, for people
//	128     4     name length  1 to 255
//	132     n     name         of the consumer
//
// Magic, length and checksum stay where they are in every version.
const (
	magic     = "BATPAKCU"
	version   = 1
	offGen    = wire.SmallHeader
	offSeq    = offGen + 8
	offQuery  = offSeq + 8 + event.HashLen
	offName   = offQuery + 32 + 8
	headerLen = offName + 4

	// maxFile bounds what is read of a file: a later version may have more to say.
	maxFile = 64 << 10
)

const (
	_ uint = headerLen - 132
	_ uint = 132 - headerLen
)

// small is the sort of the file, whose first 40 bytes it knows.
var small = wire.Small{Magic: magic, Version: version}

// found names what can be wrong with them.
var found = [...]error{wire.Damaged: ErrDamaged, wire.Future: ErrFuture, wire.Foreign: ErrForeign}

// AppendFile appends the encoding of f, of a consumer of the given store, to dst.
func AppendFile(dst []byte, store [16]byte, f *File) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = small.Begin(dst, store, headerLen+len(f.Name))
	dst = le.AppendUint64(dst, f.Position.Generation)
	dst = le.AppendUint64(dst, f.Position.Seq)
	dst = append(dst, f.Position.Hash[:]...)
	dst = append(dst, f.Query[:]...)
	dst = le.AppendUint64(dst, uint64(f.Written))
	dst = le.AppendUint32(dst, uint32(len(f.Name)))
	dst = append(dst, f.Name...)
	wire.SealSmall(dst[start:])
	return dst
}

// DecodeFile decodes the whole file b. The result keeps nothing of b.
//
// Errors: *[FileError] with [ErrDamaged], [ErrFuture], or [ErrForeign] when it is a sound file of another store.
func DecodeFile(b []byte, store [16]byte) (File, error) {
	r, wrong := small.Open(b, store, headerLen)
	if wrong.Kind != wire.Sound {
		return File{}, flaw(wrong.Offset, wrong.Reason, found[wrong.Kind])
	}
	return decodePosition(&r)
}

// decodePosition decodes what stands behind the identity.
func decodePosition(r *wire.Reader) (File, error) {
	f := File{Position: Position{Generation: r.Uint64(), Seq: r.Uint64()}}
	r.Copy(f.Position.Hash[:])
	r.Copy(f.Query[:])
	f.Written = int64(r.Uint64())
	n := r.Uint32()
	switch p := &f.Position; {
	case p.Generation == 0:
		return File{}, flaw(offGen, "generation", ErrDamaged)
	case p.Seq == 0 && !p.Hash.IsZero():
		return File{}, flaw(offSeq, "hash of no event", ErrDamaged)
	case n == 0 || n > MaxName || int(n) != len(r.B):
		return File{}, flaw(offName, "name length", ErrDamaged)
	}
	f.Name = string(r.Bytes(int(n)))
	if coordinate.Check("consumer", f.Name) != nil {
		return File{}, flaw(headerLen, "name", ErrDamaged)
	}
	return f, nil
}

// flaw returns an error about a file; who reads the file adds its name.
func flaw(offset int64, reason string, err error) error {
	return &FileError{Offset: offset, Reason: reason, Err: err}
}
