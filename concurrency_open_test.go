package batpak_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// openAt opens a store that must open.
func openAt(t testing.TB, dir string, o *batpak.Options) *batpak.Store {
	t.Helper()
	st, err := batpak.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// mustClose closes a store that must close.
func mustClose(t testing.TB, st *batpak.Store) {
	t.Helper()
	if err := st.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// plain returns a draft that only its payload tells from others.
func plain(payload string) batpak.Draft {
	return batpak.Draft{Coordinate: coordinate.MustNew("plain", "all"), Kind: kindOne, Payload: []byte(payload)}
}

// fillStore appends n events, ten at a time.
func fillStore(t testing.TB, st *batpak.Store, n int) {
	t.Helper()
	for from := 0; from < n; from += 10 {
		drafts := make([]batpak.Draft, min(10, n-from))
		for i := range drafts {
			drafts[i] = plain(fmt.Sprintf("event %d", from+i))
		}
		if _, err := st.AppendBatch(context.Background(), drafts); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCloseEndsReads(t *testing.T) {
	for _, tt := range []struct {
		name string
		n    int // events in the store
		want error
	}{
		{"few events left: the read completes", 20, nil},
		{"many events left: the read ends", 300, batpak.ErrClosed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := openAt(t, t.TempDir(), &batpak.Options{SegmentSize: 16 << 10})
			fillStore(t, st, tt.n)
			next, stop := iter.Pull2(st.Read(t.Context(), batpak.Query{}))
			defer stop()
			borrowed, release := iter.Pull2(st.Read(t.Context(), batpak.Query{Reverse: true, Borrow: true}))
			defer release()
			ev, err, _ := next()
			last, err2, _ := borrowed()
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			mustClose(t, st)
			if string(ev.Payload) != "event 0" || last.Seq != uint64(tt.n) {
				t.Errorf("after Close the events in hand are %s and %d", ev.Payload, last.Seq)
			}
			for _, pull := range []func() (event.Event, error, bool){next, borrowed} {
				n, got := 1, error(nil)
				for {
					_, err, ok := pull()
					if !ok {
						break
					}
					if err != nil {
						got = err
						continue
					}
					n++
				}
				if !errors.Is(got, tt.want) || tt.want == nil && (got != nil || n != tt.n) {
					t.Errorf("read %d of %d events, then %v; want %v", n, tt.n, got, tt.want)
				}
			}
		})
	}
}

// openFiles returns how many descriptors this process has, or -1 where nothing tells.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries)
}

func TestOpenCloseManyTimes(t *testing.T) {
	const lives = 100
	dir := t.TempDir()
	o := &batpak.Options{SegmentSize: 4 << 10, Sync: batpak.SyncNever}
	once := func(i int) {
		st := openAt(t, dir, o)
		if _, err := st.Append(t.Context(), plain(fmt.Sprintf("life %d", i))); err != nil {
			t.Fatal(err)
		}
		reader := openAt(t, dir, &batpak.Options{ReadOnly: true})
		wantFound(t, reader, plain(fmt.Sprintf("life %d", i)), true)
		mustClose(t, reader)
		if _, err := batpak.Open(dir, o); !errors.Is(err, vfs.ErrLocked) {
			t.Fatalf("second writer: %v", err)
		}
		mustClose(t, st)
	}
	once(0)
	files, goroutines := openFiles(), runtime.NumGoroutine()
	for i := 1; i < lives; i++ {
		once(i)
	}
	if now := openFiles(); now > files {
		t.Errorf("%d descriptors are open, %d were", now, files)
	}
	for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > goroutines; {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
		}
		runtime.Gosched() // who has ended may not be gone yet
	}
	st := openAt(t, dir, o)
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != lives {
		t.Errorf("%d events, error %v; want %d", len(got), err, lives)
	}
	mustClose(t, st)
}

// A fileState is everything about a file that a write would change.
type fileState struct {
	mode  fs.FileMode
	size  int64
	mtime int64
	sum   [sha256.Size]byte
}

// dirState returns the state of every file below dir, by path; those named in except are left out.
func dirState(t testing.TB, dir string, except ...string) map[string]fileState {
	t.Helper()
	state := map[string]fileState{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		for _, name := range except {
			if d.Name() == name {
				return nil
			}
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		s := fileState{mode: info.Mode(), size: info.Size(), mtime: info.ModTime().UnixNano()}
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			s.sum = sha256.Sum256(b)
		}
		if path == dir && len(except) > 0 {
			s.mtime = 0 // what is left out may be made and removed
		}
		state[path] = s
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return state
}

// sameState says what of a directory has changed.
func sameState(t testing.TB, got, want map[string]fileState) {
	t.Helper()
	for path, w := range want {
		if g, ok := got[path]; !ok {
			t.Errorf("%s is gone", filepath.Base(path))
		} else if g != w {
			t.Errorf("%s has changed: %v %d bytes, was %v %d bytes", filepath.Base(path), g.mode, g.size, w.mode, w.size)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is new", filepath.Base(path))
		}
	}
}

func TestReadOnlyBesideLiveWriter(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			st := openAt(t, dir, &batpak.Options{Sync: mode, SegmentSize: 16 << 10})
			tr := &traffic{st: st, sync: mode}
			var wg sync.WaitGroup
			for w := range 8 {
				wg.Go(func() {
					for round := range 30 {
						if err := tr.step(w, round); err != nil {
							tr.findings.add(err)
							return
						}
					}
				})
			}
			for look := 0; look < 10; look++ {
				tr.seenReadOnly(dir)
			}
			wg.Wait()
			st.WaitIdle()
			before := dirState(t, dir)
			tr.seenReadOnly(dir)
			sameState(t, dirState(t, dir), before)
			tr.findings.report(t)
			mustClose(t, st)
		})
	}
}

