package hidden

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// FileName is the name of the file in the store's directory.
const FileName = "visibility_ranges.fbv"

// A File is what is known of the log up to a place: which events are hidden there for good.
type File struct {
	Set Set // no sequence above Covers

	// Covers is the last sequence whose fate is in Set: every fence that staged an event up to here was committed,
	// cancelled, or lost its process. Whoever goes on from here needs the events behind it, and the fence frames
	// that follow the first of them. 0 says nothing of any event.
	Covers uint64

	// LastFence is the highest number of a fence that was met up to Covers; 0 for none. Only a fence that staged
	// nothing may have a higher one.
	LastFence uint64
}

// The file, little-endian:
//
//	offset  size  field
//	0       8     magic       "BATPAKVR"
//	8       4     length      bytes of all of it
//	12      4     checksum    CRC-32C of all of it but these four bytes
//	16      2     version     1; a higher one is from the future
//	18      2     flags       0; an unknown bit is from the future
//	20      4     zero
//	24      16    store       identity of the store
//	40      8     covers      last sequence whose fate is told here; 0 for none
//	48      8     last fence  highest number of a fence up to there; 0 for none
//	56      16×n  ranges      from u64, to u64: hidden sequences [from, to), 1 ≤ from < to ≤ covers + 1;
//	                          ascending, each from above the to before it
//
// Magic, length and checksum stay where they are in every version.
const (
	magic     = "BATPAKVR"
	version   = 1
	offCovers = wire.SmallHeader
	headerLen = offCovers + 8 + 8
	rangeLen  = 8 + 8

	// maxFile bounds a file, for whoever writes it and for whoever reads it: 64 Mi ranges.
	maxFile = headerLen + rangeLen<<26
)

const (
	_ uint = headerLen - 56
	_ uint = 56 - headerLen
)

// small is the sort of the file, whose first 40 bytes it knows.
var small = wire.Small{Magic: magic, Version: version}

// found names what can be wrong with them.
var found = [...]error{wire.Damaged: ErrDamaged, wire.Future: ErrFuture, wire.Foreign: ErrForeign}

// AppendFile appends the encoding of f to dst. f.Set holds no sequence above f.Covers.
func AppendFile(dst []byte, store [16]byte, f *File) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = small.Begin(dst, store, headerLen+rangeLen*f.Set.Len())
	dst = le.AppendUint64(dst, f.Covers)
	dst = le.AppendUint64(dst, f.LastFence)
	for r := range f.Set.Ranges() {
		dst = le.AppendUint64(dst, r.From)
		dst = le.AppendUint64(dst, r.To)
	}
	wire.SealSmall(dst[start:])
	return dst
}

// DecodeFile decodes the whole file b of a store. The result keeps nothing of b and takes no more memory than it.
//
// Errors: *[FileError] with [ErrDamaged], [ErrFuture], or [ErrForeign] when it is a sound file of another store.
func DecodeFile(b []byte, store [16]byte) (File, error) {
	r, wrong := small.Open(b, store, headerLen)
	if wrong.Kind != wire.Sound {
		return File{}, flaw(wrong.Offset, wrong.Reason, found[wrong.Kind])
	}
	if (len(b)-headerLen)%rangeLen != 0 {
		return File{}, flaw(wire.SmallLength, "length", ErrDamaged)
	}
	return decodeRanges(&r)
}

// decodeRanges decodes what stands behind the identity.
func decodeRanges(r *wire.Reader) (File, error) {
	f := File{Covers: r.Uint64(), LastFence: r.Uint64()}
	ranges := make([]Range, 0, len(r.B)/rangeLen)
	end := uint64(0) // of the range before; nothing starts at 0
	for at := int64(headerLen); len(r.B) > 0; at += rangeLen {
		next := Range{r.Uint64(), r.Uint64()}
		switch {
		case next.From <= end:
			return File{}, flaw(at, "order of ranges", ErrDamaged)
		case next.To <= next.From:
			return File{}, flaw(at, "empty range", ErrDamaged)
		case next.To-1 > f.Covers:
			return File{}, flaw(at, "range behind what the file covers", ErrDamaged)
		}
		ranges, end = append(ranges, next), next.To
	}
	f.Set = setOf(ranges)
	return f, nil
}

func flaw(offset int64, reason string, err error) error {
	return &FileError{File: FileName, Offset: offset, Reason: reason, Err: err}
}

// Read returns the file of a store in dir.
//
// Errors: *[FileError] with [ErrAbsent], or as [DecodeFile]; I/O errors.
func Read(dir vfs.Dir, store [16]byte) (File, error) {
	src, err := dir.OpenRead(FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return File{}, flaw(0, "no such file", ErrAbsent)
	}
	if err != nil {
		return File{}, fmt.Errorf("open %s: %w", FileName, err)
	}
	defer src.Close()
	b, err := readAll(src)
	if err != nil {
		return File{}, err
	}
	return DecodeFile(b, store)
}

// readAll returns the bytes of src, if its start says that there are that many.
func readAll(src vfs.File) ([]byte, error) {
	size, err := src.Size()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", FileName, err)
	}
	var head [wire.SmallSum]byte
	if size < headerLen || size > maxFile {
		return nil, flaw(0, "size", ErrDamaged)
	}
	if n, err := src.ReadAt(head[:], 0); n < len(head) {
		return nil, fmt.Errorf("read %s: %w", FileName, err)
	}
	if string(head[:len(magic)]) != magic || int64(binary.LittleEndian.Uint32(head[wire.SmallLength:])) != size {
		return nil, flaw(wire.SmallLength, "length", ErrDamaged)
	}
	b := make([]byte, size)
	if n, err := src.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("read %s: %w", FileName, err)
	}
	return b, nil
}

// Write replaces the file of a store in dir, or makes it. When the error is nil it is durable; after a crash or an
// error the old one is there or the new one.
//
// Errors: *[FileError] with [ErrLimit]; I/O errors.
func Write(dir vfs.Dir, store [16]byte, f *File) error {
	if f.Set.Len() > (maxFile-headerLen)/rangeLen {
		return flaw(0, "length", ErrLimit)
	}
	if end := f.Set.End(); end > 0 && end-1 > f.Covers {
		panic(fmt.Sprintf("hidden: a file that covers sequence %d hides %d", f.Covers, end-1))
	}
	return vfs.WriteFileAtomic(dir, FileName, AppendFile(nil, store, f))
}
