package coldstart

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"batpak/hidden"
	"batpak/idemp"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A remedy is what a repair does about a damaged file beside the log.
type remedy uint8

const (
	remedyNone    remedy = iota // nothing: it is a finding
	remedyRemove                // a cache: the next open makes it again
	remedyRebuild               // from the log, when that is whole
	remedyForget                // it is in no other place: set it aside if the caller says so
)

// A sideFile is a kind of file beside the log that a repair looks after.
type sideFile struct {
	name   string // ending in blockSuffix alone: that of any segment's block file
	remedy remedy

	// check returns nil when the file holds; [ErrAbsent] and [ErrStale] are as good; [ErrDamaged] and [ErrForeign] are
	// damage; [ErrFuture] is left alone. nil: this version cannot tell.
	check func(o *opener, name string) error
	// rebuild makes the file anew, atomically, from the log; for remedyRebuild only. nil: this version cannot.
	rebuild func(ctx context.Context, o *opener) error
}

// blockSuffix ends the name of the file with a segment's index blocks.
const blockSuffix = segment.BlockSuffix

// maxImage bounds what a repair reads of an image: a million segments.
const maxImage = 256 << 20

// sideFiles are all of them.
var sideFiles = []sideFile{
	{name: snapshotName, remedy: remedyRemove, check: checkSnapshot},
	{name: checkpointName, remedy: remedyRemove, check: checkCheckpoint},
	{name: blockSuffix, remedy: remedyRemove, check: checkBlocks},
	{name: hidden.FileName, remedy: remedyRebuild, check: checkHidden, rebuild: mendHidden},
	{name: idemp.FileName, remedy: remedyForget, check: checkIdemp},
	{name: "compaction.pending", remedy: remedyNone},
}

// checkSnapshot reads the snapshot to its end.
func checkSnapshot(o *opener, name string) error {
	b, err := readArtifact(o.dir, name, maxImage)
	if err == nil {
		_, err = decodeImage(b, o.meta.Store)
	}
	return err
}

// checkCheckpoint reads the checkpoint to its end.
func checkCheckpoint(o *opener, name string) error {
	b, err := readArtifact(o.dir, name, maxImage)
	if err == nil {
		b, err = unpackCheckpoint(b, o.meta.Store, maxImage)
	}
	if err == nil {
		_, err = decodeImage(b, o.meta.Store)
	}
	return err
}

// checkBlocks reads every page of the index blocks of a segment.
func checkBlocks(o *opener, name string) error {
	id, _ := parseBlockName(name)
	l := o.find(id)
	if l == nil || l.broken != nil {
		return ErrStale
	}
	c, err := readCover(o.dir, nil, &l.header, wholeFile)
	if err != nil {
		return err
	}
	defer c.close()
	for _, r := range c.runs {
		err := r.Guarded(func() error {
			foot, err := r.Footer()
			if err != nil {
				return err
			}
			return foot.VerifyAll()
		})
		if err != nil {
			return err
		}
	}
	return c.reason
}

func checkHidden(o *opener, _ string) error {
	_, err := o.readHidden()
	return err
}

// mendHidden derives the hidden ranges from a log that is whole.
func mendHidden(ctx context.Context, o *opener) error {
	newest := o.chain.newest()
	if newest == nil {
		return hidden.Write(o.dir, o.meta.Store, &hidden.File{})
	}
	r, err := newReplay(ctx, o.dir, nil, &newest.header, wholeFile, wholeFile, false)
	if err != nil {
		return err
	}
	r.close()
	t, err := rebuildHidden(ctx, o.dir, hidden.File{}, o.chain.frameRanges(r.at.offset))
	if err != nil {
		return err
	}
	f := t.Settled()
	return hidden.Write(o.dir, o.meta.Store, &f)
}

func checkIdemp(o *opener, _ string) error {
	t, err := o.readIdemp()
	if err != nil || t == nil {
		return err
	}
	defer t.Close()
	for _, err := range t.All() {
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return nil
}

// covers reports whether s is about the file called name.
func (s *sideFile) covers(name string) bool {
	if s.name != blockSuffix {
		return name == s.name
	}
	base, ok := strings.CutSuffix(name, blockSuffix)
	if !ok {
		return false
	}
	_, ok = segment.ParseName(base + segment.Suffix)
	return ok
}

// planSides looks at every file beside the log and plans what is to become of the damaged ones.
//
// Errors: I/O errors.
func (r *repairer) planSides() error {
	entries, err := r.dir.List()
	if err != nil {
		return err
	}
	for _, e := range entries {
		i := slices.IndexFunc(r.sides, func(s sideFile) bool { return s.covers(e.Name) })
		if i < 0 || !e.Mode.IsRegular() {
			continue
		}
		s := &r.sides[i]
		if s.check == nil {
			r.report.Notes = append(r.report.Notes, Finding{File: e.Name, Reason: "not looked at: this version does not use it"})
			continue
		}
		if err := r.planSide(s, e.Name, s.check(r.opener, e.Name)); err != nil {
			return err
		}
	}
	is := func(e vfs.Entry) bool { return e.Name == hidden.FileName }
	if r.fenced = r.fenced || r.meta.Fenced; r.fenced && !slices.ContainsFunc(entries, is) {
		r.planMissing()
	}
	return nil
}

// planMissing plans the file of hidden ranges anew, which a log with fences cannot do without.
func (r *repairer) planMissing() {
	if r.logDamaged() {
		r.report.Findings = append(r.report.Findings, Finding{
			File: hidden.FileName, Reason: "missing, and cannot be rebuilt from a log that is damaged itself", Err: ErrAbsent,
		})
		return
	}
	r.add(hidden.FileName, "rebuild", "from the log", "it is missing", func(ctx context.Context, a *RepairAction) error {
		return mendHidden(ctx, r.opener)
	})
}

// planSide plans what is to become of one file; found is what its check says.
func (r *repairer) planSide(s *sideFile, name string, found error) error {
	keep := func(reason string) {
		r.report.Findings = append(r.report.Findings, Finding{File: name, Reason: reason, Err: found})
	}
	switch reasonOf(found) {
	case "absent", "stale":
		return nil
	case "future":
		r.future = true
		keep("written by a newer version")
		return nil
	case "":
		return found
	}
	why := found.Error()
	switch {
	case s.remedy == remedyRemove:
		r.add(name, "remove", "the next open makes it again", why, r.removeCache)
	case s.remedy == remedyForget && r.cfg.DropIdemp:
		r.add(name, "set aside", "the keys in it are forgotten", why, r.setAside)
	case s.remedy == remedyForget:
		keep("damaged, and cannot be rebuilt: it holds what is no longer in the log")
	case s.remedy == remedyRebuild && s.rebuild == nil:
		keep("damaged, and this version cannot rebuild it")
	case s.remedy == remedyRebuild && r.logDamaged():
		keep("damaged, and cannot be rebuilt from a log that is damaged itself")
	case s.remedy == remedyRebuild:
		r.add(name, "rebuild", "from the log", why, func(ctx context.Context, a *RepairAction) error {
			return r.replace(a, func() error { return s.rebuild(ctx, r.opener) })
		})
	default:
		keep("damaged, and nothing can replace it")
	}
	return nil
}

// logDamaged reports whether anything was found in the segments beside footers that can be mended.
func (r *repairer) logDamaged() bool {
	return slices.ContainsFunc(r.report.Findings, func(f Finding) bool {
		_, kind := classify(f.File)
		return kind != nameOurs
	})
}
