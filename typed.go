package batpak

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	"batpak/event"
)

// An EventOf is an event and its payload's value.
//
// The value is the caller's, also when the read borrows: then the event beside it is valid only until the next step. A
// codec may say otherwise: see [Codec].
type EventOf[T any] struct {
	event.Event
	Value T
}

// Draft returns d with the kind, payload and payload version of v, whose Go type must be bound. It is for batches, and
// for whatever else takes drafts:
//
//	placed, err := reg.Draft(batpak.Draft{Coordinate: order, Expect: batpak.Absent()}, OrderPlaced{Total: 42})
//
// The payload is new; d is not changed.
//
// Errors: *[RegistryError] with [ErrUnknownType]; *[EncodeError]; *[DraftError] when d has a kind, a payload or a
// payload version of its own.
func (r *Registry) Draft(d Draft, v any) (Draft, error) {
	bound, err := r.ofType(reflect.TypeOf(v))
	if err != nil {
		return Draft{}, err
	}
	if field := d.typedField(); field != "" {
		return Draft{}, &DraftError{Field: field, Reason: "comes from the registry"}
	}
	b := bound.base()
	if b.elem != nil && isNil(v) {
		err = errNil
	} else {
		d.Payload, err = marshal(b.codec, v)
	}
	if err != nil {
		return Draft{}, &EncodeError{Type: b.goType, Kind: b.kind, Version: b.version, Codec: nameOf(b.codec), Err: err}
	}
	d.Kind, d.PayloadVersion = b.kind, b.version
	return d, nil
}

// typedField returns the name of a field that d has set and the registry sets, or "".
func (d *Draft) typedField() string {
	switch {
	case d.Kind != 0:
		return "Kind"
	case d.Payload != nil:
		return "Payload"
	case d.PayloadVersion != 0:
		return "PayloadVersion"
	}
	return ""
}

// AppendAs commits v as one event: d with the kind, payload and payload version of v, as [Registry.Draft] makes it.
//
// A retry with an idempotency key is the same request only if the version and the payload's bytes are the same: one that
// is made after the type got a new version is an *[IdempotencyConflictError].
//
// Errors: as [Registry.Draft]; as [Store.Append].
func AppendAs[T any](ctx context.Context, st *Store, reg *Registry, d Draft, v T) (Receipt, error) {
	d, err := reg.Draft(d, v)
	if err != nil {
		return Receipt{}, err
	}
	return st.Append(ctx, d)
}

// Typed yields the events of seq whose kind is bound to T, with their values. Events of kinds that are bound to other Go
// types are passed over, so a query for T's kind alone saves reading them. seq is what [Store.Read] returns, or any
// other iterator.
//
// When T is an interface, Typed yields the events of every bound type that implements it, all of them for any; a type
// switch over the value tells them apart. An event whose kind is not bound is then an error, [ErrUnknownKind]: it could
// be one of them.
//
// An event that has no value is yielded with a *[DecodeError], and the loop goes on if its body does; any other error is
// seq's, and ends as seq ends. When T is not bound, the only step is a *[RegistryError].
func Typed[T any](reg *Registry, seq iter.Seq2[event.Event, error]) iter.Seq2[EventOf[T], error] {
	if t := reflect.TypeFor[T](); t.Kind() == reflect.Interface {
		return typedAny[T](reg, t, seq)
	}
	return func(yield func(EventOf[T], error) bool) {
		b, err := boundTo[T](reg)
		if err != nil {
			yield(EventOf[T]{}, err)
			return
		}
		for ev, err := range seq {
			if err == nil && ev.Kind != b.kind {
				continue
			}
			typed := EventOf[T]{Event: ev}
			if err == nil {
				typed.Value, err = b.decode(&typed.Event)
			}
			if !yield(typed, err) {
				return
			}
		}
	}
}

