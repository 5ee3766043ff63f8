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

	"batpak/index"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// addSealed adds n sealed segments, each with a few streams of its own and a few that all share, and calls UpdateCatalogs
// behind each of them when update is set.
func (s *testStore) addSealed(n int, update bool) {
	s.t.Helper()
	for range n {
		id := int(s.st.Writer.Header().Segment)
		for _, stream := range []int{id % 3, 10 + id%7, 100 + id, 1000 + id} {
			group, _ := s.frame(nil, s.st.Writer.End(), stream, 0, []byte("x"))
			s.write(group)
		}
		s.sync()
		s.seal(s.rotate())
		if update {
			s.update()
		}
	}
}

func (s *testStore) update() {
	s.t.Helper()
	if err := s.st.UpdateCatalogs(context.Background()); err != nil {
		s.t.Fatalf("UpdateCatalogs = %v", err)
	}
}

// mustRead reads everything: heads are what the streams say.
func (s *testStore) mustRead() {
	s.t.Helper()
	got, err := readAll(s.st)
	if err != nil {
		s.t.Fatal(err)
	}
	if !maps.Equal(got, s.events) {
		s.t.Fatalf("%d events, want %d", len(got), len(s.events))
	}
	v := s.st.Set.Acquire()
	defer v.Release()
	for stream := range 30 {
		if h, ok, err := v.Head(fmt.Sprintf("nobody%d", stream), 0); ok || err != nil {
			s.t.Fatalf("Head of nobody = %v, %v, %v", h, ok, err)
		}
	}
}

func catalogFiles(fs *vfs.Mem) (names []string) {
	for name := range fs.Files() {
		if strings.Contains(name, ".fbcat") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// after closes the store without a clean end and opens it again, with its catalogs.
func (s *testStore) after() *testStore {
	s.t.Helper()
	s.crash()
	again := openTest(s.t, s.cfg)
	if err := again.st.OpenCatalogs(); err != nil {
		s.t.Fatal(err)
	}
	return again
}

func TestCatalogsOfAGrowingStore(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	for n := 1; n <= 70; n++ {
		s.addSealed(1, true)
		names := catalogFiles(fs)
		if most := 3 * 3; len(names) > most {
			t.Fatalf("%d catalogs over %d segments, want %d at most: %v", len(names), n, most, names)
		}
	}
	want := []string{index.CatalogName(1, 64), index.CatalogName(65, 68)}
	if got := catalogFiles(fs); !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
	s.mustRead()
	s = s.after()
	s.mustRead()
	s.addSealed(11, true)
	s.mustRead()
	want = []string{index.CatalogName(1, 64), index.CatalogName(65, 80)}
	if got := catalogFiles(fs); !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
	if found := s.st.Set.CatalogFindings(); len(found) > 0 {
		t.Errorf("findings %v", found)
	}
	for _, name := range s.st.Report.Unknown {
		t.Errorf("%s is unknown", name)
	}
}

// A store that never had catalogs gets them, piece by piece.
func TestCatalogsOfAnOldStore(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(41, false)
	if got := catalogFiles(fs); len(got) > 0 {
		t.Fatalf("catalogs %v, want none", got)
	}
	s.update()
	want := []string{index.CatalogName(1, 16), index.CatalogName(17, 32), index.CatalogName(33, 36), index.CatalogName(37, 40)}
	if got := catalogFiles(fs); !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
	s.mustRead()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	s.addSealed(3, false)
	if err := s.st.UpdateCatalogs(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("UpdateCatalogs = %v", err)
	}
	s.mustRead()
}

// Whatever a catalog's file holds, the store answers as without it, and the next update makes it right.
func TestCatalogsThatDoNotHold(t *testing.T) {
	other := vfs.NewMem()
	strange := testConfig(other)
	strange.Random = func(b []byte) { b[0] = 77 }
	foreign := openTest(t, strange)
	foreign.addSealed(16, true)
	name := index.CatalogName(1, 16)
	for what, change := range map[string]func(fs *vfs.Mem, b []byte){
		"flipped":  func(fs *vfs.Mem, b []byte) { b[len(b)/2] ^= 1; fs.SetFile(name, b) },
		"cut":      func(fs *vfs.Mem, b []byte) { fs.SetFile(name, b[:len(b)-9]) },
		"empty":    func(fs *vfs.Mem, _ []byte) { fs.SetFile(name, nil) },
		"zeroes":   func(fs *vfs.Mem, b []byte) { fs.SetFile(name, make([]byte, len(b))) },
		"foreign":  func(fs *vfs.Mem, _ []byte) { fs.SetFile(name, other.Files()[name]) },
		"renamed":  func(fs *vfs.Mem, b []byte) { fs.SetFile(index.CatalogName(1, 17), b) },
		"narrower": func(fs *vfs.Mem, b []byte) { fs.SetFile(index.CatalogName(1, 4), b) },
		"gone":     func(fs *vfs.Mem, _ []byte) { fs.DeleteFile(name) },
	} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			s := openTest(t, testConfig(fs))
			s.addSealed(17, true)
			s.crash()
			good := fs.Files()[name]
			change(fs, bytes.Clone(good))
			s = openTest(t, s.cfg)
			if err := s.st.OpenCatalogs(); err != nil {
				t.Fatal(err)
			}
			s.mustRead()
			s.update()
			s.mustRead()
			if got, want := catalogFiles(fs), []string{name}; !slices.Equal(got, want) {
				t.Errorf("catalogs %v, want %v", got, want)
			}
			if !bytes.Equal(fs.Files()[name], good) {
				t.Error("the catalog made anew is another one")
			}
			s.crash()
		})
	}
}

