package coldstart

import (
	"encoding/binary"
	"errors"
	"slices"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// The file compaction.pending: the record of one compaction, there from its begin to its end. It is control data, not
// a cache: what it does not say is not guessed. How it is acted on is told above [opener.resolvePending].
//
//	offset  size  field
//	0       8     magic       "BATPAKCP"
//	8       4     length      bytes of all of it
//	12      4     checksum    CRC-32C of all of it but these four bytes
//	16      2     version     1; a higher one is from the future
//	18      2     flags       0; an unknown bit is from the future
//	20      4     state       1 = prepared, 2 = committed, 3 = placed
//	24      16    store
//	40      8     generation  which compaction it is, ≥ 1
//	48      4     sources     s, 1 ≤ s ≤ 256
//	52      4     results     r, r ≤ s; 0 while prepared
//	56      96×s  the segments that are replaced, ascending
//	…       96×r  the segments that replace them, ascending; each has the number of a source
//
// A segment in it is told by its content, not by its name:
//
//	0       8     segment         number
//	8       8     end             of its frames, bytes from start of file
//	16      16    salt            of its header; no two in a record are the same
//	32      4     header          CRC-32C of its encoded header
//	36      4     content         CRC-32C of the bytes [0, end); 0 for a source
//	40      8     first sequence  as its header has it, ≥ 1
//	48      8     last sequence   of all events up to its end
//	56      8     tree size       events in the Merkle tree at its end
//	64      32    root            of that tree
const (
	pendingMagic    = "BATPAKCP"
	pendingVersion  = 1
	pendingFixedLen = 8 + 4 + 4 + 2 + 2 + 4 + 16 + 8 + 4 + 4
	pendingFileLen  = 8 + 8 + 16 + 4 + 4 + 8 + 8 + 8 + event.HashLen

	// maxSources bounds how many segments one compaction replaces.
	maxSources = 256
)

const (
	_ uint = pendingFixedLen - 56
	_ uint = 56 - pendingFixedLen
	_ uint = pendingFileLen - 96
	_ uint = 96 - pendingFileLen
	_ uint = maxArtifact - pendingFixedLen - 2*maxSources*pendingFileLen
)

// A pendingState is how far a compaction has come for good.
type pendingState uint32

const (
	statePrepared  pendingState = 1 // results are being written; the sources count
	stateCommitted pendingState = 2 // the results count, wherever they are; all sources are there or replaced
	statePlaced    pendingState = 3 // every result has its final name durably; sources are being removed
)

// A pendingRecord is the record of one compaction.
type pendingRecord struct {
	state      pendingState
	store      [16]byte
	generation uint64
	sources    []pendingFile
	results    []pendingFile
}

// A pendingFile is one segment in a record.
type pendingFile struct {
	segment   uint64
	end       int64
	salt      [16]byte
	headerSum uint32
	content   uint32 // of a result
	firstSeq  uint64
	lastSeq   uint64
	treeSize  uint64
	root      event.Hash
}

// describe returns what a record says about an older segment; the content is left out.
func describe(l *link) pendingFile {
	return pendingFile{
		segment: l.id, end: l.end(), salt: l.header.Salt, headerSum: encodedSum(&l.header), firstSeq: l.header.FirstSeq,
		lastSeq: l.next.LastSeq, treeSize: l.next.TreeSize, root: l.next.Root,
	}
}

func encodedSum(h *segment.Header) uint32 { return wire.Sum(0, segment.AppendHeader(nil, h)) }

// is reports whether the file of size bytes that begins with h is f.
func (f *pendingFile) is(h *segment.Header, size int64) bool {
	return h.Segment == f.segment && h.Salt == f.salt && encodedSum(h) == f.headerSum && size >= f.end
}

// appendPending appends the encoding of p to dst.
func appendPending(dst []byte, p *pendingRecord) []byte {
	le := binary.LittleEndian
	start := len(dst)
	dst = append(dst, pendingMagic...)
	dst = le.AppendUint32(dst, uint32(pendingFixedLen+(len(p.sources)+len(p.results))*pendingFileLen))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint16(dst, pendingVersion)
	dst = le.AppendUint16(dst, 0)
	dst = le.AppendUint32(dst, uint32(p.state))
	dst = append(dst, p.store[:]...)
	dst = le.AppendUint64(dst, p.generation)
	dst = le.AppendUint32(dst, uint32(len(p.sources)))
	dst = le.AppendUint32(dst, uint32(len(p.results)))
	for i := range p.sources {
		dst = p.sources[i].append(dst)
	}
	for i := range p.results {
		dst = p.results[i].append(dst)
	}
	le.PutUint32(dst[start+sumAt:], artifactSum(dst[start:]))
	return dst
}

func (f *pendingFile) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, f.segment)
	dst = le.AppendUint64(dst, uint64(f.end))
	dst = append(dst, f.salt[:]...)
	dst = le.AppendUint32(dst, f.headerSum)
	dst = le.AppendUint32(dst, f.content)
	dst = le.AppendUint64(dst, f.firstSeq)
	dst = le.AppendUint64(dst, f.lastSeq)
	dst = le.AppendUint64(dst, f.treeSize)
	return append(dst, f.root[:]...)
}

