package batpak

import (
	"context"
	"fmt"
	"iter"

	"batpak/coordinate"
	"batpak/event"
	"batpak/index"
)

// checkEvery is how many events a read yields between looks at its context and at Close.
const checkEvery = 64

// Read yields the events that q selects, in commit order, or newest first. It sees what was visible when the loop
// began, however long it takes; it never waits for the writer, nor the writer for it. The loop may stop at any point.
// After an error it ends.
//
// An event's bytes belong to the caller, unless q.Borrow is set.
//
// Errors: *[DraftError] for a query that cannot be; *[CanceledError]; [ErrClosed]; *segment.FrameError and
// *segment.FooterError for damage: an error is never a silent end.
func (s *Store) Read(ctx context.Context, q Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		compiled, err := q.compile()
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		v, err := s.view(ctx)
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		defer v.Release()
		compiled.Hidden = s.hidden.filter()
		cur := v.Scan(compiled, q.Borrow)
		defer cur.Close()
		s.yieldAll(ctx, cur, q.Limit, yield)
	}
}

// yieldAll yields what cur finds, up to limit events; 0 means all.
func (s *Store) yieldAll(ctx context.Context, cur *index.Cursor, limit int, yield func(event.Event, error) bool) {
	for n := 0; limit == 0 || n < limit; n++ {
		if n%checkEvery == 0 && n > 0 {
			if err := s.goOn(ctx); err != nil {
				yield(event.Event{}, err)
				return
			}
		}
		if !cur.Next() {
			break
		}
		if !yield(cur.Raw().Event(), nil) {
			return
		}
	}
	if err := cur.Err(); err != nil {
		yield(event.Event{}, fmt.Errorf("read: %w", err))
	}
}

// goOn reports why a read must stop, or nil.
func (s *Store) goOn(ctx context.Context) error {
	if s.closed.Load() {
		return ErrClosed
	}
	if ctx.Err() != nil {
		return &CanceledError{Err: context.Cause(ctx)}
	}
	return nil
}

// compile checks q and returns what the index understands.
func (q *Query) compile() (index.Query, error) {
	c := index.Query{
		Entity: q.Entity, EntityPrefix: q.EntityPrefix, Scope: q.Scope, Kinds: q.Kinds, Tags: q.Tags, Lane: q.Lane,
		After: q.After, Before: q.Before, Reverse: q.Reverse,
	}
	if q.Limit < 0 {
		return c, &DraftError{Field: "Limit", Reason: "below zero"}
	}
	for _, name := range []struct{ field, value string }{{"Entity", q.Entity}, {"Scope", q.Scope}} {
		if name.value == "" {
			continue
		}
		if err := coordinate.Check(name.field, name.value); err != nil {
			return c, &DraftError{Field: name.field, Err: err}
		}
	}
	for _, tag := range q.Tags {
		if err := coordinate.Check("tag", tag); err != nil {
			return c, &DraftError{Field: "Tags", Err: err}
		}
	}
	for _, k := range q.Kinds {
		c.System = c.System || k.Reserved() // whoever names a kind of the store's own wants it
	}
	return c, nil
}
