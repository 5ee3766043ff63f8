package coldstart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// verifyFiles verifies a directory that holds files.
func verifyFiles(t testing.TB, files map[string][]byte) VerifyReport {
	t.Helper()
	return mustVerify(t, vfs.NewMemFrom(files))
}

// mustVerify verifies, and requires that nothing was changed.
func mustVerify(t testing.TB, mem *vfs.Mem) VerifyReport {
	t.Helper()
	ops := mem.OpCount()
	r, err := Verify(context.Background(), VerifyConfig{FS: mem, Dir: vfs.MemDir})
	if err != nil {
		t.Fatalf("Verify = %v", err)
	}
	if n := mem.OpCount() - ops; n != 0 {
		t.Errorf("Verify changed the directory: %d operations", n)
	}
	return r
}

// verifiedStore returns the files of a small store that was closed: two sealed segments, batches, a mark, an active one.
func verifiedStore(t testing.TB, clean bool) map[string][]byte {
	t.Helper()
	mem := vfs.NewMem()
	s := openTest(t, testConfig(mem))
	for range 2 {
		s.append(3)
		s.write(s.group(2, true, 16))
		s.sync()
		s.seal(s.rotate())
	}
	s.append(2)
	w := s.st.Writer
	if err := w.Write(w.Seal().AppendMark(nil, w.End(), uint32(w.Durable()))); err != nil {
		t.Fatal(err)
	}
	s.write(s.group(2, true, 16))
	s.sync()
	s.append(1)
	if clean {
		s.close()
	} else {
		s.crash()
	}
	files := mem.Files()
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasPrefix(name, "/") })
	return files
}

func clone(files map[string][]byte) map[string][]byte {
	c := make(map[string][]byte, len(files))
	for name, b := range files {
		c[name] = bytes.Clone(b)
	}
	return c
}

func TestVerifyClean(t *testing.T) {
	for _, clean := range []bool{true, false} {
		r := verifyFiles(t, verifiedStore(t, clean))
		if !r.Clean() || len(r.Notes) != 0 {
			t.Errorf("clean close %v: %v", clean, r)
		}
		if r.Segments != 3 || r.Footers != 2 || r.Events != 15 || r.Batches != 3 || r.Frames != 15+3+1 || r.Heads != 3 ||
			r.LastSeq != 15 || r.TreeSize != 15 || r.Root.IsZero() || r.Bytes == 0 {
			t.Errorf("clean close %v: %v", clean, r)
		}
		if text := r.String(); !strings.Contains(text, "clean") || strings.Contains(text, "finding") {
			t.Errorf("String() = %q", text)
		}
	}
}

// notLog says which bytes of a cleanly closed store may change without a finding: see [Verify].
func notLog(name string, at int) (may, noted bool) {
	switch name {
	case lockName:
		return true, false
	case anchorName:
		return true, at%anchorStride < anchorLen
	}
	return false, false
}

// Every flipped bit of every file is found, or lies in bytes that are documented as no part of the log.
func TestVerifyEveryBit(t *testing.T) {
	files := verifiedStore(t, true)
	defer debug.SetGCPercent(debug.SetGCPercent(1000)) // each Verify makes and drops large buffers
	var flips, quiet atomic.Int64
	var wg sync.WaitGroup
	work := make(chan string)
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for name := range work {
				for i := range len(files[name]) * 8 {
					// By day every byte has one of its bits flipped, another one than its neighbours.
					if !*exhaustive && i%8 != i/8%8 {
						continue
					}
					flips.Add(1)
					if !flipIsFound(t, files, name, i) {
						quiet.Add(1)
					}
				}
			}
		})
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		work <- name
	}
	close(work)
	wg.Wait()
	t.Logf("%d bits flipped, %d of them in bytes that are no part of the log", flips.Load(), quiet.Load())
}

