package coldstart

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// An image is the directory of a store's sealed segments: what an open needs to know of them, so that it touches none.
// The snapshot holds it as it is, the checkpoint compressed.
//
//	offset  size  field
//	0       8     magic       "BATPAKIM"
//	8       2     version     1; a higher one is an image from the future
//	10      2     flags       0; an unknown bit is from the future
//	12      4     checksum    CRC-32C of all of it but these four bytes
//	16      16    store       identity of the store
//	32      8     length      bytes of all of it
//	40      8     generation  counts the images of a store
//	48      8     N           segments
//	56      8     K           reserved kinds
//	64      8     watermark   the segment behind those listed: the tail begins with it
//	72      16    its salt
//	88      8     sequence    last one before the watermark; 0 for none
//	96      8     HLC         last one before the watermark
//	104     8     tree size   events before the watermark
//	112     32    root        Merkle tree hash over them
//	144     208×N segments    summary 184, of the file: size 8, vfs.Stamp 8+8; ascending
//	…       16×K  reserved    kind u64, events of that kind in the segments listed u64; ascending
//
// The root binds an image to one history: the header of the segment at the watermark names the same root. Size and stamp
// bind it to the files: one that was replaced, written to or copied since is looked at again.
const (
	imageMagic    = "BATPAKIM"
	imageVersion  = 1
	imageFixedLen = 144
	imageEntryLen = segment.SummaryLen + 8 + 8 + 8
	imageCountLen = 8 + 8

	offImageSum = 12
)

// An image is the content of a snapshot and of a checkpoint.
type image struct {
	store      [16]byte
	generation uint64
	watermark  watermark
	entries    []entry
	reserved   map[event.Kind]uint64 // of the segments listed
}

// A watermark is the place in the log up to which an artifact covers it.
type watermark struct {
	segment uint64
	salt    [16]byte
	seq     uint64
	hlc     event.HLC
	size    uint64 // of the Merkle tree
	root    event.Hash
}

// An entry is one sealed segment.
type entry struct {
	sum  segment.Summary
	file segmentFile
}

// imageLen returns the length of an image of n segments and k reserved kinds.
func imageLen(n, k int) int { return imageFixedLen + n*imageEntryLen + k*imageCountLen }

// appendImage appends the encoding of m to dst.
func appendImage(dst []byte, m *image) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, imageMagic...)
	dst = le.AppendUint16(dst, imageVersion)
	dst = append(dst, 0, 0, 0, 0, 0, 0)
	dst = append(dst, m.store[:]...)
	for _, v := range [...]uint64{
		uint64(imageLen(len(m.entries), len(m.reserved))), m.generation,
		uint64(len(m.entries)), uint64(len(m.reserved)), m.watermark.segment,
	} {
		dst = le.AppendUint64(dst, v)
	}
	dst = append(dst, m.watermark.salt[:]...)
	dst = le.AppendUint64(dst, m.watermark.seq)
	dst = le.AppendUint64(dst, uint64(m.watermark.hlc))
	dst = le.AppendUint64(dst, m.watermark.size)
	dst = append(dst, m.watermark.root[:]...)
	for i := range m.entries {
		dst = segment.AppendSummary(dst, &m.entries[i].sum)
		f := &m.entries[i].file
		dst = le.AppendUint64(dst, uint64(f.size))
		dst = le.AppendUint64(dst, f.stamp.ID)
		dst = le.AppendUint64(dst, uint64(f.stamp.Changed))
	}
	for _, k := range slices.Sorted(maps.Keys(m.reserved)) {
		dst = le.AppendUint64(dst, uint64(k))
		dst = le.AppendUint64(dst, m.reserved[k])
	}
	b := dst[start:]
	le.PutUint32(b[offImageSum:], imageSum(b))
	return dst
}

func imageSum(b []byte) uint32 { return wire.Sum(wire.Sum(0, b[:offImageSum]), b[offImageSum+4:]) }

// imageHeadLen is how much of a snapshot, and of a checkpoint, tells its version.
const imageHeadLen = offImageSum

// looksNewer reports whether a snapshot or checkpoint that begins with b is of a newer version, if its checksum holds.
func looksNewer(b []byte) bool {
	magic := string(b[:8])
	return (magic == imageMagic || magic == checkpointMagic) &&
		(binary.LittleEndian.Uint16(b[8:]) > imageVersion || binary.LittleEndian.Uint16(b[10:]) != 0)
}

const (
	_ uint = imageVersion - checkpointVersion
	_ uint = checkpointVersion - imageVersion
	_ uint = offImageSum - offCheckpointSum
)

