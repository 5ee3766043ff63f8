package batpak

import (
	"errors"
	"fmt"
	"reflect"

	"batpak/event"
)

// A Registry says which Go type the payloads of a kind have, in which version, and by which codec. It is a value: a
// program may have several. It never changes, and is safe for concurrent use. The nil Registry binds nothing.
type Registry struct {
	byKind map[event.Kind]bound
	byType map[reflect.Type]bound // also by T where *T is bound, and by *T where T is: only one of them can be
}

// A Binding is one Go type of a [Registry], made by [Bind]. It never changes, and may go into several registries.
type Binding struct{ bound bound }

// bound is the binding of any Go type.
type bound interface {
	base() *binding
	decodeAny(ev event.Event) (any, error)
}

// A bindingOf is a binding that knows its Go type at compile time.
type bindingOf[T any] struct{ binding }

// A binding is what it has in common with those of other Go types.
type binding struct {
	goType  reflect.Type
	elem    reflect.Type // what goType points to; nil when it is no pointer type
	kind    event.Kind
	version uint16 // of new payloads; ≥ 1
	oldest  uint16 // version that is still read; 1 ≤ oldest ≤ version
	codec   Codec  // of payloads of version
	chain   []step // chain[i] leads from version oldest+i to the next

	problems []error // each a *[RegistryError]
}

func (b *binding) base() *binding { return b }

// A plan is a binding while its options are applied.
type plan struct {
	*binding
	steps  map[uint16]step  // by the version that they lead from
	codecs map[uint16]Codec // by version
}

// A BindOption is an option of [Bind]: [WithCodec], [CodecAt], [Upcast], [Oldest].
type BindOption func(*plan)

// WithCodec makes c the codec of the payloads, of new ones and of old ones. The default is [JSON].
func WithCodec(c Codec) BindOption {
	return func(p *plan) {
		if p.codec = c; c == nil {
			p.refuse(ErrInvalid, "codec is nil")
		}
	}
}

// CodecAt makes c the codec of the payloads of one older version: those of version 1 were JSON, say, before version 2
// turned to another one.
func CodecAt(version uint16, c Codec) BindOption {
	return func(p *plan) {
		if _, again := p.codecs[version]; again {
			p.refuse(ErrDuplicate, "second codec of version %d", version)
		}
		if p.codecs[version] = c; c == nil {
			p.refuse(ErrInvalid, "codec of version %d is nil", version)
		}
	}
}

// Oldest says that payloads below a version are not read any more: there were none, or nobody needs them. The chain of
// upcasters begins there. The default is 1.
func Oldest(version uint16) BindOption {
	return func(p *plan) { p.oldest = version }
}

// Bind binds a Go type to a kind and to the version of the payloads that are written from now on: 1 for the first shape
// of the type, one more with each change that would misread older payloads. There is an [Upcast] from every older
// version.
//
// Payloads of version 0 are those of drafts that nobody set a version on. They are read as version 1, whatever the
// current version is: the shape that the type had before anybody thought of versions.
//
// What is wrong with a binding is told by [NewRegistry].
func Bind[T any](kind event.Kind, version uint16, options ...BindOption) Binding {
	t := reflect.TypeFor[T]()
	b := &bindingOf[T]{binding{goType: t, elem: pointee(t), kind: kind, version: version, oldest: 1, codec: jsonCodec}}
	p := plan{binding: &b.binding, steps: map[uint16]step{}, codecs: map[uint16]Codec{}}
	if kind.Reserved() {
		p.refuse(event.ErrKindReserved, "")
	}
	if t.Kind() == reflect.Interface || pointsTwice(t) {
		p.refuse(ErrInvalid, "want a type that a codec can fill, or a pointer to one")
	}
	for _, option := range options {
		option(&p)
	}
	if p.checkVersions() {
		p.link()
	}
	return Binding{b}
}

// pointsTwice reports whether t is a pointer to a pointer or to an interface.
func pointsTwice(t reflect.Type) bool {
	e := pointee(t)
	return e != nil && (e.Kind() == reflect.Pointer || e.Kind() == reflect.Interface)
}

// refuse keeps a problem for NewRegistry.
func (p *plan) refuse(err error, reason string, args ...any) {
	p.problems = append(p.problems, p.problem(err, reason, args...))
}

func (b *binding) problem(err error, reason string, args ...any) *RegistryError {
	return &RegistryError{Type: b.goType, Kind: b.kind, Version: b.version, Reason: fmt.Sprintf(reason, args...), Err: err}
}

// checkVersions refuses versions that cannot be, and reports whether the steps can form a chain.
func (p *plan) checkVersions() bool {
	switch {
	case p.version == 0:
		p.refuse(ErrInvalid, "version 0 stands for payloads without one")
		return false
	case p.oldest == 0 || p.oldest > p.version:
		p.refuse(ErrInvalid, "oldest version %d, want one of 1 to %d", p.oldest, p.version)
		return false
	}
	for v := range p.steps {
		if v < p.oldest || v >= p.version {
			p.refuse(ErrInvalid, "upcaster from version %d, outside %d to %d", v, p.oldest, p.version-1)
		}
	}
	for v := range p.codecs {
		if v < p.oldest || v >= p.version {
			p.refuse(ErrInvalid, "codec of version %d, outside %d to %d", v, p.oldest, p.version-1)
		}
	}
	return true
}

// NewRegistry returns the registry of bindings: of each kind one Go type, and of each Go type one kind, where T and *T
// count as one type. A nil error means that every version of every kind can be led to its Go type.
//
// Errors: every problem that was found, each a *[RegistryError], joined: [ErrDuplicate] for what is bound twice;
// [ErrMissingUpcaster] for a gap between the oldest version and the current one; event.ErrKindReserved; [ErrInvalid] for
// anything else that cannot be.
func NewRegistry(bindings ...Binding) (*Registry, error) {
	r := &Registry{byKind: make(map[event.Kind]bound), byType: make(map[reflect.Type]bound)}
	var problems []error
	for _, binding := range bindings {
		if binding.bound == nil {
			problems = append(problems, &RegistryError{Reason: "zero Binding", Err: ErrInvalid})
			continue
		}
		b := binding.bound.base()
		problems = append(problems, b.problems...)
		if other, ok := r.byKind[b.kind]; ok {
			problems = append(problems, b.problem(ErrDuplicate, "the kind is bound to %v", other.base().goType))
		}
		if other, ok := r.byType[b.goType]; ok {
			problems = append(problems, b.problem(ErrDuplicate, "%v is bound to kind %v", other.base().goType, other.base().kind))
		}
		r.byKind[b.kind] = binding.bound
		r.byType[b.goType] = binding.bound
		if b.elem != nil {
			r.byType[b.elem] = binding.bound
		} else {
			r.byType[reflect.PointerTo(b.goType)] = binding.bound
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return r, nil
}

// ofKind returns the binding of a kind, or nil.
func (r *Registry) ofKind(k event.Kind) bound {
	if r == nil {
		return nil
	}
	return r.byKind[k]
}

// ofType returns the binding of a Go type; nil stands for that of a nil interface.
//
// Errors: *[RegistryError] with [ErrUnknownType].
func (r *Registry) ofType(t reflect.Type) (bound, error) {
	var b bound
	if r != nil && t != nil {
		b = r.byType[t]
	}
	switch {
	case b == nil:
		return nil, &RegistryError{Type: t, Err: ErrUnknownType}
	case b.base().goType != t:
		return nil, &RegistryError{Type: t, Reason: fmt.Sprintf("%v is", b.base().goType), Err: ErrUnknownType}
	}
	return b, nil
}
