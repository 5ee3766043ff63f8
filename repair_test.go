package batpak_test

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"batpak"
	"batpak/internal/vfs"
	"batpak/segment"
)

// TestRepair: the events, their receipts and the keys are after a repair what they were before the damage.
func TestRepair(t *testing.T) {
	t.Parallel()
	r, err := writtenRig(batpak.Options{}, false, func(r *rig) error {
		for range 3 {
			if _, err := r.append(r.full(streamA)); err != nil {
				return err
			}
			if _, err := r.batch([]batpak.Draft{r.draft(streamB, 900), r.full(streamA)}); err != nil {
				return err
			}
		}
		r.settle()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	files := r.mem.Files()
	for name, b := range files {
		if _, ok := segment.ParseName(name); !ok {
			for i := range b {
				b[i] ^= 0x55 // identity, anchor, lock file: all of it
			}
		}
	}
	m := vfs.NewMemFrom(files)
	o := &batpak.RepairOptions{Write: true}
	o.SetFS(m)
	calls := 0
	o.Progress = func(p batpak.Progress) { calls++ }
	report, err := batpak.Repair(t.Context(), vfs.MemDir, o)
	if err != nil || !report.Complete() || len(report.Actions) != 4 || calls != report.Segments {
		t.Fatalf("Repair = %v, %d calls of Progress\n%v", err, calls, report)
	}
	l := &life{opts: r.opts, mem: m}
	st, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	h := r.history()
	c := claim{want: h, least: len(h), most: len(h)}
	if _, _, err := c.holds(st); err != nil {
		t.Errorf("after the repair: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func TestRepairRefuses(t *testing.T) {
	t.Parallel()
	mem := segmentedStore(t)
	o := &batpak.RepairOptions{FilePerm: fs.ModeDir}
	o.SetFS(mem)
	if _, err := batpak.Repair(t.Context(), vfs.MemDir, o); !errors.Is(err, batpak.ErrOption) {
		t.Errorf("Repair = %v, want %v", err, batpak.ErrOption)
	}
	o.FilePerm = 0
	st := &batpak.Options{}
	st.SetFS(mem)
	writer, err := batpak.Open(vfs.MemDir, st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := batpak.Repair(t.Context(), vfs.MemDir, o); !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("Repair beside a writer = %v, want %v", err, vfs.ErrLocked)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Progress = func(batpak.Progress) { cancel() }
	if _, err := batpak.Repair(ctx, vfs.MemDir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Repair = %v, want %v", err, context.Canceled)
	}
}
