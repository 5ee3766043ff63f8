package vfs_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"

	"batpak/internal/vfs"
)

// everyCall makes one call of each kind and returns what each said.
func everyCall(f *vfs.Faulty) map[vfs.OpKind]error {
	errs := map[vfs.OpKind]error{}
	note := func(kind vfs.OpKind, err error) { errs[kind] = errors.Join(errs[kind], err) }
	d, err := f.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	note(vfs.OpOpenDir, err)
	if err != nil {
		return errs
	}
	if l, err := d.Lock(".lock"); err != nil {
		note(vfs.OpLock, err)
	} else {
		note(vfs.OpClose, l.Close())
	}
	file, err := d.Create("f")
	note(vfs.OpCreate, err)
	if err != nil {
		return errs
	}
	_, err = file.WriteAt([]byte("0123456789"), 0)
	note(vfs.OpWrite, err)
	note(vfs.OpTruncate, file.Truncate(8))
	note(vfs.OpSync, file.Sync())
	_, err = file.Size()
	note(vfs.OpSize, err)
	_, err = file.ReadAt(make([]byte, 4), 0)
	note(vfs.OpRead, err)
	note(vfs.OpClose, file.Close())
	if m, err := d.Map("f"); err != nil {
		note(vfs.OpMap, err)
	} else {
		_, err = m.ReadAt(make([]byte, 4), 0)
		note(vfs.OpRead, err)
		note(vfs.OpClose, m.Close())
	}
	_, err = d.OpenRead("f")
	note(vfs.OpOpenRead, err)
	_, err = d.OpenWrite("f")
	note(vfs.OpOpenWrite, err)
	_, err = d.Stat("f")
	note(vfs.OpStat, err)
	_, err = d.List()
	note(vfs.OpList, err)
	note(vfs.OpRename, d.Rename("f", "g"))
	note(vfs.OpDirSync, d.Sync())
	if d.Remove("g") != nil {
		note(vfs.OpRemove, d.Remove("f")) // its rename failed
	}
	note(vfs.OpClose, d.Close())
	return errs
}

func TestInjectCountsEveryKind(t *testing.T) {
	f := vfs.Inject(vfs.NewMem(), nil)
	for kind, err := range everyCall(f) {
		if err != nil {
			t.Errorf("%v: %v", kind, err)
		}
	}
	total := 0
	for kind := vfs.OpMkdir; kind <= vfs.OpClose; kind++ {
		n := f.CountOf(kind)
		total += n
		if n == 0 && kind != vfs.OpMkdir && kind != vfs.OpSetFile {
			t.Errorf("no call of kind %v was counted", kind)
		}
	}
	if f.Count() != total || f.CountOf(255) != 0 {
		t.Errorf("Count = %d, want %d", f.Count(), total)
	}
}

// TestInjectFailsEveryCall fails the 1st, 2nd, … call of a workload, once and from then on.
func TestInjectFailsEveryCall(t *testing.T) {
	count := vfs.Inject(vfs.NewMem(), nil)
	everyCall(count)
	for _, errno := range []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE, syscall.EROFS} {
		for n := 1; n <= count.Count(); n++ {
			for name, fail := range map[string]func(int, vfs.Decision) func(vfs.Call) vfs.Decision{
				"once": vfs.FailAt, "from then on": vfs.FailFrom,
			} {
				var kind vfs.OpKind
				decide := fail(n, vfs.Decision{Err: errno})
				errs := everyCall(vfs.Inject(vfs.NewMem(), func(c vfs.Call) vfs.Decision {
					if c.Index == n {
						kind = c.Kind
					}
					return decide(c)
				}))
				if err := errs[kind]; !errors.Is(err, errno) && kind != vfs.OpRemove {
					t.Errorf("call %d %s: %v = %v, want %v", n, name, kind, err, errno)
				}
			}
		}
	}
}

