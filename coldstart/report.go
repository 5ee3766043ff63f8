package coldstart

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"batpak/event"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A sheet is a report for people: a name, and what there is to say about it, in each line.
type sheet struct{ strings.Builder }

func (s *sheet) line(name, format string, args ...any) {
	fmt.Fprintf(s, "%-12s "+format+"\n", append([]any{name}, args...)...)
}

// sheetMost is how many of a list are named one by one.
const sheetMost = 8

// writeList writes one line for each of items, as far as there are not too many.
func writeList[T any](s *sheet, name string, items []T) {
	for _, item := range items[:min(len(items), sheetMost)] {
		s.line(name, "%v", item)
	}
	if more := len(items) - sheetMost; more > 0 {
		s.line(name, "… and %d more", more)
	}
}

// String returns the report as a short table, without what is zero. Of long lists it names the first few.
func (r Report) String() string {
	var s sheet
	s.line("rung", "%v", r.Rung)
	r.writeEnd(&s)
	s.line("segments", "%s", r.segments())
	writeList(&s, "by frames", r.exceptions())
	s.line("events", "%d restored, %d replayed from %d frames, %d bytes", r.Restored, r.Replayed, r.Frames, r.Bytes)
	r.writeUndone(&s)
	for _, k := range slices.Sorted(maps.Keys(r.ReservedTotal)) {
		s.line("reserved", "kind %v: %d events, %d of them read by this open", k, r.ReservedTotal[k], r.Reserved[k])
	}
	writeList(&s, "step down", r.Skipped)
	writeList(&s, "quarantined", r.Quarantined)
	writeList(&s, "removed", r.Removed)
	writeList(&s, "unknown", r.Unknown)
	r.writePhases(&s)
	return s.String()
}

func (r *Report) writeEnd(s *sheet) {
	how := "not closed cleanly"
	switch {
	case r.Segments == 0:
		s.line("end of log", "empty")
		return
	case r.Clean:
		how = "closed cleanly"
	}
	s.line("end of log", "%s, %s", r.Verdict, how)
}

func (r *Report) segments() string {
	if len(r.Sources) == 0 {
		return fmt.Sprint(r.Segments)
	}
	return fmt.Sprintf("%d: %s", r.Segments, r.countSources())
}

// writeUndone writes what was cut, rolled back and moved.
func (r *Report) writeUndone(s *sheet) {
	count := func(name string, n uint64, format string, args ...any) {
		if n > 0 {
			s.line(name, format, args...)
		}
	}
	count("torn", uint64(r.TornBytes), "%d bytes behind the end", r.TornBytes)
	count("hole", r.LostFrames, "%d frames behind it given up", r.LostFrames)
	count("rolled back", r.Batches, "unfinished batches: %d, with %d events", r.Batches, r.BatchEvents)
	count("rolled back", r.OpenFences, "open fences: %d", r.OpenFences)
	count("moved", r.Moved, "%d frames to a new file", r.Moved)
	count("skipped", r.SkippedSeqs, "%d sequences", r.SkippedSeqs)
	if r.Pending != "" {
		s.line("compaction", "%s", r.Pending)
	}
}

// writePhases writes how long it took, in one line.
func (r *Report) writePhases(s *sheet) {
	var total time.Duration
	parts := make([]string, 0, len(r.Phases))
	for _, p := range r.Phases {
		total += p.Took
		parts = append(parts, fmt.Sprintf("%s %v", p.Name, p.Took.Round(time.Microsecond)))
	}
	if len(parts) > 0 {
		s.line("time", "%v: %s", total.Round(time.Microsecond), strings.Join(parts, ", "))
	}
}

// reportJSON is Report with its names in JSON. They stay as they are; a new field of Report gets one here.
type reportJSON struct {
	Rung    Rung   `json:"rung"`
	Skipped []Skip `json:"step_downs,omitempty"`
	Verdict string `json:"verdict"`
	Clean   bool   `json:"clean"`

	Segments int `json:"segments"`
	Footers  int `json:"segments_by_footer"`
	Scanned  int `json:"segments_by_frames"`
	Blocks   int `json:"index_blocks"`

	Sources []SourceRange `json:"sources,omitempty"`

	Restored uint64 `json:"events_restored"`
	Replayed uint64 `json:"events_replayed"`
	Frames   uint64 `json:"frames_read"`
	Fences   uint64 `json:"fence_frames_read"`
	Bytes    int64  `json:"bytes_read"`

	TornBytes   int64  `json:"torn_bytes"`
	LostFrames  uint64 `json:"lost_frames"`
	Batches     uint64 `json:"batches_rolled_back"`
	BatchEvents uint64 `json:"batch_events_rolled_back"`
	OpenFences  uint64 `json:"fences_rolled_back"`
	Moved       uint64 `json:"frames_moved"`
	SkippedSeqs uint64 `json:"sequences_skipped"`
	Pending     string `json:"compaction,omitempty"`

	Reserved      map[event.Kind]uint64 `json:"reserved_kinds,omitempty"`
	ReservedTotal map[event.Kind]uint64 `json:"reserved_kinds_total,omitempty"`

	Quarantined []string `json:"quarantined,omitempty"`
	Removed     []string `json:"removed,omitempty"`
	Unknown     []string `json:"unknown_files,omitempty"`

	Phases []Phase `json:"phases"`
}

// MarshalJSON returns the report as one object of stable lower_snake names: numbers as numbers, errors as text, times
// in microseconds.
func (r Report) MarshalJSON() ([]byte, error) { return json.Marshal(reportJSON(r)) }

// MarshalText implements [encoding.TextMarshaler] with the form of String. It never fails.
func (r Rung) MarshalText() ([]byte, error) {
	if r == 0 {
		return nil, nil
	}
	return []byte(r.String()), nil
}

// MarshalJSON returns {"rung", "segment", "reason", "error"}; reason is "absent", "stale", "damaged", "foreign",
// "future", or left out when the error is another one.
func (s Skip) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Rung    Rung   `json:"rung,omitempty"`
		Segment uint64 `json:"segment,omitempty"`
		Reason  string `json:"reason,omitempty"`
		Error   string `json:"error"`
	}{s.Rung, s.Segment, reasonOf(s.Err), s.Err.Error()})
}

// reasonOf returns the word for what err says about a file, or "".
func reasonOf(err error) string {
	for _, r := range []struct {
		word string
		errs []error
	}{
		{"absent", []error{ErrAbsent, segment.ErrAbsent, index.ErrCatalogAbsent}},
		{"stale", []error{ErrStale, index.ErrCatalogStale}},
		{"foreign", []error{ErrForeign, segment.ErrForeign, index.ErrCatalogForeign}},
		{"future", []error{ErrFuture, segment.ErrFuture, index.ErrCatalogFuture}},
		{"damaged", []error{ErrDamaged, segment.ErrDamaged, index.ErrCatalogDamaged, vfs.ErrMapFault}},
	} {
		if slices.ContainsFunc(r.errs, func(target error) bool { return errors.Is(err, target) }) {
			return r.word
		}
	}
	return ""
}

// MarshalJSON returns {"name", "micros"}.
func (p Phase) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Name   string `json:"name"`
		Micros int64  `json:"micros"`
	}{p.Name, p.Took.Microseconds()})
}
