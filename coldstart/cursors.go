package coldstart

import (
	"path/filepath"

	"batpak/internal/cursors"
	"batpak/internal/vfs"
)

// Cursors opens the directory of the positions of consumers. A writable store makes it, and removes what crashed
// replacements have left in it; so it asks once. The caller closes it.
//
// Errors: [fs.ErrNotExist] in a read-only store that has none; *[vfs.UnsafePathError] when something else has its name;
// I/O errors.
func (s *State) Cursors() (vfs.Dir, error) {
	if e, err := s.Dir.Stat(cursorsName); err == nil && !e.Mode.IsDir() {
		return nil, &vfs.UnsafePathError{Name: cursorsName, Reason: "not a directory"}
	}
	d, err := s.cfg.FS.OpenDir(filepath.Join(s.Dir.Path(), cursorsName), vfs.DirOptions{
		Create: !s.cfg.ReadOnly, DirPerm: s.cfg.DirPerm, FilePerm: s.cfg.FilePerm,
	})
	if err != nil || s.cfg.ReadOnly {
		return d, err
	}
	if err := cursors.Sweep(d); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}
