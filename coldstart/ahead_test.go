package coldstart

import (
	"context"
	"errors"
	"maps"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// longTail returns a store whose tail is long enough to be decoded ahead, batches small and large in it.
func longTail(t *testing.T) (*vfs.Mem, model) {
	t.Helper()
	m := vfs.NewMem()
	cfg := testConfig(m)
	cfg.SegmentSize = 16 << 20
	s := openTest(t, cfg)
	for range 30 {
		s.write(s.group(200, false, 300))
		s.write(s.group(70, true, 500))
		s.sync()
	}
	s.write(s.group(700, true, 3000)) // more than a scanner holds
	s.write(s.group(2000, false, 100))
	s.sync()
	if end := s.end().Pos.Offset; end < 2*aheadLeast {
		t.Fatalf("tail of %d bytes, want %d at least", end, 2*aheadLeast)
	}
	want := maps.Clone(s.events)
	s.close()
	return m, want
}

// TestDecodeAhead: a long tail tells what a scan that nobody is ahead of tells.
func TestDecodeAhead(t *testing.T) {
	m, want := longTail(t)
	for _, readOnly := range []bool{false, true} {
		got, r, err := reopen(m, readOnly)
		if err != nil || !maps.Equal(got, want) || r.Replayed != uint64(len(want)) {
			t.Errorf("read-only %v: %d events, want %d, %v\n%v", readOnly, len(got), len(want), err, &r)
		}
	}
}

// TestDecodeAheadFails: whichever event the index refuses, and however the scan ends, the error of the index is what
// comes out, and nothing hangs.
func TestDecodeAheadFails(t *testing.T) {
	m, want := longTail(t)
	dir, err := m.OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := dir.OpenRead(segment.Name(1))
	if err != nil {
		t.Fatal(err)
	}
	h, err := segment.DecodeHeader(m.Files()[segment.Name(1)], 1)
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	refused := errors.New("refused")
	last := uint64(len(want))
	for _, at := range []uint64{1, 2, 511, 512, 513, 5000, last - 1, last, last + 1} {
		for _, canceled := range []bool{false, true} {
			ctx, cancel := context.WithCancel(context.Background())
			s := newScan(f, &h, startOf(&h), size, wholeFile)
			next := uint64(1)
			a := decodeAhead(s, size, func(r *event.Raw, _, _ uint32) error {
				if r.Seq != next || r.Hash != want[next] {
					t.Errorf("event %d comes where %d is due", r.Seq, next)
				}
				if next++; r.Seq == at {
					cancel()
					return refused
				}
				return nil
			})
			if a == nil {
				t.Skip("NOT TESTED: that decoding ahead stops when it is told to: there is one processor")
			}
			if canceled {
				cancel()
			}
			err := a.wait(s.run(ctx))
			cancel()
			switch {
			case canceled && !errors.Is(err, context.Canceled) && !errors.Is(err, refused),
				!canceled && at <= last && !errors.Is(err, refused), !canceled && at > last && err != nil:
				t.Errorf("refused at %d, canceled %v: %v", at, canceled, err)
			}
		}
	}
}
