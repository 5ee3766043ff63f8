package batpak

// ProjectedFrames returns how many frames were read for projections.
func (s *Store) ProjectedFrames() uint64 { return s.projections.frames.Load() }

// Evict takes a sealed segment out of what reads see, as a compaction that evicts all of its events does.
func (s *Store) Evict(segment uint64) { s.set.Replace([]uint64{segment}) }

// Parts returns what tells a query from others in files.
func (q *Query) Parts() []string { return q.parts() }
