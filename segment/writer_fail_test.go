package segment

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// faulty returns a directory of a Mem in which decide is asked about each call.
func faulty(t *testing.T, mem *vfs.Mem, decide func(vfs.Call) vfs.Decision) (vfs.Dir, *vfs.Faulty) {
	t.Helper()
	f := vfs.Inject(mem, decide)
	dir, err := f.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return dir, f
}

// A failed write leaves no trace, and the writer goes on.
func TestFailedWriteIsCutBack(t *testing.T) {
	for _, tt := range []struct {
		name   string
		filled bool
		d      vfs.Decision
	}{
		{"half written, growing file", false, vfs.FullDisk},
		{"half written, into zeroes", true, vfs.FullDisk},
		{"written and reported failed, growing file", false, vfs.Decision{Err: syscall.EIO, Apply: true}},
		{"written and reported failed, into zeroes", true, vfs.Decision{Err: syscall.EIO, Apply: true}},
		{"nothing written", false, vfs.Decision{Err: syscall.EIO}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := vfs.NewMem()
			fail := false
			dir, _ := faulty(t, mem, func(c vfs.Call) vfs.Decision {
				if fail && c.Kind == vfs.OpWrite {
					return tt.d
				}
				return vfs.Decision{}
			})
			w := mustWriter(t, dir, 1<<20, 1<<16)
			h := *w.Header()
			if tt.filled {
				if err := w.Fill(); err != nil {
					t.Fatal(err)
				}
			}
			if err := errors.Join(w.Write(frameFor(w, []byte("first"))), w.Sync()); err != nil {
				t.Fatal(err)
			}
			end := w.End()
			fail = true
			err := w.Write(frameFor(w, bytes.Repeat([]byte("lost"), 100)))
			if !errors.Is(err, tt.d.Err) || w.Err() != nil || w.End() != end || w.Durable() != end {
				t.Fatalf("Write = %v, poison %v, end %d, want %v, nil, %d", err, w.Err(), w.End(), tt.d.Err, end)
			}
			if n := int64(len(contents(t, dir, 42))); n != end {
				t.Errorf("file of %d bytes, want cut back to %d", n, end)
			}
			fail = false
			if err := errors.Join(w.Write(frameFor(w, []byte("second"))), w.Sync(), w.Fill(), w.Close()); err != nil {
				t.Fatal(err)
			}
			if frames, _ := mustScan(t, &h, contents(t, dir, 42)); frames != 2 {
				t.Errorf("file holds %d frames, want 2", frames)
			}
		})
	}
}

func TestFailedCutBackPoisons(t *testing.T) {
	fail := false
	dir, calls := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		switch {
		case fail && c.Kind == vfs.OpWrite:
			return vfs.FullDisk
		case fail && c.Kind == vfs.OpTruncate:
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	w := mustWriter(t, dir, 1<<20, 0)
	defer w.Close()
	fail = true
	if err := w.Write(frameFor(w, []byte("lost"))); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Write = %v, want %v", err, syscall.ENOSPC)
	}
	mustBePoisoned(t, w, calls, syscall.EIO)
	if !errors.Is(w.Err(), syscall.ENOSPC) {
		t.Errorf("Err = %v does not name the first cause %v", w.Err(), syscall.ENOSPC)
	}
}

// mustBePoisoned checks that every later call returns the first cause and touches no file.
func mustBePoisoned(t *testing.T, w *Writer, calls *vfs.Faulty, cause error) {
	t.Helper()
	first := w.Err()
	if !errors.Is(first, ErrPoisoned) || !errors.Is(first, cause) {
		t.Fatalf("Err = %v, want %v with %v", first, ErrPoisoned, cause)
	}
	before := calls.Count()
	for name, call := range map[string]func() error{
		"Write": func() error { return w.Write(frameFor(w, []byte("more"))) },
		"Sync":  w.Sync,
		"Trim":  w.Trim,
		"Poison with another cause": func() error {
			return w.Poison(errors.New("later"))
		},
	} {
		if err := call(); err != first {
			t.Errorf("%s = %v, want the first cause %v", name, err, first)
		}
	}
	if n := calls.Count() - before; n != 0 {
		t.Errorf("a poisoned writer made %d calls", n)
	}
}

