package coldstart

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"batpak/event"
	"batpak/fault"
	"batpak/hidden"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A State is an open store: everything that reads and appends need. Its exported fields are the caller's to use; the
// methods say who may call them.
type State struct {
	Dir     vfs.Dir
	StoreID [16]byte
	Report  Report

	// Set holds every segment; events up to LastSeq are visible in it.
	Set *index.Set

	// Hidden are events that no read shows; in a read-only store, when it was opened.
	Hidden hidden.Set

	// Fences is what is known of fences at the end of the log: those that were open are over, and what they staged is
	// hidden. Fenced says that the store is prepared for them, see [State.Fence].
	Fences  hidden.File
	Fenced  bool
	Derived bool // Fences says more than the file of hidden ranges

	// Hide is called by Refresh with the events that no read shows from now on, before later ones become visible. It is
	// to be set before the first Refresh; nil means that nobody asks.
	Hide func(hidden.Set)

	// The end of the log; in a read-only store, when it was opened. LastSeq is the last event's sequence, 0 for none; NextSeq is the one to give out next,
	// and may be further on.
	LastSeq, NextSeq uint64
	LastHLC          event.HLC

	// Folder is over every event; its tiles begin with the active segment. In a read-only store it is as of Open.
	Folder *merkle.Folder

	// Where appends go; all nil when the store was opened read-only. Rotate replaces Writer and Active.
	Writer *segment.Writer
	Active *index.Active
	Beacon *Beacon

	// Pending are older segments without a footer, oldest first, for Seal.
	Pending []Unsealed

	created int64 // as the store's identity says
	cfg     Config
	lock    vfs.LockFile
	highest uint64 // number of a segment; owned by whoever calls Rotate
	recut   bool   // Folder no longer has all tiles of the active segment; the same owner

	unseen    uint64     // segment behind whose end nobody has looked; 0 for none
	discarded []vfs.File // removed, and still open

	evicted evictedKeys // idempotency keys whose events are gone from the log

	older   olderList
	indexer indexer
	indexed atomic.Pointer[segment.Pos] // where the index blocks of the active segment end

	healing  sync.Mutex // held while a segment is healed
	healed   []Healing  // guarded by healing, as what follows
	view     vfs.Dir    // where the segments are; Dir unless a compaction is pending beside a reader
	healable int        // number of healed from which on failures still count: the files before were others

	next      spareSlot
	anchoring sync.Mutex // held while the anchor is written
	anchor    anchorFile
	anchored  Anchor // the one written last; zero End when there is none

	cataloging sync.Mutex // held while catalogs are made
	catalogs   catalogs

	follow *follower // nil when the store was opened to be written
}

// An End is where the log ends.
type End struct {
	Pos segment.Pos
	Seq uint64 // last sequence given out
	HLC event.HLC
}

// An Unsealed is a segment that is full and has no footer yet.
type Unsealed struct {
	Header segment.Header
	Next   segment.Header // of the segment behind it: says where its frames end, and with what
	Tree   *merkle.Tree   // at its end; nil when Seal is to compute it
}

// WriteAnchor makes end the place that the log can never end before again. Everything up to it must be durable. clean
// says that nothing will be appended any more. Safe for concurrent use.
//
// Errors: I/O errors; the anchor before this one then still holds.
func (s *State) WriteAnchor(end End, clean bool) error {
	return s.writeAnchor(Anchor{
		End: end.Pos, LastSeq: end.Seq, LastHLC: end.HLC, Relaxed: s.cfg.Relaxed && !clean, Limit: s.cfg.SegmentSize,
	})
}

// writeAnchor writes a, unless it says nothing new.
func (s *State) writeAnchor(a Anchor) error {
	s.anchoring.Lock()
	defer s.anchoring.Unlock()
	last := &s.anchored
	if a.End.Compare(last.End) < 0 || a.End == last.End && a.Relaxed == last.Relaxed && a.LastSeq == last.LastSeq {
		return nil
	}
	if err := s.anchor.write(a); err != nil {
		return err
	}
	s.anchored = a
	return s.cfg.Hook.Hit(fault.Site{Point: fault.AnchorWritten, Segment: a.End.Segment, Seq: a.LastSeq})
}

// Sweep gives back the space of what the open has removed. It is for the background, once, and may be left to Close.
func (s *State) Sweep() {
	for _, f := range s.discarded {
		_ = f.Close() // of a file that is gone
	}
	s.discarded = nil
}

// repeatAnchor writes the anchor again, so that both of its slots say the same.
func (s *State) repeatAnchor() error {
	s.anchoring.Lock()
	defer s.anchoring.Unlock()
	return s.anchor.write(s.anchored)
}

// Close releases everything, syncs nothing, and writes nothing. Views that readers hold stay usable.
func (s *State) Close() error {
	s.follow.close()
	s.next.close()
	s.Sweep()
	errs := []error{s.indexer.close(), s.evicted.close()}
	if s.Set != nil {
		errs = append(errs, s.Set.Close())
	}
	if s.Writer != nil {
		errs = append(errs, s.Writer.Close())
	}
	errs = append(errs, s.Dir.Close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