func TestInjectRepeatsInterruptedCalls(t *testing.T) {
	count := vfs.Inject(vfs.NewMem(), nil)
	everyCall(count)
	for _, errno := range []error{syscall.EINTR, syscall.EAGAIN} {
		for n := 1; n <= count.Count(); n++ {
			m := vfs.NewMem()
			closing := false
			f := vfs.Inject(m, func(c vfs.Call) vfs.Decision {
				if c.Index == n {
					closing = c.Kind == vfs.OpClose
				}
				return vfs.FailAt(n, vfs.Decision{Err: errno, Half: true})(c)
			})
			for kind, err := range everyCall(f) {
				if err != nil && !(closing && kind == vfs.OpClose) {
					t.Errorf("call %d interrupted: %v = %v, want nil", n, kind, err)
				}
			}
			for _, op := range m.Ops() {
				if op.Failed {
					t.Errorf("call %d interrupted: %v, want no failed sync", n, op)
				}
			}
		}
	}
	for kind, err := range everyCall(vfs.Inject(vfs.NewMem(), vfs.FailFrom(1, vfs.Decision{Err: syscall.EINTR}))) {
		if kind == vfs.OpOpenDir {
			wantErr(t, "OpenDir interrupted for ever", err, syscall.EINTR)
		}
	}
}

func TestInjectShortWrite(t *testing.T) {
	for _, tt := range []struct {
		name     string
		decision vfs.Decision
		n        int
	}{
		{"full disk", vfs.FullDisk, 5},
		{"nothing", vfs.Decision{Err: syscall.EIO}, 0},
		{"late error", vfs.Decision{Err: syscall.EIO, Apply: true}, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			d := openMem(t, vfs.Inject(m, func(c vfs.Call) vfs.Decision {
				if c.Kind != vfs.OpWrite {
					return vfs.Decision{}
				}
				return tt.decision
			}))
			n, err := create(t, d, "f").WriteAt([]byte("0123456789"), 0)
			var pathErr *fs.PathError
			if n != tt.n || !errors.Is(err, tt.decision.Err) || !errors.As(err, &pathErr) {
				t.Errorf("WriteAt = %d, %v, want %d, %v", n, err, tt.n, tt.decision.Err)
			}
			if got := string(m.Files()["f"]); got != "0123456789"[:tt.n] {
				t.Errorf("content = %q, want %d bytes", got, tt.n)
			}
		})
	}
}

func TestInjectApplies(t *testing.T) {
	m := vfs.NewMem()
	d := openMem(t, vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRename || c.Kind == vfs.OpSync {
			return vfs.Decision{Err: syscall.EIO, Apply: true}
		}
		return vfs.Decision{}
	}))
	f := create(t, d, "f")
	write(t, f, 0, "data")
	wantErr(t, "Sync", f.Sync(), syscall.EIO)
	wantErr(t, "Rename", d.Rename("f", "g"), syscall.EIO)
	must(t, d.Sync())
	_, contents := after(t, m, "g", vfs.StateOptions{})
	wantOnly(t, contents, "data")
}

func TestInjectFailsMapReadsOfRealFiles(t *testing.T) {
	fail := false
	fsys := vfs.Inject(vfs.OS, func(c vfs.Call) vfs.Decision {
		if fail && c.Kind == vfs.OpRead && c.Name == "f" && c.Off == 2 && c.Len == 3 {
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	})
	d, err := fsys.OpenDir(t.TempDir(), vfs.DirOptions{})
	must(t, err)
	writeFile(t, d, "f", "0123456789")
	m, err := d.Map("f")
	must(t, err)
	p := make([]byte, 3)
	fail = true
	_, err = m.ReadAt(p, 2)
	wantErr(t, "ReadAt", err, syscall.EIO)
	fail = false
	if _, err = m.ReadAt(p, 2); err != nil || string(p) != "234" {
		t.Errorf("ReadAt = %q, %v, want 234", p, err)
	}
	must(t, m.Close())
	must(t, d.Close())
}

func TestOpKindNames(t *testing.T) {
	seen := map[string]bool{}
	for kind := vfs.OpMkdir; kind <= vfs.OpClose; kind++ {
		name := kind.String()
		if name == "" || seen[name] {
			t.Errorf("OpKind(%d) has no name of its own: %q", kind, name)
		}
		seen[name] = true
	}
	if got := vfs.OpKind(0).String(); got != "OpKind(0)" {
		t.Errorf("String = %q, want OpKind(0)", got)
	}
	for _, op := range workload(t).Ops() {
		if op.String() == "" {
			t.Errorf("op %d has no text", op.Index)
		}
	}
}
