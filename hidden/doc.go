// Package hidden is a set of half-open sequence ranges that are durable but not visible: what a fence staged and never
// committed. Such events keep their sequence, their clock and their place in the hash chain; no read shows them.
//
// A [Set] is an immutable value, made to be asked by many readers at once. A [Tracker] derives it from the log: events
// name the fence that staged them, fence frames tell its fate. The log is the truth. A [File] is the same fact on disk,
// so that an open need not read the whole log for it; its bytes are drawn at [AppendFile].
//
// A file that is damaged is not skipped: an open that went on without it would show what was hidden. Whoever reads it
// tells absent, damaged, foreign and future apart by [ErrAbsent], [ErrDamaged], [ErrForeign] and [ErrFuture].
package hidden

import (
	"errors"
	"fmt"
)

// What can be wrong with a file. They come inside a *[FileError].
var (
	// ErrAbsent: it is not there.
	ErrAbsent = errors.New("hidden: absent")
	// ErrDamaged: it fails its checks.
	ErrDamaged = errors.New("hidden: damaged")
	// ErrForeign: it is sound and belongs to another store.
	ErrForeign = errors.New("hidden: belongs to another store")
	// ErrFuture: a newer version wrote it; nothing here may rewrite it.
	ErrFuture = errors.New("hidden: written by a newer version")
	// ErrLimit: the set is too large for a file.
	ErrLimit = errors.New("hidden: too many ranges")
)

// A FileError says what is wrong with a file, and where.
type FileError struct {
	File   string // name in the directory
	Offset int64  // bytes from start of file; 0 when the whole file is meant
	Reason string // short and constant: "checksum", "order of ranges"
	Err    error  // ErrAbsent, ErrDamaged, ErrForeign, ErrFuture or ErrLimit
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%v: %s offset %d: %s", e.Err, e.File, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *FileError) Unwrap() error { return e.Err }
