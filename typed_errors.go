package batpak

import (
	"errors"
	"fmt"
	"reflect"

	"batpak/event"
)

// Conditions of registries and typed events, for errors.Is.
var (
	ErrDuplicate       = errors.New("batpak: bound twice")
	ErrMissingUpcaster = errors.New("batpak: upcaster is missing")
	ErrUnknownType     = errors.New("batpak: Go type is not bound")
	ErrUnknownKind     = errors.New("batpak: kind is not bound")
	ErrOtherType       = errors.New("batpak: kind is bound to another Go type")
	ErrFutureVersion   = errors.New("batpak: payload version is newer than the bound one")
	ErrOldVersion      = errors.New("batpak: payload version is below the oldest that is read")
	ErrRedacted        = errors.New("batpak: payload was redacted")
	ErrCodec           = errors.New("batpak: codec failed")
	ErrUpcast          = errors.New("batpak: upcaster failed")
)

// errNil is the cause where a nil pointer stands for a value.
var errNil = errors.New("nil pointer")

// A RegistryError says what is wrong with a binding, or, with [ErrUnknownType], that there is none.
type RegistryError struct {
	Type    reflect.Type // nil for that of a nil interface
	Kind    event.Kind   // zero when nothing is bound
	Version uint16       // current one; 0 when nothing is bound
	Reason  string       // may be empty
	Err     error        // ErrDuplicate, ErrMissingUpcaster, ErrUnknownType, event.ErrKindReserved, ErrInvalid
}

func (e *RegistryError) Error() string {
	s := fmt.Sprintf("%v: %v", e.Err, e.Type)
	if e.Kind != 0 || e.Version != 0 {
		s += fmt.Sprintf(" as kind %v version %d", e.Kind, e.Version)
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns the condition.
func (e *RegistryError) Unwrap() error { return e.Err }

// An EncodeError says that a value has no payload. Nothing was queued.
type EncodeError struct {
	Type    reflect.Type
	Kind    event.Kind
	Version uint16
	Codec   string
	Err     error // of the codec; a *[PanicError] if it panicked
}

func (e *EncodeError) Error() string {
	return fmt.Sprintf("%v: %s from %v, kind %v version %d: %v", ErrCodec, e.Codec, e.Type, e.Kind, e.Version, e.Err)
}

// Unwrap returns [ErrCodec] and the cause.
func (e *EncodeError) Unwrap() []error { return []error{ErrCodec, e.Err} }

// A DecodeError says why an event has no value. The event itself is sound.
type DecodeError struct {
	Seq     uint64
	ID      event.ID
	Kind    event.Kind
	Version uint16       // of the payload, as stored
	Current uint16       // version that the kind is bound with; 0 when it is not bound
	Type    reflect.Type // that the kind is bound to; nil when it is not bound
	Cond    error        // ErrUnknownKind, ErrOtherType, ErrFutureVersion, ErrOldVersion, ErrRedacted, ErrCodec, ErrUpcast
	Err     error        // cause; a *[PanicError] for a panic; nil when the condition says it all
}

func (e *DecodeError) Error() string {
	s := fmt.Sprintf("%v: event %d, kind %v version %d", e.Cond, e.Seq, e.Kind, e.Version)
	if e.Type != nil {
		s += fmt.Sprintf(", bound to %v version %d", e.Type, e.Current)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the condition and the cause.
func (e *DecodeError) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Cond}
	}
	return []error{e.Cond, e.Err}
}

// failed returns the error of an event of b's kind. It holds nothing of ev that a read may have borrowed.
func (b *binding) failed(ev *event.Event, cond, err error) *DecodeError {
	return &DecodeError{
		Seq: ev.Seq, ID: ev.ID, Kind: ev.Kind, Version: ev.PayloadVersion, Current: b.version, Type: b.goType,
		Cond: cond, Err: err,
	}
}

// unknownKind returns the error of an event whose kind is not bound.
func unknownKind(ev *event.Event) *DecodeError {
	return &DecodeError{Seq: ev.Seq, ID: ev.ID, Kind: ev.Kind, Version: ev.PayloadVersion, Cond: ErrUnknownKind}
}
