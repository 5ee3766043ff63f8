package vfs_test

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

func openMem(t testing.TB, m vfs.FS) vfs.Dir {
	t.Helper()
	d, err := m.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	must(t, err)
	return d
}

// create makes the file name and leaves it open.
func create(t testing.TB, d vfs.Dir, name string) vfs.File {
	t.Helper()
	f, err := d.Create(name)
	must(t, err)
	return f
}

func write(t testing.TB, f vfs.File, off int64, data string) {
	t.Helper()
	_, err := f.WriteAt([]byte(data), off)
	must(t, err)
}

// durable returns an empty file system and a file f in it that holds data and has a durable name.
func durable(t testing.TB, data string) (*vfs.Mem, vfs.Dir, vfs.File) {
	t.Helper()
	m := vfs.NewMem()
	d := openMem(t, m)
	f := create(t, d, "f")
	write(t, f, 0, data)
	must(t, f.Sync())
	must(t, d.Sync())
	return m, d, f
}

// after returns the crash states of the whole trace by mode, and every content that the file name has in
// any of them; a missing file has the content "(absent)".
func after(
	t testing.TB, m *vfs.Mem, name string, o vfs.StateOptions,
) (byMode map[string]vfs.State, contents map[string]bool) {
	t.Helper()
	byMode, contents = map[string]vfs.State{}, map[string]bool{}
	for s := range m.CrashStates(m.OpCount(), o) {
		parts := bytes.Split([]byte(s.Name), []byte("/"))
		byMode[string(parts[2])] = s
		data, ok := s.Files()[name]
		if !ok {
			data = []byte("(absent)")
		}
		contents[string(data)] = true
	}
	return byMode, contents
}

func wantContents(t *testing.T, contents map[string]bool, want ...string) {
	t.Helper()
	for _, w := range want {
		if !contents[w] {
			t.Errorf("no state holds %q; there are %q", w, sorted(contents))
		}
	}
}

func wantOnly(t *testing.T, contents map[string]bool, want ...string) {
	t.Helper()
	wantContents(t, contents, want...)
	if len(contents) != len(want) {
		t.Errorf("states hold %q, want only %q", sorted(contents), want)
	}
}

func sorted(set map[string]bool) []string { return slices.Sorted(maps.Keys(set)) }

func TestMemReadsSeeUnsyncedBytes(t *testing.T) {
	m, d, f := durable(t, "old")
	write(t, f, 0, "new")
	if got := readFile(t, d, "f"); got != "new" {
		t.Errorf("content = %q, want new", got)
	}
	_, contents := after(t, m, "f", vfs.StateOptions{})
	wantContents(t, contents, "old", "new", "nld", "ned")
}

func TestMemCloseDoesNotSync(t *testing.T) {
	m, d, f := durable(t, "old")
	write(t, f, 0, "new")
	must(t, f.Close())
	must(t, d.Close())
	_, contents := after(t, m, "f", vfs.StateOptions{})
	wantContents(t, contents, "old", "new")
}

func TestMemSyncMakesBytesAndSizeDurable(t *testing.T) {
	m, _, f := durable(t, "old")
	write(t, f, 3, "er")
	must(t, f.Truncate(4))
	must(t, f.Sync())
	_, contents := after(t, m, "f", vfs.StateOptions{Random: 10})
	wantOnly(t, contents, "olde")
}

func TestMemSyncDoesNotMakeTheNameDurable(t *testing.T) {
	m := vfs.NewMem()
	d := openMem(t, m)
	f := create(t, d, "f")
	write(t, f, 0, "data")
	must(t, f.Sync())
	_, contents := after(t, m, "f", vfs.StateOptions{})
	wantOnly(t, contents, "data", "(absent)")
	must(t, d.Sync())
	_, contents = after(t, m, "f", vfs.StateOptions{})
	wantOnly(t, contents, "data")
}

