package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

func TestOpenFresh(t *testing.T) {
	fsys := vfs.NewMem()
	s := openTest(t, testConfig(fsys))
	if s.st.LastSeq != 0 || s.st.NextSeq != 1 || s.st.Writer.Header().Segment != 1 || len(s.st.Pending) != 0 {
		t.Errorf("fresh store: LastSeq %d, NextSeq %d, segment %d, %d pending", s.st.LastSeq, s.st.NextSeq,
			s.st.Writer.Header().Segment, len(s.st.Pending))
	}
	s.append(5)
	s.close()
	got, report, err := reopen(fsys, false)
	if err != nil || len(got) != 5 || !report.Clean || report.Rung != RungFrames || report.Replayed != 5 {
		t.Errorf("reopen = %d events, %+v, %v", len(got), report, err)
	}
	for range 3 {
		before := fsys.Files()
		s := openTest(t, testConfig(fsys))
		s.close()
		if after := fsys.Files(); !sameFiles(before, after) {
			t.Fatalf("a clean open and close changed the directory: %v, %v", names(before), names(after))
		}
	}
}

func sameFiles(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}

// names returns the files and their sizes.
func names(files map[string][]byte) map[string]int {
	m := map[string]int{}
	for name, b := range files {
		m[name] = len(b)
	}
	return m
}

func TestEveryRungTellsTheSame(t *testing.T) {
	fsys := vfs.NewMem()
	s, want := threeSegments(t, fsys)
	s.close()
	check := func(rung Rung, footers, scanned int) {
		t.Helper()
		for _, readOnly := range []bool{true, false} {
			got, report, err := reopen(fsys, readOnly)
			if err != nil || !maps.Equal(got, want) {
				t.Fatalf("read-only %v: %d events, want %d: %v", readOnly, len(got), len(want), err)
			}
			if report.Rung != rung || report.Footers != footers || report.Scanned != scanned {
				t.Errorf("read-only %v: rung %v, %d footers, %d scanned; want %v, %d, %d\n%v", readOnly,
					report.Rung, report.Footers, report.Scanned, rung, footers, scanned, report)
			}
		}
	}
	check(RungFooters, 2, 0)
	cut := func(id uint64) {
		b := fsys.Files()[segment.Name(id)]
		b[len(b)-1] ^= 1
		fsys.SetFile(segment.Name(id), b)
	}
	cut(1)
	check(RungFooters, 1, 1)
	cut(2)
	check(RungFrames, 0, 2)

	// A writer seals them again.
	s = openTest(t, testConfig(fsys))
	if len(s.st.Pending) != 2 {
		t.Fatalf("%d pending, want 2", len(s.st.Pending))
	}
	for _, u := range s.st.Pending {
		u.Tree = nil // computed anew, it must come to the same
		s.seal(u)
	}
	if m, err := readAll(s.st); err != nil || !maps.Equal(m, want) {
		t.Errorf("after sealing: %d events, %v", len(m), err)
	}
	s.append(1)
	want = maps.Clone(s.events)
	s.close()
	check(RungFooters, 2, 0)
}

func TestExpectHead(t *testing.T) {
	fsys := vfs.NewMem()
	s, want := threeSegments(t, fsys)
	s.crash()
	for seq, hash := range want {
		cfg := testConfig(fsys)
		cfg.ExpectHead = &Head{seq, hash}
		st, err := Open(context.Background(), cfg)
		if err != nil {
			t.Fatalf("Open with the head %d = %v", seq, err)
		}
		st.Close()
	}
	before := fsys.Files()
	for _, head := range []Head{{1, want[2]}, {99, want[1]}, {0, want[1]}} {
		for _, readOnly := range []bool{false, true} {
			cfg := testConfig(fsys)
			cfg.ExpectHead, cfg.ReadOnly = &head, readOnly
			_, err := Open(context.Background(), cfg)
			if e := (*HeadMismatchError)(nil); !errors.As(err, &e) || !errors.Is(err, ErrHeadMismatch) {
				t.Errorf("Open with the head %d = %v, want ErrHeadMismatch", head.Seq, err)
			}
		}
	}
	if !sameFiles(before, fsys.Files()) {
		t.Error("a refusal changed the directory")
	}
}

