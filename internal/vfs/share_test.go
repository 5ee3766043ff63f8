package vfs_test

import (
	"fmt"
	"io/fs"
	"testing"

	"batpak/internal/vfs"
)

// TestShare: every hold works until it is closed, whatever becomes of the others, and the last one closes the file.
func TestShare(t *testing.T) {
	for name, order := range map[string][]int{"first hold first": {0, 1, 2}, "first hold last": {2, 1, 0}, "between": {1, 0, 2}} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.Inject(vfs.NewMem(), func(vfs.Call) vfs.Decision { return vfs.Decision{} })
			d, err := mem.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
			must(t, err)
			f, err := d.Create("f")
			must(t, err)
			shared := vfs.Share(f)
			a, b := shared.Hold(), shared.Hold()
			closes := []func() error{shared.Close, a.Close, b.Close}
			for n, i := range order {
				if got := mem.CountOf(vfs.OpClose); got != 0 {
					t.Fatalf("the file is closed after %d of 3", n)
				}
				must(t, closes[i]())
			}
			if got := mem.CountOf(vfs.OpClose); got != 1 {
				t.Errorf("the file was closed %d times", got)
			}
		})
	}
}

func TestHold(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "data")
		f, err := d.OpenWrite("f")
		must(t, err)
		shared := vfs.Share(f)
		defer shared.Close()
		a, b := shared.Hold(), shared.Hold()
		if size, err := vfs.OpenSize(a); size != 4 || err != nil {
			t.Errorf("OpenSize = %d, %v, want 4", size, err)
		}
		_, err = a.WriteAt([]byte("e"), 4)
		must(t, err)
		must(t, a.Sync())
		must(t, a.Truncate(3))
		var buf [3]byte
		if _, err := b.ReadAt(buf[:], 0); string(buf[:]) != "dat" || err != nil {
			t.Errorf("ReadAt of another hold = %q, %v", buf, err)
		}
		must(t, a.Close())
		for name, call := range map[string]func() error{
			"ReadAt":   func() error { _, err := a.ReadAt(buf[:], 0); return err },
			"WriteAt":  func() error { _, err := a.WriteAt(buf[:], 0); return err },
			"Size":     func() error { _, err := a.Size(); return err },
			"Truncate": func() error { return a.Truncate(0) },
			"Sync":     a.Sync,
			"Close":    a.Close,
		} {
			wantErr(t, name+" after Close", call(), fs.ErrClosed)
		}
		if size, err := b.Size(); size != 3 || err != nil {
			t.Errorf("Size of another hold = %d, %v, want 3", size, err)
		}
		must(t, b.Close())
	})
}

// TestNamesLooksWhereItIsTold: at the files that it is asked to look at, and at no others; many names, long ones among
// them, take several calls of the system.
func TestNamesLooksWhereItIsTold(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		const many = 300
		for i := range many {
			name := fmt.Sprintf("n%03d", i)
			for i%50 == 0 && len(name) < 200 {
				name += "-long"
			}
			writeFile(t, d, name, name)
		}
		picked := func(name string) bool { return name[3] == '7' }
		entries, err := d.Names(picked)
		must(t, err)
		if len(entries) != many {
			t.Fatalf("%d names, want %d", len(entries), many)
		}
		for i, e := range entries {
			if i > 0 && entries[i-1].Name >= e.Name {
				t.Errorf("%s comes before %s", entries[i-1].Name, e.Name)
			}
			want := vfs.Entry{Name: e.Name}
			if picked(e.Name) {
				want, err = d.Stat(e.Name)
				must(t, err)
			}
			if e != want || picked(e.Name) && e.Size != int64(len(e.Name)) {
				t.Errorf("Names has %+v, want %+v", e, want)
			}
		}
	})
}
