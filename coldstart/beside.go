package coldstart

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync/atomic"

	"batpak/internal/vfs"
	"batpak/segment"
)

// lookTogether is how many segments are looked at beside the open: so many take longer than it takes to wake another
// goroutine.
const lookTogether = 12

// A besides is a look at the files of a directory beside an open that rests on a snapshot already: where there are many
// segments, asking the system for each of them takes longer than all the rest. Nothing is believed, and nothing
// changed, before the look has ended; when the files are not what the snapshot lists, the open begins again with what
// was found.
type besides struct {
	dir   vfs.Dir
	files []segmentFile // looked at up to next, and 0 for those that are gone
	next  atomic.Int64
	done  chan struct{}
	err   error // to be read when done is closed
}

// lookFirst completes the listing of a writer, which holds names only: at once where that is quick, else beside the
// open.
//
// Errors: *[FutureError] for what a newer version has left; I/O errors.
func (o *opener) lookFirst() error {
	c := caches{dir: o.dir, store: o.meta.Store, listing: *o.listing, noSnapshot: o.cfg.NoSnapshot}
	if len(o.listing.segments) < lookTogether || o.cfg.NoSnapshot || !o.listing.has(snapshotName) || o.listing.has(pendingName) {
		if err := c.refuseNewer(); err != nil {
			return err
		}
		files, err := statSegments(o.dir, o.listing.segments)
		o.listing.segments = files
		return err
	}
	b := &besides{dir: o.dir, files: slices.Clone(o.listing.segments), done: make(chan struct{})}
	o.beside = b
	go func() {
		defer close(b.done)
		if b.err = c.refuseNewer(); b.err == nil {
			b.err = b.look()
		}
	}()
	return nil
}

// look looks at files as long as there are any that nobody else has looked at.
func (b *besides) look() error {
	for {
		i := b.next.Add(1) - 1
		if i >= int64(len(b.files)) {
			return nil
		}
		kept, err := statSegments(b.dir, b.files[i:i+1])
		if err != nil {
			return err
		}
		if b.files[i] = (segmentFile{}); len(kept) > 0 {
			b.files[i] = kept[0]
		}
	}
}

// lookEnded ends the look beside, if there is one, and completes the listing.
//
// Errors: as lookFirst.
func (o *opener) lookEnded() error {
	b := o.beside
	if b == nil {
		return nil
	}
	o.beside = nil
	err := b.look()
	<-b.done
	if b.err != nil {
		return b.err
	}
	if err != nil {
		return err
	}
	o.listing.segments = slices.DeleteFunc(b.files, func(f segmentFile) bool { return f.id == 0 })
	return nil
}

// statSegments returns files with what the system says of them, without those that are gone.
//
// Errors: *[vfs.UnsafePathError]; I/O errors.
func statSegments(dir vfs.Dir, files []segmentFile) ([]segmentFile, error) {
	kept := make([]segmentFile, 0, len(files))
	for _, f := range files {
		name := segment.Name(f.id)
		e, err := dir.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue // removed since
		case err != nil:
			return nil, fmt.Errorf("look at segment %06d: %w", f.id, err)
		case !e.Mode.IsRegular():
			return nil, &vfs.UnsafePathError{Name: name, Reason: "not a regular file"}
		}
		kept = append(kept, segmentFile{f.id, e.Size, e.Stamp})
	}
	return kept, nil
}

// hasChanged reports whether the files that were listed are not those that img lists.
func (l *listing) hasChanged(img *image) bool {
	n := len(img.entries)
	return n > len(l.segments) || !slices.EqualFunc(img.entries, l.segments[:n], func(e entry, f segmentFile) bool { return e.file == f })
}
