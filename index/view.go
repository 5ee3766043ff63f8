package index

import (
	"fmt"

	"batpak/event"
	"batpak/internal/planted"
	"batpak/segment"
)

// EventByID returns the event named id, if v shows one. Its bytes are the caller's. Query.Hidden is the caller's to
// apply.
//
// Errors: *[segment.FrameError] and *[segment.FooterError] for damage; I/O errors.
func (v *View) EventByID(id event.ID) (ev event.Event, ok bool, err error) {
	var raw event.Raw
	if ok, err = v.rawByID(id, &raw); err != nil || !ok || raw.Seq > v.visible {
		return event.Event{}, false, err
	}
	return raw.Event(), true, nil
}

// rawByID finds id in the runs, in memory first.
func (v *View) rawByID(id event.ID, raw *event.Raw) (bool, error) {
	for i := len(v.e.memory) - 1; i >= 0; i-- {
		t := v.e.memory[i].open()
		if row, ok := t.findID(id); ok {
			p, _ := t.place(row)
			f := t.frames()
			return true, f.readExact(raw, p)
		}
	}
	if v.e.byID {
		if i := v.e.sealedOfID(id); i < len(v.e.sealed) {
			return v.e.sealed[i].rawByID(id, raw)
		}
		return false, nil
	}
	for i := len(v.e.sealed) - 1; i >= 0; i-- {
		if ok, err := v.e.sealed[i].rawByID(id, raw); ok || err != nil {
			return ok, err
		}
	}
	return false, nil
}

