package coldstart

import (
	"encoding/binary"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"batpak/internal/wire"
)

// A checkpoint is an image, compressed.
//
//	offset  size  field
//	0       8     magic     "BATPAKCK"
//	8       2     version   1; a higher one is a checkpoint from the future
//	10      2     flags     0; an unknown bit is from the future
//	12      4     checksum  CRC-32C of all of it but these four bytes
//	16      16    store     identity of the store
//	32      8     length    bytes of all of it
//	40      8     image     bytes of the image
//	48      …     image     one zstd frame (RFC 8878)
const (
	checkpointMagic    = "BATPAKCK"
	checkpointVersion  = 1
	checkpointFixedLen = 48
	offCheckpointSum   = 12

	// checkpointSlack is by how much a compressed image may be longer than the image, and the least that is allowed for
	// decompressing one.
	checkpointSlack = 64 << 10
)

// packCheckpoint returns the checkpoint that holds an encoded image.
func packCheckpoint(img []byte, store [16]byte) ([]byte, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("compress checkpoint: %w", err)
	}
	b := enc.EncodeAll(img, make([]byte, checkpointFixedLen, checkpointFixedLen+len(img)/2))
	le := binary.LittleEndian
	copy(b, checkpointMagic)
	le.PutUint16(b[8:], checkpointVersion)
	copy(b[16:], store[:])
	le.PutUint64(b[32:], uint64(len(b)))
	le.PutUint64(b[40:], uint64(len(img)))
	le.PutUint32(b[offCheckpointSum:], checkpointSum(b))
	return b, enc.Close()
}

func checkpointSum(b []byte) uint32 {
	return wire.Sum(wire.Sum(0, b[:offCheckpointSum]), b[offCheckpointSum+4:])
}

// unpackCheckpoint returns the image that b holds. Nothing is decompressed before the checksum holds, and never more
// than most bytes, whatever b claims or does.
//
// Errors: [ErrDamaged]; [ErrForeign]; [ErrFuture].
func unpackCheckpoint(b []byte, store [16]byte, most int) ([]byte, error) {
	le := binary.LittleEndian
	if len(b) < checkpointFixedLen || string(b[:8]) != checkpointMagic || le.Uint32(b[offCheckpointSum:]) != checkpointSum(b) {
		return nil, ErrDamaged
	}
	if le.Uint16(b[8:]) > checkpointVersion || le.Uint16(b[10:]) != 0 {
		return nil, ErrFuture
	}
	n := le.Uint64(b[40:])
	if le.Uint16(b[8:]) == 0 || le.Uint64(b[32:]) != uint64(len(b)) || n > uint64(most) {
		return nil, ErrDamaged
	}
	if [16]byte(b[16:32]) != store {
		return nil, ErrForeign
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(max(n, checkpointSlack)), zstd.WithDecoderMaxWindow(zstd.MinWindowSize<<13))
	if err != nil {
		return nil, fmt.Errorf("decompress checkpoint: %w", err)
	}
	defer dec.Close()
	img, err := dec.DecodeAll(b[checkpointFixedLen:], make([]byte, 0, n))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if uint64(len(img)) != n {
		return nil, fmt.Errorf("%w: image of %d bytes, want %d", ErrDamaged, len(img), n)
	}
	return img, nil
}
