package segment

import (
	"fmt"

	"batpak/internal/vfs"
)

// spareSuffix ends the name of a file that waits to become a segment. Left behind by a crash it is a left-over like
// that of any other replacement.
const spareSuffix = ".tmp"

// A Spare is a file of zeroes that waits to become the segment of its number. Filling the active segment itself makes
// the committer's syncs wait for the file system's journal, because they share a file; a Spare is filled beside them.
type Spare struct {
	dir  vfs.Dir
	file vfs.File
	id   uint64
	size int64
}

// NewSpare makes the spare of segment id: size bytes of zeroes, synced. It is for the background.
//
// A failed NewSpare leaves no file, as far as the file system lets it.
func NewSpare(dir vfs.Dir, id uint64, size int64) (*Spare, error) {
	f, err := dir.Create(Name(id) + spareSuffix)
	if err != nil {
		return nil, fmt.Errorf("prepare segment %06d: %w", id, err)
	}
	s := &Spare{dir: dir, file: f, id: id, size: size}
	for off := int64(0); off < size && err == nil; off += fillMost {
		if err = writeZeroes(f, off, min(off+fillMost, size)); err == nil {
			err = f.Sync()
		}
	}
	if err != nil {
		s.Discard()
		return nil, fmt.Errorf("prepare segment %06d: %w", id, err)
	}
	return s, nil
}

// Segment returns the number of the segment that s is for.
func (s *Spare) Segment() uint64 { return s.id }

// Create is [Create] with a file that is filled already: s becomes the segment with header h. Whatever the outcome, s
// is used up.
func (s *Spare) Create(h *Header, size, ahead int64) (*Writer, error) {
	if h.Segment != s.id {
		s.Discard()
		return Create(s.dir, h, size, ahead)
	}
	w := newWriter(s.dir, s.file, h, h.Len(), size, ahead)
	w.filled.Store(max(s.size, w.end))
	if err := s.begin(w); err != nil {
		s.Discard()
		return nil, fmt.Errorf("create segment %06d: %w", h.Segment, err)
	}
	return w, nil
}

// begin makes the header durable before the name.
func (s *Spare) begin(w *Writer) error {
	if _, err := w.file.WriteAt(AppendHeader(nil, &w.header), 0); err != nil {
		return err
	}
	if err := w.file.Sync(); err != nil {
		return err
	}
	if err := s.dir.Rename(Name(s.id)+spareSuffix, Name(s.id)); err != nil {
		return err
	}
	return s.dir.Sync()
}

// Discard removes s. Nothing depends on it: what stays behind is removed by the next open.
func (s *Spare) Discard() {
	s.file.Close()
	s.dir.Remove(Name(s.id) + spareSuffix)
}
