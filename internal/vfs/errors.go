package vfs

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

// errNotDir is the errno of a path that ought to be a directory.
const errNotDir = syscall.ENOTDIR

var (
	// ErrLocked says that somebody holds the lock. It comes as *[LockedError].
	ErrLocked = errors.New("vfs: locked")

	// ErrUnsafePath says that a name or the file behind it is not one the store may touch. It comes as
	// *[UnsafePathError].
	ErrUnsafePath = errors.New("vfs: unsafe path")

	// ErrMapFault says that mapped bytes are not there any more: the file shrank or its disk failed.
	ErrMapFault = errors.New("vfs: mapped file faulted")
)

// A LockedError names the lock file that somebody else holds.
type LockedError struct {
	Path string
	PID  int // what the holder wrote into the file; a hint only, 0 when unknown
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%v: %s", ErrLocked, e.Path)
	}
	return fmt.Sprintf("%v: %s (by process %d, it says)", ErrLocked, e.Path, e.PID)
}

// Unwrap returns [ErrLocked].
func (e *LockedError) Unwrap() error { return ErrLocked }

// An UnsafePathError names a file that the store refuses to touch.
type UnsafePathError struct {
	Name   string // as given
	Reason string // short and constant: "symlink", "FIFO", "hard link", "separator in name"
}

func (e *UnsafePathError) Error() string {
	return fmt.Sprintf("%v: %q: %s", ErrUnsafePath, e.Name, e.Reason)
}

// Unwrap returns [ErrUnsafePath].
func (e *UnsafePathError) Unwrap() error { return ErrUnsafePath }

// maxName is the longest name in bytes that common file systems take.
const maxName = 255

// CheckName reports whether name is a plain file name on every system: not empty, at most 255 bytes, no
// separator, no "..", no control character. Errors: [*UnsafePathError].
func CheckName(name string) error {
	reason := ""
	switch {
	case name == "":
		reason = "empty name"
	case len(name) > maxName:
		reason = "name too long"
	case strings.ContainsAny(name, `/\:`):
		reason = "separator in name"
	case name == "." || strings.Contains(name, ".."):
		reason = "dots in name"
	case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
		reason = "control character in name"
	default:
		return nil
	}
	return &UnsafePathError{Name: name, Reason: reason}
}
