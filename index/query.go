package index

import (
	"bytes"
	"slices"

	"batpak/event"
	"batpak/segment"
)

// A Query selects events. Every field set must hold; the zero Query selects every visible event of the callers' kinds.
type Query struct {
	Entity       string       // exact; empty means any
	EntityPrefix string       // plain bytes at the start of the entity; empty means any
	Scope        string       // exact; empty means any
	Kinds        []event.Kind // one of these; empty means any
	Tags         []string     // all of these
	Lane         *uint32      // nil means any
	After        uint64       // sequence, exclusive; 0 means from the start
	Before       uint64       // sequence, exclusive; 0 means to the visible end
	FromHLC      event.HLC    // inclusive; 0 means from the start
	ToHLC        event.HLC    // exclusive; 0 means to the end
	Reverse      bool         // newest first
	System       bool         // reserved kinds too

	// Hidden reports whether an event that is in the log must not be seen; nil hides nothing. It is called from the
	// goroutine of the read.
	Hidden func(seq uint64) bool

	parent *event.ID // children of this event only
	by     segment.Relation
}

// normal returns q in the form that plans are made from; none says that nothing can match.
func (q Query) normal() (_ Query, none bool) {
	if q.EntityPrefix != "" && q.Entity != "" {
		if len(q.Entity) < len(q.EntityPrefix) || q.Entity[:len(q.EntityPrefix)] != q.EntityPrefix {
			return q, true
		}
		q.EntityPrefix = ""
	}
	if len(q.Kinds) > 0 {
		kinds := make([]event.Kind, 0, len(q.Kinds))
		for _, k := range q.Kinds {
			if q.System || !k.Reserved() {
				kinds = append(kinds, k)
			}
		}
		if len(kinds) == 0 {
			return q, true
		}
		slices.Sort(kinds)
		q.Kinds = slices.Compact(kinds)
		q.System = true // what is left is wanted
	}
	if len(q.Tags) > 1 {
		q.Tags = slices.Compact(slices.Sorted(slices.Values(q.Tags)))
	}
	none = q.ToHLC != 0 && q.FromHLC >= q.ToHLC || q.Before != 0 && q.After+1 >= q.Before
	return q, none || q.After == ^uint64(0)
}

// plain reports whether q names nothing but a range.
func (q *Query) plain() bool {
	return q.Entity == "" && q.EntityPrefix == "" && q.Scope == "" && len(q.Kinds) == 0 && len(q.Tags) == 0 &&
		q.Lane == nil && q.parent == nil
}

// Matches reports whether the decoded event is what q names; ranges and Hidden are not looked at.
func (q *Query) Matches(r *event.Raw) bool {
	switch {
	case q.Entity != "" && string(r.Entity) != q.Entity,
		q.EntityPrefix != "" && !bytes.HasPrefix(r.Entity, []byte(q.EntityPrefix)),
		q.Scope != "" && string(r.Scope) != q.Scope,
		!q.System && r.Kind.Reserved(),
		len(q.Kinds) > 0 && !hasKind(q.Kinds, r.Kind),
		q.Lane != nil && *q.Lane != r.Lane:
		return false
	}
	for _, tag := range q.Tags {
		if !hasTag(r, tag) {
			return false
		}
	}
	return q.isChild(r)
}

// isChild reports whether r is a child of the event that q asks for, if it asks for one. Lists of children are by
// hash, so it is asked of every event.
func (q *Query) isChild(r *event.Raw) bool {
	switch {
	case q.parent == nil:
		return true
	case q.by == segment.ByCorrelation:
		return r.Correlation == *q.parent
	}
	return r.Causation == *q.parent
}

func hasKind(kinds []event.Kind, k event.Kind) bool {
	if len(kinds) <= 8 {
		return slices.Contains(kinds, k)
	}
	_, ok := slices.BinarySearch(kinds, k)
	return ok
}

func hasTag(r *event.Raw, tag string) bool {
	for t := range r.EachTag {
		if string(t) == tag {
			return true
		}
	}
	return false
}
