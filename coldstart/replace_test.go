package coldstart

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// fourSegments is a store of three sealed segments and a fourth that appends go to.
func fourSegments(t testing.TB, fs vfs.FS) *testStore { return fourSegmentsIn(t, testConfig(fs)) }

func fourSegmentsIn(t testing.TB, cfg Config) *testStore {
	s := openTest(t, cfg)
	s.fill()
	return s
}

// fill writes three segments of five events each, and begins a fourth.
func (s *testStore) fill() {
	s.t.Helper()
	for range 3 {
		s.append(3)
		s.write(s.group(2, true, 16))
		s.sync()
		s.seal(s.rotate())
	}
	s.append(activeEvents)
}

const activeEvents = 2

// A rework is a compaction by hand: which segments it replaces, and which frames its results have.
type rework struct {
	name    string
	sources []uint64
	results map[uint64][]uint64 // number of a result → the sources whose frames it takes, ascending
	evicted []uint64            // sources whose frames no result takes: the oldest ones
}

var reworks = []rework{
	{"the same again", []uint64{1, 2}, map[uint64][]uint64{1: {1}, 2: {2}}, nil},
	// The end of the merged segment is another one, so that the one behind it needs another header.
	{"two made one", []uint64{1, 2, 3}, map[uint64][]uint64{2: {1, 2}, 3: {3}}, nil},
}

// files returns the bytes of the results.
func (w *rework) files(s *testStore) map[uint64][]byte {
	s.t.Helper()
	log, err := readLog(context.Background(), s.st.Dir, s.st.StoreID)
	if err != nil {
		s.t.Fatalf("readLog = %v", err)
	}
	files := map[uint64][]byte{}
	for _, id := range slices.Sorted(maps.Keys(w.results)) {
		from := w.results[id]
		h := log.find(from[0]).header
		h.Segment = id
		if slices.Contains(w.evicted, h.Previous) {
			h.Previous, h.End = 0, 0 // the log begins here
		}
		if b, ok := files[h.Previous]; ok {
			h.End = int64(len(b))
		}
		s.cfg.Random(h.Salt[:])
		b := segment.AppendHeader(nil, &h)
		for _, source := range from {
			b = appendFrames(s.t, b, &h, s.st.Dir, log.find(source))
		}
		files[id] = b
	}
	return files
}

// appendFrames appends the frames of an older segment as frames of the segment with header h.
func appendFrames(t testing.TB, dst []byte, h *segment.Header, dir vfs.Dir, l *link) []byte {
	t.Helper()
	f, err := dir.OpenRead(segment.Name(l.id))
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer f.Close()
	seal, src := segment.NewSeal(h.Salt), segment.NewScanner(f, &l.header, l.header.Len(), l.end())
	for src.Next() {
		frame := src.Frame()
		dst = seal.AppendFrame(dst, int64(len(dst)), frame.Type, frame.Flags, 0, frame.Body)
	}
	if src.Offset() != l.end() {
		t.Fatalf("frames of segment %d end at %d, want %d", l.id, src.Offset(), l.end())
	}
	return dst
}

// The steps of a compaction.
const (
	stepPrepared = iota + 1
	stepWritten
	stepCommitted
	stepPlaced
	stepFinished
)

// run carries w out on s, up to a step.
func (w *rework) run(s *testStore, upTo int) (*Replacement, error) {
	ctx, files := context.Background(), w.files(s)
	r, err := s.st.PrepareReplacement(ctx, 7, w.sources)
	if err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		func() error { return w.write(r, files) },
		func() error { return r.Commit(ctx) },
		func() error { return r.Place(ctx) },
		r.Finish,
	} {
		if upTo--; upTo == 0 {
			break
		}
		if err := step(); err != nil {
			return r, err
		}
	}
	return r, nil
}

func (w *rework) write(r *Replacement, files map[uint64][]byte) error {
	for _, id := range slices.Sorted(maps.Keys(files)) {
		if err := r.Write(id, func(f vfs.File) error { _, err := f.WriteAt(files[id], 0); return err }); err != nil {
			return err
		}
	}
	return nil
}

// stopped returns a store in which w came to a step when the process died, and what is in it.
func (w *rework) stopped(t testing.TB, step int) (*vfs.Mem, model) {
	t.Helper()
	m := vfs.NewMem()
	s := fourSegments(t, m)
	if _, err := w.run(s, step); err != nil {
		t.Fatalf("step %d = %v", step, err)
	}
	s.crash()
	return m, s.events
}

