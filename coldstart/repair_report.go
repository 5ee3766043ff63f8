package coldstart

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// A RepairAction is one thing that [Repair] has done, or would do.
type RepairAction struct {
	File  string `json:"file"`            // name in the directory
	Do    string `json:"do"`              // "rebuild", "remove" or "set aside"
	How   string `json:"how"`             // from what, or who makes it again
	Why   string `json:"why"`             // what was found
	Aside string `json:"aside,omitempty"` // name under which the old file is kept; empty when none is
	Done  bool   `json:"done"`            // false: it would be done, or was not come to
}

func (a RepairAction) String() string {
	kept := ""
	if a.Aside != "" {
		kept = "; the old file is " + a.Aside
	}
	return fmt.Sprintf("%s %s: %s (%s)%s", a.Do, a.File, a.How, a.Why, kept)
}

// A RepairReport is what [Repair] has found and done.
type RepairReport struct {
	Store    [16]byte // identity; of the segments where store.meta does not say
	DryRun   bool     // nothing was to be done
	Segments int      // read, all of them
	Events   uint64   // in them

	Actions  []RepairAction // in order
	Findings []Finding      // what it cannot mend
	Notes    []Finding      // what is no damage

	Elapsed time.Duration
}

// Complete reports whether nothing is left: every action is done, and there are no findings.
func (r *RepairReport) Complete() bool { return r.left() == 0 && len(r.Findings) == 0 }

// left returns how many actions are not done.
func (r *RepairReport) left() int {
	n := 0
	for i := range r.Actions {
		if !r.Actions[i].Done {
			n++
		}
	}
	return n
}

// String returns the report as a short table.
func (r *RepairReport) String() string {
	var s sheet
	s.line("result", "%s", r.result())
	s.line("store", "%x", r.Store)
	s.line("read", "%d segments, %d events", r.Segments, r.Events)
	for _, a := range r.Actions {
		switch {
		case a.Done:
			s.line("did", "%v", a)
		case r.DryRun:
			s.line("would", "%v", a)
		default:
			s.line("did not", "%v", a)
		}
	}
	for _, f := range r.Findings {
		s.line("finding", "%v", f)
	}
	for _, f := range r.Notes {
		s.line("note", "%v", f)
	}
	s.line("time", "%v", r.Elapsed.Round(time.Microsecond))
	return s.String()
}

// result says in one line how it stands.
func (r *RepairReport) result() string {
	todo, text := r.left(), "nothing to do"
	switch {
	case todo > 0 && r.DryRun:
		text = fmt.Sprintf("dry run, %d to do", todo)
	case len(r.Actions) > 0:
		text = fmt.Sprintf("%d of %d done", len(r.Actions)-todo, len(r.Actions))
	}
	if n := len(r.Findings); n > 0 {
		text += fmt.Sprintf("; beyond repair: %d", n)
	}
	return text
}

// MarshalJSON returns the report as one object of stable lower_snake names, as [VerifyReport.MarshalJSON] does.
func (r *RepairReport) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Store    string         `json:"store"`
		DryRun   bool           `json:"dry_run"`
		Complete bool           `json:"complete"`
		Segments int            `json:"segments"`
		Events   uint64         `json:"events"`
		Actions  []RepairAction `json:"actions"`
		Findings []Finding      `json:"findings"`
		Notes    []Finding      `json:"notes"`
		Micros   int64          `json:"micros"`
	}{
		hex.EncodeToString(r.Store[:]), r.DryRun, r.Complete(), r.Segments, r.Events,
		nonNil(r.Actions), nonNil(r.Findings), nonNil(r.Notes), r.Elapsed.Microseconds(),
	})
}
