//go:build !linux

package vfs

import (
	"errors"
	"io/fs"

	"golang.org/x/exp/mmap"
)

// A mapping is the bytes of a file in memory.
type mapping struct{ *mmap.ReaderAt }

// maxMapAttempts bounds how often mapFile starts again because its file was replaced under it, as every file is that is
// replaced as a whole beside a reader.
const maxMapAttempts = 100

// mapFile maps the regular file name.
func (d *dirHandle) mapFile(name string) (*mapping, error) {
	for range maxMapAttempts {
		r, same, err := d.mapOnce(name)
		if err != nil {
			return nil, err
		}
		if same {
			return &mapping{r}, nil
		}
	}
	return nil, &UnsafePathError{Name: d.join(name), Reason: "replaced while opening"}
}

// mapOnce maps what stands under name, if that is the same regular file before and after: package mmap opens by path, and
// follows links.
func (d *dirHandle) mapOnce(name string) (r *mmap.ReaderAt, same bool, err error) {
	path := d.join(name)
	before, err := d.lstat(name)
	if err == nil {
		err = checkRegular(path, &before)
	}
	if err != nil {
		return nil, false, err
	}
	if r, err = mmap.Open(path); err != nil {
		return nil, false, &fs.PathError{Op: "map", Path: path, Err: err}
	}
	after, err := d.lstat(name)
	if err != nil || !before.id.same(after.id) {
		return nil, false, errors.Join(err, r.Close())
	}
	return r, true, nil
}

// stream does nothing: the system reads what lies around a page that is touched anyway.
func (m *mapping) stream() {}