// unresolved says which file in m a compaction has left, or "".
func unresolved(m *vfs.Mem) string {
	for name := range m.Files() {
		if name == pendingName || strings.HasSuffix(name, resultSuffix) || strings.HasSuffix(name, tempSuffix) {
			return name + " is left"
		}
	}
	return ""
}

// resolves opens a directory, as a reader and as a writer; it says what is wrong, or "".
func resolves(m *vfs.Mem, want model) string {
	before := m.Files()
	got, report, err := reopen(m, true)
	// Without a beacon nothing proves the events of the active segment, and a reader does not see them.
	if err != nil || len(got) < len(want)-activeEvents || got.prefixOf(want) != "" {
		return fmt.Sprintf("read-only: %d events, want %d, %v, %s\n%v", len(got), len(want), err, got.prefixOf(want), report)
	}
	if !sameFiles(before, m.Files()) {
		return "a reader has written"
	}
	got, report, err = reopen(m, false)
	if err != nil || !maps.Equal(got, want) {
		return fmt.Sprintf("%d events, want %d, %v\n%v", len(got), len(want), err, report)
	}
	return unresolved(m)
}

// resolvesForGood is resolves, and goes on with the store.
func resolvesForGood(t testing.TB, m *vfs.Mem, want model) string {
	if why := resolves(m, want); why != "" {
		return why
	}
	return goesOn(t, m, want)
}

// goesOn opens a store whose compaction was resolved, appends, seals, compacts again, and closes it.
func goesOn(t testing.TB, m *vfs.Mem, want model) string {
	s := openTest(t, testConfig(m))
	if !maps.Equal(s.events, want) || s.st.Report.Pending != "" {
		return fmt.Sprintf("opened again: %d events, want %d\n%v", len(s.events), len(want), s.st.Report)
	}
	s.append(1)
	for _, u := range s.st.Pending {
		s.seal(u)
	}
	log, err := readLog(context.Background(), s.st.Dir, s.st.StoreID)
	if err != nil {
		return err.Error()
	}
	last := log.older()[len(log.older())-1].id
	again := rework{"again", []uint64{last}, map[uint64][]uint64{last: {last}}, nil}
	if _, err := again.run(s, stepFinished); err != nil {
		return fmt.Sprintf("compacting again: %v", err)
	}
	s.close()
	got, report, err := reopen(m, false)
	if err != nil || !maps.Equal(got, s.events) {
		return fmt.Sprintf("after appends: %d events, want %d, %v\n%v", len(got), len(s.events), err, report)
	}
	return unresolved(m)
}

// TestReplaceByStep dies after each step.
func TestReplaceByStep(t *testing.T) {
	for _, w := range reworks {
		for step, pending := range []string{
			stepPrepared: "7 rolled back", stepWritten: "7 rolled back", stepFinished: "",
			stepCommitted: fmt.Sprintf("7 finished: %d segments replaced by 2", len(w.sources)),
			stepPlaced:    fmt.Sprintf("7 finished: %d segments replaced by 2", len(w.sources)),
		} {
			if step == 0 {
				continue
			}
			m, want := w.stopped(t, step)
			_, report, err := reopen(m.Clone(), false)
			if err != nil || report.Pending != pending {
				t.Errorf("%s, step %d: pending %q, want %q, %v", w.name, step, report.Pending, pending, err)
			}
			if pending != "" && !strings.Contains(report.String(), pending) {
				t.Errorf("%s, step %d: the report does not say %q:\n%v", w.name, step, pending, report)
			}
			if rolledBack := step == stepWritten; rolledBack != (len(report.Removed) == 2) {
				t.Errorf("%s, step %d: removed %v", w.name, step, report.Removed)
			}
			if why := resolvesForGood(t, m, want); why != "" {
				t.Errorf("%s, step %d: %s", w.name, step, why)
			}
		}
	}
}

