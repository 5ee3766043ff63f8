package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"time"

	"batpak"
	"batpak/coldstart"
)

var statCommand = command{
	name:     "stat",
	synopsis: "[-json] DIR",
	summary:  "prints what the store in DIR holds, its files, and how it opened; works beside a writer",
	examples: `  batpak stat store
  batpak stat -json store
`,
	minArgs: 1, maxArgs: 1,
	setup: setupStat,
}

func setupStat(fs *flag.FlagSet) runner {
	asJSON := fs.Bool("json", false, "print one JSON object")
	return func(ctx context.Context, c *console, args []string) error {
		return withReader(ctx, args[0], func(st *batpak.Store) error {
			r, err := gatherStat(ctx, args[0], st)
			if err != nil {
				return err
			}
			if *asJSON {
				return printJSON(c.out, r)
			}
			r.print(c.out)
			return nil
		})
	}
}

// A statReport is what stat prints.
type statReport struct {
	Store    string      `json:"store"`
	Events   uint64      `json:"events"`
	FirstSeq uint64      `json:"first_seq"`
	LastSeq  uint64      `json:"last_seq"`
	Durable  uint64      `json:"durable_seq"`
	Segments int         `json:"segments"`
	Sealed   int         `json:"sealed"`
	Bytes    int64       `json:"bytes"`
	First    string      `json:"first_time,omitempty"`
	Last     string      `json:"last_time,omitempty"`
	Files    []storeFile `json:"files"`
	Open     openReport  `json:"open"`

	report coldstart.Report
}

// An openReport is a [coldstart.Report] in JSON.
type openReport struct {
	Rung        string           `json:"rung"`
	Verdict     string           `json:"verdict"`
	Clean       bool             `json:"clean"`
	Footers     int              `json:"segments_by_footer"`
	Scanned     int              `json:"segments_by_frames"`
	Restored    uint64           `json:"events_restored"`
	Replayed    uint64           `json:"events_replayed"`
	Frames      uint64           `json:"frames_read"`
	Bytes       int64            `json:"bytes_read"`
	TornBytes   int64            `json:"torn_bytes"`
	LostFrames  uint64           `json:"lost_frames"`
	Batches     uint64           `json:"batches_rolled_back"`
	Moved       uint64           `json:"frames_moved"`
	SkippedSeqs uint64           `json:"sequences_skipped"`
	Skipped     []string         `json:"step_downs,omitempty"`
	Pending     string           `json:"compaction,omitempty"`
	Quarantined []string         `json:"quarantined,omitempty"`
	Unknown     []string         `json:"unknown_files,omitempty"`
	Micros      map[string]int64 `json:"phase_micros"`
}

// gatherStat asks an open store for everything.
func gatherStat(ctx context.Context, dir string, st *batpak.Store) (*statReport, error) {
	id, stats, report := st.ID(), st.Stats(), st.OpenReport()
	r := &statReport{
		Store: hex.EncodeToString(id[:]), Events: stats.Events, LastSeq: stats.Visible, Durable: stats.Durable,
		Segments: stats.Segments, Sealed: stats.Sealed, Bytes: stats.Bytes, Open: openReportOf(&report), report: report,
	}
	for ev, err := range st.Read(ctx, batpak.Query{Limit: 1}) {
		if err != nil {
			return nil, err
		}
		r.FirstSeq, r.First = ev.Seq, ev.HLC.Time().Format(time.RFC3339)
	}
	for ev, err := range st.Read(ctx, batpak.Query{Limit: 1, Reverse: true}) {
		if err != nil {
			return nil, err
		}
		r.Last = ev.HLC.Time().Format(time.RFC3339)
	}
	var err error
	r.Files, err = listFiles(dir)
	return r, err
}

func openReportOf(r *coldstart.Report) openReport {
	o := openReport{
		Rung: fmt.Sprint(r.Rung), Verdict: r.Verdict, Clean: r.Clean, Footers: r.Footers, Scanned: r.Scanned,
		Restored: r.Restored, Replayed: r.Replayed, Frames: r.Frames, Bytes: r.Bytes, TornBytes: r.TornBytes,
		LostFrames: r.LostFrames, Batches: r.Batches, Moved: r.Moved, SkippedSeqs: r.SkippedSeqs,
		Quarantined: r.Quarantined, Unknown: r.Unknown, Pending: r.Pending, Micros: make(map[string]int64),
	}
	for _, s := range r.Skipped {
		o.Skipped = append(o.Skipped, s.String())
	}
	for _, p := range r.Phases {
		o.Micros[p.Name] += p.Took.Microseconds()
	}
	return o
}

// print prints r as three tables.
func (r *statReport) print(w io.Writer) {
	var t table
	t.row("store", r.Store)
	t.row("events", count(r.Events))
	if r.First != "" {
		t.row("sequences", fmt.Sprintf("%d to %d", r.FirstSeq, r.LastSeq))
		t.row("times", r.First+" to "+r.Last)
	}
	t.row("durable", fmt.Sprintf("to sequence %d", r.Durable))
	t.row("segments", fmt.Sprintf("%d, %d of them sealed", r.Segments, r.Sealed))
	t.row("size", byteCount(r.Bytes))
	t.print(w)
	fmt.Fprintln(w)
	fileTable(r.Files).print(w)
	fmt.Fprintf(w, "\nhow it opened\n%v", r.report)
}

// printJSON prints v, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return errors.Join(errors.New("write"), err)
	}
	return nil
}
