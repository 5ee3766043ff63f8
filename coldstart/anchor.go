package coldstart

import (
	"encoding/binary"
	"errors"
	"fmt"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// The file anchor: two slots, at 0 and at anchorStride, written in turn and in place, so that one of them is whole
// whatever a crash does to the other. The slot with the higher generation counts.
//
//	offset  size  field
//	0       8     magic          "BATPAKAN"
//	8       2     version        1; a higher one is from the future
//	10      2     flags          1 = relaxed; an unknown bit is from the future
//	12      4     checksum       CRC-32C of all of the slot but these four bytes
//	16      16    store
//	32      8     generation     ≥ 1, one more with every write
//	40      8     segment        in which the log ended
//	48      8     end            where it ended, bytes from start of file
//	56      8     last sequence  0 for none
//	64      8     last HLC
//	72      8     tree size      events in the Merkle tree at the end; 0 when unknown
//	80      32    root           of that tree; zero when unknown
//	112     8     limit          bytes at which the writer seals a segment
//	120     8     zero
const (
	anchorMagic   = "BATPAKAN"
	anchorVersion = 1
	anchorLen     = 8 + 2 + 2 + 4 + 16 + 8 + 8 + 8 + 8 + 8 + 8 + event.HashLen + 8 + 8
	anchorStride  = 512
	anchorSize    = 2 * anchorStride

	flagRelaxed = 1
)

const (
	_ uint = anchorLen - 128
	_ uint = 128 - anchorLen
)

// An Anchor names an end that the log has reached durably. A log that ends before it has lost its tail.
type Anchor struct {
	End      segment.Pos
	LastSeq  uint64 // 0 for none
	LastHLC  event.HLC
	TreeSize uint64 // 0 when unknown
	Root     event.Hash
	Limit    int64 // bytes at which the writer seals a segment

	// Relaxed: since this anchor a writer has been at work that acknowledges before it syncs. Its callers may have
	// seen sequences that a power loss then took.
	Relaxed bool

	store      [16]byte
	generation uint64
}

// appendAnchor appends one slot.
func appendAnchor(dst []byte, a *Anchor) []byte {
	le := binary.LittleEndian
	start := len(dst)
	var flags uint16
	if a.Relaxed {
		flags = flagRelaxed
	}
	dst = append(dst, anchorMagic...)
	dst = le.AppendUint16(dst, anchorVersion)
	dst = le.AppendUint16(dst, flags)
	dst = le.AppendUint32(dst, 0)
	dst = append(dst, a.store[:]...)
	dst = le.AppendUint64(dst, a.generation)
	dst = le.AppendUint64(dst, a.End.Segment)
	dst = le.AppendUint64(dst, uint64(a.End.Offset))
	dst = le.AppendUint64(dst, a.LastSeq)
	dst = le.AppendUint64(dst, uint64(a.LastHLC))
	dst = le.AppendUint64(dst, a.TreeSize)
	dst = append(dst, a.Root[:]...)
	dst = le.AppendUint64(dst, uint64(a.Limit))
	dst = le.AppendUint64(dst, 0)
	le.PutUint32(dst[start+sumAt:], artifactSum(dst[start:]))
	return dst
}

// decodeAnchor decodes one slot, or what there is of it. Errors: [ErrDamaged]; [ErrFuture].
func decodeAnchor(b []byte) (Anchor, error) {
	var a Anchor
	if len(b) < anchorLen {
		return a, ErrDamaged
	}
	b = b[:anchorLen]
	if string(b[:len(anchorMagic)]) != anchorMagic || binary.LittleEndian.Uint32(b[sumAt:]) != artifactSum(b) {
		return a, ErrDamaged
	}
	r := wire.Reader{B: b[len(anchorMagic):]}
	version, flags, _ := r.Uint16(), r.Uint16(), r.Uint32()
	if version > anchorVersion || flags&^flagRelaxed != 0 {
		return a, ErrFuture
	}
	a.Relaxed = flags&flagRelaxed != 0
	r.Copy(a.store[:])
	a.generation = r.Uint64()
	a.End = segment.Pos{Segment: r.Uint64(), Offset: int64(r.Uint64())}
	a.LastSeq, a.LastHLC = r.Uint64(), event.HLC(r.Uint64())
	a.TreeSize = r.Uint64()
	r.Copy(a.Root[:])
	a.Limit = int64(r.Uint64())
	zero := r.Uint64()
	if version == 0 || zero != 0 || !r.Done() || a.generation == 0 || a.End.Segment == 0 || a.End.Offset <= 0 || a.Limit < 0 {
		return a, ErrDamaged
	}
	return a, nil
}

// readAnchor returns the newest anchor of the store in dir. finding is why there is none, or what one of the slots
// has; err ends the open.
//
// Errors: *[FutureError]; I/O errors.
func readAnchor(dir vfs.Dir, store [16]byte) (a *Anchor, finding, err error) {
	b, err := readArtifact(dir, anchorName, maxArtifact)
	switch {
	case errors.Is(err, ErrAbsent), errors.Is(err, ErrDamaged):
		return nil, err, nil
	case err != nil:
		return nil, nil, err
	}
	for at := 0; at < anchorSize; at += anchorStride {
		slot, err := decodeAnchor(b[min(at, len(b)):])
		switch {
		case errors.Is(err, ErrFuture):
			return nil, nil, &FutureError{File: anchorName}
		case err != nil:
			if !blank(b, at) {
				finding = err
			}
		case slot.store != store:
			finding = ErrForeign
		case a == nil || slot.generation > a.generation:
			a = &slot
		}
	}
	if a == nil && finding == nil {
		finding = ErrDamaged
	}
	return a, finding, nil
}

// blank reports whether the slot at offset at was never written.
func blank(b []byte, at int) bool {
	for _, c := range b[min(at, len(b)):min(at+anchorLen, len(b))] {
		if c != 0 {
			return false
		}
	}
	return len(b) == anchorSize
}

// An anchorFile writes anchors. Not safe for concurrent use.
type anchorFile struct {
	dir        vfs.Dir
	store      [16]byte
	generation uint64 // of the last anchor written or read
	whole      bool   // the file has two slots and no write to it has failed
}

// write makes a durable. A failed write in place is never tried again in that file, see package vfs.
func (f *anchorFile) write(a Anchor) error {
	a.store, a.generation = f.store, f.generation+1
	slot := appendAnchor(make([]byte, 0, anchorSize), &a)
	if !f.whole {
		// A new file has this anchor in the slot that its generation is due for, and nothing in the other.
		b := make([]byte, anchorSize)
		copy(b[a.at():], slot)
		if err := vfs.WriteFileAtomic(f.dir, anchorName, b); err != nil {
			return err
		}
		f.generation, f.whole = a.generation, true
		return nil
	}
	f.generation = a.generation
	if err := f.overwrite(slot, a.at()); err != nil {
		f.whole = false
		return fmt.Errorf("write %s: %w", anchorName, err)
	}
	return nil
}

// at returns the offset of the slot of a.
func (a *Anchor) at() int64 { return int64(a.generation%2) * anchorStride }

func (f *anchorFile) overwrite(slot []byte, at int64) error {
	file, err := f.dir.OpenWrite(anchorName)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(slot, at)
	if err == nil {
		err = file.Sync()
	}
	return errors.Join(err, file.Close())
}
