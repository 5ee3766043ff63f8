package batpak_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"batpak"
	"batpak/event"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A laneModel is a [model] that forks.
type laneModel struct {
	*model
	keyed []keyedFork
}

// A keyedFork can be retried.
type keyedFork struct {
	at    event.ID
	draft batpak.Draft
	first batpak.Receipt
}

// drawFrom draws an event to branch from, and a draft of its entity; ok is false before the first event.
func (m *laneModel) drawFrom(t *rapid.T) (from told, d batpak.Draft, ok bool) {
	if len(m.told) == 0 {
		return from, d, false
	}
	from = rapid.SampledFrom(m.history()).Draw(t, "from")
	d = m.draft(from.Coordinate, rapid.SampledFrom([]int{0, 0, 300, 1400}).Draw(t, "size"))
	if rapid.IntRange(0, 3).Draw(t, "with a depth") == 0 {
		d.Depth = rapid.Uint32Range(1, 9).Draw(t, "depth")
	}
	return from, d, true
}

// top returns the highest lane of an entity.
func (m *laneModel) top(entity string) (top uint32) {
	for i := range m.told {
		if m.told[i].Coordinate.Entity() == entity {
			top = max(top, m.told[i].Lane)
		}
	}
	return top
}

// Fork lets the store choose the lane.
func (m *laneModel) Fork(t *rapid.T) {
	from, d, ok := m.drawFrom(t)
	if !ok {
		return
	}
	if rapid.Bool().Draw(t, "keyed") {
		m.keys++
		d.IdempotencyKey = []byte("fork " + strconv.Itoa(m.keys))
	}
	want := m.top(from.Coordinate.Entity()) + 1
	rcpt, err := m.fork(from.ID, d)
	if err != nil || rcpt.Lane != want || rcpt.Clock != 1 {
		t.Fatalf("fork from event %d: %+v, %v, want lane %d", from.Seq, rcpt, err, want)
	}
	m.show(t, rcpt)
	if d.IdempotencyKey != nil {
		m.keyed = append(m.keyed, keyedFork{from.ID, d, rcpt})
	}
}

// Named forks to a lane that the caller names, which may be in use.
func (m *laneModel) Named(t *rapid.T) {
	from, d, ok := m.drawFrom(t)
	if !ok {
		return
	}
	d.Fork, d.Lane = from.ID, rapid.Uint32Range(1, 12).Draw(t, "lane")
	have := m.clock(&d, nil)
	rcpt, err := m.append(d)
	var conflict *batpak.ConflictError
	switch {
	case have == 0 && err == nil:
		m.show(t, rcpt)
	case have == 0 || !errors.As(err, &conflict) || conflict.Have != have || conflict.Want != batpak.Absent():
		t.Fatalf("fork to lane %d with %d events: %v", d.Lane, have, err)
	}
}

// Grow appends to a lane that is there.
func (m *laneModel) Grow(t *rapid.T) {
	from, d, ok := m.drawFrom(t)
	if !ok {
		return
	}
	d.Lane = from.Lane
	rcpt, err := m.append(d)
	if err != nil {
		t.Fatal(err)
	}
	m.show(t, rcpt)
}

// Batches forks and goes on in one batch.
func (m *laneModel) Batches(t *rapid.T) {
	from, first, ok := m.drawFrom(t)
	if !ok {
		return
	}
	first.Fork, first.Lane, first.Payload = from.ID, m.top(from.Coordinate.Entity())+rapid.Uint32Range(1, 3).Draw(t, "lane"), first.Payload[:min(200, len(first.Payload))]
	drafts := []batpak.Draft{first}
	for range rapid.IntRange(0, 3).Draw(t, "more") {
		next := m.draft(from.Coordinate, 0)
		next.Lane = rapid.SampledFrom([]uint32{0, from.Lane, first.Lane}).Draw(t, "on")
		drafts = append(drafts, next)
	}
	receipts, err := m.batch(drafts)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range receipts {
		m.show(t, r)
	}
}

// Retry repeats a keyed fork.
func (m *laneModel) Retry(t *rapid.T) {
	m.keyed = slices.DeleteFunc(m.keyed, func(k keyedFork) bool { // a power failure took some
		return !slices.ContainsFunc(m.told, func(t told) bool { return t.ID == k.first.ID })
	})
	if len(m.keyed) == 0 {
		return
	}
	k := rapid.SampledFrom(m.keyed).Draw(t, "keyed")
	k.first.Replayed = true
	if got, err := m.fork(k.at, k.draft); err != nil || got != k.first {
		t.Fatalf("retry: %+v, %v, want %+v", got, err, k.first)
	}
}

// Branches compares lanes, heads and branches with what they mean.
func (m *laneModel) Branches(t *rapid.T) {
	if err := (&generation{told: m.history()}).tellsLanes(m.st); err != nil {
		t.Fatal(err)
	}
}

