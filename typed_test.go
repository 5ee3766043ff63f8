package batpak_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// The types of an order, as a program would have them. Placed is at its third version, paid was never changed, shipped
// is bound by pointer, as generated messages are.
type (
	placedV1 struct{ Total string } // "42.50 EUR"
	placedV2 struct {
		Amount   float64
		Currency string
	}
	orderPlaced struct {
		Cents    int64
		Currency string
		Lines    []string        `json:",omitempty"`
		Note     json.RawMessage `json:",omitempty"`
	}
	orderPaid    struct{ By string }
	orderShipped struct{ Parcel string }
	stockTaken   struct{ Items int }
	unbound      struct{ X int }
)

func (orderPlaced) order()   {}
func (orderPaid) order()     {}
func (*orderShipped) order() {}

type orderEvent interface{ order() }

var (
	kindPlaced, kindPaid  = event.MustKind(1, 1), event.MustKind(1, 2)
	kindShipped, kindTake = event.MustKind(1, 3), event.MustKind(2, 1)
	orderAt               = coordinate.MustNew("order:1", "eu")
)

func parsePlaced(v placedV1) (placedV2, error) {
	var next placedV2
	_, err := fmt.Sscanf(v.Total, "%f %s", &next.Amount, &next.Currency)
	return next, err
}

func centsPlaced(v placedV2) (orderPlaced, error) {
	return orderPlaced{Cents: int64(v.Amount*100 + 0.5), Currency: v.Currency}, nil
}

// shopBindings are those of the registry that most tests use.
func shopBindings() []batpak.Binding {
	return []batpak.Binding{
		batpak.Bind[orderPlaced](kindPlaced, 3, batpak.Upcast(1, parsePlaced), batpak.Upcast(2, centsPlaced)),
		batpak.Bind[orderPaid](kindPaid, 1),
		batpak.Bind[*orderShipped](kindShipped, 1),
		batpak.Bind[stockTaken](kindTake, 1),
	}
}