// TestExpectHeadReadsOneFrame: an expected head costs a look into an index and one frame, wherever it is: in a sealed
// segment, under an index block, behind it.
func TestExpectHeadReadsOneFrame(t *testing.T) {
	mem := vfs.NewMem()
	cfg := testConfig(mem)
	cfg.SegmentSize = 1 << 20
	s := openTest(t, cfg)
	grow := func() { s.write(s.group(100, false, 5000)); s.sync() }
	grow()
	s.seal(s.rotate())
	grow()
	s.st.Folder.Fold()
	if err := s.st.IndexBlock(context.Background(), s.st.Writer, s.seq); err != nil {
		t.Fatal(err)
	}
	s.append(3)
	if err := s.st.WriteImages(); err != nil {
		t.Fatal(err)
	}
	want := maps.Clone(s.events)
	s.close()
	var bytes int
	cfg.FS = vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		if _, ok := segment.ParseName(c.Name); ok && c.Kind == vfs.OpRead {
			bytes += c.Len
		}
		return vfs.Decision{}
	})
	open := func(head *Head) (int, error) {
		bytes, cfg.ExpectHead = 0, head
		st, err := Open(context.Background(), cfg)
		if err == nil {
			err = st.Close()
		}
		return bytes, err
	}
	without, err := open(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{1, 50, 100, 101, 200, 201, 203} {
		got, err := open(&Head{seq, want[seq]})
		if err != nil {
			t.Errorf("head %d: %v", seq, err)
		}
		if most := without + 32<<10; got > most {
			t.Errorf("head %d: %d bytes of segments read, want %d at most", seq, got, most)
		}
	}
	if _, err := open(&Head{50, want[51]}); !errors.Is(err, ErrHeadMismatch) {
		t.Errorf("another head: %v", err)
	}
	// The frame itself is damaged: that is not the history of somebody else.
	b := mem.Files()[segment.Name(1)]
	b[len(b)/2] ^= 1
	mem.Rot(segment.Name(1), b)
	refused := 0
	for seq := uint64(1); seq <= 100; seq++ {
		var corrupt *CorruptError
		switch _, err := open(&Head{seq, want[seq]}); {
		case err == nil:
		case errors.As(err, &corrupt) && corrupt.Segment == 1 && corrupt.Offset > 0 && corrupt.FirstSeq == seq && corrupt.LastSeq == seq:
			refused++
		default:
			t.Errorf("head %d with a rotten frame: %v", seq, err)
		}
	}
	if refused != 1 {
		t.Errorf("%d heads refused, want 1", refused)
	}
}

func TestLock(t *testing.T) {
	fsys := vfs.NewMem()
	s := openTest(t, testConfig(fsys))
	s.append(1)
	_, err := Open(context.Background(), testConfig(fsys))
	if e := (*vfs.LockedError)(nil); !errors.As(err, &e) {
		t.Errorf("second Open = %v, want *LockedError", err)
	}
	if got, _, err := reopen(fsys, true); err != nil || len(got) != 1 {
		t.Errorf("read-only beside the writer = %d events, %v", len(got), err)
	}
	s.close()
	if _, _, err := reopen(fsys, false); err != nil {
		t.Errorf("Open after Close = %v", err)
	}
}

func TestReadOnlyWritesNothing(t *testing.T) {
	fsys := vfs.NewMem()
	cfg := testConfig(fsys)
	cfg.ReadOnly = true
	if _, err := Open(context.Background(), cfg); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("read-only Open of nothing = %v", err)
	}
	fsys = vfs.NewMemFrom(map[string][]byte{"note.txt": []byte("x")})
	if _, _, err := reopen(fsys, true); !errors.Is(err, ErrNoStore) {
		t.Errorf("read-only Open of an empty directory = %v, want ErrNoStore", err)
	}
	if n := fsys.OpCount(); n != 0 {
		t.Errorf("%d ops", n)
	}

	s, _ := threeSegments(t, fsys)
	s.write(s.group(2, false, 16)) // in doubt
	s.crash()
	fsys.SetFile("anchor.tmp", []byte("half"))
	ops := fsys.OpCount()
	got, report, err := reopen(fsys, true)
	if err != nil {
		t.Fatal(err)
	}
	if why := got.contains(s.durable); why != "" || len(got) != len(s.durable) {
		t.Errorf("a reader sees %d events, want the %d that are durable %s", len(got), len(s.durable), why)
	}
	if n := fsys.OpCount() - ops; n != 0 {
		t.Errorf("a read-only open made %d ops: %v", n, fsys.Ops()[ops:])
	}
	if report.Verdict != "doubtful end" {
		t.Errorf("verdict %q", report.Verdict)
	}
}

