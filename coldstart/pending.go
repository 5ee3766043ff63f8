package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"batpak/fault"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// A compaction replaces older segments, its sources, by others, its results. The steps, each durable before the next:
//
//	prepare   the record says: prepared        the sources count
//	write     results under temporary names
//	keys      idempotency keys of events that are in no result go to index.idemp, see moveKeys
//	commit    the record says: committed       from here on the results count
//	place     results renamed to the number of one of the sources
//	          the record says: placed
//	finish    sources that no result replaced are removed
//	          the record is removed
//
// Open goes by what the record says, and never by which files are there:
//
//	record     a result         the name it takes   open
//	absent     temporary        –                   removes it, with the other left-overs
//	prepared   temporary        –                   rolls back: removes results, then the record
//	committed  temporary        the source          rolls forward: renames it
//	committed  –                the result          rolls forward: puts a copy in its place, see renew
//	committed  any other case                       refuses: *CorruptError with the file that is missing or wrong
//	placed     –                the result          rolls forward: removes sources, then the record
//	placed     –                anything else       refuses
//	damaged, of another store, of a newer version   refuses
//
// A source that no result replaces must be there while the record says committed; once it says placed, it may be gone.
// Which file is which is told by its header, salt included. While sources are still there, results are read to their
// end before anything is done; a refusal has changed nothing. Every step can be done again: recovery may crash as well.

// A compaction is what a record says, and what there is of it in a directory.
type compaction struct {
	dir   vfs.Dir
	rec   *pendingRecord
	hook  fault.Hook
	aside []uint64 // results that do not have their final name yet; set by examine
}

// hit arrives at a point.
func (c *compaction) hit(p fault.Point) error {
	last := &c.rec.sources[len(c.rec.sources)-1]
	return c.hook.Hit(fault.Site{Point: p, Segment: last.segment, Seq: last.lastSeq})
}

