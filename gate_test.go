package batpak_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// atMost lets a stream grow to n events.
func atMost(n uint64) batpak.Gate {
	return batpak.Gate{Name: "at-most", Check: func(v *batpak.GateView, d *batpak.Draft) *batpak.Denial {
		if v.Clock >= n {
			return &batpak.Denial{Code: "full", Message: "no more events", Context: map[string]string{"entity": d.Coordinate.Entity()}}
		}
		return nil
	}}
}

func TestGateSeesTheDraft(t *testing.T) {
	ctx := context.Background()
	var saw batpak.Draft
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{{
		Name: "look", Check: func(v *batpak.GateView, d *batpak.Draft) *batpak.Denial {
			saw = *d
			saw.Payload = append([]byte(nil), d.Payload...)
			return nil
		},
	}}})
	defer mustClose(t, st)
	d := plain("payload")
	d.Tags, d.Extensions, d.Lane, d.Depth, d.PayloadVersion = []string{"a", "b"}, map[string][]byte{"k": []byte("v")}, 2, 3, 4
	d.Correlation, d.Causation = event.NewID(1, 1), event.NewID(1, 2)
	d.IdempotencyKey, d.Expect, d.Unless = []byte("key"), batpak.Absent(), []batpak.Unless{{Seq: 9}}
	if _, err := st.Append(ctx, d); err != nil {
		t.Fatal(err)
	}
	d.IdempotencyKey, d.Expect, d.Unless = nil, batpak.Any(), nil
	if fmt.Sprint(saw) != fmt.Sprint(d) {
		t.Errorf("gate saw %+v, want %+v", saw, d)
	}
}

func TestGateSelection(t *testing.T) {
	ctx := context.Background()
	one, two := event.MustKind(1, 1), event.MustKind(1, 2)
	var asked []string
	gate := func(name, scope string, kinds ...event.Kind) batpak.Gate {
		return batpak.Gate{Name: name, Scope: scope, Kinds: kinds, Check: func(*batpak.GateView, *batpak.Draft) *batpak.Denial {
			asked = append(asked, name)
			if name == "never" {
				return &batpak.Denial{Code: "no"}
			}
			return nil
		}}
	}
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{
		gate("all", ""), gate("eu", "eu"), gate("two", "", two), gate("never", "us", one), gate("last", ""),
	}})
	defer mustClose(t, st)
	for _, tc := range []struct {
		scope  string
		kind   event.Kind
		want   string
		denied bool
	}{
		{"eu", one, "all eu last", false},
		{"eu", two, "all eu two last", false},
		{"us", two, "all two last", false},
		{"us", one, "all never", true}, // the first denial ends it
	} {
		asked = nil
		_, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("e", tc.scope), Kind: tc.kind})
		if got := strings.Join(asked, " "); got != tc.want || errors.Is(err, batpak.ErrDenied) != tc.denied {
			t.Errorf("%s %v: asked %q, %v; want %q", tc.scope, tc.kind, got, err, tc.want)
		}
	}
	asked = nil
	results, err := st.EvaluateGates(ctx, batpak.Draft{Coordinate: coordinate.MustNew("e", "us"), Kind: one})
	if err != nil || strings.Join(asked, " ") != "all never last" || len(results) != 5 {
		t.Fatalf("EvaluateGates asked %q: %+v, %v", asked, results, err)
	}
	for i, want := range []batpak.GateResult{
		{Gate: "all", Applies: true}, {Gate: "eu"}, {Gate: "two"}, {Gate: "never", Applies: true}, {Gate: "last", Applies: true},
	} {
		got := results[i]
		if (got.Denial != nil) != (want.Gate == "never") || got.Gate != want.Gate || got.Applies != want.Applies {
			t.Errorf("result %d: %+v", i, got)
		}
	}
	if st.Visible() != 3 {
		t.Errorf("%d events", st.Visible())
	}
}

