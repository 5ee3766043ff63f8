package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A windowed is a file of zeroes that was written through a window.
type windowed struct {
	t    *testing.T
	dir  string
	d    Dir
	f    *osFile
	size int64
}

// openWindowed makes such a file in a new directory.
func openWindowed(t *testing.T, size int64) *windowed {
	t.Helper()
	w := &windowed{t: t, dir: t.TempDir(), size: size}
	d, err := OS.OpenDir(w.dir, DirOptions{})
	w.check("OpenDir", err)
	f, err := d.Create("f")
	w.check("Create", err)
	w.d, w.f = d, f.(*osFile)
	_, err = f.WriteAt(make([]byte, size), 0)
	w.check("WriteAt", err)
	if err := mappable(w.f.f.fd); err != nil {
		t.Skipf("NOT TESTED: no windows on the file system of %s: %v", w.dir, err)
	}
	t.Cleanup(func() { _ = f.Close(); _ = d.Close() })
	w.put("first", 0)
	w.mapped(true)
	return w
}

func (w *windowed) check(what string, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s = %v", what, err)
	}
}

// put overwrites, and checks that the text is there.
func (w *windowed) put(text string, off int64) {
	w.t.Helper()
	if n, err := OverwriteAt(w.f, []byte(text), off, w.size); n != len(text) || err != nil {
		w.t.Fatalf("OverwriteAt(%q, %d) = %d, %v", text, off, n, err)
	}
	got := make([]byte, len(text))
	if _, err := w.f.ReadAt(got, off); err != nil || string(got) != text {
		w.t.Fatalf("at %d is %q, %v, want %q", off, got, err, text)
	}
}

// mapped checks whether the process has the file mapped for writing, and that the file knows.
func (w *windowed) mapped(want bool) {
	w.t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	w.check("read maps", err)
	found := 0
	for line := range strings.Lines(string(maps)) {
		if strings.Contains(line, w.dir+"/f") && strings.Contains(line, "rw-s") {
			found++
		}
	}
	if want != (found == 1) || found > 1 || want != (w.f.win.b != nil) {
		w.t.Errorf("the file is mapped %d times and knows of %d bytes, want it mapped: %v", found, len(w.f.win.b), want)
	}
}

// TestWindowIsUsed: small writes take the window along, large ones go beside it, and one window is mapped at a time.
func TestWindowIsUsed(t *testing.T) {
	w := openWindowed(t, 4*windowLen)
	for off := int64(0); off < w.size-windowMost; off += windowMost / 3 * 2 {
		w.put(fmt.Sprint("at ", off), off)
	}
	w.mapped(true)
	base := w.f.win.base
	if base < w.size-2*windowLen {
		t.Errorf("the window is at %d of %d", base, w.size)
	}
	w.put(strings.Repeat("large", windowMost), 10)
	w.put(strings.Repeat("m", windowMost), w.size-windowMost)
	if _, err := OverwriteAt(w.f, []byte("behind"), w.size, w.size); err != nil {
		t.Error(err)
	}
	w.put("back", 10)
	if w.f.win.base != 0 || w.f.win.refused {
		t.Errorf("the window is at %d, refused %v", w.f.win.base, w.f.win.refused)
	}
	w.mapped(true)
}

// TestWindowOfAHold: who shares a file overwrites through its window, and takes that along; the others get another one.
func TestWindowOfAHold(t *testing.T) {
	w := openWindowed(t, 256<<10)
	shared := Share(w.f)
	reader, writer := shared.Hold(), shared.Hold()
	w.f.closeWindow()
	w.mapped(false)
	if n, err := OverwriteAt(writer, []byte("held"), 100, w.size); n != 4 || err != nil {
		t.Fatalf("OverwriteAt = %d, %v", n, err)
	}
	w.mapped(true)
	var got [4]byte
	if _, err := reader.ReadAt(got[:], 100); string(got[:]) != "held" || err != nil {
		t.Errorf("another hold reads %q, %v", got, err)
	}
	w.check("Close", writer.Close())
	w.mapped(false)
	if _, err := OverwriteAt(writer, []byte("late"), 100, w.size); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("OverwriteAt of a closed hold = %v, want fs.ErrClosed", err)
	}
	w.put("again", 200)
	w.mapped(true)
	w.check("Close", reader.Close())
}

