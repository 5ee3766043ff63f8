// Package idemp is the window from idempotency key to first outcome, as far as the log no longer tells it.
//
// Every event carries its own key, and the index of its segment finds it. When compaction takes an event out of the log
// its key must live on for a while: a retry then still gets the receipt of the first commit, and writes nothing. Those
// keys, and nothing else, are in one file, sorted, and searched where it lies: a [Table] holds one bit per page of it
// and no key. [Write] merges an older table with what is about to leave the log, page by page, and leaves out what the
// window has left behind.
//
//	file   | header page | page | page | … |     bytes drawn at [Open]
//	page   | entry | entry | … | zeroes | sum |  entries ascend by key; drawn at [Entry]
//
// The file is the only home of these facts: nothing can rebuild them. Whoever opens it tells absent, damaged, foreign
// and future apart by [ErrAbsent], [ErrDamaged], [ErrForeign] and [ErrFuture]. The header is checked by Open, a page
// when it is first used.
package idemp

import (
	"errors"
	"fmt"
)

// What can be wrong with a file. They come inside a *[FileError].
var (
	// ErrAbsent: it is not there.
	ErrAbsent = errors.New("idemp: absent")
	// ErrDamaged: it fails its checks.
	ErrDamaged = errors.New("idemp: damaged")
	// ErrForeign: it is sound and belongs to another store.
	ErrForeign = errors.New("idemp: belongs to another store")
	// ErrFuture: a newer version wrote it; nothing here may rewrite it.
	ErrFuture = errors.New("idemp: written by a newer version")
)

// A FileError says what is wrong with a file, and where.
type FileError struct {
	File   string // name in the directory
	Offset int64  // bytes from start of file; 0 when the whole file is meant
	Reason string // short and constant: "checksum of a page", "order of keys"
	Err    error  // ErrAbsent, ErrDamaged, ErrForeign or ErrFuture
}

func (e *FileError) Error() string {
	return fmt.Sprintf("%v: %s offset %d: %s", e.Err, e.File, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *FileError) Unwrap() error { return e.Err }

func flaw(offset int64, reason string, err error) error {
	return &FileError{File: FileName, Offset: offset, Reason: reason, Err: err}
}
