//go:build unix

package vfs_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"batpak/internal/vfs"
)

func openOS(t testing.TB, path string) vfs.Dir {
	t.Helper()
	d, err := vfs.OS.OpenDir(path, vfs.DirOptions{Create: true})
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func TestOSRefusesWhatIsNoDataFile(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reason string
		make   func(t *testing.T, path string) error
		rename bool // a change of the name is allowed
	}{
		{"symlink", "symlink", func(t *testing.T, path string) error {
			target := filepath.Join(t.TempDir(), "target")
			return errors.Join(os.WriteFile(target, []byte("secret"), 0o600), os.Symlink(target, path))
		}, false},
		{"dangling symlink", "symlink", func(_ *testing.T, path string) error {
			return os.Symlink(path+".nowhere", path)
		}, false},
		{"FIFO", "FIFO", func(_ *testing.T, path string) error { return unix.Mkfifo(path, 0o600) }, false},
		{"directory", "directory", func(_ *testing.T, path string) error { return os.Mkdir(path, 0o700) }, false},
		{"hard link", "hard link", func(t *testing.T, path string) error {
			other := filepath.Join(filepath.Dir(path), "other")
			return errors.Join(os.WriteFile(other, []byte("secret"), 0o600), os.Link(other, path))
		}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			d := openOS(t, dir)
			must(t, tt.make(t, filepath.Join(dir, "f")))
			_, readErr := d.OpenRead("f")
			_, writeErr := d.OpenWrite("f")
			_, mapErr := d.Map("f")
			_, lockErr := d.Lock("f")
			for call, err := range map[string]error{"OpenRead": readErr, "OpenWrite": writeErr, "Map": mapErr, "Lock": lockErr} {
				var unsafe *vfs.UnsafePathError
				if !errors.As(err, &unsafe) || unsafe.Reason != tt.reason {
					t.Errorf("%s = %v, want an UnsafePathError for %q", call, err, tt.reason)
				}
			}
			_, err := d.Create("f")
			wantErr(t, "Create", err, fs.ErrExist)
			if !tt.rename {
				wantErr(t, "Remove", d.Remove("f"), vfs.ErrUnsafePath)
				wantErr(t, "Rename", d.Rename("f", "g"), vfs.ErrUnsafePath)
			}
		})
	}
}

func TestOSStatDoesNotFollow(t *testing.T) {
	dir := t.TempDir()
	d := openOS(t, dir)
	must(t, os.Symlink("elsewhere", filepath.Join(dir, "link")))
	if e, err := d.Stat("link"); err != nil || e.Mode != fs.ModeSymlink {
		t.Errorf("Stat = %v, %v, want a symlink", e, err)
	}
}

func TestOSPermissions(t *testing.T) {
	root := t.TempDir()
	for _, tt := range []struct {
		name     string
		opts     vfs.DirOptions
		dir, own fs.FileMode
	}{
		{"default", vfs.DirOptions{Create: true}, 0o700, 0o600},
		{"given", vfs.DirOptions{Create: true, DirPerm: 0o750, FilePerm: 0o640}, 0o750, 0o640},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := filepath.Join(root, tt.name)
			path := filepath.Join(parent, "store")
			d, err := vfs.OS.OpenDir(path, tt.opts)
			must(t, err)
			writeFile(t, d, "f", "")
			l, err := d.Lock(".lock")
			must(t, err)
			must(t, l.Close())
			for file, want := range map[string]fs.FileMode{
				parent: tt.dir, path: tt.dir, filepath.Join(path, "f"): tt.own, filepath.Join(path, ".lock"): tt.own,
			} {
				info, err := os.Stat(file)
				must(t, err)
				if got := info.Mode().Perm(); got&^want != 0 {
					t.Errorf("permissions of %s = %v, want %v", filepath.Base(file), got, want)
				}
			}
			must(t, d.Close())
		})
	}
}

func TestOSOpenWithoutCreateWritesNothing(t *testing.T) {
	dir := t.TempDir()
	before, err := os.Stat(dir)
	must(t, err)
	d, err := vfs.OS.OpenDir(dir, vfs.DirOptions{})
	must(t, err)
	must(t, d.Close())
	after, err := os.Stat(dir)
	must(t, err)
	if !after.ModTime().Equal(before.ModTime()) {
		t.Error("the directory changed")
	}
}

