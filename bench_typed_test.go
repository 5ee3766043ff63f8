package batpak_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// The benchmarks of typed events. Each stands beside the same work by hand: bytes that are there already, and the codec
// called on them.

// benchOrder has a JSON payload of about benchPayload bytes.
type benchOrder struct {
	Order string
	Cents int64
	Note  string
}

var benchValue = benchOrder{Order: "order:0000", Cents: 4250, Note: strings.Repeat("x", benchPayload-45)}

// fixed is a value of fixed size, and fixedCodec writes it without a detour: what is left is the cost of the registry.
type fixed struct{ A, B uint64 }

var fixedCodec = batpak.CodecOf("fixed", func(v any) ([]byte, error) {
	f, ok := v.(fixed)
	if !ok {
		return nil, errors.New("not a fixed")
	}
	return binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(make([]byte, 0, 16), f.A), f.B), nil
}, func(data []byte, v any) error {
	f, ok := v.(*fixed)
	if !ok || len(data) != 16 {
		return errors.New("not a fixed")
	}
	f.A, f.B = binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint64(data[8:])
	return nil
})

var kindOrder, kindFixed = event.MustKind(1, 7), event.MustKind(1, 8)

func benchRegistry(b testing.TB) *batpak.Registry {
	return mustRegistry(b,
		batpak.Bind[benchOrder](kindOrder, 2, batpak.Upcast(1, func(v benchOrder) (benchOrder, error) { return v, nil })),
		batpak.Bind[fixed](kindFixed, 1, batpak.WithCodec(fixedCodec)))
}

// BenchmarkAppendAs is one goroutine that appends without syncs.
func BenchmarkAppendAs(b *testing.B) {
	at := batpak.Draft{Coordinate: coordinate.MustNew("order:0000", "eu")}
	payload, _ := json.Marshal(benchValue)
	for _, bb := range []struct {
		name string
		step func(*batpak.Store, *batpak.Registry) error
	}{
		{"bytes", func(st *batpak.Store, _ *batpak.Registry) error {
			d := at
			d.Kind, d.PayloadVersion, d.Payload = kindOrder, 2, payload
			return second(st.Append(b.Context(), d))
		}},
		{"json/by hand", func(st *batpak.Store, _ *batpak.Registry) (err error) {
			d := at
			d.Kind, d.PayloadVersion = kindOrder, 2
			if d.Payload, err = json.Marshal(benchValue); err != nil {
				return err
			}
			return second(st.Append(b.Context(), d))
		}},
		{"json/typed", func(st *batpak.Store, reg *batpak.Registry) error {
			return second(batpak.AppendAs(b.Context(), st, reg, at, benchValue))
		}},
		{"fixed/typed", func(st *batpak.Store, reg *batpak.Registry) error {
			return second(batpak.AppendAs(b.Context(), st, reg, at, fixed{1, 2}))
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			st, reg := benchStore(b, &batpak.Options{Sync: batpak.SyncNever}), benchRegistry(b)
			b.ReportAllocs()
			for b.Loop() {
				if err := bb.step(st, reg); err != nil {
					b.Fatal(err)
				}
			}
			perSecond(b, 1)
		})
	}
}

// typedEvents is how many events of each kind the typed reads have.
const typedEvents = 20_000

