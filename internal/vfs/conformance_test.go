package vfs_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"batpak/internal/vfs"
)

// systems are the file systems that must behave alike, each with the path of a directory to be made.
func systems(t *testing.T) map[string]func(t *testing.T) (vfs.FS, string) {
	t.Helper()
	return map[string]func(t *testing.T) (vfs.FS, string){
		"os":  func(t *testing.T) (vfs.FS, string) { return vfs.OS, filepath.Join(t.TempDir(), "a", "store") },
		"mem": func(*testing.T) (vfs.FS, string) { return vfs.NewMem(), vfs.MemDir },
		"injected": func(*testing.T) (vfs.FS, string) {
			return vfs.Inject(vfs.NewMem(), nil), vfs.MemDir
		},
	}
}

func onEach(t *testing.T, test func(t *testing.T, d vfs.Dir)) {
	t.Helper()
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			fsys, path := system(t)
			d, err := fsys.OpenDir(path, vfs.DirOptions{Create: true})
			if err != nil {
				t.Fatal(err)
			}
			test(t, d)
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s = %v, want %v", what, err, want)
	}
}

// writeFile makes the file name holding data, without a sync.
func writeFile(t testing.TB, d vfs.Dir, name, data string) {
	t.Helper()
	f, err := d.Create(name)
	must(t, err)
	_, err = f.WriteAt([]byte(data), 0)
	must(t, err)
	must(t, f.Close())
}

func readFile(t testing.TB, d vfs.Dir, name string) string {
	t.Helper()
	f, err := d.OpenRead(name)
	must(t, err)
	defer f.Close()
	size, err := f.Size()
	must(t, err)
	data := make([]byte, size)
	if n, err := f.ReadAt(data, 0); n != len(data) || err != nil && !errors.Is(err, io.EOF) {
		t.Fatalf("ReadAt(%s) = %d, %v, want %d", name, n, err, len(data))
	}
	return string(data)
}

func TestFileReadsAndWrites(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		f, err := d.Create("f")
		must(t, err)
		_, err = f.WriteAt([]byte("world"), 5)
		must(t, err)
		_, err = f.WriteAt([]byte("hello"), 0)
		must(t, err)
		if got := readFile(t, d, "f"); got != "helloworld" {
			t.Errorf("content = %q, want helloworld", got)
		}
		must(t, f.Truncate(4))
		must(t, f.Truncate(6))
		if got := readFile(t, d, "f"); got != "hell\x00\x00" {
			t.Errorf("content = %q, want hell and two zeros", got)
		}
		_, err = f.WriteAt([]byte("x"), 9000)
		must(t, err)
		if size, err := f.Size(); size != 9001 || err != nil {
			t.Errorf("Size = %d, %v, want 9001", size, err)
		}
		p := make([]byte, 10)
		n, err := f.ReadAt(p, 8995)
		if n != 6 || !bytes.Equal(p[:n], []byte("\x00\x00\x00\x00\x00x")) {
			t.Errorf("ReadAt(10, 8995) = %q, want five zeros and x", p[:n])
		}
		wantErr(t, "ReadAt at the end", err, io.EOF)
		if _, err := f.ReadAt(p, -1); err == nil {
			t.Error("ReadAt(-1) = nil, want an error")
		}
		if _, err := f.WriteAt(p, -1); err == nil {
			t.Error("WriteAt(-1) = nil, want an error")
		}
		if err := f.Truncate(-1); err == nil {
			t.Error("Truncate(-1) = nil, want an error")
		}
		must(t, f.Sync())
		must(t, f.Close())
		_, err = f.ReadAt(p, 0)
		wantErr(t, "ReadAt after Close", err, fs.ErrClosed)
		_, err = f.WriteAt(p, 0)
		wantErr(t, "WriteAt after Close", err, fs.ErrClosed)
		wantErr(t, "Sync after Close", f.Sync(), fs.ErrClosed)
		wantErr(t, "Close after Close", f.Close(), fs.ErrClosed)
	})
}

