package coldstart

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"batpak/hidden"
	"batpak/internal/vfs"
	"batpak/segment"
)

// lookAt returns an opener over the directory, which knows the store's identity.
func lookAt(t testing.TB, fsys vfs.FS, path string) *opener {
	t.Helper()
	dir, err := fsys.OpenDir(path, vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	o := newOpener(Config{Dir: path}.withDefaults(), dir)
	if o.meta, err = readMeta(dir); err != nil {
		t.Fatal(err)
	}
	return o
}

// resum sets the checksum that an artifact has behind its magic and length.
func resum(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[sumAt:], artifactSum(b))
	return b
}

// sampleHidden is a file of hidden ranges for a store of twelve events.
func sampleHidden() hidden.File {
	return hidden.File{Set: hidden.Of(hidden.Range{From: 2, To: 4}, hidden.Range{From: 7, To: 8}), Covers: 12, LastFence: 3}
}

func TestNamesOfSideFiles(t *testing.T) {
	for _, name := range []string{hidden.FileName, "index.idemp"} {
		if !isOurs(name) || !leavesTemp(name) {
			t.Errorf("%s is not a name of ours that leaves temporary files", name)
		}
	}
}

// TestReadHidden: absent, damaged, foreign and future are told apart, in memory and on disk.
func TestReadHidden(t *testing.T) {
	disk := t.TempDir()
	mem := vfs.NewMem()
	openTest(t, testConfig(mem)).close()
	cfg := testConfig(vfs.OS)
	cfg.Dir = disk
	openTest(t, cfg).close()
	f := sampleHidden()
	for name, o := range map[string]*opener{"memory": lookAt(t, mem, vfs.MemDir), "disk": lookAt(t, vfs.OS, disk)} {
		whole := hidden.AppendFile(nil, o.meta.Store, &f)
		for _, tt := range []struct {
			name   string
			file   []byte // nil: none
			want   error
			future bool
		}{
			{"absent", nil, nil, false},
			{"intact", whole, nil, false},
			{"empty", []byte{}, ErrDamaged, false},
			{"cut", whole[:len(whole)-1], ErrDamaged, false},
			{"flipped", append(bytes.Clone(whole[:60]), append([]byte{whole[60] ^ 4}, whole[61:]...)...), ErrDamaged, false},
			{"of another store", hidden.AppendFile(nil, [16]byte{9}, &f), ErrForeign, false},
			{"of a newer version", resum(append(append(bytes.Clone(whole[:16]), 2), whole[17:]...)), ErrFuture, true},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				if tt.file != nil {
					if err := vfs.WriteFileAtomic(o.dir, hidden.FileName, tt.file); err != nil {
						t.Fatal(err)
					}
				}
				got, err := o.readHidden()
				if tt.want == nil {
					if want := tt.file != nil; err != nil || got.Set.IsEmpty() == want || want && !got.Set.Equal(f.Set) {
						t.Errorf("readHidden = %+v, %v", got, err)
					}
					return
				}
				mustRefuseHidden(t, tt.name, err, tt.want, tt.future)
			})
		}
	}
}

// mustRefuseHidden ends the test unless err is the typed refusal for want, and names the file.
func mustRefuseHidden(t *testing.T, what string, err, want error, future bool) {
	t.Helper()
	var refusal *HiddenError
	var newer *FutureError
	if !errors.Is(err, want) || errors.As(err, &refusal) == future || errors.As(err, &newer) != future ||
		!strings.Contains(err.Error(), hidden.FileName) || !future && !strings.Contains(err.Error(), "batpak repair") {
		t.Fatalf("%s: %v, want a refusal with %v", what, err, want)
	}
	for _, other := range []error{ErrAbsent, ErrStale, ErrDamaged, ErrForeign, ErrFuture} {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%s: %v is %v, too", what, err, other)
		}
	}
}

// TestReadHiddenEveryDamage flips every bit and cuts at every length.
func TestReadHiddenEveryDamage(t *testing.T) {
	m := vfs.NewMem()
	openTest(t, testConfig(m)).close()
	o := lookAt(t, m, vfs.MemDir)
	f := sampleHidden()
	whole := hidden.AppendFile(nil, o.meta.Store, &f)
	refuse := func(what string, b []byte) {
		t.Helper()
		m.SetFile(hidden.FileName, b)
		_, err := o.readHidden()
		mustRefuseHidden(t, what, err, ErrDamaged, false)
	}
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		refuse(fmt.Sprint("bit ", bit), b)
	}
	for n := range whole {
		refuse(fmt.Sprint("cut to ", n), whole[:n])
	}
}