func mustRegistry(t testing.TB, bindings ...batpak.Binding) *batpak.Registry {
	t.Helper()
	reg, err := batpak.NewRegistry(bindings...)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// stored returns an event as a read would give it.
func stored(kind event.Kind, version uint16, payload string) event.Event {
	return event.Event{
		ID: event.NewID(testEpoch<<16, 5), Seq: 17, Coordinate: orderAt, Kind: kind, PayloadVersion: version, Payload: []byte(payload),
	}
}

func TestNewRegistryRefuses(t *testing.T) {
	same := func(v orderPaid) (orderPaid, error) { return v, nil }
	paid := func(options ...batpak.BindOption) []batpak.Binding {
		return []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 3, options...)}
	}
	for _, tt := range []struct {
		name     string
		bindings []batpak.Binding
		cond     error
		want     string // in the reason
	}{
		{"kind bound twice", append(shopBindings(), batpak.Bind[unbound](kindPaid, 1)), batpak.ErrDuplicate, "bound to batpak_test.orderPaid"},
		{"type bound twice", append(shopBindings(), batpak.Bind[orderPaid](kindOne|9, 1)), batpak.ErrDuplicate, "bound to kind 1:2"},
		{"pointer to a bound type", append(shopBindings(), batpak.Bind[*orderPaid](kindOne|9, 1)), batpak.ErrDuplicate, "orderPaid is bound"},
		{"target of a bound pointer", append(shopBindings(), batpak.Bind[orderShipped](kindOne|9, 1)), batpak.ErrDuplicate, "*batpak_test.orderShipped is"},
		{"no upcaster", paid(), batpak.ErrMissingUpcaster, "from version 1"},
		{"gap at the start", paid(batpak.Upcast(2, same)), batpak.ErrMissingUpcaster, "from version 1"},
		{"gap at the end", paid(batpak.Upcast(1, same)), batpak.ErrMissingUpcaster, "from version 2"},
		{"gap behind the oldest", paid(batpak.Oldest(2)), batpak.ErrMissingUpcaster, "from version 2"},
		{"two upcasters from one version", paid(batpak.Upcast(1, same), batpak.Upcast(2, same), batpak.Upcast(1, same)), batpak.ErrDuplicate, "upcaster from version 1"},
		{"steps that do not meet", []batpak.Binding{
			batpak.Bind[orderPlaced](kindPlaced, 3, batpak.Upcast(1, parsePlaced), batpak.Upcast(2, func(placedV1) (orderPlaced, error) { return orderPlaced{}, nil })),
		}, batpak.ErrInvalid, "takes batpak_test.placedV1, the one before it returns batpak_test.placedV2"},
		{"chain that ends elsewhere", []batpak.Binding{
			batpak.Bind[orderPlaced](kindPlaced, 2, batpak.Upcast(1, parsePlaced)),
		}, batpak.ErrInvalid, "returns batpak_test.placedV2"},
		{"upcaster from the current version", paid(batpak.Upcast(1, same), batpak.Upcast(2, same), batpak.Upcast(3, same)), batpak.ErrInvalid, "outside 1 to 2"},
		{"upcaster from version 0", paid(batpak.Upcast(0, same), batpak.Upcast(1, same), batpak.Upcast(2, same)), batpak.ErrInvalid, "outside 1 to 2"},
		{"upcaster below the oldest", paid(batpak.Oldest(2), batpak.Upcast(1, same), batpak.Upcast(2, same)), batpak.ErrInvalid, "outside 2 to 2"},
		{"upcaster that is nil", paid(batpak.Upcast(1, same), batpak.Upcast[orderPaid, orderPaid](2, nil)), batpak.ErrInvalid, "from version 2 is nil"},
		{"upcaster from a pointer to a pointer", []batpak.Binding{
			batpak.Bind[orderPaid](kindPaid, 2, batpak.Upcast(1, func(**orderPaid) (orderPaid, error) { return orderPaid{}, nil })),
		}, batpak.ErrInvalid, "takes **"},
		{"oldest above the current", paid(batpak.Oldest(4)), batpak.ErrInvalid, "oldest version 4"},
		{"oldest of 0", paid(batpak.Oldest(0)), batpak.ErrInvalid, "oldest version 0"},
		{"version 0", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 0)}, batpak.ErrInvalid, "version 0"},
		{"reserved kind", []batpak.Binding{batpak.Bind[orderPaid](event.Kind(0xD001), 1)}, event.ErrKindReserved, ""},
		{"kind 0", []batpak.Binding{batpak.Bind[orderPaid](0, 1)}, event.ErrKindReserved, ""},
		{"interface", []batpak.Binding{batpak.Bind[orderEvent](kindPaid, 1)}, batpak.ErrInvalid, "codec can fill"},
		{"pointer to a pointer", []batpak.Binding{batpak.Bind[**orderPaid](kindPaid, 1)}, batpak.ErrInvalid, "codec can fill"},
		{"pointer to an interface", []batpak.Binding{batpak.Bind[*orderEvent](kindPaid, 1)}, batpak.ErrInvalid, "codec can fill"},
		{"codec that is nil", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 1, batpak.WithCodec(batpak.CodecOf("x", nil, nil)))}, batpak.ErrInvalid, "codec is nil"},
		{"old codec that is nil", paid(batpak.Upcast(1, same), batpak.Upcast(2, same), batpak.CodecAt(1, nil)), batpak.ErrInvalid, "codec of version 1 is nil"},
		{"two codecs of one version", paid(batpak.Upcast(1, same), batpak.Upcast(2, same), batpak.CodecAt(1, batpak.JSON()), batpak.CodecAt(1, batpak.JSON())), batpak.ErrDuplicate, "codec of version 1"},
		{"old codec of the current version", paid(batpak.Upcast(1, same), batpak.Upcast(2, same), batpak.CodecAt(3, batpak.JSON())), batpak.ErrInvalid, "codec of version 3"},
		{"zero Binding", []batpak.Binding{{}}, batpak.ErrInvalid, "zero Binding"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reg, err := batpak.NewRegistry(tt.bindings...)
			problem, ok := errors.AsType[*batpak.RegistryError](err)
			if reg != nil || !ok || !errors.Is(err, tt.cond) || !strings.Contains(problem.Reason, tt.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Fatalf("NewRegistry = %v, %v, want one *RegistryError, %v: …%s…", reg, err, tt.cond, tt.want)
			}
		})
	}
}

