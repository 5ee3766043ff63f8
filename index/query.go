package index

import (
	"bytes"
	"cmp"
	"errors"
	"math/bits"
	"slices"
	"strings"

	"batpak/event"
	"batpak/segment"
)

// A Query selects events. Every field set must hold; the zero Query selects every visible event of the callers' kinds.
type Query struct {
	Entity         string       // exact; empty means any
	Entities       []string     // one of these; empty means any
	EntityPrefix   string       // plain bytes at the start of the entity; empty means any
	EntityPrefixes []string     // one of these; empty means any
	Scope          string       // exact; empty means any
	Kinds          []event.Kind // one of these, or of Categories; both empty mean any
	Categories     Categories   // kinds of these
	Tags           []string     // all of these
	Lane           *uint32      // nil means any
	Correlation    event.ID     // of this group; zero means any
	Causation      event.ID     // directly caused by this event; zero means any
	After          uint64       // sequence, exclusive; 0 means from the start
	Before         uint64       // sequence, exclusive; 0 means to the visible end
	FromHLC        event.HLC    // inclusive; 0 means from the start
	ToHLC          event.HLC    // exclusive; 0 means to the end
	Reverse        bool         // newest first
	System         bool         // reserved kinds too

	// Hidden reports whether an event that is in the log must not be seen; nil hides nothing. It is called from the
	// goroutine of the read.
	Hidden func(seq uint64) bool
	// NextHidden, where Hidden is set, returns the first range [from, to) of hidden sequences that ends behind seq; from
	// and to are above all sequences when there is none. With it such a range costs one step, however long it is; nil
	// means that nobody knows, and each of its events is asked for.
	NextHidden func(seq uint64) (from, to uint64)

	// Done, where it is set, ends what is read with [ErrStopped] once it is closed: it is looked at before each run, so
	// that a read that finds little, or a count, can be given up.
	Done <-chan struct{}

	form form
}

// ErrStopped says that [Query.Done] was closed before the end.
var ErrStopped = errors.New("index: read was given up")

// A form says what is known of how a query is written.
type form uint8

const (
	formAny     form = iota
	formNormal       // as [Query.Normal] returns it
	formNothing      // the same, and nothing can match
)

// Categories is a set of categories: bit c stands for category c.
type Categories uint16

// reservedCategories are the store's own.
const reservedCategories Categories = 1<<event.CategorySystem | 1<<event.CategoryEffect

// Has reports whether category c is in s.
func (s Categories) Has(c int) bool { return s>>c&1 == 1 }

// Normal returns a query that selects what q selects, in the form that [Query.Matches] wants and that plans are made
// from: names and kinds ascend, no part of it says twice what is said once, and it shares no slice with q. [View.Scan]
// and [View.Count] do it themselves where it was not done.
func (q Query) Normal() Query {
	if q.form != formAny {
		return q
	}
	q.form = formNormal
	q.Tags = ascending(q.Tags)
	nothing := q.ToHLC != 0 && q.FromHLC >= q.ToHLC
	if !q.normalEntities() || !q.normalKinds() || nothing {
		q.form = formNothing
	}
	return q
}