// A gate that counts holds whoever appends at the same time, and inside of batches.
func TestGateHoldsUnderConcurrency(t *testing.T) {
	ctx := context.Background()
	const most = 10
	byRead := batpak.Gate{Name: "by-read", Check: func(v *batpak.GateView, d *batpak.Draft) *batpak.Denial {
		n := uint64(0)
		for ev, err := range v.Read(batpak.Query{Entity: d.Coordinate.Entity()}) {
			if err != nil {
				return &batpak.Denial{Code: "read", Message: err.Error()}
			}
			if n++; ev.Clock != n {
				return &batpak.Denial{Code: "order"}
			}
		}
		if n != v.Clock {
			return &batpak.Denial{Code: "count", Message: fmt.Sprint(n, v.Clock)}
		}
		last := uint64(0)
		for ev := range v.Read(batpak.Query{Entity: d.Coordinate.Entity(), Reverse: true, Limit: 1}) {
			last = ev.Clock
		}
		if last != n {
			return &batpak.Denial{Code: "last"}
		}
		return nil
	}}
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{atMost(most), byRead}})
	defer mustClose(t, st)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 4 {
				var denied *batpak.DeniedError
				_, err := st.Append(ctx, plain("x"))
				if err != nil && (!errors.As(err, &denied) || denied.Gate != "at-most" || denied.Code != "full") {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if st.Visible() != most {
		t.Errorf("%d events", st.Visible())
	}
}

// A gate's clock counts the batch's own events.
func TestGateInBatches(t *testing.T) {
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{atMost(3)}})
	defer mustClose(t, st)
	batch := []batpak.Draft{plain("a"), plain("b"), plain("c"), plain("d")}
	var in *batpak.BatchError
	if _, err := st.AppendBatch(context.Background(), batch); !errors.As(err, &in) || in.Index != 3 || !errors.Is(err, batpak.ErrDenied) {
		t.Errorf("batch: %v", err)
	}
	if _, err := st.AppendBatch(context.Background(), batch[:3]); err != nil || st.Visible() != 3 {
		t.Errorf("shorter batch: %v, %d events", err, st.Visible())
	}
}

func TestGateThatPanics(t *testing.T) {
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{{
		Name: "broken", Check: func(*batpak.GateView, *batpak.Draft) *batpak.Denial { panic("boom") },
	}}})
	defer mustClose(t, st)
	for range 2 {
		var denied *batpak.DeniedError
		_, err := st.Append(context.Background(), plain("x"))
		if !errors.As(err, &denied) || denied.Code != batpak.DeniedByPanic || denied.Gate != "broken" || denied.Message != "boom" {
			t.Fatalf("Append = %v", err)
		}
	}
	if st.Stats().Failed != nil || st.Visible() != 0 {
		t.Error("a gate's panic has harmed the store")
	}
}

// A known key is answered before any gate is asked, and a gate's view ends with its call.
func TestGateAndRetries(t *testing.T) {
	ctx := context.Background()
	var kept *batpak.GateView
	keep := batpak.Gate{Name: "keep", Check: func(v *batpak.GateView, _ *batpak.Draft) *batpak.Denial { kept = v; return nil }}
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{atMost(1), keep}})
	defer mustClose(t, st)
	d := plain("x")
	d.IdempotencyKey = []byte("k")
	first, err := st.Append(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	again, err := st.Append(ctx, d)
	if err != nil || !again.Replayed || again.Seq != first.Seq {
		t.Errorf("retry: %+v, %v", again, err)
	}
	for _, err := range kept.Read(batpak.Query{}) {
		if !errors.Is(err, batpak.ErrInvalid) {
			t.Errorf("a view behind its end: %v", err)
		}
	}
}

