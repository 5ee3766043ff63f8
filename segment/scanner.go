package segment

import (
	"encoding/binary"
	"errors"
	"io"

	"batpak/internal/planted"
)

// scanBlock is how much a Scanner reads at once: large enough for sequential disks, small enough for the L2 cache.
const scanBlock = 256 << 10

// A Scanner reads the frames of a segment in order, in large blocks. It stops at the first bytes that are not a frame
// and tells their place; whether that is the end, a torn write or damage is for its caller to judge.
// Not safe for concurrent use.
type Scanner struct {
	src     io.ReaderAt
	seal    Seal
	segment uint64
	limit   int64 // where frames end at the latest: file size, or a known end

	swap  func(block []byte) []byte // nil: the block is read into again
	buf   []byte                    // block read from src
	base  int64                     // offset of buf[0] in the file
	pos   int64                     // offset of the next frame
	frame Frame
	why   flaw
	err   error
	tried int64 // bytes of bodies that Resync has read behind sound headers, and that did not hold
}

// NewScanner returns a scanner over frames in [start, limit) of src, the segment with header h.
func NewScanner(src io.ReaderAt, h *Header, start, limit int64) *Scanner {
	return &Scanner{src: src, seal: NewSeal(h.Salt), segment: h.Segment, limit: limit, base: start, pos: start}
}

// Next reads the next frame. It returns false at the end, at bytes that are not a frame, and on an I/O error.
func (s *Scanner) Next() bool {
	if s.why != flawNone || s.err != nil || s.pos >= s.limit {
		return false
	}
	head, err := s.window(FrameHeaderLen)
	if err != nil {
		s.err = err
		return false
	}
	n, why := s.seal.decodeHead(head, s.pos, &s.frame)
	if planted.On(planted.LengthBeforeCRC) && len(head) == FrameHeaderLen {
		s.buf = append(make([]byte, 0, binary.LittleEndian.Uint32(head)), s.buf...)
	}
	if why == flawNone && !fits(n, s.limit-s.pos) {
		why = flawShort
	}
	if why != flawNone {
		s.why = why
		return false
	}
	whole, err := s.window(FrameHeaderLen + n)
	if err != nil {
		s.err = err
		return false
	}
	if s.why = s.frame.decodeBody(whole, n); s.why != flawNone {
		return false
	}
	s.pos = s.frame.End()
	return true
}

// window returns up to n bytes at pos; fewer only where the limit or the file ends.
func (s *Scanner) window(n int) ([]byte, error) {
	if at := int(s.pos - s.base); n <= len(s.buf)-at {
		return s.buf[at : at+n], nil // nothing in buf lies behind limit
	}
	return s.fill(n)
}

// Swap makes the scanner call swap whenever it has read a block, nil before the first, for one to read into that no
// earlier frame lies in; nil makes it a new one. A nil swap ends that.
func (s *Scanner) Swap(swap func(block []byte) []byte) { s.swap = swap }

// fill is window where the block does not hold the bytes.
func (s *Scanner) fill(n int) ([]byte, error) {
	n = int(min(int64(n), s.limit-s.pos))
	rest := s.buf[s.pos-s.base:]
	if n <= len(rest) {
		return rest[:n], nil
	}
	size := int(min(int64(max(scanBlock, n)), s.limit-s.pos))
	if s.swap != nil {
		s.buf = s.swap(s.buf)
	}
	if cap(s.buf) < size {
		s.buf = make([]byte, size)
	}
	s.buf = s.buf[:size]
	kept := copy(s.buf, rest)
	got, err := s.src.ReadAt(s.buf[kept:], s.pos+int64(kept))
	s.base, s.buf = s.pos, s.buf[:kept+got]
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return s.buf[:min(n, len(s.buf))], nil
}

// holdMost is the most that Hold holds: more than batches are nearly always.
const holdMost = 1 << 20

// Hold sees to it that the bodies of the frames in the next n bytes stay valid until the scan has come to their end.
// It returns false when n is too many; the caller then copies what it needs for longer than one Next.
func (s *Scanner) Hold(n int64) bool {
	if n > holdMost || n > s.limit-s.pos {
		return false
	}
	b, err := s.window(int(n))
	return err == nil && int64(len(b)) == n // an error comes back where the bytes are needed
}