// ascending returns a sorted copy of list without repetitions.
func ascending[T cmp.Ordered](list []T) []T {
	if len(list) == 0 {
		return nil
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// normalEntities leaves at most one of the four fields that name entities. It returns false when no entity is left.
func (q *Query) normalEntities() bool {
	if len(q.Entities)+len(q.EntityPrefixes) == 0 { // most
		if q.Entity != "" && !strings.HasPrefix(q.Entity, q.EntityPrefix) {
			return false
		} else if q.Entity != "" {
			q.EntityPrefix = ""
		}
		return true
	}
	names, prefixes := ascending(q.Entities), widest(ascending(q.EntityPrefixes))
	named := q.Entity != "" || len(names) > 0
	if len(names) > 0 && names[0] == "" {
		names = names[1:] // no entity has it
	}
	if q.Entity != "" && (len(q.Entities) == 0 || slices.Contains(names, q.Entity)) {
		names = []string{q.Entity}
	} else if q.Entity != "" {
		names = nil
	}
	if p := q.EntityPrefix; p != "" && len(prefixes) > 0 {
		if prefixes = narrowed(prefixes, p); len(prefixes) == 0 {
			return false
		}
	} else if p != "" {
		prefixes = []string{p}
	}
	if named && len(prefixes) > 0 {
		names = slices.DeleteFunc(names, func(name string) bool { return !beginsWith(prefixes, name) })
	}
	q.Entity, q.Entities, q.EntityPrefix, q.EntityPrefixes = "", nil, "", nil
	switch {
	case len(names) == 1:
		q.Entity = names[0]
	case named:
		q.Entities = names
	case len(prefixes) == 1:
		q.EntityPrefix = prefixes[0]
	default:
		q.EntityPrefixes = prefixes
	}
	return !named || len(names) > 0
}

// widest drops prefixes that begin with another one.
func widest(sorted []string) []string {
	kept := sorted[:0]
	for _, p := range sorted {
		if len(kept) == 0 || !strings.HasPrefix(p, kept[len(kept)-1]) {
			kept = append(kept, p)
		}
	}
	return kept
}

// narrowed returns the prefixes of what begins with one of sorted and with p.
func narrowed(sorted []string, p string) []string {
	for _, wider := range sorted {
		if strings.HasPrefix(p, wider) {
			return []string{p}
		}
	}
	return slices.DeleteFunc(sorted, func(s string) bool { return !strings.HasPrefix(s, p) })
}

// beginsWith reports whether name begins with one of the ascending prefixes, none of which begins with another.
func beginsWith[T string | []byte](sorted []string, name T) bool {
	i, ok := slices.BinarySearchFunc(sorted, name, func(p string, name T) int { return compareTo(p, name) })
	return ok || i > 0 && len(name) >= len(sorted[i-1]) && string(name[:len(sorted[i-1])]) == sorted[i-1]
}

// compareTo compares two names; the conversion does not copy.
func compareTo[T string | []byte](name string, with T) int { return cmp.Compare(name, string(with)) }

// normalKinds leaves kinds that are in none of the categories. It returns false when no kind is left.
func (q *Query) normalKinds() bool {
	if len(q.Kinds) == 0 && q.Categories == 0 {
		return true
	}
	if !q.System {
		q.Categories &^= reservedCategories
	}
	q.Kinds = slices.DeleteFunc(ascending(q.Kinds), func(k event.Kind) bool {
		return q.Categories.Has(k.Category()) || !q.System && k.Reserved()
	})
	q.System = true // what is left is wanted
	return len(q.Kinds) > 0 || q.Categories != 0
}

// kindBounds returns the lowest and the highest kind that q names; ok is false when it names none.
func (q *Query) kindBounds() (low, high event.Kind, ok bool) {
	low, high = ^event.Kind(0), 0
	if n := len(q.Kinds); n > 0 {
		low, high = q.Kinds[0], q.Kinds[n-1]
	}
	if c := uint16(q.Categories); c != 0 {
		low = min(low, event.Kind(bits.TrailingZeros16(c)<<12))
		high = max(high, event.Kind(bits.Len16(c)<<12-1))
	}
	return low, high, low <= high
}

// namesKinds reports whether q names kinds.
func (q *Query) namesKinds() bool { return len(q.Kinds) > 0 || q.Categories != 0 }

// namesEntities reports whether q names entities.
func (q *Query) namesEntities() bool {
	return q.Entity != "" || q.EntityPrefix != "" || len(q.Entities) > 0 || len(q.EntityPrefixes) > 0
}

// namesPrefixes reports whether q names entities by prefixes.
func (q *Query) namesPrefixes() bool { return q.EntityPrefix != "" || len(q.EntityPrefixes) > 0 }

// isChild reports whether q asks for the children of an event.
func (q *Query) isChild() bool { return q.Correlation != event.ID{} || q.Causation != event.ID{} }

// plain reports whether q names nothing but a range.
func (q *Query) plain() bool {
	return !q.namesEntities() && q.Scope == "" && !q.namesKinds() && len(q.Tags) == 0 && q.Lane == nil && !q.isChild()
}

// Matches reports whether the decoded event is what q names, in its range of time; After, Before and Hidden are not looked
// at. The query is one that [Query.Normal] has returned.
func (q *Query) Matches(r *event.Raw) bool {
	switch {
	case q.form == formNothing,
		r.HLC < q.FromHLC || q.ToHLC != 0 && r.HLC >= q.ToHLC,
		!matchesEntity(q, r.Entity),
		q.Scope != "" && string(r.Scope) != q.Scope,
		!q.System && r.Kind.Reserved(),
		q.namesKinds() && !hasKind(q.Kinds, q.Categories, r.Kind),
		q.Lane != nil && *q.Lane != r.Lane:
		return false
	}
	for _, tag := range q.Tags {
		if !hasTag(r, tag) {
			return false
		}
	}
	return q.childOf(r)
}

// MatchesEntity reports whether q, which is normal, may select events of an entity.
func (q *Query) MatchesEntity(name string) bool {
	return q.form != formNothing && matchesEntity(q, name)
}

func matchesEntity[T string | []byte](q *Query, name T) bool {
	switch {
	case q.Entity != "":
		return string(name) == q.Entity
	case len(q.Entities) > 0:
		_, ok := slices.BinarySearchFunc(q.Entities, name, compareTo[T])
		return ok
	case q.EntityPrefix != "":
		return len(name) >= len(q.EntityPrefix) && string(name[:len(q.EntityPrefix)]) == q.EntityPrefix
	case len(q.EntityPrefixes) > 0:
		return beginsWith(q.EntityPrefixes, name)
	}
	return true
}

// childOf reports whether r is a child of the events that q asks for, if it asks for any. Lists of children are by
// hash, so it is asked of every event.
func (q *Query) childOf(r *event.Raw) bool {
	return (q.Correlation == event.ID{} || q.Correlation == r.Correlation) &&
		(q.Causation == event.ID{} || q.Causation == r.Causation)
}

// parents yields what q asks for the children of.
func (q *Query) parents(yield func(segment.Relation, event.ID) bool) {
	if (q.Causation == event.ID{} || yield(segment.ByCausation, q.Causation)) && q.Correlation != (event.ID{}) {
		yield(segment.ByCorrelation, q.Correlation)
	}
}

// hasKind reports whether k is one of the ascending kinds or in one of the categories.
func hasKind(kinds []event.Kind, categories Categories, k event.Kind) bool {
	switch {
	case categories.Has(k.Category()):
		return true
	case len(kinds) <= 8:
		return slices.Contains(kinds, k)
	}
	_, ok := slices.BinarySearch(kinds, k)
	return ok
}

func hasTag(r *event.Raw, tag string) bool {
	for t := range r.EachTag {
		if bytes.Equal(t, []byte(tag)) {
			return true
		}
	}
	return false
}

// stopped reports whether whoever asks has given up.
func (q *Query) stopped() bool {
	select {
	case <-q.Done: // never, where it is nil
		return true
	default:
		return false
	}
}
