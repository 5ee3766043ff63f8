package batpak

import (
	"batpak/coordinate"
	"batpak/event"
	"batpak/index"
)

// A Query selects events. Fields that are set must all agree; the zero Query is every visible event in commit order. A
// list that is nil or empty means any.
//
// A read costs what it returns: it starts from the shortest list that the index has for a part of the query, and looks
// the others up as it goes. What the store knows of an event's own lists: entities, scopes, kinds, tags, groups and causes.
// Lane and time are checked beside them; a time range leaves out the segments that lie outside it.
type Query struct {
	Entity         string   // exact entity; empty means any
	Entities       []string // one of these, up to 1,024
	EntityPrefix   string   // plain bytes at the start of the entity; empty means any
	EntityPrefixes []string // one of these, up to 1,024: plain bytes, too; an empty one begins every entity
	Scope          string   // exact scope; empty means any

	// Kinds and Categories select events whose kind is one of Kinds, up to 1,024, or in one of Categories, from 0 to 15.
	// Without them it is every kind that is not reserved; naming a reserved kind, or its category, asks for it.
	Kinds      []event.Kind
	Categories []int

	Tags        []string  // all of these, up to 64
	Lane        *uint32   // nil means all lanes
	Correlation event.ID  // events of this group; zero means any
	Causation   event.ID  // events that this one has directly caused; zero means any
	FromHLC     event.HLC // inclusive; 0 means the beginning
	ToHLC       event.HLC // exclusive; 0 means the end. A range that ends before it begins is empty
	System      bool      // the store's own kinds, too

	After   uint64 // exclusive sequence to start behind; 0 means the beginning
	Before  uint64 // exclusive sequence to end before; 0 means the end
	Limit   int    // number of events; 0 means no limit
	Reverse bool   // newest first
	Borrow  bool   // the event's bytes and strings are valid only until the next step: nothing is allocated
}

// Limits of a [Query].
const (
	maxQueryNames      = 1024
	maxQueryKinds      = 1024
	maxQueryTags       = 64
	maxQueryCategories = 16
)

// compile checks q and returns what the index understands. It shares nothing with q.
//
// Errors: *[DraftError]; *[LimitError].
func (q *Query) compile() (index.Query, error) {
	if err := q.check(); err != nil {
		return index.Query{}, err
	}
	c := index.Query{
		Entity: q.Entity, Entities: q.Entities, EntityPrefix: q.EntityPrefix, EntityPrefixes: q.EntityPrefixes,
		Scope: q.Scope, Kinds: q.Kinds, Tags: q.Tags, Correlation: q.Correlation, Causation: q.Causation,
		FromHLC: q.FromHLC, ToHLC: q.ToHLC, System: q.System, After: q.After, Before: q.Before, Reverse: q.Reverse,
	}
	if q.Lane != nil {
		lane := *q.Lane
		c.Lane = &lane
	}
	// Whoever names a kind of the store's own wants it.
	for _, k := range q.Kinds {
		c.System = c.System || k.Reserved()
	}
	for _, category := range q.Categories {
		c.Categories |= 1 << category
		c.System = c.System || event.Kind(category<<12).Reserved()
	}
	return c.Normal(), nil
}

// check checks the fields of q.
//
// Errors: *[DraftError]; *[LimitError].
func (q *Query) check() error {
	if q.Limit < 0 {
		return &DraftError{Field: "Limit", Reason: "below zero"}
	}
	if len(q.Entities)|len(q.EntityPrefixes)|len(q.Kinds)|len(q.Categories)|len(q.Tags) == 0 {
		return q.checkNames() // most
	}
	for _, list := range [...]struct {
		field      string
		len, limit int
	}{
		{"query entities", len(q.Entities), maxQueryNames},
		{"query entity prefixes", len(q.EntityPrefixes), maxQueryNames},
		{"query kinds", len(q.Kinds), maxQueryKinds},
		{"query categories", len(q.Categories), maxQueryCategories},
		{"query tags", len(q.Tags), maxQueryTags},
	} {
		if list.len > list.limit {
			return &LimitError{Field: list.field, Value: int64(list.len), Limit: int64(list.limit)}
		}
	}
	for _, category := range q.Categories {
		if category < 0 || category > 15 {
			return &DraftError{Field: "Categories", Reason: "not from 0 to 15"}
		}
	}
	return q.checkNames()
}

// checkNames checks the fields of q that are names: those of entities, scopes and tags.
//
// Errors: *[DraftError].
func (q *Query) checkNames() error {
	check := func(field, part, name string) error {
		if err := coordinate.Check(part, name); err != nil {
			return &DraftError{Field: field, Err: err}
		}
		return nil
	}
	for _, name := range [...]struct{ field, value string }{{"Entity", q.Entity}, {"Scope", q.Scope}} {
		if name.value == "" {
			continue
		}
		if err := check(name.field, name.field, name.value); err != nil {
			return err
		}
	}
	for _, name := range q.Entities {
		if err := check("Entities", "entity", name); err != nil {
			return err
		}
	}
	for _, tag := range q.Tags {
		if err := check("Tags", "tag", tag); err != nil {
			return err
		}
	}
	return nil
}
