package index

import (
	"cmp"
	"slices"
	"sync/atomic"
)

// A span is consecutive sealed runs of an epoch whose numbers ascend and lie in the range of one catalog.
type span struct {
	catalog *Catalog
	lo, hi  int       // runs [lo, hi)
	sealed  []*Sealed // those runs

	verdict atomic.Uint32 // whether the catalog is about these segments; found out on first use
}

// What is known of a span's catalog.
const (
	spanUnknown = iota
	spanFits
	spanUseless
)

// spansOf gives every sealed run to the widest catalog whose range it is in. sealed are those runs, ascending.
func spansOf(runs []run, sealed []*Sealed, catalogs []*Catalog) []span {
	chosen := chooseCatalogs(catalogs)
	if len(chosen) == 0 {
		return nil
	}
	var spans []span
	at := -1 // in sealed
	for i := range runs {
		if runs[i].sealed == nil {
			continue
		}
		at++
		id := sealed[at].sum.Segment
		n, _ := slices.BinarySearchFunc(chosen, id, func(c *Catalog, id uint64) int { return cmp.Compare(c.last, id) })
		if n == len(chosen) || id < chosen[n].first {
			continue
		}
		if k := len(spans) - 1; k >= 0 && spans[k].catalog == chosen[n] && spans[k].hi == i && sealed[at-1].sum.Segment < id {
			spans[k].hi = i + 1
			spans[k].sealed = sealed[at-len(spans[k].sealed) : at+1]
			continue
		}
		spans = append(spans, span{catalog: chosen[n], lo: i, hi: i + 1, sealed: sealed[at : at+1]})
	}
	for i := range spans {
		for _, s := range spans[i].sealed {
			s.dropFilter()
		}
	}
	return spans
}

// chooseCatalogs returns catalogs whose ranges do not overlap, ascending; of those that do, the widest.
func chooseCatalogs(catalogs []*Catalog) []*Catalog {
	byWidth := slices.Clone(catalogs)
	slices.SortFunc(byWidth, func(x, y *Catalog) int {
		return cmp.Or(cmp.Compare(y.last-y.first, x.last-x.first), cmp.Compare(x.first, y.first))
	})
	var chosen []*Catalog
	for _, c := range byWidth {
		if c.Err() != nil {
			continue
		}
		overlaps := func(o *Catalog) bool { return c.first <= o.last && o.first <= c.last }
		if !slices.ContainsFunc(chosen, overlaps) {
			chosen = append(chosen, c)
		}
	}
	slices.SortFunc(chosen, func(x, y *Catalog) int { return cmp.Compare(x.first, y.first) })
	return chosen
}

// search calls probe with the runs that may hold what is sought, newest first, until it says yes.
func (e *epoch) search(s *sought, probe func(r *run) (bool, error)) error {
	older := len(e.spans) // spans in front of run i
	for i, covered := len(e.runs)-1, len(e.runs); i >= 0; i-- {
		if i+1 < len(e.runs) && e.runs[i+1].first <= s.from {
			return nil // nor is anything in a run below
		}
		if older > 0 && i == e.spans[older-1].hi-1 {
			older--
			sp := &e.spans[older]
			newest, ok := sp.newest(e.set, s)
			if !ok {
				i = sp.lo
				continue
			}
			// Nearly always it is found there. Else, down to sp.lo, its hash is that of something else.
			i, covered = newest, sp.lo
		}
		if i < covered && !e.runs[i].mayHold(e.set, s) {
			continue
		}
		if ok, err := probe(&e.runs[i]); ok || err != nil {
			return err
		}
	}
	return nil
}

// newest returns the newest run of the span that may hold s; ok is false when none does. A catalog that does not hold
// is as good as none: it may be every run.
func (sp *span) newest(set *Set, s *sought) (i int, ok bool) {
	if sp.verdict.Load() == spanUnknown {
		sp.judge(set)
	}
	if sp.verdict.Load() != spanFits {
		return sp.hi - 1, true
	}
	id, ok, err := sp.catalog.find(s)
	if err != nil {
		set.note(sp.catalog, err)
		return sp.hi - 1, true
	}
	if !ok {
		return 0, false
	}
	at, found := slices.BinarySearchFunc(sp.sealed, id, func(s *Sealed, id uint64) int {
		return cmp.Compare(s.sum.Segment, id)
	})
	if !found {
		at-- // the segment lies in another span, or is gone: older ones may hold it
	}
	return sp.lo + at, at >= 0
}

// judge finds out whether the catalog is about the segments of the span.
func (sp *span) judge(set *Set) {
	verdict := uint32(spanFits)
	if err := sp.catalog.Covers(sp.sealed); err != nil {
		verdict = spanUseless
		set.note(sp.catalog, err)
	}
	sp.verdict.Store(verdict)
}

// Catalogs returns the catalogs that v holds. They stay open until v is released.
func (v *View) Catalogs() []*Catalog { return slices.Clone(v.e.catalogs) }

// EachSegment calls fn once for each segment of v, ascending by number, those without events among them; sealed is nil
// for one that is served from memory or from index blocks.
func (v *View) EachSegment(fn func(id uint64, sealed *Sealed)) {
	runs := slices.Concat(v.e.runs, v.e.empty)
	slices.SortFunc(runs, func(x, y run) int { return cmp.Compare(x.segment(), y.segment()) })
	for i := 0; i < len(runs); {
		id, sealed := runs[i].segment(), runs[i].sealed
		for i++; i < len(runs) && runs[i].segment() == id; i++ {
			sealed = nil
		}
		if sealed != nil && sealed.block() {
			sealed = nil
		}
		fn(id, sealed)
	}
}
