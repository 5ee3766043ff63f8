package batpak_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// A model is a store and a list of what it must hold; random calls go to both.
type model struct {
	*rig
	fences   []*fencing      // that are open
	frontier batpak.Frontier // at the last look since the store was opened

	shown uint64 // highest sequence that anybody was told, also of events that a power failure took
	keys  int
}

// Names and values that the model draws from: few, so that they meet.
var (
	modelEntities = []string{"a", "ab", "b", "größe", "a:b"}
	modelScopes   = []string{"eu", "us"}
	modelKinds    = []event.Kind{event.MustKind(1, 0), event.MustKind(1, 1), event.MustKind(0xF, 4095)}
	modelTags     = []string{"x", "y", "z z"}
)

// drawDraft draws a draft without conditions.
func (m *model) drawDraft(t *rapid.T) batpak.Draft {
	at := coordinate.MustNew(rapid.SampledFrom(modelEntities).Draw(t, "entity"), rapid.SampledFrom(modelScopes).Draw(t, "scope"))
	d := m.draft(at, rapid.SampledFrom([]int{0, 0, 0, 30, 700, 1400}).Draw(t, "size"))
	d.Kind = rapid.SampledFrom(modelKinds).Draw(t, "kind")
	d.Lane = rapid.Uint32Range(0, 2).Draw(t, "lane")
	d.Tags = rapid.SliceOfNDistinct(rapid.SampledFrom(modelTags), 0, 2, rapid.ID[string]).Draw(t, "tags")
	if rapid.Bool().Draw(t, "plain") {
		return d
	}
	d.Depth = rapid.Uint32Range(0, 3).Draw(t, "depth")
	d.PayloadVersion = rapid.Uint16().Draw(t, "version")
	d.Extensions = rapid.MapOfN(rapid.SampledFrom([]string{"k", "trace", "ü"}), rapid.SliceOfN(rapid.Byte(), 0, 9), 0, 3).Draw(t, "extensions")
	if len(m.told) > 0 {
		d.Causation = rapid.SampledFrom(m.told).Draw(t, "cause").ID
		d.Correlation = m.told[0].ID
	}
	if rapid.Bool().Draw(t, "keyed") {
		m.keys++
		d.IdempotencyKey = []byte("key " + strconv.Itoa(m.keys))
	}
	return d
}

// clock returns the clock of a stream, counting the drafts of a batch before this one.
func (m *model) clock(d *batpak.Draft, before []batpak.Draft) uint64 {
	n := uint64(0)
	for i := range m.told {
		if m.told[i].Coordinate.Entity() == d.Coordinate.Entity() && m.told[i].Lane == d.Lane {
			n++
		}
	}
	for i := range before {
		if before[i].Coordinate.Entity() == d.Coordinate.Entity() && before[i].Lane == d.Lane {
			n++
		}
	}
	return n
}

// Append appends one draft, with a condition that holds, or does not.
func (m *model) Append(t *rapid.T) {
	d := m.drawDraft(t)
	have := m.clock(&d, nil)
	want := rapid.SampledFrom([]batpak.Expect{batpak.Any(), batpak.Absent(), batpak.Clock(have), batpak.Clock(have + 1)}).Draw(t, "expect")
	holds := want == batpak.Any() || want == batpak.Clock(have)
	d.Expect = want
	d.Ack = rapid.SampledFrom([]batpak.Ack{batpak.AckDefault, batpak.AckDurable}).Draw(t, "ack")
	rcpt, err := m.append(d)
	var conflict *batpak.ConflictError
	switch {
	case !holds && (!errors.As(err, &conflict) || conflict.Have != have || conflict.Want != want):
		t.Fatalf("append at clock %d with %v: %v", have, want, err)
	case holds && err != nil:
		t.Fatal(err)
	case holds:
		m.show(t, rcpt)
	}
}

// Batch appends several drafts, the later ones caused by earlier ones.
func (m *model) Batch(t *rapid.T) {
	drafts := make([]batpak.Draft, rapid.IntRange(1, 5).Draw(t, "n"))
	for i := range drafts {
		drafts[i] = m.drawDraft(t)
		if len(drafts[i].Payload) > 700 {
			drafts[i].Payload = drafts[i].Payload[:300]
		}
		if i > 0 && drafts[i].Causation.IsZero() {
			drafts[i].CausedByDraft = batpak.DraftAt(rapid.IntRange(0, i-1).Draw(t, "by"))
		}
		drafts[i].Expect = batpak.Clock(m.clock(&drafts[i], drafts[:i]))
	}
	rcpts, err := m.batch(drafts)
	if err != nil {
		if errors.Is(err, batpak.ErrLimit) {
			return // larger than a segment
		}
		t.Fatal(err)
	}
	for _, r := range rcpts {
		m.show(t, r)
	}
}

