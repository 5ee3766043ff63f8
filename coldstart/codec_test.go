package coldstart

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// FuzzArtifacts decodes anything as each of the small artifacts, and encodes again what decodes.
func FuzzArtifacts(f *testing.F) {
	store := [16]byte{1, 2}
	f.Add(appendMeta(nil, &meta{Store: store, Created: 5}))
	f.Add(appendAnchor(nil, &Anchor{End: segment.Pos{Segment: 1, Offset: 2}, Relaxed: true, generation: 3, store: store}))
	var sink bufferAt
	newBeacon(&sink, store, true).Publish(segment.Pos{Segment: 4, Offset: 5}, 6)
	f.Add(sink.b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMeta(b); err == nil {
			if got := appendMeta(nil, &m); !bytes.Equal(got, b) {
				t.Errorf("appendMeta = %x, want %x", got, b)
			}
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFuture) {
			t.Errorf("decodeMeta = %v", err)
		}
		if a, err := decodeAnchor(b); err == nil {
			if got := appendAnchor(nil, &a); !bytes.Equal(got, b[:anchorLen]) {
				t.Errorf("appendAnchor = %x, want %x", got, b)
			}
		} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrFuture) {
			t.Errorf("decodeAnchor = %v", err)
		}
		if s, ok, err := decodeBeacon(b, store); ok && err == nil {
			var sink bufferAt
			newBeacon(&sink, store, s.Relaxed).Publish(s.Durable, s.Seq)
			if !bytes.Equal(sink.b, b) {
				t.Errorf("Publish writes %x, want %x", sink.b, b)
			}
		}
	})
}

// A bufferAt keeps what was written last.
type bufferAt struct{ b []byte }

func (w *bufferAt) WriteAt(p []byte, _ int64) (int, error) {
	w.b = append(w.b[:0], p...)
	return len(p), nil
}

// TestReadBeaconHalfWritten: a reader that meets half of a beacon waits for the rest, for a while.
func TestReadBeaconHalfWritten(t *testing.T) {
	const durable = 7
	store := [16]byte{1}
	var was, is bufferAt
	newBeacon(&was, store, true).Publish(segment.Pos{Segment: 1, Offset: durable - 1}, 3)
	newBeacon(&is, store, true).Publish(segment.Pos{Segment: 1, Offset: durable}, 4)
	for _, tt := range []struct {
		half int // bytes of the new beacon that stand before the old one's
		look int // of the reader before which the rest is written; 0 for never
		want bool
	}{{0, 0, true}, {13, 2, true}, {47, 3, true}, {48, 0, false}, {beaconLen, 0, true}} {
		write := func(m *vfs.Mem, n int) {
			m.SetFile(lockName, slices.Concat(make([]byte, vfs.LockDataOffset), is.b[:n], was.b[n:]))
		}
		mem, looks := vfs.NewMem(), 0
		write(mem, tt.half)
		d, err := mem.OpenDir(vfs.MemDir, vfs.DirOptions{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := d.OpenWrite(lockName)
		if err != nil {
			t.Fatal(err)
		}
		reader, err := vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
			if c.Kind == vfs.OpRead {
				if looks++; looks == tt.look {
					if _, err := f.WriteAt(is.b, vfs.LockDataOffset); err != nil {
						t.Error(err)
					}
				}
			}
			return vfs.Decision{}
		}).OpenDir(vfs.MemDir, vfs.DirOptions{})
		if err != nil {
			t.Fatal(err)
		}
		s, ok, err := ReadBeacon(reader, store)
		if err != nil || ok != tt.want || looks > maxLooks || ok && (s.Durable.Offset == durable) != (tt.half > 0) {
			t.Errorf("%d bytes, the rest before look %d: %+v, %v, %v after %d looks", tt.half, tt.look, s, ok, err, looks)
		}
	}
}

func TestPublishAllocatesNothing(t *testing.T) {
	var sink bufferAt
	b := newBeacon(&sink, [16]byte{1}, false)
	if n := testing.AllocsPerRun(100, func() { b.Publish(segment.Pos{Segment: 1, Offset: 2}, 3) }); n != 0 {
		t.Errorf("Publish allocates %v times", n)
	}
}

func BenchmarkPublish(b *testing.B) {
	dir, err := vfs.OS.OpenDir(b.TempDir(), vfs.DirOptions{})
	if err != nil {
		b.Fatal(err)
	}
	lock, err := dir.Lock(lockName)
	if err != nil {
		b.Fatal(err)
	}
	defer lock.Close()
	beacon := newBeacon(lock, [16]byte{1}, false)
	b.ReportAllocs()
	for b.Loop() {
		if err := beacon.Publish(segment.Pos{Segment: 1, Offset: 2}, 3); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAnchorSlots(t *testing.T) {
	m := vfs.NewMemFrom(nil)
	dir, _ := m.OpenDir(vfs.MemDir, vfs.DirOptions{})
	store := [16]byte{7}
	f := anchorFile{dir: dir, store: store}
	for i := range uint64(5) {
		if err := f.write(Anchor{End: segment.Pos{Segment: 1, Offset: 200 + int64(i)}, LastSeq: i, LastHLC: event.HLC(i)}); err != nil {
			t.Fatal(err)
		}
		// Whatever a crash leaves of the write after this one, this one or that one is found.
		if i == 0 {
			continue
		}
		for state := range m.CrashStates(m.OpCount(), crashOptions) {
			d, _ := state.FS().OpenDir(vfs.MemDir, vfs.DirOptions{})
			a, _, err := readAnchor(d, store)
			if err != nil || a == nil || a.LastSeq != i {
				t.Fatalf("%s: anchor %+v, %v, want sequence %d", state.Name, a, err, i)
			}
		}
		last := m.OpCount()
		for state := range m.CrashStates(last-1, crashOptions) {
			d, _ := state.FS().OpenDir(vfs.MemDir, vfs.DirOptions{})
			a, _, err := readAnchor(d, store)
			if err != nil || a == nil || a.LastSeq != i && a.LastSeq != i-1 {
				t.Fatalf("%s: anchor %+v, %v, want sequence %d or %d", state.Name, a, err, i-1, i)
			}
		}
	}
	b := m.Files()[anchorName]
	if len(b) != anchorSize {
		t.Fatalf("anchor of %d bytes", len(b))
	}
	// One slot rotten: the other one serves, and there is a finding.
	b[anchorStride*int(f.generation%2)+30] ^= 1
	m.SetFile(anchorName, b)
	if a, finding, err := readAnchor(dir, store); err != nil || a == nil || a.LastSeq != 3 || !errors.Is(finding, ErrDamaged) {
		t.Errorf("anchor %+v, finding %v, %v", a, finding, err)
	}
	if a, finding, err := readAnchor(dir, [16]byte{8}); err != nil || a != nil || finding == nil {
		t.Errorf("anchor of another store %+v, finding %v, %v", a, finding, err)
	}
}
