package batpak_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"

	"batpak"
	"batpak/event"
)

// A counted is the type of the random chains: each step changes both of its fields in a way of its own, so that a step
// that is left out, done twice or out of turn shows.
type counted struct {
	N     int64
	Steps []string
}

// aside is what every second step of a random chain passes through.
type aside struct{ Counted counted }

// A link is one step of a random chain.
type link struct{ mul, add int64 }

func (l link) apply(v counted, from uint16) counted {
	return counted{N: v.N*l.mul + l.add, Steps: append(slices.Clone(v.Steps), fmt.Sprintf("%d*%d+%d", from, l.mul, l.add))}
}

// plainCodec writes a counted or an aside without any names, unlike JSON.
var plainCodec = batpak.CodecOf("plain", func(v any) ([]byte, error) {
	t, ok := v.(counted)
	if a, isAside := v.(aside); isAside {
		t, ok = a.Counted, true
	}
	if !ok {
		return nil, fmt.Errorf("cannot write %T", v)
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(t.N))
	for _, s := range t.Steps {
		b = append(append(b, byte(len(s))), s...)
	}
	return b, nil
}, func(data []byte, v any) error {
	t, ok := v.(*counted)
	if a, isAside := v.(*aside); isAside {
		t, ok = &a.Counted, true
	}
	if !ok || len(data) < 8 {
		return fmt.Errorf("cannot read %d bytes to %T", len(data), v)
	}
	t.N = int64(binary.BigEndian.Uint64(data))
	for data = data[8:]; len(data) > 0; data = data[1+int(data[0]):] {
		if int(data[0]) >= len(data) {
			return errors.New("cut off")
		}
		t.Steps = append(t.Steps, string(data[1:1+int(data[0])]))
	}
	return nil
})

// A chain is a random history of one kind.
type chain struct {
	version, oldest uint16
	links           []link         // by version that they lead from
	asides          []bool         // by version: its Go type is aside
	codecs          []batpak.Codec // by version
}

func drawChain(rng *rand.Rand) chain {
	c := chain{version: uint16(1 + rng.IntN(9)), oldest: 1}
	if rng.IntN(3) == 0 {
		c.oldest = uint16(1 + rng.IntN(int(c.version)))
	}
	for range c.version + 1 {
		c.links = append(c.links, link{int64(2 + rng.IntN(5)), int64(rng.IntN(100))})
		c.asides = append(c.asides, rng.IntN(2) == 0)
		c.codecs = append(c.codecs, []batpak.Codec{batpak.JSON(), plainCodec}[rng.IntN(2)])
	}
	c.asides[c.version] = false
	return c
}

// options returns the binding's options, in random order.
func (c *chain) options(rng *rand.Rand) []batpak.BindOption {
	options := []batpak.BindOption{batpak.WithCodec(c.codecs[c.version]), batpak.Oldest(c.oldest)}
	for v := c.oldest; v < c.version; v++ {
		l := c.links[v]
		switch {
		case c.asides[v] && c.asides[v+1]:
			options = append(options, batpak.Upcast(v, func(a aside) (aside, error) { return aside{l.apply(a.Counted, v)}, nil }))
		case c.asides[v]:
			options = append(options, batpak.Upcast(v, func(a aside) (counted, error) { return l.apply(a.Counted, v), nil }))
		case c.asides[v+1]:
			options = append(options, batpak.Upcast(v, func(t counted) (aside, error) { return aside{l.apply(t, v)}, nil }))
		default:
			options = append(options, batpak.Upcast(v, func(t counted) (counted, error) { return l.apply(t, v), nil }))
		}
		if c.codecs[v] != c.codecs[c.version] {
			options = append(options, batpak.CodecAt(v, c.codecs[v]))
		}
	}
	rng.Shuffle(len(options), func(i, j int) { options[i], options[j] = options[j], options[i] })
	return options
}

