package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"batpak/fault"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// The steps of a compaction behind its commit. The compaction and the recovery take the same ones.

// write makes the record say state, durably.
func (c *compaction) write(state pendingState) error {
	next := *c.rec
	next.state = state
	if err := vfs.WriteFileAtomic(c.dir, pendingName, appendPending(nil, &next)); err != nil {
		return err
	}
	c.rec = &next
	return c.hit(recorded[state])
}

// recorded are the points behind a record that says a state.
var recorded = [...]fault.Point{
	statePrepared: fault.CompactionPrepared, stateCommitted: fault.CompactionCommitted, statePlaced: fault.CompactionPlaced,
}

// place gives every result its final name, and makes the record say so. Of those that have it already nothing says
// that the sync of whoever renamed them has succeeded: they are renewed.
func (c *compaction) place(ctx context.Context) error {
	aside := make(map[uint64]bool)
	for _, id := range c.aside {
		aside[id] = true
	}
	for i := range c.rec.results {
		id := c.rec.results[i].segment
		var err error
		if aside[id] {
			err = c.dir.Rename(resultName(id), segment.Name(id))
		} else {
			err = c.renew(ctx, segment.Name(id))
		}
		if err != nil {
			return fmt.Errorf("place segment %06d: %w", id, err)
		}
	}
	if !planted.On(planted.SourcesRemovedEarly) {
		if err := c.dir.Sync(); err != nil {
			return err
		}
	}
	return c.write(statePlaced)
}

// renew puts a copy of a file in its place. A sync that failed may have lost the file's name for good, and a second
// sync would not save it; a new name is saved by a new sync. The copy does not go by the result's temporary name: on
// the disk the result itself may still have that.
func (c *compaction) renew(ctx context.Context, name string) error {
	temp := name + tempSuffix
	if err := removeLeftover(c.dir, temp); err != nil {
		return err
	}
	err := writeDurably(c.dir, temp, func(dst vfs.File) error { return copyFile(ctx, dst, c.dir, name) })
	if err != nil {
		return err
	}
	return c.dir.Rename(temp, name)
}

// copyFile writes all of the file name to dst.
func copyFile(ctx context.Context, dst vfs.File, dir vfs.Dir, name string) error {
	src, err := dir.OpenRead(name)
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := src.Size()
	if err != nil {
		return err
	}
	buf := make([]byte, min(size, copyBlock))
	for off := int64(0); off < size; off += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), size-off)]
		if n, err := src.ReadAt(buf, off); n < len(buf) {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if _, err := dst.WriteAt(buf, off); err != nil {
			return err
		}
	}
	return nil
}

// removeLeftover removes a file that may be there.
func removeLeftover(dir vfs.Dir, name string) error {
	if err := dir.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeDurably makes the file name of what write writes. Its bytes are durable then, its name is not.
func writeDurably(dir vfs.Dir, name string, write func(vfs.File) error) error {
	f, err := dir.Create(name)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// retire removes the sources that no result has replaced, then the record.
func (c *compaction) retire() error {
	for i := range c.rec.sources {
		id := c.rec.sources[i].segment
		if c.rec.result(id) != nil {
			continue
		}
		if err := c.removeAgain(segment.Name(id)); err != nil {
			return fmt.Errorf("remove segment %06d: %w", id, err)
		}
	}
	if !planted.On(planted.RecordRemovedEarly) {
		if err := c.dir.Sync(); err != nil {
			return err
		}
	}
	return c.removeRecord()
}

// removeAgain removes a name, also when it is gone: of its removal nothing says that its sync has succeeded, and only
// what is there can be removed with a new one.
func (c *compaction) removeAgain(name string) error {
	err := c.dir.Remove(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := c.dir.Create(name)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return c.dir.Remove(name)
}

func (c *compaction) removeRecord() error {
	if err := c.dir.Remove(pendingName); err != nil {
		return err
	}
	if err := c.dir.Sync(); err != nil {
		return err
	}
	return c.hit(fault.CompactionEnded)
}
