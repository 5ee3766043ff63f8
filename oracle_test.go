package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"batpak"
	"batpak/event"
)

// The oracle of all fault tests is a list of what callers were told, in commit order. After any fault a store must hold
// a prefix of it, at least as long as what was promised, at most as long as what was begun; batches whole; every way of
// reading the same; every field as the receipt said.

// A told event is one that a caller was given a receipt for.
type told struct {
	event.Event

	key     []byte // idempotency key; nil for none
	draft   batpak.Draft
	receipt batpak.Receipt
	fence   *fate  // of the fence that staged it; nil for none
	number  uint64 // of that fence, which the hash covers
	last    bool   // of its batch, or single
	size    int    // events of its batch
	parent  event.Hash

	begun   int // length of the trace when its append began
	durable int // length of the trace when its durability was promised; never when it was not
	acked   int // length of the trace when its append returned
}

// never is a length that no trace reaches.
const never = math.MaxInt32

// tell returns what the receipts of one append promise.
func tell(drafts []batpak.Draft, receipts []batpak.Receipt) []told {
	out := make([]told, len(drafts))
	for i := range drafts {
		d, r := drafts[i], receipts[i]
		t := told{draft: d, receipt: r, key: d.IdempotencyKey, last: i == len(drafts)-1, size: len(drafts), parent: r.Parent, durable: never}
		t.Event = event.Event{
			ID: r.ID, Seq: r.Seq, Coordinate: d.Coordinate, Kind: d.Kind, Payload: bytes.Clone(d.Payload),
			Clock: r.Clock, Lane: d.Lane, Depth: d.Depth, HLC: r.HLC, Correlation: d.Correlation, Causation: d.Causation,
			PayloadVersion: d.PayloadVersion, Tags: d.Tags, Hash: r.Hash, Extensions: d.Extensions, Fork: d.Fork,
		}
		if d.CausedByDraft != 0 {
			t.Causation = receipts[d.CausedByDraft-1].ID
		}
		out[i] = t
	}
	return out
}

// sameEvent says in what got is not want, or nil.
func sameEvent(got, want *event.Event) error {
	fields := [...]struct {
		name string
		same bool
	}{
		{"ID", got.ID == want.ID},
		{"Seq", got.Seq == want.Seq},
		{"Coordinate", got.Coordinate == want.Coordinate},
		{"Kind", got.Kind == want.Kind},
		{"Payload", bytes.Equal(got.Payload, want.Payload)},
		{"Clock", got.Clock == want.Clock},
		{"Lane", got.Lane == want.Lane},
		{"Depth", got.Depth == want.Depth},
		{"HLC", got.HLC == want.HLC},
		{"Correlation", got.Correlation == want.Correlation},
		{"Causation", got.Causation == want.Causation},
		{"PayloadVersion", got.PayloadVersion == want.PayloadVersion},
		{"Tags", slices.Equal(got.Tags, want.Tags)},
		{"Hash", got.Hash == want.Hash},
		{"Extensions", maps.EqualFunc(got.Extensions, want.Extensions, bytes.Equal)},
		{"Redacted", !got.Redacted},
		{"Fork", got.Fork == want.Fork},
	}
	for _, f := range fields {
		if !f.same {
			return fmt.Errorf("event %d: wrong %s: have %v payload %s, want %v payload %s", want.Seq, f.name,
				got.ID, clip(got.Payload), want.ID, clip(want.Payload))
		}
	}
	return nil
}

func clip(b []byte) string {
	if len(b) > 24 {
		return fmt.Sprintf("%q… (%d bytes)", b[:24], len(b))
	}
	return fmt.Sprintf("%q", b)
}

// collect reads everything that q selects.
func collect(st *batpak.Store, q batpak.Query) ([]event.Event, error) {
	var got []event.Event
	for ev, err := range st.Read(context.Background(), q) {
		if err != nil {
			return got, fmt.Errorf("read %+v: %w", q, err)
		}
		got = append(got, ev)
	}
	return got, nil
}

