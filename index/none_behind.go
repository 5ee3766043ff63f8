package index

// NoneBehind reports whether v surely holds no event that q, which is normal, selects behind q.After. It looks only where
// the last event of an entity is known at once, in the segments in memory, and says no where that does not tell.
func (v *View) NoneBehind(q *Query) bool {
	if q.form != formNormal || q.Entity == "" {
		return q.form == formNothing
	}
	for i := len(v.e.runs) - 1; i >= 0; i-- {
		r := &v.e.runs[i]
		_, last, any := r.bounds()
		switch {
		case !any:
			continue
		case last <= q.After:
			return true
		case r.memory == nil || !r.memory.open().noneBehind(q.Entity, q.After):
			return false
		}
	}
	return true
}

// noneBehind reports whether no event of an entity has a sequence above after.
func (t activeTable) noneBehind(entity string, after uint64) bool {
	e, ok := t.a.entities.find(entity)
	if !ok {
		return true
	}
	l := t.a.entities.list(e)
	if l.len() == 0 {
		return true
	}
	row := t.a.lastRow(l)
	return row < t.n && t.a.rows.at(row).seq <= after // a later one may not be published
}
