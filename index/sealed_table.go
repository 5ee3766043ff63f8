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
	steps := [...]func(*Query, *filter) (condition, bool, error){mp.entity, mp.scope, mp.kinds, mp.children}
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
	if n := len(q.Kinds); n > 0 && (q.Kinds[0] > s.MaxKind || q.Kinds[n-1] < s.MinKind) {
		return true
	}
	return false
}

// one returns a condition with a single list.
func (mp *mapped) one(p part, l segment.List) condition {
	return condition{part: p, lists: []list{{foot: mp.foot, rows: l}}, rows: l.Len()}
}

func (mp *mapped) entity(q *Query, f *filter) (c condition, found bool, err error) {
	var lo, hi uint32
	switch {
	case q.Entity != "":
		lo, found, err = mp.foot.LookupEntity(q.Entity)
		hi = lo + 1
	case q.EntityPrefix != "":
		lo, hi, err = mp.foot.EntityPrefix(q.EntityPrefix)
		found = lo < hi
	default:
		return c, true, nil
	}
	if err != nil || !found {
		return c, false, err
	}
	if f.entityLo, f.entityHi, err = mp.foot.EntityCoordinates(lo, hi); err != nil {
		return c, false, err
	}
	total, err := mp.foot.EntityRows(lo, hi)
	if err != nil {
		return c, false, err
	}
	if lo == 0 && hi == mp.foot.Entities() {
		return c, true, nil // a prefix of every entity here
	}
	c = condition{part: partEntity, rows: total.Len()}
	if mergeable(hi-lo, total.Len(), mp.count()) {
		for e := lo; e < hi; e++ {
			l, err := mp.foot.EntityRows(e, e+1)
			if err != nil {
				return c, false, err
			}
			c.lists = append(c.lists, list{foot: mp.foot, rows: l})
		}
	}
	return c, true, nil
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
	if len(q.Kinds) == 0 {
		return c, true, nil
	}
	c.part, f.kinds = partKinds, q.Kinds
	for _, k := range q.Kinds {
		i, err := mp.foot.KindsFrom(uint32(k))
		if err != nil {
			return c, false, err
		}
		if i == mp.foot.Kinds() {
			break // and every later one
		}
		if at, err := mp.foot.KindAt(i); err != nil {
			return c, false, err
		} else if at != k {
			continue
		}
		l, err := mp.foot.KindRows(i, i+1)
		if err != nil {
			return c, false, err
		}
		c.lists = append(c.lists, list{foot: mp.foot, rows: l})
		c.rows += l.Len()
	}
	return c, len(c.lists) > 0, nil
}

func (mp *mapped) tag(tag string) (c condition, found bool, err error) {
	i, found, err := mp.foot.LookupTag(tag)
	if err != nil || !found {
		return c, false, err
	}
	l, err := mp.foot.TagRows(i)
	return mp.one(partList, l), err == nil, err
}

func (mp *mapped) children(q *Query, _ *filter) (c condition, found bool, err error) {
	if q.parent == nil {
		return c, true, nil
	}
	l, err := mp.foot.Children(q.by, *q.parent)
	return mp.one(partList, l), err == nil && l.Len() > 0, err
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
			rows, err := countLists([]list{{foot: mp.foot, rows: l}}, lo, hi)
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
		if use&partKinds != 0 && !hasKind(m.f.kinds, k) || use&partReserved != 0 && k.Reserved() {
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
	if err != nil || use&partEntity != 0 && (c < m.f.entityLo || c >= m.f.entityHi) {
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
