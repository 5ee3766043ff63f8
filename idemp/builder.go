package idemp

import (
	"errors"
	"fmt"
	"io/fs"

	"batpak/internal/vfs"
)

// SpillName is the name of the file in which a [Builder] keeps what it does not hold in memory. It is there while a
// Builder is at work; after a crash it is a left-over.
const SpillName = FileName + ".runs.tmp"

// spillAt is how many entries a Builder holds in memory: 11 MiB.
const spillAt = 1 << 16

// A Builder is [Write] for any number of fresh entries: it sorts them in memory, some at a time, writes what it has
// sorted aside, and merges all of it in the end. It takes 12 MiB, and 4 KiB more for each 64 Ki entries.
//
// Either Write or Discard ends it; both leave no file but the one that Write replaces. Not safe for concurrent use.
type Builder struct {
	dir   vfs.Dir
	u     Update // Fresh is what was not written aside
	limit int    // of Fresh
	added uint64

	aside vfs.File // nil: nothing was written aside
	runs  []spilled
	end   int64 // of aside
}

// A spilled is a sorted run in the file aside, which looks like a file of its own.
type spilled struct {
	head header
	at   int64
}

// NewBuilder begins the next file of a store in dir; u.Old stays open until it is written. It touches no file.
func NewBuilder(dir vfs.Dir, u Update) *Builder {
	u.From = max(u.From, 1)
	return &Builder{dir: dir, u: u, limit: spillAt}
}

// From returns the start of the window that the file is made for.
func (b *Builder) From() uint64 { return b.u.From }

// Added returns how many entries inside the window were added.
func (b *Builder) Added() uint64 { return b.added }

// Add takes an entry, in any order; one that the window has left behind is left out. Where a key comes more than once,
// in u.Old, too, the last event that carried it counts.
//
// Errors: I/O errors.
func (b *Builder) Add(e *Entry) error {
	if e.Seq < b.u.From {
		return nil
	}
	b.added++
	b.u.Fresh = append(b.u.Fresh, *e)
	if len(b.u.Fresh) < b.limit {
		return nil
	}
	return b.spill()
}

// spill writes the entries in memory aside.
func (b *Builder) spill() error {
	if b.aside == nil {
		if err := b.removeSpill(); err != nil {
			return err
		}
		f, err := b.dir.Create(SpillName)
		if err != nil {
			return err
		}
		b.aside = f
	}
	w := newWriter(b.aside, &b.u)
	w.base, w.at = b.end, b.end+pageLen
	err := merge([]source{newFreshSource(b.u.Fresh)}, w.put)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", SpillName, err)
	}
	b.runs = append(b.runs, spilled{w.head, b.end})
	b.end, b.u.Fresh = w.at, b.u.Fresh[:0]
	return nil
}

// reader returns a reader of a run.
func (b *Builder) reader(r *spilled) *pageReader {
	sums := r.head.seed()
	return &pageReader{head: &r.head, load: func(page uint64, buf *[pageLen]byte) error {
		if n, err := b.aside.ReadAt(buf[:], r.at+pageAt(page)); n < pageLen {
			return fmt.Errorf("read %s: %w", SpillName, err)
		}
		if err := r.head.checkPage(sums, page, buf); err != nil {
			return fmt.Errorf("read %s: %w", SpillName, err)
		}
		return nil
	}}
}

// Write replaces the file, as the function Write does, and ends the Builder.
//
// Errors: as those of the function.
func (b *Builder) Write() error {
	sources := []source{newFreshSource(b.u.Fresh)}
	for i := range b.runs {
		sources = append(sources, b.reader(&b.runs[i]))
	}
	return errors.Join(write(b.dir, &b.u, sources), b.Discard())
}

// Discard ends the Builder and removes what it wrote aside. After Write it does nothing.
//
// Errors: I/O errors.
func (b *Builder) Discard() error {
	f := b.aside
	b.aside, b.runs, b.u.Fresh = nil, nil, nil
	if f == nil {
		return nil
	}
	return errors.Join(f.Close(), b.removeSpill())
}

func (b *Builder) removeSpill() error {
	if err := b.dir.Remove(SpillName); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