// payload returns what a program of version v wrote for t.
func (c *chain) payload(t *testing.T, v uint16, value counted) []byte {
	t.Helper()
	var of any = value
	if c.asides[v] {
		of = aside{value}
	}
	b, err := c.codecs[v].Marshal(of)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever a kind's history, a payload of any version decodes to what its steps make of it, or names what is wrong; and
// the bytes stay.
func TestUpcastChainsOfAnyShape(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 7))
	decoded, refused := 0, 0
	for range sized(2000, 5000, 200_000) {
		c := drawChain(rng)
		reg := mustRegistry(t, batpak.Bind[counted](kindOne, c.version, c.options(rng)...))
		for stored := uint16(0); stored <= c.version+1; stored++ {
			wrote := min(max(stored, 1), c.version)
			value := counted{N: rng.Int64N(1000), Steps: []string{"start"}}
			ev := event.Event{Seq: 1 + rng.Uint64N(9), Kind: kindOne, PayloadVersion: stored, Payload: c.payload(t, wrote, value)}
			payload := bytes.Clone(ev.Payload)
			got, err := batpak.DecodeAs[counted](reg, ev)
			if !bytes.Equal(payload, ev.Payload) {
				t.Fatalf("%+v: the payload of version %d was changed", c, stored)
			}
			var cond error
			switch {
			case stored > c.version:
				cond = batpak.ErrFutureVersion
			case max(stored, 1) < c.oldest:
				cond = batpak.ErrOldVersion
			}
			if cond != nil {
				if refused++; !errors.Is(err, cond) {
					t.Fatalf("%+v: version %d: %v, want %v", c, stored, err, cond)
				}
				continue
			}
			for v := wrote; v < c.version; v++ {
				value = c.links[v].apply(value, v)
			}
			if decoded++; err != nil || !reflect.DeepEqual(got, value) {
				t.Fatalf("%+v: version %d: %+v, %v, want %+v", c, stored, got, err, value)
			}
		}
	}
	t.Logf("%d payloads decoded, %d refused", decoded, refused)
}

// A chain with any one step left out is refused.
func TestUpcastChainsWithAGap(t *testing.T) {
	step := func(v uint16) batpak.BindOption {
		return batpak.Upcast(v, func(t counted) (counted, error) { return t, nil })
	}
	for version := uint16(2); version < 9; version++ {
		for gap := uint16(1); gap < version; gap++ {
			var options []batpak.BindOption
			for v := uint16(1); v < version; v++ {
				if v != gap {
					options = append(options, step(v))
				}
			}
			_, err := batpak.NewRegistry(batpak.Bind[counted](kindOne, version, options...))
			if e, ok := errors.AsType[*batpak.RegistryError](err); !ok || !errors.Is(err, batpak.ErrMissingUpcaster) ||
				e.Reason != fmt.Sprintf("from version %d", gap) || e.Kind != kindOne || e.Version != version {
				t.Fatalf("version %d without a step from %d: %v", version, gap, err)
			}
			if _, err := batpak.NewRegistry(batpak.Bind[counted](kindOne, version, append(options, step(gap))...)); err != nil {
				t.Fatalf("version %d: %v", version, err)
			}
		}
	}
}

// A codec and an upcaster that keep and change what they were given change nothing that was stored.
func TestUpcastLeavesStoredBytes(t *testing.T) {
	type raw struct{ b []byte }
	keeping := batpak.CodecOf("keeping", func(v any) ([]byte, error) { return v.(*raw).b, nil }, func(data []byte, v any) error {
		v.(*raw).b = data
		return nil
	})
	reg := mustRegistry(t, batpak.Bind[*raw](kindOne, 2, batpak.WithCodec(keeping), batpak.Upcast(1, func(v *raw) (*raw, error) {
		v.b[0] = 'X'
		return v, nil
	})))
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	if _, err := st.Append(ctx, batpak.Draft{Coordinate: orderAt, Kind: kindOne, PayloadVersion: 1, Payload: []byte("abc")}); err != nil {
		t.Fatal(err)
	}
	for _, borrow := range []bool{false, true, false} {
		for ev, err := range batpak.Typed[*raw](reg, st.Read(ctx, batpak.Query{Borrow: borrow})) {
			if err != nil || string(ev.Value.b) != "Xbc" || string(ev.Payload) != "abc" {
				t.Errorf("borrow %v: value %q of payload %q, %v", borrow, ev.Value.b, ev.Payload, err)
			}
			clear(ev.Value.b)
		}
	}
}

// The values of a read that borrows are the caller's, whatever the read puts in place of the bytes they came from.
func TestTypedValuesOutliveABorrowingRead(t *testing.T) {
	type note struct {
		Text string
		Tags []string
		Raw  json.RawMessage
		Any  any
	}
	of := func(i int) note {
		s := fmt.Sprintf("note %04d", i)
		return note{Text: s, Tags: []string{s, s}, Raw: json.RawMessage(`"` + s + `"`), Any: map[string]any{"s": s}}
	}
	// The older version is read in the same way, through an upcaster.
	reg := mustRegistry(t, batpak.Bind[note](kindOne, 2, batpak.Upcast(1, func(n note) (note, error) { return n, nil })))
	ctx := context.Background()
	for _, segmentSize := range []int64{4 << 10, 64 << 20} { // sealed segments, and one in memory
		st := openAt(t, t.TempDir(), &batpak.Options{SegmentSize: segmentSize, Sync: batpak.SyncNever})
		const events = 200
		for i := range events {
			d, err := reg.Draft(batpak.Draft{Coordinate: orderAt}, of(i))
			d.PayloadVersion -= uint16(i % 2)
			if err != nil || second(st.Append(ctx, d)) != nil {
				t.Fatal(err)
			}
		}
		var got []note
		for ev, err := range batpak.Typed[note](reg, st.Read(ctx, batpak.Query{Borrow: true})) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ev.Value)
		}
		for i, n := range got {
			if !reflect.DeepEqual(n, of(i)) {
				t.Fatalf("value %d = %+v, want %+v", i, n, of(i))
			}
		}
		if len(got) != events {
			t.Errorf("%d values, want %d", len(got), events)
		}
		mustClose(t, st)
	}
}

