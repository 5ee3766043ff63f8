package index

import (
	"bytes"
	"slices"
	"sort"

	"batpak/event"
)

// An activeTable is the table of the first n rows of a segment in memory.
type activeTable struct {
	a *Active
	n uint32
}

// open returns the rows published now as a table.
func (a *Active) open() activeTable { return activeTable{a, a.published.Load()} }

func (t activeTable) count() uint32 { return t.n }

func (t activeTable) rowOfSeq(seq uint64) (uint32, error) {
	if t.n == 0 || seq <= t.a.rows.at(0).seq {
		return 0, nil
	}
	// Without gaps, which is the rule, the row follows from the sequence.
	if far := seq - t.a.rows.at(0).seq; far < uint64(t.n) && t.a.rows.at(uint32(far)).seq == seq {
		return uint32(far), nil
	}
	return t.search(func(r *activeRow) bool { return r.seq >= seq }), nil
}

func (t activeTable) rowOfHLC(h event.HLC) (uint32, error) {
	return t.search(func(r *activeRow) bool { return r.hlc >= h }), nil
}

func (t activeTable) search(found func(*activeRow) bool) uint32 {
	return uint32(sort.Search(int(t.n), func(i int) bool { return found(t.a.rows.at(uint32(i))) }))
}

func (t activeTable) place(row uint32) (place, error) {
	r := t.a.rows.at(row)
	return place{r.seq, r.offset, r.length}, nil
}

func (t activeTable) touch([]uint32) byte { return 0 }

func (t activeTable) frames() frames {
	f := frames{segment: t.a.segment, seal: t.a.seal, file: t.a.file}
	if t.n > 0 {
		last := t.a.rows.at(t.n - 1)
		f.end = int64(last.offset) + int64(last.length)
	}
	return f
}

func (t activeTable) resolve(q *Query) (conds []condition, f filter, none bool, err error) {
	if q.Lane != nil {
		f.use, f.lane = f.use|partLane, *q.Lane
	}
	if !q.System {
		f.use |= partReserved
	}
	add := func(c condition, found bool) {
		none = none || !found
		f.use |= c.part
		conds = append(conds, c)
	}
	if q.namesEntities() {
		add(t.named(q, &f))
	}
	if q.Scope != "" {
		s, ok := t.a.scopes.find(q.Scope)
		f.scope = s
		add(t.one(partScope, &t.a.scopes, s, ok))
	}
	if q.namesKinds() {
		f.kinds, f.categories = q.Kinds, q.Categories
		add(t.kinds(q))
	}
	for _, tag := range q.Tags {
		i, ok := t.a.tags.find(tag)
		add(t.one(partList, &t.a.tags, i, ok))
	}
	for by, parent := range q.parents {
		d := &t.a.children[by]
		i, ok := d.find(string(parent[:]))
		add(t.one(partList, d, i, ok))
	}
	return conds, f, none, nil
}

// one returns the condition of entry i of d.
func (t activeTable) one(p part, d *dict, i uint32, ok bool) (condition, bool) {
	if !ok {
		return condition{}, false
	}
	l := list{arena: &t.a.arena, state: d.list(i)}
	return condition{part: p, lists: []list{l}, rows: l.len()}, l.len() > 0
}

func (t activeTable) kinds(q *Query) (c condition, found bool) {
	c.part = partKinds
	d := &t.a.kinds
	add := func(i uint32) {
		l := list{arena: &t.a.arena, state: d.list(i)}
		c.lists = append(c.lists, l)
		c.rows += l.len()
	}
	for _, k := range q.Kinds {
		if i, ok := d.find(kindName(k)); ok {
			add(i)
		}
	}
	for i := uint32(0); q.Categories != 0 && i < d.count.Load(); i++ {
		if q.Categories.Has(int(d.name(i)[0] >> 4)) {
			add(i)
		}
	}
	if found = len(c.lists) > 0; !mergeable(uint32(len(c.lists)), c.rows, t.n) {
		c.lists = nil
	}
	return c, found
}

func (t activeTable) reserved(lo, hi uint32) (uint32, error) {
	d := &t.a.kinds
	n := uint64(0)
	for i := range d.count.Load() {
		name := d.name(i)
		if k := event.Kind(name[0])<<8 | event.Kind(name[1]); k.Reserved() {
			in, err := countLists([]list{{arena: &t.a.arena, state: d.list(i)}}, lo, hi, nil)
			if err != nil {
				return 0, err
			}
			n += in
		}
	}
	return uint32(n), nil
}

