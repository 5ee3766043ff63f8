package index

// touch reads the places where a key is about to be looked up, and forgets what it reads: the processor fetches all of
// them at once, where the look-ups, each of which hangs on the one before, would wait for one after the other. It is
// for keys, which are mostly new, so that every place is looked at.
func (e *epoch) touch(s *sought) {
	for i := len(e.sealed) - 1; i >= 0; i-- {
		f := e.sealed[i].filter.Load()
		if f == nil {
			break
		}
		if len(f.lines) > 0 {
			line, _ := f.at(s.filterBy())
			s.touched += int(line[0])
		}
	}
	if len(e.spans) == 0 || e.spans[0].catalog.opened.Load() == nil {
		return
	}
	// One guard is for all maps: it is about the goroutine.
	_ = e.spans[0].catalog.opened.Load().m.Guarded(func() error {
		for i := range e.spans {
			if o := e.spans[i].catalog.opened.Load(); o != nil {
				s.touched += int(o.touch(s.hashBy(o.hash)))
			}
		}
		return nil
	})
}

// touch reads where hash h has its home.
func (o *openCatalog) touch(h uint64) byte {
	at := o.head.home(h &^ o.head.mask())
	return o.m.Touch(int64(o.head.tableAt()+at*slotLen), 1)
}
