package index

import (
	"batpak/event"
)

// Lanes returns the head of every lane of an entity, as [View.Head] returns it for each. Runs without events on other
// lanes than 0 are not looked at for more than lane 0, and no frame of a sealed segment is read.
//
// Errors: as EventByID.
func (v *View) Lanes(entity string) (map[uint32]Head, error) {
	found := make(map[uint32]Head)
	main, ok, err := v.Head(entity, 0)
	if err != nil {
		return nil, err
	}
	if ok {
		found[0] = main
	}
	for i := len(v.e.runs) - 1; i >= 0; i-- {
		r := &v.e.runs[i]
		if r.sealed != nil && r.sealed.sum.MaxLane == 0 {
			continue
		}
		err := r.read(func(t table) error {
			if mp, ok := t.(*mapped); ok {
				return mp.lanes(entity, found)
			}
			return t.(activeTable).lanes(entity, found)
		})
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// lanes adds the heads of an entity that are not in found yet.
func (mp *mapped) lanes(entity string, found map[uint32]Head) error {
	e, ok, err := mp.foot.LookupEntity(entity)
	if err != nil || !ok {
		return err
	}
	lo, hi, err := mp.foot.EntityHeads(e)
	if err != nil {
		return err
	}
	for i := lo; i < hi; i++ {
		h, err := mp.foot.HeadAt(i)
		if err != nil {
			return err
		}
		if _, newer := found[h.Lane]; newer {
			continue
		}
		seq, err := mp.foot.Seq(h.Row)
		if err != nil {
			return err
		}
		found[h.Lane] = Head{Seq: seq, Clock: h.Last, ID: h.ID, Hash: h.Hash}
	}
	return nil
}

// lanes adds the heads of an entity that are not in found yet.
func (t activeTable) lanes(entity string, found map[uint32]Head) error {
	f := t.frames()
	return t.eachLane(entity, func(lane, row uint32) error {
		if _, newer := found[lane]; newer {
			return nil
		}
		p, err := t.place(row)
		if err != nil {
			return err
		}
		var raw event.Raw
		if err := f.readExact(&raw, p); err != nil {
			return err
		}
		found[lane] = Head{Seq: raw.Seq, Clock: raw.Clock, ID: raw.ID, Hash: raw.Hash}
		return nil
	})
}

// eachLane calls fn with the lane of each event of an entity, newest first.
func (t activeTable) eachLane(entity string, fn func(lane, row uint32) error) error {
	e, ok := t.a.entities.find(entity)
	if !ok {
		return nil
	}
	var w listWalker
	w.start(list{arena: &t.a.arena, state: t.a.entities.list(e)}, 0, t.n, true, nil)
	for row, ok := w.peek(); ok; row, ok = w.peek() {
		if err := fn(t.a.rows.at(row).lane, row); err != nil {
			return err
		}
		w.next()
	}
	return w.err()
}

// TopLane returns the highest lane that an entity has events on, visible or not; 0 when it has none. Runs whose highest
// lane is not above are not looked at, and no frame is read.
//
// Errors: as EventByID.
func (v *View) TopLane(entity string) (top uint32, err error) {
	for i := range v.e.runs {
		r := &v.e.runs[i]
		if r.sealed != nil && r.sealed.sum.MaxLane <= top {
			continue
		}
		err := r.read(func(t table) error {
			if mp, ok := t.(*mapped); ok {
				lane, err := mp.topLane(entity)
				top = max(top, lane)
				return err
			}
			return t.(activeTable).eachLane(entity, func(lane, _ uint32) error {
				top = max(top, lane)
				return nil
			})
		})
		if err != nil {
			return 0, err
		}
	}
	return top, nil
}

// topLane returns the highest lane of an entity in the segment.
func (mp *mapped) topLane(entity string) (uint32, error) {
	e, ok, err := mp.foot.LookupEntity(entity)
	if err != nil || !ok {
		return 0, err
	}
	lo, hi, err := mp.foot.EntityHeads(e)
	if err != nil || lo == hi {
		return 0, err
	}
	h, err := mp.foot.HeadAt(hi - 1) // lanes ascend
	return h.Lane, err
}