// A value that refers to itself stays what it is when the next one is decoded.
func TestTypedValuesShareNothing(t *testing.T) {
	type selfish struct {
		room [1]byte
		b    []byte // in room, of the value that was decoded first
	}
	codec := batpak.CodecOf("selfish", func(v any) ([]byte, error) { return v.(selfish).b, nil }, func(data []byte, v any) error {
		s := v.(*selfish)
		s.b = append(s.room[:0], data...)
		return nil
	})
	reg := mustRegistry(t, batpak.Bind[selfish](kindOne, 1, batpak.WithCodec(codec)))
	st := memStore(t)
	defer mustClose(t, st)
	for _, b := range []string{"a", "b", "c"} {
		if _, err := batpak.AppendAs(context.Background(), st, reg, batpak.Draft{Coordinate: orderAt}, selfish{b: []byte(b)}); err != nil {
			t.Fatal(err)
		}
	}
	var got []selfish
	for ev, err := range batpak.Typed[selfish](reg, st.Read(context.Background(), batpak.Query{Borrow: true})) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, ev.Value)
	}
	for i, want := range []string{"a", "b", "c"} {
		if string(got[i].b) != want {
			t.Errorf("value %d became %q, want %q", i, got[i].b, want)
		}
	}
}

// 19: the payload version was lost by batches, and a version of the future was decoded as if it were the present.
func TestWeaknessW19_PayloadVersionEverywhere(t *testing.T) {
	reg := mustRegistry(t, batpak.Bind[counted](kindOne, 3, batpak.Upcast(1, func(v counted) (counted, error) { return v, nil }),
		batpak.Upcast(2, func(v counted) (counted, error) { return v, nil })))
	old := mustRegistry(t, batpak.Bind[counted](kindOne, 2, batpak.Upcast(1, func(v counted) (counted, error) { return v, nil })))
	for _, kill := range []bool{false, true} {
		var n int64
		draft := func() batpak.Draft {
			n++
			d, err := reg.Draft(batpak.Draft{Coordinate: streamB, Tags: []string{"x"}}, counted{N: n})
			if err != nil {
				t.Fatal(err)
			}
			return d
		}
		r := mustWrite(t, batpak.Options{IndexEvery: 512}, kill, func(r *rig) error {
			for range 12 {
				pad := r.draft(streamA, 700)
				if err := errors.Join(second(r.append(draft())), second(r.batch([]batpak.Draft{draft(), pad, draft()}))); err != nil {
					return err
				}
			}
			return nil
		})
		r.everywhere(t, &generation{name: fmt.Sprintf("killed %v", kill), files: r.mem.Files(), told: r.history()})
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		q, seen := batpak.Query{Entity: streamB.Entity()}, int64(0)
		for ev, err := range batpak.Typed[counted](reg, r.st.Read(context.Background(), q)) {
			if seen++; err != nil || ev.PayloadVersion != 3 || ev.Value.N != seen {
				t.Fatalf("event %d: version %d, value %+v, %v", ev.Seq, ev.PayloadVersion, ev.Value, err)
			}
		}
		if seen != n {
			t.Errorf("%d events, want %d", seen, n)
		}
		for ev, err := range batpak.Typed[counted](old, r.st.Read(context.Background(), q)) {
			if e, ok := errors.AsType[*batpak.DecodeError](err); !ok || !errors.Is(err, batpak.ErrFutureVersion) || e.Seq != ev.Seq || e.Version != 3 || e.Current != 2 {
				t.Fatalf("an older program reads event %d: %v", ev.Seq, err)
			}
		}
		r.kill()
	}
}

