package coldstart

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// TestReadBesideCompaction opens read-only, and verifies, before each call of a compaction, and of a resolving open.
func TestReadBesideCompaction(t *testing.T) {
	for i := range reworks {
		m := vfs.NewMem()
		var reads atomic.Int64 // several segments are read at once
		var want model
		look := func(c vfs.Call) vfs.Decision {
			if want == nil || c.Kind == vfs.OpRead {
				return vfs.Decision{}
			}
			reads.Add(1)
			if got, report, err := reopen(m, true); err != nil || !maps.Equal(got, want) {
				t.Errorf("%s, before %v %s: %d events, want %d, %v\n%v", reworks[i].name, c.Kind, c.Name, len(got), len(want), err, report)
			}
			if report, err := Verify(context.Background(), VerifyConfig{FS: m, Dir: vfs.MemDir}); err != nil || !report.Clean() {
				t.Errorf("%s, before %v %s: %v, %v", reworks[i].name, c.Kind, c.Name, report, err)
			}
			return vfs.Decision{}
		}
		s := fourSegments(t, vfs.Inject(m, look))
		want = s.events
		if _, err := reworks[i].run(s, stepFinished); err != nil {
			t.Fatal(err)
		}
		want = nil
		s.crash()
		for step := stepPrepared; step <= stepPlaced; step++ {
			var all model
			if m, all = reworks[i].stopped(t, step); true {
				want = all
			}
			if _, _, err := reopen(vfs.Inject(m, look), false); err != nil {
				t.Fatal(err)
			}
			want = nil
		}
		t.Logf("%s: %d looks", reworks[i].name, reads.Load())
	}
}

// TestCompactionBesideReader carries a compaction on, to one step or another, before each call of a read-only open.
func TestCompactionBesideReader(t *testing.T) {
	compactionBeside(t, func(s *testStore, fsys vfs.FS) error {
		got, report, err := reopen(fsys, true)
		if err != nil || !maps.Equal(got, s.events) {
			return fmt.Errorf("%d events, want %d, %v\n%v", len(got), len(s.events), err, report)
		}
		return nil
	})
}

// TestCompactionBesideVerify does the same before each call of a verification.
func TestCompactionBesideVerify(t *testing.T) {
	compactionBeside(t, func(s *testStore, fsys vfs.FS) error {
		report, err := Verify(context.Background(), VerifyConfig{FS: fsys, Dir: vfs.MemDir})
		if err != nil || !report.Clean() || report.Events != uint64(len(s.events)) {
			return fmt.Errorf("want %d events: %v\n%v", len(s.events), err, report)
		}
		return nil
	})
}

// compactionBeside carries a compaction on, to one step or another, before each call of look.
func compactionBeside(t *testing.T, look func(*testStore, vfs.FS) error) {
	for i := range reworks {
		tried := 0
		for from := 0; from <= stepPlaced; from++ {
			for to := from + 1; to <= stepFinished; to++ {
				for n := 1; ; n += sample(2) {
					calls, err := besideReader(t, &reworks[i], from, to, n, look)
					if err != nil {
						t.Fatalf("%s, from step %d to %d before call %d: %v", reworks[i].name, from, to, n, err)
					}
					if tried++; calls < n {
						break
					}
				}
			}
		}
		t.Logf("%s: %d looks", reworks[i].name, tried)
	}
}

// besideReader looks where w has come to a step; before the nth call w goes on to another one.
func besideReader(
	t testing.TB, w *rework, from, to, n int, look func(*testStore, vfs.FS) error,
) (calls int, err error) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	ctx, files := context.Background(), w.files(s)
	var r *Replacement
	steps := []func() error{
		func() (err error) { r, err = s.st.PrepareReplacement(ctx, 7, w.sources); return err },
		func() error { return w.write(r, files) },
		func() error { return r.Commit(ctx) },
		func() error { return r.Place(ctx) },
		func() error { return r.Finish() },
	}
	take := func(steps []func() error) {
		for _, step := range steps {
			if err := step(); err != nil {
				t.Fatalf("%v", err)
			}
		}
	}
	take(steps[:from])
	faulty := vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if c.Index == n {
			take(steps[from:to])
		}
		return vfs.Decision{}
	})
	if err := look(s, faulty); err != nil {
		return 0, err
	}
	s.crash()
	return faulty.Count(), nil
}

// TestReaderKeepsItsFiles has a reader that looked while the results had their temporary names: it finds them later.
func TestReaderKeepsItsFiles(t *testing.T) {
	w := &reworks[1]
	m := vfs.NewMem()
	s := fourSegments(t, m)
	r, err := w.run(s, stepCommitted)
	if err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(m)
	cfg.ReadOnly = true
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	look := func() {
		t.Helper()
		entries, err := st.Dir.List()
		if err != nil || len(entries) != 7 { // three segments and what stands beside them
			t.Errorf("List = %v, %v", entries, err)
		}
		for _, id := range []uint64{2, 3} {
			e, err := st.Dir.Stat(segment.Name(id))
			if err != nil || e.Name != segment.Name(id) || e.Size != int64(len(resultBytes(m, id))) {
				t.Errorf("Stat = %v, %v", e, err)
			}
			mapped, err := st.Dir.Map(segment.Name(id))
			if err != nil || int64(mapped.Len()) != e.Size {
				t.Errorf("Map = %v", err)
			}
			mapped.Close()
		}
		if got, err := readAll(st); err != nil || !maps.Equal(got, s.events) {
			t.Errorf("%d events, %v", len(got), err)
		}
	}
	look()
	if err := r.Place(context.Background()); err != nil {
		t.Fatal(err)
	}
	look()
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	s.crash()
}

// resultBytes returns the bytes of a result, wherever it is.
func resultBytes(m *vfs.Mem, id uint64) []byte {
	if b, ok := m.Files()[resultName(id)]; ok {
		return b
	}
	return m.Files()[segment.Name(id)]
}