// TestWriteHidden: what was written is what is read, after any crash the old file or the new one, and a left-over of it
// is removed.
func TestWriteHidden(t *testing.T) {
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	s.append(12)
	before, after := sampleHidden(), sampleHidden()
	after.Set = after.Set.Add(9, 12)
	if err := s.st.WriteHidden(before); err != nil {
		t.Fatal(err)
	}
	start := m.OpCount()
	if err := s.st.WriteHidden(after); err != nil {
		t.Fatal(err)
	}
	for ops := start; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, crashOptions) {
			disk := state.FS()
			st, err := Open(context.Background(), testConfig(disk))
			if err != nil {
				t.Fatalf("%s: %v", state.Name, err)
			}
			isNew := st.Hidden.Equal(after.Set)
			if err != nil || !isNew && !st.Hidden.Equal(before.Set) || ops == m.OpCount() && !isNew {
				t.Errorf("%s: %v, %v", state.Name, st.Hidden, err)
			}
			if left := slices.Sorted(maps.Keys(disk.Files())); slices.ContainsFunc(left, vfs.IsTemp) {
				t.Errorf("%s: %v are left", state.Name, left)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.crash()
	m.SetFile(hidden.FileName, []byte("rot"))
	_, err := Open(context.Background(), testConfig(m))
	mustRefuseHidden(t, "Open", err, ErrDamaged, false)
}

// decide writes a fence frame.
func (s *testStore) decide(op segment.FenceOp, fence uint64) {
	s.t.Helper()
	w := s.st.Writer
	body := segment.AppendFence(nil, &segment.Fence{Op: op, Fence: fence, Seq: s.seq})
	if err := w.Write(w.Seal().AppendFrame(nil, w.End(), segment.TypeFence, segment.FlagGroup, uint32(w.Durable()), body)); err != nil {
		s.t.Fatalf("Write = %v", err)
	}
}

// stage writes n events under a fence.
func (s *testStore) stage(fence uint64, n int, batch bool) {
	s.t.Helper()
	s.fence = fence
	s.write(s.group(n, batch, 16))
	s.fence = 0
}

// hiddenIn derives what hides from the log in fsys, from what is known.
func hiddenIn(t testing.TB, fsys vfs.FS, known hidden.File) *hidden.Tracker {
	t.Helper()
	o := lookAt(t, fsys, vfs.MemDir)
	v, err := o.survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	k, err := rebuildHidden(t.Context(), o.dir, known, o.chain.frameRanges(v.tail.at.offset))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestRebuildHidden: begun and lost, cancelled, committed; in batches, over segments, with others in between.
func TestRebuildHidden(t *testing.T) {
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	s.append(1)
	s.decide(segment.FenceBegin, 1)
	s.stage(1, 2, false) // 2, 3: committed in the next segment
	s.decide(segment.FenceBegin, 2)
	s.stage(2, 3, true) // 4–6: cancelled in the next segment
	s.append(1)         // 7
	s.seal(s.rotate())
	s.stage(1, 1, false) // 8
	s.decide(segment.FenceCommit, 1)
	s.stage(2, 1, true) // 9
	s.decide(segment.FenceCancel, 2)
	s.decide(segment.FenceBegin, 3)
	s.stage(3, 1, false) // 10: nothing decides it
	s.append(1)          // 11
	s.crash()
	want := hidden.Of(hidden.Range{From: 4, To: 7}, hidden.Range{From: 9, To: 11})
	for range 3 { // recovery moves the end of the log and writes it anew
		k := hiddenIn(t, m, hidden.File{})
		if got := k.End(); !got.Set.Equal(want) || got.Covers != 11 || got.LastFence != 3 {
			t.Fatalf("End = %+v, want %+v", got, want)
		}
		if got := k.Settled(); !got.Set.Equal(want.Below(10)) || got.Covers != 9 {
			t.Fatalf("Settled = %+v", got)
		}
		if got := hiddenIn(t, m, k.End()).End(); !got.Set.Equal(want) {
			t.Fatalf("End from End = %+v", got)
		}
		openTest(t, testConfig(m)).crash()
	}
}

// TestRebuildHiddenOfAnyLog writes logs of random fences, rotations and crashes, and comes to the same from every place.
func TestRebuildHiddenOfAnyLog(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 5))
		m := vfs.NewMem()
		s := openTest(t, testConfig(m))
		var live hidden.Tracker // sees what is written
		files := []hidden.File{{}}
		stage := func() {
			fence := rng.Uint64N(4)
			n := 1 + rng.IntN(3)
			for i := range n {
				live.Event(s.seq+1+uint64(i), fence)
			}
			s.stage(fence, n, rng.IntN(2) == 0)
		}
		for range 40 {
			fence := 1 + rng.Uint64N(3)
			switch rng.IntN(10) {
			case 0:
				s.sync()
				s.seal(s.rotate())
			case 1:
				s.crash()
				s = openTest(t, testConfig(m))
			case 2:
				s.decide(segment.FenceBegin, fence)
				live.Begin(fence)
			case 3:
				s.decide(segment.FenceCommit, fence)
				live.Commit(fence)
			case 4:
				s.decide(segment.FenceCancel, fence)
				live.Cancel(fence)
			case 5:
				files = append(files, live.Settled())
			default:
				stage()
			}
		}
		s.crash()
		want := live.End()
		for _, known := range files {
			got := hiddenIn(t, m, known).End()
			if !got.Set.Equal(want.Set) || got.Covers != want.Covers || got.LastFence != want.LastFence {
				t.Fatalf("seed %d, from %+v: %+v, want %+v", seed, known, got, want)
			}
		}
	}
}

// TestRebuildHiddenOfADamagedLog: a frame that cannot be read is not passed over.
func TestRebuildHiddenOfADamagedLog(t *testing.T) {
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	s.stage(1, 3, false)
	s.seal(s.rotate())
	s.append(2)
	s.crash()
	o := lookAt(t, m, vfs.MemDir)
	v, err := o.survey(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	log := o.chain.frameRanges(v.tail.at.offset)
	v.close()
	b := m.Files()[segment.Name(1)]
	b[log[0].header.Len()+30] ^= 1
	m.SetFile(segment.Name(1), b)
	var damage *CorruptError
	if _, err := rebuildHidden(t.Context(), o.dir, hidden.File{}, log); !errors.As(err, &damage) || damage.Segment != 1 {
		t.Errorf("rebuildHidden = %v, want a *CorruptError in segment 1", err)
	}
	// What the file covers is not read.
	if _, err := rebuildHidden(t.Context(), o.dir, hidden.File{Covers: 3}, log); err != nil {
		t.Errorf("rebuildHidden behind the damage = %v", err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := rebuildHidden(ended, o.dir, hidden.File{Covers: 3}, log); !errors.Is(err, context.Canceled) {
		t.Errorf("rebuildHidden = %v, want %v", err, context.Canceled)
	}
}
