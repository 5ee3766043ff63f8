package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"batpak/internal/statefile"
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

// subdirectory opens a directory inside the one that is verified; nil when there is none. Something else under its name
// has been seen by look.
func (v *verifier) subdirectory(fsys vfs.FS, name string) (vfs.Dir, error) {
	if e, err := v.dir.Stat(name); errors.Is(err, fs.ErrNotExist) || err == nil && !e.Mode.IsDir() {
		return nil, nil
	}
	d, err := fsys.OpenDir(filepath.Join(v.dir.Path(), name), vfs.DirOptions{})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return d, err
}

// states checks the files of the states of projections. Whether they fit a projection and the log is for whoever uses one.
func (v *verifier) states(ctx context.Context, fsys vfs.FS) error {
	d, err := v.subdirectory(fsys, projectionsName)
	if err != nil || d == nil {
		return err
	}
	defer d.Close()
	files, err := statefile.All(d)
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		note := Finding{File: projectionsName + "/" + f.File, Reason: "state of a projection, which is folded anew"}
		var flaw *statefile.FileError
		switch note.Err = statefile.Check(d, v.meta.Store, f); {
		case note.Err == nil, errors.Is(note.Err, fs.ErrNotExist): // removed meanwhile
			continue
		case errors.As(note.Err, &flaw):
			note.Offset = flaw.Offset
		case !errors.Is(note.Err, vfs.ErrUnsafePath):
			return note.Err
		}
		v.note(note)
	}
	return err
}
