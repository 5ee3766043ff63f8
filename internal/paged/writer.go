package paged

import (
	"encoding/binary"
	"io"

	"batpak/internal/wire"
)

// writeLen is how much a Writer collects before it writes; whole pages.
const writeLen = 16 * PageLen

// A Writer writes a body and then its page sums. It keeps four bytes per page. Not safe for concurrent use.
type Writer struct {
	w    io.Writer
	seed uint32
	buf  []byte // not written yet; begins at a page
	sums []byte
	size uint64 // of the body so far
	err  error  // the first one; nothing is written behind it
}

// NewWriter returns a Writer to w whose page sums continue from seed.
func NewWriter(w io.Writer, seed uint32) *Writer {
	return &Writer{w: w, seed: seed, buf: make([]byte, 0, writeLen)}
}

// Uint64 appends the eight little-endian bytes of v.
func (w *Writer) Uint64(v uint64) {
	if len(w.buf)+8 > cap(w.buf) {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], v)
		w.Append(b[:])
		return
	}
	w.buf = binary.LittleEndian.AppendUint64(w.buf, v)
}

// Append appends b.
func (w *Writer) Append(b []byte) {
	for len(b) > 0 {
		n := min(len(b), cap(w.buf)-len(w.buf))
		w.buf, b = append(w.buf, b[:n]...), b[n:]
		if len(w.buf) == cap(w.buf) {
			w.flush()
		}
	}
}

// flush writes what was collected: whole pages, but at the end of the body.
func (w *Writer) flush() {
	for at := 0; at < len(w.buf); at += PageLen {
		page := w.buf[at:min(at+PageLen, len(w.buf))]
		w.sums = binary.LittleEndian.AppendUint32(w.sums, Sum(w.seed, (w.size+uint64(at))/PageLen, page))
	}
	w.size += uint64(len(w.buf))
	if w.err == nil && len(w.buf) > 0 {
		_, w.err = w.w.Write(w.buf)
	}
	w.buf = w.buf[:0]
}

// Err returns the first error of the writer below.
func (w *Writer) Err() error { return w.err }

// Finish writes the rest of the body and the page sums. It returns the size of the body and the checksum of the sums,
// for the trailer.
func (w *Writer) Finish() (size uint64, sumsCRC uint32, err error) {
	w.flush()
	for len(w.sums)%align != 0 {
		w.sums = append(w.sums, 0)
	}
	if w.err == nil {
		_, w.err = w.w.Write(w.sums)
	}
	return w.size, wire.Sum(w.seed, w.sums), w.err
}
