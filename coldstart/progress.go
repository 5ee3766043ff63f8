package coldstart

import "sync"

// Progress is how far an open, or a verification, has come.
type Progress struct {
	Rung  Rung   // that is being tried; RungFrames in a verification
	Done  int    // segments that have been made readable; it counts from 0 again when a rung is stepped down from
	Total int    // segments in the log
	Seq   uint64 // last sequence of the segment that was done last
}

// A stepper counts the segments of an open and tells about each. The zero stepper tells nobody. Safe for concurrent
// use.
type stepper struct {
	tell func(Progress) // called with mu held; may be nil

	mu  sync.Mutex
	now Progress
}

// begin starts to count: rung is tried for total segments.
func (s *stepper) begin(rung Rung, total int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = Progress{Rung: rung, Total: total}
}

// step counts one segment, whose last sequence is seq.
func (s *stepper) step(seq uint64) { s.leap(1, seq) }

// leap counts n segments, the last of which ends with sequence seq.
func (s *stepper) leap(n int, seq uint64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now.Done += n
	s.now.Seq = seq
	if s.tell != nil {
		s.tell(s.now)
	}
}
