package batpak

import (
	"errors"
	"fmt"

	"batpak/coordinate"
	"batpak/event"
)

// Conditions that callers branch on with errors.Is.
var (
	ErrClosed    = errors.New("batpak: store is closed")
	ErrReadOnly  = errors.New("batpak: store is read-only")
	ErrConflict  = errors.New("batpak: condition does not hold")
	ErrNotFound  = errors.New("batpak: no such event")
	ErrLimit     = errors.New("batpak: over a limit")
	ErrInvalid   = errors.New("batpak: invalid argument")
	ErrOption    = errors.New("batpak: invalid option")
	ErrPoisoned  = errors.New("batpak: the writer has failed; reopen the store")
	ErrNotLanded = errors.New("batpak: the write failed and left no trace")
	ErrCanceled  = errors.New("batpak: context ended")
	ErrOverload  = errors.New("batpak: too much was submitted and is not committed yet")

	ErrFenceEnded = errors.New("batpak: the fence has ended")
	ErrFenceOpen  = errors.New("batpak: another fence is open")

	// ErrDenied: a gate did not let a draft pass.
	ErrDenied = errors.New("batpak: denied")
	// ErrFork: a lane cannot branch from an event, or the event that it branches from is not there any more.
	ErrFork = errors.New("batpak: no event to branch from")

	// ErrIdempotency: a known key with another request.
	ErrIdempotency = errors.New("batpak: idempotency key was used for another request")
)

// An OptionError names the option that is out of range.
type OptionError struct {
	Field  string
	Value  any
	Reason string
}

func (e *OptionError) Error() string {
	return fmt.Sprintf("%v: %s = %v: %s", ErrOption, e.Field, e.Value, e.Reason)
}

// Unwrap returns [ErrOption].
func (e *OptionError) Unwrap() error { return ErrOption }

// A DraftError names the field of a draft, or of a query, that cannot be.
type DraftError struct {
	Field  string
	Reason string
	Err    error // the cause, such as a *coordinate.Error; may be nil
}

func (e *DraftError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%v: %s: %v", ErrInvalid, e.Field, e.Err)
	}
	return fmt.Sprintf("%v: %s: %s", ErrInvalid, e.Field, e.Reason)
}

// Unwrap returns [ErrInvalid] and the cause.
func (e *DraftError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrInvalid}
	}
	return []error{ErrInvalid, e.Err}
}

// A LimitError says which limit was passed. Nothing was queued.
type LimitError struct {
	Field string // "payload", "batch events", "batch bytes", "segment"
	Value int64
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%v: %s: %d, limit %d", ErrLimit, e.Field, e.Value, e.Limit)
}

// Unwrap returns [ErrLimit].
func (e *LimitError) Unwrap() error { return ErrLimit }

// A BatchError says which draft of a batch was refused; none of the batch was written.
type BatchError struct {
	Index int
	Err   error
}

func (e *BatchError) Error() string { return fmt.Sprintf("draft %d: %v", e.Index, e.Err) }

// Unwrap returns the cause.
func (e *BatchError) Unwrap() error { return e.Err }

// A ConflictError says which condition of a draft does not hold, and what is there. Nothing was written.
type ConflictError struct {
	Coordinate coordinate.Coordinate // of the draft
	Lane       uint32                // of the draft
	Want       Expect                // what the draft expected of its stream
	Have       uint64                // the stream's clock; 0 means it has no event; not looked at for Unless
	Unless     *Unless               // the condition that has come true; nil when it was Expect
	Seq        uint64                // of the event in the way: the stream's last one, or the first that Unless selects
	ReadAfter  uint64                // read on behind this sequence: the stream's last one, or what Unless named
}

func (e *ConflictError) Error() string {
	if e.Unless != nil {
		return fmt.Sprintf("%v: %v lane %d: event %d was committed after %d", ErrConflict, e.Coordinate, e.Lane, e.Seq, e.Unless.Seq)
	}
	return fmt.Sprintf("%v: %v lane %d: want %v, have clock %d", ErrConflict, e.Coordinate, e.Lane, e.Want, e.Have)
}

// Unwrap returns [ErrConflict].
func (e *ConflictError) Unwrap() error { return ErrConflict }

// An IdempotencyConflictError says that a key was used before, for another request. Nothing was written.
type IdempotencyConflictError struct {
	Seq  uint64   // of the event that used the key first
	ID   event.ID // of the event that used the key first
	Want [16]byte // fingerprint of the request
	Have [16]byte // fingerprint of the first request
}

func (e *IdempotencyConflictError) Error() string {
	return fmt.Sprintf("%v: event %d", ErrIdempotency, e.Seq)
}

// Unwrap returns [ErrIdempotency].
func (e *IdempotencyConflictError) Unwrap() error { return ErrIdempotency }

// A CanceledError says that a context ended while an append waited.
type CanceledError struct {
	// MayLand: the write was under way; the events may be found later, or not. A retry with the same idempotency
	// key is safe. When false they never will be.
	MayLand bool
	Err     error // the context's cause
}

func (e *CanceledError) Error() string {
	if e.MayLand {
		return fmt.Sprintf("%v during the write, which may still land: %v", ErrCanceled, e.Err)
	}
	return fmt.Sprintf("%v before the write; nothing will land: %v", ErrCanceled, e.Err)
}

// Unwrap returns [ErrCanceled] and the context's error.
func (e *CanceledError) Unwrap() []error { return []error{ErrCanceled, e.Err} }

// A WriteError says that a write group failed.
type WriteError struct {
	// MayLand: what is on disk is unknown, since a sync failed; the events may be found later, or not. When false
	// they never will be.
	MayLand bool
	// Poisoned: the store takes no more writes, and says what survived after it is opened again. When false it goes
	// on as if nothing had been asked of it.
	Poisoned bool
	Err      error // the cause; in a poisoned store the first one
}

func (e *WriteError) Error() string {
	switch {
	case e.MayLand:
		return fmt.Sprintf("%v: outcome unknown: %v", ErrPoisoned, e.Err)
	case e.Poisoned:
		return fmt.Sprintf("%v: takes no writes: %v", ErrPoisoned, e.Err)
	}
	return fmt.Sprintf("%v: %v", ErrNotLanded, e.Err)
}

// Unwrap returns [ErrPoisoned] or [ErrNotLanded], and the cause.
func (e *WriteError) Unwrap() []error {
	if e.Poisoned {
		return []error{ErrPoisoned, e.Err}
	}
	return []error{ErrNotLanded, e.Err}
}
