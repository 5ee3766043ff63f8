package batpak

import "batpak/coldstart"

// Progress is how far an open has come; [Options].Progress says when it is told.
type Progress struct {
	Rung  coldstart.Rung // way that is being tried
	Done  int            // segments that have been made readable so far
	Total int            // segments in the log
	Seq   uint64         // last sequence of the segment that was done last; in no order, since several are read at once
}

// toldTo translates a callback for the package that does the work; nil stays nil.
func toldTo(tell func(Progress)) func(coldstart.Progress) {
	if tell == nil {
		return nil
	}
	return func(p coldstart.Progress) { tell(Progress(p)) }
}