// TestModelOfLanes makes random forks and appends over closes, kills and power failures, and compares with a list.
func TestModelOfLanes(t *testing.T) {
	setRapid(t)
	events, forks := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		mode := rapid.SampledFrom([]batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever}).Draw(t, "mode")
		m := &laneModel{model: &model{rig: newRig(batpak.Options{Sync: mode})}}
		if err := m.open(); err != nil {
			t.Fatal(err)
		}
		defer m.kill()
		t.Repeat(map[string]func(*rapid.T){
			"append": m.Append, "fork": m.Fork, "fork more": m.Fork, "named fork": m.Named, "grow": m.Grow, "grow more": m.Grow,
			"batch": m.Batches, "retry": m.Retry, "branches": m.Branches, "query": m.Query, "reopen": m.Reopen, "power cut": m.PowerCut,
		})
		m.Branches(t)
		m.Check(t)
		for i := range m.told {
			if events++; !m.told[i].Fork.IsZero() {
				forks++
			}
		}
	})
	if t.Logf("%d events, %d forks at the end of all runs", events, forks); forks == 0 {
		t.Error("no forks")
	}
}

// A lane that branches from what is not in the log any more, or whose first event is not, is an error, and not a lane
// that branches from nothing.
func TestBranchFromWhatIsGone(t *testing.T) {
	known, gone := event.NewID(1<<20, 1), event.NewID(1<<20, 2)
	const entity = "plain"
	for _, tc := range []struct {
		name   string
		lane   uint32
		events []event.Header // sequences, IDs and stamps are their places
		at     event.ID       // of the error
		want   error
	}{
		{"whole", 1, []event.Header{{ID: known, Clock: 1}, {Lane: 1, Clock: 1, Fork: known}}, event.ID{}, nil},
		{"branches from nothing", 1, []event.Header{{Lane: 1, Clock: 1}}, event.ID{}, nil},
		{"lane 0 without its beginning", 0, []event.Header{{Clock: 9}}, event.ID{}, nil},
		{"event is gone", 1, []event.Header{{ID: known, Clock: 2}, {Lane: 1, Clock: 1, Fork: gone}}, gone, batpak.ErrNotFound},
		{"first event is gone", 1, []event.Header{{ID: known, Clock: 1}, {Lane: 1, Clock: 2}}, event.ID{}, batpak.ErrNotFound},
		{"event is gone further up", 2, []event.Header{{ID: known, Lane: 1, Clock: 1, Fork: gone}, {Lane: 2, Clock: 1, Fork: known}}, gone, batpak.ErrNotFound},
		{"first event is gone further up", 2, []event.Header{{ID: known, Lane: 1, Clock: 3}, {Lane: 2, Clock: 1, Fork: known}}, event.ID{}, batpak.ErrNotFound},
		{"forged: from its own lane", 1, []event.Header{{ID: known, Lane: 1, Clock: 1, Fork: known}}, known, batpak.ErrInvalid},
		{"forged: from a later event", 1, []event.Header{{Lane: 1, Clock: 1, Fork: known}, {ID: known, Clock: 1}}, known, batpak.ErrInvalid},
	} {
		t.Run(tc.name, func(t *testing.T) {
			set := logOf(t, tc.events)
			defer set.Close()
			v := set.Acquire()
			defer v.Release()
			err := batpak.Ancestry(v, entity, tc.lane)
			if tc.want == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var fork *batpak.ForkError
			if !errors.As(err, &fork) || !errors.Is(err, tc.want) || !errors.Is(err, batpak.ErrFork) || fork.Event != tc.at || fork.Entity != entity {
				t.Errorf("%v, want a *ForkError at %v with %v", err, tc.at, tc.want)
			}
		})
	}
	st := openAt(t, t.TempDir(), nil)
	for _, err := range st.Branch(context.Background(), "", 1) {
		if !errors.Is(err, batpak.ErrInvalid) {
			t.Errorf("branch of no entity: %v", err)
		}
	}
	mustClose(t, st)
	for _, err := range st.Branch(context.Background(), entity, 1) {
		if !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("branch of a closed store: %v", err)
		}
	}
}

// logOf returns a segment in memory with events as only damage, forgery or eviction leaves them.
func logOf(t *testing.T, events []event.Header) *index.Set {
	t.Helper()
	dir, err := vfs.NewMem().OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	h := segment.Header{Segment: 1, FirstSeq: 1}
	f, err := dir.Create(segment.Name(1))
	if err != nil {
		t.Fatal(err)
	}
	active, seal, buf := index.NewActive(&h, f), segment.NewSeal(h.Salt), segment.AppendHeader(nil, &h)
	for i, e := range events {
		e.Seq, e.HLC, e.Coordinate, e.Kind = uint64(i+1), event.HLC(1<<20+i), plain("").Coordinate, kindOne
		if e.ID.IsZero() {
			e.ID = event.NewID(e.HLC, uint64(100+i))
		}
		at := len(buf)
		body := append(event.AppendMeta(nil, &e), make([]byte, event.HashLen)...)
		buf = seal.AppendFrame(buf, int64(at), segment.TypeEvent, 0, 0, body)
		raw, err := event.DecodeBody(body)
		if err != nil {
			t.Fatal(err)
		}
		if err := active.Add(&raw, uint32(at), uint32(len(buf)-at)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.WriteAt(buf, 0); err != nil {
		t.Fatal(err)
	}
	active.Publish()
	set := index.NewSet(nil, active)
	set.SetVisible(uint64(len(events)))
	return set
}
