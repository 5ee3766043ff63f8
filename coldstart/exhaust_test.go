package coldstart

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"batpak/fault"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

var exhaustive = flag.Bool("exhaustive", os.Getenv("BATPAK_NIGHT") != "", "try every case where a sample is taken otherwise")

// sample returns n where one case of n is tried, 1 where all of them are, and more than n in short mode.
func sample(n int) int {
	switch {
	case *exhaustive:
		return 1
	case testing.Short():
		return 4*n + 1
	}
	return n
}

// typed are the conditions that a refusal of a damaged directory may match.
var typed = []error{
	ErrCorrupt, ErrTailMissing, ErrAbsent, ErrDamaged, ErrForeign, ErrFuture, ErrNoStore,
	segment.ErrCorrupt, segment.ErrDamaged, segment.ErrFuture, segment.ErrTorn, vfs.ErrUnsafePath,
}

func isTyped(err error) bool {
	return slices.ContainsFunc(typed, func(e error) bool { return errors.Is(err, e) })
}

// judgeDamaged opens a directory that was changed by one damage and says what is wrong with the outcome: anything but
// all events, a typed error, or, where the end of an unclean log was hit, a log that lost its last group.
func judgeDamaged(files map[string][]byte, all, proven model) string {
	for _, readOnly := range []bool{true, false} {
		m := vfs.NewMemFrom(files)
		got, report, err := reopen(m, readOnly)
		switch {
		case err != nil && !isTyped(err):
			return fmt.Sprintf("read-only %v: error without a type: %v", readOnly, err)
		case err != nil:
			continue
		}
		if why := got.prefixOf(all); why != "" {
			return why
		}
		if why := got.contains(proven); why != "" {
			return fmt.Sprintf("read-only %v: %s\n%v", readOnly, why, report)
		}
	}
	return ""
}

// damagedStores are directories for exhaustive damage: what they hold, and what any undamaged evidence proves.
func damagedStores(t *testing.T) map[string]struct {
	files       map[string][]byte
	all, proven model
} {
	closed, want := base(nil)(t)
	crashed, all := unclean(nil)(t)
	bare := crashed.Files()
	delete(bare, lockName)
	// Without anchor and beacon nothing but the next group's marks proves that a group was synced (X2).
	marked := maps.Clone(all)
	for seq := range all {
		if seq > 12 {
			delete(marked, seq)
		}
	}
	type store = struct {
		files       map[string][]byte
		all, proven model
	}
	return map[string]store{
		"clean": {closed.Files(), want, want}, "crashed": {crashed.Files(), all, all}, "bare": {bare, all, marked},
	}
}

func TestEveryByteFlipped(t *testing.T) {
	for name, store := range damagedStores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(3, 4))
			n := 0
			for file, whole := range store.files {
				for at := range whole {
					if file == lockName && at < vfs.LockDataOffset {
						continue
					}
					if rng.IntN(sample(16)) > 0 {
						continue
					}
					files := maps.Clone(store.files)
					b := slices.Clone(whole)
					b[at] ^= 1 << rng.IntN(8)
					files[file] = b
					proven := store.proven
					if file == lockName || file == anchorName {
						proven = nil // one piece of evidence is gone; the log itself must not change
					}
					n++
					if why := judgeDamaged(files, store.all, proven); why != "" {
						t.Fatalf("%s, byte %d, %#x for %#x: %s", file, at, b[at], whole[at], why)
					}
				}
			}
			t.Logf("%d flips, seed 3, 4", n)
		})
	}
}

func TestEveryLength(t *testing.T) {
	for name, store := range damagedStores(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			step := sample(13)
			n := 0
			for file, whole := range store.files {
				if file == lockName {
					continue
				}
				proven := store.proven
				if file == anchorName || name == "bare" {
					proven = nil
				}
				for size := 0; size < len(whole); size += step {
					files := maps.Clone(store.files)
					files[file] = whole[:size]
					n++
					if why := judgeDamaged(files, store.all, proven); why != "" {
						t.Fatalf("%s cut to %d: %s", file, size, why)
					}
				}
				for _, more := range [][]byte{make([]byte, 1), make([]byte, 5000), []byte("x"), whole, store.files[segment.Name(2)]} {
					files := maps.Clone(store.files)
					files[file] = slices.Concat(whole, more)
					n++
					if why := judgeDamaged(files, store.all, store.proven); why != "" {
						t.Fatalf("%s with %d bytes more: %s", file, len(more), why)
					}
				}
			}
			t.Logf("%d lengths", n)
		})
	}
}