// named returns the condition of the entities that q names.
func (t activeTable) named(q *Query, f *filter) (c condition, found bool) {
	d := &t.a.entities
	if q.Entity != "" {
		e, ok := d.find(q.Entity)
		f.entities = []numbers{{e, e + 1}}
		return t.one(partEntity, d, e, ok)
	}
	c.part = partEntity
	var few []uint32
	f.set = make(bitset, d.count.Load()/64+1)
	add := func(e uint32) {
		if int(e/64) >= len(f.set) {
			return // of an event that came meanwhile
		}
		f.set.add(e)
		c.rows += d.list(e).len()
		found = true
		if len(few) <= mergeMost {
			few = append(few, e)
		}
	}
	for _, name := range q.Entities {
		if e, ok := d.find(name); ok {
			add(e)
		}
	}
	if q.EntityPrefix != "" {
		t.withPrefix(q.EntityPrefix, add)
	}
	for _, prefix := range q.EntityPrefixes {
		t.withPrefix(prefix, add)
	}
	if mergeable(uint32(len(few)), c.rows, t.n) {
		for _, e := range few {
			c.lists = append(c.lists, list{arena: &t.a.arena, state: d.list(e)})
		}
	}
	return c, found
}

// withPrefix calls each with every entity that begins with prefix.
//
// Entities come in no order. The first query that needs one sorts those that are there and leaves the result for the
// next ones, which search it, and look at the entities that came since one by one. When those have become a quarter,
// they are sorted in: each entity takes part in few sorts, and a segment that is never asked pays nothing.
func (t activeTable) withPrefix(prefix string, each func(e uint32)) {
	d := &t.a.entities
	known := d.count.Load()
	var order []uint32
	if p := t.a.ordered.Load(); p != nil {
		order = *p
	}
	if rest := int(known) - len(order); rest > 256+len(order)/4 {
		order = t.a.order(order, known)
		t.a.ordered.Store(&order) // whoever stores last: any of them is right
	}
	begins := func(e uint32) int {
		name := d.name(e)
		return bytes.Compare(name[:min(len(name), len(prefix))], []byte(prefix))
	}
	for i := sort.Search(len(order), func(i int) bool { return begins(order[i]) >= 0 }); i < len(order); i++ {
		if begins(order[i]) != 0 {
			break
		}
		if order[i] < known {
			each(order[i])
		}
	}
	for e := uint32(len(order)); e < known; e++ {
		if begins(e) == 0 {
			each(e)
		}
	}
}

// order returns the entities [0, n) sorted by name; done holds the first of them, sorted.
func (a *Active) order(done []uint32, n uint32) []uint32 {
	d := &a.entities
	byName := func(x, y uint32) int { return bytes.Compare(d.name(x), d.name(y)) }
	fresh := make([]uint32, 0, int(n)-len(done))
	for e := uint32(len(done)); e < n; e++ {
		fresh = append(fresh, e)
	}
	slices.SortFunc(fresh, byName)
	merged := make([]uint32, 0, n)
	for len(done) > 0 && len(fresh) > 0 {
		if byName(done[0], fresh[0]) < 0 {
			merged, done = append(merged, done[0]), done[1:]
		} else {
			merged, fresh = append(merged, fresh[0]), fresh[1:]
		}
	}
	return append(append(merged, done...), fresh...)
}

func (t activeTable) matcher(f filter) matcher { return &activeMatcher{t.a, f} }

// An activeMatcher checks rows in memory.
type activeMatcher struct {
	a *Active
	f filter
}

func (m *activeMatcher) seq(row uint32) (uint64, error) { return m.a.rows.at(row).seq, nil }

func (m *activeMatcher) match(row uint32) (bool, error) {
	r, f := m.a.rows.at(row), &m.f
	switch {
	case f.use&partKinds != 0 && !hasKind(f.kinds, f.categories, r.kind),
		f.use&partReserved != 0 && r.kind.Reserved(),
		f.use&partLane != 0 && r.lane != f.lane,
		f.use&partScope != 0 && r.scope != f.scope:
		return false, nil
	case f.use&partEntity == 0:
		return true, nil
	case f.set != nil:
		return f.set.has(r.entity), nil
	}
	return r.entity == f.entities[0].lo, nil
}

// head returns the last row of (entity, lane) among the first n.
func (t activeTable) head(entity string, lane uint32) (row uint32, ok bool) {
	e, ok := t.a.entities.find(entity)
	if !ok {
		return 0, false
	}
	var w listWalker
	w.start(list{arena: &t.a.arena, state: t.a.entities.list(e)}, 0, t.n, true, nil)
	for row, ok = w.peek(); ok; row, ok = w.peek() {
		if t.a.rows.at(row).lane == lane {
			return row, true
		}
		w.next()
	}
	return 0, false
}

// findID returns the row of id among the first n.
func (t activeTable) findID(id event.ID) (row uint32, ok bool) {
	table := t.a.ids.Load() // nil: the rows, which were counted before, ascend
	if table == nil {
		row = t.search(func(r *activeRow) bool { return compareID(&r.id, &id) >= 0 })
		return row, row < t.n && t.a.rows.at(row).id == id
	}
	h := t.a.hashID(&id)
	for at := slotTag(h); ; {
		row, from, ok := table.next(h, at)
		if !ok {
			return 0, false
		}
		if row < t.n && t.a.rows.at(row).id == id {
			return row, true
		}
		at = from
	}
}

// findKey returns the newest row of an idempotency key among those below before.
func (t activeTable) findKey(key *[16]byte, before uint32) (row uint32, ok bool) {
	return t.a.keys.find(key, min(before, t.n))
}
