package index

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A frames is where the frames of one run are read: from the map of a sealed segment or the file of an active one.
type frames struct {
	segment uint64
	seal    segment.Seal
	m       *vfs.Map // nil: file
	file    vfs.File
	end     int64 // offset behind the last frame
}

// guarded is readAt for callers that are not guarded.
func (f *frames) guarded(p []byte, off int64) error {
	if f.m == nil {
		return f.readAt(p, off)
	}
	return f.m.Guarded(func() error { return f.readAt(p, off) })
}

// readAt fills p from off. Callers guard it where the frames are mapped.
//
// Errors: *[segment.FrameError] with [segment.ErrCorrupt] where the file ends too early; the I/O error.
func (f *frames) readAt(p []byte, off int64) error {
	var n int
	var err error
	if f.m != nil {
		n, err = f.m.ReadAt(p, off)
	} else {
		n, err = f.file.ReadAt(p, off)
	}
	switch {
	case n == len(p):
		return nil
	case errors.Is(err, io.EOF):
		return f.flaw(off, "file ends inside a frame")
	}
	return fmt.Errorf("read segment %06d offset %d: %w", f.segment, off, err)
}

func (f *frames) flaw(off int64, reason string) error {
	return &segment.FrameError{Segment: f.segment, Offset: off, Reason: reason, Err: segment.ErrCorrupt}
}

// body checks the frame that fills b and returns its body, which aliases b.
func (f *frames) body(b []byte, off int64) ([]byte, error) {
	frame, err := f.seal.DecodeFrame(b, f.segment, off)
	switch {
	case err != nil:
		return nil, located(err)
	case frame.Type != segment.TypeEvent:
		return nil, f.flaw(off, "not an event")
	case frame.Len() != int64(len(b)):
		return nil, f.flaw(off, "length is not the index's")
	}
	return frame.Body, nil
}

// frameLen returns the length of the frame at off. Callers guard it.
func (f *frames) frameLen(off int64) (uint32, error) {
	head := make([]byte, segment.FrameHeaderLen)
	if err := f.readAt(head, off); err != nil {
		return 0, err
	}
	n, err := f.seal.FrameLen(head, f.segment, off)
	switch {
	case err != nil:
		return 0, located(err)
	case n > f.end-off:
		return 0, f.flaw(off, "frame behind the end")
	}
	return uint32(n), nil
}

// located turns what looks torn into what it is where a frame is known to be: damage.
func located(err error) error {
	if err == nil {
		return nil
	}
	return damaged(err)
}

func damaged(err error) error {
	var e *segment.FrameError
	if errors.As(err, &e) && e.Err == segment.ErrTorn {
		e.Err = segment.ErrCorrupt
	}
	return err
}

// decode decodes a checked body into r, which then aliases it.
func (f *frames) decode(r *event.Raw, body []byte, off int64) error {
	if err := r.Decode(body); err != nil {
		return f.malformed(off, err)
	}
	return nil
}

// malformed locates the error of a body whose checksum holds.
func (f *frames) malformed(off int64, err error) error {
	condition := segment.ErrCorrupt
	if errors.Is(err, event.ErrFuture) {
		condition = segment.ErrFuture
	}
	return &segment.FrameError{
		Segment: f.segment, Offset: off, Reason: "body", Err: fmt.Errorf("%w: %w", condition, err),
	}
}

// read reads, checks and decodes the event at p into one fresh allocation that r aliases. Callers guard it.
func (f *frames) read(r *event.Raw, p place) error {
	return f.fill(make([]byte, p.length), r, p)
}

// fill is read into b.
func (f *frames) fill(b []byte, r *event.Raw, p place) error {
	if err := f.readAt(b, int64(p.offset)); err != nil {
		return err
	}
	body, err := f.body(b, int64(p.offset))
	if err != nil {
		return err
	}
	return f.decode(r, body, int64(p.offset))
}

// A window is the buffer that a cursor reads frames through, one block at a time: as many as are near one another of
// those that its user knows it will need, or, where it knows of one only, more and more.
type window struct {
	block *[windowMost]byte // borrowed from blocks; nil until the first read

	buf  []byte // bytes [base, base+len(buf)) of the file; in block unless a frame is larger
	base int64
	used int // bytes of buf that were asked for; for who does not know what comes next
	size int // of the next block; the same

	near   int  // bytes that were read side by side, streamLeast at most; not forgotten from run to run
	inside bool // its reads are guarded already
}

