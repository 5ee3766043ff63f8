package batpak

import (
	"bytes"
	"fmt"
	"reflect"

	"batpak/event"
)

// A step leads from the payloads of one version to the next version.
type step struct {
	from    uint16
	in, out reflect.Type
	codec   Codec // of the payloads of version from
	decode  func(c Codec, data []byte) (any, error)
	apply   func(v any) (any, error) // an in to an out
}

// Upcast leads from payloads of version from, read as an Old, to the next version's New. The steps of a binding form a
// chain: what one returns is what the next one takes, and the last one returns the bound type. A version that changed
// what a field means but not its Go type has an upcaster from a type to itself.
//
// fn is called from many goroutines at once, each time that an older payload is decoded, with a value that is its own.
// It should depend on nothing else: what was stored is never rewritten, so two reads give the same only if fn does. An
// error of fn, a panic, and a nil pointer become a *[DecodeError] with [ErrUpcast].
func Upcast[Old, New any](from uint16, fn func(Old) (New, error)) BindOption {
	in, out := reflect.TypeFor[Old](), reflect.TypeFor[New]()
	elem := pointee(in)
	s := step{from: from, in: in, out: out}
	s.decode = func(c Codec, data []byte) (any, error) { return unmarshal[Old](c, elem, data) }
	s.apply = func(v any) (_ any, err error) {
		defer rescue(&err)
		old, _ := v.(Old) // it is one: the chain was checked. A nil interface is one, too, and fails here
		next, err := fn(old)
		if err == nil && isNil(next) {
			err = errNil
		}
		return next, err
	}
	return func(p *plan) {
		switch _, again := p.steps[from]; {
		case again:
			p.refuse(ErrDuplicate, "second upcaster from version %d", from)
		case fn == nil:
			p.refuse(ErrInvalid, "upcaster from version %d is nil", from)
		case pointsTwice(in):
			p.refuse(ErrInvalid, "upcaster from version %d takes %v", from, in)
		}
		p.steps[from] = s
	}
}

// isNil reports whether v is a nil pointer.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	return r.Kind() == reflect.Pointer && r.IsNil()
}

// link makes the steps a chain from the oldest version to the bound type.
func (p *plan) link() {
	var chain []step
	for v := p.oldest; v < p.version; v++ {
		s, ok := p.steps[v]
		if !ok {
			p.refuse(ErrMissingUpcaster, "from version %d", v)
			return // nobody can tell what the next one should take
		}
		if n := len(chain); n > 0 && chain[n-1].out != s.in {
			p.refuse(ErrInvalid, "upcaster from version %d takes %v, the one before it returns %v", v, s.in, chain[n-1].out)
		}
		if s.codec = p.codecs[v]; s.codec == nil {
			s.codec = p.codec
		}
		chain = append(chain, s)
	}
	if n := len(chain); n > 0 && chain[n-1].out != p.goType {
		p.refuse(ErrInvalid, "upcaster from version %d returns %v", p.version-1, chain[n-1].out)
	}
	p.chain = chain
}

// upcast decodes a payload of an older version that b reads, and leads it to the bound type.
//
// The codec gets a copy: whatever it or an upcaster keeps or changes, the event's bytes stay as they were stored.
func (b *binding) upcast(ev *event.Event, version uint16) (any, error) {
	chain := b.chain[version-b.oldest:]
	first := &chain[0]
	v, err := first.decode(first.codec, bytes.Clone(ev.Payload))
	if err != nil {
		return nil, b.failed(ev, ErrCodec, fmt.Errorf("%s to %v: %w", nameOf(first.codec), first.in, err))
	}
	for i := range chain {
		if v, err = chain[i].apply(v); err != nil {
			return nil, b.failed(ev, ErrUpcast, fmt.Errorf("from version %d: %w", chain[i].from, err))
		}
	}
	return v, nil
}