func TestNewRegistryNamesEveryProblem(t *testing.T) {
	_, err := batpak.NewRegistry(batpak.Bind[orderPaid](0, 3), batpak.Bind[orderPlaced](kindPlaced, 1), batpak.Bind[orderPlaced](kindPlaced, 2))
	for _, cond := range []error{event.ErrKindReserved, batpak.ErrMissingUpcaster, batpak.ErrDuplicate} {
		if !errors.Is(err, cond) {
			t.Errorf("NewRegistry = %v, want %v among them", err, cond)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 5 {
		t.Errorf("%d problems, want 5: %v", n, err)
	}
}

// shop returns a store that holds one event of each kind that is bound, and of each version of placed.
func shop(t testing.TB, reg *batpak.Registry) *batpak.Store {
	t.Helper()
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	t.Cleanup(func() { mustClose(t, st) })
	for _, d := range []batpak.Draft{
		{Payload: []byte(`{"Total":"1.00 EUR"}`)}, // nobody set a version
		{Payload: []byte(`{"Total":"2.50 USD"}`), PayloadVersion: 1},
		{Payload: []byte(`{"Amount":3.25,"Currency":"EUR"}`), PayloadVersion: 2},
	} {
		d.Coordinate, d.Kind = orderAt, kindPlaced
		if _, err := st.Append(ctx, d); err != nil {
			t.Fatal(err)
		}
	}
	at := batpak.Draft{Coordinate: orderAt}
	_, err1 := batpak.AppendAs(ctx, st, reg, at, orderPlaced{Cents: 400, Currency: "EUR", Lines: []string{"x"}, Note: json.RawMessage(`{"a":1}`)})
	_, err2 := batpak.AppendAs(ctx, st, reg, at, orderPaid{By: "card"})
	_, err3 := batpak.AppendAs(ctx, st, reg, at, stockTaken{Items: 7})
	_, err4 := batpak.AppendAs(ctx, st, reg, at, &orderShipped{Parcel: "p1"})
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return st
}

var shopPlaced = []orderPlaced{
	{Cents: 100, Currency: "EUR"}, {Cents: 250, Currency: "USD"}, {Cents: 325, Currency: "EUR"},
	{Cents: 400, Currency: "EUR", Lines: []string{"x"}, Note: json.RawMessage(`{"a":1}`)},
}

// values returns the values of a typed read, and "seq: error" for those without.
func values[T any](reg *batpak.Registry, st *batpak.Store, q batpak.Query) (got []any, failed []string) {
	for ev, err := range batpak.Typed[T](reg, st.Read(context.Background(), q)) {
		if err != nil {
			failed = append(failed, fmt.Sprintf("%d: %v", ev.Seq, err))
			if !reflect.ValueOf(&ev.Value).Elem().IsZero() {
				failed = append(failed, fmt.Sprintf("%d: a value, %v, beside it", ev.Seq, ev.Value))
			}
			continue
		}
		got = append(got, ev.Value)
	}
	return got, failed
}

func anys[T any](list ...T) (out []any) {
	for _, v := range list {
		out = append(out, v)
	}
	return out
}

func TestTyped(t *testing.T) {
	reg := mustRegistry(t, shopBindings()...)
	st := shop(t, reg)
	paid, shipped := orderPaid{By: "card"}, &orderShipped{Parcel: "p1"}
	for _, borrow := range []bool{false, true} {
		q := batpak.Query{Borrow: borrow}
		for _, tt := range []struct {
			name string
			read func() ([]any, []string)
			want []any
		}{
			{"one type, all versions", func() ([]any, []string) { return values[orderPlaced](reg, st, q) }, anys(shopPlaced...)},
			{"one type by pointer", func() ([]any, []string) { return values[*orderShipped](reg, st, q) }, anys(shipped)},
			{"interface", func() ([]any, []string) { return values[orderEvent](reg, st, q) }, append(anys(shopPlaced...), paid, shipped)},
			{"any", func() ([]any, []string) { return values[any](reg, st, q) }, append(anys(shopPlaced...), paid, stockTaken{7}, shipped)},
		} {
			t.Run(fmt.Sprintf("%s, borrow %v", tt.name, borrow), func(t *testing.T) {
				if got, failed := tt.read(); !reflect.DeepEqual(got, tt.want) || failed != nil {
					t.Errorf("values %+v, errors %q, want %+v", got, failed, tt.want)
				}
			})
		}
	}
}

// Whoever stops early stops the read, and whoever has no binding hears of it once.
func TestTypedEnds(t *testing.T) {
	reg := mustRegistry(t, shopBindings()...)
	st := shop(t, reg)
	ctx := context.Background()
	n := 0
	for range batpak.Typed[orderPlaced](reg, st.Read(ctx, batpak.Query{})) {
		n++
		break
	}
	for range batpak.Typed[any](reg, st.Read(ctx, batpak.Query{})) {
		n++
		break
	}
	if n != 2 {
		t.Errorf("%d steps, want 2", n)
	}
	var none *batpak.Registry
	for name, read := range map[string]func() ([]any, []string){
		"type that is not bound":        func() ([]any, []string) { return values[unbound](reg, st, batpak.Query{}) },
		"value type of a bound pointer": func() ([]any, []string) { return values[orderShipped](reg, st, batpak.Query{}) },
		"interface that nobody has":     func() ([]any, []string) { return values[fmt.Stringer](reg, st, batpak.Query{}) },
		"nil registry":                  func() ([]any, []string) { return values[orderPaid](none, st, batpak.Query{}) },
		"nil registry, any":             func() ([]any, []string) { return values[any](none, st, batpak.Query{}) },
	} {
		if got, failed := read(); got != nil || len(failed) != 1 || !strings.Contains(failed[0], batpak.ErrUnknownType.Error()) {
			t.Errorf("%s: values %v, errors %q, want one %v", name, got, failed, batpak.ErrUnknownType)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	for _, err := range batpak.Typed[orderPaid](reg, st.Read(ended, batpak.Query{})) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Typed over a read that failed = %v", err)
		}
		n++
	}
	for _, err := range batpak.Typed[any](reg, st.Read(ended, batpak.Query{})) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("Typed over a read that failed = %v", err)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d steps, want 4", n)
	}
}

// An event that has no value does not hide those behind it.
func TestTypedGoesOn(t *testing.T) {
	reg := mustRegistry(t, shopBindings()...)
	st := shop(t, reg)
	for _, d := range []batpak.Draft{
		{Kind: kindPaid, Payload: []byte(`{"By":"partly","Parcel":1,"by":7}`)}, // fills the value before it fails
		{Kind: kindPaid, PayloadVersion: 2, Payload: []byte(`{}`)},
		{Kind: event.MustKind(7, 7)},
		{Kind: kindPaid, PayloadVersion: 1, Payload: []byte(`{"By":"cash"}`)},
	} {
		d.Coordinate = orderAt
		if _, err := st.Append(context.Background(), d); err != nil {
			t.Fatal(err)
		}
	}
	q := batpak.Query{After: 7}
	got, failed := values[orderPaid](reg, st, q)
	if !reflect.DeepEqual(got, anys(orderPaid{"cash"})) || len(failed) != 2 || !strings.HasPrefix(failed[0], "8: ") || !strings.HasPrefix(failed[1], "9: ") {
		t.Errorf("values %v, errors %q", got, failed)
	}
	got, failed = values[orderEvent](reg, st, q)
	if !reflect.DeepEqual(got, anys(orderPaid{"cash"})) || len(failed) != 3 || !strings.Contains(failed[2], batpak.ErrUnknownKind.Error()) {
		t.Errorf("values %v, errors %q", got, failed)
	}
}

func TestDecode(t *testing.T) {
	reg := mustRegistry(t, shopBindings()...)
	ev := stored(kindPlaced, 2, `{"Amount":3.25,"Currency":"EUR"}`)
	want := orderPlaced{Cents: 325, Currency: "EUR"}
	if v, err := reg.Decode(ev); err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("Decode = %+v, %v, want %+v", v, err, want)
	}
	if v, err := batpak.DecodeAs[orderPlaced](reg, ev); err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("DecodeAs = %+v, %v, want %+v", v, err, want)
	}
	if v, err := batpak.DecodeAs[orderEvent](reg, ev); err != nil || !reflect.DeepEqual(v, want) {
		t.Errorf("DecodeAs an interface = %+v, %v, want %+v", v, err, want)
	}
	for name, decode := range map[string]func(event.Event) error{
		"another type":           func(ev event.Event) error { return second(batpak.DecodeAs[orderPaid](reg, ev)) },
		"an interface it is not": func(ev event.Event) error { return second(batpak.DecodeAs[fmt.Stringer](reg, ev)) },
	} {
		if err := decode(ev); !errors.Is(err, batpak.ErrOtherType) {
			t.Errorf("%s: %v, want %v", name, err, batpak.ErrOtherType)
		}
		if err := decode(stored(kindOne|99, 1, "")); !errors.Is(err, batpak.ErrUnknownKind) {
			t.Errorf("%s, kind that is not bound: %v, want %v", name, err, batpak.ErrUnknownKind)
		}
	}
	if err := second(batpak.DecodeAs[unbound](reg, ev)); !errors.Is(err, batpak.ErrUnknownType) {
		t.Errorf("DecodeAs a type that is not bound: %v", err)
	}
}

