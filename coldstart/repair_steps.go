package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"batpak/event"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A repairStep carries out one action.
type repairStep func(context.Context, *RepairAction) error

// replace keeps a copy of the file of a, if it is there, and has write put a new one in its place, atomically. A crash
// in between leaves the old one in its place.
func (r *repairer) replace(a *RepairAction, write func() error) error {
	src, err := r.dir.OpenRead(a.File)
	if errors.Is(err, fs.ErrNotExist) {
		return write()
	}
	if err != nil {
		return err
	}
	aside, err := r.asideName(a.File)
	if err == nil {
		err = r.putFile(aside, func(dst vfs.File) error {
			_, err := io.Copy(io.NewOffsetWriter(dst, 0), io.NewSectionReader(src, 0, wholeFile))
			return err
		})
	}
	if err = errors.Join(err, src.Close()); err != nil {
		return fmt.Errorf("keep a copy: %w", err)
	}
	a.Aside = aside
	return write()
}

// setAside renames the file of a to a quarantine name.
func (r *repairer) setAside(_ context.Context, a *RepairAction) error {
	aside, err := r.asideName(a.File)
	if err != nil {
		return err
	}
	if err := r.dir.Rename(a.File, aside); err != nil {
		return err
	}
	a.Aside = aside
	return r.dir.Sync()
}

// removeCache removes the file of a.
func (r *repairer) removeCache(_ context.Context, a *RepairAction) error {
	if err := r.dir.Remove(a.File); err != nil {
		return err
	}
	return r.dir.Sync()
}

// asideName returns the first quarantine name of a file that nothing has.
func (r *repairer) asideName(name string) (string, error) {
	for n := 1; ; n++ {
		aside := quarantineName(name, n)
		_, err := r.dir.Stat(aside)
		if errors.Is(err, fs.ErrNotExist) {
			return aside, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// putFile makes the file called name of what write writes: whole and durable under a temporary name first, then under
// its own.
func (r *repairer) putFile(name string, write func(vfs.File) error) error {
	temp := name + tempSuffix
	if err := r.dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := r.dir.Create(temp)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := r.dir.Rename(temp, name); err != nil {
		return err
	}
	return r.dir.Sync()
}

// refoot puts a copy of an older segment in its place: the same header and frames, byte for byte, and the footer that
// the copy's frames yield.
func (r *repairer) refoot(ctx context.Context, l *link) error {
	name := segment.Name(l.id)
	return r.putFile(name, func(dst vfs.File) error {
		if err := r.copySegment(ctx, dst, l); err != nil {
			return err
		}
		u := Unsealed{Header: l.header, Next: *l.next}
		footer, err := encodeFooter(ctx, dst, &u) // checks every frame of the copy, and the root
		if err != nil {
			return err
		}
		if _, err := dst.WriteAt(footer, l.end()); err != nil {
			return err
		}
		damage, err := r.readFooter(name+tempSuffix, l.id)
		return errors.Join(damage, err)
	})
}

// copySegment copies header and frames of an older segment.
func (r *repairer) copySegment(ctx context.Context, dst vfs.File, l *link) error {
	src, err := r.dir.OpenRead(segment.Name(l.id))
	if err != nil {
		return err
	}
	for off := int64(0); off < l.end() && err == nil; off += copyBlock {
		n := min(copyBlock, l.end()-off)
		_, err = io.Copy(io.NewOffsetWriter(dst, off), io.NewSectionReader(src, off, n))
		err = errors.Join(err, ctx.Err())
	}
	return errors.Join(err, src.Close())
}

// provenEnd returns an anchor that says no more than what holds: the one that the file still has, or one of the last
// place that is proven to have been durable.
func (r *repairer) provenEnd(ctx context.Context) (Anchor, error) {
	if r.anchor != nil {
		return *r.anchor, nil
	}
	h := &r.end.link.header
	a := Anchor{
		End: segment.Pos{Segment: h.Segment, Offset: h.Len()}, LastSeq: h.LastSeq, LastHLC: h.LastHLC, TreeSize: h.TreeSize, Root: h.Root,
		Relaxed: r.signal != nil && r.signal.Relaxed,
	}
	if r.end.unused {
		a.End = segment.Pos{Segment: h.Previous, Offset: h.End}
		return a, nil
	}
	f, err := r.dir.OpenRead(segment.Name(h.Segment))
	if err != nil {
		return a, err
	}
	tree, _ := merkle.NewRange(h.TreeSize, h.Range) // rangeHolds has looked at it
	s := newScan(f, h, startOf(h), r.end.durable, r.end.durable)
	s.each = func(e *event.Raw, _, _ uint32) error {
		tree.Append(&e.Hash)
		a.LastSeq, a.LastHLC = e.Seq, e.HLC
		return nil
	}
	if err = errors.Join(s.run(ctx), f.Close()); err != nil {
		return a, err
	}
	a.End.Offset, a.TreeSize, a.Root = s.at.offset, tree.Size(), tree.Root()
	return a, nil
}