// Frame returns the frame that Next read. Its body is valid until the next call to Next.
func (s *Scanner) Frame() *Frame { return &s.frame }

// Offset returns where the scan stands: behind the last good frame.
func (s *Scanner) Offset() int64 { return s.pos }

// Err returns the I/O error that stopped the scan, or nil.
func (s *Scanner) Err() error { return s.err }

// Fault returns the *[FrameError] of the bytes that stopped the scan, or nil where frames filled all of it.
func (s *Scanner) Fault() *FrameError {
	if s.why == flawNone {
		return nil
	}
	return s.why.at(s.segment, s.pos)
}

// Zeroes reports whether the file holds nothing but zeroes in [from, limit).
func (s *Scanner) Zeroes(from int64) (bool, error) {
	buf := make([]byte, scanBlock)
	for off := from; off < s.limit; {
		b := buf[:min(int64(len(buf)), s.limit-off)]
		n, err := s.src.ReadAt(b, off)
		if !allZero(b[:n]) {
			return false, nil
		}
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		off += int64(n)
	}
	return true, nil
}

// resyncMost bounds how often Resync reads the file because of headers whose bodies do not hold.
const resyncMost = 4

// Resync looks for whole frames behind the bytes that stopped the scan and calls each with every one that it finds, in
// order, until each returns false. It searches byte by byte in memory (a frame can start anywhere) and skips over what
// decodes.
//
// Errors: I/O errors; *[FrameError] with [ErrCorrupt] for headers that overlap, as only a forger makes them.
func (s *Scanner) Resync(each func(*Frame) bool) error {
	const overlap = FrameHeaderLen
	buf := make([]byte, min(scanBlock+overlap, max(s.limit-s.pos-1, 0)))
	for off := s.pos + 1; off < s.limit; {
		n, err := s.src.ReadAt(buf[:min(int64(len(buf)), s.limit-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if n < FrameHeaderLen {
			return nil
		}
		next, more, err := s.resyncBlock(buf[:n], off, each)
		if err != nil || !more {
			return err
		}
		off = next
	}
	return nil
}

// resyncBlock tries every offset of one block and returns where the search goes on.
func (s *Scanner) resyncBlock(b []byte, base int64, each func(*Frame) bool) (next int64, more bool, err error) {
	for i := 0; i+FrameHeaderLen <= len(b); {
		// A frame's reserved bytes are zero and its type is not: that rejects nearly every offset without a checksum.
		if b[i+offType] == 0 || b[i+offType] > byte(lastType) || binary.LittleEndian.Uint16(b[i+offZero:]) != 0 {
			i++
			continue
		}
		f, ok, err := s.frameAt(b[i:], base+int64(i))
		if err != nil {
			return 0, false, err
		}
		if !ok {
			i++
			continue
		}
		if !each(&f) {
			return 0, false, nil
		}
		if f.End() >= base+int64(len(b)) {
			return f.End(), true, nil
		}
		i = int(f.End() - base)
	}
	return base + int64(len(b)) - FrameHeaderLen + 1, true, nil
}

// frameAt decodes the frame at offset, whose header stands at the start of b, reading the body where b is too short.
func (s *Scanner) frameAt(b []byte, offset int64) (f Frame, ok bool, err error) {
	n, why := s.seal.decodeHead(b, offset, &f)
	if why != flawNone || int64(n) > s.limit-offset-FrameHeaderLen {
		return f, false, nil
	}
	if FrameHeaderLen+n > len(b) {
		whole := make([]byte, FrameHeaderLen+n)
		got, err := s.src.ReadAt(whole, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return f, false, err
		}
		b = whole[:got]
	}
	if s.seal.decodeFrame(b, offset, &f) == flawNone {
		return f, true, nil
	}
	// Damaged frames lie side by side, so together they are no longer than the file. Forged headers need not.
	if s.tried += int64(n); s.tried > resyncMost*max(s.limit, scanBlock) {
		return f, false, &FrameError{Segment: s.segment, Offset: offset, Reason: "overlapping frame headers", Err: ErrCorrupt}
	}
	return f, false, nil
}
