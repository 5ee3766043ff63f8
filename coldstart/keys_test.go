package coldstart

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"batpak/event"
	"batpak/hidden"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/vfs"
)

// evictions are compactions that take the oldest segments out of the log. They hold five events each.
var evictions = []rework{
	{"the first one goes", []uint64{1, 2}, map[uint64][]uint64{2: {2}}, []uint64{1}},
	{"two go", []uint64{1, 2, 3}, map[uint64][]uint64{3: {3}}, []uint64{1, 2}},
}

// without returns m without the events of the first n segments.
func (m model) without(n int) model {
	kept := maps.Clone(m)
	for seq := range m {
		if seq <= uint64(5*n) {
			delete(kept, seq)
		}
	}
	return kept
}

// keyedSegments is fourSegments, with a key on two events of three, and a window.
func keyedSegments(t testing.TB, fs vfs.FS, window uint64) *testStore {
	cfg := testConfig(fs)
	cfg.IdempotencyWindow = window
	s := openTest(t, cfg)
	s.keyed = func(seq uint64) bool { return seq%3 > 0 }
	s.fill()
	return s
}

// answer returns what a retry under a key is told: at most one entry, and every field of it.
func answer(st *State, key [16]byte) (e idemp.Entry, ok bool, err error) {
	v := st.Set.Acquire()
	defer v.Release()
	var raw event.Raw
	found, err := v.FindKey(&raw, key, idemp.WindowStart(v.Visible(), st.cfg.IdempotencyWindow), st.Hidden.Contains)
	if err != nil {
		return e, false, err
	}
	if !found {
		raw = event.Raw{}
	}
	e, ok, err = st.EvictedKey(key)
	if err != nil || ok && e.Seq >= raw.Seq && !st.Hidden.Contains(e.Seq) || !found {
		return e, ok, err
	}
	var parent event.Hash
	if raw.Clock > 1 {
		lane := raw.Lane
		cur := v.Scan(index.Query{Entity: string(raw.Entity), Lane: &lane, Before: raw.Seq, Reverse: true}, true)
		defer cur.Close()
		if !cur.Next() || cur.Raw().Clock != raw.Clock-1 {
			return e, false, errors.Join(cur.Err(), fmt.Errorf("the parent of %d is gone", raw.Seq))
		}
		parent = cur.Raw().Hash
	}
	return idemp.EntryOf(&raw, parent), true, nil
}

// answers says which of the keys in want has another answer than it should, or "". Those below from may be unknown.
func answers(st *State, want map[uint64]idemp.Entry, from uint64) string {
	for seq := uint64(1); seq <= st.LastSeq+3; seq++ {
		got, ok, err := answer(st, keyOf(seq).Hash)
		e, keyed := want[seq]
		switch {
		case err != nil:
			return fmt.Sprintf("key of %d: %v", seq, err)
		case ok && (!keyed || got != e):
			return fmt.Sprintf("key of %d: %+v, want %+v", seq, got, e)
		case !ok && keyed && seq >= from:
			return fmt.Sprintf("key of %d is not known", seq)
		}
	}
	return ""
}

// keysResolve opens a directory after a crash of an eviction: the log is the one before or the one behind it, and each
// key of both is known.
func keysResolve(m *vfs.Mem, s *testStore, w *rework) string {
	cfg := testConfig(m)
	cfg.IdempotencyWindow = s.cfg.IdempotencyWindow
	st, err := Open(context.Background(), cfg)
	if err != nil {
		return err.Error()
	}
	defer st.Close()
	got, err := readAll(st)
	if err != nil || !maps.Equal(got, s.events) && !maps.Equal(got, s.events.without(len(w.evicted))) {
		return fmt.Sprintf("%d events of %d, %v\n%v", len(got), len(s.events), err, st.Report)
	}
	if why := answers(st, s.entries, idemp.WindowStart(s.seq, cfg.IdempotencyWindow)); why != "" {
		return fmt.Sprintf("%s\n%v", why, st.Report)
	}
	return unresolved(m)
}

// crashEviction crashes after each operation of a compaction that evicts events, and inside the open behind some.
func crashEviction(t testing.TB, w *rework, window uint64) (states int, why string) {
	m := vfs.NewMem()
	s := keyedSegments(t, m, window)
	from := m.OpCount()
	if _, err := w.run(s, stepFinished); err != nil {
		return 0, err.Error()
	}
	s.crash()
	outer, inner := compactionStates(w.name), compactionStates("resolve")
	outer.MaxTorn, inner.MaxTorn, inner.Random, inner.MaxEach = 3, 1, 1, 4
	for ops := from; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, outer) {
			if states++; states%sample(1) > 0 {
				continue
			}
			again := state.FS()
			if why := keysResolve(again, s, w); why != "" {
				return states, state.Name + ": " + why
			}
			if sum := state.Hash(); int(sum[0])%sample(24) > 0 {
				continue
			}
			for ops := 0; ops <= again.OpCount(); ops++ {
				for inside := range again.CrashStates(ops, inner) {
					states++
					if why := keysResolve(inside.FS(), s, w); why != "" {
						return states, fmt.Sprintf("%s, %s: %s", state.Name, inside.Name, why)
					}
				}
			}
		}
	}
	return states, ""
}

