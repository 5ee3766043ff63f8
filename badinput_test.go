package batpak_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// A verdict checks the error of a call that must be refused, and says what is wrong with it.
type verdict func(error) error

// as returns a verdict: an error of type E that holds looks at.
func as[E error](holds func(E) bool) verdict {
	return func(err error) error {
		var e E
		if !errors.As(err, &e) || !holds(e) {
			return fmt.Errorf("error %v (%T), want another %T", err, err, e)
		}
		return nil
	}
}

// is returns a verdict: an error that matches all targets.
func is(targets ...error) verdict {
	return func(err error) error {
		for _, target := range targets {
			if !errors.Is(err, target) {
				return fmt.Errorf("error %v, want %v", err, target)
			}
		}
		return nil
	}
}

// all returns a verdict: every one of them.
func all(verdicts ...verdict) verdict {
	return func(err error) error {
		for _, v := range verdicts {
			if bad := v(err); bad != nil {
				return bad
			}
		}
		return nil
	}
}

func badDraft(field string) verdict {
	return all(is(batpak.ErrInvalid), as(func(e *batpak.DraftError) bool { return e.Field == field }))
}

func badName(field, reason string) verdict {
	return all(is(coordinate.ErrInvalid), as(func(e *coordinate.Error) bool { return e.Field == field && e.Reason == reason }))
}

func overLimit(field string, value, limit int64) verdict {
	return all(is(batpak.ErrLimit), as(func(e *batpak.LimitError) bool {
		return e.Field == field && e.Value == value && e.Limit == limit
	}))
}

func inBatch(index int, v verdict) verdict {
	return all(v, as(func(e *batpak.BatchError) bool { return e.Index == index }))
}

// tightOptions are small limits, each of which can be passed without passing another.
var tightOptions = batpak.Options{
	SegmentSize: 4 << 10, FillAhead: -1, MaxEventBytes: 3000, MaxBatchEvents: 4, MaxBatchBytes: 5000,
}

const tightRoom = 4<<10 - 2208 // what the documentation says

// A badCall is an append that must be refused.
type badCall struct {
	name   string
	drafts []batpak.Draft
	batch  bool
	want   verdict
}

// oneAndInBatch returns the bad calls of a draft: alone, and as the second of a batch.
func oneAndInBatch(name string, d batpak.Draft, want verdict) []badCall {
	return []badCall{
		{name, []batpak.Draft{d}, false, want},
		{name + ", in a batch", []batpak.Draft{plain("good"), d, plain("good, too")}, true, inBatch(1, want)},
	}
}

// with returns a good draft that change has made bad.
func with(change func(*batpak.Draft)) batpak.Draft {
	d := plain("bad")
	change(&d)
	return d
}

// extensions returns n extensions of size bytes each.
func extensions(n, size int) map[string][]byte {
	m := map[string][]byte{}
	for i := range n {
		m[fmt.Sprintf("key%02d", i)] = make([]byte, size)
	}
	return m
}

// repeated returns n times s.
func repeated(s string, n int) []string {
	return strings.Split(strings.Repeat(s+"\n", n)[:n*(len(s)+1)-1], "\n")
}