// TestFilesMixed removes, swaps and copies whole files, and mixes those of four generations of one store.
func TestFilesMixed(t *testing.T) {
	mem := vfs.NewMem()
	s, _ := threeSegments(t, mem)
	generations := []map[string][]byte{mem.Files()}
	s.append(1)
	generations = append(generations, mem.Files())
	s.seal(s.rotate())
	s.append(2)
	generations = append(generations, mem.Files())
	all := maps.Clone(s.events)
	s.close()
	generations = append(generations, mem.Files())
	last := generations[3]

	n := 0
	try := func(files map[string][]byte, what string) {
		t.Helper()
		n++
		// Which of the generations a mixture belongs to is nobody's to know: it must be one of them, or refused.
		if why := judgeDamaged(files, all, nil); why != "" {
			t.Errorf("%s: %s", what, why)
		}
	}
	for a := range last {
		files := maps.Clone(last)
		delete(files, a)
		try(files, "without "+a)
		for b := range last {
			files := maps.Clone(last)
			files[a], files[b] = last[b], last[a]
			try(files, a+" and "+b+" swapped")
			files = maps.Clone(last)
			files[a] = last[b]
			try(files, b+" copied over "+a)
		}
	}
	for i, from := range generations {
		for j, to := range generations {
			for name, b := range from {
				files := maps.Clone(to)
				files[name] = b
				try(files, fmt.Sprintf("%s of generation %d in %d", name, i, j))
			}
		}
	}
	t.Logf("%d mixtures", n)
}

// TestFailingCalls fails each call of an open, once, and opens again without the failure.
func TestFailingCalls(t *testing.T) {
	crashed := doing(func(s *testStore) { s.write(s.group(2, false, 16)); s.rotate(); s.write(s.group(2, true, 16)) },
		func(d *dirEdit) {
			d.set("anchor.tmp", nil)
			d.append(segment.Name(4), []byte("torn"))
			d.cut(segment.Name(1), 3)
		})
	fresh := func(testing.TB) (*vfs.Mem, model) { return vfs.NewMem(), model{} }
	rotated := doing(func(s *testStore) { s.rotate() }, func(d *dirEdit) { d.remove(lockName); d.set(segment.Name(5), nil) })
	for _, tt := range []struct {
		name     string
		readOnly bool
		make     func(testing.TB) (*vfs.Mem, model)
	}{
		{"crashed", false, crashed}, {"crashed, read-only", true, crashed}, {"fresh", false, fresh}, {"rotated", false, rotated},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, _ := tt.make(t)
			counter := vfs.Inject(m, nil)
			absent, err := openFailing(counter, tt.readOnly)
			if err != nil {
				t.Fatal(err)
			}
			calls, refused := counter.Count(), 0
			for n := 1; n <= calls; n += sample(1) {
				for _, errno := range []error{syscall.EIO, syscall.ENOSPC} {
					m, want := tt.make(t)
					m.SetMode(vfs.Ext4Rewrite)
					faulty := vfs.Inject(m, vfs.FailAt(n, vfs.Decision{Err: errno, Half: true}))
					leaked, err := openFailing(faulty, tt.readOnly)
					if leaked > absent+1 || leaked < 0 {
						t.Errorf("call %d fails with %v: %d files stay open (%v)", n, errno, leaked, err)
					}
					if err != nil {
						refused++
					}
					if err != nil && !errors.Is(err, errno) {
						t.Errorf("call %d fails with %v: Open = %v", n, errno, err)
					}
					if why := goOn(m, want); why != "" {
						t.Fatalf("after call %d failed with %v: %s", n, errno, why)
					}
				}
			}
			t.Logf("%d calls, %d refusals", calls, refused)
		})
	}
}

// openFailing opens and closes a store. It returns how many more calls open something than close it: the one that
// failed, and those that find nothing to open.
func openFailing(faulty *vfs.Faulty, readOnly bool) (leaked int, err error) {
	cfg := testConfig(faulty)
	cfg.ReadOnly = readOnly
	st, err := Open(context.Background(), cfg)
	if err == nil {
		err = st.Close()
	}
	for _, kind := range []vfs.OpKind{vfs.OpCreate, vfs.OpOpenRead, vfs.OpOpenWrite, vfs.OpMap, vfs.OpLock, vfs.OpOpenDir} {
		leaked += faulty.CountOf(kind)
	}
	return leaked - faulty.CountOf(vfs.OpClose), err
}

// goOn opens a store again after a failure, without a reboot: what was cached is still seen, and may not be on the disk.
// Then it appends, and pulls the plug.
func goOn(m *vfs.Mem, want model) string {
	st, err := Open(context.Background(), testConfig(m))
	if err != nil {
		return fmt.Sprintf("Open = %v", err)
	}
	s := adopt(fatal{}, st, testConfig(m))
	if !maps.Equal(s.events, want) {
		return fmt.Sprintf("%d events, want %d\n%v", len(s.events), len(want), st.Report)
	}
	s.append(1)
	for state := range m.CrashStates(m.OpCount(), vfs.StateOptions{Workload: "goOn", Seed: 5, MaxTorn: 2, MaxEach: 3}) {
		if got, _, err := reopen(state.FS(), false); err != nil || !maps.Equal(got, s.durable) {
			return fmt.Sprintf("%s: %d events, want %d, %v\n%v", state.Name, len(got), len(s.durable), err, st.Report)
		}
	}
	s.crash()
	return ""
}