// A failed sync is never repeated, whoever asks.
func TestFailedSyncPoisons(t *testing.T) {
	fail := false
	dir, calls := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if fail && c.Kind == vfs.OpSync {
			fail = false // the next one would succeed, and lie
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	w := mustWriter(t, dir, 1<<20, 0)
	defer w.Close()
	if err := w.Write(frameFor(w, []byte("in doubt"))); err != nil {
		t.Fatal(err)
	}
	durable := w.Durable()
	fail = true
	syncs := calls.CountOf(vfs.OpSync)
	if err := w.Sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync = %v, want %v", err, ErrPoisoned)
	}
	mustBePoisoned(t, w, calls, syscall.EIO)
	if err := w.SyncFile(); !errors.Is(err, syscall.EIO) {
		t.Errorf("SyncFile behind a failed sync = %v, want %v", err, syscall.EIO)
	}
	if n := calls.CountOf(vfs.OpSync) - syncs; n != 1 {
		t.Errorf("%d syncs, want 1: a failed sync must not be repeated", n)
	}
	if w.Durable() != durable {
		t.Errorf("durable moved to %d by a failed sync", w.Durable())
	}
}

// A sync that fails beside the committer is heard by its next Sync.
func TestFailedSyncFileReachesSync(t *testing.T) {
	fail := false
	dir, _ := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if fail && c.Kind == vfs.OpSync {
			fail = false
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	w := mustWriter(t, dir, 1<<20, 0)
	defer w.Close()
	if err := w.Write(frameFor(w, []byte("in doubt"))); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := w.SyncFile(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("SyncFile = %v, want %v", err, syscall.EIO)
	}
	if err := w.Sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync = %v, want %v", err, ErrPoisoned)
	}
}

// The sync of a fill covers the committer's bytes too: where it fails, what the committer wrote is in doubt.
func TestFailedSyncOfAFillReachesSync(t *testing.T) {
	fail := false
	dir, calls := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if fail && c.Kind == vfs.OpSync {
			fail = false
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	w := mustWriter(t, dir, 4<<20, 1<<20)
	defer w.Close()
	if err := w.Write(frameFor(w, []byte("in doubt"))); err != nil {
		t.Fatal(err)
	}
	fail = true
	if err := w.Fill(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("Fill = %v, want %v", err, syscall.EIO)
	}
	if w.NeedsFill() {
		t.Error("NeedsFill = true behind a failed fill")
	}
	if err := w.Sync(); !errors.Is(err, ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("Sync = %v, want %v", err, ErrPoisoned)
	}
	mustBePoisoned(t, w, calls, syscall.EIO)
}

// A fill that finds the disk full costs speed and nothing else.
func TestFailedFillCostsNothing(t *testing.T) {
	full := false
	dir, _ := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if full && c.Kind == vfs.OpWrite && c.Len > 50_000 {
			return vfs.FullDisk
		}
		return vfs.Decision{}
	})
	w := mustWriter(t, dir, 4<<20, 1<<20)
	h := *w.Header()
	full = true
	if err := w.Fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Fill = %v, want %v", err, syscall.ENOSPC)
	}
	if w.NeedsFill() || w.Err() != nil {
		t.Errorf("behind a failed fill: NeedsFill %v, Err %v", w.NeedsFill(), w.Err())
	}
	for range 100 {
		if err := w.Write(frameFor(w, make([]byte, 5000))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Sync(), w.Trim(), w.Close()); err != nil {
		t.Fatal(err)
	}
	if frames, _ := mustScan(t, &h, contents(t, dir, 42)); frames != 100 {
		t.Errorf("file holds %d frames, want 100", frames)
	}
}

