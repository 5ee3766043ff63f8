package coldstart

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"batpak/idemp"
	"batpak/index"
	"batpak/internal/vfs"
)

// A headCase is a compaction of the two oldest segments. The first one holds one event of each of three streams: the last
// one of the third stream, unless what stands behind the second segment says otherwise.
type headCase struct {
	name    string
	behind  func(s *testStore) // writes what stands behind the second segment
	evicts  bool               // the compaction takes the oldest segment
	refused bool
}

var headCases = []headCase{
	{"nothing follows", func(s *testStore) { s.append(2) }, true, true},
	{"the head is kept", func(s *testStore) { s.append(2) }, false, false},
	{"one follows", func(s *testStore) { s.append(3) }, true, false},
	{"one follows in an older segment", func(s *testStore) { s.append(3); s.rotate(); s.append(1) }, true, false},
	{"one follows, not durable", func(s *testStore) { s.append(2); s.write(s.group(3, false, 16)) }, true, true},
	{"one follows behind an open fence", func(s *testStore) { s.staged = true; s.append(3) }, true, false},
	{"one follows, hidden for ever", func(s *testStore) { s.append(3); s.st.Hidden = s.st.Hidden.Add(8, 9) }, true, false},
}

// two returns a store of two sealed segments, {e0 e1 e2} and {e0 e1}, and what c puts behind them.
func (c *headCase) two(t testing.TB, m *vfs.Mem) *testStore {
	s := openTest(t, testConfig(m))
	s.keyed = func(uint64) bool { return true }
	for _, n := range []int{3, 2} {
		s.append(n)
		s.seal(s.rotate())
	}
	c.behind(s)
	return s
}

// run carries the compaction out. It says what is wrong, or "".
func (c *headCase) run(t testing.TB) string {
	m := vfs.NewMem()
	s := c.two(t, m)
	w := &reworks[0]
	if c.evicts {
		w = &evictions[0]
	}
	r, err := w.run(s, stepWritten)
	if err != nil {
		return err.Error()
	}
	heads := maps.Clone(s.heads)
	err = r.Commit(context.Background())
	var head *HeadEvictedError
	switch {
	case !c.refused && err != nil:
		return fmt.Sprintf("Commit = %v", err)
	case !c.refused:
		err = errors.Join(r.Place(context.Background()), r.Finish())
	case !errors.As(err, &head) || !errors.Is(err, ErrHeadEvicted):
		return fmt.Sprintf("Commit = %v, want %v", err, ErrHeadEvicted)
	case *head != HeadEvictedError{Entity: "e2", Seq: 3, Clock: 1} || !strings.Contains(err.Error(), `event 3 of "e2"`):
		return fmt.Sprintf("Commit = %v, want the last event of e2", err)
	case m.Files()[idemp.FileName] != nil:
		return "keys have moved"
	default:
		err = r.Abandon()
	}
	if err != nil {
		return err.Error()
	}
	s.sync()
	s.crash()
	return sameHeads(m, heads)
}

// sameHeads opens the directory by each rung, to read and to write, and says which stream does not end where it did.
func sameHeads(m *vfs.Mem, heads map[string]index.Head) string {
	for _, cfg := range []Config{{}, {NoSnapshot: true}, {NoSnapshot: true, NoCheckpoint: true}} {
		for _, readOnly := range []bool{true, false} {
			o := testConfig(m.Clone())
			o.NoSnapshot, o.NoCheckpoint, o.ReadOnly = cfg.NoSnapshot, cfg.NoCheckpoint, readOnly
			if why := headsOf(o, heads); why != "" {
				return why
			}
		}
	}
	return ""
}

func headsOf(cfg Config, heads map[string]index.Head) string {
	st, err := Open(context.Background(), cfg)
	if err != nil {
		return err.Error()
	}
	defer st.Close()
	v := st.Set.AcquireAll()
	defer v.Release()
	for entity, want := range heads {
		if got, ok, err := v.Head(entity, 0); err != nil || !ok || got != want {
			return fmt.Sprintf("head of %s: %+v, %v, %v, want %+v", entity, got, ok, err, want)
		}
	}
	return ""
}

// TestWeaknessW16_HeadsStay: no compaction takes the last event of a stream, nor the last one that a crash would leave
// there. Nothing of one that would is committed.
func TestWeaknessW16_HeadsStay(t *testing.T) {
	for i := range headCases {
		t.Run(headCases[i].name, func(t *testing.T) {
			if why := headCases[i].run(t); why != "" {
				t.Error(why)
			}
		})
	}
}

// TestHeadRefusalIsForNow: once the event behind is durable, the same compaction is committed.
func TestHeadRefusalIsForNow(t *testing.T) {
	c := headCase{behind: func(s *testStore) { s.append(2); s.write(s.group(3, false, 16)) }}
	s := c.two(t, vfs.NewMem())
	r, err := evictions[0].run(s, stepWritten)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(t.Context()); !errors.Is(err, ErrHeadEvicted) {
		t.Fatalf("Commit = %v", err)
	}
	s.sync()
	if err := r.Commit(t.Context()); err != nil {
		t.Errorf("Commit after the sync = %v", err)
	}
	s.crash()
}