// A claim is what a store is held to: a log of least to most events of want, of which all are shown but those of fences
// that were not committed.
type claim struct {
	want        []told
	least, most int
	shown       uint64 // highest sequence that anyone was told: no other event may have one up to here

	ops     int                 // length of the trace, plus 1; 0 is its end
	visible uint64              // what readers had seen then
	reader  bool                // beside a writer, or before a recovery: it may stop in front of a fence
	murky   map[streamName]bool // an event of unknown outcome was staged there
}

// fits checks that got is what is shown of a log that the claim allows. inLog is how many events the log has; -1 where
// nothing but got tells.
func (c *claim) fits(got []event.Event, inLog int) (shown []bool, err error) {
	shown, seen, place := make([]bool, len(c.want)), map[*fate]bool{}, 0
	n := 0
	for ; n < len(c.want) && n != inLog; n++ {
		if place == len(got) && (inLog < 0 || c.reader) {
			break
		}
		w := &c.want[n]
		if shown[n] = place < len(got) && got[place].Seq == w.Seq; shown[n] {
			if err := sameEvent(&got[place], &w.Event); err != nil {
				return nil, fmt.Errorf("at place %d: %w", place, err)
			}
			place++
		}
		if err := c.mayBe(w, shown[n], seen); err != nil {
			return nil, err
		}
	}
	if place < len(got) {
		return nil, fmt.Errorf("event %d was never appended, or is out of order", got[place].Seq)
	}
	return shown, c.fitsLength(n)
}

// mayBe checks that an event that is in the log may be shown, or not shown.
func (c *claim) mayBe(w *told, shown bool, seen map[*fate]bool) error {
	if w.fence == nil {
		if !shown {
			return fmt.Errorf("event %d is in the log, and not shown", w.Seq)
		}
		return nil
	}
	must, may := w.fence.shows(c.ops, c.visible)
	before, met := seen[w.fence]
	seen[w.fence] = shown
	switch {
	case met && before != shown:
		return fmt.Errorf("event %d: half of a fence is shown", w.Seq)
	case shown && !may:
		return fmt.Errorf("event %d is shown, and its fence was not committed", w.Seq)
	case !shown && must:
		return fmt.Errorf("event %d is not shown, and its fence was committed", w.Seq)
	}
	return nil
}

// fitsLength checks the length of a log.
func (c *claim) fitsLength(n int) error {
	switch {
	case n < c.least:
		return fmt.Errorf("%d events, but %d were promised: event %d is lost", n, c.least, c.want[n].Seq)
	case n > c.most:
		return fmt.Errorf("%d events, but only %d appends had begun", n, c.most)
	case n > 0 && !c.want[n-1].last && !c.reader:
		return fmt.Errorf("%d events end inside a batch", n)
	}
	return nil
}

// holds checks a store against the claim by every way of reading, and returns how many events its log has, and which of
// them it shows.
func (c *claim) holds(st *batpak.Store) (n int, shown []bool, err error) {
	got, err := collect(st, batpak.Query{})
	if err != nil {
		return 0, nil, err
	}
	n, err = c.inLog(st, got)
	if err != nil {
		return 0, nil, err
	}
	if shown, err = c.fits(got, n); err != nil {
		return 0, nil, fmt.Errorf("forward: %w", err)
	}
	return n, shown, c.agrees(st, got, n, shown)
}

// inLog returns how many events the log has: heads tell, which count what is hidden.
func (c *claim) inLog(st *batpak.Store, got []event.Event) (int, error) {
	last, asked := uint64(0), map[streamName]bool{}
	if len(got) > 0 {
		last = got[len(got)-1].Seq
	}
	fenced := false
	for i := range c.want {
		fenced = fenced || c.want[i].fence != nil
	}
	for i := len(c.want) - 1; i >= 0 && fenced; i-- {
		k := streamName{c.want[i].Coordinate.Entity(), c.want[i].Lane}
		if asked[k] {
			continue
		}
		asked[k] = true
		head, err := st.Head(context.Background(), k.entity, k.lane)
		if err != nil && !errors.Is(err, batpak.ErrNotFound) {
			return 0, err
		}
		last = max(last, head.Seq)
	}
	n := 0
	for n < len(c.want) && c.want[n].Seq <= last {
		n++
	}
	if n == len(c.want) && last > 0 && (n == 0 || c.want[n-1].Seq < last) && len(c.murky) == 0 {
		return 0, fmt.Errorf("event %d was never appended", last)
	}
	return n, nil
}