func TestMemDirSyncDoesNotMakeBytesDurable(t *testing.T) {
	m := vfs.NewMem()
	d := openMem(t, m)
	write(t, create(t, d, "f"), 0, "data")
	must(t, d.Sync())
	_, contents := after(t, m, "f", vfs.StateOptions{})
	wantContents(t, contents, "", "d", "data", "\x00\x00\x00\x00")
	if contents["(absent)"] {
		t.Error("a state has lost the name")
	}
}

func TestMemRenameLeavesOldOrNewName(t *testing.T) {
	m, d, f := durable(t, "one")
	must(t, d.Rename("f", "g"))
	write(t, create(t, d, "f"), 0, "two") // re-uses the old name
	must(t, d.Rename("f", "h"))
	must(t, d.Remove("g"))
	must(t, f.Close())
	n := m.OpCount() - 1 // before the removal
	seen := map[string]bool{}
	for s := range m.CrashStates(n, vfs.StateOptions{Random: 200}) {
		one := 0
		for name, data := range s.Files() {
			if string(data) == "one" {
				one++
				seen[name] = true
			}
		}
		if one != 1 {
			t.Errorf("%s: %d names for the renamed file, want 1: %q", s.Name, one, s.Files())
		}
	}
	if !seen["f"] || !seen["g"] {
		t.Errorf("the renamed file was seen as %v, want f and g", seen)
	}
}

func TestMemRenameOverKeepsOneOfBoth(t *testing.T) {
	m, d, _ := durable(t, "old")
	g := create(t, d, "g")
	write(t, g, 0, "new")
	must(t, g.Sync())
	must(t, d.Rename("g", "f"))
	_, contents := after(t, m, "f", vfs.StateOptions{Random: 50})
	wantOnly(t, contents, "old", "new")
}

func TestMemTruncateAndRemoveMayBeLost(t *testing.T) {
	m, d, f := durable(t, "data")
	must(t, f.Truncate(1))
	_, contents := after(t, m, "f", vfs.StateOptions{})
	wantOnly(t, contents, "data", "d")
	must(t, d.Remove("f"))
	_, contents = after(t, m, "f", vfs.StateOptions{})
	wantOnly(t, contents, "data", "d", "(absent)")
	must(t, d.Sync())
	_, contents = after(t, m, "f", vfs.StateOptions{})
	wantOnly(t, contents, "(absent)")
}

func TestMemFailedSync(t *testing.T) {
	for _, tt := range []struct {
		name    string
		mode    vfs.MemMode
		rewrite bool
		want    []string // contents after a later sync that says OK; not those of modes failed-…
	}{
		{"synced again", 0, false, []string{"A"}},
		{"rewritten", 0, true, []string{"AB"}},
		{"ext4, rewritten", vfs.Ext4Rewrite, true, []string{"A\x00"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			m.SetMode(tt.mode)
			fail := false
			d := openMem(t, vfs.Inject(m, func(c vfs.Call) vfs.Decision {
				if fail && c.Kind == vfs.OpSync {
					return vfs.Decision{Err: syscall.EIO}
				}
				return vfs.Decision{}
			}))
			f := create(t, d, "f")
			write(t, f, 0, "A")
			must(t, f.Sync())
			must(t, d.Sync())
			write(t, f, 1, "B")
			fail = true
			wantErr(t, "Sync", f.Sync(), syscall.EIO)
			fail = false
			if tt.rewrite {
				write(t, f, 1, "B")
			}
			must(t, f.Sync())
			if got := readFile(t, d, "f"); got != "AB" {
				t.Errorf("readers see %q, want AB", got)
			}
			byMode, _ := after(t, m, "f", vfs.StateOptions{})
			contents := map[string]bool{}
			for mode, s := range byMode {
				if mode != "failed-all" && mode != "failed-only" {
					contents[string(s.Files()["f"])] = true
				}
			}
			wantOnly(t, contents, tt.want...)

			g := create(t, d, "g")
			write(t, g, 0, "AB")
			must(t, g.Sync())
			must(t, d.Sync())
			_, contents = after(t, m, "g", vfs.StateOptions{Random: 20})
			wantOnly(t, contents, "AB")
		})
	}
}

