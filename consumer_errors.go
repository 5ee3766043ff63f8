package batpak

import (
	"errors"
	"fmt"

	"batpak/event"
)

// Conditions of consumers.
var (
	// ErrConsumerRunning: another goroutine runs the consumer.
	ErrConsumerRunning = errors.New("batpak: the consumer is running")
	// ErrNoConsumer: the store knows no consumer of that name.
	ErrNoConsumer = errors.New("batpak: no such consumer")
	// ErrHandler: a handler failed on an event.
	ErrHandler = errors.New("batpak: the handler failed")
	// ErrHandlerLost: the process ended while the handler had the event, as often as it may be tried.
	ErrHandlerLost = errors.New("batpak: the process ended while the handler had the event")
	// ErrNotParked: the event is not parked.
	ErrNotParked = errors.New("batpak: the event is not parked")

	// ErrPositionDamaged: the file of the position fails its checks.
	ErrPositionDamaged = errors.New("batpak: position is damaged")
	// ErrPositionForeign: the file of the position belongs to another store.
	ErrPositionForeign = errors.New("batpak: position belongs to another store")
	// ErrPositionFuture: a newer version wrote the file of the position, or what the log says of the consumer; nothing here
	// may rewrite it. Where it is about the log it comes without a *[PositionError].
	ErrPositionFuture = errors.New("batpak: position was written by a newer version")
	// ErrPositionAhead: the position is behind the end of the log, which has lost its tail, or was rolled back.
	ErrPositionAhead = errors.New("batpak: position is ahead of the log")
	// ErrPositionHistory: the log holds another event at the position: it was rolled back and written anew.
	ErrPositionHistory = errors.New("batpak: position is of another history")
	// ErrPositionQuery: the consumer selected other events so far.
	ErrPositionQuery = errors.New("batpak: position is of another query")
)

// A PositionError says that the position of a consumer does not fit the store, or the consumer. Nothing was handed over,
// and nothing was changed. [Consumer.Reset] and [Consumer.Seek] give the consumer a new position.
type PositionError struct {
	Consumer string
	File     string // in the store's directory; empty when it is not about the file
	Seq      uint64 // that the position names; 0 where it is not known
	LastSeq  uint64 // of the log
	Reason   string // what contradicts what; may be empty
	Err      error  // one of the ErrPosition conditions, or wraps one
}

func (e *PositionError) Error() string {
	s := fmt.Sprintf("consumer %q: %v", e.Consumer, e.Err)
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if errors.Is(e.Err, ErrPositionFuture) {
		return s + "; run it with that version"
	}
	return s + "; Reset or Seek says where it is to go on"
}

// Unwrap returns the condition.
func (e *PositionError) Unwrap() error { return e.Err }

// A HandlerError says that a handler failed on an event, which stays the next one to be handed over.
type HandlerError struct {
	Consumer string
	Seq      uint64 // of the event
	ID       event.ID
	Attempts int   // of this run, and those that ended with their process
	Panic    any   // what the handler panicked with; nil when it returned Err
	Err      error // the handler's, or [ErrHandlerLost]
}

func (e *HandlerError) Error() string {
	return fmt.Sprintf("%v: consumer %q, event %d (%v), attempt %d: %v", ErrHandler, e.Consumer, e.Seq, e.ID, e.Attempts, e.Err)
}

// Unwrap returns [ErrHandler] and the handler's error.
func (e *HandlerError) Unwrap() []error { return []error{ErrHandler, e.Err} }

// A panicError is what a handler panicked with.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.value, e.stack) }

// Unwrap returns the error that the handler panicked with, if it was one.
func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}
