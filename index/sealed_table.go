package index

import (
	"batpak/event"
	"batpak/segment"
)

// A mapped is the table of a sealed segment. Its methods may fault when the file shrank: callers guard them.

func (mp *mapped) count() uint32 { return mp.foot.Rows() }

func (mp *mapped) rowOfSeq(seq uint64) (uint32, error) { return mp.foot.RowOfSeq(seq) }

func (mp *mapped) rowOfHLC(h event.HLC) (uint32, error) { return mp.foot.RowOfHLC(h) }

func (mp *mapped) place(row uint32) (place, error) {
	seq, err := mp.foot.Seq(row)
	if err != nil {
		return place{}, err
	}
	l, err := mp.foot.Locator(row)
	return place{seq, l.Offset, l.Length}, err
}

func (mp *mapped) touch(rows []uint32) byte { return mp.foot.TouchPlaces(rows) }

func (mp *mapped) frames() frames {
	s := mp.foot.Summary()
	f := frames{segment: s.Segment, seal: mp.seal, m: mp.m, end: s.End}
	if mp.blocks != nil {
		f.m, f.file = nil, mp.blocks.file
	}
	return f
}

func (mp *mapped) resolve(q *Query) (conds []condition, f filter, none bool, err error) {
	sum := mp.foot.Summary()
	if mp.excludes(q) {
		return nil, f, true, nil
	}
	if q.Lane != nil && sum.MinLane != sum.MaxLane {
		f.use, f.lane = f.use|partLane, *q.Lane
	}
	steps := [...]func(*Query, *filter) (condition, bool, error){mp.named, mp.scope, mp.kinds}
	for _, step := range steps {
		c, found, err := step(q, &f)
		if err != nil || !found {
			return nil, f, true, err
		}
		if c.part != 0 || c.lists != nil {
			f.use |= c.part
			conds = append(conds, c)
		}
	}
	for _, tag := range q.Tags {
		c, found, err := mp.tag(tag)
		if err != nil || !found {
			return nil, f, true, err
		}
		conds = append(conds, c)
	}
	for by, parent := range q.parents {
		l, err := mp.foot.Children(by, parent)
		if err != nil || l.Len() == 0 {
			return nil, f, true, err
		}
		conds = append(conds, mp.one(partList, l))
	}
	if !q.System {
		n, err := mp.reserved(0, mp.count())
		if err != nil {
			return nil, f, true, err
		}
		if n > 0 {
			f.use |= partReserved
		}
	}
	return conds, f, false, nil
}

// excludes reports whether the summary alone rules q out.
func (mp *mapped) excludes(q *Query) bool {
	return excludes(mp.foot.Summary(), q)
}

func excludes(s *segment.Summary, q *Query) bool {
	if q.Lane != nil && (*q.Lane < s.MinLane || *q.Lane > s.MaxLane) {
		return true
	}
	if q.FromHLC > s.MaxHLC || q.ToHLC != 0 && q.ToHLC <= s.MinHLC {
		return true
	}
	low, high, ok := q.kindBounds()
	return ok && (low > s.MaxKind || high < s.MinKind)
}

// one returns a condition with a single list.
func (mp *mapped) one(p part, l segment.List) condition {
	return condition{part: p, lists: []list{{foot: mp.foot, rows: l}}, rows: l.Len()}
}

func (mp *mapped) named(q *Query, f *filter) (c condition, found bool, err error) {
	if !q.namesEntities() {
		return c, true, nil
	}
	spans, err := mp.entities(q)
	if err != nil || len(spans) == 0 {
		return c, false, err
	}
	if spans[0] == (numbers{0, mp.foot.Entities()}) {
		return c, true, nil // every entity here
	}
	c.part = partEntity
	n := uint32(0)
	for _, s := range spans {
		total, err := mp.foot.EntityRows(s.lo, s.hi)
		if err != nil {
			return c, false, err
		}
		var at numbers
		if at.lo, at.hi, err = mp.foot.EntityCoordinates(s.lo, s.hi); err != nil {
			return c, false, err
		}
		f.entities = append(f.entities, at)
		c.rows += total.Len()
		n += s.hi - s.lo
	}
	if mergeable(n, c.rows, mp.count()) {
		c.lists, err = mp.entityLists(spans, n)
	}
	return c, true, err
}