// A catalog of a newer version that turns up beside an open store is refused by name and left alone: by the writer's
// updates, and by readers that look again. Reads go on without it.
func TestCatalogFromTheFuture(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(4, true)
	name := index.CatalogName(1, 4)
	b := fs.Files()[name]
	fs.DeleteFile(name)
	s = s.after()
	cfg := s.cfg
	cfg.ReadOnly = true
	reader := openTest(t, cfg)
	binary.LittleEndian.PutUint16(b[len(b)-12:], 2)
	binary.LittleEndian.PutUint32(b[len(b)-4:], wire.Sum(0, b[len(b)-100:len(b)-4]))
	fs.SetFile(name, b)
	if err := s.st.OpenCatalogs(); err != nil {
		t.Fatal(err)
	}
	s.mustRead()
	var future *FutureError
	if err := s.st.UpdateCatalogs(context.Background()); !errors.As(err, &future) || future.File != name {
		t.Errorf("UpdateCatalogs = %v, want *FutureError of %s", err, name)
	}
	s.addSealed(1, false)
	if _, err := reader.st.Refresh(context.Background()); !errors.As(err, &future) || future.File != name {
		t.Errorf("Refresh = %v, want *FutureError of %s", err, name)
	}
	reader.mustRead()
	if !bytes.Equal(fs.Files()[name], b) {
		t.Error("a catalog from the future was touched")
	}
	s.mustRead()
}

// Every call of an update fails once. Nothing that is read changes, and the next update, or the one after the next
// open, leaves what it should.
func TestCatalogsFailAtEveryCall(t *testing.T) {
	for _, how := range []vfs.Decision{{Err: errors.New("bad disk")}, vfs.FullDisk, {Err: errors.New("late"), Apply: true}} {
		for n := 1; ; n++ {
			mem := vfs.NewMem()
			armed, calls := false, 0
			fs := vfs.Inject(mem, func(vfs.Call) vfs.Decision {
				if !armed {
					return vfs.Decision{}
				}
				if calls++; calls == n {
					return how
				}
				return vfs.Decision{}
			})
			s := openTest(t, testConfig(fs))
			s.addSealed(15, true)
			s.addSealed(1, false)
			armed = true
			err := s.st.UpdateCatalogs(context.Background())
			armed = false
			s.mustRead()
			s.update()
			s.mustRead()
			if got, want := catalogFiles(mem), []string{index.CatalogName(1, 16)}; !slices.Equal(got, want) {
				t.Fatalf("call %d, %v: catalogs %v, want %v", n, err, got, want)
			}
			s.st.Close() // may report the one that failed
			s = openTest(t, testConfig(mem))
			s.st.OpenCatalogs()
			s.mustRead()
			s.crash()
			if calls < n {
				break
			}
		}
	}
}