func TestRecordedDenial(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, &batpak.Options{Gates: []batpak.Gate{atMost(1), {
		Name: "wordy", Check: func(*batpak.GateView, *batpak.Draft) *batpak.Denial {
			return &batpak.Denial{Code: "long", Message: strings.Repeat("x", 100<<10)}
		}, Kinds: []event.Kind{kindTwo},
	}}})
	denied := func(err error) *batpak.DeniedError {
		t.Helper()
		var d *batpak.DeniedError
		if !errors.As(err, &d) || d.Receipt == nil {
			t.Fatalf("not a recorded denial: %v", err)
		}
		return d
	}
	appendAll(t, st, "a")
	refused := plain("b")
	refused.RecordDenial, refused.Correlation = true, event.NewID(7, 7)
	_, err := st.Append(ctx, refused)
	rcpt := denied(err).Receipt
	if rcpt.Seq != 2 || rcpt.Kind != batpak.KindDenial || rcpt.Coordinate.Entity() != batpak.DenialEntity {
		t.Errorf("receipt %+v", rcpt)
	}
	_, err = st.AppendBatch(ctx, []batpak.Draft{plain("c"), refused})
	if d := (*batpak.DeniedError)(nil); errors.As(err, &d) && d.Receipt != nil {
		t.Error("the first draft of the batch asked for no record")
	}
	fresh := refused
	fresh.Coordinate = coordinate.MustNew("fresh", "s")
	_, err = st.AppendBatch(ctx, []batpak.Draft{fresh, refused})
	denied(err)
	wordy := fresh
	wordy.Kind = kindTwo
	_, err = st.Append(ctx, wordy)
	if d := denied(err); len(d.Message) != 100<<10 {
		t.Errorf("the caller is told %d bytes", len(d.Message))
	}
	check := func(st *batpak.Store) {
		t.Helper()
		shows(t, st, "a")
		var records []batpak.DenialRecord
		for ev, err := range st.Read(ctx, batpak.Query{Kinds: []event.Kind{batpak.KindDenial}}) {
			if err != nil {
				t.Fatal(err)
			}
			var r batpak.DenialRecord
			if err := json.Unmarshal(ev.Payload, &r); err != nil {
				t.Fatal(err)
			}
			if len(ev.Tags) != 1 || ev.Tags[0] != r.Entity || ev.Correlation != refused.Correlation {
				t.Errorf("record %+v", ev)
			}
			records = append(records, r)
		}
		if len(records) != 3 {
			t.Fatalf("%d records", len(records))
		}
		first, batch, long := records[0], records[1], records[2]
		if first.Gate != "at-most" || first.Denial.Code != "full" || first.Bytes != 1 || len(first.Trace) != 2 || first.Trace[1].Applies {
			t.Errorf("first record: %+v", first)
		}
		if batch.Index != 1 || batch.Entity != refused.Coordinate.Entity() {
			t.Errorf("record of a batch: %+v", batch)
		}
		if !long.Cut || long.Denial.Code != "long" || long.Denial.Message != "" {
			t.Errorf("long record: %+v", long)
		}
	}
	check(st)
	mustClose(t, st)
	st = openAt(t, dir, nil)
	defer mustClose(t, st)
	check(st)
	if n := st.OpenReport().ReservedTotal; len(n) != 0 {
		t.Errorf("a kind of this version counts as unknown: %v", n)
	}
	if next := appendAll(t, st, "d")[0]; next.Clock != 2 {
		t.Errorf("a record took a clock of the stream: %+v", next)
	}
}