// decodeImage decodes b, of which it keeps nothing. Nothing is believed before the checksum.
//
// Errors: [ErrDamaged]; [ErrForeign] for an image of another store; [ErrFuture].
func decodeImage(b []byte, store [16]byte) (*image, error) {
	if len(b) < imageFixedLen || string(b[:8]) != imageMagic || binary.LittleEndian.Uint32(b[offImageSum:]) != imageSum(b) {
		return nil, ErrDamaged
	}
	m := new(image)
	r := wire.Reader{B: b[8:]}
	version, flags, _ := r.Uint16(), r.Uint16(), r.Uint32()
	if version > imageVersion || flags != 0 {
		return nil, ErrFuture
	}
	r.Copy(m.store[:])
	length, generation, n, k := r.Uint64(), r.Uint64(), r.Uint64(), r.Uint64()
	most := uint64(len(b)) / imageCountLen
	if version == 0 || length != uint64(len(b)) || n > most || k > most || imageLen(int(n), int(k)) != len(b) {
		return nil, ErrDamaged
	}
	m.generation = generation
	w := &m.watermark
	w.segment = r.Uint64()
	r.Copy(w.salt[:])
	w.seq, w.hlc, w.size = r.Uint64(), event.HLC(r.Uint64()), r.Uint64()
	r.Copy(w.root[:])
	if m.store != store {
		return nil, ErrForeign
	}
	if !m.decodeEntries(&r, int(n)) || !m.decodeReserved(&r, int(k)) || !r.Done() || !m.sound() {
		return nil, ErrDamaged
	}
	return m, nil
}

func (m *image) decodeEntries(r *wire.Reader, n int) bool {
	m.entries = make([]entry, n)
	for i := range m.entries {
		var ok bool
		if m.entries[i].sum, ok = segment.DecodeSummary(r.Bytes(segment.SummaryLen)); !ok {
			return false
		}
		stamp := vfs.Stamp{}
		size := int64(r.Uint64())
		stamp.ID, stamp.Changed = r.Uint64(), int64(r.Uint64())
		m.entries[i].file = segmentFile{m.entries[i].sum.Segment, size, stamp}
	}
	return true
}

func (m *image) decodeReserved(r *wire.Reader, k int) bool {
	m.reserved = make(map[event.Kind]uint64, k)
	last := uint64(0)
	for i := range k {
		kind, count := r.Uint64(), r.Uint64()
		if kind > 1<<16-1 || i > 0 && kind <= last || count == 0 {
			return false
		}
		m.reserved[event.Kind(kind)] = count
		last = kind
	}
	return true
}

// sound reports whether the entries follow one another up to the watermark.
func (m *image) sound() bool {
	var seq, size, id uint64
	for i := range m.entries {
		s := &m.entries[i].sum
		if s.Store != m.store || s.Segment <= id || s.TreeSize < size || s.TreeSize-size != s.Events ||
			s.Events > 0 && (s.FirstSeq <= seq || s.LastSeq-s.FirstSeq != s.Events-1) || m.entries[i].file.size <= s.End {
			return false
		}
		id, size = s.Segment, s.TreeSize
		if s.Events > 0 {
			seq = s.LastSeq
		}
	}
	w := &m.watermark
	return w.segment > id && w.size == size && w.seq == seq
}

// links returns the listed segments as the chain knows them; the last one has no next yet.
func (m *image) links() []*link {
	links, memory := make([]*link, len(m.entries)), make([]link, len(m.entries))
	prior := segment.Header{Store: m.store, FirstSeq: 1}
	for i := range m.entries {
		s := &m.entries[i].sum
		l := &memory[i]
		l.segmentFile, l.header, l.listed = m.entries[i].file, prior, true
		l.header.Segment, l.header.Salt = s.Segment, s.Salt
		if s.Events > 0 {
			l.header.FirstSeq = s.FirstSeq
		}
		links[i] = l
		prior.Previous, prior.End, prior.TreeSize, prior.Root = s.Segment, s.End, s.TreeSize, s.Root
		if s.Events > 0 {
			prior.LastSeq, prior.LastHLC, prior.FirstSeq = s.LastSeq, s.MaxHLC, s.LastSeq+1
		}
	}
	for i := range links[:max(0, len(links)-1)] {
		links[i].next = &links[i+1].header
	}
	return links
}

// fits says why h cannot be the header of the segment at the watermark, or "".
func (w *watermark) fits(h *segment.Header) string {
	switch {
	case h.Segment != w.segment:
		return fmt.Sprintf("segment %06d stands where it names %06d", h.Segment, w.segment)
	case h.Salt != w.salt:
		return fmt.Sprintf("it names another segment %06d", w.segment)
	case h.TreeSize != w.size || h.Root != w.root:
		return "it is of another history"
	case h.LastSeq != w.seq || h.LastHLC != w.hlc:
		return fmt.Sprintf("its watermark is sequence %d, the log has %d there", w.seq, h.LastSeq)
	}
	return ""
}
