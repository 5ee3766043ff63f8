package coldstart

import (
	"errors"

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

// positions checks the files of the positions of consumers. Whether the log holds the events that they name is not looked
// at: their consumers do, when they run.
func (v *verifier) positions(fsys vfs.FS) error {
	d, err := v.subdirectory(fsys, cursorsName)
	if err != nil || d == nil {
		return err
	}
	defer d.Close()
	for _, err := range cursors.All(d, v.meta.Store) {
		var file *cursors.FileError
		switch {
		case errors.As(err, &file) && errors.Is(err, vfs.ErrUnsafePath):
			v.add(Finding{File: file.File, Reason: file.Reason, Err: file.Err})
		case errors.As(err, &file):
			v.add(Finding{File: file.File, Offset: file.Offset, Reason: "position of a consumer, which Reset or Seek makes anew", Err: err})
		case err != nil:
			return err
		}
	}
	return nil
}
