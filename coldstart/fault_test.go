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