func badDrafts() (calls []badCall) {
	key := func(d *batpak.Draft, k string) { d.Extensions = map[string][]byte{"good": nil, k: {1}} }
	for _, tt := range []struct {
		name   string
		change func(*batpak.Draft)
		want   verdict
	}{
		{"zero coordinate", func(d *batpak.Draft) { d.Coordinate = coordinate.Coordinate{} }, badDraft("Coordinate")},
		{"coordinate around New: no scope", func(d *batpak.Draft) { d.Coordinate = coordinate.Stored("e", "") },
			all(badDraft("Coordinate"), badName("scope", "empty"))},
		{"coordinate around New: control character", func(d *batpak.Draft) { d.Coordinate = coordinate.Stored("e\n", "s") },
			all(badDraft("Coordinate"), badName("entity", "control character"))},
		{"coordinate around New: too long", func(d *batpak.Draft) { d.Coordinate = coordinate.Stored(strings.Repeat("e", 70_000), "s") },
			all(badDraft("Coordinate"), badName("entity", "too long"))},
		{"kind zero", func(d *batpak.Draft) { d.Kind = 0 }, all(badDraft("Kind"), is(event.ErrKindReserved))},
		{"kind of category 0x0", func(d *batpak.Draft) { d.Kind = event.Kind(0x0FFF) }, all(badDraft("Kind"), is(event.ErrKindReserved))},
		{"kind of category 0xD", func(d *batpak.Draft) { d.Kind = event.Kind(0xD000) }, all(badDraft("Kind"), is(event.ErrKindReserved))},
		{"payload too large", func(d *batpak.Draft) { d.Payload = make([]byte, 3001) }, overLimit("payload", 3001, 3000)},
		{"key too long", func(d *batpak.Draft) { d.IdempotencyKey = make([]byte, 1025) }, overLimit("idempotency key", 1025, 1024)},
		{"acknowledgement out of range", func(d *batpak.Draft) { d.Ack = 2 }, badDraft("Ack")},
		{"cause below zero", func(d *batpak.Draft) { d.CausedByDraft = -1 }, badDraft("CausedByDraft")},
		{"cause far away", func(d *batpak.Draft) { d.CausedByDraft = batpak.DraftAt(1 << 30) }, badDraft("CausedByDraft")},
		{"too many tags", func(d *batpak.Draft) { d.Tags = repeated("t", 65) }, overLimit("tags", 65, 64)},
		{"too many bytes of tags", func(d *batpak.Draft) { d.Tags = repeated(strings.Repeat("t", 1024), 64) },
			overLimit("tag bytes", 64*1026, 1<<16-1)},
		{"empty tag", func(d *batpak.Draft) { d.Tags = []string{"a", ""} }, all(badDraft("Tags"), badName("tag", "empty"))},
		{"tag too long", func(d *batpak.Draft) { d.Tags = []string{strings.Repeat("t", 1025)} }, all(badDraft("Tags"), badName("tag", "too long"))},
		{"NUL in a tag", func(d *batpak.Draft) { d.Tags = []string{"a\x00"} }, all(badDraft("Tags"), badName("tag", "control character"))},
		{"tag not UTF-8", func(d *batpak.Draft) { d.Tags = []string{"\xff"} }, all(badDraft("Tags"), badName("tag", "not UTF-8"))},
		{"too many extensions", func(d *batpak.Draft) { d.Extensions = extensions(65, 0) }, overLimit("extensions", 65, 64)},
		{"too many bytes of extensions", func(d *batpak.Draft) { d.Extensions = extensions(1, 1<<16) }, overLimit("extension bytes", 1<<16+5, 1<<16)},
		{"empty extension key", func(d *batpak.Draft) { key(d, "") }, all(badDraft("Extensions"), badName("extension key", "empty"))},
		{"extension key too long", func(d *batpak.Draft) { key(d, strings.Repeat("k", 256)) }, all(badDraft("Extensions"), badName("extension key", "too long"))},
		{"control character in an extension key", func(d *batpak.Draft) { key(d, "a\x1b") }, all(badDraft("Extensions"), badName("extension key", "control character"))},
		{"extension key not UTF-8", func(d *batpak.Draft) { key(d, "\xc3\x28") }, all(badDraft("Extensions"), badName("extension key", "not UTF-8"))},
	} {
		calls = append(calls, oneAndInBatch(tt.name, with(tt.change), tt.want)...)
	}
	return calls
}

// overhead is what a plain draft takes in a segment beside its payload.
func overhead(d batpak.Draft) int64 {
	return 102 + int64(len(d.Coordinate.Entity())+len(d.Coordinate.Scope()))
}

