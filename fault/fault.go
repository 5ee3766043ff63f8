// Package fault names the places where a test may make the store fail.
//
// Production code carries a [Hook] and calls Hit right after something has happened, at a [Point] named
// for what has just happened. A normal build has an empty Hook: it takes no room, Hit inlines to nothing,
// and no fault can be injected. The build tag faultinject gives the Hook an [Injector], which a test uses
// to fail, to stop or to count at exact places:
//
//	if err := w.hook.Hit(fault.Site{Point: fault.GroupWritten, Segment: w.id, Seq: last}); err != nil {
//		return err
//	}
//
// Points lie between steps that are not file operations. Failing file operations, and losing what was
// written but not synced, is the business of internal/vfs.
//
// A Hook must not be the last field of a struct: an empty field at the end costs padding.
package fault

import (
	"errors"
	"strconv"
)

// A Point is a place in the store's code, named for what has just happened there.
type Point uint8

// The points, in the order in which a store's life meets them.
const (
	StoreLocked         Point = iota + 1 // the lock is held, nothing was read yet
	MetaWritten                          // a new store has its identity on stable storage
	SegmentScanned                       // recovery has read one segment to its end
	TailCopied                           // recovery has copied the doubtful end of the log to a new file, not synced
	TailSynced                           // that copy is on stable storage, not yet part of the log
	SegmentCreated                       // a new segment file has its header
	GroupStamped                         // a write group has its sequences, clocks and hashes
	GroupWritten                         // its bytes are with the operating system
	GroupSynced                          // its bytes are on stable storage
	GroupPublished                       // readers may see it, its callers have no answer yet
	FooterWritten                        // a full segment has its SIDX, not synced
	SegmentSealed                        // that segment is immutable and on stable storage
	SegmentRotated                       // appends go to the next segment
	AnchorWritten                        // the end of the log is named on stable storage
	BlockWritten                         // an index block covers more of the active segment
	SnapshotWritten                      // the snapshot is on stable storage
	CheckpointWritten                    // the checkpoint is on stable storage
	HiddenWritten                        // the file of hidden ranges is on stable storage
	FencesMarked                         // the store's identity says that it may hold fences
	CompactionPrepared                   // the record of a compaction is on stable storage: the sources count
	KeysWritten                          // the idempotency keys of events that it evicts are on stable storage
	CompactionCommitted                  // the record says that the results count
	CompactionPlaced                     // the record says that they have their names
	CompactionEnded                      // the record is gone, for good
	StoreClosed                          // everything is written, the lock is still held

	pointEnd
)

var pointNames = [pointEnd]string{
	StoreLocked:         "StoreLocked",
	MetaWritten:         "MetaWritten",
	SegmentScanned:      "SegmentScanned",
	TailCopied:          "TailCopied",
	TailSynced:          "TailSynced",
	SegmentCreated:      "SegmentCreated",
	GroupStamped:        "GroupStamped",
	GroupWritten:        "GroupWritten",
	GroupSynced:         "GroupSynced",
	GroupPublished:      "GroupPublished",
	FooterWritten:       "FooterWritten",
	SegmentSealed:       "SegmentSealed",
	SegmentRotated:      "SegmentRotated",
	AnchorWritten:       "AnchorWritten",
	BlockWritten:        "BlockWritten",
	SnapshotWritten:     "SnapshotWritten",
	CheckpointWritten:   "CheckpointWritten",
	HiddenWritten:       "HiddenWritten",
	FencesMarked:        "FencesMarked",
	CompactionPrepared:  "CompactionPrepared",
	KeysWritten:         "KeysWritten",
	CompactionCommitted: "CompactionCommitted",
	CompactionPlaced:    "CompactionPlaced",
	CompactionEnded:     "CompactionEnded",
	StoreClosed:         "StoreClosed",
}

// String returns the name of p as it stands in the source.
func (p Point) String() string {
	if p == 0 || p >= pointEnd {
		return "Point(" + strconv.Itoa(int(p)) + ")"
	}
	return pointNames[p]
}

// Points returns every point, in order. The slice is the caller's.
func Points() []Point {
	points := make([]Point, 0, pointEnd-1)
	for p := Point(1); p < pointEnd; p++ {
		points = append(points, p)
	}
	return points
}

// A Site is one arrival at a point.
type Site struct {
	Point   Point
	Segment uint64 // ID of the segment concerned; zero: none
	Seq     uint64 // last sequence concerned; zero: none
}

// An Injector decides at each site whether the store fails there. Hit returns nil to go on; any error is
// what the step that has just happened seems to have returned. Hit is called from many goroutines at once
// and may be called with locks of the store held: it must not call the store.
type Injector interface {
	Hit(Site) error
}

// ErrInjected is the error of an injector that was given none.
var ErrInjected = errors.New("fault: injected")
