package coldstart

import (
	"batpak/internal/cursors"
	"batpak/internal/vfs"
)

// Cursors opens the directory of the positions of consumers. A writable store makes it, and removes what crashed
// replacements have left in it; so it asks once. The caller closes it.
//
// Errors: [fs.ErrNotExist] in a read-only store that has none; *[vfs.UnsafePathError] when something else has its name;
// I/O errors.
func (s *State) Cursors() (vfs.Dir, error) {
	d, err := s.subdirectory(cursorsName, true)
	if err != nil || s.cfg.ReadOnly {
		return d, err
	}
	if err := cursors.Sweep(d); err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}