// decodePending decodes the whole file b. Errors: [ErrDamaged]; [ErrFuture].
func decodePending(b []byte) (pendingRecord, error) {
	var p pendingRecord
	if len(b) < pendingFixedLen || string(b[:len(pendingMagic)]) != pendingMagic ||
		binary.LittleEndian.Uint32(b[sumAt:]) != artifactSum(b) {
		return p, ErrDamaged
	}
	r := wire.Reader{B: b[len(pendingMagic):]}
	n, _, version, flags := r.Uint32(), r.Uint32(), r.Uint16(), r.Uint16()
	if version > pendingVersion || flags != 0 {
		return p, ErrFuture
	}
	p.state = pendingState(r.Uint32())
	r.Copy(p.store[:])
	p.generation = r.Uint64()
	sources, results := r.Uint32(), r.Uint32()
	if version == 0 || uint64(n) != uint64(len(b)) || sources > maxSources || results > sources ||
		len(r.B) != int(sources+results)*pendingFileLen {
		return p, ErrDamaged
	}
	p.sources = decodePendingFiles(&r, sources)
	p.results = decodePendingFiles(&r, results)
	if !r.Done() || !p.sound() {
		return p, ErrDamaged
	}
	return p, nil
}

func decodePendingFiles(r *wire.Reader, n uint32) []pendingFile {
	files := make([]pendingFile, n)
	for i := range files {
		f := &files[i]
		f.segment, f.end = r.Uint64(), int64(r.Uint64())
		r.Copy(f.salt[:])
		f.headerSum, f.content = r.Uint32(), r.Uint32()
		f.firstSeq, f.lastSeq, f.treeSize = r.Uint64(), r.Uint64(), r.Uint64()
		r.Copy(f.root[:])
	}
	return files
}

// sound reports whether p can be true of one log.
func (p *pendingRecord) sound() bool {
	s, r := p.sources, p.results
	if p.state < statePrepared || p.state > statePlaced || p.generation == 0 || p.store == [16]byte{} ||
		len(s) == 0 || len(s) > maxSources || p.state == statePrepared && len(r) > 0 || !ascend(s) || !ascend(r) {
		return false
	}
	salts := make(map[[16]byte]bool, len(s)+len(r))
	for i := range s {
		salts[s[i].salt] = true
		if s[i].content != 0 {
			return false
		}
	}
	for i := range r {
		salts[r[i].salt] = true
		if p.source(r[i].segment) == nil {
			return false
		}
	}
	if len(salts) != len(s)+len(r) {
		return false
	}
	return len(r) == 0 || r[0].firstSeq >= s[0].firstSeq && r[len(r)-1].lastSeq <= s[len(s)-1].lastSeq
}

// ascend reports whether files are in the order of the log.
func ascend(files []pendingFile) bool {
	var last pendingFile
	for _, f := range files {
		if f.segment <= last.segment || f.segment > segment.MaxID || f.end <= 0 || f.firstSeq <= last.lastSeq ||
			f.lastSeq < last.lastSeq || f.treeSize < last.treeSize {
			return false
		}
		last = f
	}
	return true
}

// source and result return the segment with the given number in p, or nil.
func (p *pendingRecord) source(id uint64) *pendingFile { return findPending(p.sources, id) }
func (p *pendingRecord) result(id uint64) *pendingFile { return findPending(p.results, id) }

func findPending(files []pendingFile, id uint64) *pendingFile {
	i := slices.IndexFunc(files, func(f pendingFile) bool { return f.segment == id })
	if i < 0 {
		return nil
	}
	return &files[i]
}

// readPending returns the record in dir.
//
// Errors: [ErrAbsent]; *[PendingError]; *[FutureError]; I/O errors.
func readPending(dir vfs.Dir, store [16]byte) (*pendingRecord, error) {
	b, err := readArtifact(dir, pendingName, maxArtifact)
	var p pendingRecord
	if err == nil {
		p, err = decodePending(b)
	}
	switch {
	case errors.Is(err, ErrFuture):
		return nil, &FutureError{File: pendingName}
	case errors.Is(err, ErrDamaged):
		return nil, &PendingError{pendingName, ErrDamaged}
	case err != nil:
		return nil, err
	case p.store != store:
		return nil, &PendingError{pendingName, ErrForeign}
	}
	return &p, nil
}
