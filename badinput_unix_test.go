//go:build unix

package batpak_test

import (
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"batpak"
	"batpak/internal/vfs"
	"batpak/segment"
)

// TestUnsafePaths puts something else in the place of each file of a store. What it leads to is not touched.
func TestUnsafePaths(t *testing.T) {
	files := storeFiles(t)
	for _, name := range []string{segment.Name(1), segment.Name(2), segment.Name(uint64(len(segmentsOf(maps.Clone(files))))), "store.meta", "anchor", ".lock"} {
		for _, tt := range []struct {
			kind  string
			place func(path, target string) error
		}{
			{"symlink", func(path, target string) error { return os.Symlink(target, path) }},
			{"dangling symlink", func(path, target string) error { return os.Symlink(target+".missing", path) }},
			{"hard link", func(path, target string) error { return os.Link(target, path) }},
			{"FIFO", func(path, _ string) error { return syscall.Mkfifo(path, 0o600) }},
			{"directory", func(path, _ string) error { return os.Mkdir(path, 0o700) }},
		} {
			t.Run(tt.kind+" as "+name, func(t *testing.T) {
				dir, elsewhere := storeOnDisk(t, files), t.TempDir()
				path, target := filepath.Join(dir, name), filepath.Join(elsewhere, "target")
				if err := os.Rename(path, target); err != nil {
					t.Fatal(err)
				}
				if err := tt.place(path, target); err != nil {
					t.Fatal(err)
				}
				var except []string
				if name != ".lock" {
					except = []string{".lock"}
				}
				before, outside := dirState(t, dir, except...), dirState(t, elsewhere)
				for _, readOnly := range []bool{false, true} {
					_, err := batpak.Open(dir, &batpak.Options{ReadOnly: readOnly})
					if bad := all(is(vfs.ErrUnsafePath), as(func(e *vfs.UnsafePathError) bool { return e.Reason != "" }))(err); bad != nil {
						t.Errorf("read-only %v: %v", readOnly, bad)
					}
				}
				sameState(t, dirState(t, dir, except...), before)
				sameState(t, dirState(t, elsewhere), outside)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(target, path); err != nil {
					t.Fatal(err)
				}
				st := openAt(t, dir, nil)
				if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 100 {
					t.Errorf("put right: %d events, %v", len(got), err)
				}
				mustClose(t, st)
			})
		}
	}
}
