package vfs_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// workload runs a few ops of every kind and leaves some in doubt.
func workload(t testing.TB) *vfs.Mem {
	t.Helper()
	m, d, f := durable(t, strings.Repeat("a", 100))
	write(t, f, 100, strings.Repeat("b", 5000))
	write(t, f, 5100, strings.Repeat("c", 300))
	must(t, f.Truncate(5300))
	g := create(t, d, "g.tmp")
	write(t, g, 0, "checkpoint")
	must(t, g.Sync())
	must(t, d.Rename("g.tmp", "g"))
	return m
}

func TestCrashStatesOfEveryMode(t *testing.T) {
	m := workload(t)
	o := vfs.StateOptions{Workload: "W", Seed: 7, Random: 20}
	modes := map[string]int{}
	hashes := map[[sha256.Size]byte]string{}
	for s := range m.CrashStates(m.OpCount(), o) {
		parts := strings.Split(s.Name, "/")
		if len(parts) != 4 || parts[0] != "W" || parts[1] != fmt.Sprint(m.OpCount()) || parts[3] != "7" {
			t.Errorf("name %q, want W/op-index/mode/7", s.Name)
		}
		mode, _, _ := strings.Cut(parts[2], "-")
		modes[mode]++
		if other, ok := hashes[s.Hash()]; ok {
			t.Errorf("%s and %s have the same hash", s.Name, other)
		}
		hashes[s.Hash()] = s.Name
		if got := s.FS().Files()["f"]; !bytes.HasPrefix(got, bytes.Repeat([]byte("a"), 100)) {
			t.Errorf("%s lost durable bytes", s.Name)
		}
	}
	// Not zero and dirs: here, their states are those of torn-N@0 and of names, data, drop and only.
	for _, mode := range []string{"synced", "all", "names", "data", "drop", "only", "torn", "tornz", "garbage", "rand"} {
		if modes[mode] == 0 {
			t.Errorf("no state of mode %s; there are %v", mode, modes)
		}
	}
}

func TestCrashStatesAreReproducible(t *testing.T) {
	m := workload(t)
	o := vfs.StateOptions{Workload: "W", Seed: 7, Random: 5}
	for i := range m.OpCount() + 1 {
		first, second := states(m, i, o), states(m, i, o)
		if len(first) == 0 || len(first) != len(second) {
			t.Fatalf("op %d: %d states, then %d", i, len(first), len(second))
		}
		for j := range first {
			if first[j].Name != second[j].Name || first[j].Hash() != second[j].Hash() {
				t.Errorf("op %d: %s became %s", i, first[j].Name, second[j].Name)
			}
		}
		s := first[len(first)-1]
		again, ok := m.CrashState(s.Name, o)
		if !ok || again.Hash() != s.Hash() {
			t.Errorf("CrashState(%s) = %s, %v", s.Name, again.Name, ok)
		}
	}
	for _, name := range []string{"", "W", "W/99/all/7", "W/1/nothing/7", "V/1/all/7", "W/-1/all/7", "W/x/all/7"} {
		if s, ok := m.CrashState(name, o); ok {
			t.Errorf("CrashState(%q) = %s, want none", name, s.Name)
		}
	}
}

func states(m *vfs.Mem, i int, o vfs.StateOptions) []vfs.State {
	var all []vfs.State
	for s := range m.CrashStates(i, o) {
		all = append(all, s)
	}
	return all
}

func TestCrashStatesEnd(t *testing.T) {
	m := workload(t)
	total := len(states(m, m.OpCount(), vfs.StateOptions{Random: 5}))
	for limit := 1; limit <= total; limit++ {
		n := 0
		for range m.CrashStates(m.OpCount(), vfs.StateOptions{Random: 5}) {
			if n++; n == limit {
				break
			}
		}
	}
}

func TestCrashStatesOutOfRange(t *testing.T) {
	m := workload(t)
	for _, i := range []int{-1, m.OpCount() + 1} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("CrashStates(%d) did not panic", i)
				}
			}()
			m.CrashStates(i, vfs.StateOptions{})
		}()
	}
}

func TestCrashStateOptions(t *testing.T) {
	m := workload(t)
	all := states(m, m.OpCount(), vfs.StateOptions{})
	for _, tt := range []struct {
		name string
		opts vfs.StateOptions
	}{
		{"settled", vfs.StateOptions{Settled: func(name string) bool { return name == "f" }}},
		{"few cuts", vfs.StateOptions{MaxTorn: 2}},
		{"last ops", vfs.StateOptions{MaxEach: 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if n := len(states(m, m.OpCount(), tt.opts)); n == 0 || n >= len(all) {
				t.Errorf("%d states, want fewer than %d", n, len(all))
			}
		})
	}
	seen := map[[sha256.Size]byte]bool{}
	o := vfs.StateOptions{Seen: seen}
	if n := len(states(m, m.OpCount(), o)); n != len(all) || len(seen) != n {
		t.Errorf("%d states, %d hashes, want %d", n, len(seen), len(all))
	}
	if n := len(states(m, m.OpCount(), o)); n != 0 {
		t.Errorf("%d states the second time, want 0", n)
	}
}

