package batpak

import (
	"reflect"

	"batpak/event"
)

// FoldAs returns a fold for ProjectionDef.Fold over values: fold is called with each event whose kind is bound to T, once
// decoded; events of kinds that are bound to other Go types are passed over, so a query for T's kind alone saves reading
// them. When T is an interface, it is called with the events of every bound type that implements it, all of them for any;
// an event whose kind is not bound is then an error, as with [Typed].
//
// The value may be kept, unless its codec says otherwise; of the event beside it what ProjectionDef.Fold says.
//
// Errors of the fold: those of fold; *[DecodeError]; *[RegistryError] when T is not bound.
func FoldAs[S, T any](reg *Registry, fold func(state *S, ev EventOf[T]) error) func(state *S, ev event.Event) error {
	t := reflect.TypeFor[T]()
	if t.Kind() == reflect.Interface {
		return foldAny(reg, t, fold)
	}
	b, err := boundTo[T](reg)
	return func(state *S, ev event.Event) error {
		if err != nil {
			return err
		}
		if ev.Kind != b.kind {
			return nil
		}
		typed := EventOf[T]{Event: ev}
		var err error
		if typed.Value, err = b.decode(&typed.Event); err != nil {
			return err
		}
		return fold(state, typed)
	}
}

// foldAny is FoldAs for an interface.
func foldAny[S, T any](
	reg *Registry, t reflect.Type, fold func(state *S, ev EventOf[T]) error,
) func(state *S, ev event.Event) error {
	wanted, err := reg.implementing(t)
	return func(state *S, ev event.Event) error {
		if err != nil {
			return err
		}
		b := wanted[ev.Kind]
		if b == nil && reg.ofKind(ev.Kind) != nil {
			return nil
		}
		typed := EventOf[T]{Event: ev}
		var err error
		if typed.Value, err = decodeInto[T](b, &typed.Event); err != nil {
			return err
		}
		return fold(state, typed)
	}
}