// lookups is how many events are looked up one by one; of more than that, an even choice with the last one.
const lookups = 12

// agrees checks that every other way of reading finds what reading forward found, and nothing finds what is hidden.
func (c *claim) agrees(st *batpak.Store, all []event.Event, n int, shown []bool) error {
	back, err := collect(st, batpak.Query{Reverse: true})
	if err != nil {
		return err
	}
	slices.Reverse(back)
	if err := sameEvents(back, all); err != nil {
		return fmt.Errorf("reverse: %w", err)
	}
	streams, heads := map[streamName][]event.Event{}, map[streamName]*told{}
	for _, ev := range all {
		k := streamName{ev.Coordinate.Entity(), ev.Lane}
		streams[k] = append(streams[k], ev)
	}
	for i := range n {
		k := streamName{c.want[i].Coordinate.Entity(), c.want[i].Lane}
		if heads[k] = &c.want[i]; len(streams[k]) == 0 {
			streams[k] = nil // all of it is hidden
		}
	}
	for k, want := range streams {
		head := heads[k]
		if c.murky[k] {
			head = nil
		}
		if err := agreesOnStream(st, k, want, head); err != nil {
			return fmt.Errorf("stream %v: %w", k, err)
		}
	}
	for i := 0; i < len(all); i += 1 + len(all)/lookups {
		if err := agreesOnEvent(st, &all[len(all)-1-i]); err != nil {
			return err
		}
	}
	for i := range n {
		if shown[i] {
			continue
		}
		if err := findsNot(st, &c.want[i]); err != nil {
			return err
		}
	}
	beyond := c.shown + 1
	if n > 0 {
		beyond = max(beyond, c.want[n-1].Seq+1)
	}
	if _, err := st.EventAt(context.Background(), beyond); !errors.Is(err, batpak.ErrNotFound) {
		return fmt.Errorf("event behind the last one: error %v, want %v", err, batpak.ErrNotFound)
	}
	return nil
}

// findsNot checks that an event that is not shown is not found either.
func findsNot(st *batpak.Store, w *told) error {
	if _, err := st.EventAt(context.Background(), w.Seq); !errors.Is(err, batpak.ErrNotFound) {
		return fmt.Errorf("event %d, which is not shown, by sequence: %v", w.Seq, err)
	}
	if _, err := st.Event(context.Background(), w.ID); !errors.Is(err, batpak.ErrNotFound) {
		return fmt.Errorf("event %d, which is not shown, by ID: %v", w.Seq, err)
	}
	return nil
}

// A streamName is what a clock belongs to.
type streamName struct {
	entity string
	lane   uint32
}

func sameEvents(got, want []event.Event) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d events, want %d", len(got), len(want))
	}
	for i := range got {
		if err := sameEvent(&got[i], &want[i]); err != nil {
			return err
		}
	}
	return nil
}

// agreesOnStream checks one stream by query and by head; nil is a head that nobody knows.
func agreesOnStream(st *batpak.Store, k streamName, want []event.Event, last *told) error {
	got, err := collect(st, batpak.Query{Entity: k.entity, Lane: &k.lane})
	if err != nil {
		return err
	}
	if err := sameEvents(got, want); err != nil {
		return err
	}
	for i := 1; i < len(want); i++ {
		if want[i].Clock <= want[i-1].Clock {
			return fmt.Errorf("event %d has clock %d, behind clock %d", want[i].Seq, want[i].Clock, want[i-1].Clock)
		}
	}
	if last == nil {
		return nil
	}
	head, err := st.Head(context.Background(), k.entity, k.lane)
	if err != nil {
		return err
	}
	if w := (batpak.Head{Seq: last.Seq, ID: last.ID, Clock: last.Clock, Lane: k.lane, Hash: last.Hash}); head != w {
		return fmt.Errorf("head = %+v, want %+v", head, w)
	}
	return nil
}

