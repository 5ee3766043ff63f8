package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"runtime/debug"
	"sync/atomic"

	"batpak/internal/planted"
)

// A Map is a read-only view of one file, as long as it was when it was mapped. It is a struct and not an
// interface, so that a buffer passed to ReadAt can live on the caller's stack.
//
// Reads may run at the same time as each other, but not at the same time as Close; whoever closes a Map
// knows that its last reader is gone. The file may be renamed or removed meanwhile. It must not become
// shorter: a read of bytes that are gone is a fault of the processor, which ends the process unless the
// read runs inside [Map.Guarded].
type Map struct {
	r    *mapping // nil in a Map served from memory
	soft *softMap // nil in a Map of the operating system without a check

	streams atomic.Bool // Stream was called
}

// ReadAt copies the bytes from off into p. As for every [io.ReaderAt], n < len(p) comes with an error,
// [io.EOF] at the end of the view. It allocates nothing and does not keep p.
//
// Errors: [io.EOF]; [fs.ErrInvalid] for a negative offset; [fs.ErrClosed]; [ErrMapFault] from an in-memory
// file that shrank.
func (m *Map) ReadAt(p []byte, off int64) (n int, err error) {
	if m.soft != nil {
		return m.soft.readAt(m.r, p, off)
	}
	return readMapped(m.r, p, off)
}

// readMapped reads from r with every bound checked first, so that r never has to make up an error.
func readMapped(r *mapping, p []byte, off int64) (int, error) {
	switch {
	case r == nil:
		return 0, fs.ErrClosed
	case off < 0:
		return 0, fs.ErrInvalid
	case off >= int64(r.Len()):
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	return r.ReadAt(p, off)
}

// Touch reads one byte of each cache line of [off, off+n), as far as that lies in the view, and returns their sum, which
// means nothing: lines that are touched together are fetched together, where reads that hang on one another would wait
// for one after the other. It does nothing in memory that is no map.
func (m *Map) Touch(off int64, n int) (sum byte) {
	if m.soft != nil || m.r == nil || off < 0 {
		return 0
	}
	for end := min(off+int64(n), int64(m.r.Len())); off < end; off += cacheLine {
		sum += m.r.At(int(off))
	}
	return sum
}

const cacheLine = 64

// Stream says that much of the file is going to be read, in order. Until then, a read of what is not in memory brings in
// the pages that it touches and no others, since most reads of an index, or of one event, want no more; from then on it
// brings in what lies around them, too. Only the first call costs anything. It may run beside reads.
func (m *Map) Stream() {
	if m.r != nil && !m.streams.Load() && m.streams.CompareAndSwap(false, true) {
		m.r.stream()
	}
}

// Len returns the length of the view in bytes; 0 after Close.
func (m *Map) Len() int {
	switch {
	case m.r != nil:
		return m.r.Len()
	case m.soft != nil && m.soft.mem != nil:
		return int(m.soft.mem.size)
	}
	return 0
}

// Close unmaps the file. A second Close returns [fs.ErrClosed].
func (m *Map) Close() error {
	r, soft := m.r, m.soft
	m.r, m.soft = nil, nil
	switch {
	case r == nil && (soft == nil || soft.mem == nil):
		return fs.ErrClosed
	case r == nil:
		return soft.closeAfter(nil)
	case soft == nil:
		return r.Close()
	}
	return soft.closeAfter(r.Close)
}

// Guarded calls fn and turns a fault on mapped memory inside it, on this goroutine, into an error that
// wraps [ErrMapFault]. Any other panic passes through. It costs some ten nanoseconds: put it around a
// whole search or scan, not around each ReadAt. It may be nested.
func (m *Map) Guarded(fn func() error) (err error) {
	if planted.On(planted.MapWithoutLengthCheck) {
		return fn()
	}
	return guarded(fn)
}

// guarded is [Map.Guarded] for any mapped memory.
func guarded(fn func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer func() {
		debug.SetPanicOnFault(old)
		switch fault := recover().(type) {
		case nil:
		case interface {
			error
			Addr() uintptr // only a fault has an address
		}:
			err = fmt.Errorf("%w: %v", ErrMapFault, fault)
		default:
			panic(fault)
		}
	}()
	return fn()
}

// A softMap stands between a Map and its bytes: it serves them from memory, or lets a test refuse a read.
type softMap struct {
	mem   *memView                                  // nil when the bytes come from the operating system
	check func(kind OpKind, off int64, n int) error // asked before a read and a close; nil: never
}

func (s *softMap) readAt(r *mapping, p []byte, off int64) (int, error) {
	if s.check != nil {
		if err := s.check(OpRead, off, len(p)); err != nil {
			return 0, err
		}
	}
	if s.mem != nil {
		return s.mem.readAt(p, off)
	}
	return readMapped(r, p, off)
}

// closeAfter closes with release, and then reports what the check says about it.
func (s *softMap) closeAfter(release func() error) error {
	if release != nil {
		if err := release(); err != nil {
			return err
		}
	}
	if s.check != nil {
		return s.check(OpClose, 0, 0)
	}
	return nil
}
