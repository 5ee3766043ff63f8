package coldstart

import (
	"errors"
	"io/fs"

	"batpak/internal/vfs"
	"batpak/segment"
)

// A replacedDir is a directory as a compaction will leave it, for reading: results that still have their temporary
// names are found under their final ones, and sources that no result replaces are not listed. A writer may rename the
// results meanwhile. Safe for concurrent use.
type replacedDir struct {
	vfs.Dir
	aside  map[string]string // final name of a result → its temporary one
	moved  map[string]string // the inverse
	hidden map[string]bool   // sources that no result replaces
}

// viewReplaced returns dir without the sources of rec, and with the results that are aside in their places.
func viewReplaced(dir vfs.Dir, rec *pendingRecord, aside []uint64) *replacedDir {
	d := &replacedDir{Dir: dir, aside: map[string]string{}, moved: map[string]string{}, hidden: map[string]bool{}}
	for _, id := range aside {
		d.aside[segment.Name(id)], d.moved[resultName(id)] = resultName(id), segment.Name(id)
	}
	for i := range rec.sources {
		if id := rec.sources[i].segment; rec.result(id) == nil {
			d.hidden[segment.Name(id)] = true
		}
	}
	return d
}

// List lists what there will be. A result's temporary name sorts right behind its final one.
func (d *replacedDir) List() ([]vfs.Entry, error) { return d.replaced(d.Dir.List()) }

// Names does the same, by the names that the files have at present.
func (d *replacedDir) Names(look func(string) bool) ([]vfs.Entry, error) {
	return d.replaced(d.Dir.Names(look))
}

func (d *replacedDir) replaced(entries []vfs.Entry, err error) ([]vfs.Entry, error) {
	if err != nil {
		return nil, err
	}
	there := make(map[string]bool, len(entries))
	for _, e := range entries {
		there[e.Name] = true
	}
	kept := entries[:0]
	for _, e := range entries {
		if d.hidden[e.Name] || there[d.aside[e.Name]] {
			continue
		}
		if final, ok := d.moved[e.Name]; ok {
			e.Name = final
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// OpenRead opens a file where it is.
func (d *replacedDir) OpenRead(name string) (vfs.File, error) {
	return where(d, name, d.Dir.OpenRead)
}

// Map maps a file where it is.
func (d *replacedDir) Map(name string) (*vfs.Map, error) { return where(d, name, d.Dir.Map) }

// Stat describes a file where it is.
func (d *replacedDir) Stat(name string) (vfs.Entry, error) {
	e, err := where(d, name, d.Dir.Stat)
	e.Name = name
	return e, err
}

// where calls open with the name that a file has at present.
func where[T any](d *replacedDir, name string, open func(string) (T, error)) (T, error) {
	if temp, ok := d.aside[name]; ok {
		if v, err := open(temp); !errors.Is(err, fs.ErrNotExist) {
			return v, err
		}
	}
	return open(name)
}