// TestWeaknessW13_KeysAreMovedBeforeTheirEventsGo crashes compactions that evict events anywhere: each key of the window
// is found afterwards, once, with every field of its receipt.
func TestWeaknessW13_KeysAreMovedBeforeTheirEventsGo(t *testing.T) {
	for i := range evictions {
		for _, window := range []uint64{0, 14} {
			states, why := crashEviction(t, &evictions[i], window)
			if why != "" {
				t.Errorf("%s, window %d: %s", evictions[i].name, window, why)
			}
			t.Logf("%s, window %d: %d states", evictions[i].name, window, states)
		}
	}
}

// TestKeysMove looks at index.idemp after evictions, one behind the other: what the window has left behind is not in it,
// nor is a hidden event; a live event is, when the one before it went.
func TestKeysMove(t *testing.T) {
	m := vfs.NewMem()
	s := keyedSegments(t, m, 14) // of 17: the keys from 4 on
	gone := uint64(5)
	s.st.Hidden = hidden.Set{}.Add(gone, gone+1)
	if _, err := evictions[0].run(s, stepFinished); err != nil {
		t.Fatal(err)
	}
	want := map[uint64]bool{4: true, 7: true, 8: true} // 6, the next of the first stream, has no key
	for e, err := range s.st.evicted.table.All() {
		if err != nil || !want[e.Seq] || e != s.entries[e.Seq] {
			t.Errorf("entry %+v, %v, want %+v", e, err, s.entries[e.Seq])
		}
		delete(want, e.Seq)
	}
	if len(want) > 0 {
		t.Errorf("no entries for %v", want)
	}
	delete(s.entries, gone)
	if why := answers(s.st, s.entries, 4); why != "" {
		t.Error(why)
	}
	s.crash()
	maps.DeleteFunc(s.entries, func(seq uint64, _ idemp.Entry) bool { return seq < 4 })
	// What was moved once moves on: its parent is in the file alone.
	cfg := testConfig(m)
	cfg.IdempotencyWindow = 1000
	again := openTest(t, cfg)
	again.entries = s.entries
	second := rework{"the next one goes", []uint64{2, 3}, map[uint64][]uint64{3: {3}}, []uint64{2}}
	if _, err := second.run(again, stepFinished); err != nil {
		t.Fatal(err)
	}
	if why := answers(again.st, s.entries, 7); why != "" {
		t.Error(why)
	}
	again.crash()
	if why := keysResolve(m, again, &rework{evicted: []uint64{1, 2}}); why != "" {
		t.Error(why)
	}
}

// TestKeysStayWhereEventsStay: a compaction that evicts nothing writes no index.idemp.
func TestKeysStayWhereEventsStay(t *testing.T) {
	for i := range reworks {
		m := vfs.NewMem()
		s := keyedSegments(t, m, 0)
		if _, err := reworks[i].run(s, stepFinished); err != nil {
			t.Fatal(err)
		}
		if why := answers(s.st, s.entries, 1); why != "" || m.Files()[idemp.FileName] != nil {
			t.Errorf("%s: %s, %d bytes of keys", reworks[i].name, why, len(m.Files()[idemp.FileName]))
		}
		s.crash()
	}
}

// TestKeysDamagedStopCompaction: the keys that a damaged file holds cannot be taken over, so nothing is evicted; who goes
// on without them does not know those of the damaged page, and no others.
func TestKeysDamagedStopCompaction(t *testing.T) {
	m := vfs.NewMem()
	s := keyedSegments(t, m, 0)
	if _, err := evictions[0].run(s, stepFinished); err != nil {
		t.Fatal(err)
	}
	s.crash()
	b := m.Files()[idemp.FileName]
	b[5000] ^= 1
	m.SetFile(idemp.FileName, b)
	for _, goOn := range []bool{false, true} {
		cfg := testConfig(m)
		cfg.ContinueWithoutIdemp = goOn
		again := openTest(t, cfg)
		before := maps.Clone(again.events)
		_, ok, err := again.st.EvictedKey(keyOf(1).Hash)
		if ok || goOn != (err == nil) || !goOn && !errors.Is(err, idemp.ErrDamaged) {
			t.Errorf("going on %v: EvictedKey = %v, %v", goOn, ok, err)
		}
		second := rework{"the next one goes", []uint64{2, 3}, map[uint64][]uint64{3: {3}}, []uint64{2}}
		if _, err := second.run(again, stepFinished); !errors.Is(err, idemp.ErrDamaged) {
			t.Errorf("going on %v: compaction = %v", goOn, err)
		}
		again.crash()
		if got, _, err := reopen(m, false); err != nil || !maps.Equal(got, before) {
			t.Errorf("going on %v: %d events, want %d, %v", goOn, len(got), len(before), err)
		}
	}
}