// flipIsFound flips bit i of a file and reports whether there is a finding.
func flipIsFound(t *testing.T, files map[string][]byte, name string, i int) bool {
	damaged := maps.Clone(files)
	b := bytes.Clone(files[name])
	b[i/8] ^= 1 << (i % 8)
	damaged[name] = b
	r, err := Verify(context.Background(), VerifyConfig{FS: vfs.NewMemFrom(damaged), Dir: vfs.MemDir})
	may, noted := notLog(name, i/8)
	switch {
	case err != nil:
		t.Errorf("%s, byte %d, bit %d: Verify = %v", name, i/8, i%8, err)
	case r.Clean() && !may:
		t.Errorf("%s, byte %d, bit %d: no finding", name, i/8, i%8)
	case noted && r.Clean() && len(r.Notes) == 0 && !bytes.Equal(files[name][i/8&^(anchorStride-1):][:anchorLen], make([]byte, anchorLen)):
		t.Errorf("%s, byte %d, bit %d: no note", name, i/8, i%8)
	case !r.Clean():
		for _, f := range r.Findings {
			if f.File == "" || f.Reason == "" {
				t.Errorf("%s, byte %d: finding %+v names no file or reason", name, i/8, f)
			}
		}
	}
	return !r.Clean()
}

// Every shortened file is found, or ends in bytes that are no part of the log.
func TestVerifyEveryCut(t *testing.T) {
	files := verifiedStore(t, true)
	defer debug.SetGCPercent(debug.SetGCPercent(1000))
	for name, b := range files {
		for n := range len(b) {
			if testing.Short() && n%13 != 0 {
				continue
			}
			damaged := maps.Clone(files)
			damaged[name] = b[:n]
			r := verifyFiles(t, damaged)
			may, _ := notLog(name, 0)
			// A sealed segment may lose its footer, which the next open writes again: that is noted.
			if id, ok := segment.ParseName(name); ok && id < 3 && len(r.Notes) > 0 {
				may = true
			}
			if r.Clean() && !may {
				t.Errorf("%s cut to %d of %d bytes: no finding", name, n, len(b))
			}
		}
	}
}

func TestVerifyDamage(t *testing.T) {
	one, two, three := segment.Name(1), segment.Name(2), segment.Name(3)
	for _, tt := range []struct {
		name   string
		damage func(files map[string][]byte)
		file   string // of the first finding
		reason string // is part of the first finding's
	}{
		{"first segment missing", func(f map[string][]byte) { delete(f, one) }, one, "predecessor"},
		{"middle segment missing", func(f map[string][]byte) { delete(f, two) }, two, ""},
		{"newest segment missing", func(f map[string][]byte) { delete(f, three) }, two, ""},
		{"all segments missing", func(f map[string][]byte) { delete(f, one); delete(f, two); delete(f, three) }, "", "end of the log"},
		{"two segments swapped", func(f map[string][]byte) { f[one], f[two] = f[two], f[one] }, one, "foreign"},
		{"segment under another number", func(f map[string][]byte) { f[segment.Name(4)] = f[three]; delete(f, three) }, segment.Name(4), "foreign"},
		{"segment twice", func(f map[string][]byte) { f[segment.Name(4)] = f[three] }, segment.Name(4), "foreign"},
		{"identity missing", func(f map[string][]byte) { delete(f, metaName) }, metaName, "identity"},
		{"identity cut", func(f map[string][]byte) { f[metaName] = f[metaName][:20] }, metaName, "identity"},
		{"anchor of nothing", func(f map[string][]byte) { f[anchorName] = nil }, anchorName, "anchor"},
		{"footer cut off and another one in its place", func(f map[string][]byte) {
			f[one] = append(f[one][:len(f[one])-len(footerOf(t, f, 1))], footerOf(t, f, 2)...)
		}, one, "footer"},
		{"future footer", func(f map[string][]byte) {
			b := f[one]
			b[len(b)-12]++
		}, one, "footer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := clone(verifiedStore(t, true))
			tt.damage(files)
			r := verifyFiles(t, files)
			if r.Clean() {
				t.Fatalf("no finding:\n%v", r)
			}
			f := r.Findings[0]
			if tt.file != "" && f.File != tt.file || !strings.Contains(f.Reason, tt.reason) {
				t.Errorf("first finding %v, want %q in %s", f, tt.reason, tt.file)
			}
			if !strings.Contains(r.String(), "finding") {
				t.Errorf("String() = %q does not tell of it", r)
			}
		})
	}
}

