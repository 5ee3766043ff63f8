package coldstart

import (
	"errors"
	"slices"

	"batpak/index"
	"batpak/internal/vfs"
)

// replaced reports whether a segment of the directory that was, or that v has read, is gone, or is another one now, or
// whether a compaction has begun, gone on or ended.
func (v *verifier) replaced(was, now []vfs.Entry) bool {
	is := make(map[string]vfs.Entry, len(now))
	for _, e := range now {
		is[e.Name] = e
	}
	var pending vfs.Entry
	for _, e := range was {
		_, kind := classify(e.Name)
		if n, there := is[e.Name]; kind == nameSegment && (!there || n.Stamp.ID != e.Stamp.ID) {
			return true
		}
		if e.Name == pendingName {
			pending = e
		}
	}
	if pending != is[pendingName] || v.chain == nil {
		return pending != is[pendingName]
	}
	return slices.ContainsFunc(v.chain.links, func(l *link) bool {
		again := link{segmentFile: l.segmentFile}
		return again.read(v.dir, v.meta.Store) == nil && again.broken == nil && l.broken == nil && again.header.Salt != l.header.Salt
	})
}

// sideFiles checks the files that hold facts beside the log, every byte of them. Whether they say what the log says is
// not looked at: compaction may have taken the frames that would tell.
func (v *verifier) sideFiles() error {
	if err := v.caches(); err != nil {
		return err
	}
	if _, err := v.readHidden(); err != nil {
		if err := v.found(err); err != nil {
			return err
		}
	}
	table, err := v.readIdemp()
	if err != nil {
		return v.found(err)
	}
	if table == nil {
		return nil
	}
	defer table.Close()
	for _, err := range table.All() {
		if err != nil {
			return v.found(err)
		}
	}
	return nil
}

// caches checks the files that an open does without. What is wrong with one is a note.
func (v *verifier) caches() error {
	note := func(name string, err error) error {
		switch reasonOf(err) {
		case "absent", "stale":
			return nil
		case "future":
			return v.found(&FutureError{File: name, Err: err})
		case "":
			return err
		}
		v.note(Finding{File: name, Reason: "a cache, which the next open makes again", Err: err})
		return nil
	}
	if err := note(snapshotName, checkSnapshot(v.opener, snapshotName)); err != nil {
		return err
	}
	if err := note(checkpointName, checkCheckpoint(v.opener, checkpointName)); err != nil {
		return err
	}
	for _, name := range v.listing.catalogs {
		c, err := index.OpenCatalog(v.dir, v.meta.Store, name)
		if err == nil {
			err = errors.Join(c.Verify(), c.Close())
		}
		if err == nil {
			continue
		}
		if err := note(name, err); err != nil {
			return err
		}
	}
	return nil
}