// show notes a receipt.
func (m *model) show(t *rapid.T, r batpak.Receipt) {
	if r.Seq <= m.shown {
		t.Fatalf("sequence %d was given out before", r.Seq)
	}
	m.shown = r.Seq
}

// Retry appends what was appended before: the same request has the same receipt, another one under its key does not.
func (m *model) Retry(t *rapid.T) {
	var keyed []told
	for _, w := range m.told {
		if w.key != nil && w.size == 1 {
			keyed = append(keyed, w)
		}
	}
	if len(keyed) == 0 {
		return
	}
	first := rapid.SampledFrom(keyed).Draw(t, "first")
	for _, w := range m.history() {
		if string(w.key) == string(first.key) {
			first = w // the last use counts
		}
	}
	want := first.receipt
	want.Replayed = true
	again := first.draft
	again.Expect, again.Unless = batpak.Any(), nil
	got, err := m.append(again)
	switch open := first.fence != nil && m.isOpen(first.fence); {
	case open && !errors.Is(err, batpak.ErrFenceOpen):
		t.Fatalf("retry of event %d, whose fence is open: %+v, %v", first.Seq, got, err)
	case open:
		return
	case m.gone(&first) && (err != nil || got.Replayed):
		t.Fatalf("retry of event %d, which is hidden: %+v, %v", first.Seq, got, err)
	case m.gone(&first):
		m.show(t, got)
		return
	case err != nil || got != want:
		t.Fatalf("retry of event %d: %+v, %v; want %+v", first.Seq, got, err, want)
	}
	other := first.draft
	other.Kind = modelKinds[0] ^ modelKinds[1] ^ modelKinds[2] ^ other.Kind
	if other.Kind.Reserved() || other.Kind == first.Kind {
		return
	}
	var conflict *batpak.IdempotencyConflictError
	if _, err := m.append(other); !errors.As(err, &conflict) || conflict.Seq != first.Seq || conflict.ID != first.ID {
		t.Fatalf("other request under the key of event %d: %v", first.Seq, err)
	}
}

// Query reads with a random query and compares with a filter over the list.
func (m *model) Query(t *rapid.T) {
	q := batpak.Query{
		Entity:       rapid.SampledFrom(append([]string{"", "", "nobody"}, modelEntities...)).Draw(t, "entity"),
		EntityPrefix: rapid.SampledFrom([]string{"", "", "a", "a:", "gr", "z"}).Draw(t, "prefix"),
		Scope:        rapid.SampledFrom([]string{"", "", "eu", "us", "none"}).Draw(t, "scope"),
		Kinds:        rapid.SliceOfN(rapid.SampledFrom(modelKinds), 0, 2).Draw(t, "kinds"),
		Tags:         rapid.SliceOfN(rapid.SampledFrom(append([]string{"none"}, modelTags...)), 0, 2).Draw(t, "tags"),
		After:        rapid.Uint64Range(0, m.shown+2).Draw(t, "after"),
		Limit:        rapid.IntRange(0, 6).Draw(t, "limit"),
		Reverse:      rapid.Bool().Draw(t, "reverse"),
		Borrow:       rapid.Bool().Draw(t, "borrow"),
	}
	if rapid.Bool().Draw(t, "bounded") {
		q.Before = rapid.Uint64Range(1, m.shown+2).Draw(t, "before")
	}
	if rapid.Bool().Draw(t, "of a lane") {
		lane := rapid.Uint32Range(0, 3).Draw(t, "lane")
		q.Lane = &lane
	}
	want := m.selects(&q)
	n := 0
	for ev, err := range m.st.Read(context.Background(), q) {
		switch {
		case err != nil:
			t.Fatal(err)
		case n == len(want):
			t.Fatalf("query %+v: event %d is one too many", q, ev.Seq)
		}
		if err := sameEvent(&ev, &want[n].Event); err != nil {
			t.Fatalf("query %+v: %v", q, err)
		}
		n++
	}
	if n < len(want) {
		t.Fatalf("query %+v: %d events, want %d", q, n, len(want))
	}
}