var errMine = errors.New("mine")

func TestDecodeErrors(t *testing.T) {
	bad := func(name string, unmarshal func([]byte, any) error) batpak.Codec {
		return batpak.CodecOf(name, json.Marshal, unmarshal)
	}
	upcast := func(fn func(placedV1) (*unbound, error)) []batpak.Binding {
		return []batpak.Binding{batpak.Bind[*unbound](kindPlaced, 2, batpak.Upcast(1, fn))}
	}
	var nobody *unbound
	for _, tt := range []struct {
		name     string
		bindings []batpak.Binding
		ev       event.Event
		cond     error
		cause    error // nil for any
		panicked bool
	}{
		{"kind that is not bound", nil, stored(kindPlaced, 1, "{}"), batpak.ErrUnknownKind, nil, false},
		{"version of the future", shopBindings(), stored(kindPlaced, 4, "{}"), batpak.ErrFutureVersion, nil, false},
		{"last version of all", shopBindings(), stored(kindPlaced, 65535, "{}"), batpak.ErrFutureVersion, nil, false},
		{"version below the oldest", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 2, batpak.Oldest(2))}, stored(kindPaid, 1, "{}"), batpak.ErrOldVersion, nil, false},
		{"no version, below the oldest", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 2, batpak.Oldest(2))}, stored(kindPaid, 0, "{}"), batpak.ErrOldVersion, nil, false},
		{"redacted", shopBindings(), event.Event{Seq: 17, ID: event.NewID(testEpoch<<16, 5), Kind: kindPaid, PayloadVersion: 1, Redacted: true}, batpak.ErrRedacted, nil, false},
		{"no payload", shopBindings(), stored(kindPaid, 1, ""), batpak.ErrCodec, nil, false},
		{"payload that is none", shopBindings(), stored(kindPaid, 1, "{]"), batpak.ErrCodec, nil, false},
		{"bytes behind the payload", shopBindings(), stored(kindPaid, 1, "{}{}"), batpak.ErrCodec, nil, false},
		{"old payload that is none", shopBindings(), stored(kindPlaced, 1, "{]"), batpak.ErrCodec, nil, false},
		{"codec fails", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 1, batpak.WithCodec(bad("x", func([]byte, any) error { return errMine })))},
			stored(kindPaid, 1, ""), batpak.ErrCodec, errMine, false},
		{"codec panics", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 1, batpak.WithCodec(bad("x", func([]byte, any) error { panic(errMine) })))},
			stored(kindPaid, 1, ""), batpak.ErrCodec, errMine, true},
		{"codec panics on an old payload", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 2, batpak.Upcast(1, func(placedV1) (orderPaid, error) { return orderPaid{}, nil }),
			batpak.CodecAt(1, bad("x", func([]byte, any) error { panic(errMine) })))}, stored(kindPaid, 1, ""), batpak.ErrCodec, errMine, true},
		{"codec that is not even there", []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 1, batpak.WithCodec((*nameless)(nil)))}, stored(kindPaid, 1, ""), batpak.ErrCodec, nil, true},
		{"upcaster fails", upcast(func(placedV1) (*unbound, error) { return nil, errMine }), stored(kindPlaced, 1, "{}"), batpak.ErrUpcast, errMine, false},
		{"upcaster panics", upcast(func(placedV1) (*unbound, error) { return &unbound{nobody.X}, nil }), stored(kindPlaced, 1, "{}"), batpak.ErrUpcast, nil, true},
		{"upcaster returns nil", upcast(func(placedV1) (*unbound, error) { return nil, nil }), stored(kindPlaced, 1, "{}"), batpak.ErrUpcast, nil, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := mustRegistry(t, tt.bindings...).Decode(tt.ev)
			failed, ok := errors.AsType[*batpak.DecodeError](err)
			if v != nil || !ok || !errors.Is(err, tt.cond) || tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Fatalf("Decode = %v, %v, want %v", v, err, tt.cond)
			}
			if failed.Seq != 17 || failed.ID != tt.ev.ID || failed.Kind != tt.ev.Kind || failed.Version != tt.ev.PayloadVersion {
				t.Errorf("error of event %d %v kind %v version %d", failed.Seq, failed.ID, failed.Kind, failed.Version)
			}
			if bound := tt.cond != batpak.ErrUnknownKind; bound != (failed.Type != nil) || bound != (failed.Current != 0) {
				t.Errorf("error names type %v version %d", failed.Type, failed.Current)
			}
			panicked, ok := errors.AsType[*batpak.PanicError](err)
			if ok != tt.panicked || ok && !strings.Contains(string(panicked.Stack), "typed_test.go") {
				t.Errorf("panic %+v, want %v, with its place", panicked, tt.panicked)
			}
		})
	}
}