// A power cut at any moment of an update, whatever of it reached the disk, loses time at most.
func TestCatalogsAfterAPowerCut(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(15, true)
	s.addSealed(1, false)
	first := fs.OpCount()
	s.update()
	last := fs.OpCount()
	seen, states := map[[32]byte]bool{}, 0
	for op := first; op <= last; op++ {
		for state := range fs.CrashStates(op, vfs.StateOptions{Workload: "catalogs", Seen: seen}) {
			if states++; testing.Short() && states%16 > 0 {
				continue
			}
			again := openTest(t, testConfig(vfs.NewMemFrom(state.Files())))
			again.events = s.events
			if err := again.st.OpenCatalogs(); err != nil {
				t.Fatal(state.Name, err)
			}
			again.mustRead()
			again.update()
			again.mustRead()
			if t.Failed() {
				t.Fatal(state.Name)
			}
			again.crash()
		}
	}
	t.Logf("%d ops, %d states", last-first, states)
}

// A segment whose footer rots is not catalogued, and is told of once; the others are.
func TestCatalogsAroundADamagedFooter(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(9, false)
	s.crash()
	name := segment.Name(5)
	b := fs.Files()[name]
	at := bytes.LastIndex(b, []byte("e1005")) // in the names of the footer
	b[at] ^= 1
	fs.SetFile(name, b)
	cfg := testConfig(fs)
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	var footer *segment.FooterError
	err = st.UpdateCatalogs(context.Background())
	if found := errors.As(err, &footer) && footer.Segment == 5; !found && (err != nil || st.Report.Scanned != 1) {
		t.Errorf("UpdateCatalogs = %v, want *FooterError of segment 5, unless the open has met it", err)
	}
	if got, want := catalogFiles(fs), []string{index.CatalogName(1, 4), index.CatalogName(6, 9)}; !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
	if err := st.UpdateCatalogs(context.Background()); err != nil {
		t.Errorf("UpdateCatalogs once more = %v", err)
	}
}

// A segment that is served from memory splits the catalogs, and joins them when it is sealed.
func TestCatalogsAroundAnUnsealedSegment(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(4, false)
	s.append(3)
	late := s.rotate()
	s.addSealed(4, false)
	s.update()
	if got, want := catalogFiles(fs), []string{index.CatalogName(1, 4), index.CatalogName(6, 9)}; !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
	s.mustRead()
	s.seal(late)
	s.update()
	if got, want := catalogFiles(fs), []string{index.CatalogName(1, 4), index.CatalogName(5, 9)}; !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
	s.mustRead()
	// The same catalogs when the footer is lost: the segment is scanned, the catalog stays for the others.
	s.crash()
	b := fs.Files()[segment.Name(5)]
	fs.SetFile(segment.Name(5), b[:len(b)-1])
	s = openTest(t, s.cfg)
	s.st.OpenCatalogs()
	s.mustRead()
	s.update()
	s.mustRead()
	for _, u := range s.st.Pending {
		s.seal(u)
	}
	s.update()
	s.mustRead()
	if got, want := catalogFiles(fs), []string{index.CatalogName(1, 4), index.CatalogName(5, 9)}; !slices.Equal(got, want) {
		t.Errorf("catalogs %v, want %v", got, want)
	}
}

func TestCatalogsOfAReader(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(9, true)
	cfg := testConfig(fs)
	cfg.ReadOnly = true
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.OpenCatalogs(); err != nil {
		t.Fatal(err)
	}
	s.addSealed(7, true) // merges, and removes, what the reader has not mapped yet
	if _, err := readAll(st); err != nil {
		t.Error(err)
	}
	found := st.Set.CatalogFindings()
	if len(found) != 2 || !errors.Is(found[0], index.ErrCatalogAbsent) {
		t.Errorf("findings %v, want two catalogs that are absent", found)
	}
	before := catalogFiles(fs)
	if err := st.UpdateCatalogs(context.Background()); err != nil || !slices.Equal(catalogFiles(fs), before) {
		t.Errorf("UpdateCatalogs of a reader = %v", err)
	}
}

