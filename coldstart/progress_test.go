package coldstart

import (
	"context"
	"errors"
	"maps"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// manySegments returns a store of n sealed segments and an active one, crashed, and its events.
func manySegments(t testing.TB, n int) (*vfs.Mem, model) {
	fsys := vfs.NewMem()
	s := openTest(t, testConfig(fsys))
	for range n {
		s.append(2)
		s.seal(s.rotate())
	}
	s.append(1)
	s.crash()
	return fsys, maps.Clone(s.events)
}

// withoutFooters cuts the last byte off segments, so that their footers do not hold.
func withoutFooters(fsys *vfs.Mem, ids ...uint64) {
	for _, id := range ids {
		b := fsys.Files()[segment.Name(id)]
		fsys.SetFile(segment.Name(id), b[:len(b)-1])
	}
}

func TestProgress(t *testing.T) {
	const n = 9
	for _, tt := range []struct {
		name string
		cut  []uint64 // segments without a footer
		rung Rung
	}{
		{"all footers hold", nil, RungFooters},
		{"two do not", []uint64{2, 5}, RungFooters},
		{"none does", []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9}, RungFrames},
	} {
		for _, readOnly := range []bool{true, false} {
			fsys, want := manySegments(t, n)
			withoutFooters(fsys, tt.cut...)
			var told []Progress
			cfg := testConfig(fsys)
			cfg.ReadOnly = readOnly
			cfg.Progress = func(p Progress) { told = append(told, p) } // the race detector sees two at a time
			st, err := Open(context.Background(), cfg)
			if err != nil {
				t.Fatalf("%s: Open = %v", tt.name, err)
			}
			st.Close()
			if len(told) != n+1 {
				t.Fatalf("%s: %d calls, want one for each of %d segments: %+v", tt.name, len(told), n+1, told)
			}
			for i, p := range told {
				if p.Rung != tt.rung || p.Done != i+1 || p.Total != n+1 || want[p.Seq].IsZero() {
					t.Errorf("%s: call %d is %+v, want %v, %d of %d, and a sequence", tt.name, i, p, tt.rung, i+1, n+1)
				}
			}
			if last := told[n].Seq; last != st.LastSeq {
				t.Errorf("%s: the last call names sequence %d, want %d", tt.name, last, st.LastSeq)
			}
		}
	}
}

// TestCancelInProgress ends the context in each call of Progress: the open gives up with the context's error, has
// changed nothing, and lets go of the lock.
func TestCancelInProgress(t *testing.T) {
	const n = 5
	for at := 1; at <= n+1; at++ {
		fsys, want := manySegments(t, n)
		withoutFooters(fsys, 1, 2, 3, 4, 5)
		before := fsys.Files()
		ctx, cancel := context.WithCancel(context.Background())
		cfg := testConfig(fsys)
		cfg.Progress = func(p Progress) {
			if p.Done == at {
				cancel()
			}
		}
		if _, err := Open(ctx, cfg); !errors.Is(err, context.Canceled) {
			t.Errorf("canceled at %d of %d: Open = %v, want %v", at, n+1, err, context.Canceled)
		}
		cancel()
		if !sameFiles(withoutLock(before), withoutLock(fsys.Files())) {
			t.Errorf("canceled at %d of %d: the directory has changed", at, n+1)
		}
		if got, _, err := reopen(fsys, false); err != nil || !maps.Equal(got, want) {
			t.Errorf("canceled at %d of %d: %d events afterwards, want %d, %v", at, n+1, len(got), len(want), err)
		}
	}
}

// TestCancelInsideOneSegment ends the context while a long segment is read: that does not wait for its end.
func TestCancelInsideOneSegment(t *testing.T) {
	fsys := vfs.NewMem()
	cfg := testConfig(fsys)
	cfg.SegmentSize = 8 << 20
	s := openTest(t, cfg)
	for range 8 {
		s.append(2 * ctxEvery)
	}
	s.crash()
	ctx, cancel := context.WithCancel(context.Background())
	reads := 0
	cfg.FS = vfs.Inject(fsys, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRead && c.Len > segment.MaxHeaderLen {
			if reads++; reads == 2 {
				cancel()
			}
		}
		return vfs.Decision{}
	})
	_, err := Open(ctx, cfg)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("Open = %v, want %v", err, context.Canceled)
	}
	if reads > 6 {
		t.Errorf("Open read %d blocks after its context had ended", reads-2)
	}
}