// selects is what a query means, the slow way.
func (m *model) selects(q *batpak.Query) []told {
	var out []told
	for _, w := range m.visible() {
		if w.Seq > q.After && (q.Before == 0 || w.Seq < q.Before) && matches(q, &w.Event) {
			out = append(out, w)
		}
	}
	if q.Reverse {
		slices.Reverse(out)
	}
	if q.Limit > 0 {
		out = out[:min(q.Limit, len(out))]
	}
	return out
}

// Reopen closes the store, or kills its process, takes caches away, and opens it again with other options.
func (m *model) Reopen(t *rapid.T) {
	m.settle()
	if rapid.Bool().Draw(t, "clean") {
		if err := m.close(); err != nil {
			t.Fatal(err)
		}
	} else {
		m.kill()
	}
	switch rapid.SampledFrom([]string{"", "", "footers", "anchor", "caches"}).Draw(t, "lose") {
	case "caches":
		m.loseCaches(t)
	case "footers":
		cutFooters(m.mem)
	case "anchor":
		if m.opts.Sync == batpak.SyncAlways { // otherwise it says which sequences were shown
			m.mem.DeleteFile("anchor")
		}
	}
	m.fences, m.frontier = nil, batpak.Frontier{}
	m.opts.SegmentSize = rapid.SampledFrom([]int64{4 << 10, 6 << 10, 64 << 10}).Draw(t, "segment size")
	m.opts.FillAhead = rapid.SampledFrom([]int64{-1, 1 << 10}).Draw(t, "fill")
	if err := m.open(); err != nil {
		t.Fatal(err)
	}
}

// PowerCut leaves the disk in one of the states that a power failure may, and opens it: what was promised is there, and
// the rest of the model's list is cut to what is left.
func (m *model) PowerCut(t *rapid.T) {
	m.settle()
	m.kill()
	ops := m.mem.OpCount()
	o := vfs.StateOptions{Workload: "model", Random: 3, MaxTorn: 2, MaxEach: 4, Settled: func(name string) bool { return name == ".lock" }}
	states := slices.Collect(m.mem.CrashStates(ops, o))
	state := rapid.SampledFrom(states).Draw(t, "state")
	c := m.claimAt(m.history(), ops)
	m.mem = state.FS()
	m.fates, m.fences, m.frontier = nil, nil, batpak.Frontier{} // the claim holds on to what was promised before
	if err := m.open(); err != nil {
		t.Fatalf("%s: %v", state.Name, err)
	}
	n, shown, err := c.holds(m.st)
	if err != nil {
		t.Fatalf("%s: %v", state.Name, err)
	}
	m.told = settled(c.want[:n], shown)
	for i := range m.told {
		m.told[i].begun, m.told[i].acked, m.told[i].durable = -1, 0, 0
	}
}

// Check compares everything, in every way.
func (m *model) Check(t *rapid.T) {
	if err := chained(m.history()); err != nil {
		t.Fatal(err)
	}
	h := m.history()
	c := claim{want: h, least: len(h), most: len(h), shown: m.shown, reader: m.staging() > 0}
	if c.reader {
		c.least = 0
	}
	if _, _, err := c.holds(m.st); err != nil {
		t.Fatal(err)
	}
}

// setRapid gives the checks of a model the sizes and the seed of this run, where no flag says otherwise.
func setRapid(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"rapid.checks": strconv.Itoa(envInt(t, "BATPAK_CHECKS", sized(60, 200, 20_000))), "rapid.steps": "40",
		"rapid.nofailfile": "true", "rapid.seed": fmt.Sprint(seed(t)),
	} {
		if f := flag.Lookup(name); f.Value.String() == f.DefValue {
			if err := flag.Set(name, value); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestModel makes random calls and compares a store with a list.
func TestModel(t *testing.T) {
	setRapid(t)
	events := 0
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever}).Draw(t, "mode")
		m := &model{rig: newRig(batpak.Options{Sync: mode})}
		if err := m.open(); err != nil {
			t.Fatal(err)
		}
		defer m.kill()
		t.Repeat(map[string]func(*rapid.T){
			"append": m.Append, "append more": m.Append, "batch": m.Batch, "retry": m.Retry, "query": m.Query,
			"query more": m.Query, "reopen": m.Reopen, "power cut": m.PowerCut, "check": m.Check,
			"open fence": m.OpenFence, "append fenced": m.AppendFenced, "append more fenced": m.AppendFenced, "end fence": m.EndFence,
			"unless": m.Unless, "submit": m.Submit, "flush": m.Flush, "frontier": m.Frontier,
		})
		m.Check(t)
		events += len(m.told)
	})
	t.Logf("%d events at the end of all runs", events)
}
