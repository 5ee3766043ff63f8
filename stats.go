package batpak

import (
	"batpak/coldstart"
	"batpak/segment"
)

// Stats is a snapshot of a store's size and progress.
type Stats struct {
	Events   uint64 // committed so far, hidden ones included
	FirstSeq uint64 // sequence of the first event; 0 for none
	LastSeq  uint64 // sequence of the last event, hidden ones included; 0 for none
	Visible  uint64 // last sequence that a read may see; 0 for none
	Durable  uint64 // last sequence known to be on stable storage; in a read-only store, when it last looked
	Fences   int    // open ones that have staged something: Visible does not pass the oldest of them
	Segments int    // segment files
	Sealed   int    // those that end in a footer that is in use
	Bytes    int64  // of all files in the directory
	Active   int64  // bytes of the active segment that hold frames; 0 in a read-only store

	// Healed are the segments whose index was found damaged while it was in use, and that are served from memory since.
	Healed []coldstart.Healing

	// Failed is what poisoned the writer, or nil.
	Failed error
}

// Stats returns what the store knows of itself. It lists the directory and reads no file. After Close only what was
// counted in memory is there.
func (s *Store) Stats() Stats {
	st := Stats{Healed: s.state.Healed()}
	if s.opts.ReadOnly {
		st.Events, st.Durable = s.state.Known()
	} else {
		st.Events = s.state.Folder.Len()
	}
	if v := s.set.Acquire(); v != nil {
		st.Visible, st.Sealed = v.Visible(), v.Sealed()
		st.FirstSeq, st.LastSeq = v.Bounds()
		v.Release()
	}
	if !s.opts.ReadOnly {
		st.Fences = int(s.openFences.Load())
		st.Durable = s.durable.Load() // not before: what SyncAlways shows is durable
	}
	if w := s.commit.current.Load(); w != nil && !s.closed.Load() {
		st.Active, st.Failed = w.Written(), w.Err() // without the committer's lock: the disk may hang
	}
	entries, err := s.state.Dir.List()
	if err != nil {
		return st // closed: the rest still holds
	}
	for _, e := range entries {
		st.Bytes += e.Size
		if _, ok := segment.ParseName(e.Name); ok {
			st.Segments++
		}
	}
	return st
}
