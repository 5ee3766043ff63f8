package segment

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"batpak/event"
	"batpak/internal/wire"
)

// The body of a batch frame. The members follow it at once, in the same write and the same segment.
//
//	offset  size  field
//	0       4     count    events in the batch, ≥ 1
//	4       4     zero
//	8       8     length   bytes of all member frames
//	16      8     first    sequence of the first member; the others follow without a gap
//	24      32    digest   SHA-256 of "batpak.batch.v1\n" and the hashes of the members
const batchLen = 4 + 4 + 8 + 8 + event.HashLen

const (
	_ uint = batchLen - 56
	_ uint = 56 - batchLen
)

const batchDomain = "batpak.batch.v1\n"

// BatchLen is the size of a batch frame: what a batch costs beside its members.
const BatchLen = FrameHeaderLen + batchLen

// A Batch opens a run of frames that commits as a whole: either all of it decodes or none of it exists.
type Batch struct {
	Count  uint32
	Length uint64 // bytes of all member frames, headers included
	First  uint64 // sequence of the first member
	Digest event.Hash
}

// AppendBatch appends the body of b to dst.
func AppendBatch(dst []byte, b *Batch) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, b.Count)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, b.Length)
	dst = le.AppendUint64(dst, b.First)
	return append(dst, b.Digest[:]...)
}

// DecodeBatch decodes a batch frame's body; ok is false when it does not follow the format.
func DecodeBatch(body []byte) (b Batch, ok bool) {
	r := wire.Reader{B: body}
	b.Count = r.Uint32()
	zero := r.Uint32()
	b.Length, b.First = r.Uint64(), r.Uint64()
	r.Copy(b.Digest[:])
	return b, r.Done() && zero == 0 && b.Count > 0 && b.First > 0
}

// A BatchDigest accumulates the digest of a batch. The zero value is ready. Not safe for concurrent use.
type BatchDigest struct {
	d   hash.Hash
	buf [16 * event.HashLen]byte // hashed together: many small writes cost twice as much
	n   int                      // bytes in buf
}

// Reset begins a new batch.
func (d *BatchDigest) Reset() {
	if d.d == nil {
		d.d = sha256.New()
	}
	d.d.Reset()
	d.d.Write([]byte(batchDomain))
	d.n = 0
}

// Add takes the hash of the next member.
func (d *BatchDigest) Add(h *event.Hash) {
	if d.n == len(d.buf) {
		d.flush()
	}
	d.n += copy(d.buf[d.n:], h[:])
}

func (d *BatchDigest) flush() {
	d.d.Write(d.buf[:d.n])
	d.n = 0
}

// Sum writes the digest of the members so far to out.
func (d *BatchDigest) Sum(out *event.Hash) {
	d.flush()
	d.d.Sum(out[:0])
}

// The body of a fence frame.
//
//	offset  size  field
//	0       1     op        1 begin, 2 commit, 3 cancel
//	1       7     zero
//	8       8     fence     number of the fence, ≥ 1, never used twice
//	16      8     sequence  last one given out when the frame was written
//	24      8     deadline  Unix milliseconds; 0 means none; on begin only
const fenceLen = 1 + 7 + 8 + 8 + 8

// A FenceOp is what happens to a fence.
type FenceOp uint8

// The operations of a fence.
const (
	FenceBegin  FenceOp = 1
	FenceCommit FenceOp = 2
	FenceCancel FenceOp = 3
)

// A Fence says what became of a set of staged events: the events name the fence, this frame tells its fate.
type Fence struct {
	Op       FenceOp
	Fence    uint64
	Seq      uint64
	Deadline int64 // Unix milliseconds; 0 means none
}

// AppendFence appends the body of f to dst.
func AppendFence(dst []byte, f *Fence) []byte {
	le := binary.LittleEndian
	dst = append(dst, byte(f.Op), 0, 0, 0, 0, 0, 0, 0)
	dst = le.AppendUint64(dst, f.Fence)
	dst = le.AppendUint64(dst, f.Seq)
	return le.AppendUint64(dst, uint64(f.Deadline))
}

// DecodeFence decodes a fence frame's body; ok is false when it does not follow the format.
func DecodeFence(body []byte) (f Fence, ok bool) {
	r := wire.Reader{B: body}
	f.Op = FenceOp(r.Uint8())
	pad := r.Bytes(7)
	f.Fence, f.Seq, f.Deadline = r.Uint64(), r.Uint64(), int64(r.Uint64())
	ok = r.Done() && allZero(pad) && f.Fence > 0 && f.Op >= FenceBegin && f.Op <= FenceCancel
	return f, ok && (f.Op == FenceBegin || f.Deadline == 0)
}

// markBody is the body of a mark frame.
var markBody = []byte{0}

// AppendMark appends a mark frame to dst: it carries nothing but its durable-through position.
func (s Seal) AppendMark(dst []byte, offset int64, through uint32) []byte {
	return s.AppendFrame(dst, offset, TypeMark, FlagGroup, through, markBody)
}