const (
	windowFirst = 4 << 10
	windowMost  = 256 << 10
)

// blocks lends cursors their buffers.
var blocks = sync.Pool{New: func() any { return new([windowMost]byte) }}

// reset forgets what the window holds: it is of another file.
func (w *window) reset() { w.buf, w.base, w.used, w.size = nil, 0, 0, windowFirst }

// release gives the buffer back.
func (w *window) release() {
	if w.block != nil {
		blocks.Put(w.block)
	}
	*w = window{}
}

// frame returns the bytes of the frame at places[0]; they are valid until the next call. The others come next, and are
// read with it as far as they are near.
func (w *window) frame(f *frames, places []place) ([]byte, error) {
	off, n := int64(places[0].offset), int64(places[0].length)
	if !w.holds(places[0]) {
		from, to := f.near(places)
		if to > f.end || from > off {
			return nil, f.flaw(off, "frame behind the end")
		}
		if err := w.load(f, from, int(to-from)); err != nil {
			return nil, err
		}
	}
	at := int(off - w.base)
	return w.buf[at : at+int(n) : at+int(n)], nil
}

// ascending returns the bytes of the frame at p for who goes through the file without knowing where the next one is:
// blocks grow while what is read of them is used, and shrink to single frames when it is not.
func (w *window) ascending(f *frames, p place) ([]byte, error) {
	off, n := int64(p.offset), int64(p.length)
	if !w.holds(p) {
		if len(w.buf) > 0 && 4*w.used >= len(w.buf) {
			w.size = min(4*w.size, windowMost)
		} else if len(w.buf) > 0 {
			w.size = max(w.size/4, 1)
		}
		if off+n > f.end {
			return nil, f.flaw(off, "frame behind the end")
		}
		if err := w.load(f, off, int(min(max(n, int64(w.size)), f.end-off))); err != nil {
			return nil, err
		}
	}
	w.used += int(n)
	at := int(off - w.base)
	return w.buf[at : at+int(n) : at+int(n)], nil
}

// holds reports whether the window holds the frame at p.
func (w *window) holds(p place) bool {
	at := int64(p.offset) - w.base
	return at >= 0 && at+int64(p.length) <= int64(len(w.buf))
}

// near returns the bytes [from, to) of the first of the places, and of those behind it that are better read with it than
// alone.
func (f *frames) near(places []place) (from, to int64) {
	gap := int64(mapGap)
	if f.m == nil {
		gap = fileGap
	}
	for i, p := range places {
		lo, hi := int64(p.offset), int64(p.offset)+int64(p.length)
		if i == 0 {
			from, to = lo, hi
			continue
		}
		if lo > to+gap || hi < from-gap || max(hi, to)-min(lo, from) > windowMost || hi > f.end {
			break
		}
		from, to = min(lo, from), max(hi, to)
	}
	return from, to
}

// Frames that are no farther apart than this are read together: copying what lies between costs less than another call.
const (
	mapGap  = 256
	fileGap = 4 << 10
)

// load reads n bytes at off into the buffer.
func (w *window) load(f *frames, off int64, n int) error {
	if f.m != nil {
		w.stream(f, off, int64(n))
	}
	if w.block == nil {
		w.block = blocks.Get().(*[windowMost]byte)
	}
	if n <= windowMost {
		w.buf = w.block[:n]
	} else {
		w.buf = make([]byte, n)
	}
	w.base, w.used = off, 0
	var err error
	if w.inside {
		err = f.readAt(w.buf, off)
	} else {
		err = f.guarded(w.buf, off)
	}
	if err != nil {
		w.buf = w.buf[:0]
	}
	return err
}

// streamLeast is how many bytes are read side by side before a map is told that more will be.
const streamLeast = 64 << 10

// stream tells the map when who uses the window goes through the frames, in either direction, and does not look at one here
// and there: the block of n bytes at off is read next. Who has gone through one run goes through the next one.
func (w *window) stream(f *frames, off, n int64) {
	const gap = 4 << 10
	if end := w.base + int64(len(w.buf)); len(w.buf) > 0 && (off > end+gap || off+n < w.base-gap) {
		w.near = 0
	}
	if w.near = min(w.near+int(n), streamLeast); w.near == streamLeast {
		f.m.Stream()
	}
}