func TestOSSurvivesChdir(t *testing.T) {
	t.Chdir(t.TempDir())
	d, err := vfs.OS.OpenDir("store", vfs.DirOptions{Create: true})
	must(t, err)
	t.Chdir(t.TempDir())
	writeFile(t, d, "f", "data")
	if got := readFile(t, d, "f"); got != "data" {
		t.Errorf("content = %q, want data", got)
	}
	must(t, d.Close())
}

func TestOSGuardedTurnsAFaultIntoAnError(t *testing.T) {
	d := openOS(t, t.TempDir())
	f, err := d.Create("f")
	must(t, err)
	_, err = f.WriteAt(make([]byte, 1<<16), 0)
	must(t, err)
	m, err := d.Map("f")
	must(t, err)
	must(t, f.Truncate(0))
	var n int
	err = m.Guarded(func() (err error) {
		n, err = m.ReadAt(make([]byte, 16), 1<<15)
		return err
	})
	wantErr(t, fmt.Sprintf("read of %d bytes behind the end", n), err, vfs.ErrMapFault)
	must(t, m.Close())
	must(t, f.Close())
}

// TestOSMapBesideReplacement: a file that is replaced as a whole, again and again, is there at any time.
func TestOSMapBesideReplacement(t *testing.T) {
	d := openOS(t, t.TempDir())
	must(t, vfs.WriteFileAtomic(d, "f", []byte("some")))
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() {
			f, err := d.Create("new")
			if err == nil {
				_, err = f.WriteAt([]byte("some"), 0)
				err = errors.Join(err, f.Close(), d.Rename("new", "f"))
			}
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2000 {
		m, err := d.Map("f")
		if err != nil {
			t.Error(err)
			break
		}
		if m.Len() != 4 {
			t.Errorf("mapped %d bytes, want 4", m.Len())
		}
		must(t, m.Close())
	}
	done.Store(true)
	wg.Wait()
}

func TestOSLockSeesOtherHandles(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(dir, link))
	a, b := openOS(t, dir), openOS(t, link)
	l, err := a.Lock(".lock")
	must(t, err)
	_, err = b.Lock(".lock")
	wantErr(t, "Lock by another path", err, vfs.ErrLocked)

	// A lock file that was deleted by hand must not let a second writer in.
	must(t, os.Remove(filepath.Join(dir, ".lock")))
	_, err = b.Lock(".lock")
	wantErr(t, "Lock after the file was deleted", err, vfs.ErrLocked)
	must(t, l.Close())
	l, err = b.Lock(".lock")
	must(t, err)
	must(t, l.Close())
}

// lockDirEnv tells the test binary to hold a lock and say so.
const lockDirEnv = "VFS_TEST_LOCK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockDirEnv); dir != "" {
		holdLock(dir)
		return
	}
	os.Exit(m.Run())
}

// holdLock locks, reports, and waits for the end of its standard input.
func holdLock(dir string) {
	d, err := vfs.OS.OpenDir(dir, vfs.DirOptions{})
	if err == nil {
		_, err = d.Lock(".lock")
	}
	fmt.Println("locked:", err)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func TestOSLockBetweenProcesses(t *testing.T) {
	dir := t.TempDir()
	d := openOS(t, dir)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), lockDirEnv+"="+dir)
	stdin, err := child.StdinPipe()
	must(t, err)
	stdout, err := child.StdoutPipe()
	must(t, err)
	must(t, child.Start())
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "locked: <nil>\n" {
		t.Fatalf("child says %q, %v", line, err)
	}
	_, err = d.Lock(".lock")
	var locked *vfs.LockedError
	if !errors.As(err, &locked) || locked.PID != child.Process.Pid {
		t.Errorf("Lock = %v, want a LockedError naming process %d", err, child.Process.Pid)
	}
	must(t, child.Process.Kill())
	_ = child.Wait() // reports the kill
	_ = stdin.Close()
	l, err := d.Lock(".lock")
	if err != nil {
		t.Fatalf("Lock after the owner died = %v, want nil", err)
	}
	must(t, l.Close())
}