func TestRelaxedReaderSeesWhatIsWritten(t *testing.T) {
	fsys := vfs.NewMem()
	cfg := testConfig(fsys)
	cfg.Relaxed = true
	s := openTest(t, cfg)
	s.append(2)
	s.write(s.group(3, false, 16))
	if got, _, err := reopen(fsys, true); err != nil || len(got) != 5 {
		t.Errorf("read-only beside a relaxed writer = %d events, %v, want 5", len(got), err)
	}
	s.crash()
}

func TestFilesThatAreNotOurs(t *testing.T) {
	if why := strangers(t); why != "" {
		t.Error(why)
	}
}

func strangers(t testing.TB) string {
	fsys := vfs.NewMem()
	s, want := threeSegments(t, fsys)
	s.close()
	for name, removed := range map[string]bool{
		"anchor.tmp": true, "store.meta.tmp": true, "0000000004.fbat.tmp": true, "index.fbati.tmp": true,
		"0000000002.fbat.compact": true, "compaction.pending.tmp": true, "2.fbat.compact": false, "anchor.compact": false,
		"notes.tmp": false, ".tmp": false, ".lock.tmp": false, "4.fbat": false, "0000000004.fbat.bak": false, "x": false,
	} {
		fsys.SetFile(name, []byte("?"))
		got, report, err := reopen(fsys, false)
		if err != nil || !maps.Equal(got, want) {
			return fmt.Sprintf("%s: %d events, %v", name, len(got), err)
		}
		_, there := fsys.Files()[name]
		if there == removed || removed && report.Removed[0] != name || !removed && report.Unknown[0] != name {
			return fmt.Sprintf("%s: there %v, removed %v, unknown %v", name, there, report.Removed, report.Unknown)
		}
		fsys.DeleteFile(name)
	}
	return ""
}

func TestSpecialFiles(t *testing.T) {
	for _, name := range []string{metaName, anchorName, lockName, segment.Name(2), segment.Name(9), "index.fbati", "anchor.tmp", pendingName, resultName(2)} {
		for _, mode := range []fs.FileMode{fs.ModeSymlink, fs.ModeNamedPipe, fs.ModeDir, fs.ModeDevice} {
			fsys := vfs.NewMem()
			s, _ := threeSegments(t, fsys)
			s.close()
			fsys.SetSpecial(name, mode)
			for _, readOnly := range []bool{false, true} {
				_, _, err := reopen(fsys, readOnly)
				if e := (*vfs.UnsafePathError)(nil); !errors.As(err, &e) {
					t.Errorf("%s as %v, read-only %v: %v, want *UnsafePathError", name, mode, readOnly, err)
				}
			}
		}
	}
	fsys := vfs.NewMem()
	s, want := threeSegments(t, fsys)
	s.close()
	fsys.SetSpecial("socket", fs.ModeSocket)
	fsys.SetSpecial(cursorsName, fs.ModeDir)
	if got, report, err := reopen(fsys, false); err != nil || !maps.Equal(got, want) || len(report.Unknown) != 1 {
		t.Errorf("strange special files: %d events, unknown %v, %v", len(got), report.Unknown, err)
	}
}

func TestContextEndsOpen(t *testing.T) {
	fsys := vfs.NewMem()
	s, want := threeSegments(t, fsys)
	s.crash()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Open(ctx, testConfig(fsys)); !errors.Is(err, context.Canceled) {
		t.Errorf("Open = %v, want the context's error", err)
	}
	if got, _, err := reopen(fsys, false); err != nil || !maps.Equal(got, want) {
		t.Errorf("afterwards: %d events, %v", len(got), err)
	}
}

// A lookCounter is a file system that counts how often a directory is listed with the size of every file.
type lookCounter struct {
	vfs.FS
	looks *int
}

func (f lookCounter) OpenDir(path string, o vfs.DirOptions) (vfs.Dir, error) {
	d, err := f.FS.OpenDir(path, o)
	return lookedAt{d, f.looks}, err
}

type lookedAt struct {
	vfs.Dir
	looks *int
}

func (d lookedAt) List() ([]vfs.Entry, error) { *d.looks++; return d.Dir.List() }

// TestOpensLookOnce: a read-only open looks at each file once, behind its evidence; a writable one at segments only.
func TestOpensLookOnce(t *testing.T) {
	m := vfs.NewMem()
	s, _ := threeSegments(t, m)
	s.close()
	for readOnly, want := range map[bool]int{true: 1, false: 0} {
		looks := 0
		if _, _, err := reopen(lookCounter{m, &looks}, readOnly); err != nil || looks != want {
			t.Errorf("read-only %v: %d looks at everything, want %d, %v", readOnly, looks, want, err)
		}
	}
}
