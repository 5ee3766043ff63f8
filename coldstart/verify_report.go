package coldstart

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"batpak/event"
	"batpak/segment"
)

// A Finding is one thing in a store's directory that is not as it should be, and where.
type Finding struct {
	File     string // name in the directory; empty when it is about the store as a whole
	Segment  uint64 // 0 when it is not about one
	Offset   int64  // bytes from start of file; 0 when the whole file is meant
	FirstSeq uint64 // first sequence that it may affect; 0 when none
	LastSeq  uint64 // last such sequence; 0 when nothing says how many there are
	Reason   string // short: a verdict's label, or what contradicts what
	Err      error  // the finding below it; may be nil
}

func (f Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s offset %d: %s", f.File, f.Offset, f.Reason)
	switch {
	case f.FirstSeq > 0 && f.LastSeq > f.FirstSeq:
		fmt.Fprintf(&b, " (sequences %d–%d)", f.FirstSeq, f.LastSeq)
	case f.FirstSeq > 0 && f.LastSeq == f.FirstSeq:
		fmt.Fprintf(&b, " (sequence %d)", f.FirstSeq)
	case f.FirstSeq > 0:
		fmt.Fprintf(&b, " (from sequence %d on)", f.FirstSeq)
	}
	if f.Err != nil {
		fmt.Fprintf(&b, ": %v", f.Err)
	}
	return b.String()
}

// findingOf turns the errors that end an open into findings; ok is false for every other error.
func findingOf(err error) (f Finding, ok bool) {
	var corrupted *CorruptError
	var missing *TailMissingError
	var future *FutureError
	var identity *MetaError
	var pending *PendingError
	var frame *segment.FrameError
	switch {
	case errors.As(err, &corrupted):
		c := corrupted
		return Finding{c.File, c.Segment, c.Offset, c.FirstSeq, c.LastSeq, c.Reason, c.Err}, true
	case errors.As(err, &missing):
		return Finding{
			File: segment.Name(missing.Have.Segment), Segment: missing.Have.Segment, Offset: missing.Have.Offset,
			FirstSeq: missing.HaveSeq + 1, LastSeq: missing.WantSeq, Reason: "end of the log is missing", Err: err,
		}, true
	case errors.As(err, &future):
		return Finding{File: future.File, Reason: "written by a newer version", Err: future.Err}, true
	case errors.As(err, &identity):
		return Finding{File: identity.File, Reason: "identity of the store", Err: identity.Err}, true
	case errors.As(err, &pending):
		return Finding{File: pending.File, Reason: "record of a compaction", Err: pending.Err}, true
	case errors.As(err, &frame):
		return Finding{
			File: segment.Name(frame.Segment), Segment: frame.Segment, Offset: frame.Offset, Reason: frame.Reason, Err: frame,
		}, true
	}
	return f, false
}

// A VerifyReport is what [Verify] has read and found.
type VerifyReport struct {
	Store [16]byte // identity; of the first segment where store.meta does not say

	Findings []Finding // damage, in the order of the log
	Notes    []Finding // what a crash, or a writer at work, leaves: no damage

	Segments int
	Footers  int // that hold, byte for byte what their frames yield
	Frames   uint64
	Events   uint64
	Batches  uint64
	Heads    int   // streams: (entity, lane) pairs
	Bytes    int64 // of segment files read

	// The end of the log. Root is the Merkle tree hash over the TreeSize events up to there.
	LastSeq  uint64
	TreeSize uint64
	Root     event.Hash

	Elapsed time.Duration
}

// Clean reports whether there is no finding.
func (r VerifyReport) Clean() bool { return len(r.Findings) == 0 }

// String returns the report as a short table.
func (r VerifyReport) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	result := "clean"
	if n := len(r.Findings); n == 1 {
		result = "1 finding"
	} else if n > 1 {
		result = fmt.Sprintf("%d findings", n)
	}
	line("result", "%s", result)
	line("store", "%x", r.Store)
	line("segments", "%d, %d with a footer, %d bytes", r.Segments, r.Footers, r.Bytes)
	line("events", "%d in %d frames, %d batches, %d streams", r.Events, r.Frames, r.Batches, r.Heads)
	line("end", "sequence %d, tree of %d, root %x", r.LastSeq, r.TreeSize, r.Root)
	for _, f := range r.Findings {
		line("finding", "%v", f)
	}
	for _, f := range r.Notes {
		line("note", "%v", f)
	}
	line("took", "%v", r.Elapsed.Round(time.Microsecond))
	return b.String()
}
