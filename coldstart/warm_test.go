package coldstart

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// TestSnapshotOpenTouchesNoSealedSegment counts what an open by the snapshot asks of the file system: as much with many
// sealed segments as with few, none of it of a sealed segment, and no file is opened twice.
func TestSnapshotOpenTouchesNoSealedSegment(t *testing.T) {
	counts := make(map[int]int)
	for _, sealed := range []int{1, 7} {
		mem := vfs.NewMem()
		want := sealedAndIndexed(t, mem, sealed)
		opened := make(map[string]int)
		faulty := vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
			if id, ok := segment.ParseName(c.Name); ok && int(id) <= sealed {
				t.Errorf("%d sealed segments: %v of %s", sealed, c.Kind, c.Name)
			}
			switch c.Kind {
			case vfs.OpOpenRead, vfs.OpOpenWrite, vfs.OpMap, vfs.OpLock:
				opened[c.Name]++
			}
			return vfs.Decision{}
		})
		st, err := Open(context.Background(), testConfig(faulty))
		if err != nil {
			t.Fatal(err)
		}
		counts[sealed] = faulty.Count() - faulty.CountOf(vfs.OpRead) // a map is read as often as the Merkle tree is high
		if r := &st.Report; r.Rung != RungSnapshot || r.Replayed > 0 || r.Segments != sealed+1 {
			t.Errorf("%d sealed segments: %v", sealed, r)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		for name, n := range opened {
			if n > 1 {
				t.Errorf("%d sealed segments: %s was opened %d times", sealed, name, n)
			}
		}
		if got, _, err := reopen(mem, false); err != nil || !maps.Equal(got, want) {
			t.Errorf("%d sealed segments: %d events, want %d: %v", sealed, len(got), len(want), err)
		}
	}
	if counts[1] != counts[7] {
		t.Errorf("%d calls with 1 sealed segment, %d with 7", counts[1], counts[7])
	}
}

// sealedAndIndexed makes a store of so many sealed segments and a newest one that index blocks cover, with images.
func sealedAndIndexed(t *testing.T, fsys vfs.FS, sealed int) model {
	s := openTest(t, testConfig(fsys))
	for range sealed {
		s.append(3)
		s.seal(s.rotate())
	}
	s.append(5)
	s.st.Folder.Fold()
	if err := s.st.IndexBlock(context.Background(), s.st.Writer, s.seq); err != nil {
		t.Fatal(err)
	}
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(s.events)
	s.close()
	return want
}

// TestCheckpointThatIsCut steps down from a checkpoint that becomes shorter while it is read.
func TestCheckpointThatIsCut(t *testing.T) {
	mem := vfs.NewMem()
	want := sealedAndIndexed(t, mem, 2)
	cfg := testConfig(vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRead && c.Name == checkpointName && c.Off == 0 {
			shorten(t, mem, checkpointName, int64(c.Len/2))
		}
		return vfs.Decision{}
	}))
	cfg.NoSnapshot = true
	s := openTest(t, cfg)
	defer s.close()
	if r := &s.st.Report; r.Rung != RungFooters || !maps.Equal(s.events, want) {
		t.Errorf("%d events, want %d by the footers\n%v", len(s.events), len(want), r)
	}
}

// shorten makes a file shorter, for those who have it open, too.
func shorten(t *testing.T, fsys vfs.FS, name string, size int64) {
	d, err := fsys.OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenWrite(name)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close(), d.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestNewestThatCannotBeWritten: who reads the newest segment can do without writing to it; the writer says why it cannot.
func TestNewestThatCannotBeWritten(t *testing.T) {
	mem := vfs.NewMem()
	want := sealedAndIndexed(t, mem, 2)
	refused := 0
	cfg := testConfig(vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpOpenWrite && c.Name == segment.Name(3) {
			if refused++; refused == 1 {
				return vfs.Decision{Err: context.DeadlineExceeded}
			}
		}
		return vfs.Decision{}
	}))
	s := openTest(t, cfg)
	if !maps.Equal(s.events, want) || refused != 2 {
		t.Errorf("%d events, want %d; asked %d times for a file to write to, want 2", len(s.events), len(want), refused)
	}
	s.append(1)
	s.close()
}

func TestMayBeReserved(t *testing.T) {
	for k := range 1 << 16 {
		if kind := event.Kind(k); mayBeReserved(kind, kind) != kind.Reserved() {
			t.Fatalf("mayBeReserved(%v, %[1]v) = %v", kind, !kind.Reserved())
		}
	}
	edges := []event.Kind{0, 1, 0xfff, 0x1000, 0x5000, 0xcfff, 0xd000, 0xd001, 0xdfff, 0xe000, 0xffff}
	for i, least := range edges {
		for _, most := range edges[i:] {
			between := slices.ContainsFunc(edges, func(k event.Kind) bool { return least <= k && k <= most && k.Reserved() })
			if got := mayBeReserved(least, most); got != between {
				t.Errorf("mayBeReserved(%v, %v) = %v", least, most, got)
			}
		}
	}
}
