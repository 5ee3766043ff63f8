package coldstart

import (
	"context"
	"maps"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// TestReservedKindsAreCounted: events of kinds that a later version may know stay what they are, and every rung counts
// all of them, whether it reads them or an artifact has kept count.
func TestReservedKindsAreCounted(t *testing.T) {
	const unknown, other = event.Kind(0xd123), event.Kind(0x0042)
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	write := func(kind event.Kind, n int) {
		s.kind = kind
		s.append(n)
	}
	write(unknown, 3)
	write(0, 2)
	s.seal(s.rotate())
	write(unknown, 1)
	write(other, 2)
	s.st.Folder.Fold()
	if err := s.st.IndexBlock(context.Background(), s.st.Writer, s.seq); err != nil {
		t.Fatal(err)
	}
	write(unknown, 4) // behind the block
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	want, events := map[event.Kind]uint64{unknown: 8, other: 2}, maps.Clone(s.events)
	s.close()
	for _, rung := range []struct {
		name   Rung
		remove []string
		read   map[event.Kind]uint64
	}{
		{RungSnapshot, nil, map[event.Kind]uint64{unknown: 4}},
		{RungCheckpoint, []string{snapshotName}, map[event.Kind]uint64{unknown: 4}},
		{RungFooters, []string{checkpointName}, map[event.Kind]uint64{unknown: 4}},
		{RungFooters, []string{segment.BlockName(2)}, map[event.Kind]uint64{unknown: 5, other: 2}},
		{RungFrames, nil, map[event.Kind]uint64{unknown: 8, other: 2}},
	} {
		for _, name := range rung.remove {
			m.DeleteFile(name)
		}
		if rung.name == RungFrames {
			b := m.Files()[segment.Name(1)]
			b[len(b)-1] ^= 1 // the footer's checksum
			m.SetFile(segment.Name(1), b)
		}
		got, r, err := reopen(m, true)
		if err != nil || !maps.Equal(got, events) {
			t.Fatalf("%v: %d events, want %d, %v", rung.name, len(got), len(events), err)
		}
		if r.Rung != rung.name || !maps.Equal(r.ReservedTotal, want) || !maps.Equal(r.Reserved, rung.read) {
			t.Errorf("%v: %v in all, %v read; want %v, %v\n%v", rung.name, r.ReservedTotal, r.Reserved, want, rung.read, r)
		}
	}
}