func TestSpareOverwrites(t *testing.T) {
	m, _, f := durable(t, "0123456789")
	write(t, f, 5, "abcdefghij")
	for _, tt := range []struct {
		name  string
		spare bool
		want  string
	}{
		{"spared", true, "0123456789" + strings.Repeat("\x00", 5)},
		{"harsh", false, "01234" + strings.Repeat("\x00", 10)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, contents := after(t, m, "f", vfs.StateOptions{SpareOverwrites: tt.spare})
			wantContents(t, contents, tt.want)
		})
	}
}

func TestManyDirectoryOps(t *testing.T) {
	m := vfs.NewMem()
	d := openMem(t, m)
	for i := range 10 {
		create(t, d, fmt.Sprint(i))
	}
	pairs := 0
	for s := range m.CrashStates(m.OpCount(), vfs.StateOptions{}) {
		if n := len(s.Files()); n == 2 || n == 8 {
			pairs++
		}
	}
	if pairs != 90 {
		t.Errorf("%d states with one pair kept or lost, want 90", pairs)
	}
}

func TestWriteFileAtomicIsAtomic(t *testing.T) {
	m := vfs.NewMemFrom(map[string][]byte{"f": []byte("old"), "f.tmp": []byte("left over")})
	d := openMem(t, m)
	must(t, vfs.WriteFileAtomic(d, "f", []byte("newer")))
	for i := range m.OpCount() + 1 {
		for s := range m.CrashStates(i, vfs.StateOptions{Random: 20}) {
			got := string(s.Files()["f"])
			if got != "newer" && (got != "old" || i == m.OpCount()) {
				t.Errorf("%s: content %q", s.Name, got)
			}
		}
	}
}

// TestWriteFileAtomicFails fails each of its calls: the name keeps a whole content, on disk, too, nothing is
// cut short, and the next attempt succeeds.
func TestWriteFileAtomicFails(t *testing.T) {
	for n := 1; ; n++ {
		m := vfs.NewMemFrom(map[string][]byte{"f": []byte("old")})
		f := vfs.Inject(m, func(c vfs.Call) vfs.Decision {
			return vfs.FailAt(n+1, vfs.Decision{Err: syscall.EIO, Half: true})(c) // not OpenDir
		})
		d := openMem(t, f)
		err := vfs.WriteFileAtomic(d, "f", []byte("newer"))
		if f.Count() <= n {
			must(t, err)
			return
		}
		wantErr(t, fmt.Sprintf("WriteFileAtomic, call %d", n), err, syscall.EIO)
		_, contents := after(t, m, "f", vfs.StateOptions{Random: 20})
		for content := range contents {
			if content != "old" && content != "newer" {
				t.Errorf("call %d failed: content %q", n, content)
			}
		}
		must(t, vfs.WriteFileAtomic(d, "f", []byte("again")))
		_, contents = after(t, m, "f", vfs.StateOptions{Random: 20})
		wantOnly(t, contents, "again")
	}
}

// A toyStore keeps one-byte records in a log. It is right, or wrong on purpose.
type toyStore struct {
	ackBeforeSync bool
	noDirSync     bool
}

// run appends three records and returns the index of the trace at which each is acknowledged.
func (s toyStore) run(t testing.TB, m *vfs.Mem) (acks []int) {
	d := openMem(t, m)
	f := create(t, d, "log")
	if !s.noDirSync {
		must(t, d.Sync())
	}
	for i := range 3 {
		write(t, f, int64(i), string(rune('A'+i)))
		if s.ackBeforeSync {
			acks = append(acks, m.OpCount())
		}
		must(t, f.Sync())
		if !s.ackBeforeSync {
			acks = append(acks, m.OpCount())
		}
	}
	return acks
}

// check reports an acknowledged record that a state has lost.
func (toyStore) check(s vfs.State, acked int) error {
	if acked == 0 {
		return nil
	}
	d, err := s.FS().OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		return err
	}
	f, err := d.OpenRead("log")
	if err != nil {
		return err
	}
	p := make([]byte, acked)
	if _, err := f.ReadAt(p, 0); err != nil || string(p) != "ABC"[:acked] {
		return fmt.Errorf("log holds %q, %w", p, err)
	}
	return nil
}

// TestPositiveControl shows that the crash states find the mistakes which they are there for.
func TestPositiveControl(t *testing.T) {
	for _, tt := range []struct {
		name  string
		store toyStore
		found bool
	}{
		{"right", toyStore{}, false},
		{"acknowledges before sync", toyStore{ackBeforeSync: true}, true},
		{"forgets to sync the directory", toyStore{noDirSync: true}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			acks := tt.store.run(t, m)
			var found error
			for i := range m.OpCount() + 1 {
				acked := 0
				for acked < len(acks) && acks[acked] <= i {
					acked++
				}
				for s := range m.CrashStates(i, vfs.StateOptions{Random: 5}) {
					if err := tt.store.check(s, acked); err != nil {
						found = fmt.Errorf("%s: %w", s.Name, err)
					}
				}
			}
			if (found != nil) != tt.found {
				t.Errorf("found %v, want a finding: %v", found, tt.found)
			}
		})
	}
}

func BenchmarkCrashStates(b *testing.B) {
	m := vfs.NewMem()
	d := openMem(b, m)
	f := create(b, d, "0000000001.fbat")
	must(b, d.Sync())
	for i := range 200 {
		write(b, f, int64(i)*300, strings.Repeat("x", 300))
		if i < 192 {
			must(b, f.Sync())
		}
	}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		for s := range m.CrashStates(m.OpCount(), vfs.StateOptions{Random: 50}) {
			_ = s.FS()
			n++
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "states/s")
}