func badBatches() []badCall {
	of := func(n, size int) []batpak.Draft {
		drafts := make([]batpak.Draft, n)
		for i := range drafts {
			drafts[i] = with(func(d *batpak.Draft) { d.Payload = make([]byte, size) })
		}
		return drafts
	}
	caused := func(ref batpak.DraftRef, by event.ID) []batpak.Draft {
		return []batpak.Draft{plain("good"), with(func(d *batpak.Draft) { d.CausedByDraft, d.Causation = ref, by }), plain("good")}
	}
	keyed := of(3, 10)
	keyed[0].IdempotencyKey, keyed[2].IdempotencyKey = []byte("twice"), []byte("twice")
	large := of(1, 2500)
	clash := []batpak.Draft{plain("good"), plain("bad")}
	clash[0].Coordinate, clash[1].Coordinate = streamA, streamA
	clash[0].Expect, clash[1].Expect = batpak.Absent(), batpak.Absent()
	return []badCall{
		{"nil batch", nil, true, badDraft("drafts")},
		{"empty batch", []batpak.Draft{}, true, badDraft("drafts")},
		{"too many events", of(5, 1), true, overLimit("batch events", 5, 4)},
		{"too many bytes", of(3, 2000), true, overLimit("batch bytes", 6000, 5000)},
		{"larger than a segment", large, false, overLimit("segment", 2500+overhead(large[0]), tightRoom)},
		{"batch larger than a segment", of(2, 1000), true, as(func(e *batpak.LimitError) bool { return e.Field == "segment" && e.Limit == tightRoom })},
		{"caused by itself", caused(batpak.DraftAt(1), event.ID{}), true, inBatch(1, badDraft("CausedByDraft"))},
		{"caused by a later one", caused(batpak.DraftAt(2), event.ID{}), true, inBatch(1, badDraft("CausedByDraft"))},
		{"caused twice", caused(batpak.DraftAt(0), event.ID{1}), true, inBatch(1, badDraft("CausedByDraft"))},
		{"single caused by a draft", caused(batpak.DraftAt(0), event.ID{})[1:2], false, badDraft("CausedByDraft")},
		{"one key twice", keyed, true, inBatch(2, badDraft("IdempotencyKey"))},
		{"draft against the batch's own", clash, true, inBatch(1, all(is(batpak.ErrConflict),
			as(func(e *batpak.ConflictError) bool { return e.Have == 1 && e.Want == batpak.Absent() })))},
	}
}

// TestRefusedAppends: a refusal is typed, writes nothing, gives out no sequence, and what stands around it survives.
func TestRefusedAppends(t *testing.T) {
	mem := vfs.NewMem()
	o := tightOptions
	o.SetFS(mem)
	st := openAt(t, vfs.MemDir, &o)
	var good []string
	add := func(name string) {
		t.Helper()
		good = append(good, name)
		if r, err := st.Append(t.Context(), plain(name)); err != nil || r.Seq != uint64(len(good)) {
			t.Fatalf("good append %d: sequence %d, %v", len(good), r.Seq, err)
		}
	}
	for _, c := range append(badDrafts(), badBatches()...) {
		t.Run(c.name, func(t *testing.T) {
			add("before " + c.name)
			st.WaitIdle()
			ops := mem.OpCount()
			var err error
			if c.batch {
				_, err = st.AppendBatch(t.Context(), c.drafts)
			} else {
				_, err = st.Append(t.Context(), c.drafts[0])
			}
			if bad := c.want(err); bad != nil {
				t.Error(bad)
			}
			if mayLand(err) || mem.OpCount() != ops {
				t.Errorf("%d operations, error %v: want nothing written", mem.OpCount()-ops, err)
			}
			add("after " + c.name)
		})
	}
	mustClose(t, st)
	st = openAt(t, vfs.MemDir, &o)
	got, err := collect(st, batpak.Query{})
	if err != nil || len(got) != len(good) {
		t.Fatalf("%d events, error %v; want %d", len(got), err, len(good))
	}
	for i := range got {
		if string(got[i].Payload) != good[i] {
			t.Errorf("event %d is %s, want %q", i+1, clip(got[i].Payload), good[i])
		}
	}
	mustClose(t, st)
}

