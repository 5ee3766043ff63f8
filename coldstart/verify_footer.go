package coldstart

import (
	"bytes"
	"errors"
	"fmt"

	"batpak/segment"
)

// endFooter compares the footer with the one that the frames yield.
func (c *segmentCheck) endFooter() error {
	end := c.link.end()
	want, err := c.footer.Finish(nil, segment.FooterEnd{
		Frames: c.count, End: end, TreeSize: c.v.tree.Size(), Root: c.v.tree.Root(), Tiles: c.v.tiles, Range: c.v.tree.Hashes(),
	})
	at := Finding{File: segment.Name(c.link.id), Segment: c.link.id, Offset: end}
	if err != nil {
		at.Reason, at.Err = "footer cannot be built from the frames", err
		c.v.add(at)
		return nil
	}
	// A writer that has just recovered writes this footer beside us: what has another size by the time that it was
	// judged is judged again. A segment changes once, from no footer to its footer.
	for {
		size, err := c.file.Size()
		if err != nil {
			return fmt.Errorf("read segment %06d: %w", c.link.id, err)
		}
		if size-end == int64(len(want)) {
			return c.compareFooter(at, want)
		}
		keep, err := c.withoutFooter(at, size)
		now, sized := c.file.Size()
		switch {
		case sized != nil:
			return fmt.Errorf("read segment %06d: %w", c.link.id, sized)
		case now != size:
			continue
		case err != nil:
			return err
		}
		keep()
		return nil
	}
}

// compareFooter compares the footer with want, which has its size.
func (c *segmentCheck) compareFooter(at Finding, want []byte) error {
	have := make([]byte, len(want))
	if n, err := c.file.ReadAt(have, at.Offset); n < len(have) {
		return fmt.Errorf("read segment %06d: %w", c.link.id, err)
	}
	switch {
	case bytes.Equal(have, want):
		c.v.result.Footers++
		return c.openFooter(at)
	case unwritten(have, want, at.Offset):
		at.Reason = "unfinished footer, which the next open rebuilds"
		c.v.noteMendable(at, c.link)
	default:
		return c.wrongFooter(at, firstDifference(have, want))
	}
	return nil
}

// wrongFooter keeps the finding about a footer of the right size that differs from byte first on.
func (c *segmentCheck) wrongFooter(at Finding, first int64) error {
	damage, err := c.v.readFooter(segment.Name(c.link.id), c.link.id)
	if err != nil {
		return err
	}
	if errors.Is(damage, segment.ErrFuture) {
		c.newerFooter(at, damage)
		return nil
	}
	at.Offset += first
	at.Reason = "footer is not what the frames yield"
	c.v.addMendable(at, c.link)
	return nil
}

// newerFooter keeps the finding about a footer of a newer version.
func (c *segmentCheck) newerFooter(at Finding, err error) {
	c.v.future = true
	at.Reason, at.Err = "footer written by a newer version", err
	c.v.add(at)
}

// openFooter reads the footer the way readers do.
func (c *segmentCheck) openFooter(at Finding) error {
	damage, err := c.v.readFooter(segment.Name(c.link.id), c.link.id)
	if damage != nil {
		at.Reason, at.Err = "footer does not open", damage
		c.v.add(at)
	}
	return err
}

// readFooter reads all of the footer of segment id in the file called name. damage says why it does not hold.
func (o *opener) readFooter(name string, id uint64) (damage, err error) {
	m, err := o.dir.Map(name)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	defer m.Close()
	return m.Guarded(func() error {
		footer, err := segment.OpenFooter(m, o.meta.Store, id)
		if err != nil {
			return err
		}
		return footer.VerifyAll()
	}), nil
}

// withoutFooter judges what stands behind the frames where it cannot be their footer, in a file of size bytes. The
// function that it returns keeps the judgement.
func (c *segmentCheck) withoutFooter(at Finding, size int64) (func(), error) {
	last, err := lastNonZero(c.file, at.Offset, size)
	if err != nil {
		return nil, fmt.Errorf("read segment %06d: %w", c.link.id, err)
	}
	m, err := c.v.dir.Map(segment.Name(c.link.id))
	if err != nil {
		return nil, fmt.Errorf("map segment %06d: %w", c.link.id, err)
	}
	defer m.Close()
	err = m.Guarded(func() error {
		_, err := segment.OpenFooter(m, c.v.meta.Store, c.link.id)
		return err
	})
	switch {
	case err == nil, errors.Is(err, segment.ErrForeign):
		at.Reason, at.Err = "footer of other frames", err
		return func() { c.v.addMendable(at, c.link) }, nil
	case errors.Is(err, segment.ErrFuture):
		return func() { c.newerFooter(at, err) }, nil
	case last == at.Offset:
		at.Reason = "no footer; the next open writes it"
	default:
		at.Reason = fmt.Sprintf("%d bytes behind the end of the log; the next open puts the footer there", last-at.Offset)
	}
	return func() { c.v.noteMendable(at, c.link) }, nil
}

// unwritten reports whether have is want with some sectors still zero: a crash in the write of a footer at offset.
func unwritten(have, want []byte, offset int64) bool {
	const sector = 512
	for len(want) > 0 {
		n := min(sector-int(offset%sector), len(want))
		if !bytes.Equal(have[:n], want[:n]) && len(bytes.Trim(have[:n], "\x00")) > 0 {
			return false
		}
		have, want, offset = have[n:], want[n:], offset+int64(n)
	}
	return true
}

func firstDifference(a, b []byte) int64 {
	for i := range a {
		if a[i] != b[i] {
			return int64(i)
		}
	}
	return int64(len(a))
}