// TestReadBesideWriter opens read-only again and again while a writer appends, rotates and seals.
func TestReadBesideWriter(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.OS} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(fsys)
			if name == "disk" {
				cfg.Dir = t.TempDir()
			}
			cfg.FillAhead = 1 << 16
			s := openTest(t, cfg)
			var durable atomic.Uint64
			var done atomic.Bool
			var wg sync.WaitGroup
			opens := 0
			wg.Go(func() {
				for last := uint64(0); !done.Load(); opens++ {
					reader := testConfig(fsys)
					reader.Dir, reader.ReadOnly = cfg.Dir, true
					least := durable.Load()
					st, err := Open(context.Background(), reader)
					if err != nil {
						t.Errorf("read-only Open = %v", err)
						return
					}
					if st.LastSeq < least || st.LastSeq < last {
						t.Errorf("a reader sees %d events after %d, and %d are durable", st.LastSeq, last, least)
					}
					last = st.LastSeq
					if m, err := readAll(st); err != nil || uint64(len(m)) != last {
						t.Errorf("a reader reads %d events of %d: %v", len(m), last, err)
					}
					st.Close()
				}
			})
			for i := range 150 {
				s.write(s.group(1+i%4, i%3 == 0, 100))
				if i%7 == 0 {
					if err := s.st.Writer.Fill(); err != nil {
						t.Error(err)
					}
				}
				s.sync()
				durable.Store(s.seq)
				if i%10 == 9 {
					s.seal(s.rotate())
				}
			}
			done.Store(true)
			wg.Wait()
			s.close()
			t.Logf("%d opens beside %d events", opens, s.seq)
		})
	}
}

// diedRelaxed is a relaxed writer that has died: its first segment is sealed, and what stands in the next was never synced.
func diedRelaxed(t *testing.T, fsys vfs.FS) *testStore {
	cfg := testConfig(fsys)
	cfg.Relaxed = true
	s := openTest(t, cfg)
	s.append(2)
	s.seal(s.rotate())
	s.write(s.group(3, false, 16))
	s.crash()
	return s
}