func TestHugeBatchIsRefusedBeforeItIsEncoded(t *testing.T) {
	o := batpak.Options{}
	o.SetFS(vfs.NewMem())
	st := openAt(t, vfs.MemDir, &o)
	drafts := make([]batpak.Draft, 10_000)
	for i := range drafts {
		drafts[i] = plain("")
		drafts[i].Payload = hugePayload // 160 GB, if anybody copied them
	}
	_, err := st.AppendBatch(t.Context(), drafts)
	if bad := as(func(e *batpak.LimitError) bool { return e.Field == "batch bytes" && e.Value > e.Limit })(err); bad != nil {
		t.Error(bad)
	}
	mustClose(t, st)
}

var hugePayload = make([]byte, 16<<20)

func TestBadNames(t *testing.T) {
	for _, tt := range []struct{ name, value, reason string }{
		{"empty", "", "empty"},
		{"1,025 bytes", strings.Repeat("a", 1025), "too long"},
		{"1,025 bytes of another script", strings.Repeat("é", 512) + "a", "too long"},
		{"NUL", "a\x00b", "control character"},
		{"newline", "a\n", "control character"},
		{"escape", "\x1b[31m", "control character"},
		{"delete", "a\x7f", "control character"},
		{"C1 control", "a\u0085b", "control character"},
		{"cut UTF-8", "a\xc3", "not UTF-8"},
		{"overlong UTF-8", "\xc0\xaf", "not UTF-8"},
		{"surrogate", "\xed\xa0\x80", "not UTF-8"},
		{"Latin-1", "gr\xfc\xdfe", "not UTF-8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := coordinate.New(tt.value, "good")
			if bad := badName("entity", tt.reason)(err); bad != nil {
				t.Error(bad)
			}
			_, err = coordinate.New("good", tt.value)
			if bad := badName("scope", tt.reason)(err); bad != nil {
				t.Error(bad)
			}
		})
	}
}

