package coldstart

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"batpak/internal/cursors"
	"batpak/internal/vfs"
)

// TestCursorsDirectory: it is made by a writable store, swept, and never anything else than a directory.
func TestCursorsDirectory(t *testing.T) {
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	d, err := s.st.Cursors()
	if err != nil {
		t.Fatal(err)
	}
	file := cursors.File{Name: "c", Position: cursors.Position{Generation: 1}}
	if err := cursors.Write(d, s.st.StoreID, &file); err != nil {
		t.Fatal(err)
	}
	name := cursorsName + "/" + cursors.FileName("c")
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	m.SetFile(name+".tmp", []byte("left over"))
	if d, err = s.st.Cursors(); err != nil || m.Files()[name+".tmp"] != nil {
		t.Errorf("left-overs are still there, %v", err)
	}
	d.Close()
	s.close()
	check := func(what string, want int) {
		t.Helper()
		r, err := Verify(context.Background(), VerifyConfig{FS: m, Dir: vfs.MemDir})
		if err != nil || len(r.Findings) != want {
			t.Errorf("%s: %+v, %v, want %d findings", what, r.Findings, err, want)
		}
	}
	check("sound", 0)
	b := m.Files()[name]
	b[50] ^= 1
	m.SetFile(name, b)
	check("damaged", 1)
	m.SetSpecial(name, fs.ModeSymlink)
	check("link", 1)
	cfg := testConfig(m)
	cfg.ReadOnly = true
	m.DeleteFile(name)
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	m.SetSpecial(cursorsName, fs.ModeSymlink)
	if _, err := st.Cursors(); !errors.Is(err, vfs.ErrUnsafePath) {
		t.Errorf("link in place of the directory: %v", err)
	}
}