// A failed Create leaves no file, and nothing stands in the way of the next one.
func TestFailedCreateLeavesNothing(t *testing.T) {
	for n := 1; ; n++ {
		calls := 0
		armed := false
		dir, _ := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
			if armed && c.Kind != vfs.OpRemove && c.Kind != vfs.OpClose {
				if calls++; calls == n {
					return vfs.Decision{Err: syscall.EIO, Half: true}
				}
			}
			return vfs.Decision{}
		})
		h := sampleHeader(2)
		armed = true
		w, err := Create(dir, &h, 1<<20, 0)
		armed = false
		if err == nil {
			if n < 5 {
				t.Errorf("Create makes %d calls, want create, write, sync and sync of the directory to fail", n-1)
			}
			w.Close()
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("call %d: Create = %v, want %v", n, err, syscall.EIO)
		}
		if entries, err := dir.List(); err != nil || len(entries) != 0 {
			t.Errorf("call %d: %v left behind, %v", n, entries, err)
		}
		w = mustWriter(t, dir, 1<<20, 0)
		w.Close()
	}
}

// Each step of sealing and trimming that fails says so.
func TestFailedTrimAndFooter(t *testing.T) {
	for _, kind := range []vfs.OpKind{vfs.OpOpenWrite, vfs.OpWrite, vfs.OpTruncate, vfs.OpSync} {
		armed := false
		dir, _ := faulty(t, vfs.NewMem(), func(c vfs.Call) vfs.Decision {
			if armed && c.Kind == kind {
				return vfs.Decision{Err: syscall.EIO}
			}
			return vfs.Decision{}
		})
		w := mustWriter(t, dir, 1<<20, 1<<16)
		if err := errors.Join(w.Fill(), w.Write(frameFor(w, []byte("x"))), w.Sync()); err != nil {
			t.Fatal(err)
		}
		armed = true
		if err := WriteFooter(dir, 42, w.End(), []byte("footer")); !errors.Is(err, syscall.EIO) {
			t.Errorf("%v fails: WriteFooter = %v, want %v", kind, err, syscall.EIO)
		}
		trims := kind == vfs.OpTruncate || kind == vfs.OpSync
		if err := w.Trim(); errors.Is(err, syscall.EIO) != trims {
			t.Errorf("%v fails: Trim = %v, want an error: %v", kind, err, trims)
		}
		if poisoned := errors.Is(w.Err(), ErrPoisoned); poisoned != (kind == vfs.OpSync) {
			t.Errorf("%v fails: Err = %v", kind, w.Err())
		}
		w.Close()
	}
}

// What Sync has covered is there in every state that a crash may leave.
func TestSyncedFramesSurviveEveryCrash(t *testing.T) {
	mem := vfs.NewMem()
	dir, err := mem.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	w := mustWriter(t, dir, 1<<20, 1<<12)
	h := *w.Header()
	synced := map[int]int{} // frames that were durable, by length of the trace
	for i := range 6 {
		if err := w.Write(frameFor(w, bytes.Repeat([]byte{byte(i + 1)}, 700))); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			if err := w.Sync(); err != nil {
				t.Fatal(err)
			}
			synced[mem.OpCount()] = i + 1
		}
		if i == 2 {
			if err := w.Fill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	states, least := 0, 0
	for at := range mem.OpCount() + 1 {
		if n, ok := synced[at]; ok {
			least = n
		}
		for state := range mem.CrashStates(at, vfs.StateOptions{}) {
			states++
			b, ok := state.Files()[Name(42)]
			if !ok || len(b) < int(h.Len()) {
				if least > 0 {
					t.Fatalf("op %d: the file is gone", at)
				}
				continue
			}
			sc := NewScanner(bytes.NewReader(b), &h, h.Len(), int64(len(b)))
			if got := len(scanAll(sc)); got < least {
				t.Fatalf("op %d: %d frames, want at least %d", at, got, least)
			}
		}
	}
	t.Logf("%d crash states", states)
	if states < 100 {
		t.Errorf("%d crash states, want more than 100", states)
	}
}
