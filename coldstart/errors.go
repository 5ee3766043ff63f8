package coldstart

import (
	"errors"
	"fmt"

	"batpak/event"
	"batpak/segment"
)

// Why a rung, a cache or a piece of evidence was stepped over. They reach callers inside [Skip] and in typed errors.
var (
	// ErrAbsent: it is not there.
	ErrAbsent = errors.New("coldstart: absent")
	// ErrStale: it is behind or ahead of the segments.
	ErrStale = errors.New("coldstart: stale")
	// ErrDamaged: it fails its checks.
	ErrDamaged = errors.New("coldstart: damaged")
	// ErrForeign: it is sound and belongs to another store.
	ErrForeign = errors.New("coldstart: belongs to another store")
	// ErrFuture: a newer version wrote it; nothing here may rewrite it.
	ErrFuture = errors.New("coldstart: written by a newer version")
)

// Why Open refuses a directory. A refusal modifies nothing.
var (
	// ErrCorrupt: the log has bytes that no crash leaves. It comes as *[CorruptError].
	ErrCorrupt = errors.New("coldstart: log is corrupt")
	// ErrTailMissing: the log ends before a place that was durable. It comes as *[TailMissingError].
	ErrTailMissing = errors.New("coldstart: end of the log is missing")
	// ErrHeadMismatch: the head that the caller kept is not in the log. It comes as *[HeadMismatchError].
	ErrHeadMismatch = errors.New("coldstart: log does not hold the expected head")
	// ErrPending: a compaction is under way, or was left half done; the next writable open resolves it. It comes as
	// *[PendingError].
	ErrPending = errors.New("coldstart: a compaction is pending")
	// ErrNoStore: a read-only open of a directory that holds no store.
	ErrNoStore = errors.New("coldstart: no store in this directory")
)

// ErrHeadEvicted: a compaction would take the last event of a stream. It comes as *[HeadEvictedError].
var ErrHeadEvicted = errors.New("coldstart: compaction would evict the last event of a stream")

// A HeadEvictedError says why a compaction is not committed: no event that stays, and that a crash would leave there, is
// behind this one on its stream. The stream's clock would begin anew. Keep the event, or wait until a later one is durable.
type HeadEvictedError struct {
	Entity string
	Lane   uint32
	Seq    uint64 // of the event that would go
	Clock  uint64 // of that event
}

func (e *HeadEvictedError) Error() string {
	return fmt.Sprintf("%v: event %d of %q, lane %d, clock %d", ErrHeadEvicted, e.Seq, e.Entity, e.Lane, e.Clock)
}

// Unwrap returns [ErrHeadEvicted].
func (e *HeadEvictedError) Unwrap() error { return ErrHeadEvicted }

// A CorruptError locates damage in the log. What is intact stays as it is.
type CorruptError struct {
	File     string // name in the directory
	Segment  uint64
	Offset   int64  // bytes from start of file
	FirstSeq uint64 // first sequence that the damage may affect
	LastSeq  uint64 // last such sequence; 0 when nothing says how many there were
	Reason   string // a verdict's label, or what contradicts what
	Err      error  // the finding below it; may be nil
}

func (e *CorruptError) Error() string {
	last := "…"
	if e.LastSeq > 0 {
		last = fmt.Sprint(e.LastSeq)
	}
	s := fmt.Sprintf("%v: %s offset %d: %s (sequences %d–%s)", ErrCorrupt, e.File, e.Offset, e.Reason, e.FirstSeq, last)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns [ErrCorrupt] and the finding below it.
func (e *CorruptError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrCorrupt}
	}
	return []error{ErrCorrupt, e.Err}
}

// corrupt returns the error for damage in segment id.
func corrupt(id uint64, offset int64, first, last uint64, reason string, err error) error {
	return &CorruptError{
		File: segment.Name(id), Segment: id, Offset: offset, FirstSeq: first, LastSeq: last, Reason: reason, Err: err,
	}
}

// A TailMissingError says that the log ends before a place that is proven to have been durable.
type TailMissingError struct {
	Have     segment.Pos // where the log ends
	HaveSeq  uint64
	Want     segment.Pos // what was durable
	WantSeq  uint64      // 0 when the proof names none
	Evidence string      // "anchor", "beacon", "footer", or "view shown before" to readers of this store
}

func (e *TailMissingError) Error() string {
	return fmt.Sprintf("%v: the log ends at %v, sequence %d; the %s names %v, sequence %d",
		ErrTailMissing, e.Have, e.HaveSeq, e.Evidence, e.Want, e.WantSeq)
}

// Unwrap returns [ErrTailMissing].
func (e *TailMissingError) Unwrap() error { return ErrTailMissing }

// A Head names one event of the log for good: nobody can build another event with this hash.
type Head struct {
	Seq  uint64
	Hash event.Hash
}

// A HeadMismatchError says that the log does not hold the event that the caller expects: the directory was rolled
// back, or is another one.
type HeadMismatchError struct {
	Want    Head
	LastSeq uint64     // of the log
	Hash    event.Hash // of the event with that sequence; zero when there is none
}

func (e *HeadMismatchError) Error() string {
	if e.Hash.IsZero() {
		return fmt.Sprintf("%v: no event %d, the last one is %d", ErrHeadMismatch, e.Want.Seq, e.LastSeq)
	}
	return fmt.Sprintf("%v: event %d has hash %x, want %x", ErrHeadMismatch, e.Want.Seq, e.Hash[:8], e.Want.Hash[:8])
}

// Unwrap returns [ErrHeadMismatch].
func (e *HeadMismatchError) Unwrap() error { return ErrHeadMismatch }

// A MetaError says that the store's identity cannot be read although segments are there. Every segment header holds
// the identity, too: repair rebuilds the file from them.
type MetaError struct {
	File string
	Err  error // ErrAbsent, ErrDamaged, ErrFuture, or an I/O error
}

func (e *MetaError) Error() string {
	if errors.Is(e.Err, ErrFuture) {
		return fmt.Sprintf("%v: %s", e.Err, e.File)
	}
	return fmt.Sprintf("%v: %s; repair rebuilds it from the segment headers", e.Err, e.File)
}

// Unwrap returns the finding.
func (e *MetaError) Unwrap() error { return e.Err }

// A PendingError says that the record of a compaction cannot be acted on. It is not a cache: it says which of the
// segments count, so it is neither guessed nor removed.
type PendingError struct {
	File string
	Err  error // ErrDamaged, ErrForeign, ErrPending
}

func (e *PendingError) Error() string {
	switch {
	case errors.Is(e.Err, ErrPending):
		return fmt.Sprintf("%v: %s; a writable open resolves it", e.Err, e.File)
	case errors.Is(e.Err, ErrForeign):
		return fmt.Sprintf("%v: %s; take it out of the directory", e.Err, e.File)
	}
	return fmt.Sprintf("%v: %s; restore it, or set it aside and open again: the headers of the segments then tell "+
		"whether the log is whole without it, and if not, nothing is changed", e.Err, e.File)
}

// Unwrap returns the finding.
func (e *PendingError) Unwrap() error { return e.Err }

// A FutureError names a file that only a newer version can read.
type FutureError struct {
	File string
	Err  error // may be nil
}

func (e *FutureError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("%v: %s", ErrFuture, e.File)
	}
	return fmt.Sprintf("%v: %s: %v", ErrFuture, e.File, e.Err)
}

// Unwrap returns [ErrFuture] and the finding below it.
func (e *FutureError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrFuture}
	}
	return []error{ErrFuture, e.Err}
}