// TestWindowIsTakenAway by Truncate and by Close, and may come again behind the first.
func TestWindowIsTakenAway(t *testing.T) {
	w := openWindowed(t, windowLen)
	w.check("Truncate", w.f.Truncate(windowLen/2))
	w.mapped(false)
	w.size = windowLen / 2
	w.put("again", 5)
	w.mapped(true)
	w.check("Close", w.f.Close())
	w.mapped(false)
	if _, err := OverwriteAt(w.f, []byte("closed"), 0, w.size); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("OverwriteAt behind Close = %v", err)
	}
	w.mapped(false)
}

// TestWindowFaults: where a page is gone, under a store or when it is to be made ready, the write goes by a call, and so do
// all others. The process lives.
func TestWindowFaults(t *testing.T) {
	for _, tt := range []struct {
		name string
		off  int64
		made bool // whether the page had been made ready
	}{
		{"a store into a page that was ready", 5000, true},
		{"a page that was not ready", 5 * WindowStep, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := openWindowed(t, windowLen)
			if got := tt.off < w.f.win.ready; got != tt.made {
				t.Fatalf("pages up to %d are ready", w.f.win.ready)
			}
			w.check("truncate", os.Truncate(w.dir+"/f", 0)) // by somebody who must not
			w.put("still written", tt.off)
			w.mapped(false)
			if !w.f.win.refused {
				t.Error("another window would be tried")
			}
			w.put("and more", tt.off+100)
			w.mapped(false)
			got, err := os.ReadFile(w.dir + "/f")
			want := append(make([]byte, tt.off), "still written"...)
			want = append(append(want, make([]byte, 100-len("still written"))...), "and more"...)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("the file holds %d bytes, %v, want %d", len(got), err, len(want))
			}
		})
	}
}

// TestWindowAcrossTheCut stores a piece of which only the first half has a page: the call writes all of it.
func TestWindowAcrossTheCut(t *testing.T) {
	w := openWindowed(t, windowLen)
	page := int64(os.Getpagesize())
	w.check("truncate", os.Truncate(w.dir+"/f", page))
	w.put(strings.Repeat("half", 100), page-200)
	if !w.f.win.refused {
		t.Error("the store did not fault: this tests nothing")
	}
}

// TestSyncFindsWhatWasStored asks the system what it has still to write: stores make pages dirty, each time anew, and a sync
// of the file leaves none.
func TestSyncFindsWhatWasStored(t *testing.T) {
	w := openWindowed(t, windowLen)
	dirty := func() uint64 {
		var stat unix.Cachestat_t
		if err := unix.Cachestat(uint(w.f.f.fd), &unix.CachestatRange{Len: windowLen}, &stat, 0); err != nil {
			t.Skipf("NOT TESTED: the system does not say which pages are dirty: %v", err)
		}
		return stat.Dirty + stat.Writeback
	}
	if dirty() == 0 {
		t.Skip("NOT TESTED: no page is dirty behind a write: nothing is ever written down")
	}
	w.check("Sync", w.f.Sync())
	if n := dirty(); n != 0 {
		t.Fatalf("%d pages are dirty behind a sync of writes", n)
	}
	seen := 0
	for i := range int64(20) {
		// Two pages that were synced while they were mapped, and one that was just made ready.
		for _, off := range []int64{100 + i, 5000 + i, min(i, 10) * WindowStep} {
			w.put("stored", off)
		}
		if dirty() > 0 { // else the system was faster
			seen++
		}
		w.check("Sync", w.f.Sync())
		if n := dirty(); n != 0 {
			t.Fatalf("round %d: %d pages are dirty behind a sync", i, n)
		}
	}
	if w.mapped(true); seen == 0 {
		t.Error("no page was dirty behind a store")
	}
}
