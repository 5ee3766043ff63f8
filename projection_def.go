package batpak

import (
	"encoding"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"time"

	"batpak/coordinate"
	"batpak/event"
	"batpak/index"
	"batpak/internal/statefile"
)

// Defaults of a [ProjectionDef].
const (
	defaultSnapshotEvery = 256 << 10
	defaultSnapshotAfter = time.Minute
	defaultSnapshotLimit = 64 << 20
	defaultSnapshots     = 4
)

// A projecting is a definition that was checked, without its Go type.
type projecting struct {
	key       statefile.Key
	query     index.Query // in normal form
	fresh     func() (fold, error)
	snapshots bool
	every     uint64        // events
	after     time.Duration // since the state was stored
	most      int64         // bytes of an encoded state
	keep      int           // states
}

// compileProjection checks def.
//
// Errors: *[OptionError]; *[DraftError]; *[LimitError].
func compileProjection[S any](st *Store, def ProjectionDef[S]) (*projecting, error) {
	if def.Codec == nil {
		def.Codec = jsonCodec
	}
	if err := def.check(); err != nil {
		return nil, err
	}
	query, selects, err := compileSelection(def.Query, nameOf(def.Codec))
	if err != nil {
		return nil, err
	}
	p := &projecting{
		key:   statefile.Key{Store: st.ID(), Name: def.Name, Version: def.Version, Selects: selects},
		query: query, fresh: freshOf(&def), snapshots: !def.NoSnapshots && !st.opts.ReadOnly,
		every: def.SnapshotEvery, after: def.SnapshotAfter, most: def.SnapshotLimit, keep: def.KeepSnapshots,
	}
	if p.every == 0 {
		p.every = defaultSnapshotEvery
	}
	if p.after == 0 {
		p.after = defaultSnapshotAfter
	}
	if p.most == 0 {
		p.most = defaultSnapshotLimit
	}
	if p.keep == 0 {
		p.keep = defaultSnapshots
	}
	return p, nil
}

// check checks the fields of def but its query.
//
// Errors: *[OptionError].
func (def *ProjectionDef[S]) check() error {
	if err := coordinate.Check("projection", def.Name); err != nil {
		return &OptionError{Field: "Name", Value: strconv.Quote(def.Name), Reason: err.Error()}
	}
	switch {
	case def.Version == 0:
		return &OptionError{Field: "Version", Value: def.Version, Reason: "below 1"}
	case def.Fold == nil:
		return &OptionError{Field: "Fold", Value: nil, Reason: "missing"}
	case def.SnapshotAfter < 0:
		return &OptionError{Field: "SnapshotAfter", Value: def.SnapshotAfter, Reason: "below 0"}
	case def.SnapshotLimit < 0 || def.SnapshotLimit > math.MaxInt32:
		return &OptionError{Field: "SnapshotLimit", Value: def.SnapshotLimit, Reason: "not from 0 to 2 GiB"}
	case def.KeepSnapshots < 0 || def.KeepSnapshots > maxSnapshots:
		return &OptionError{Field: "KeepSnapshots", Value: def.KeepSnapshots, Reason: "not from 0 to 1,024"}
	case def.Codec != jsonCodec || def.NoSnapshots && (def.Clone != nil || isPlain(reflect.TypeFor[S]())):
		return nil
	}
	if reason := lostInJSON(reflect.TypeFor[S](), nil); reason != "" {
		return &OptionError{Field: "Codec", Value: "json", Reason: reason + "; JSON would not give it back"}
	}
	return nil
}

// maxSnapshots bounds ProjectionDef.KeepSnapshots.
const maxSnapshots = 1024

// compileSelection checks what a projection asks for, and returns what stands for that and for the codec in files.
//
// Errors: *[DraftError]; *[LimitError].
func compileSelection(q Query, codec string) (index.Query, [32]byte, error) {
	for _, field := range [...]struct {
		name string
		set  bool
	}{{"Limit", q.Limit != 0}, {"Reverse", q.Reverse}, {"Borrow", q.Borrow}} {
		if field.set {
			return index.Query{}, [32]byte{}, &DraftError{Field: field.name, Reason: "has no meaning for a projection"}
		}
	}
	compiled, err := q.compile()
	if err != nil {
		return compiled, [32]byte{}, err
	}
	return compiled, statefile.Fingerprint(append(q.parts(), "codec", codec)...), nil
}