// A nameless is a codec that panics even when it is asked for its name.
type nameless struct{ name string }

func (n *nameless) Name() string                { return n.name }
func (n *nameless) Marshal(any) ([]byte, error) { return []byte(n.name), nil }
func (n *nameless) Unmarshal([]byte, any) error { n.name = ""; return nil }

func TestRegistryDraft(t *testing.T) {
	failing := func(marshal func(any) ([]byte, error)) []batpak.Binding {
		return []batpak.Binding{batpak.Bind[orderPaid](kindPaid, 1, batpak.WithCodec(batpak.CodecOf("x", marshal, json.Unmarshal)))}
	}
	paid := orderPaid{By: "card"}
	for _, tt := range []struct {
		name     string
		bindings []batpak.Binding
		draft    batpak.Draft
		value    any
		want     error // nil for a draft
	}{
		{"value", shopBindings(), batpak.Draft{}, paid, nil},
		{"pointer", shopBindings(), batpak.Draft{}, &orderShipped{"p"}, nil},
		{"type that is not bound", shopBindings(), batpak.Draft{}, unbound{}, batpak.ErrUnknownType},
		{"pointer to a bound type", shopBindings(), batpak.Draft{}, &paid, batpak.ErrUnknownType},
		{"target of a bound pointer", shopBindings(), batpak.Draft{}, orderShipped{}, batpak.ErrUnknownType},
		{"older version's type", shopBindings(), batpak.Draft{}, placedV1{}, batpak.ErrUnknownType},
		{"nil", shopBindings(), batpak.Draft{}, nil, batpak.ErrUnknownType},
		{"nil pointer", shopBindings(), batpak.Draft{}, (*orderShipped)(nil), batpak.ErrCodec},
		{"draft with a kind", shopBindings(), batpak.Draft{Kind: kindPaid}, paid, batpak.ErrInvalid},
		{"draft with a payload", shopBindings(), batpak.Draft{Payload: []byte{}}, paid, batpak.ErrInvalid},
		{"draft with a version", shopBindings(), batpak.Draft{PayloadVersion: 1}, paid, batpak.ErrInvalid},
		{"codec fails", failing(func(any) ([]byte, error) { return []byte("x"), errMine }), batpak.Draft{}, paid, errMine},
		{"codec panics", failing(func(any) ([]byte, error) { panic(errMine) }), batpak.Draft{}, paid, errMine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.draft.Coordinate, tt.draft.Tags = orderAt, []string{"x"}
			d, err := mustRegistry(t, tt.bindings...).Draft(tt.draft, tt.value)
			if !errors.Is(err, tt.want) {
				t.Fatalf("Draft = %v, want %v", err, tt.want)
			}
			if err != nil {
				if !reflect.DeepEqual(d, batpak.Draft{}) {
					t.Errorf("Draft = %+v with an error", d)
				}
				if e, ok := errors.AsType[*batpak.EncodeError](err); ok != (errors.Is(err, batpak.ErrCodec)) || ok && (e.Kind == 0 || e.Version != 1) {
					t.Errorf("Draft = %#v", err)
				}
				return
			}
			want, _ := json.Marshal(tt.value)
			if d.Kind == 0 || d.PayloadVersion != 1 || string(d.Payload) != string(want) || !slices.Equal(d.Tags, tt.draft.Tags) || d.Coordinate != orderAt {
				t.Errorf("Draft = %+v", d)
			}
		})
	}
}