// agreesOnEvent checks one event by sequence and by ID.
func agreesOnEvent(st *batpak.Store, want *event.Event) error {
	ctx := context.Background()
	bySeq, err := st.EventAt(ctx, want.Seq)
	if err != nil {
		return err
	}
	if err := sameEvent(&bySeq, want); err != nil {
		return fmt.Errorf("by sequence: %w", err)
	}
	byID, err := st.Event(ctx, want.ID)
	if err != nil {
		return err
	}
	if err := sameEvent(&byID, want); err != nil {
		return fmt.Errorf("by ID: %w", err)
	}
	return nil
}

// chained checks that what callers were told is one history: sequences and HLCs ascend, clocks count, parents and
// hashes link. What has a key is linked but not hashed again, since its fingerprint is the store's own.
func chained(want []told) error {
	type head struct {
		clock uint64
		hash  event.Hash
	}
	heads := map[streamName]head{}
	var linker event.Linker
	for i := range want {
		w := &want[i]
		k := streamName{w.Coordinate.Entity(), w.Lane}
		h := heads[k]
		if w.receipt.Store == [16]byte{} {
			w.parent = h.hash // found, not told: nobody knows its parent
		}
		switch {
		case i > 0 && w.Seq <= want[i-1].Seq:
			return fmt.Errorf("sequence %d follows %d", w.Seq, want[i-1].Seq)
		case i > 0 && w.HLC <= want[i-1].HLC:
			return fmt.Errorf("event %d: HLC %v follows %v", w.Seq, w.HLC, want[i-1].HLC)
		case w.ID.HLC() != w.HLC:
			return fmt.Errorf("event %d: ID and HLC disagree", w.Seq)
		case w.Clock != h.clock+1:
			return fmt.Errorf("event %d: clock %d follows %d", w.Seq, w.Clock, h.clock)
		case w.parent != h.hash:
			return fmt.Errorf("event %d: parent is not the event before it on its stream", w.Seq)
		}
		if w.key == nil {
			content := event.ContentHash([16]byte{}, w.Payload)
			meta := event.AppendMeta(nil, &event.Header{
				Seq: w.Seq, ID: w.ID, HLC: w.HLC, Clock: w.Clock, Kind: w.Kind, PayloadVersion: w.PayloadVersion,
				Coordinate: w.Coordinate, Lane: w.Lane, Depth: w.Depth, Fork: w.Fork, Correlation: w.Correlation,
				Causation: w.Causation, Tags: w.Tags, Extensions: w.Extensions, Fence: w.number,
			})
			if linker.Link(&w.parent, &content, meta) != w.Hash {
				return fmt.Errorf("event %d: hash does not follow from its fields", w.Seq)
			}
		}
		heads[k] = head{w.Clock, w.Hash}
	}
	return nil
}

// sortOut looks in got for appends whose outcome was unknown. Each is there whole, once, or not at all.
func sortOut(got []event.Event, unknown [][]batpak.Draft) (landed []told, lost [][]batpak.Draft, err error) {
	at := make(map[string]int, len(got)) // place by payload, which no two drafts share
	for i := range got {
		at[string(got[i].Payload)] = i
	}
	for _, drafts := range unknown {
		first, ok := at[string(drafts[0].Payload)]
		if !ok {
			lost = append(lost, drafts)
			continue
		}
		receipts := make([]batpak.Receipt, len(drafts))
		for i := range drafts {
			if first+i >= len(got) {
				return nil, nil, fmt.Errorf("batch of %d events ends with event %d", len(drafts), i)
			}
			ev := &got[first+i]
			receipts[i] = batpak.Receipt{ID: ev.ID, Seq: ev.Seq, Clock: ev.Clock, HLC: ev.HLC, Hash: ev.Hash}
		}
		for i, t := range tell(drafts, receipts) {
			if err := sameEvent(&got[first+i], &t.Event); err != nil {
				return nil, nil, fmt.Errorf("event of unknown outcome: %w", err)
			}
			t.begun, t.acked = 0, never
			landed = append(landed, t)
		}
	}
	return landed, lost, nil
}