func TestGateOptions(t *testing.T) {
	pass := func(*batpak.GateView, *batpak.Draft) *batpak.Denial { return nil }
	for name, gates := range map[string][]batpak.Gate{
		"no name":   {{Check: pass}},
		"long name": {{Name: strings.Repeat("x", 129), Check: pass}},
		"twice":     {{Name: "a", Check: pass}, {Name: "a", Check: pass}},
		"no check":  {{Name: "a"}},
	} {
		if _, err := batpak.Open(t.TempDir(), &batpak.Options{Gates: gates}); !errors.Is(err, batpak.ErrOption) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The record of a denied batch says what the gates said when they denied: with the batch's earlier drafts. It is as durable
// as the draft has asked for.
func TestRecordOfADeniedBatch(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), &batpak.Options{Sync: batpak.SyncNever, Gates: []batpak.Gate{atMost(1)}})
	defer mustClose(t, st)
	refused := plain("b")
	refused.RecordDenial, refused.Ack = true, batpak.AckDurable
	_, err := st.AppendBatch(ctx, []batpak.Draft{plain("a"), refused})
	var denied *batpak.DeniedError
	if !errors.As(err, &denied) || denied.Receipt == nil {
		t.Fatal(err)
	}
	if f := st.Frontier(); f.Durable < denied.Receipt.Seq {
		t.Errorf("record %d was to be durable: %+v", denied.Receipt.Seq, f)
	}
	ev, err := st.Event(ctx, denied.Receipt.ID)
	if err != nil {
		t.Fatal(err)
	}
	var r batpak.DenialRecord
	if err := json.Unmarshal(ev.Payload, &r); err != nil || len(r.Trace) != 1 || r.Trace[0].Denial == nil {
		t.Errorf("record %s, %v", ev.Payload, err)
	}
}

// A gate that changes what it is given changes nothing of what is committed.
func TestGateThatWritesIntoTheDraft(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), &batpak.Options{Gates: []batpak.Gate{{
		Name: "vandal", Check: func(_ *batpak.GateView, d *batpak.Draft) *batpak.Denial {
			for i := range d.Payload {
				d.Payload[i] = 'x'
			}
			d.Kind, d.Tags[0], d.Extensions["k"][0] = kindTwo, "other", 'x'
			return nil
		},
	}}})
	defer mustClose(t, st)
	d := plain("payload")
	d.Tags, d.Extensions = []string{"tag"}, map[string][]byte{"k": []byte("value")}
	rcpt, err := st.Append(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := st.Event(ctx, rcpt.ID)
	if err != nil || string(ev.Payload) != "payload" || ev.Kind != kindOne || ev.Tags[0] != "tag" || string(ev.Extensions["k"]) != "value" {
		t.Errorf("event %+v, %v", ev, err)
	}
	if err := st.VerifyReceipt(ctx, rcpt); err != nil {
		t.Error(err)
	}
}

// A footer that turns out damaged under a gate's read is healed there, as under any other: the gate sees every event once.
func TestGateReadsOverDamagedFooters(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.Options{SegmentSize: 4096}
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, &o)
	names := make([]string, 120)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	appendAll(t, st, names...)
	st.WaitSealed()
	mustClose(t, st)
	whole, healed := mem.Files()["0000000001.fbat"], 0
	for _, reverse := range []bool{false, true} {
		for at := len(whole) - 1500; at < len(whole); at += 60 {
			var seen int
			var failed error
			o := o
			o.Gates = []batpak.Gate{{Name: "count", Check: func(v *batpak.GateView, d *batpak.Draft) *batpak.Denial {
				for _, err := range v.Read(batpak.Query{Entity: d.Coordinate.Entity(), Reverse: reverse}) {
					if failed = err; err == nil {
						seen++
					}
				}
				return nil
			}}}
			rotten := mem.Clone()
			o.SetFS(rotten)
			rotten.Rot("0000000001.fbat", append(append(append([]byte(nil), whole[:at]...), whole[at]^0x20), whole[at+1:]...))
			st := openAt(t, vfs.MemDir, &o)
			appendAll(t, st, "x")
			if failed != nil || seen != len(names) {
				t.Errorf("byte %d, reverse %v: %d events, %v", at, reverse, seen, failed)
			}
			healed += len(st.Stats().Healed)
			mustClose(t, st)
		}
	}
	if healed == 0 {
		t.Error("no gate has met the damage")
	}
}
