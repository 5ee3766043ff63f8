package coldstart

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"batpak/event"
	"batpak/idemp"
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
	b.WriteString(f.File)
	if f.Offset > 0 {
		fmt.Fprintf(&b, " offset %d", f.Offset)
	}
	fmt.Fprintf(&b, ": %s", f.Reason)
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

// why returns the reason and the error below it.
func (f *Finding) why() string {
	if f.Err == nil {
		return f.Reason
	}
	return fmt.Sprintf("%s: %v", f.Reason, f.Err)
}

// MarshalJSON returns {"file", "segment", "offset", "first_seq", "last_seq", "reason", "error"}, without what is zero.
func (f Finding) MarshalJSON() ([]byte, error) {
	text := ""
	if f.Err != nil {
		text = f.Err.Error()
	}
	return json.Marshal(struct {
		File     string `json:"file,omitempty"`
		Segment  uint64 `json:"segment,omitempty"`
		Offset   int64  `json:"offset,omitempty"`
		FirstSeq uint64 `json:"first_seq,omitempty"`
		LastSeq  uint64 `json:"last_seq,omitempty"`
		Reason   string `json:"reason"`
		Error    string `json:"error,omitempty"`
	}{f.File, f.Segment, f.Offset, f.FirstSeq, f.LastSeq, f.Reason, text})
}

// findingOf turns the errors that end an open into findings; ok is false for every other error.
func findingOf(err error) (f Finding, ok bool) {
	var corrupted *CorruptError
	var missing *TailMissingError
	var future *FutureError
	var identity *MetaError
	var pending *PendingError
	var frame *segment.FrameError
	var ranges *HiddenError
	var keys *IdempError
	var page *idemp.FileError
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
	case errors.As(err, &ranges):
		return Finding{File: ranges.File, Reason: "hidden ranges", Err: ranges.Err}, true
	case errors.As(err, &keys):
		return Finding{File: keys.File, Reason: "evicted keys", Err: keys.Err}, true
	case errors.As(err, &page):
		return Finding{File: page.File, Offset: page.Offset, Reason: page.Reason, Err: page.Err}, true
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
	var s sheet
	result := "clean"
	if n := len(r.Findings); n == 1 {
		result = "1 finding"
	} else if n > 1 {
		result = fmt.Sprintf("%d findings", n)
	}
	s.line("result", "%s", result)
	s.line("store", "%x", r.Store)
	s.line("segments", "%d, %d with a footer, %d bytes", r.Segments, r.Footers, r.Bytes)
	s.line("events", "%d in %d frames, %d batches, %d streams", r.Events, r.Frames, r.Batches, r.Heads)
	s.line("end", "sequence %d, tree of %d, root %x", r.LastSeq, r.TreeSize, r.Root)
	for _, f := range r.Findings {
		s.line("finding", "%v", f)
	}
	for _, f := range r.Notes {
		s.line("note", "%v", f)
	}
	s.line("took", "%v", r.Elapsed.Round(time.Microsecond))
	return s.String()
}

// MarshalJSON returns the report as one object of stable lower_snake names: hashes and the identity in hexadecimal,
// errors as text, times in microseconds.
func (r VerifyReport) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Store    string    `json:"store"`
		Clean    bool      `json:"clean"`
		Findings []Finding `json:"findings"`
		Notes    []Finding `json:"notes"`
		Segments int       `json:"segments"`
		Footers  int       `json:"footers"`
		Frames   uint64    `json:"frames"`
		Events   uint64    `json:"events"`
		Batches  uint64    `json:"batches"`
		Heads    int       `json:"streams"`
		Bytes    int64     `json:"bytes"`
		LastSeq  uint64    `json:"last_seq"`
		TreeSize uint64    `json:"tree_size"`
		Root     string    `json:"root"`
		Micros   int64     `json:"micros"`
	}{
		hex.EncodeToString(r.Store[:]), r.Clean(), nonNil(r.Findings), nonNil(r.Notes), r.Segments, r.Footers, r.Frames, r.Events,
		r.Batches, r.Heads, r.Bytes, r.LastSeq, r.TreeSize, hex.EncodeToString(r.Root[:]), r.Elapsed.Microseconds(),
	})
}

// nonNil returns s as a slice that JSON shows as [] and not as null.
func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