// entities returns the numbers of the entities that q names: ascending ranges that do not touch one another.
func (mp *mapped) entities(q *Query) (spans []numbers, err error) {
	add := func(lo, hi uint32, err error) error {
		switch last := len(spans) - 1; {
		case err != nil || lo >= hi:
		case last >= 0 && spans[last].hi == lo:
			spans[last].hi = hi
		default:
			spans = append(spans, numbers{lo, hi})
		}
		return err
	}
	name := func(name string) error {
		e, ok, err := mp.foot.LookupEntity(name)
		if !ok {
			return err
		}
		return add(e, e+1, err)
	}
	prefix := func(prefix string) error { return add(mp.foot.EntityPrefix(prefix)) }
	switch {
	case q.Entity != "":
		err = name(q.Entity)
	case q.EntityPrefix != "":
		err = prefix(q.EntityPrefix)
	}
	for i := 0; err == nil && i < len(q.Entities); i++ {
		err = name(q.Entities[i])
	}
	for i := 0; err == nil && i < len(q.EntityPrefixes); i++ {
		err = prefix(q.EntityPrefixes[i])
	}
	return spans, err
}

// entityLists returns the lists of the n entities in spans.
func (mp *mapped) entityLists(spans []numbers, n uint32) ([]list, error) {
	lists := make([]list, 0, n)
	for _, s := range spans {
		for e := s.lo; e < s.hi; e++ {
			l, err := mp.foot.EntityRows(e, e+1)
			if err != nil {
				return nil, err
			}
			lists = append(lists, list{foot: mp.foot, rows: l})
		}
	}
	return lists, nil
}

func (mp *mapped) scope(q *Query, f *filter) (c condition, found bool, err error) {
	if q.Scope == "" {
		return c, true, nil
	}
	if f.scope, found, err = mp.foot.LookupScope(q.Scope); err != nil || !found {
		return c, false, err
	}
	if mp.foot.Scopes() == 1 {
		return c, true, nil
	}
	l, err := mp.foot.ScopeRows(f.scope)
	return mp.one(partScope, l), err == nil, err
}

func (mp *mapped) kinds(q *Query, f *filter) (c condition, found bool, err error) {
	if !q.namesKinds() {
		return c, true, nil
	}
	c.part, f.kinds, f.categories = partKinds, q.Kinds, q.Categories
	for _, k := range q.Kinds {
		if err := mp.addKinds(&c, uint32(k), uint32(k)+1); err != nil {
			return c, false, err
		}
	}
	for category := range uint32(16) {
		if !q.Categories.Has(int(category)) {
			continue
		}
		if err := mp.addKinds(&c, category<<12, (category+1)<<12); err != nil {
			return c, false, err
		}
	}
	if found = len(c.lists) > 0; !mergeable(uint32(len(c.lists)), c.rows, mp.count()) {
		c.lists = nil
	}
	return c, found, nil
}

// addKinds adds the lists of the kinds in [low, high) to c.
func (mp *mapped) addKinds(c *condition, low, high uint32) error {
	i, err := mp.foot.KindsFrom(low)
	for ; err == nil && i < mp.foot.Kinds(); i++ {
		k, err := mp.foot.KindAt(i)
		if err != nil || uint32(k) >= high {
			return err
		}
		l, err := mp.foot.KindRows(i, i+1)
		if err != nil {
			return err
		}
		c.lists = append(c.lists, list{foot: mp.foot, rows: l})
		c.rows += l.Len()
	}
	return err
}

