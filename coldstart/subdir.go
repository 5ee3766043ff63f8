package coldstart

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"batpak/internal/vfs"
)

// Projections opens the directory of the states of projections; with create, which is for a writable store, it is made
// where there is none. The caller closes it.
//
// Errors: [fs.ErrNotExist]; *[vfs.UnsafePathError] when something else has its name; I/O errors.
func (s *State) Projections(create bool) (vfs.Dir, error) {
	return s.subdirectory(projectionsName, create)
}

// subdirectory opens a directory inside the store's, see [State.Projections].
func (s *State) subdirectory(name string, create bool) (vfs.Dir, error) {
	e, err := s.Dir.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("open %s: %w", name, err)
	case !e.Mode.IsDir():
		return nil, &vfs.UnsafePathError{Name: name, Reason: "not a directory"}
	}
	dir, err := s.cfg.FS.OpenDir(filepath.Join(s.Dir.Path(), name), vfs.DirOptions{
		Create: create && !s.cfg.ReadOnly, DirPerm: s.cfg.DirPerm, FilePerm: s.cfg.FilePerm,
	})
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return dir, nil
}