// parts returns what tells q from other queries: each field that is set, its name first.
func (q *Query) parts() []string {
	var parts []string
	text := func(name, value string) {
		if value != "" {
			parts = append(parts, name, value)
		}
	}
	number := func(name string, value uint64) {
		if value != 0 {
			parts = append(parts, name, strconv.FormatUint(value, 10))
		}
	}
	list := func(name string, values []string) {
		for _, value := range slices.Compact(slices.Sorted(slices.Values(values))) {
			parts = append(parts, name, value)
		}
	}
	id := func(name string, value event.ID) {
		if value != (event.ID{}) {
			parts = append(parts, name, value.String())
		}
	}
	text("entity", q.Entity)
	list("one of entities", q.Entities)
	text("prefix", q.EntityPrefix)
	list("one of prefixes", q.EntityPrefixes)
	text("scope", q.Scope)
	for _, k := range slices.Compact(slices.Sorted(slices.Values(q.Kinds))) {
		number("kind", uint64(k)+1)
	}
	for _, c := range slices.Compact(slices.Sorted(slices.Values(q.Categories))) {
		number("category", uint64(c)+1)
	}
	list("tag", q.Tags)
	if q.Lane != nil {
		number("lane", uint64(*q.Lane)+1)
	}
	id("correlation", q.Correlation)
	id("causation", q.Causation)
	number("from", uint64(q.FromHLC))
	number("to", uint64(q.ToHLC))
	if q.System {
		number("system", 1)
	}
	number("after", q.After)
	number("before", q.Before)
	return parts
}

// A fold is a state, and what moves it on. What the definition panics with becomes a *[PanicError].
type fold interface {
	take(ev event.Event) error
	encode() ([]byte, error)
	decode(data []byte) error
}

// A folded is the fold of a definition.
type folded[S any] struct {
	state S
	def   *ProjectionDef[S]
}

// freshOf returns what makes states before the first event.
func freshOf[S any](def *ProjectionDef[S]) func() (fold, error) {
	return func() (_ fold, err error) {
		defer rescue(&err)
		f := &folded[S]{def: def}
		if def.Init != nil {
			f.state = def.Init()
		}
		return f, nil
	}
}

func (f *folded[S]) take(ev event.Event) (err error) {
	defer rescue(&err)
	return f.def.Fold(&f.state, ev)
}

func (f *folded[S]) encode() ([]byte, error) {
	if pointee(reflect.TypeFor[S]()) != nil {
		return marshal(f.def.Codec, f.state)
	}
	return marshal(f.def.Codec, &f.state)
}

func (f *folded[S]) decode(data []byte) (err error) {
	f.state, err = unmarshal[S](f.def.Codec, pointee(reflect.TypeFor[S]()), data)
	return err
}

// clone returns a copy of the state.
func (f *folded[S]) clone() (state S, err error) {
	defer rescue(&err)
	switch {
	case f.def.Clone != nil:
		return f.def.Clone(&f.state), nil
	case isPlain(reflect.TypeFor[S]()):
		return f.state, nil
	}
	data, err := f.encode()
	if err != nil {
		return state, fmt.Errorf("copy state: %s: %w", nameOf(f.def.Codec), err)
	}
	other := folded[S]{def: f.def}
	if err := other.decode(data); err != nil {
		return state, fmt.Errorf("copy state: %s: %w", nameOf(f.def.Codec), err)
	}
	return other.state, nil
}

// isPlain reports whether an assignment copies all of a value of type t.
func isPlain(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return isPlain(t.Elem())
	case reflect.Struct:
		for f := range fieldsOf(t) {
			if !isPlain(f.Type) {
				return false
			}
		}
		return true
	case reflect.Chan, reflect.Func, reflect.Interface, reflect.Map, reflect.Pointer, reflect.Slice, reflect.UnsafePointer:
		return false
	}
	return true
}

// fieldsOf yields the fields of a struct type.
func fieldsOf(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}

var (
	jsonMarshaler   = reflect.TypeFor[json.Marshaler]()
	jsonUnmarshaler = reflect.TypeFor[json.Unmarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// lostInJSON says what of a value of type t package encoding/json does not give back as it was; "" for nothing. within
// are the types around it.
func lostInJSON(t reflect.Type, within []reflect.Type) string {
	p := reflect.PointerTo(t)
	if p.Implements(jsonMarshaler) && p.Implements(jsonUnmarshaler) || p.Implements(textMarshaler) && p.Implements(textUnmarshaler) {
		return "" // it knows what it does
	}
	if slices.Contains(within, t) {
		return ""
	}
	within = append(within, t)
	switch t.Kind() {
	case reflect.Array, reflect.Pointer, reflect.Slice:
		return lostInJSON(t.Elem(), within)
	case reflect.Map:
		if reason := lostInJSON(t.Elem(), within); reason != "" {
			return reason
		}
		return lostInJSON(t.Key(), within)
	case reflect.Struct:
		for f := range fieldsOf(t) {
			if !f.IsExported() && !(f.Anonymous && f.Type.Kind() == reflect.Struct) {
				return fmt.Sprintf("field %s of %v is not exported", f.Name, t)
			}
			if f.Tag.Get("json") == "-" {
				return fmt.Sprintf("field %s of %v is left out", f.Name, t)
			}
			if reason := lostInJSON(f.Type, within); reason != "" {
				return reason
			}
		}
	case reflect.Chan, reflect.Complex64, reflect.Complex128, reflect.Func, reflect.Interface, reflect.UnsafePointer:
		return fmt.Sprintf("%v is in it", t)
	}
	return ""
}