// resolvePending carries out a compaction that was committed, and rolls back one that was not. It is for writers, and
// comes before anything that reads or removes segments.
//
// Errors: *[PendingError]; *[FutureError]; *[CorruptError]; the context's; I/O errors.
func (o *opener) resolvePending(ctx context.Context) error {
	if !o.listing.has(pendingName) && !planted.On(planted.CompactionGuessed) {
		return nil
	}
	rec, err := readPending(o.dir, o.meta.Store)
	if planted.On(planted.CompactionGuessed) && (rec == nil || rec.state == statePrepared) {
		if err := guessed(o.dir); err != nil {
			return err
		}
	}
	if errors.Is(err, ErrAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	c := &compaction{dir: o.dir, rec: rec, hook: o.cfg.Hook}
	if rec.state == statePrepared {
		o.report.Pending = fmt.Sprintf("%d rolled back", rec.generation)
		o.report.Removed, err = c.rollBack()
	} else {
		o.report.Pending = fmt.Sprintf("%d finished: %d segments replaced by %d", rec.generation, len(rec.sources), len(rec.results))
		err = c.rollForward(ctx)
	}
	o.phase("compaction")
	if err != nil {
		return fmt.Errorf("resolve compaction %d: %w", rec.generation, err)
	}
	return nil
}

// viewPending is resolvePending for who may not write: it makes o see the directory as the compaction will leave it. So
// a store opens from read-only media, too, whenever its writer died, and beside a writer nobody has to wait for it.
func (o *opener) viewPending() error {
	rec, err := readPending(o.dir, o.meta.Store)
	if errors.Is(err, ErrAbsent) {
		return nil
	}
	if err != nil {
		return err
	}
	if rec.state == statePrepared {
		o.report.Pending = fmt.Sprintf("%d not committed", rec.generation)
		return nil
	}
	c := compaction{dir: o.dir, rec: rec}
	if err := c.examine(); err != nil {
		return fmt.Errorf("view compaction %d: %w", rec.generation, err)
	}
	o.report.Pending = fmt.Sprintf("%d committed, not finished", rec.generation)
	o.dir = viewReplaced(o.dir, rec, c.aside)
	return nil
}

// rollBack removes the results, then the record. It returns the names of the results.
func (c *compaction) rollBack() (removed []string, err error) {
	for i := range c.rec.sources {
		name := resultName(c.rec.sources[i].segment)
		switch err := c.dir.Remove(name); {
		case err == nil:
			removed = append(removed, name)
		case !errors.Is(err, fs.ErrNotExist):
			return removed, err
		}
	}
	return removed, c.removeRecord()
}

// rollForward does what is left to do.
func (c *compaction) rollForward(ctx context.Context) error {
	if err := c.examine(); err != nil {
		return err
	}
	if c.rec.state == stateCommitted {
		if err := c.prove(ctx); err != nil {
			return err
		}
	}
	// Nothing says that whoever wrote the record has seen its sync succeed.
	if err := c.write(c.rec.state); err != nil {
		return err
	}
	if c.rec.state == stateCommitted {
		if err := c.place(ctx); err != nil {
			return err
		}
	}
	return c.retire()
}

// What the file under a name is.
type sighted uint8

const (
	seenNothing  sighted = iota
	seenEmpty            // a file without a byte
	seenSource           // the source of that number
	seenResult           // the result of that number
	seenStranger         // anything else
)

// look says what stands under name, which belongs to segment id.
func (c *compaction) look(name string, id uint64) (sighted, error) {
	f, err := c.dir.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return seenNothing, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return 0, err
	}
	b := make([]byte, min(size, segment.MaxHeaderLen))
	if n, err := f.ReadAt(b, 0); n < len(b) {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	h, err := segment.DecodeHeader(b, id)
	switch source, result := c.rec.source(id), c.rec.result(id); {
	case size == 0:
		return seenEmpty, nil
	case err != nil || h.Store != c.rec.store:
		return seenStranger, nil
	case result != nil && result.is(&h, size):
		return seenResult, nil
	case source.is(&h, size):
		return seenSource, nil
	}
	return seenStranger, nil
}

// examine finds out how far a compaction that is committed or placed has come. It changes nothing.
//
// Errors: *[CorruptError] for a file that should be there and is not, or is another one; I/O errors.
func (c *compaction) examine() error {
	c.aside = nil
	for i := range c.rec.results {
		if err := c.examineResult(&c.rec.results[i]); err != nil {
			return err
		}
	}
	for i := range c.rec.sources {
		s := &c.rec.sources[i]
		if c.rec.result(s.segment) != nil {
			continue
		}
		name := segment.Name(s.segment)
		seen, err := c.look(name, s.segment)
		if err != nil {
			return err
		}
		removed := c.rec.state == statePlaced && (seen == seenNothing || seen == seenEmpty)
		if seen != seenSource && !removed {
			return s.missing(name, "is not the source of a pending compaction")
		}
	}
	return nil
}

func (c *compaction) examineResult(r *pendingFile) error {
	// In this order: beside a writer that renames it between the two looks, the second one sees it.
	temp, final := seenNothing, seenNothing
	var err error
	if c.rec.state == stateCommitted {
		temp, err = c.look(resultName(r.segment), r.segment)
	}
	if err == nil {
		final, err = c.look(segment.Name(r.segment), r.segment)
	}
	switch {
	case err != nil:
		return err
	case final == seenResult:
		return nil
	case temp == seenResult && final == seenSource:
		c.aside = append(c.aside, r.segment)
		return nil
	case temp == seenResult:
		return r.missing(segment.Name(r.segment), "is neither source nor result of a pending compaction")
	case final == seenSource && c.rec.state == stateCommitted:
		return r.missing(resultName(r.segment), "is not the result of a committed compaction")
	}
	return r.missing(segment.Name(r.segment), "is not the result of a committed compaction")
}

// missing returns the refusal for a file that does not hold what the record says.
func (f *pendingFile) missing(name, reason string) error {
	return &CorruptError{File: name, Segment: f.segment, FirstSeq: f.firstSeq, LastSeq: f.lastSeq, Reason: reason}
}

// prove reads every result to its end, while what it replaces is still there.
func (c *compaction) prove(ctx context.Context) error {
	at := make(map[uint64]string)
	for _, id := range c.aside {
		at[id] = resultName(id)
	}
	for i := range c.rec.results {
		r := &c.rec.results[i]
		name, ok := at[r.segment]
		if !ok {
			name = segment.Name(r.segment)
		}
		sum, err := contentSum(ctx, c.dir, name, r.end)
		if err != nil {
			return err
		}
		if sum != r.content {
			return r.missing(name, "is damaged; the compaction that wrote it is committed")
		}
	}
	return nil
}

// contentSum returns the CRC-32C of the first end bytes of a file.
func contentSum(ctx context.Context, dir vfs.Dir, name string, end int64) (uint32, error) {
	f, err := dir.OpenRead(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var sum uint32
	buf := make([]byte, min(end, copyBlock))
	for off := int64(0); off < end; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		b := buf[:min(int64(len(buf)), end-off)]
		if n, err := f.ReadAt(b, off); n < len(b) {
			return 0, fmt.Errorf("read %s: %w", name, err)
		}
		sum = wire.Sum(sum, b)
		off += int64(len(b))
	}
	return sum, nil
}

// guessed is a planted bug: it takes every result that lies there for a committed one.
func guessed(dir vfs.Dir) error {
	l, err := list(dir)
	if err != nil {
		return err
	}
	for _, name := range l.leftovers {
		if final := name[:len(name)-len(resultSuffix)]; final+resultSuffix == name {
			if err := dir.Rename(name, final); err != nil {
				return err
			}
		}
	}
	return nil
}
