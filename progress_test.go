package batpak_test

import (
	"context"
	"errors"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/internal/vfs"
)

// segmentedStore returns a closed store of several segments, most of them sealed.
func segmentedStore(t testing.TB) *vfs.Mem {
	t.Helper()
	r, err := writtenRig(batpak.Options{SegmentSize: 4 << 10}, false, func(r *rig) error {
		for range 12 {
			if _, err := r.append(r.draft(streamA, 900)); err != nil {
				return err
			}
		}
		r.settle()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r.mem
}

func TestProgress(t *testing.T) {
	t.Parallel()
	mem := segmentedStore(t)
	var told []batpak.Progress
	o := &batpak.Options{ReadOnly: true, NoSnapshot: true, NoCheckpoint: true, Progress: func(p batpak.Progress) { told = append(told, p) }}
	o.SetFS(mem)
	st, err := batpak.Open(vfs.MemDir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	n := st.OpenReport().Segments
	if len(told) != n || n < 3 || told[n-1].Done != n || told[n-1].Total != n || told[n-1].Rung != coldstart.RungFooters {
		t.Errorf("Open of %d segments told %+v", n, told)
	}
	told = nil
	if _, err := batpak.Verify(t.Context(), vfs.MemDir, o); err != nil {
		t.Fatal(err)
	}
	if len(told) != n || told[n-1].Seq != st.Stats().Visible || told[n-1].Rung != coldstart.RungFrames {
		t.Errorf("Verify of %d segments told %+v", n, told)
	}
}

// TestOpenContextEnds gives up in the middle; the store opens afterwards.
func TestOpenContextEnds(t *testing.T) {
	t.Parallel()
	mem := segmentedStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	o := &batpak.Options{NoSnapshot: true, NoCheckpoint: true, Progress: func(p batpak.Progress) { cancel() }}
	o.SetFS(mem)
	if _, err := batpak.OpenContext(ctx, vfs.MemDir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("OpenContext = %v, want %v", err, context.Canceled)
	}
	if _, err := batpak.Verify(ctx, vfs.MemDir, o); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify = %v, want %v", err, context.Canceled)
	}
	st, err := batpak.Open(vfs.MemDir, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func TestStatsBounds(t *testing.T) {
	t.Parallel()
	mem := vfs.NewMem()
	o := &batpak.Options{SegmentSize: 4 << 10}
	o.SetFS(mem)
	st, err := batpak.Open(vfs.MemDir, o)
	if err != nil {
		t.Fatal(err)
	}
	if s := st.Stats(); s.FirstSeq != 0 || s.LastSeq != 0 {
		t.Errorf("Stats() of an empty store = %+v, want no sequences", s)
	}
	r := newRig(*o)
	for n := uint64(1); n <= 12; n++ {
		if _, err := st.Append(t.Context(), r.draft(streamA, 900)); err != nil {
			t.Fatal(err)
		}
		if s := st.Stats(); s.FirstSeq != 1 || s.LastSeq != n {
			t.Errorf("Stats() = %+v, want sequences 1 to %d", s, n)
		}
	}
	st.WaitSealed()
	if s := st.Stats(); s.Sealed == 0 || s.FirstSeq != 1 || s.LastSeq != 12 {
		t.Errorf("Stats() = %+v, want sequences 1 to 12", s)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}
