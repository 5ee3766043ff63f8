package coldstart

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A caches is the files of a directory that an open can do without.
type caches struct {
	dir        vfs.Dir
	store      [16]byte
	listing    *listing
	noSnapshot bool // the open does not read that
}

func (o *opener) caches() *caches {
	return &caches{dir: o.dir, store: o.meta.Store, listing: o.listing, noSnapshot: o.cfg.NoSnapshot}
}

// refuseNewer refuses a directory in which a newer version has left a cache that this open would not read, and this
// version would replace one day: what is read is refused where it is read. A cache that only looks newer, since its
// checksum does not hold, is for the rungs to step down from.
//
// Errors: *[FutureError]; I/O errors.
func (c *caches) refuseNewer() error {
	for _, image := range []struct {
		name  string
		newer func(b []byte) error
	}{
		{snapshotName, func(b []byte) error { _, err := decodeImage(b, c.store); return err }},
		{checkpointName, func(b []byte) error { _, err := unpackCheckpoint(b, c.store, 0); return err }},
	} {
		if image.name == snapshotName && !c.noSnapshot || !c.listing.has(image.name) {
			continue // the first rung reads it
		}
		if err := c.refuseNewerImage(image.name, image.newer); err != nil {
			return err
		}
	}
	if err := c.refuseNewerCatalogs(nil); err != nil {
		return err
	}
	return c.refuseNewerBlocks()
}

// refuseNewerCatalogs refuses catalogs of a newer version among those that are not known already.
func (c *caches) refuseNewerCatalogs(known []string) error {
	for _, name := range c.listing.catalogs {
		if slices.Contains(known, name) {
			continue
		}
		newer, err := index.CatalogIsNewer(c.dir, name)
		if err != nil {
			return err
		}
		if newer {
			return &FutureError{File: name, Err: index.ErrCatalogFuture}
		}
	}
	return nil
}

// refuseNewerImage refuses a snapshot or checkpoint of a newer version. Of one of this version it reads the beginning
// only; check says of all its bytes whether they hold.
func (c *caches) refuseNewerImage(name string, check func(b []byte) error) error {
	f, err := c.dir.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	head := make([]byte, imageHeadLen)
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if !looksNewer(head) {
		return nil
	}
	b, err := readArtifact(c.dir, name, int64(c.listing.mostImage())+checkpointSlack)
	if err == nil {
		err = check(b)
	}
	if errors.Is(err, ErrFuture) {
		return &FutureError{File: name, Err: err}
	}
	if err != nil && !stepsDown(err) {
		return err
	}
	return nil
}

// refuseNewerBlocks refuses index blocks of a newer version beside a segment that is not the newest: of that the tail
// reads them. An open removes what is there of a sealed segment.
func (c *caches) refuseNewerBlocks() error {
	files := c.listing.segments
	for _, id := range c.listing.blocks {
		if len(files) > 0 && files[len(files)-1].id == id {
			continue
		}
		name := segment.BlockName(id)
		m, err := c.dir.Map(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("map %s: %w", name, err)
		}
		err = m.Guarded(func() error { return lastBlock(m, c.store, id) })
		if closed := m.Close(); closed != nil {
			return fmt.Errorf("unmap %s: %w", name, closed)
		}
		if errors.Is(err, segment.ErrFuture) {
			return &FutureError{File: name, Err: err}
		}
	}
	return nil
}

// lastBlock returns why the index blocks in m end where they end.
func lastBlock(m *vfs.Map, store [16]byte, id uint64) error {
	for at := int64(0); ; {
		b, err := segment.OpenBlock(m, at, store, id)
		if err != nil {
			return err
		}
		at = b.Next
	}
}