func TestAnyScriptIsAName(t *testing.T) {
	names := []string{
		"/", "..", "../../etc/passwd", "a/b/c", `C:\con`, " ", "   leading and trailing   ", "%00", "a@b", "*", "'; DROP TABLE",
		"日本語", "العربية", "हिन्दी", "e\u0301", "é", "👩‍👩‍👧", "\u200b", "\u2028", "\ufffd", "\ufeff", "a", "A", strings.Repeat("ü", 512),
		".lock", "store.meta", "0000000001.fbat",
	}
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	for _, name := range names {
		if _, err := st.Append(t.Context(), batpak.Draft{
			Coordinate: coordinate.MustNew(name, name), Kind: kindOne, Payload: []byte(name), Tags: []string{name},
		}); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for range 2 {
		for i, name := range names {
			for _, q := range []batpak.Query{{Entity: name}, {Scope: name}, {Tags: []string{name}}, {Entity: name, Scope: name, Tags: []string{name}}} {
				got, err := collect(st, q)
				if err != nil || len(got) != 1 || string(got[0].Payload) != name || got[0].Coordinate.Entity() != name ||
					got[0].Coordinate.Scope() != name || got[0].Tags[0] != name {
					t.Errorf("query %+q: %d events, error %v", name, len(got), err)
				}
			}
			if h, err := st.Head(t.Context(), name, 0); err != nil || h.Seq != uint64(i+1) {
				t.Errorf("head of %+q: %+v, %v", name, h, err)
			}
		}
		mustClose(t, st)
		st = openAt(t, dir, nil)
	}
	mustClose(t, st)
}

func TestBadOptions(t *testing.T) {
	for _, tt := range []struct {
		field string
		name  string
		o     batpak.Options
	}{
		{"SegmentSize", "below 4 KiB", batpak.Options{SegmentSize: 4<<10 - 1}},
		{"SegmentSize", "above 2 GiB", batpak.Options{SegmentSize: 2<<30 + 1}},
		{"SegmentSize", "below zero", batpak.Options{SegmentSize: -1}},
		{"Sync", "not a mode", batpak.Options{Sync: 3}},
		{"SyncEvery", "below 1 ms", batpak.Options{SyncEvery: time.Millisecond - 1}},
		{"SyncEvery", "below zero", batpak.Options{SyncEvery: -time.Second}},
		{"SigningKeys", "halves of two keys", batpak.Options{SigningKeys: []ed25519.PrivateKey{make([]byte, ed25519.PrivateKeySize)}}},
		{"SigningKeys", "nil key", batpak.Options{SigningKeys: []ed25519.PrivateKey{nil}}},
		{"MaxEventBytes", "below zero", batpak.Options{MaxEventBytes: -1}},
		{"MaxEventBytes", "above 1 GiB", batpak.Options{MaxEventBytes: 1<<30 + 1}},
		{"MaxBatchEvents", "below zero", batpak.Options{MaxBatchEvents: -1}},
		{"MaxBatchBytes", "below zero", batpak.Options{MaxBatchBytes: -1}},
		{"DirPerm", "not permissions", batpak.Options{DirPerm: 1 << 20}},
		{"FilePerm", "not permissions", batpak.Options{FilePerm: 1 << 20}},
	} {
		t.Run(tt.field+" "+tt.name, func(t *testing.T) {
			want := all(is(batpak.ErrOption), as(func(e *batpak.OptionError) bool {
				return e.Field == tt.field && e.Reason != "" && e.Value != nil
			}))
			mem := vfs.NewMem()
			tt.o.SetFS(mem)
			_, err := batpak.Open(vfs.MemDir, &tt.o)
			if bad := want(err); bad != nil {
				t.Error(bad)
			}
			_, err = batpak.Verify(t.Context(), vfs.MemDir, &tt.o)
			if bad := want(err); bad != nil {
				t.Errorf("Verify: %v", bad)
			}
			if n := mem.OpCount(); n != 0 || len(mem.Files()) != 0 {
				t.Errorf("%d operations, files %v", n, maps.Keys(mem.Files()))
			}
		})
	}
}

// callsOfAStore are all methods that can fail.
func callsOfAStore(ctx context.Context, st *batpak.Store) (writes, reads map[string]error) {
	writes, reads = map[string]error{}, map[string]error{}
	_, writes["Append"] = st.Append(ctx, plain("refused"))
	_, writes["AppendBatch"] = st.AppendBatch(ctx, []batpak.Draft{plain("refused")})
	_, writes["AppendBatch of nothing"] = st.AppendBatch(ctx, nil)
	writes["Flush"] = st.Flush(ctx)
	_, reads["Read"] = collect(st, batpak.Query{})
	_, reads["Event"] = st.Event(ctx, event.ID{1})
	_, reads["EventAt"] = st.EventAt(ctx, 1)
	_, reads["Head"] = st.Head(ctx, "plain", 0)
	return writes, reads
}

func TestClosedStore(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		t.Run(fmt.Sprintf("read-only %v", readOnly), func(t *testing.T) {
			dir := t.TempDir()
			st := openAt(t, dir, nil)
			fillStore(t, st, 2)
			mustClose(t, st)
			st = openAt(t, dir, &batpak.Options{ReadOnly: readOnly})
			id := st.ID()
			mustClose(t, st)
			mustClose(t, st)
			writes, reads := callsOfAStore(t.Context(), st)
			maps.Copy(writes, reads)
			for name, err := range writes {
				if !errors.Is(err, batpak.ErrClosed) {
					t.Errorf("%s on a closed store: %v", name, err)
				}
			}
			if got := st.Stats(); st.ID() != id || got.Events != 2 || st.OpenReport().Segments != 1 {
				t.Errorf("after Close: ID %x, %+v, %+v", st.ID(), got, st.OpenReport())
			}
			st = openAt(t, dir, nil)
			wantFound(t, st, plain("refused"), false)
			mustClose(t, st)
		})
	}
}
