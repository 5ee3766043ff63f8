package coldstart

import (
	"errors"
	"maps"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// TestImagesListWhatAnOpenFoundSealed opens by footers, writes images, and opens by those: every older segment is listed,
// the one in front of the newest, too.
func TestImagesListWhatAnOpenFoundSealed(t *testing.T) {
	fsys := vfs.NewMem()
	s, want := threeSegments(t, fsys)
	s.close()
	s = openTest(t, testConfig(fsys))
	if r := s.st.Report; r.Rung != RungFooters {
		t.Fatalf("the open rests on %v, want footers\n%v", r.Rung, &r)
	}
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	s.close()
	got, report, err := reopen(fsys, false)
	if err != nil || !maps.Equal(got, want) {
		t.Fatalf("%d events, want %d: %v", len(got), len(want), err)
	}
	if report.Rung != RungSnapshot || report.Footers != 0 {
		t.Errorf("rung %v, %d footers read, want the snapshot alone\n%v", report.Rung, report.Footers, report)
	}
}

// TestSnapshotThatTheDiskHasLost steps down from a snapshot that cannot be read.
func TestSnapshotThatTheDiskHasLost(t *testing.T) {
	fsys := vfs.NewMem()
	s, _ := threeSegments(t, fsys)
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	s.close()
	cfg := testConfig(vfs.Inject(fsys, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRead && c.Name == snapshotName {
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	}))
	st := openTest(t, cfg)
	defer st.close()
	if r := st.st.Report; r.Rung != RungCheckpoint || len(r.Skipped) != 1 || !errors.Is(r.Skipped[0].Err, ErrDamaged) ||
		!errors.Is(r.Skipped[0].Err, syscall.EIO) {
		t.Errorf("rung %v, skipped %v, want the checkpoint, since the snapshot is damaged", r.Rung, r.Skipped)
	}
}