// seenReadOnly opens the directory read-only and looks for everything that was acknowledged before.
func (tr *traffic) seenReadOnly(dir string) {
	tr.mu.Lock()
	want := append([]told(nil), tr.told...)
	tr.mu.Unlock()
	st, err := batpak.Open(dir, &batpak.Options{ReadOnly: true})
	if err != nil {
		tr.findings.add(fmt.Errorf("open read-only: %w", err))
		return
	}
	defer st.Close()
	got, err := collect(st, batpak.Query{})
	if err != nil {
		tr.findings.add(err)
		return
	}
	for i := range want {
		seq := want[i].Seq
		if seq > uint64(len(got)) {
			tr.findings.add(fmt.Errorf("event %d was acknowledged; the reader sees %d events", seq, len(got)))
		} else if err := sameEvent(&got[seq-1], &want[i].Event); err != nil {
			tr.findings.add(err)
		}
	}
}

// TestReadOnlyOpenBesideBusyWriter lets the writer commit twice before each read of the reader: whatever the reader has
// seen is out of date when it looks further on. That is no damage.
func TestReadOnlyOpenBesideBusyWriter(t *testing.T) {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		for _, size := range []int64{256 << 10, 4 << 10} {
			t.Run(fmt.Sprintf("%v, segments of %d KiB", mode, size>>10), func(t *testing.T) {
				mem := vfs.NewMem()
				o := &batpak.Options{Sync: mode, SegmentSize: size, FillAhead: size}
				o.SetFS(mem)
				st := openAt(t, vfs.MemDir, o)
				fillStore(t, st, 10)
				st.WaitIdle()
				write := func() {
					for range 2 {
						if _, err := st.Append(t.Context(), plain("meanwhile")); err != nil {
							t.Error(err)
						}
					}
					if size > 4<<10 {
						fillStore(t, st, 3)
					}
				}
				r := &batpak.Options{ReadOnly: true}
				r.SetFS(vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
					if c.Kind == vfs.OpRead && (size > 4<<10 || c.Index < 300) {
						write() // with small segments each read adds some, which the next look would read
					}
					return vfs.Decision{}
				}))
				reader, err := batpak.Open(vfs.MemDir, r)
				if err != nil {
					t.Fatal(err)
				}
				for seq := range uint64(10) {
					if _, err := reader.EventAt(t.Context(), seq+1); err != nil {
						t.Error(err)
					}
				}
				mustClose(t, reader)
				mustClose(t, st)
			})
		}
	}
}
