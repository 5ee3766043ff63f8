package batpak_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/event"
)

// The weaknesses R… of the read path of the system that ours descends from, as far as they concern walks.

// R1: a walk looked for the hash of the event before, and jumped over history where payloads repeat. R2: what was repeated was
// reported as ambiguous. Ours goes by clocks: of a hundred heartbeats on two lanes it yields each, once, verified.
func TestReadWeakness01_EqualPayloads(t *testing.T) {
	r := startRig(t, batpak.Options{})
	var last batpak.Receipt
	for i := range 100 {
		d := batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("alive"), Lane: uint32(i % 2)}
		last = r.mustAppend(t, d)
		r.settle()
	}
	want := last.Clock
	for step, err := range r.st.Ancestors(t.Context(), last.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if step.Clock != want || step.Lane != 1 || !step.Verified || string(step.Payload) != "alive" {
			t.Fatalf("step %d: %+v, want clock %d", step.Distance, step, want)
		}
		want--
	}
	if want != 0 {
		t.Errorf("ends behind clock %d", want)
	}
}

// R2: the chain linked payloads: header, order and coordinate were never verified. Every byte of an event is.
func TestReadWeakness02_EveryByteIsVerified(t *testing.T) {
	r := startRig(t, batpak.Options{})
	var last batpak.Receipt
	for range 3 {
		last = r.mustAppend(t, batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("the same")})
	}
	size := 0
	forge(t, r, func(body []byte, raw *event.Raw) {
		if raw.Seq == 2 {
			size = len(body)
		}
	}, nil)
	tried := 0
	for at := 0; at < size; at += min(thinned(3, 1, 1), 7) {
		// Sequence and ID are what the index finds it by, and the layout follows flags and lengths.
		const id, flags, version, lengths, names = 8 + event.IDLen, 42, 44, 46, 50
		if at < id || at >= flags && at < version || at >= lengths && at < names {
			continue
		}
		tried++
		c := &rig{mem: r.mem.Clone(), opts: r.opts}
		if err := c.open(); err != nil {
			t.Fatal(err)
		}
		var was *event.Raw
		forge(t, c, func(body []byte, raw *event.Raw) {
			if raw.Seq == 2 && was == nil {
				b := bytes.Clone(body)
				was = new(event.Raw)
				if err := was.Decode(b); err != nil {
					t.Fatal(err)
				}
				body[at] ^= 1
			}
		}, func(raw *event.Raw) {
			if raw.Seq == 2 {
				*raw = *was // the index knows nothing of it
			}
		})
		_, err := walked(c.st.Ancestors(t.Context(), last.ID))
		if err == nil {
			t.Errorf("byte %d of an event: no error", at)
		}
		c.kill()
	}
	if tried == 0 {
		t.Error("nothing was tried")
	}
}

// R14: payloads went through JSON, and some ended a walk. Bytes are bytes.
func TestReadWeakness14_PayloadsAreBytes(t *testing.T) {
	r := startRig(t, batpak.Options{})
	payloads := []string{"", "\x00", "\xff\xfe", `{"a":`, `{1:2}`, strings.Repeat("\x80", 1500), "null"}
	var cause, root event.ID
	for _, p := range payloads {
		rcpt := r.mustAppend(t, batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte(p), Causation: cause, Correlation: root})
		if cause = rcpt.ID; root.IsZero() {
			root = rcpt.ID
		}
	}
	for _, w := range walkings(r.st, nil) {
		from, want := root, payloads
		if w.chain {
			from, want = cause, slices.Clone(payloads)
			slices.Reverse(want)
		}
		var got []string
		for step, err := range w.walk(t.Context(), from) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(step.Payload))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", w.name, got, want)
		}
	}
}

// R31: what a walk had found was mixed with how it was found, and the lane was left out. Steps are of the history alone: the
// same however the store was opened, and they say their lane.
func TestReadWeakness31_AnswersAreOfTheHistory(t *testing.T) {
	r := startRig(t, batpak.Options{})
	root := r.linked(t, streamA, event.ID{}, event.ID{})
	last := root
	for i := range 60 {
		d := r.draft(streamA, 0)
		d.Causation, d.Correlation, d.Lane = last.ID, root.ID, uint32(i%3)
		last = r.mustAppend(t, d)
		r.settle()
	}
	tell := func() (all string) {
		for _, w := range walkings(r.st, nil) {
			for _, from := range []event.ID{root.ID, last.ID} {
				got, err := walked(w.walk(t.Context(), from))
				all += fmt.Sprintf("%s: %+v %v\n", w.name, got, err)
			}
		}
		return all
	}
	want := tell()
	if n := strings.Count(want, "Lane:2"); n < 20 {
		t.Errorf("%d steps on lane 2", n)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	for _, lost := range []string{"", "index.fbati", "index.", ".fbcat"} {
		for name := range r.mem.Files() {
			if lost != "" && strings.Contains(name, lost) {
				r.mem.DeleteFile(name)
			}
		}
		for _, r.opts.ReadOnly = range []bool{true, false} {
			if err := r.open(); err != nil {
				t.Fatal(err)
			}
			if got := tell(); got != want {
				t.Errorf("without %q, by %v, read-only %v: other steps", lost, r.st.OpenReport().Rung, r.opts.ReadOnly)
			}
			if err := r.close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
