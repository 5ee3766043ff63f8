package index

// SharedMost is how many bytes of memory events may share that were read together and belong to the caller: whoever keeps
// one of them keeps no more than that of the others. A larger event has its memory for itself.
const SharedMost = 4 << 10

// A shared is where the bytes of events come to stand that are the caller's: one allocation is enough for a few of them. The
// zero shared is ready.
type shared struct{ free []byte }

// take returns memory for the frame at places[0]; the others come next.
func (s *shared) take(places []place) []byte {
	n := int(places[0].length)
	if n > len(s.free) {
		size := n
		for _, p := range places[1:] {
			if size+int(p.length) > SharedMost {
				break
			}
			size += int(p.length)
		}
		s.free = make([]byte, size)
	}
	b := s.free[:n:n]
	s.free = s.free[n:]
	return b
}