// TestKeysMoveWithLittleMemory: what a compaction does not remember of the streams it looks up, and finds the same.
func TestKeysMoveWithLittleMemory(t *testing.T) {
	for i := range evictions {
		s := keyedSegments(t, vfs.NewMem(), 0)
		r, err := evictions[i].run(s, stepWritten)
		if err != nil {
			t.Fatal(err)
		}
		log, err := readLog(t.Context(), viewReplaced(s.st.Dir, &pendingRecord{sources: r.c.rec.sources}, r.written), s.st.StoreID)
		if err != nil {
			t.Fatal(err)
		}
		v := s.st.Set.Acquire()
		found := map[int][]idemp.Entry{}
		for _, streams := range []int{1, 2, moverStreams} {
			b := idemp.NewBuilder(s.st.Dir, idemp.Update{Store: s.st.StoreID})
			if err := errors.Join(r.findKeys(t.Context(), log, newKeyMover(v, b, nil, s.seq, streams)), b.Write()); err != nil {
				t.Fatal(err)
			}
			table, err := idemp.Open(s.st.Dir, s.st.StoreID)
			if err != nil {
				t.Fatal(err)
			}
			for e := range table.All() {
				found[streams] = append(found[streams], e)
			}
			table.Close()
		}
		v.Release()
		s.crash()
		all := found[moverStreams]
		if len(all) == 0 || !slices.Equal(found[1], all) || !slices.Equal(found[2], all) {
			t.Errorf("%s: %d, %d and %d entries", evictions[i].name, len(found[1]), len(found[2]), len(all))
		}
	}
}

// TestKeysOverAnEarlierEviction: what stood between two events of a stream went before. The one behind has its entry since
// then, and gets none that names the wrong event before it.
func TestKeysOverAnEarlierEviction(t *testing.T) {
	for _, tt := range []struct {
		name    string
		clock   uint64 // of the second event
		evicted bool   // the second event, too
		want    uint64 // entries
		parent  bool   // the second one's names the first event
	}{
		{"the next one stays", 2, false, 2, true},
		{"the next one goes", 2, true, 2, true},
		{"the next but one stays", 3, false, 1, false},
		{"the next but one goes", 3, true, 2, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := openTest(t, testConfig(vfs.NewMem()))
			defer s.crash()
			v := s.st.Set.AcquireAll()
			defer v.Release()
			b := idemp.NewBuilder(s.st.Dir, idemp.Update{Store: s.st.StoreID, From: 1})
			m := newKeyMover(v, b, nil, 9, 8)
			m.hidden = func(uint64) bool { return false }
			first := event.Raw{Seq: 1, Clock: 1, Entity: []byte("e"), Flags: event.FlagKey, Key: keyOf(1), Hash: event.Hash{1}}
			second := event.Raw{Seq: 9, Clock: tt.clock, Entity: []byte("e"), Flags: event.FlagKey, Key: keyOf(9), Hash: event.Hash{9}}
			err := errors.Join(m.take(&first, true), m.take(&second, tt.evicted))
			if err != nil || uint64(b.Added()) != tt.want {
				t.Fatalf("%d entries, %v, want %d", b.Added(), err, tt.want)
			}
			if err := b.Write(); err != nil {
				t.Fatal(err)
			}
			table, err := idemp.Open(s.st.Dir, s.st.StoreID)
			if err != nil {
				t.Fatal(err)
			}
			defer table.Close()
			e, ok, err := table.Find(keyOf(9).Hash)
			if err != nil || ok != (tt.want == 2) || ok && (e.Parent == first.Hash) != tt.parent {
				t.Errorf("entry %+v, %v, %v", e, ok, err)
			}
		})
	}
}

// TestKeysBehindAnOpenFence: the event behind an evicted one is durable, and waits for its fence. It gets its entry all the
// same: when the fence is committed, nothing else knows its parent.
func TestKeysBehindAnOpenFence(t *testing.T) {
	c := headCase{behind: func(s *testStore) { s.staged = true; s.append(3) }}
	s := c.two(t, vfs.NewMem())
	if _, err := evictions[0].run(s, stepFinished); err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 2, 3, 8} { // 8 is the one behind 3
		if e, ok, err := s.st.EvictedKey(keyOf(seq).Hash); err != nil || !ok || e != s.entries[seq] {
			t.Errorf("entry of %d: %+v, %v, %v, want %+v", seq, e, ok, err, s.entries[seq])
		}
	}
	s.crash()
}