func (mp *mapped) tag(tag string) (c condition, found bool, err error) {
	i, found, err := mp.foot.LookupTag(tag)
	if err != nil || !found {
		return c, false, err
	}
	l, err := mp.foot.TagRows(i)
	return mp.one(partList, l), err == nil, err
}

// reservedSpans are the kinds of the store's own categories.
var reservedSpans = [...][2]uint32{
	{event.CategorySystem << 12, (event.CategorySystem + 1) << 12},
	{event.CategoryEffect << 12, (event.CategoryEffect + 1) << 12},
}

func (mp *mapped) reserved(lo, hi uint32) (n uint32, err error) {
	for _, span := range reservedSpans {
		from, err := mp.foot.KindsFrom(span[0])
		if err != nil {
			return 0, err
		}
		to, err := mp.foot.KindsFrom(span[1])
		if err != nil {
			return 0, err
		}
		if lo == 0 && hi == mp.count() && from < to {
			l, err := mp.foot.KindRows(from, to)
			if err != nil {
				return 0, err
			}
			n += l.Len()
			continue
		}
		for ; from < to; from++ {
			l, err := mp.foot.KindRows(from, from+1)
			if err != nil {
				return 0, err
			}
			rows, err := countLists([]list{{foot: mp.foot, rows: l}}, lo, hi, nil)
			if err != nil {
				return 0, err
			}
			n += uint32(rows)
		}
	}
	return n, nil
}

func (mp *mapped) matcher(f filter) matcher {
	return &sealedMatcher{
		foot: mp.foot, f: f,
		seqs: colWindow{col: segment.ColumnSeq}, coords: colWindow{col: segment.ColumnCoordinate},
		kinds: colWindow{col: segment.ColumnKind}, lanes: colWindow{col: segment.ColumnLane},
	}
}

// A sealedMatcher checks rows of a sealed segment.
type sealedMatcher struct {
	foot                       *segment.Footer
	f                          filter
	seqs, coords, kinds, lanes colWindow
	scopes                     memo
}

func (m *sealedMatcher) seq(row uint32) (uint64, error) {
	delta, err := m.seqs.get(m.foot, row)
	return m.foot.Summary().FirstSeq + uint64(delta), err
}

func (m *sealedMatcher) match(row uint32) (bool, error) {
	use := m.f.use
	if use&(partKinds|partReserved) != 0 {
		v, err := m.kinds.get(m.foot, row)
		if err != nil {
			return false, err
		}
		k := event.Kind(v)
		if use&partKinds != 0 && !hasKind(m.f.kinds, m.f.categories, k) || use&partReserved != 0 && k.Reserved() {
			return false, nil
		}
	}
	if use&partLane != 0 {
		if lane, err := m.lanes.get(m.foot, row); err != nil || lane != m.f.lane {
			return false, err
		}
	}
	if use&(partEntity|partScope) == 0 {
		return true, nil
	}
	c, err := m.coords.get(m.foot, row)
	if err != nil || use&partEntity != 0 && !inSpans(m.f.entities, c) {
		return false, err
	}
	if use&partScope == 0 {
		return true, nil
	}
	return m.inScope(c)
}

// inScope reports whether coordinate c is of the filter's scope.
func (m *sealedMatcher) inScope(c uint32) (bool, error) {
	known := &m.scopes[c%uint32(len(m.scopes))]
	if known.number != c+1 {
		_, scope, err := m.foot.CoordinateParts(c)
		if err != nil {
			return false, err
		}
		known.number, known.yes = c+1, scope == m.f.scope
	}
	return known.yes, nil
}

// inSpans reports whether n lies in one of ascending ranges.
func inSpans(spans []numbers, n uint32) bool {
	lo, hi := 0, len(spans)
	for lo < hi {
		if mid := (lo + hi) / 2; spans[mid].hi <= n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(spans) && spans[lo].lo <= n
}