// TestMemExt4RewriteSparesTheRest: only the doomed bytes stay lost, and only until the file is cut before them.
func TestMemExt4RewriteSparesTheRest(t *testing.T) {
	for _, tt := range []struct {
		name string
		cut  int64 // where the file is cut before the bytes are written again; -1: nowhere
		want string
	}{
		{"not cut", -1, "x\x00\x00xx"},
		{"cut behind", 4, "x\x00\x00xx"},
		{"cut inside", 2, "x\x00xxx"},
		{"cut before", 0, "xxxxx"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			m.SetMode(vfs.Ext4Rewrite)
			fail := true
			d := openMem(t, vfs.Inject(m, func(c vfs.Call) vfs.Decision {
				if fail && c.Kind == vfs.OpSync {
					return vfs.Decision{Err: syscall.EIO}
				}
				return vfs.Decision{}
			}))
			f := create(t, d, "f")
			write(t, f, 1, "AB")
			wantErr(t, "Sync", f.Sync(), syscall.EIO)
			fail = false
			if tt.cut >= 0 {
				must(t, f.Truncate(tt.cut))
			}
			write(t, f, 0, "xxxxx")
			must(t, f.Sync())
			must(t, d.Sync())
			byMode, _ := after(t, m, "f", vfs.StateOptions{})
			if got := string(byMode["synced"].Files()["f"]); got != tt.want {
				t.Errorf("disk holds %q, want %q", got, tt.want)
			}
		})
	}
}

func TestMemFailedSyncMayHaveSavedAll(t *testing.T) {
	m := vfs.NewMem()
	d := openMem(t, vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpDirSync || c.Kind == vfs.OpSync {
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	}))
	f := create(t, d, "f")
	write(t, f, 0, "A")
	wantErr(t, "Sync", f.Sync(), syscall.EIO)
	wantErr(t, "Dir.Sync", d.Sync(), syscall.EIO)
	byMode, contents := after(t, m, "f", vfs.StateOptions{})
	wantOnly(t, contents, "(absent)", "A")
	if got := string(byMode["failed-all"].Files()["f"]); got != "A" {
		t.Errorf("failed-all holds %q, want A", got)
	}
}

func TestMemLyingSyncMayLoseAll(t *testing.T) {
	m := vfs.NewMem()
	m.SetMode(vfs.LyingSync)
	d := openMem(t, m)
	f := create(t, d, "f")
	write(t, f, 0, "data")
	must(t, f.Sync())
	must(t, d.Sync())
	_, contents := after(t, m, "f", vfs.StateOptions{})
	wantContents(t, contents, "data", "(absent)", "")
}

func TestMemShrinkMaps(t *testing.T) {
	for _, tt := range []struct {
		name string
		mode vfs.MemMode
		want error
	}{{"copy", 0, nil}, {"shrink", vfs.ShrinkMaps, vfs.ErrMapFault}} {
		t.Run(tt.name, func(t *testing.T) {
			m, d, f := durable(t, "0123456789")
			m.SetMode(tt.mode)
			view, err := d.Map("f")
			must(t, err)
			write(t, f, 0, "x")
			must(t, f.Truncate(5))
			p := make([]byte, 5)
			if _, err := view.ReadAt(p, 0); err != nil || tt.mode == 0 && string(p) != "01234" {
				t.Errorf("ReadAt(0) = %q, %v, want 01234", p, err)
			}
			_, err = view.ReadAt(p, 5)
			wantErr(t, "ReadAt(5)", err, tt.want)
		})
	}
}

func TestMemStatesHaveNoLock(t *testing.T) {
	m := vfs.NewMem()
	d := openMem(t, m)
	_, err := d.Lock(".lock")
	must(t, err)
	for _, clone := range []*vfs.Mem{m.Clone(), firstState(t, m).FS()} {
		l, err := openMem(t, clone).Lock(".lock")
		must(t, err)
		must(t, l.Close())
	}
	_, err = d.Lock(".lock")
	wantErr(t, "Lock of the original", err, vfs.ErrLocked)
}

