package coldstart

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"

	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// follows returns a read-only State over fs.
func follows(t testing.TB, fs vfs.FS) *State {
	t.Helper()
	cfg := testConfig(fs)
	cfg.ReadOnly = true
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// TestRefreshBesideCompaction lets one reader look again before each call of a compaction and of a resolving open.
func TestRefreshBesideCompaction(t *testing.T) {
	for i := range reworks {
		m := vfs.NewMem()
		var want model
		var r *State
		looks := 0
		var mu sync.Mutex // headers are read by several goroutines
		look := func(c vfs.Call) vfs.Decision {
			mu.Lock()
			defer mu.Unlock()
			if want == nil || c.Kind == vfs.OpRead {
				return vfs.Decision{}
			}
			looks++
			if _, err := r.Refresh(context.Background()); err != nil {
				t.Errorf("%s, before %v %s: refresh: %v", reworks[i].name, c.Kind, c.Name, err)
			}
			got, err := readThrough(r)
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("%s, before %v %s: %d events, want %d, %v", reworks[i].name, c.Kind, c.Name, len(got), len(want), err)
			}
			return vfs.Decision{}
		}
		s := fourSegments(t, vfs.Inject(m, look))
		r = follows(t, m)
		want = maps.Clone(s.events)
		if _, err := reworks[i].run(s, stepFinished); err != nil {
			t.Fatal(err)
		}
		want = nil
		s.append(2) // the next look is not at an unchanged log
		if changed, err := r.Refresh(context.Background()); err != nil || !changed {
			t.Errorf("%s: refresh = %v, %v", reworks[i].name, changed, err)
		}
		if r.Builds() == 0 {
			t.Errorf("%s: nothing was built anew", reworks[i].name)
		}
		if got, err := readThrough(r); err != nil || !maps.Equal(got, s.events) {
			t.Errorf("%s: at the end %d events, want %d, %v", reworks[i].name, len(got), len(s.events), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		s.crash()
		t.Logf("%s: %d looks", reworks[i].name, looks)
	}
}

// readThrough is readAll that begins again as a store does when files were replaced.
func readThrough(s *State) (model, error) {
	builds := s.Builds()
	got, err := readAll(s)
	if err == nil {
		return got, nil
	}
	if ok, failed := s.Renew(context.Background(), builds, err); !ok {
		return nil, errors.Join(err, failed)
	}
	return readAll(s)
}

// TestRenewAfterCompaction has a reader that was opened by the snapshot and has mapped nothing when its files go.
func TestRenewAfterCompaction(t *testing.T) {
	for i := range reworks {
		m := vfs.NewMem()
		s := fourSegments(t, m)
		if err := s.st.WriteImages(); err != nil {
			t.Fatal(err)
		}
		r := follows(t, m)
		if r.Report.Rung != RungSnapshot {
			t.Fatalf("opened by %v", r.Report.Rung)
		}
		if _, err := reworks[i].run(s, stepFinished); err != nil {
			t.Fatal(err)
		}
		if _, err := readAll(r); err == nil {
			t.Errorf("%s: the files are there", reworks[i].name)
		}
		if got, err := readThrough(r); err != nil || !maps.Equal(got, s.events) {
			t.Errorf("%s: %d events, want %d, %v", reworks[i].name, len(got), len(s.events), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		s.crash()
	}
}

// TestRenewIsNoWayOut keeps damage what it is: files that are as they were are not read again, and a segment that is
// gone for good is said to be missing.
func TestRenewIsNoWayOut(t *testing.T) {
	m := vfs.NewMem()
	s := fourSegments(t, m)
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	r := follows(t, m)
	found := &segment.FrameError{Segment: 2, Err: segment.ErrCorrupt}
	if ok, err := r.Renew(context.Background(), 0, found); ok || err != nil {
		t.Errorf("nothing has changed: %v, %v", ok, err)
	}
	m.DeleteFile(segment.Name(2))
	var corrupt *CorruptError
	if ok, err := r.Renew(context.Background(), 0, fs.ErrNotExist); ok || !errors.As(err, &corrupt) {
		t.Errorf("a segment is gone: %v, %v", ok, err)
	}
	if _, err := r.Refresh(context.Background()); !errors.As(err, &corrupt) {
		t.Errorf("refresh: %v", err)
	}
	if r.Set.Visible() != s.st.Set.Visible() {
		t.Errorf("%d events are shown, %d were", r.Set.Visible(), s.st.Set.Visible())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	s.crash()
}

// TestRefreshLeavesNoFileOpen counts what a reader opens and closes while it follows.
func TestRefreshLeavesNoFileOpen(t *testing.T) {
	cfg := testConfig(vfs.OS)
	cfg.Dir = t.TempDir()
	s := fourSegmentsIn(t, cfg)
	cfg.ReadOnly = true
	r, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	writer := heldFiles(t, cfg.Dir) // and what the reader has
	if writer < 0 {
		t.Skip("NOT TESTED: that refreshes leave no file open: this system does not tell which files are")
	}
	refresh := func() {
		t.Helper()
		if _, err := r.Refresh(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		s.append(1)
		refresh()
		u := s.rotate()
		s.append(1)
		if i%2 == 0 {
			refresh()
		}
		s.seal(u)
		s.append(1)
		refresh()
		if i == 10 {
			w := reworks[0]
			if _, err := w.run(s, stepFinished); err != nil {
				t.Fatal(err)
			}
			s.append(1)
			refresh()
		}
	}
	if got, err := readAll(r); err != nil || !maps.Equal(got, s.events) {
		t.Errorf("%d events, want %d, %v", len(got), len(s.events), err)
	}
	unsealed := 0
	v := r.Set.Acquire()
	v.EachSegment(func(_ uint64, sealed *index.Sealed) {
		if sealed == nil {
			unsealed++
		}
	})
	v.Release()
	if unsealed > 3 { // the newest, and two that the compaction has left without a footer
		t.Errorf("%d segments are served from memory", unsealed)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	s.close()
	if left := heldFiles(t, cfg.Dir); left != 0 {
		t.Errorf("%d files are left open or mapped", left)
	}
}

// heldFiles returns how many files below dir this process has open or mapped, -1 where nothing tells.
func heldFiles(t testing.TB, dir string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, dir) {
			n++
		}
	}
	mapped, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return -1
	}
	return n + strings.Count(string(mapped), dir)
}

// TestRefreshBesideAHalfMadeSegment: what a writer that died has left behind the log costs a reader one look at that
// file, and no list of the directory, for as long as it stays as it is.
func TestRefreshBesideAHalfMadeSegment(t *testing.T) {
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	s.append(3)
	s.crash()
	m.SetFile(segment.Name(2), make([]byte, 100))
	lists := 0
	cfg := testConfig(vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpList {
			lists++
		}
		return vfs.Decision{}
	}))
	cfg.ReadOnly = true
	r := openTest(t, cfg)
	defer r.crash()
	refresh := func(want bool) {
		t.Helper()
		if changed, err := r.st.Refresh(context.Background()); err != nil || changed != want {
			t.Fatalf("Refresh = %v, %v, want %v", changed, err, want)
		}
	}
	lists = 0
	for range 10 {
		refresh(false)
	}
	if lists > 0 {
		t.Errorf("%d lists of the directory, want none", lists)
	}
	s = openTest(t, s.cfg) // takes the file out of the log
	s.append(2)
	refresh(true)
	s.append(1)
	refresh(true)
	if got, err := readAll(r.st); err != nil || !maps.Equal(got, s.events) {
		t.Errorf("%d events, want %d, %v", len(got), len(s.events), err)
	}
	s.seal(s.rotate())
	s.append(1)
	refresh(true)
	s.close()
}
