package coldstart

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// fullReport returns a report of 1,000 segments in which every field is set.
func fullReport() Report {
	r := Report{
		Rung: RungFooters, Verdict: "torn end", Segments: 1000, Footers: 997, Scanned: 2, Blocks: 6,
		Skipped: []Skip{
			{Err: fmt.Errorf("anchor: %w", ErrDamaged)}, {Rung: RungSnapshot, Err: ErrAbsent}, {RungFooters, 17, segment.ErrDamaged},
		},
		Restored: 99_700, Replayed: 250, Frames: 260, Fences: 3, Bytes: 81_920,
		TornBytes: 7, LostFrames: 2, Batches: 1, BatchEvents: 4, OpenFences: 1, Moved: 5, SkippedSeqs: 600, Pending: "finished",
		Reserved:      map[event.Kind]uint64{event.Kind(0xd001): 2},
		ReservedTotal: map[event.Kind]uint64{event.Kind(0xd001): 9, event.Kind(0x0003): 1},
		Quarantined:   []string{segment.Name(1001) + quarantineSuffix}, Removed: []string{"anchor.tmp"}, Unknown: []string{"notes.txt"},
		Phases: []Phase{{"headers", 12 * time.Millisecond}, {"tail", 3 * time.Microsecond}},
	}
	for id := uint64(1); id <= 1000; id++ {
		switch id {
		case 17, 600, 601:
			r.from(id, SourceFrames)
		case 1000:
			r.from(id, SourceTail)
		default:
			r.from(id, SourceFooter)
		}
	}
	return r
}

const fullReportText = `rung         footers
end of log   torn end, not closed cleanly
segments     1000: 996 by footer, 3 by frames, 1 active
by frames    000017
by frames    000600–000601
events       99700 restored, 250 replayed from 260 frames, 81920 bytes
torn         7 bytes behind the end
hole         2 frames behind it given up
rolled back  unfinished batches: 1, with 4 events
rolled back  open fences: 1
moved        5 frames to a new file
skipped      600 sequences
compaction   finished
reserved     kind 0:3: 1 events, 0 of them read by this open
reserved     kind d:1: 9 events, 2 of them read by this open
step down    anchor: coldstart: damaged
step down    snapshot: coldstart: absent
step down    footers of segment 000017: segment: footer damaged
quarantined  0000001001.fbat.quarantine
removed      anchor.tmp
unknown      notes.txt
time         12.003ms: headers 12ms, tail 3µs
`

func TestReportString(t *testing.T) {
	if got := fullReport().String(); got != fullReportText {
		t.Errorf("String() =\n%s\nwant\n%s", got, fullReportText)
	}
	long := Report{Segments: 101}
	for id := range uint64(100) {
		long.from(id+1, SourceFooter-Source(id%2)*2+2) // every other one
		long.Skipped = append(long.Skipped, Skip{RungFooters, id + 1, ErrAbsent})
	}
	if got := strings.Count(long.String(), "\n"); got > 30 {
		t.Errorf("a report of 100 exceptions has %d lines, want the first few:\n%v", got, long)
	}
	if got := (Report{Rung: RungFrames}).String(); !strings.Contains(got, "end of log   empty\n") {
		t.Errorf("String() of a fresh store =\n%s", got)
	}
}

