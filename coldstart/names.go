package coldstart

import (
	"slices"
	"strconv"
	"strings"

	"batpak/idemp"
	"batpak/index"
	"batpak/internal/cursors"
	"batpak/internal/planted"
	"batpak/internal/statefile"
	"batpak/internal/vfs"
	"batpak/segment"
)

// The names of a store's directory beside the segments.
const (
	metaName   = "store.meta"
	lockName   = ".lock"
	anchorName = "anchor"

	snapshotName   = "index.fbati"
	checkpointName = "index.ckpt"

	pendingName      = "compaction.pending"
	cursorsName      = cursors.DirName   // a directory
	projectionsName  = statefile.DirName // a directory
	quarantineSuffix = ".quarantine"

	// resultSuffix ends the name of a segment that a compaction has written and not put in its place yet. Before the
	// record of the compaction is resolved it may hold the only copy of events; afterwards it is a left-over.
	resultSuffix = ".compact"
)

// otherNames are files of the store that other packages, or later versions of this one, look after.
var otherNames = []string{snapshotName, checkpointName, idemp.FileName, "visibility_ranges.fbv", pendingName}

// A nameKind is what we make of a name.
type nameKind uint8

const (
	nameStranger    nameKind = iota
	nameOurs                 // a file of the store that is not a segment
	nameSegment              //
	nameQuarantined          // a file that recovery took out of the log, or that a repair keeps as it was
	nameBlocks               // index blocks of a segment
	nameCatalog              // a catalog over sealed segments: a cache
	nameLeftover             // a temporary file of our own atomic replacement, or a result of no compaction
)

// A listing is what is in the directory.
type listing struct {
	segments    []segmentFile // by number
	quarantined []string
	blocks      []uint64 // segments with a file of index blocks
	catalogs    []string
	leftovers   []string
	strangers   []string
	ours        []string // other files of the store
	inhabited   bool     // an anchor or a pending compaction says that a store has been here
	highest     uint64   // number ever seen on a segment, quarantined ones included
}

// A segmentFile is a segment by what the directory says of it.
type segmentFile struct {
	id    uint64
	size  int64
	stamp vfs.Stamp
}

// list reads and sorts the directory. It opens nothing.
//
// Errors: *[vfs.UnsafePathError] when something that is not a regular file has one of our names; I/O errors.
func list(dir vfs.Dir) (*listing, error) {
	entries, err := dir.List()
	if err != nil {
		return nil, err
	}
	return sortOut(entries)
}

// sortOut makes a listing of what a directory holds.
//
// Errors: *[vfs.UnsafePathError], as list.
func sortOut(entries []vfs.Entry) (*listing, error) {
	l := &listing{segments: make([]segmentFile, 0, len(entries))} // most are
	for _, e := range entries {
		if err := l.add(e); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// has reports whether there is a file of the store with this name that is no segment.
func (l *listing) has(name string) bool { return slices.Contains(l.ours, name) }

func (l *listing) add(e vfs.Entry) error {
	id, kind := classify(e.Name)
	if kind == nameStranger {
		l.strangers = append(l.strangers, e.Name)
		return nil
	}
	if isSubdirectory(e.Name) && e.Mode.IsDir() {
		return nil
	}
	if !e.Mode.IsRegular() && !planted.On(planted.LinkFollowed) {
		return &vfs.UnsafePathError{Name: e.Name, Reason: "not a regular file"}
	}
	switch kind {
	case nameSegment:
		l.segments = append(l.segments, segmentFile{id, e.Size, e.Stamp})
	case nameOurs:
		l.ours = append(l.ours, e.Name)
	case nameQuarantined:
		l.quarantined = append(l.quarantined, e.Name)
	case nameBlocks:
		l.blocks = append(l.blocks, id)
		return nil // the number is the segment's
	case nameCatalog:
		l.catalogs = append(l.catalogs, e.Name)
	case nameLeftover:
		l.leftovers = append(l.leftovers, e.Name)
	}
	l.highest = max(l.highest, id)
	l.inhabited = l.inhabited || e.Name == anchorName || e.Name == pendingName
	return nil
}

// isSegment reports whether a file of this name is a segment.
func isSegment(name string) bool {
	_, ok := segment.ParseName(name)
	return ok
}

// classify says what a name is, and which number it carries.
func classify(name string) (id uint64, kind nameKind) {
	if id, ok := segment.ParseName(name); ok {
		return id, nameSegment
	}
	if base, found := quarantineBase(name); found {
		if id, ok := segment.ParseName(base); ok {
			return id, nameQuarantined
		}
		if isOurs(base) {
			return 0, nameQuarantined
		}
	}
	if id, ok := parseBlockName(name); ok {
		return id, nameBlocks
	}
	if _, _, ok := index.ParseCatalogName(name); ok {
		return 0, nameCatalog
	}
	if base, found := strings.CutSuffix(name, resultSuffix); found {
		if _, ok := segment.ParseName(base); ok {
			return 0, nameLeftover
		}
	}
	if name == idemp.SpillName {
		return 0, nameLeftover
	}
	if isOurs(name) {
		return 0, nameOurs
	}
	if base, found := strings.CutSuffix(name, tempSuffix); found && (leavesTemp(base) || planted.On(planted.StrangersTempRemoved)) {
		return 0, nameLeftover
	}
	return 0, nameStranger
}

// tempSuffix is what [vfs.WriteFileAtomic] and this package end the name of a file with that is to be renamed.
const tempSuffix = ".tmp"

// parseBlockName returns the segment whose index blocks the file name holds.
func parseBlockName(name string) (id uint64, ok bool) {
	stem, found := strings.CutSuffix(name, segment.BlockSuffix)
	if !found {
		return 0, false
	}
	return segment.ParseName(stem + segment.Suffix)
}

// leavesTemp reports whether the store makes a file of this name by renaming.
func leavesTemp(name string) bool {
	if _, kind := classify(name); kind == nameSegment || kind == nameQuarantined || kind == nameBlocks || kind == nameCatalog {
		return true
	}
	return isOurs(name) && name != lockName && !isSubdirectory(name)
}

// quarantineName returns the nth name, from 1, that a file is kept under when it is taken out of use.
func quarantineName(name string, n int) string {
	if n == 1 {
		return name + quarantineSuffix
	}
	return name + quarantineSuffix + strconv.Itoa(n)
}

// quarantineBase returns the name that a file had before it was quarantined.
func quarantineBase(name string) (base string, ok bool) {
	at := strings.LastIndex(name, quarantineSuffix)
	if at < 0 {
		return "", false
	}
	base, number := name[:at], name[at+len(quarantineSuffix):]
	if number == "" {
		return base, true
	}
	n, err := strconv.Atoi(number)
	return base, err == nil && n > 1 && quarantineName(base, n) == name
}

// resultName returns where a compaction writes the segment that is to take the number id.
func resultName(id uint64) string { return segment.Name(id) + resultSuffix }

func isOurs(name string) bool {
	return name == metaName || name == lockName || name == anchorName || isSubdirectory(name) ||
		slices.Contains(otherNames, name)
}

// isSubdirectory reports whether name is that of a directory inside the store's.
func isSubdirectory(name string) bool { return name == cursorsName || name == projectionsName }
