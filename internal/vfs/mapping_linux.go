package vfs

import (
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// Package mmap opens by path, so that the name would have to be looked at before and after, and it offers the file to the
// poller: eleven calls where four do. And it cannot say how a file will be used.

// A mapping is the bytes of a file in memory.
type mapping struct{ b []byte }

// mapFile maps the regular file name, for reads of a page here and there: a fault then reads that page and no others,
// where the kernel would read what lies around it, megabytes on some systems. Who reads on says so by stream.
func (d *dirHandle) mapFile(name string) (*mapping, error) {
	f, s, err := openRegular(d, name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := new(mapping)
	switch {
	case s.size == 0:
		return m, nil
	case s.size != int64(int(s.size)):
		return nil, &fs.PathError{Op: "map", Path: f.path(), Err: unix.EFBIG}
	}
	if m.b, err = unix.Mmap(f.fd, 0, int(s.size), unix.PROT_READ, unix.MAP_SHARED); err != nil {
		return nil, &fs.PathError{Op: "map", Path: f.path(), Err: err}
	}
	_ = unix.Madvise(m.b, unix.MADV_RANDOM) // without it, reads read more
	return m, nil
}

// Len returns how many bytes there are.
func (m *mapping) Len() int { return len(m.b) }

// At returns byte i.
func (m *mapping) At(i int) byte { return m.b[i] }

// ReadAt implements [io.ReaderAt] for an offset inside.
func (m *mapping) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m.b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// stream gives up what mapFile has asked for.
func (m *mapping) stream() {
	if len(m.b) > 0 {
		_ = unix.Madvise(m.b, unix.MADV_NORMAL)
	}
}

// Close unmaps the bytes.
func (m *mapping) Close() error {
	b := m.b
	m.b = nil
	if len(b) == 0 {
		return nil
	}
	return os.NewSyscallError("munmap", unix.Munmap(b))
}
