// Package segment reads and writes one append-only file: a header, frames, and, once the file is sealed, a SIDX
// footer. It is the only package that knows where bytes stand in a segment.
//
//	active    | header | frame | frame | … | zeroes, filled ahead of the writer |
//	sealed    | header | frame | frame | … | SIDX footer                        |
//
// The bytes are drawn once, above each codec: the header at [Header], frames at [AppendFrame], the batch envelope at
// [Batch], fences at [Fence], the footer at [Footer]. Everything is little-endian.
//
// Whether a file is sealed is a fact of the file (a footer that holds ends it), and never decides whether an event
// was committed: frames are the truth, the footer is rebuilt from them at any time.
package segment

import (
	"errors"
	"fmt"
)

// Conditions that callers branch on.
var (
	// ErrTorn: bytes end inside a frame, as an unfinished write leaves them.
	ErrTorn = errors.New("segment: torn")
	// ErrCorrupt: bytes that no crash leaves.
	ErrCorrupt = errors.New("segment: corrupt")
	// ErrFuture: written by a newer version; nothing here may rewrite it.
	ErrFuture = errors.New("segment: written by a newer version")
	// ErrForeign: a sound file of another store, or under another segment's name.
	ErrForeign = errors.New("segment: belongs to another store or name")
	// ErrFull: the write does not fit into what is left of the segment.
	ErrFull = errors.New("segment: full")
	// ErrPoisoned: an earlier sync or clean-up failed; the file takes no more writes.
	ErrPoisoned = errors.New("segment: writer is poisoned by an earlier failure")
)

// A FrameError locates bytes that could not be decoded.
type FrameError struct {
	Segment uint64
	Offset  int64  // of the frame header, bytes from start of file
	Reason  string // short and constant: "header checksum", "body checksum", "length"
	Err     error  // ErrCorrupt, ErrTorn, ErrFuture or ErrForeign
}

func (e *FrameError) Error() string {
	return fmt.Sprintf("%v: segment %06d offset %d: %s", e.Err, e.Segment, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *FrameError) Unwrap() error { return e.Err }

// A Pos is a place in the log.
type Pos struct {
	Segment uint64
	Offset  int64 // bytes from start of file
}

// Compare orders positions along the log: negative when p is before q.
func (p Pos) Compare(q Pos) int {
	switch {
	case p.Segment != q.Segment && p.Segment < q.Segment, p.Segment == q.Segment && p.Offset < q.Offset:
		return -1
	case p == q:
		return 0
	}
	return 1
}

func (p Pos) String() string { return fmt.Sprintf("segment %06d offset %d", p.Segment, p.Offset) }
