package coldstart

import (
	"fmt"
	"strings"
)

// A Source is where the index of a segment came from.
type Source uint8

// The sources, from the cheapest one.
const (
	SourceSnapshot   Source = iota + 1 // its part of index.fbati
	SourceCheckpoint                   // its part of index.ckpt
	SourceFooter                       // its SIDX
	SourceFrames                       // its frames, since nothing better held
	SourceTail                         // its frames, as the newest segment
	sourceEnd
)

var sourceNames = [sourceEnd]string{
	SourceSnapshot: "snapshot", SourceCheckpoint: "checkpoint", SourceFooter: "footer", SourceFrames: "frames", SourceTail: "tail",
}

// String returns the source's name in lower case.
func (s Source) String() string {
	if s == 0 || s >= sourceEnd {
		return fmt.Sprintf("Source(%d)", uint8(s))
	}
	return sourceNames[s]
}

// MarshalText implements [encoding.TextMarshaler] with the form of String. It never fails.
func (s Source) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// A SourceRange is a stretch of the log whose segments all came from one source.
type SourceRange struct {
	Source   Source `json:"source"`
	First    uint64 `json:"first_segment"`
	Last     uint64 `json:"last_segment"`
	Segments int    `json:"segments"` // in the log; numbers between First and Last may be missing
}

func (s SourceRange) String() string {
	if s.First == s.Last {
		return fmt.Sprintf("%06d", s.First)
	}
	return fmt.Sprintf("%06d–%06d", s.First, s.Last)
}

// from notes where segment id came from; segments come in the order of the log.
func (r *Report) from(id uint64, s Source) {
	if n := len(r.Sources); n > 0 && r.Sources[n-1].Source == s {
		r.Sources[n-1].Last = id
		r.Sources[n-1].Segments++
		return
	}
	r.Sources = append(r.Sources, SourceRange{Source: s, First: id, Last: id, Segments: 1})
}

// countSources returns how many segments came from each source, as words.
func (r *Report) countSources() string {
	var counts [sourceEnd]int
	for _, s := range r.Sources {
		counts[s.Source] += s.Segments
	}
	var parts []string
	for s, n := range counts {
		switch {
		case n > 0 && Source(s) == SourceTail:
			parts = append(parts, fmt.Sprintf("%d active", n))
		case n > 0:
			parts = append(parts, fmt.Sprintf("%d by %v", n, Source(s)))
		}
	}
	return strings.Join(parts, ", ")
}

// exceptions returns the segments that were read by their frames though others were not.
func (r *Report) exceptions() []SourceRange {
	var scanned []SourceRange
	better := false
	for _, s := range r.Sources {
		switch s.Source {
		case SourceFrames:
			scanned = append(scanned, s)
		case SourceTail:
		default:
			better = true
		}
	}
	if !better {
		return nil
	}
	return scanned
}
