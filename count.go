package batpak

import (
	"context"
	"fmt"

	"batpak/index"
)

// Count returns how many events [Store.Read] would yield for q, of those that are visible now; q.Limit bounds it, too.
// q.Reverse and q.Borrow do not matter.
//
// The index answers: no event is read, but where q.Correlation or q.Causation is set. Sealed segments keep those as
// hashes, so that only the event can tell; the events that are read then are those that the answer counts.
//
// Errors: as [Store.Read].
func (s *Store) Count(ctx context.Context, q Query) (uint64, error) {
	compiled, err := q.compile()
	if err != nil {
		return 0, err
	}
	compiled.Reverse = false
	n, err := s.count(ctx, compiled, uint64(q.Limit))
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Exists reports whether [Store.Read] would yield an event for q. It costs what finding the first of them in the index
// costs, and reads no event but as [Store.Count] does.
//
// Errors: as [Store.Read].
func (s *Store) Exists(ctx context.Context, q Query) (bool, error) {
	compiled, err := q.compile()
	if err != nil {
		return false, err
	}
	n, err := s.count(ctx, compiled, 1)
	if err != nil {
		return false, fmt.Errorf("exists: %w", err)
	}
	return n > 0, nil
}

// count counts up to limit events that q selects; 0 means all.
func (s *Store) count(ctx context.Context, q index.Query, limit uint64) (n uint64, err error) {
	err = s.look(ctx, func(v *index.View) (err error) {
		s.hidden.hide(&q)
		q.Done = ctx.Done()
		n, err = v.Count(q, limit)
		return err
	})
	return n, err
}