func TestLeftoversOfCatalogs(t *testing.T) {
	fs := vfs.NewMem()
	s := openTest(t, testConfig(fs))
	s.addSealed(5, true)
	s.crash()
	temp := index.CatalogName(1, 16) + tempSuffix
	fs.SetFile(temp, []byte("half"))
	s = openTest(t, s.cfg)
	if !slices.Contains(s.st.Report.Removed, temp) || len(s.st.Report.Unknown) > 0 {
		t.Errorf("removed %v, unknown %v, want %s removed", s.st.Report.Removed, s.st.Report.Unknown, temp)
	}
	s.mustRead()
}

// Over 1,000 seals there are never more than three catalogs of a tier, and each entry is written once per tier.
func TestPlanOfAThousandSeals(t *testing.T) {
	for _, seals := range []int{1000, 20_000} {
		var p []int
		written, most := 0, 0
		for range seals {
			p = append(p, 1)
			for lo, hi, ok := planMerge(p); ok; lo, hi, ok = planMerge(p) {
				size := 0
				for _, n := range p[lo:hi] {
					size += n
				}
				written += size
				p = slices.Replace(p, lo, hi, size)
			}
			most = max(most, len(p))
		}
		tiers := tierOf(seals)
		if most > 3*(tiers+1) || written > seals*tiers {
			t.Errorf("%d seals: %d pieces, %d segments written, want %d and %d at most", seals, most, written, 3*(tiers+1), seals*tiers)
		}
		t.Logf("%d seals: %d pieces at most, %.2f segments written per seal", seals, most, float64(written)/float64(seals))
	}
}

// From whatever damage and compaction leave, planning ends, with tiers that descend and three pieces of each.
func TestPlanEndsFromAnyState(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	for range 2000 {
		p := make([]int, r.IntN(60))
		for i := range p {
			if p[i] = 1; r.IntN(2) == 0 {
				p[i] = 1 + r.IntN(1<<r.IntN(10))
			}
		}
		start := slices.Clone(p)
		for lo, hi, ok := planMerge(p); ok; lo, hi, ok = planMerge(p) {
			if n := fresh(p[lo:hi]); hi-lo < 2 || n > freshMost {
				t.Fatalf("%v: merge of %v", p, p[lo:hi])
			}
			size := 0
			for _, n := range p[lo:hi] {
				size += n
			}
			p = slices.Replace(p, lo, hi, size)
		}
		of := map[int]int{}
		for i := range p {
			if of[tierOf(p[i])]++; of[tierOf(p[i])] >= mergeAt || i > 0 && tierOf(p[i-1]) < tierOf(p[i]) {
				t.Fatalf("%v became %v", start, p)
			}
		}
	}
}

// The bytes that are written per seal grow with the logarithm of the segments, and not with their number.
func TestBytesPerSeal(t *testing.T) {
	written := 0
	fs := vfs.Inject(vfs.NewMem(), func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpWrite && strings.Contains(c.Name, ".fbcat") {
			written += c.Len
		}
		return vfs.Decision{}
	})
	s := openTest(t, testConfig(fs))
	var at []int
	for range 4 {
		s.addSealed(64, true)
		at = append(at, written)
	}
	// Four streams per segment, two of them new: 40 bytes of members and 40 of entries, and a page of everything else.
	for i, sum := range at {
		n := 64 * (i + 1)
		if perSeal, most := sum/n, tierOf(n)*(40+40)+200; perSeal > most {
			t.Errorf("%d segments: %d bytes per seal, want %d at most", n, perSeal, most)
		} else {
			t.Logf("%d segments: %d bytes per seal", n, perSeal)
		}
	}
}