// TestReadBesideRecovery recovers the store of a relaxed writer that died, to one step or another, before each call of a
// read-only open and of a refresh: what the writer had written is seen all the same.
func TestReadBesideRecovery(t *testing.T) {
	died := vfs.NewMem()
	s := diedRelaxed(t, died)
	for step, name := range []string{"moved", "cut", "sealed"} {
		for n := 1; ; n++ {
			mem := died.Clone()
			recovers := func() {
				cfg := testConfig(mem)
				cfg.Relaxed = true
				st, err := Open(context.Background(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				for i := range st.Pending {
					switch u := &st.Pending[i]; step {
					case 1:
						cut(t, mem, u)
					case 2:
						if err := st.Seal(context.Background(), *u); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := st.Close(); err != nil {
					t.Fatal(err)
				}
			}
			faulty := vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
				if c.Index == n {
					recovers()
				}
				return vfs.Decision{}
			})
			r := testConfig(faulty)
			r.ReadOnly = true
			st, err := Open(context.Background(), r)
			if err != nil {
				t.Fatalf("%s before call %d: Open = %v", name, n, err)
			}
			for _, look := range []func() error{
				func() error { return nil },
				func() error { _, err := st.Refresh(context.Background()); return err },
			} {
				err := look()
				got, readErr := readThrough(st)
				if err != nil || readErr != nil || !maps.Equal(got, s.spoken) {
					t.Errorf("%s before call %d: %d events, want %d, %v, %v", name, n, len(got), len(s.spoken), err, readErr)
				}
			}
			calls := faulty.Count()
			st.Close()
			if calls < n {
				break
			}
		}
	}
}

// TestEndedLooksFindNothing ends a refresh before each of its calls, by its context or by the end of the
// State, while a recovery has moved files: the outcome is the look's, or that it was ended, and never what half a look
// has found.
func TestEndedLooksFindNothing(t *testing.T) {
	for _, closes := range []bool{false, true} {
		for n, done := 1, false; !done; n++ {
			mem := vfs.NewMem()
			cfg := diedRelaxed(t, mem).cfg
			var end func()
			var calls atomic.Int64 // from several goroutines
			r := testConfig(vfs.Inject(mem, func(vfs.Call) vfs.Decision {
				if end != nil {
					if calls.Add(1) == int64(n) {
						end()
					}
				}
				return vfs.Decision{}
			}))
			r.ReadOnly = true
			st, err := Open(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			writer := openTest(t, cfg) // recovers
			writer.append(1)
			ctx, cancel := context.WithCancel(context.Background())
			if end = cancel; closes {
				end = st.follow.cancel
			}
			_, err = st.Refresh(ctx)
			if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, fs.ErrClosed) {
				t.Errorf("refresh ended before call %d (closed %v): %v", n, closes, err)
			}
			done = calls.Load() < int64(n)
			cancel()
			st.Close()
			writer.close()
		}
	}
}

// cut ends the file of u where its frames end, as a Seal does first.
func cut(t *testing.T, mem *vfs.Mem, u *Unsealed) {
	t.Helper()
	name := segment.Name(u.Header.Segment)
	mem.SetMode(vfs.ShrinkMaps)
	d, err := mem.OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := d.OpenWrite(name)
	if err == nil {
		err = errors.Join(f.Truncate(u.Next.End), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestRotateFails fails each call of a rotation, once or for good: the store goes on without a trace of it, or is
// poisoned; in both cases nothing that was acknowledged is lost, with a reboot or without.
func TestRotateFails(t *testing.T) {
	for _, forGood := range []bool{false, true} {
		n := 0
		for rotateFailing(t, n, forGood) {
			n++
		}
		t.Logf("for good %v: %d calls", forGood, n)
	}
}

// rotateFailing fails the call number n of a rotation. It returns false when there are not so many.
func rotateFailing(t *testing.T, n int, forGood bool) bool {
	m := vfs.NewMem()
	m.SetMode(vfs.Ext4Rewrite)
	first := 0
	faulty := vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if at := c.Index - first; first > 0 && c.Kind != vfs.OpClose && (at == n || forGood && at > n) {
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	s := openTest(t, testConfig(faulty))
	s.append(3)
	first = faulty.Count() + 1
	u, err := s.st.Rotate(s.end())
	last := faulty.Count()
	if err == nil && last < first+n {
		return false
	}
	if !forGood && s.st.Writer.Err() == nil {
		if err == nil {
			s.seal(u)
		}
		s.append(2)
		if u, err = s.st.Rotate(s.end()); err != nil {
			t.Fatalf("call %d: second Rotate = %v", n, err)
		}
		s.append(1)
		s.seal(u)
	}
	first = 0
	want := maps.Clone(s.durable)
	s.st.Close()
	for state := range m.CrashStates(m.OpCount(), crashOptions) {
		if got, _, err := reopen(state.FS(), false); err != nil || !maps.Equal(got, want) {
			t.Fatalf("call %d, %s: %d events, want %d, %v", n, state.Name, len(got), len(want), err)
		}
	}
	if why := goOn(m, want); why != "" {
		t.Fatalf("call %d, without a reboot: %s", n, why)
	}
	return true
}

func TestStateFields(t *testing.T) {
	m, _ := base(nil)(t)
	cfg := testConfig(m)
	cfg.ReadOnly = true
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if st.Writer != nil || st.Active != nil || st.Beacon != nil || st.Pending != nil || st.Folder.Len() != 14 {
		t.Errorf("read-only state %+v", st)
	}
	if err := st.cfg.Hook.Hit(fault.Site{}); err != nil {
		t.Error(err)
	}
	var _ *index.Set = st.Set
	if _, err := Open(context.Background(), Config{FS: m, Dir: "/nowhere", ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v", err)
	}
}

// FuzzOpen edits the files of a store and opens it: all it holds, or a typed error.
func FuzzOpen(f *testing.F) {
	crashed, all := doing(func(s *testStore) { s.write(s.group(2, true, 16)) }, nil)(f)
	files := crashed.Files()
	order := slices.Sorted(maps.Keys(files))
	f.Add([]byte{0, 0, 0, 30, 1, 3, 2, 0, 99, 0})
	f.Add([]byte{4, 1, 1, 0, 0})
	f.Fuzz(func(t *testing.T, edits []byte) {
		edited := maps.Clone(files)
		for ; len(edits) >= 5; edits = edits[5:] {
			name := order[int(edits[0])%len(order)]
			b := slices.Clone(edited[name])
			at := min(int(edits[2])<<8|int(edits[3]), len(b))
			switch edits[1] % 4 {
			case 0:
				if at < len(b) {
					b[at] = edits[4]
				}
			case 1:
				b = b[:at]
			case 2:
				b = append(b, make([]byte, at)...)
			case 3:
				other := edited[order[int(edits[4])%len(order)]]
				b = append(b[:at], other[min(at, len(other)):]...)
			}
			edited[name] = b
		}
		if why := judgeDamaged(edited, all, nil); why != "" {
			t.Fatal(why)
		}
	})
}