// 19: and it was lost by whatever was staged or submitted.
func TestWeaknessW19_PayloadVersionOfStagedAndSubmitted(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	same := func(v orderPaid) (orderPaid, error) { return v, nil }
	reg := mustRegistry(t, batpak.Bind[orderPaid](kindPaid, 2, batpak.Upcast(1, same)))
	d, err := reg.Draft(batpak.Draft{Coordinate: orderAt}, orderPaid{"card"})
	if err != nil {
		t.Fatal(err)
	}
	st := openAt(t, dir, nil)
	f, err := st.Fence(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err1 := st.Submit(ctx, d)
	batch, err2 := st.SubmitBatch(ctx, []batpak.Draft{d, d})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	_, err1 = ticket.Wait(ctx)
	_, err2 = batch.Wait(ctx)
	err = errors.Join(err1, err2, second(f.Append(ctx, d)), second(f.AppendBatch(ctx, []batpak.Draft{d, d})), f.Commit(ctx))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		n := 0
		for ev, err := range batpak.Typed[orderPaid](reg, st.Read(ctx, batpak.Query{})) {
			if n++; err != nil || ev.PayloadVersion != 2 || ev.Value.By != "card" {
				t.Errorf("event %d: version %d, value %+v, %v", ev.Seq, ev.PayloadVersion, ev.Value, err)
			}
		}
		if n != 6 {
			t.Errorf("%d events, want 6", n)
		}
		mustClose(t, st)
		st = openAt(t, dir, nil)
	}
	mustClose(t, st)
}

// A registry and its bindings are used by many goroutines at once.
func TestRegistryIsSafeForConcurrentUse(t *testing.T) {
	bindings := shopBindings()
	reg := mustRegistry(t, bindings...)
	st := shop(t, reg)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			other, err := batpak.NewRegistry(bindings...)
			if err != nil {
				t.Error(err)
				return
			}
			for range 50 {
				for _, r := range []*batpak.Registry{reg, other} {
					if got, failed := values[orderPlaced](r, st, batpak.Query{Limit: 4, Borrow: true}); !reflect.DeepEqual(got, anys(shopPlaced...)) {
						t.Errorf("values %+v, errors %q", got, failed)
					}
					if _, err := r.Draft(batpak.Draft{}, orderPaid{"x"}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	group.Wait()
}

// FuzzDecode gives a registry any payload of any version. It answers with a value or a typed error, the same each time,
// never panics, and leaves the payload as it was.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{"Total":"1.00 EUR"}`, `{"Total":7}`, `{"Amount":1e400}`, `{"Cents":12,"Note":{"a":[1,2]}}`, `null`, ``, `{"By":"\ud800"}`} {
		for version := range uint16(5) {
			f.Add(uint8(version), version, []byte(s))
		}
	}
	f.Add(uint8(5), uint16(1), append(make([]byte, 8), 3, 'a', 'b', 'c', 200))
	reg := mustRegistry(f, append(shopBindings(),
		batpak.Bind[counted](kindOne|5, 2, batpak.WithCodec(plainCodec), batpak.Upcast(1, func(v counted) (counted, error) {
			return counted{N: 1000 / v.N, Steps: v.Steps[1:]}, nil // panics for many
		})))...)
	kinds := []event.Kind{kindPlaced, kindPaid, kindShipped, kindTake, kindOne | 5, kindOne | 9}
	f.Fuzz(func(t *testing.T, kind uint8, version uint16, payload []byte) {
		ev := event.Event{Seq: 9, Kind: kinds[int(kind)%len(kinds)], PayloadVersion: version, Payload: payload}
		before := bytes.Clone(payload)
		v, err := reg.Decode(ev)
		again, errAgain := reg.Decode(ev)
		if !bytes.Equal(before, ev.Payload) {
			t.Fatalf("payload %q became %q", before, ev.Payload)
		}
		if !reflect.DeepEqual(v, again) || (err == nil) != (errAgain == nil) {
			t.Fatalf("Decode = %+v, %v, then %+v, %v", v, err, again, errAgain)
		}
		if err == nil {
			text := fmt.Sprintf("%+v", v)
			clear(ev.Payload)
			if now := fmt.Sprintf("%+v", v); now != text {
				t.Fatalf("value %s became %s with the payload", text, now)
			}
			return
		}
		failed, ok := errors.AsType[*batpak.DecodeError](err)
		if !ok || v != nil || failed.Seq != 9 || failed.Kind != ev.Kind || failed.Version != version || failed.Error() == "" {
			t.Fatalf("Decode = %v, %#v", v, err)
		}
		if _, panicked := errors.AsType[*batpak.PanicError](err); panicked && !errors.Is(err, batpak.ErrUpcast) {
			t.Fatalf("Decode = %v", err)
		}
	})
}
