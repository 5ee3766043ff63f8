package batpak_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

func TestKeyConflicts(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	keyed := func(key, payload string) batpak.Draft {
		d := plain(payload)
		d.IdempotencyKey = []byte(key)
		return d
	}
	first, err := st.Append(t.Context(), keyed("a\x00\n", "one"))
	if err != nil {
		t.Fatal(err)
	}
	fingerprints := map[[16]byte]bool{}
	used := all(is(batpak.ErrIdempotency), as(func(e *batpak.IdempotencyConflictError) bool {
		fingerprints[e.Have] = true
		return e.Seq == first.Seq && e.ID == first.ID && e.Have != e.Want && e.Want != [16]byte{}
	}))
	changes := map[string]func(*batpak.Draft){
		"payload":         func(d *batpak.Draft) { d.Payload = []byte("two") },
		"entity":          func(d *batpak.Draft) { d.Coordinate = streamA },
		"scope":           func(d *batpak.Draft) { d.Coordinate = coordinate.MustNew(d.Coordinate.Entity(), "x") },
		"kind":            func(d *batpak.Draft) { d.Kind = kindTwo },
		"lane":            func(d *batpak.Draft) { d.Lane = 1 },
		"fork":            func(d *batpak.Draft) { d.Lane, d.Fork = 1, first.ID },
		"depth":           func(d *batpak.Draft) { d.Depth = 1 },
		"tags":            func(d *batpak.Draft) { d.Tags = []string{"t"} },
		"extensions":      func(d *batpak.Draft) { d.Extensions = map[string][]byte{"k": nil} },
		"correlation":     func(d *batpak.Draft) { d.Correlation = first.ID },
		"causation":       func(d *batpak.Draft) { d.Causation = first.ID },
		"payload version": func(d *batpak.Draft) { d.PayloadVersion = 1 },
	}
	for name, change := range changes {
		d := keyed("a\x00\n", "one")
		change(&d)
		_, err := st.Append(t.Context(), d)
		if bad := used(err); bad != nil {
			t.Errorf("other %s: %v", name, bad)
		}
		_, err = st.AppendBatch(t.Context(), []batpak.Draft{plain("good"), d})
		if bad := inBatch(1, used)(err); bad != nil {
			t.Errorf("other %s in a batch: %v", name, bad)
		}
	}
	if len(fingerprints) != 1 {
		t.Errorf("%d fingerprints of one request", len(fingerprints))
	}
	same := keyed("a\x00\n", "one")
	same.Expect, same.Ack = batpak.Clock(99), batpak.AckDurable // neither is part of the request
	if r, err := st.Append(t.Context(), same); err != nil || !r.Replayed || r.Hash != first.Hash {
		t.Errorf("retry: %+v, %v", r, err)
	}
	_, err = st.AppendBatch(t.Context(), []batpak.Draft{plain("no key"), keyed("a\x00\n", "one"), keyed("new", "three")})
	if bad := all(is(batpak.ErrIdempotency), as(func(e *batpak.PartialReplayError) bool { return len(e.Known) == 1 && e.Known[0] == 1 }))(err); bad != nil {
		t.Error(bad)
	}
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 1 {
		t.Errorf("%d events, error %v; want the first one only", len(got), err)
	}
	mustClose(t, st)
}

func TestBadQueries(t *testing.T) {
	st := openAt(t, t.TempDir(), nil)
	fillStore(t, st, 3)
	for _, tt := range []struct {
		name string
		q    batpak.Query
		want verdict
	}{
		{"limit below zero", batpak.Query{Limit: -1}, badDraft("Limit")},
		{"control character in the entity", batpak.Query{Entity: "a\n"}, all(badDraft("Entity"), is(coordinate.ErrInvalid))},
		{"entity too long", batpak.Query{Entity: strings.Repeat("a", 1025)}, all(badDraft("Entity"), is(coordinate.ErrInvalid))},
		{"scope not UTF-8", batpak.Query{Scope: "\xff"}, all(badDraft("Scope"), is(coordinate.ErrInvalid))},
		{"empty tag", batpak.Query{Tags: []string{""}}, all(badDraft("Tags"), is(coordinate.ErrInvalid))},
		{"NUL in a tag", batpak.Query{Tags: []string{"good", "\x00"}}, all(badDraft("Tags"), is(coordinate.ErrInvalid))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			yielded := 0
			for ev, err := range st.Read(t.Context(), tt.q) {
				yielded++
				if bad := tt.want(err); bad != nil || ev.Seq != 0 {
					t.Errorf("event %d: %v", ev.Seq, bad)
				}
			}
			if yielded != 1 {
				t.Errorf("yielded %d times, want the error once", yielded)
			}
		})
	}
	nothing := map[string]batpak.Query{
		"prefix that no entity can have": {EntityPrefix: "\x00"},
		"prefix that is too long":        {EntityPrefix: strings.Repeat("p", 2000)},
		"empty range":                    {After: 2, Before: 3},
		"range turned around":            {After: 3, Before: 1},
		"behind the end":                 {After: 1<<64 - 1},
		"another lane":                   {Lane: new(uint32(9))},
		"the store's own kind":           {Kinds: []event.Kind{0}},
	}
	for name, q := range nothing {
		if got, err := collect(st, q); err != nil || len(got) != 0 {
			t.Errorf("%s: %d events, error %v; want none", name, len(got), err)
		}
	}
	for _, entity := range []string{"", "\x00", "unknown", strings.Repeat("a", 5000)} {
		if _, err := st.Head(t.Context(), entity, 0); !errors.Is(err, batpak.ErrNotFound) {
			t.Errorf("head of %.9q: %v", entity, err)
		}
	}
	_, byID := st.Event(t.Context(), event.ID{})
	_, bySeq := st.EventAt(t.Context(), 0)
	if !errors.Is(byID, batpak.ErrNotFound) || !errors.Is(bySeq, batpak.ErrNotFound) {
		t.Errorf("zero ID: %v; sequence 0: %v", byID, bySeq)
	}
	mustClose(t, st)
}

// TestAbsurdClocks: whatever the wall clock says, every append gets an event behind the one before.
func TestAbsurdClocks(t *testing.T) {
	times := []time.Time{
		time.UnixMilli(testEpoch), {}, time.UnixMilli(testEpoch - 1), time.UnixMilli(0), time.UnixMilli(-1 << 62),
		time.Date(20_000, 1, 1, 0, 0, 0, 0, time.UTC), time.UnixMilli(1<<63 - 1), time.UnixMilli(testEpoch),
	}
	mem := vfs.NewMem()
	drafts := make([]batpak.Draft, 10_000)
	for i := range drafts {
		drafts[i] = plain("tick")
	}
	now, want := times[0], uint64(0)
	o := batpak.Options{Clock: func() time.Time { return now }}
	o.SetFS(mem)
	for _, now = range times {
		st := openAt(t, vfs.MemDir, &o)
		batches := 1
		if now.Year() == 20_000 {
			batches = 7 // together more events than an HLC counts in its last millisecond
		}
		for range batches {
			if _, err := st.AppendBatch(t.Context(), drafts); err != nil {
				t.Fatalf("at %v: %v", now, err)
			}
			want += uint64(len(drafts))
		}
		mustClose(t, st)
	}
	st := openAt(t, vfs.MemDir, &o)
	if got := st.Stats().Events; got != want {
		t.Errorf("%d events, want %d", got, want)
	}
	mustClose(t, st)
}