func TestOpenReadCannotWrite(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "data")
		f, err := d.OpenRead("f")
		must(t, err)
		if _, err := f.WriteAt([]byte("x"), 0); err == nil {
			t.Error("WriteAt = nil, want an error")
		}
		if err := f.Truncate(0); err == nil {
			t.Error("Truncate = nil, want an error")
		}
		must(t, f.Close())
		if got := readFile(t, d, "f"); got != "data" {
			t.Errorf("content = %q, want data", got)
		}
	})
}

func TestNames(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		_, err := d.OpenRead("absent")
		wantErr(t, "OpenRead(absent)", err, fs.ErrNotExist)
		_, err = d.OpenWrite("absent")
		wantErr(t, "OpenWrite(absent)", err, fs.ErrNotExist)
		_, err = d.Map("absent")
		wantErr(t, "Map(absent)", err, fs.ErrNotExist)
		_, err = d.Stat("absent")
		wantErr(t, "Stat(absent)", err, fs.ErrNotExist)
		wantErr(t, "Remove(absent)", d.Remove("absent"), fs.ErrNotExist)
		wantErr(t, "Rename(absent)", d.Rename("absent", "b"), fs.ErrNotExist)

		writeFile(t, d, "b", "bb")
		writeFile(t, d, "a", "a")
		_, err = d.Create("a")
		wantErr(t, "Create(a) again", err, fs.ErrExist)
		must(t, d.Rename("a", "c"))
		must(t, d.Rename("c", "b"))
		must(t, d.Rename("b", "b"))
		writeFile(t, d, "a", "")
		entries, err := d.List()
		must(t, err)
		for i := range entries {
			e, err := d.Stat(entries[i].Name)
			if err != nil || e.Stamp != entries[i].Stamp || e.Stamp == (vfs.Stamp{}) {
				t.Errorf("Stat(%s) = %v, %v, List says %v", e.Name, e, err, entries[i])
			}
			entries[i].Stamp = vfs.Stamp{}
		}
		want := []vfs.Entry{{Name: "a"}, {Name: "b", Size: 1}}
		if len(entries) != 2 || entries[0] != want[0] || entries[1] != want[1] {
			t.Errorf("List = %v, want %v", entries, want)
		}
		before, err := d.Stat("b")
		must(t, err)
		f, err := d.OpenWrite("b")
		must(t, err)
		_, err = f.WriteAt([]byte("c"), 0)
		must(t, err)
		must(t, f.Close())
		if e, err := d.Stat("b"); e.Stamp == before.Stamp || err != nil {
			t.Errorf("Stat(b) = %v, %v, as before it was written to", e, err)
		}
		must(t, d.Remove("b"))
		must(t, d.Sync())
		if entries, err := d.List(); len(entries) != 1 || err != nil {
			t.Errorf("List = %v, %v, want a alone", entries, err)
		}
	})
}

func TestUnsafeNames(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		for _, name := range []string{
			"", ".", "..", "a/b", `a\b`, "/a", "../a", "a\x00b", "c:a", "a\n", strings.Repeat("x", 300),
		} {
			_, createErr := d.Create(name)
			_, readErr := d.OpenRead(name)
			_, writeErr := d.OpenWrite(name)
			_, mapErr := d.Map(name)
			_, lockErr := d.Lock(name)
			_, statErr := d.Stat(name)
			for _, err := range []error{
				createErr, readErr, writeErr, mapErr, lockErr, statErr,
				d.Remove(name), d.Rename(name, "x"), d.Rename("x", name),
			} {
				var unsafe *vfs.UnsafePathError
				if !errors.As(err, &unsafe) {
					t.Errorf("name %q: %v, want an UnsafePathError", name, err)
				}
			}
		}
	})
}