func firstState(t testing.TB, m *vfs.Mem) vfs.State {
	t.Helper()
	for s := range m.CrashStates(m.OpCount(), vfs.StateOptions{}) {
		return s
	}
	t.Fatal("no state")
	return vfs.State{}
}

func TestMemClonesAreIndependent(t *testing.T) {
	m, d, f := durable(t, "one")
	write(t, f, 0, "two") // unsynced, yet durable in the clone
	c := m.Clone()
	write(t, f, 0, "six")
	cd := openMem(t, c)
	cf, err := cd.OpenWrite("f")
	must(t, err)
	write(t, cf, 0, "ten")
	must(t, d.Remove("f"))
	if got := readFile(t, cd, "f"); got != "ten" {
		t.Errorf("clone reads %q, want ten", got)
	}
	_, contents := after(t, c, "f", vfs.StateOptions{})
	wantContents(t, contents, "two", "ten")
	a := firstState(t, c)
	x, y := a.FS(), a.FS()
	xf, err := openMem(t, x).OpenWrite("f")
	must(t, err)
	write(t, xf, 0, "!")
	if got := string(y.Files()["f"]); got != "two" {
		t.Errorf("other file system of the state reads %q, want two", got)
	}
}

func TestMemHelpers(t *testing.T) {
	m := vfs.NewMemFrom(map[string][]byte{"a": []byte("1"), "sub/b": []byte("2"), "/other/c": []byte("3")})
	m.SetFile("a", []byte("one"))
	m.SetFile("new/d", nil)
	m.DeleteFile("sub/b")
	m.DeleteFile("not/there")
	m.SetSpecial("link", fs.ModeSymlink)
	got := m.Files()
	if len(got) != 3 || string(got["a"]) != "one" || got["new/d"] == nil || string(got["/other/c"]) != "3" {
		t.Errorf("Files = %q", got)
	}
	d := openMem(t, m)
	_, err := d.OpenRead("link")
	wantErr(t, "OpenRead of a symlink", err, vfs.ErrUnsafePath)
	_, err = d.Lock("link")
	wantErr(t, "Lock of a symlink", err, vfs.ErrUnsafePath)
	_, contents := after(t, m, "a", vfs.StateOptions{Random: 5})
	wantOnly(t, contents, "one")
	dir := t.TempDir()
	must(t, firstState(t, m).WriteTo(dir))
	if got := readFile(t, openReal(t, dir), "a"); got != "one" {
		t.Errorf("written out: %q, want one", got)
	}
}

func openReal(t testing.TB, dir string) vfs.Dir {
	t.Helper()
	d, err := vfs.OS.OpenDir(dir, vfs.DirOptions{})
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestMemRefusesHugeFiles(t *testing.T) {
	_, _, f := durable(t, "x")
	wantErr(t, "Truncate", f.Truncate(1<<50), syscall.EFBIG)
	_, err := f.WriteAt([]byte("x"), 1<<50)
	wantErr(t, "WriteAt", err, syscall.EFBIG)
}

func TestMemIsSafeForConcurrentUse(t *testing.T) {
	m, d, f := durable(t, "start")
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			name := string(rune('a' + i))
			g, err := d.Create(name)
			if err != nil {
				t.Error(err)
				return
			}
			for j := range 50 {
				_, err1 := g.WriteAt([]byte{byte(j)}, int64(j))
				_, err2 := f.WriteAt([]byte{byte(j)}, int64(j*100))
				_, err3 := d.List()
				if err := errors.Join(err1, err2, err3, g.Sync(), d.Sync()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for s := range m.CrashStates(m.OpCount(), vfs.StateOptions{Random: 3}) {
				_ = s.FS().Files()
			}
			_ = m.Clone().Files()
		})
	}
	wg.Wait()
}