// sealedOfID returns the first sealed segment whose IDs do not all lie below id.
func (e *epoch) sealedOfID(id event.ID) int {
	lo, hi := 0, len(e.sealed)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if compareID(&e.sealed[mid].sum.MaxID, &id) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// rawByID finds id in one sealed segment.
func (s *Sealed) rawByID(id event.ID, raw *event.Raw) (ok bool, err error) {
	if compareID(&id, &s.sum.MinID) < 0 || compareID(&id, &s.sum.MaxID) > 0 {
		return false, nil
	}
	mp, err := s.open()
	if err != nil {
		return false, err
	}
	err = mp.m.Guarded(func() (err error) {
		ok, err = mp.rawByID(&id, raw)
		return err
	})
	return ok, err
}

// rawByID finds id. What the footer knows of an ID is where its frame may stand; every such frame is checked whole
// before its ID is believed, so that a damaged ID is damage and not the ID of another event.
func (mp *mapped) rawByID(id *event.ID, raw *event.Raw) (bool, error) {
	return mp.foot.FindID(id, func(l segment.Locator) (bool, error) {
		f := mp.frames()
		if l.Length == 0 {
			n, err := f.frameLen(int64(l.Offset))
			if err != nil {
				return false, err
			}
			l.Length = n
		}
		if err := f.read(raw, place{offset: l.Offset, length: l.Length}); err != nil {
			return false, err
		}
		sum := mp.foot.Summary()
		if raw.Seq < sum.FirstSeq || raw.Seq > sum.LastSeq || raw.ID != *id && !mp.foot.SameSlot(&raw.ID, id) {
			return false, f.flaw(int64(l.Offset), "ID is not the index's")
		}
		return raw.ID == *id, nil
	})
}

// readExact is read for an event whose sequence is known.
func (f *frames) readExact(raw *event.Raw, p place) error {
	return f.readInto(make([]byte, p.length), raw, p)
}

// readInto is readExact into b, which the event aliases and which is as long as its frame.
func (f *frames) readInto(b []byte, raw *event.Raw, p place) error {
	if err := f.fill(b, raw, p); err != nil {
		return err
	}
	if raw.Seq != p.seq {
		return f.flaw(int64(p.offset), "sequence is not the index's")
	}
	return nil
}

// EventBySeq returns the event with the given sequence, if v shows it. Its bytes are the caller's.
//
// Errors: as EventByID.
func (v *View) EventBySeq(seq uint64) (ev event.Event, ok bool, err error) {
	if seq == 0 || seq > v.visible || len(v.e.runs) == 0 {
		return event.Event{}, false, nil
	}
	var raw event.Raw
	r := &v.e.runs[v.e.runOfSeq(seq)]
	if ok, err = r.rawBySeq(seq, &raw); err != nil || !ok {
		return event.Event{}, false, err
	}
	return raw.Event(), true, nil
}

// rawBySeq fills raw with the event of the run that has the given sequence.
func (r *run) rawBySeq(seq uint64, raw *event.Raw) (ok bool, err error) {
	err = r.read(func(t table) error {
		row, err := t.rowOfSeq(seq)
		if err != nil || row == t.count() {
			return err
		}
		p, err := t.place(row)
		if err != nil || p.seq != seq {
			return err
		}
		ok = true
		f := t.frames()
		return f.readExact(raw, p)
	})
	return ok, err
}

// HashOf returns the hash of the event with the given sequence, for who has no Set yet: it looks into sealed segments or
// index blocks, and into an active segment, unless it is nil, as far as that is published.
//
// Errors: as EventByID.
func HashOf(seq uint64, sealed []*Sealed, active *Active) (hash event.Hash, ok bool, err error) {
	runs := sealedRuns(sealed)
	if active != nil {
		runs = append(runs, run{first: active.firstSeq, memory: active})
	}
	var raw event.Raw
	for i := range runs {
		if first, last, any := runs[i].bounds(); !any || seq < first || seq > last {
			continue
		}
		if ok, err = runs[i].rawBySeq(seq, &raw); ok || err != nil {
			return raw.Hash, ok && err == nil, err
		}
	}
	return hash, false, nil
}

// read calls fn with the run's table, guarded.
func (r *run) read(fn func(t table) error) error {
	if r.memory != nil {
		return fn(r.memory.open())
	}
	mp, err := r.sealed.open()
	if err != nil {
		return err
	}
	return mp.m.Guarded(func() error { return fn(mp) })
}

// Head returns the last event committed to (entity, lane), visible or not: what the next one links to. Events that
// were added but not published yet are not seen.
//
// Errors: as EventByID.
func (v *View) Head(entity string, lane uint32) (h Head, ok bool, err error) {
	err = v.e.search(&sought{entity: entity, lane: lane}, func(r *run) (bool, error) {
		h, ok, err = r.headOf(entity, lane)
		return ok, err
	})
	if err != nil || !ok {
		return Head{}, false, err
	}
	return h, true, nil
}

// headOf returns the last event of (entity, lane) in the run.
func (r *run) headOf(entity string, lane uint32) (h Head, ok bool, err error) {
	if r.memory != nil {
		return r.memory.open().headOf(entity, lane)
	}
	if lane < r.sealed.sum.MinLane || lane > r.sealed.sum.MaxLane {
		return Head{}, false, nil
	}
	mp, err := r.sealed.open()
	if err != nil {
		return Head{}, false, err
	}
	err = mp.m.Guarded(func() error {
		h, ok, err = mp.headOf(entity, lane)
		return err
	})
	return h, ok, err
}

// headOf returns the last of the first n events of (entity, lane); its hash is in the frame.
func (t activeTable) headOf(entity string, lane uint32) (Head, bool, error) {
	row, ok := t.head(entity, lane)
	if !ok {
		return Head{}, false, nil
	}
	p, _ := t.place(row)
	f := t.frames()
	var raw event.Raw
	if err := f.readExact(&raw, p); err != nil {
		return Head{}, false, err
	}
	return Head{Seq: raw.Seq, Clock: raw.Clock, ID: raw.ID, Hash: raw.Hash}, true, nil
}

// headOf returns the head of (entity, lane) from the footer.
func (mp *mapped) headOf(entity string, lane uint32) (Head, bool, error) {
	e, ok, err := mp.foot.LookupEntity(entity)
	if err != nil || !ok {
		return Head{}, false, err
	}
	h, ok, err := mp.foot.Head(e, lane)
	if err != nil || !ok {
		return Head{}, false, err
	}
	seq, err := mp.foot.Seq(h.Row)
	if err != nil {
		return Head{}, false, err
	}
	return Head{Seq: seq, Clock: h.Last, ID: h.ID, Hash: h.Hash}, err == nil, err
}

// FindKey fills raw with the newest event that carries the idempotency key, visible or not, but with none that hidden
// reports; nil hides nothing. Runs whose events all lie below from may be left out: what is found there is found by
// luck. When ok is false raw means nothing; else its bytes are the caller's.
//
// Errors: as EventByID.
func (v *View) FindKey(raw *event.Raw, key [16]byte, from uint64, hidden func(seq uint64) bool) (ok bool, err error) {
	s := sought{key: &key, from: from}
	v.e.touch(&s)
	err = v.e.search(&s, func(r *run) (bool, error) {
		ok, err = r.findKey(&key, hidden, raw)
		return ok, err
	})
	return ok && err == nil, err
}

// findKey fills raw with the newest event of the run that carries key and is not hidden.
func (r *run) findKey(key *[16]byte, hidden func(seq uint64) bool, raw *event.Raw) (ok bool, err error) {
	err = r.read(func(t table) error {
		p, found, err := keyPlace(t, key, hidden)
		if err != nil || !found {
			return err
		}
		ok = true
		f := t.frames()
		if err := f.readExact(raw, p); err != nil {
			return err
		}
		if raw.Key.Hash != *key {
			return f.flaw(int64(p.offset), "key is not the index's")
		}
		return nil
	})
	return ok, err
}

// keyPlace returns where the newest event of t with an idempotency key stands that is not hidden. Nearly always there
// is one event with the key at most.
func keyPlace(t table, key *[16]byte, hidden func(seq uint64) bool) (p place, ok bool, err error) {
	for row := t.count(); ; {
		if row, ok, err = keyRow(t, key, row); err != nil || !ok {
			return p, false, err
		}
		if p, err = t.place(row); err != nil {
			return p, false, err
		}
		if hidden == nil || !hidden(p.seq) {
			return p, true, nil
		}
	}
}

// keyRow returns the newest row of an idempotency key in t below before.
func keyRow(t table, key *[16]byte, before uint32) (uint32, bool, error) {
	switch t := t.(type) {
	case activeTable:
		row, ok := t.findKey(key, before)
		return row, ok, nil
	case *mapped:
		if planted.On(planted.KeysForgottenInFooters) {
			return 0, false, nil
		}
		return t.foot.FindKey(*key, before)
	}
	panic(fmt.Sprintf("index: table of type %T", t))
}
