//go:build faultinject

package coldstart

import (
	"context"
	"errors"
	"maps"
	"testing"

	"batpak/fault"
	"batpak/internal/vfs"
)

// TestEveryFaultPoint stops at each arrival at each point of this package, and opens again without the fault.
func TestEveryFaultPoint(t *testing.T) {
	counter := new(fault.Counter)
	run := func(injector fault.Injector) (m *vfs.Mem, written, durable model, err error) {
		m = vfs.NewMem()
		cfg := testConfig(m)
		cfg.Hook = fault.NewHook(injector)
		written, durable = model{}, model{}
		session := func(work func(s *testStore) error) error {
			st, err := Open(context.Background(), cfg)
			if err != nil {
				return err
			}
			s := adopt(t, st, cfg)
			err = work(s)
			maps.Copy(written, s.events)
			maps.Copy(durable, s.durable)
			return errors.Join(err, st.Close())
		}
		err = session(func(s *testStore) error {
			s.append(2)
			u, err := s.st.Rotate(s.end())
			if err != nil {
				return err
			}
			s.append(1)
			if err := s.st.Seal(context.Background(), u); err != nil {
				return err
			}
			s.write(s.group(2, true, 16))
			return nil
		})
		if err == nil {
			err = session(func(s *testStore) error { return s.st.WriteAnchor(s.end(), true) })
		}
		return m, written, durable, err
	}
	if _, _, _, err := run(counter); err != nil {
		t.Fatal(err)
	}
	for _, p := range []fault.Point{
		fault.StoreLocked, fault.MetaWritten, fault.SegmentScanned, fault.TailCopied, fault.TailSynced, fault.SegmentCreated,
		fault.FooterWritten, fault.SegmentSealed, fault.SegmentRotated, fault.AnchorWritten,
	} {
		if counter.Count(p) == 0 {
			t.Errorf("%v is never reached", p)
		}
		for n := 1; n <= counter.Count(p); n++ {
			m, written, durable, err := run(fault.At(p, n, nil))
			if !errors.Is(err, fault.ErrInjected) {
				t.Errorf("%v, arrival %d: %v", p, n, err)
			}
			got, _, err := reopen(m, false)
			if err != nil {
				t.Fatalf("%v, arrival %d: Open = %v", p, n, err)
			}
			if why := got.contains(durable) + got.prefixOf(written); why != "" {
				t.Errorf("%v, arrival %d: %s", p, n, why)
			}
		}
	}
}

// compactionPoints are the points of a compaction.
var compactionPoints = []fault.Point{
	fault.CompactionPrepared, fault.KeysWritten, fault.CompactionCommitted, fault.CompactionPlaced, fault.CompactionEnded,
}

// TestEveryPointOfACompaction fails each arrival at each point of a compaction that evicts events, and of the open that
// resolves one that died at any step; it opens again without the fault, and after any crash of that.
func TestEveryPointOfACompaction(t *testing.T) {
	for i := range evictions {
		counter := new(fault.Counter)
		if _, err := evictAt(t, &evictions[i], counter, stepFinished); err != nil {
			t.Fatal(err)
		}
		for _, p := range compactionPoints {
			if counter.Count(p) == 0 {
				t.Errorf("%v is never reached", p)
			}
			for n := 1; n <= counter.Count(p); n++ {
				s, err := evictAt(t, &evictions[i], fault.At(p, n, nil), stepFinished)
				if !errors.Is(err, fault.ErrInjected) {
					t.Errorf("%v, arrival %d: %v", p, n, err)
				}
				if why := survivesEviction(s, &evictions[i]); why != "" {
					t.Errorf("%s, %v, arrival %d: %s", evictions[i].name, p, n, why)
				}
			}
		}
		for step := stepPrepared; step <= stepPlaced; step++ {
			resolveAtPoints(t, &evictions[i], step)
		}
	}
}

// evictAt carries w out on a new store, up to a step, with an injector.
func evictAt(t *testing.T, w *rework, injector fault.Injector, step int) (*testStore, error) {
	s := keyedSegments(t, vfs.NewMem(), 0)
	s.st.cfg.Hook = fault.NewHook(injector)
	_, err := w.run(s, step)
	s.crash()
	return s, err
}

// resolveAtPoints fails each arrival at each point of the open behind a step.
func resolveAtPoints(t *testing.T, w *rework, step int) {
	for _, p := range compactionPoints {
		for n := 1; ; n++ {
			s, err := evictAt(t, w, nil, step)
			if err != nil {
				t.Fatal(err)
			}
			cfg := s.cfg
			cfg.Hook = fault.NewHook(fault.At(p, n, nil))
			st, err := Open(context.Background(), cfg)
			if err == nil {
				if err := st.Close(); err != nil {
					t.Error(err)
				}
				if n == 1 && step >= stepCommitted && (p == fault.CompactionEnded || p == fault.CompactionPlaced) {
					t.Errorf("step %d: %v is never reached", step, p)
				}
				break
			}
			if !errors.Is(err, fault.ErrInjected) {
				t.Errorf("step %d, %v, arrival %d: %v", step, p, n, err)
			}
			if why := survivesEviction(s, w); why != "" {
				t.Errorf("%s, step %d, %v, arrival %d: %s", w.name, step, p, n, why)
			}
		}
	}
}

// survivesEviction opens the directory of s as it stands, and after crashes.
func survivesEviction(s *testStore, w *rework) string {
	m := s.cfg.FS.(*vfs.Mem)
	o := compactionStates("point")
	o.Random, o.MaxTorn, o.MaxEach = 2, 1, 4
	for state := range m.CrashStates(m.OpCount(), o) {
		if why := keysResolve(state.FS(), s, w); why != "" {
			return state.Name + ": " + why
		}
	}
	return keysResolve(m, s, w)
}
