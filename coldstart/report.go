package coldstart

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// String returns the report as a short table, without what is zero.
func (r Report) String() string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s "+format+"\n", append([]any{name}, args...)...)
	}
	count := func(name string, n uint64, what string) {
		if n > 0 {
			line(name, "%d %s", n, what)
		}
	}
	line("rung", "%v", r.Rung)
	line("end of log", "%s", r.Verdict)
	line("segments", "%d: %d by footer, %d by frames, 1 active", r.Segments, r.Footers, r.Scanned)
	line("events", "%d restored, %d replayed from %d frames, %d bytes", r.Restored, r.Replayed, r.Frames, r.Bytes)
	count("torn", uint64(r.TornBytes), "bytes cut")
	count("hole", r.LostFrames, "frames behind it cut")
	count("batches", r.Batches, fmt.Sprintf("rolled back, with %d events", r.BatchEvents))
	count("moved", r.Moved, "frames to a new file")
	count("skipped", r.SkippedSeqs, "sequences")
	if r.Pending != "" {
		line("compaction", "%s", r.Pending)
	}
	for _, k := range slices.Sorted(maps.Keys(r.Reserved)) {
		line("reserved", "%d events of kind %v", r.Reserved[k], k)
	}
	for _, s := range r.Skipped {
		line("step down", "%v", s)
	}
	for _, list := range []struct {
		name  string
		files []string
	}{{"quarantined", r.Quarantined}, {"removed", r.Removed}, {"unknown", r.Unknown}} {
		if len(list.files) > 0 {
			line(list.name, "%s", strings.Join(list.files, ", "))
		}
	}
	for _, p := range r.Phases {
		line(p.Name, "%v", p.Took.Round(time.Microsecond))
	}
	return b.String()
}