// footerOf returns the bytes behind the frames of a sealed segment.
func footerOf(t testing.TB, files map[string][]byte, id uint64) []byte {
	t.Helper()
	next, err := segment.DecodeHeader(files[segment.Name(id+1)], id+1)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(files[segment.Name(id)][next.End:])
}

// What a crash leaves is noted, and is no finding.
func TestVerifyNotes(t *testing.T) {
	newest := segment.Name(3)
	for _, tt := range []struct {
		name   string
		edit   func(files map[string][]byte)
		reason string // of the note; empty: none
	}{
		{"zeroes behind the end", func(f map[string][]byte) { f[newest] = append(f[newest], make([]byte, 9000)...) }, ""},
		{"torn end", func(f map[string][]byte) { f[newest] = append(f[newest], "half a frame"...) }, "torn end"},
		{"torn last frame", func(f map[string][]byte) {
			f[newest] = f[newest][:len(f[newest])-3]
			delete(f, lockName) // the beacon knows better
		}, "torn end"},
		{"footer not written", func(f map[string][]byte) {
			f[segment.Name(2)] = f[segment.Name(2)][:len(f[segment.Name(2)])-len(footerOf(t, f, 2))]
		}, "no footer"},
		{"footer not written, zeroes in its place", func(f map[string][]byte) { clear(f[segment.Name(2)][len(f[segment.Name(2)])-len(footerOf(t, f, 2)):]) }, "footer"},
		{"footer half written", func(f map[string][]byte) { b := f[segment.Name(2)]; clear(b[len(b)&^511-512 : len(b)&^511]) }, "unfinished footer"},
		{"dead frames where the footer will stand", func(f map[string][]byte) {
			end := len(f[segment.Name(2)]) - len(footerOf(t, f, 2))
			f[segment.Name(2)] = append(f[segment.Name(2)][:end], bytes.Repeat([]byte{7}, 123)...)
		}, "behind the end"},
		{"empty next segment", func(f map[string][]byte) { f[segment.Name(4)] = nil }, "crash in rotation"},
		{"left-over", func(f map[string][]byte) { f[metaName+".tmp"] = []byte("x") }, "left-over"},
		{"stranger", func(f map[string][]byte) { f["notes.txt"] = []byte("x") }, "unknown name"},
		{"no anchor", func(f map[string][]byte) { delete(f, anchorName) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := clone(verifiedStore(t, false))
			tt.edit(files)
			r := verifyFiles(t, files)
			if !r.Clean() {
				t.Fatalf("findings:\n%v", r)
			}
			switch {
			case tt.reason == "" && len(r.Notes) > 0:
				t.Errorf("notes %v, want none", r.Notes)
			case tt.reason != "" && (len(r.Notes) != 1 || !strings.Contains(r.Notes[0].Reason, tt.reason)):
				t.Errorf("notes %v, want %q", r.Notes, tt.reason)
			}
		})
	}
}

// Damage in one segment does not hide damage in another, and what lies between is not accused.
func TestVerifyGoesOn(t *testing.T) {
	files := clone(verifiedStore(t, true))
	for id := uint64(1); id <= 3; id++ {
		b := files[segment.Name(id)]
		h, err := segment.DecodeHeader(b, id)
		if err != nil {
			t.Fatal(err)
		}
		if id != 2 {
			b[h.Len()+60] ^= 1
		}
	}
	r := verifyFiles(t, files)
	var in []uint64
	for _, f := range r.Findings {
		in = append(in, f.Segment)
	}
	if !slices.Equal(in, []uint64{1, 3}) {
		t.Errorf("findings in segments %v, want 1 and 3:\n%v", in, r)
	}
	if f := r.Findings[0]; f.FirstSeq != 1 || f.LastSeq != 5 {
		t.Errorf("finding %v, want sequences 1 to 5", f)
	}
}

