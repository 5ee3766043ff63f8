package batpak_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"batpak"
)

// TestRealFullDisk appends to a file system of one MiB until it is full, makes room, and goes on.
func TestRealFullDisk(t *testing.T) {
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("NOT TESTED: a disk that is really full, and room made on it: mounting a tmpfs is not permitted here (%v); "+
			"TestDiskFullAtOpen and TestFailedWriteReachesTheWholeGroup do it by injection", err)
	}
	defer func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Errorf("unmount: %v: something is still open", err)
		}
	}()
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 256<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(disk, "store")
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		o := &batpak.Options{Sync: mode, SegmentSize: 64 << 10, FillAhead: 16 << 10}
		st := openAt(t, dir, o)
		n := st.Stats().Events
		for full := 0; full < 3; n++ {
			d := plain(fmt.Sprintf("%v %d", mode, n))
			d.Extensions = map[string][]byte{"ballast": make([]byte, 3000)}
			r, err := st.Append(t.Context(), d)
			if err == nil {
				if r.Seq != n+1 {
					t.Fatalf("sequence %d follows %d", r.Seq, n)
				}
				continue
			}
			if !errors.Is(err, batpak.ErrNotLanded) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("append %d: %v", n, err)
			}
			n--
			full++
		}
		wantCount(t, st, n)
		if err := os.Truncate(ballast, 128<<10-int64(mode)<<15); err != nil {
			t.Fatal(err)
		}
		if r, err := st.Append(t.Context(), plain("there is room")); err != nil || r.Seq != n+1 {
			t.Errorf("append with room: %+v, %v", r, err)
		}
		mustClose(t, st)
		st = openAt(t, dir, o)
		wantCount(t, st, n+1)
		mustClose(t, st)
	}
}

// wantCount wants n events, in order.
func wantCount(t *testing.T, st *batpak.Store, n uint64) {
	t.Helper()
	got, err := collect(st, batpak.Query{})
	if err != nil || uint64(len(got)) != n {
		t.Errorf("%d events, error %v; want %d", len(got), err, n)
	}
	for i := range got {
		if got[i].Seq != uint64(i+1) {
			t.Fatalf("sequence %d at place %d", got[i].Seq, i)
		}
	}
}
