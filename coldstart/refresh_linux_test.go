package coldstart

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"batpak/internal/vfs"
	"batpak/segment"
)

// TestRefreshSeesWhatNoTimeTells has a reader look while a writer copies a frame into a mapped page, and again when that is
// done: the file's time does not move then.
func TestRefreshSeesWhatNoTimeTells(t *testing.T) {
	cfg := testConfig(vfs.OS)
	cfg.Dir, cfg.Relaxed, cfg.FillAhead = filepath.Join(t.TempDir(), "store"), true, 64<<10
	s := openTest(t, cfg)
	defer s.crash()
	s.append(2)
	at := s.st.Writer.End()
	s.write(s.group(1, false, 300))
	end := s.st.Writer.End()
	if err := s.st.Writer.Fill(); err != nil {
		t.Fatal(err)
	}

	f, err := os.OpenFile(filepath.Join(cfg.Dir, segment.Name(1)), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := unix.Mmap(int(f.Fd()), 0, int(end), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(b)
	frame := append([]byte(nil), b[at:end]...)
	clear(b[at+60 : end]) // a part of the frame, as a writer leaves it for a moment

	cfg.ReadOnly = true
	r, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	look := func(what string, changed bool, want int) {
		t.Helper()
		got, err := r.Refresh(context.Background())
		if err != nil || got != changed {
			t.Errorf("%s: Refresh = %v, %v, want %v", what, got, err, changed)
		}
		if m, err := readAll(r); err != nil || len(m) != want {
			t.Errorf("%s: %d events, %v, want %d", what, len(m), err, want)
		}
	}
	look("half a frame", false, 2)
	// As if the reader had looked long after the file's time had moved for the last time.
	r.follow.newest.when = time.Now().Add(time.Hour)
	before, err := r.Dir.Stat(segment.Name(1))
	if err != nil {
		t.Fatal(err)
	}
	look("still half a frame", false, 2)
	copy(b[at:], frame)
	if after, err := r.Dir.Stat(segment.Name(1)); err != nil || after.Stamp != before.Stamp {
		t.Logf("the time has moved all the same: %v, %v, %v", before.Stamp, after.Stamp, err)
	}
	look("the whole frame", true, 3)
	look("nothing more", false, 3)
}