func TestVerifyCannotLook(t *testing.T) {
	ctx := context.Background()
	if _, err := Verify(ctx, VerifyConfig{FS: vfs.NewMem(), Dir: "/nowhere"}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Verify of nothing = %v, want %v", err, fs.ErrNotExist)
	}
	if _, err := Verify(ctx, VerifyConfig{FS: vfs.NewMemFrom(nil), Dir: vfs.MemDir}); !errors.Is(err, ErrNoStore) {
		t.Errorf("Verify of an empty directory = %v, want %v", err, ErrNoStore)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	mem := vfs.NewMemFrom(verifiedStore(t, true))
	if _, err := Verify(ended, VerifyConfig{FS: mem, Dir: vfs.MemDir}); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify in an ended context = %v, want %v", err, context.Canceled)
	}
	calls := 0
	progress := func(p Progress) {
		if calls++; p.Done != calls || p.Total != 3 {
			t.Errorf("progress %+v, want %d of 3", p, calls)
		}
	}
	if _, err := Verify(ctx, VerifyConfig{FS: mem, Dir: vfs.MemDir, Progress: progress}); err != nil || calls != 3 {
		t.Errorf("Verify = %v with %d calls of Progress, want 3", err, calls)
	}
}

// Every call to the file system that fails is an error, and nothing is called damage because of it.
func TestVerifyReturnsIOErrors(t *testing.T) {
	files := verifiedStore(t, true)
	broken := errors.New("broken disk")
	for n := 1; ; n++ {
		faulty := vfs.Inject(vfs.NewMemFrom(files), vfs.FailAt(n, vfs.Decision{Err: broken}))
		r, err := Verify(context.Background(), VerifyConfig{FS: faulty, Dir: vfs.MemDir})
		if faulty.Count() < n {
			if n < 20 || err != nil || !r.Clean() {
				t.Errorf("after %d calls: %v, %v", n, err, r)
			}
			return
		}
		if len(r.Findings) > 0 && !errors.Is(r.Findings[0].Err, broken) {
			t.Errorf("call %d fails: %v, findings %v", n, err, r.Findings)
		}
		if err != nil && !errors.Is(err, broken) {
			t.Errorf("call %d fails: Verify = %v, want %v", n, err, broken)
		}
	}
}