// TestReportJSON: names are stable, lower_snake, and one for every field.
func TestReportJSON(t *testing.T) {
	const want = `{"rung":"footers","step_downs":[{"reason":"damaged","error":"anchor: coldstart: damaged"},` +
		`{"rung":"snapshot","reason":"absent","error":"coldstart: absent"},` +
		`{"rung":"footers","segment":17,"reason":"damaged","error":"segment: footer damaged"}],` +
		`"verdict":"torn end","clean":false,"segments":1000,"segments_by_footer":997,"segments_by_frames":2,"index_blocks":6,"sources":[` +
		`{"source":"footer","first_segment":1,"last_segment":16,"segments":16},` +
		`{"source":"frames","first_segment":17,"last_segment":17,"segments":1},` +
		`{"source":"footer","first_segment":18,"last_segment":599,"segments":582},` +
		`{"source":"frames","first_segment":600,"last_segment":601,"segments":2},` +
		`{"source":"footer","first_segment":602,"last_segment":999,"segments":398},` +
		`{"source":"tail","first_segment":1000,"last_segment":1000,"segments":1}],` +
		`"events_restored":99700,"events_replayed":250,"frames_read":260,"fence_frames_read":3,"bytes_read":81920,` +
		`"torn_bytes":7,"lost_frames":2,"batches_rolled_back":1,"batch_events_rolled_back":4,"fences_rolled_back":1,` +
		`"frames_moved":5,"sequences_skipped":600,"compaction":"finished","reserved_kinds":{"d:1":2},"reserved_kinds_total":{"0:3":1,"d:1":9},` +
		`"quarantined":["0000001001.fbat.quarantine"],"removed":["anchor.tmp"],"unknown_files":["notes.txt"],` +
		`"phases":[{"name":"headers","micros":12000},{"name":"tail","micros":3}]}`
	got, err := json.Marshal(fullReport())
	if err != nil || string(got) != want {
		t.Errorf("Marshal = %v\n%s\nwant\n%s", err, got, want)
	}
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	of := reflect.TypeFor[reportJSON]()
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		if !snake.MatchString(name) {
			t.Errorf("field %s is %q in JSON", of.Field(i).Name, name)
		}
	}
	full := reflect.ValueOf(fullReport())
	for i := range full.NumField() {
		if name := full.Type().Field(i).Name; full.Field(i).IsZero() && name != "Clean" {
			t.Errorf("fullReport leaves %s zero", name)
		}
	}
}

// downs counts what did not hold, but for images that nobody has written.
func downs(r *Report) int {
	n := 0
	for _, s := range r.Skipped {
		if s.Rung != RungSnapshot && s.Rung != RungCheckpoint || !errors.Is(s.Err, ErrAbsent) {
			n++
		}
	}
	return n
}

// TestReportOfOpen: what an open counts, in one that had to do some of everything.
func TestReportOfOpen(t *testing.T) {
	fsys, _ := manySegments(t, 6)
	withoutFooters(fsys, 2, 3)
	for _, readOnly := range []bool{true, false} {
		_, report, err := reopen(fsys, readOnly)
		if err != nil {
			t.Fatal(err)
		}
		want := []SourceRange{{SourceFooter, 1, 1, 1}, {SourceFrames, 2, 3, 2}, {SourceFooter, 4, 6, 3}, {SourceTail, 7, 7, 1}}
		if !reflect.DeepEqual(report.Sources, want) || downs(&report) != 2 || report.ReservedTotal == nil {
			t.Errorf("read-only %v: sources %v, want %v\n%v", readOnly, report.Sources, want, report)
		}
		if report.Restored != 8 || report.Replayed != 5 || report.Bytes == 0 || len(report.Phases) == 0 {
			t.Errorf("read-only %v: report\n%v", readOnly, report)
		}
	}
}

func TestVerifyReportJSON(t *testing.T) {
	fsys, _ := manySegments(t, 1)
	d := dirEdit{fsys}
	d.flip(segment.Name(1), d.firstFrame(1)+30, 1)
	b, err := json.Marshal(mustVerify(t, vfs.NewMemFrom(fsys.Files())))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Store    string
		Clean    bool
		Findings []struct {
			File, Reason, Error string
			Offset, FirstSeq    int64
		}
		Notes []any
	}
	if err := json.Unmarshal(b, &got); err != nil || len(got.Store) != 32 || got.Clean || len(got.Findings) != 1 || got.Notes == nil {
		t.Fatalf("Unmarshal = %v, %+v\n%s", err, got, b)
	}
	if f := got.Findings[0]; f.File != segment.Name(1) || f.Reason == "" || f.Error == "" || f.Offset == 0 {
		t.Errorf("finding %+v\n%s", f, b)
	}
	if _, err := json.Marshal(Skip{Rung: RungSnapshot, Err: errors.New("other")}); err != nil {
		t.Error(err)
	}
}