// typedAny is Typed for an interface.
func typedAny[T any](reg *Registry, t reflect.Type, seq iter.Seq2[event.Event, error]) iter.Seq2[EventOf[T], error] {
	return func(yield func(EventOf[T], error) bool) {
		wanted, err := reg.implementing(t)
		if err != nil {
			yield(EventOf[T]{}, err)
			return
		}
		for ev, err := range seq {
			typed := EventOf[T]{Event: ev}
			if err == nil {
				b := wanted[ev.Kind]
				if b == nil && reg.ofKind(ev.Kind) != nil {
					continue
				}
				typed.Value, err = decodeInto[T](b, &typed.Event)
			}
			if !yield(typed, err) {
				return
			}
		}
	}
}

// Decode returns the value of one event, of the Go type that its kind is bound to. Its payload is not changed.
//
// Errors: *[DecodeError].
func (r *Registry) Decode(ev event.Event) (any, error) {
	return decodeInto[any](r.ofKind(ev.Kind), &ev)
}

// DecodeAs returns the value of one event as a T, which may be an interface. Its payload is not changed.
//
// Errors: *[DecodeError], with [ErrOtherType] when the kind is bound to a type that is no T; *[RegistryError] when T is
// not bound.
func DecodeAs[T any](reg *Registry, ev event.Event) (T, error) {
	var zero T
	t := reflect.TypeFor[T]()
	if t.Kind() != reflect.Interface {
		b, err := boundTo[T](reg)
		if err != nil {
			return zero, err
		}
		if ev.Kind == b.kind {
			return b.decode(&ev)
		}
	}
	b := reg.ofKind(ev.Kind)
	if b != nil && (t.Kind() != reflect.Interface || !b.base().goType.Implements(t)) {
		return zero, b.base().failed(&ev, ErrOtherType, fmt.Errorf("not a %v", t))
	}
	return decodeInto[T](b, &ev)
}

// boundTo returns the binding of T, which is no interface.
func boundTo[T any](reg *Registry) (*bindingOf[T], error) {
	b, err := reg.ofType(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	return b.(*bindingOf[T]), nil
}

// implementing returns the bindings of the types that implement an interface, by kind.
func (r *Registry) implementing(t reflect.Type) (map[event.Kind]bound, error) {
	found := make(map[event.Kind]bound)
	if r != nil {
		for k, b := range r.byKind {
			if b.base().goType.Implements(t) {
				found[k] = b
			}
		}
	}
	if len(found) == 0 {
		return nil, &RegistryError{Type: t, Reason: "no bound type implements it", Err: ErrUnknownType}
	}
	return found, nil
}

// decodeInto returns the value of an event of b's kind as a T, an interface that b's type implements. A nil b is that of
// a kind that is not bound.
func decodeInto[T any](b bound, ev *event.Event) (v T, err error) {
	if b == nil {
		return v, unknownKind(ev)
	}
	decoded, err := b.decodeAny(*ev)
	if err != nil {
		return v, err
	}
	return decoded.(T), nil
}

// decodeAny is decode for whoever does not know T. It takes a copy: behind an interface, a pointer would put every event on
// the heap.
func (b *bindingOf[T]) decodeAny(ev event.Event) (any, error) { return b.decode(&ev) }

// decode returns the value of an event of b's kind.
func (b *bindingOf[T]) decode(ev *event.Event) (T, error) {
	var zero T
	version := max(ev.PayloadVersion, 1)
	switch {
	case ev.Redacted:
		return zero, b.failed(ev, ErrRedacted, nil)
	case version > b.version:
		return zero, b.failed(ev, ErrFutureVersion, nil)
	case version < b.oldest:
		return zero, b.failed(ev, ErrOldVersion, fmt.Errorf("version %d is the oldest", b.oldest))
	case version < b.version:
		v, err := b.upcast(ev, version)
		if err != nil {
			return zero, err
		}
		return v.(T), nil
	}
	v, err := unmarshal[T](b.codec, b.elem, ev.Payload)
	if err != nil {
		return zero, b.failed(ev, ErrCodec, fmt.Errorf("%s: %w", nameOf(b.codec), err))
	}
	return v, nil
}
