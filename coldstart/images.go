package coldstart

import (
	"maps"
	"slices"
	"sync"

	"batpak/event"
	"batpak/fault"
	"batpak/internal/vfs"
	"batpak/segment"
)

// An olderList is what the next image will say: the segments, oldest first, and which of them are sealed. Safe for
// concurrent use.
type olderList struct {
	mu       sync.Mutex
	entries  []entry // sealed without a gap, from the first segment on; none is ever changed, since the Set refers to them
	reserved map[event.Kind]uint64
	rest     []restSegment // behind them; the last one is active

	changes uint64 // of entries, ever, and one
	written uint64 // of them that the images on disk hold

	writing    sync.Mutex // held while images are written
	generation uint64     // of the last one; guarded by writing
}

// A restSegment is a segment that no image lists yet.
type restSegment struct {
	at       watermark
	sealed   bool
	entry    entry
	reserved map[event.Kind]uint64
}

// begin takes over what an image lists; whole says that nothing is to be written as long as nothing changes.
func (l *olderList) begin(m *image, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries, l.reserved, l.generation, l.changes = m.entries, maps.Clone(m.reserved), m.generation, 1
	if whole {
		l.written = 1
	}
}

// push puts a segment behind the others.
func (l *olderList) push(h *segment.Header) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.changes = max(l.changes, 1) // there may be no image yet
	l.rest = append(l.rest, restSegment{at: watermark{
		segment: h.Segment, salt: h.Salt, seq: h.LastSeq, hlc: h.LastHLC, size: h.TreeSize, root: h.Root,
	}})
	l.fold() // the one before may have had its footer before it had this one behind it
}

// seal notes that a segment has its footer.
func (l *olderList) seal(e entry, reserved map[event.Kind]uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.rest {
		if r := &l.rest[i]; r.at.segment == e.sum.Segment {
			r.sealed, r.entry, r.reserved = true, e, reserved
		}
	}
	l.fold()
}

// fold takes sealed segments with nothing unsealed before them to the entries. The caller holds mu.
func (l *olderList) fold() {
	for len(l.rest) > 1 && l.rest[0].sealed {
		l.entries = append(l.entries, l.rest[0].entry)
		if l.reserved == nil {
			l.reserved = make(map[event.Kind]uint64)
		}
		addKinds(l.reserved, l.rest[0].reserved)
		l.rest = l.rest[1:]
		l.changes++
	}
}

// next returns the image to write, and how many changes it holds; nil when the one on disk says the same.
func (l *olderList) next(store [16]byte) (*image, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.written == l.changes || len(l.rest) == 0 {
		return nil, 0
	}
	return &image{
		store: store, generation: l.generation + 1, watermark: l.rest[0].at,
		entries: slices.Clone(l.entries), reserved: maps.Clone(l.reserved),
	}, l.changes
}

// WriteImages writes the snapshot and the checkpoint, unless those on disk say the same. They cost what the list of
// segments costs, some 200 bytes each, whatever the segments hold. It is for the background and for Close; the
// committer goes on beside it.
//
// Errors: I/O errors; the images before then still hold for what they list.
func (s *State) WriteImages() error {
	l := &s.older
	l.writing.Lock()
	defer l.writing.Unlock()
	m, changes := l.next(s.StoreID)
	if m == nil || s.cfg.NoSnapshot && s.cfg.NoCheckpoint {
		return nil
	}
	b := appendImage(nil, m)
	if !s.cfg.NoSnapshot {
		if err := vfs.WriteFileAtomic(s.Dir, snapshotName, b); err != nil {
			return err
		}
		if err := s.cfg.Hook.Hit(fault.Site{Point: fault.SnapshotWritten, Segment: m.watermark.segment, Seq: m.watermark.seq}); err != nil {
			return err
		}
	}
	if !s.cfg.NoCheckpoint {
		packed, err := packCheckpoint(b, s.StoreID)
		if err == nil {
			err = vfs.WriteFileAtomic(s.Dir, checkpointName, packed)
		}
		if err == nil {
			err = s.cfg.Hook.Hit(fault.Site{Point: fault.CheckpointWritten, Segment: m.watermark.segment, Seq: m.watermark.seq})
		}
		if err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written, l.generation = changes, m.generation
	return nil
}

// reservedIn counts the events of reserved kinds in a footer. It is to be called guarded.
func reservedIn(foot *segment.Footer) (map[event.Kind]uint64, error) {
	var counts map[event.Kind]uint64
	for i := range foot.Kinds() {
		k, err := foot.KindAt(i)
		if err != nil {
			return nil, err
		}
		if !k.Unknown() {
			continue
		}
		rows, err := foot.KindRows(i, i+1)
		if err != nil {
			return nil, err
		}
		if counts == nil {
			counts = make(map[event.Kind]uint64)
		}
		counts[k] += uint64(rows.Len())
	}
	return counts, nil
}

// mayBeReserved reports whether a kind from least to most, both included, can be a reserved one.
func mayBeReserved(least, most event.Kind) bool {
	for _, category := range []int{event.CategorySystem, event.CategoryEffect} {
		if least.Category() <= category && category <= most.Category() {
			return true
		}
	}
	return false
}

// addKinds adds the counts of more to sum.
func addKinds(sum, more map[event.Kind]uint64) {
	for k, n := range more {
		sum[k] += n
	}
}
