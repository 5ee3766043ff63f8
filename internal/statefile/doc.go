// Package statefile keeps folded states of projections in files of one directory: the bytes of a [State], drawn at [Append],
// the names of the files, and how they are written, found and thinned out.
//
// A file is a cache. It says which store, which projection, which schema version and which query it belongs to, and names
// the end of the history that it covers by sequence and hash, so that whoever reads it can tell that it is not this history.
// It is never guessed at: what does not hold is [ErrDamaged], [ErrForeign], [ErrStale] or [ErrFuture], one of them, and the
// log is folded again.
package statefile

import (
	"errors"
	"fmt"
)

// What can be wrong with a file. They come inside a *[FileError].
var (
	// ErrDamaged: it fails its checks.
	ErrDamaged = errors.New("statefile: damaged")
	// ErrForeign: it is sound and belongs to another store, or to another projection.
	ErrForeign = errors.New("statefile: belongs to another store or projection")
	// ErrStale: it is sound and was folded by another version or with another query.
	ErrStale = errors.New("statefile: folded by another definition")
	// ErrFuture: a newer version wrote it; nothing here may rewrite it.
	ErrFuture = errors.New("statefile: written by a newer version")
	// ErrLimit: the state is larger than its definition allows.
	ErrLimit = errors.New("statefile: state is too large")
)

// A FileError says what is wrong with a file, and where.
type FileError struct {
	File   string // name in the directory; empty when there is none yet
	Offset int64  // bytes from start of file; 0 when the whole file is meant
	Reason string // short and constant: "checksum", "name"
	Err    error  // ErrDamaged, ErrForeign, ErrStale, ErrFuture or ErrLimit
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%v: %s offset %d: %s", e.Err, e.File, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *FileError) Unwrap() error { return e.Err }

func flaw(file string, offset int64, reason string, err error) error {
	return &FileError{File: file, Offset: offset, Reason: reason, Err: err}
}