func TestRemovedFileStaysOpen(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "old")
		f, err := d.OpenWrite("f")
		must(t, err)
		must(t, d.Remove("f"))
		writeFile(t, d, "f", "new")
		_, err = f.WriteAt([]byte("OLD"), 0)
		must(t, err)
		must(t, f.Sync())
		p := make([]byte, 3)
		_, err = f.ReadAt(p, 0)
		must(t, err)
		if string(p) != "OLD" || readFile(t, d, "f") != "new" {
			t.Errorf("handle reads %q, name reads %q, want OLD and new", p, readFile(t, d, "f"))
		}
		must(t, f.Close())
	})
}

func TestMapReads(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		data := bytes.Repeat([]byte("0123456789"), 1000)
		writeFile(t, d, "f", string(data))
		m, err := d.Map("f")
		must(t, err)
		must(t, d.Remove("f"))
		if m.Len() != len(data) {
			t.Errorf("Len = %d, want %d", m.Len(), len(data))
		}
		for _, tt := range []struct {
			off  int64
			size int
			n    int
			err  error
		}{
			{0, 10, 10, nil},
			{4090, 20, 20, nil},
			{9990, 10, 10, nil},
			{9991, 10, 9, io.EOF},
			{10000, 1, 0, io.EOF},
			{10000, 0, 0, nil},
			{20000, 1, 0, io.EOF},
			{1 << 62, 1, 0, io.EOF},
			{-1, 1, 0, fs.ErrInvalid},
			{-1 << 63, 1, 0, fs.ErrInvalid},
		} {
			p := make([]byte, tt.size)
			n, err := m.ReadAt(p, tt.off)
			if n != tt.n || !errors.Is(err, tt.err) || n > 0 && !bytes.Equal(p[:n], data[tt.off:tt.off+int64(n)]) {
				t.Errorf("ReadAt(%d, %d) = %d, %v, want %d, %v", tt.size, tt.off, n, err, tt.n, tt.err)
			}
		}
		must(t, m.Close())
		wantErr(t, "Close after Close", m.Close(), fs.ErrClosed)
		_, err = m.ReadAt(make([]byte, 1), 0)
		wantErr(t, "ReadAt after Close", err, fs.ErrClosed)
		if m.Len() != 0 {
			t.Errorf("Len after Close = %d, want 0", m.Len())
		}
	})
}

func TestMapOfEmptyFile(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "")
		m, err := d.Map("f")
		must(t, err)
		_, err = m.ReadAt(make([]byte, 1), 0)
		wantErr(t, "ReadAt", err, io.EOF)
		must(t, m.Close())
	})
}

func TestLock(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		l, err := d.Lock(".lock")
		must(t, err)
		_, err = l.WriteAt([]byte("mine"), vfs.LockDataOffset)
		must(t, err)
		_, err = d.Lock(".lock")
		var locked *vfs.LockedError
		if !errors.As(err, &locked) || !errors.Is(err, vfs.ErrLocked) || locked.PID == 0 {
			t.Errorf("second Lock = %v, want a LockedError with a process ID", err)
		}
		other, err := d.Lock(".other")
		must(t, err)
		must(t, other.Close())
		must(t, l.Close())
		wantErr(t, "second Close", l.Close(), fs.ErrClosed)

		again, err := d.Lock(".lock")
		must(t, err)
		p := make([]byte, 4)
		_, err = again.ReadAt(p, vfs.LockDataOffset)
		must(t, err)
		if string(p) != "mine" {
			t.Errorf("data of the owner = %q, want mine", p)
		}
		must(t, again.Close())
		if _, err := d.Stat(".lock"); err != nil {
			t.Errorf("Stat after Close = %v, want the file still there", err)
		}
	})
}

func TestLockHasOneOwner(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		var wg sync.WaitGroup
		locks := make(chan vfs.LockFile, 16)
		for range cap(locks) {
			wg.Go(func() {
				l, err := d.Lock(".lock")
				if err == nil {
					locks <- l
				} else if !errors.Is(err, vfs.ErrLocked) {
					t.Errorf("Lock = %v", err)
				}
			})
		}
		wg.Wait()
		if len(locks) != 1 {
			t.Fatalf("%d goroutines hold the lock, want 1", len(locks))
		}
		must(t, (<-locks).Close())
	})
}

