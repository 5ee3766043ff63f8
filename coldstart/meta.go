package coldstart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// The file store.meta. It is written before the first segment, and once more before the first fence.
//
//	offset  size  field
//	0       8     magic     "BATPAKMT"
//	8       4     length    bytes of all of it
//	12      4     checksum  CRC-32C of all of it but these four bytes
//	16      2     version   1; a higher one is a store from the future
//	18      2     flags     1 = the log may hold fences, so that the hidden ranges must be there; an unknown bit is
//	                        from the future
//	20      4     zero
//	24      16    store     identity of the store, random
//	40      8     created   Unix milliseconds, for people
const (
	metaMagic   = "BATPAKMT"
	metaVersion = 1
	metaFenced  = 1
	metaLen     = 8 + 4 + 4 + 2 + 2 + 4 + 16 + 8
)

const (
	_ uint = metaLen - 48
	_ uint = 48 - metaLen
)

// sumAt is where every fixed-size artifact of this package keeps its checksum.
const sumAt = 12

// artifactSum is the checksum of b, its own field left out.
func artifactSum(b []byte) uint32 { return wire.Sum(wire.Sum(0, b[:sumAt]), b[sumAt+4:]) }

// A meta is the identity of a store.
type meta struct {
	Store   [16]byte
	Created int64 // Unix milliseconds
	Fenced  bool  // the log may hold fences: without its hidden ranges nobody knows what must not be seen
}

// appendMeta appends the encoding of m to dst.
func appendMeta(dst []byte, m *meta) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, metaMagic...)
	dst = le.AppendUint32(dst, metaLen)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, metaVersion)
	flags := uint16(0)
	if m.Fenced {
		flags = metaFenced
	}
	dst = le.AppendUint16(dst, flags)
	dst = append(dst, 0, 0, 0, 0)
	dst = append(dst, m.Store[:]...)
	dst = le.AppendUint64(dst, uint64(m.Created))
	le.PutUint32(dst[start+sumAt:], artifactSum(dst[start:]))
	return dst
}

// decodeMeta decodes the whole file b. Errors: [ErrDamaged]; [ErrFuture].
func decodeMeta(b []byte) (meta, error) {
	var m meta
	if len(b) < metaLen || string(b[:len(metaMagic)]) != metaMagic || binary.LittleEndian.Uint32(b[sumAt:]) != artifactSum(b) {
		return m, ErrDamaged
	}
	r := wire.Reader{B: b[len(metaMagic):]}
	n, _, version, flags, zero := r.Uint32(), r.Uint32(), r.Uint16(), r.Uint16(), r.Uint32()
	if version > metaVersion || flags&^metaFenced != 0 {
		return m, ErrFuture
	}
	m.Fenced = flags&metaFenced != 0
	r.Copy(m.Store[:])
	m.Created = int64(r.Uint64())
	if version == 0 || zero != 0 || int(n) != len(b) || !r.Done() || m.Store == [16]byte{} {
		return m, ErrDamaged
	}
	return m, nil
}

// maxArtifact bounds what is read of a small artifact: a longer file is damaged, or from the future.
const maxArtifact = 64 << 10

// readArtifact returns the bytes of a file of at most so many bytes. Errors: [ErrAbsent]; [ErrDamaged]; I/O errors.
func readArtifact(dir vfs.Dir, name string, most int64) ([]byte, error) {
	f, err := dir.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrAbsent
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	size, err := vfs.OpenSize(f)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if size > most {
		return nil, ErrDamaged
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return b, nil
}

// readMeta returns the identity of the store in dir. Errors: *[MetaError]; I/O errors.
func readMeta(dir vfs.Dir) (meta, error) {
	b, err := readArtifact(dir, metaName, maxArtifact)
	if errors.Is(err, ErrAbsent) || errors.Is(err, ErrDamaged) {
		return meta{}, &MetaError{metaName, err}
	}
	if err != nil {
		return meta{}, err
	}
	m, err := decodeMeta(b)
	if err != nil {
		return meta{}, &MetaError{metaName, err}
	}
	return m, nil
}

// createMeta gives dir an identity. When the error is nil it is durable; after a crash it is there whole or not at all.
func createMeta(dir vfs.Dir, m *meta) error {
	return vfs.WriteFileAtomic(dir, metaName, appendMeta(nil, m))
}
