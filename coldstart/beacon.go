package coldstart

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// The beacon stands in the lock file at [vfs.LockDataOffset]. The writer rewrites it after each sync and never syncs
// it: it may be lost, torn or old, but what it says was true when it was written.
//
//	offset  size  field
//	0       8     magic          "BATPAKBC"
//	8       2     version        1; a higher one is from the future
//	10      2     flags          1 = relaxed; an unknown bit is from the future
//	12      4     checksum       CRC-32C of all of it but these four bytes
//	16      16    store
//	32      8     segment
//	40      8     durable        bytes of the segment's file that a sync has covered
//	48      8     last sequence  of the events among them
//	56      8     boot           of the system, vfs.BootID; 0 when it is not known
const (
	beaconMagic   = "BATPAKBC"
	beaconVersion = 1
	beaconLen     = 8 + 2 + 2 + 4 + 16 + 8 + 8 + 8 + 8
)

const (
	_ uint = beaconLen - 64
	_ uint = 64 - beaconLen
)

// Offsets of what changes from one beacon to the next.
const (
	beaconFlagsAt   = 10
	beaconSegmentAt = 32
	beaconDurableAt = 40
	beaconSeqAt     = 48
	beaconBootAt    = 56
)

// A Signal is what a beacon says.
type Signal struct {
	Durable segment.Pos // everything before it in this segment survives power loss
	Seq     uint64      // last sequence of the events before Durable; 0 for none
	Relaxed bool        // readers may see more than is durable
	Boot    uint64      // of the system that the writer ran on; 0 when it is not known
}

// A Beacon tells other processes, and the next recovery, how far the log is durable. Not safe for concurrent use: it
// belongs to the committer.
type Beacon struct {
	file io.WriterAt
	buf  [beaconLen]byte
	boot atomic.Uint64
}

// SetBoot says which boot of the system the writer runs on; see [vfs.BootID]. It is for the background: Publish says so
// from then on.
func (b *Beacon) SetBoot(id uint64) { b.boot.Store(id) }

// newBeacon returns a beacon that writes to the lock file of the store.
func newBeacon(file io.WriterAt, store [16]byte, relaxed bool) *Beacon {
	b := &Beacon{file: file}
	copy(b.buf[:], beaconMagic)
	b.buf[8] = beaconVersion
	if relaxed {
		b.buf[beaconFlagsAt] = flagRelaxed
	}
	copy(b.buf[16:], store[:])
	return b
}

// Publish says that everything before durable has been synced, and that seq is the last sequence there. Call it after
// the sync has returned, never before. It costs one write to the page cache and allocates nothing.
//
// A failed Publish costs nothing but the evidence: callers may ignore it.
func (b *Beacon) Publish(durable segment.Pos, seq uint64) error {
	le := binary.LittleEndian
	le.PutUint64(b.buf[beaconSegmentAt:], durable.Segment)
	le.PutUint64(b.buf[beaconDurableAt:], uint64(durable.Offset))
	le.PutUint64(b.buf[beaconSeqAt:], seq)
	le.PutUint64(b.buf[beaconBootAt:], b.boot.Load())
	le.PutUint32(b.buf[sumAt:], artifactSum(b.buf[:]))
	_, err := b.file.WriteAt(b.buf[:], vfs.LockDataOffset)
	return err
}

// says reports whether a beacon that was read as s says the same as b would.
func (b *Beacon) says(s *Signal, durable segment.Pos, seq uint64) bool {
	relaxed := b.buf[beaconFlagsAt] == flagRelaxed
	return s != nil && *s == Signal{Durable: durable, Seq: seq, Relaxed: relaxed, Boot: b.boot.Load()}
}

// decodeBeacon decodes what stands where a beacon would; ok is false when it is none of this store. Errors: [ErrFuture].
func decodeBeacon(b []byte, store [16]byte) (s Signal, ok bool, err error) {
	if len(b) != beaconLen || string(b[:len(beaconMagic)]) != beaconMagic || binary.LittleEndian.Uint32(b[sumAt:]) != artifactSum(b) {
		return s, false, nil
	}
	r := wire.Reader{B: b[len(beaconMagic):]}
	version, flags, _ := r.Uint16(), r.Uint16(), r.Uint32()
	if version > beaconVersion || flags&^flagRelaxed != 0 {
		return s, false, ErrFuture
	}
	var of [16]byte
	r.Copy(of[:])
	s.Durable = segment.Pos{Segment: r.Uint64(), Offset: int64(r.Uint64())}
	s.Seq, s.Relaxed = r.Uint64(), flags&flagRelaxed != 0
	s.Boot = r.Uint64()
	return s, version == beaconVersion && of == store && s.Durable.Segment > 0 && s.Durable.Offset > 0, nil
}

// ReadBeacon returns what the writer of the store in dir said last; ok is false when there is no beacon. It may be
// called at any time, by any process, beside a writer: a beacon that is being rewritten is read again until it is whole.
//
// Errors: *[FutureError]; I/O errors.
func ReadBeacon(dir vfs.Dir, store [16]byte) (s Signal, ok bool, err error) {
	f, err := dir.OpenRead(lockName)
	if errors.Is(err, fs.ErrNotExist) {
		return s, false, nil
	}
	if err != nil {
		return s, false, fmt.Errorf("open %s: %w", lockName, err)
	}
	defer f.Close()
	for try := 1; ; try++ {
		var half bool
		s, ok, half, err = lookAtBeacon(f, store)
		if !half || try == maxLooks {
			return s, ok, err // half of one that stays was left by a crash
		}
	}
}

func readBeacon(f io.ReaderAt, store [16]byte) (s Signal, ok bool, err error) {
	s, ok, _, err = lookAtBeacon(f, store)
	return s, ok, err
}

// lookAtBeacon is readBeacon; half says that what stands there is neither one beacon nor none.
func lookAtBeacon(f io.ReaderAt, store [16]byte) (s Signal, ok, half bool, err error) {
	var b [beaconLen]byte
	n, err := f.ReadAt(b[:], vfs.LockDataOffset)
	if err != nil && !errors.Is(err, io.EOF) {
		return s, false, false, fmt.Errorf("read %s: %w", lockName, err)
	}
	if s, ok, err = decodeBeacon(b[:n], store); err != nil {
		err = &FutureError{File: lockName, Err: err}
	}
	half = n > 0 && b != [beaconLen]byte{} && (n < len(b) || binary.LittleEndian.Uint32(b[sumAt:]) != artifactSum(b[:]))
	return s, ok, half, err
}