func TestOpenDir(t *testing.T) {
	for name, system := range systems(t) {
		t.Run(name, func(t *testing.T) {
			fsys, path := system(t)
			_, err := fsys.OpenDir(path, vfs.DirOptions{})
			wantErr(t, "OpenDir of nothing", err, fs.ErrNotExist)
			d, err := fsys.OpenDir(path, vfs.DirOptions{Create: true})
			must(t, err)
			writeFile(t, d, "f", "")
			sub, err := fsys.OpenDir(filepath.Join(path, "sub"), vfs.DirOptions{Create: true})
			must(t, err)
			if e, err := d.Stat("sub"); err != nil || !e.Mode.IsDir() {
				t.Errorf("Stat(sub) = %v, %v, want a directory", e, err)
			}
			if entries, err := d.List(); err != nil || len(entries) != 2 {
				t.Errorf("List = %v, %v, want f and sub", entries, err)
			}
			for _, err := range []error{d.Remove("sub"), d.Rename("f", "sub"), d.Rename("sub", "g")} {
				wantErr(t, "change of a directory", err, vfs.ErrUnsafePath)
			}
			_, err = d.OpenRead("sub")
			wantErr(t, "OpenRead of a directory", err, vfs.ErrUnsafePath)
			if _, err := fsys.OpenDir(filepath.Join(path, "f"), vfs.DirOptions{Create: true}); err == nil {
				t.Error("OpenDir of a file = nil, want an error")
			}
			must(t, sub.Close())
			must(t, d.Close())
			wantErr(t, "Close after Close", d.Close(), fs.ErrClosed)
			_, err = d.Create("x")
			wantErr(t, "Create after Close", err, fs.ErrClosed)
			_, err = d.List()
			wantErr(t, "List after Close", err, fs.ErrClosed)
			wantErr(t, "Sync after Close", d.Sync(), fs.ErrClosed)
		})
	}
}

func TestWriteFileAtomic(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		must(t, vfs.WriteFileAtomic(d, "f", []byte("one")))
		writeFile(t, d, "f.tmp", "left over by a crash, and longer")
		must(t, vfs.WriteFileAtomic(d, "f", []byte("two")))
		must(t, vfs.WriteFileAtomic(d, "empty", nil))
		if got := readFile(t, d, "f"); got != "two" {
			t.Errorf("content = %q, want two", got)
		}
		entries, err := d.List()
		must(t, err)
		for _, e := range entries {
			if vfs.IsTemp(e.Name) {
				t.Errorf("%s is left over", e.Name)
			}
		}
		wantErr(t, "bad name", vfs.WriteFileAtomic(d, "../f", nil), vfs.ErrUnsafePath)
	})
}

func TestReplaceFile(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		must(t, vfs.ReplaceFile(d, "f", func(f vfs.File) error {
			_, err := f.WriteAt([]byte("behind"), 6)
			if err == nil {
				_, err = f.WriteAt([]byte("first "), 0)
			}
			return err
		}))
		failed := errors.New("failed")
		wantErr(t, "ReplaceFile", vfs.ReplaceFile(d, "f", func(f vfs.File) error {
			_, _ = f.WriteAt([]byte("half"), 0)
			return failed
		}), failed)
		if got := readFile(t, d, "f"); got != "first behind" {
			t.Errorf("content = %q, want first behind", got)
		}
	})
}

func TestIsTemp(t *testing.T) {
	for name, want := range map[string]bool{
		"index.ckpt.tmp": true, ".tmp": false, "tmp": false, "index.ckpt": false, "a.tmp.b": false,
	} {
		if got := vfs.IsTemp(name); got != want {
			t.Errorf("IsTemp(%q) = %v, want %v", name, got, want)
		}
	}
}