// Beside a writer that appends, rotates and seals, nothing is ever called damage.
func TestVerifyBesideAWriter(t *testing.T) {
	mem := vfs.NewMem()
	s := openTest(t, testConfig(mem))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	runs, events := 0, uint64(0)
	wg.Go(func() {
		for {
			r, err := Verify(context.Background(), VerifyConfig{FS: mem, Dir: vfs.MemDir})
			if err != nil || !r.Clean() {
				t.Errorf("Verify = %v\n%v", err, r)
				return
			}
			runs, events = runs+1, r.Events
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 150 {
		s.write(s.group(4, i%2 == 0, 200))
		s.sync()
		if i%15 == 14 {
			s.seal(s.rotate())
		}
	}
	close(stop)
	wg.Wait()
	t.Logf("%d verifications, %d events in the last one", runs, events)
	s.close()
	if r := mustVerify(t, mem); !r.Clean() || r.Events != 600 {
		t.Errorf("at the end: %v", r)
	}
}

// A store that recovery has repaired verifies clean, whatever the crash left.
func TestVerifyAfterRecovery(t *testing.T) {
	mem := vfs.NewMem()
	s := openTest(t, testConfig(mem))
	s.append(5)
	s.seal(s.rotate())
	s.append(5)
	s.write(s.group(3, true, 100))
	s.write(s.group(2, false, 100)) // not synced
	s.crash()
	states := 0
	for state := range mem.CrashStates(mem.OpCount(), vfs.StateOptions{}) {
		states++
		crashed := state.FS()
		if r := mustVerify(t, crashed); !r.Clean() {
			t.Fatalf("%s: %v", state.Name, r)
		}
		again := openTest(t, testConfig(crashed))
		if r := mustVerify(t, crashed); !r.Clean() {
			t.Fatalf("%s, repaired: %v", state.Name, r)
		}
		again.append(3)
		for _, u := range again.st.Pending {
			again.seal(u)
		}
		again.close()
		if r := mustVerify(t, crashed); !r.Clean() || r.Events < 13 || len(r.Notes) > len(again.st.Report.Quarantined) {
			t.Fatalf("%s, closed: %v", state.Name, r)
		}
	}
	t.Logf("%d crash states", states)
}

func BenchmarkVerify(b *testing.B) {
	mem := vfs.NewMem()
	cfg := testConfig(mem)
	cfg.SegmentSize = 8 << 20
	s := openTest(b, cfg)
	for range 4 {
		for range 1000 {
			s.write(s.group(2, false, 250))
		}
		s.sync()
		s.seal(s.rotate())
	}
	s.close()
	size := int64(0)
	for name, f := range mem.Files() {
		if strings.HasSuffix(name, segment.Suffix) {
			size += int64(len(f))
		}
	}
	b.ReportAllocs()
	b.SetBytes(size)
	for b.Loop() {
		if r, err := Verify(context.Background(), VerifyConfig{FS: mem, Dir: vfs.MemDir}); err != nil || !r.Clean() {
			b.Fatal(fmt.Sprint(err, r))
		}
	}
}

// FuzzVerify puts any bytes anywhere into the files of a store: Verify ends, never panics, and says where.
func FuzzVerify(f *testing.F) {
	files := verifiedStore(f, true)
	names := slices.Sorted(maps.Keys(files))
	f.Add(uint8(0), uint32(0), []byte{0}, false)
	f.Add(uint8(3), uint32(400), []byte("splice"), true)
	f.Add(uint8(4), uint32(1<<31), files[segment.Name(1)], true)
	f.Fuzz(func(t *testing.T, which uint8, at uint32, splice []byte, cut bool) {
		name := names[int(which)%len(names)]
		b := bytes.Clone(files[name])
		off := int(at) % (len(b) + 1)
		n := copy(b[off:], splice)
		if b = append(b, splice[n:]...); cut {
			b = b[:off+n]
		}
		damaged := maps.Clone(files)
		damaged[name] = b
		r := verifyFiles(t, damaged)
		for _, found := range slices.Concat(r.Findings, r.Notes) {
			if found.File == "" || found.Reason == "" || found.Offset < 0 {
				t.Fatalf("finding %+v names no place or reason", found)
			}
		}
		if r.Events > 15 {
			t.Fatalf("%d events, there are 15", r.Events)
		}
		if r.String() == "" {
			t.Fatal("no table")
		}
	})
}

// A lateFooter is a file system in which the footer of a segment is written when somebody first maps the segment.
type lateFooter struct {
	vfs.FS
	write func(vfs.Dir)
}

func (f lateFooter) OpenDir(path string, o vfs.DirOptions) (vfs.Dir, error) {
	d, err := f.FS.OpenDir(path, o)
	return lateFooterDir{d, f.write}, err
}

type lateFooterDir struct {
	vfs.Dir
	write func(vfs.Dir)
}

func (d lateFooterDir) Map(name string) (*vfs.Map, error) {
	if name == segment.Name(2) {
		d.write(d.Dir)
	}
	return d.Dir.Map(name)
}

// TestVerifyBesideFooter: a store that has just recovered writes the footer of the segment it had been writing to, while
// Verify judges what stands there instead. Neither order of the two is a finding.
func TestVerifyBesideFooter(t *testing.T) {
	name, files := segment.Name(2), verifiedStore(t, true)
	sealed := files[name]
	for stands, before := range map[string][]byte{
		"part of a footer": sealed[:len(sealed)-1],
		"a torn tail":      append(bytes.Clone(sealed), 0xa5, 0x5a, 3),
		"space":            append(bytes.Clone(sealed), make([]byte, 1<<16)...),
	} {
		files[name] = before
		write := func(d vfs.Dir) {
			f, err := d.OpenWrite(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.WriteAt(sealed, 0); err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(int64(len(sealed))); err != nil {
				t.Fatal(err)
			}
		}
		r, err := Verify(t.Context(), VerifyConfig{FS: lateFooter{vfs.NewMemFrom(clone(files)), write}, Dir: vfs.MemDir})
		if err != nil || !r.Clean() || len(r.Notes) > 0 || r.Footers != 2 {
			t.Errorf("%s, then the footer: %v, %v, want two footers and nothing to say", stands, r, err)
		}
	}
}
