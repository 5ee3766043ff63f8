package cursors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// An Attempt is what the run of a consumer notes in case the process ends: which event it has handed over. It lies in a
// file beside that of the position, which is there from the first event of a run until the run has come to its end. One
// that a run finds at its beginning tells that the one before has not: its process was killed, or killed itself.
//
// Unlike a position it is written in place and never synced. It is for processes that end, not for machines: what a power
// cut leaves of it is no worse than nothing, since all that depends on it is how often a handler is called.
type Attempt struct {
	Generation uint64 // of the position
	Seq        uint64 // of the event that was handed over; 0 for none
	Times      uint32 // how many runs have handed it over, this one among them; 0 for none
}

// The file of an attempt, little-endian, behind the header of a [wire.Small] with the magic "BATPAKAT" and version 1:
//
//	offset  size  field
//	40      8     generation
//	48      8     sequence
//	56      4     times
//	60      4     zero
//
// An empty file is one of a run that has noted nothing yet.
const (
	attemptMagic   = "BATPAKAT"
	attemptVersion = 1
	attemptLen     = wire.SmallHeader + 8 + 8 + 4 + 4
	attemptSuffix  = ".attempt"
)

var smallAttempt = wire.Small{Magic: attemptMagic, Version: attemptVersion}

// AttemptName returns the name of the file of the attempt of a consumer, in the directory.
func AttemptName(name string) string {
	return strings.TrimSuffix(FileName(name), suffix) + attemptSuffix
}

// AppendAttempt appends the encoding of a, of a consumer of the given store, to dst.
func AppendAttempt(dst []byte, store [16]byte, a *Attempt) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = smallAttempt.Begin(dst, store, attemptLen)
	dst = le.AppendUint64(dst, a.Generation)
	dst = le.AppendUint64(dst, a.Seq)
	dst = le.AppendUint32(dst, a.Times)
	dst = le.AppendUint32(dst, 0)
	wire.SealSmall(dst[start:])
	return dst
}

// DecodeAttempt decodes the whole file b.
//
// Errors: *[FileError] with [ErrDamaged], [ErrFuture] or [ErrForeign].
func DecodeAttempt(b []byte, store [16]byte) (Attempt, error) {
	r, wrong := smallAttempt.Open(b, store, attemptLen)
	if wrong.Kind != wire.Sound {
		return Attempt{}, flaw(wrong.Offset, wrong.Reason, found[wrong.Kind])
	}
	a := Attempt{Generation: r.Uint64(), Seq: r.Uint64(), Times: r.Uint32()}
	if r.Uint32() != 0 || len(r.B) > 0 || (a.Seq == 0) != (a.Times == 0) {
		return Attempt{}, flaw(wire.SmallHeader, "fields", ErrDamaged)
	}
	return a, nil
}

// OpenAttempt opens the file of the attempt of a consumer, which is made where there is none. left reports whether there
// was one; a is then what it says, and zero where it says nothing that holds. The caller writes to it with
// [AppendAttempt] at offset 0, closes it, and removes it under its name, [AttemptName].
//
// Errors: *[FileError] with [ErrFuture], since nothing here may rewrite that; *vfs.UnsafePathError; I/O errors.
func OpenAttempt(dir vfs.Dir, store [16]byte, name string) (f vfs.File, left bool, a Attempt, err error) {
	file := AttemptName(name)
	f, err = dir.Create(file)
	if !errors.Is(err, fs.ErrExist) {
		return f, false, a, err
	}
	if f, err = dir.OpenWrite(file); err != nil {
		return nil, false, a, err
	}
	a, err = readAttempt(f, store)
	var flaw *FileError
	if errors.As(err, &flaw) {
		flaw.File = inStore(file)
		if !errors.Is(err, ErrFuture) {
			err = nil // also one of another store: a directory that was copied from one
		}
	}
	if err != nil {
		_ = f.Close()
		return nil, false, a, err
	}
	return f, true, a, nil
}

// readAttempt decodes what f says.
func readAttempt(f vfs.File, store [16]byte) (Attempt, error) {
	size, err := f.Size()
	if err == nil && size > maxFile {
		return Attempt{}, flaw(0, "too long", ErrDamaged)
	}
	b := make([]byte, size)
	if err == nil {
		var n int
		if n, err = f.ReadAt(b, 0); n == len(b) {
			return DecodeAttempt(b, store)
		}
	}
	return Attempt{}, fmt.Errorf("read attempt: %w", err)
}