// TestReplaceKeepsThePlace has a result that was sealed after it was placed: a compaction's owner may do that.
func TestReplaceKeepsThePlace(t *testing.T) {
	w := &reworks[1]
	m := vfs.NewMem()
	s := fourSegments(t, m)
	if _, err := w.run(s, stepPlaced); err != nil {
		t.Fatal(err)
	}
	dir := viewReplaced(s.st.Dir, &pendingRecord{sources: []pendingFile{{segment: 1}}}, nil)
	log, err := readLog(context.Background(), dir, s.st.StoreID)
	if err != nil {
		t.Fatal(err)
	}
	l := log.find(2)
	u := Unsealed{Header: l.header, Next: *l.next}
	footer, err := buildFooter(context.Background(), s.st.Dir, &u)
	if err == nil {
		err = segment.WriteFooter(s.st.Dir, 2, l.end(), footer)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.crash()
	_, report, err := reopen(m, false)
	if err != nil || report.Footers != 1 || report.Segments != 3 {
		t.Errorf("report %v, %v", report, err)
	}
	if why := resolvesForGood(t, m, s.events); why != "" {
		t.Error(why)
	}
}

func TestAbandon(t *testing.T) {
	w := &reworks[1]
	for step := stepPrepared; step <= stepPlaced; step++ {
		m := vfs.NewMem()
		s := fourSegments(t, m)
		before := withoutLock(m.Files())
		r, err := w.run(s, step)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.st.PrepareReplacement(context.Background(), 8, []uint64{2}); !errors.Is(err, ErrPending) {
			t.Errorf("step %d: a second PrepareReplacement = %v, want ErrPending", step, err)
		}
		err = r.Abandon()
		switch {
		case step >= stepCommitted && !errors.Is(err, ErrPending):
			t.Errorf("step %d: Abandon = %v, want ErrPending", step, err)
		case step < stepCommitted && err != nil:
			t.Errorf("step %d: Abandon = %v", step, err)
		case step < stepCommitted && !sameFiles(before, withoutLock(m.Files())):
			t.Errorf("step %d: Abandon leaves %v", step, names(m.Files()))
		}
		s.crash()
		if why := resolvesForGood(t, m, s.events); why != "" {
			t.Errorf("step %d: %s", step, why)
		}
	}
}

// TestCommitRefuses has results that must not become part of the log.
func TestCommitRefuses(t *testing.T) {
	w := &reworks[1]
	for name, edit := range map[string]func(files map[uint64][]byte){
		"one is missing":       func(files map[uint64][]byte) { delete(files, 3) },
		"all are missing":      func(files map[uint64][]byte) { clear(files) },
		"cut":                  func(files map[uint64][]byte) { files[2] = files[2][:len(files[2])-1] },
		"a byte of a frame":    func(files map[uint64][]byte) { files[2][len(files[2])-1] ^= 1 },
		"a byte of the header": func(files map[uint64][]byte) { files[3][70] ^= 1 },
		"empty":                func(files map[uint64][]byte) { files[3] = nil },
	} {
		m := vfs.NewMem()
		s := fourSegments(t, m)
		r, err := s.st.PrepareReplacement(context.Background(), 7, w.sources)
		if err != nil {
			t.Fatal(err)
		}
		files := w.files(s)
		edit(files)
		if err := w.write(r, files); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(context.Background()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Commit = %v, want ErrCorrupt", name, err)
		}
		if err := r.Abandon(); err != nil {
			t.Errorf("%s: Abandon = %v", name, err)
		}
		s.crash()
		if why := resolvesForGood(t, m, s.events); why != "" {
			t.Errorf("%s: %s", name, why)
		}
	}
}

// TestEvidenceNamesNoSource compacts a segment that the beacon still names: not before the log is synced behind it.
func TestEvidenceNamesNoSource(t *testing.T) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	s.seal(s.rotate())
	w := rework{"the last one", []uint64{4}, map[uint64][]uint64{4: {4}}, nil}
	r, err := w.run(s, stepWritten)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(context.Background()); !errors.Is(err, ErrStale) {
		t.Errorf("Commit = %v, want ErrStale", err)
	}
	s.append(1)
	if err := r.Commit(context.Background()); err != nil {
		t.Errorf("Commit = %v", err)
	}
	s.crash()
	for i := range 2 {
		a, err := decodeAnchor(m.Files()[anchorName][i*anchorStride:])
		if err != nil || a.End.Segment != 5 {
			t.Errorf("slot %d: %+v, %v, want segment 5", i, a, err)
		}
	}
	if why := resolvesForGood(t, m, s.events); why != "" {
		t.Error(why)
	}
}

func TestPrepareRefuses(t *testing.T) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	before := m.Files()
	for _, sources := range [][]uint64{nil, {4}, {9}, {1, 1}, {1, 4}} {
		if _, err := s.st.PrepareReplacement(context.Background(), 7, sources); err == nil {
			t.Errorf("PrepareReplacement(%v) succeeds", sources)
		}
	}
	if _, err := s.st.PrepareReplacement(context.Background(), 0, []uint64{1}); err == nil {
		t.Error("PrepareReplacement without a generation succeeds")
	}
	if !sameFiles(before, m.Files()) {
		t.Error("a refusal has written")
	}
	r, err := s.st.PrepareReplacement(context.Background(), 7, []uint64{1})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Write(2, func(vfs.File) error { return nil }); !errors.Is(err, ErrAbsent) {
		t.Errorf("Write of a segment that is no source = %v", err)
	}
	s.crash()
}