// typedStore holds typedEvents of each type and version.
func typedStore(b testing.TB, reg *batpak.Registry, n int) *batpak.Store {
	b.Helper()
	st := openAt(b, b.TempDir(), &batpak.Options{Sync: batpak.SyncNever})
	b.Cleanup(func() { mustClose(b, st) })
	var batch []batpak.Draft
	for i := range 3 * n {
		var v any = benchValue
		if i%3 == 2 {
			v = fixed{uint64(i), 2}
		}
		d, err := reg.Draft(batpak.Draft{Coordinate: coordinate.MustNew(fmt.Sprintf("order:%04d", i%3), "eu")}, v)
		if err != nil {
			b.Fatal(err)
		}
		if i%3 == 1 {
			d.PayloadVersion = 1
		}
		if batch = append(batch, d); len(batch) == 1000 || i == 3*n-1 {
			if _, err := st.AppendBatch(b.Context(), batch); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	return st
}

// typedReads are the ways to read typedStore: entity 0 has orders, 1 orders of the version before, 2 fixed values.
var typedReads = []struct {
	name   string
	allocs float64 // of the registry, for each event, above those of the codec
	read   func(testing.TB, *batpak.Store, *batpak.Registry) int
}{
	{"json/bytes", 0, func(b testing.TB, st *batpak.Store, _ *batpak.Registry) (n int) {
		for _, err := range st.Read(b.Context(), batpak.Query{Entity: "order:0000", Borrow: true}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		return n
	}},
	{"json/by hand", 0, func(b testing.TB, st *batpak.Store, _ *batpak.Registry) (n int) {
		for ev, err := range st.Read(b.Context(), batpak.Query{Entity: "order:0000", Borrow: true}) {
			var v benchOrder
			if err := errors.Join(err, json.Unmarshal(ev.Payload, &v)); err != nil {
				b.Fatal(err)
			}
			n++
		}
		return n
	}},
	{"json/typed", 0, func(b testing.TB, st *batpak.Store, reg *batpak.Registry) int {
		return typedCount[benchOrder](b, st, reg, "order:0000")
	}},
	{"json/interface", 1, func(b testing.TB, st *batpak.Store, reg *batpak.Registry) int {
		return typedCount[any](b, st, reg, "order:0000")
	}},
	{"json/upcast", 3, func(b testing.TB, st *batpak.Store, reg *batpak.Registry) int {
		return typedCount[benchOrder](b, st, reg, "order:0001")
	}},
	{"fixed/bytes", 0, func(b testing.TB, st *batpak.Store, _ *batpak.Registry) (n int) {
		for _, err := range st.Read(b.Context(), batpak.Query{Entity: "order:0002", Borrow: true}) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		return n
	}},
	{"fixed/typed", 1, func(b testing.TB, st *batpak.Store, reg *batpak.Registry) int {
		return typedCount[fixed](b, st, reg, "order:0002")
	}},
}

func typedCount[T any](b testing.TB, st *batpak.Store, reg *batpak.Registry, entity string) (n int) {
	for _, err := range batpak.Typed[T](reg, st.Read(b.Context(), batpak.Query{Entity: entity, Borrow: true})) {
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
	return n
}

// BenchmarkTyped reads the events of one entity.
func BenchmarkTyped(b *testing.B) {
	reg := benchRegistry(b)
	st := typedStore(b, reg, typedEvents)
	for _, bb := range typedReads {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := bb.read(b, st, reg); n != typedEvents {
					b.Fatalf("read %d events, want %d", n, typedEvents)
				}
			}
			perSecond(b, typedEvents)
		})
	}
}

// A typed read and a typed append allocate what the codec does, the value, and no more.
func TestTypedAllocations(t *testing.T) {
	if racing {
		t.Skip("NOT TESTED under the race detector: allocations of typed reads: it allocates")
	}
	const events = 500
	reg := benchRegistry(t)
	st := typedStore(t, reg, events)
	perEvent := map[string]float64{}
	for _, r := range typedReads {
		perEvent[r.name] = testing.AllocsPerRun(3, func() {
			if n := r.read(t, st, reg); n != events {
				t.Fatalf("%s: read %d events, want %d", r.name, n, events)
			}
		}) / events
		byHand := perEvent["json/by hand"]
		if strings.HasPrefix(r.name, "fixed/") {
			byHand = 0
		}
		if got := perEvent[r.name]; got > byHand+r.allocs+0.1 {
			t.Errorf("%s: %.2f allocations for each event, want %.2f", r.name, got, byHand+r.allocs)
		}
	}
	t.Logf("allocations for each event: %v", perEvent)

	at := batpak.Draft{Coordinate: orderAt}
	byHand := testing.AllocsPerRun(100, func() { json.Marshal(benchValue) })
	typed := testing.AllocsPerRun(100, func() {
		if _, err := reg.Draft(at, benchValue); err != nil {
			t.Fatal(err)
		}
	})
	if typed > byHand {
		t.Errorf("Draft has %.0f allocations, want those of json.Marshal, %.0f", typed, byHand)
	}
}
