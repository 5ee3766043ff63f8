package batpak

import (
	"context"
	"fmt"
	"iter"

	"batpak/event"
	"batpak/index"
)

// checkEvery is how many events a read yields between looks at its context and at Close.
const checkEvery = 64

// Read yields the events that q selects, in commit order, or newest first. It sees what was visible when the loop
// began, however long it takes; it never waits for the writer, nor the writer for it. The loop may stop at any point.
// After an error it ends.
//
// An event's bytes belong to the caller, unless q.Borrow is set. Small events that are read together share memory: one that
// is kept keeps at most 4 KiB alive.
//
// Errors: *[DraftError] and *[LimitError] for a query that cannot be; *[CanceledError]; [ErrClosed]; *segment.FrameError and
// *segment.FooterError for damage: an error is never a silent end.
func (s *Store) Read(ctx context.Context, q Query) iter.Seq2[event.Event, error] {
	return func(yield func(event.Event, error) bool) {
		compiled, err := q.compile()
		if err != nil {
			yield(event.Event{}, err)
			return
		}
		r := reading{store: s, q: compiled, borrow: q.Borrow, limit: q.Limit, yield: yield}
		for r.again(ctx) {
		}
	}
}

// read yields what q, which is normal, selects, until yield returns false.
//
// Errors: those of [Store.Read].
func (s *Store) read(ctx context.Context, q index.Query, borrow bool, yield func(event.Event) bool) (err error) {
	r := reading{store: s, q: q, borrow: borrow, yield: func(ev event.Event, failed error) bool {
		if err = failed; err != nil {
			return false
		}
		return yield(ev)
	}}
	for r.again(ctx) {
	}
	return err
}

// A reading is one Read under way. It is begun again where it stands when a segment had to be healed.
type reading struct {
	store  *Store
	q      index.Query
	borrow bool
	limit  int // events left; 0 means no limit
	yield  func(event.Event, error) bool
	last   uint64 // sequence yielded last
	spare  event.Spare
	begun  bool // Before is bounded by what was visible when the read began
	after  again
}

// again reads from where r stands, and reports whether it must be called once more.
func (r *reading) again(ctx context.Context) bool {
	r.after.builds = r.store.state.Builds()
	from := r.last
	v, err := r.store.view(ctx)
	if err != nil {
		r.yield(event.Event{}, err)
		return false
	}
	defer v.Release()
	if end := v.Visible() + 1; !r.begun && (r.q.Before == 0 || r.q.Before > end) {
		r.q.Before = end
	}
	if !r.begun {
		r.store.hidden.hide(&r.q)
	}
	r.begun, r.q.Done = true, ctx.Done()
	cur := v.Scan(r.q, r.borrow)
	defer cur.Close()
	err = r.yieldAll(ctx, cur)
	if err == nil {
		return false
	}
	if r.last != from {
		r.after.renewed = false
	}
	if err := r.store.mend(ctx, &r.after, err); err != nil {
		r.yield(event.Event{}, fmt.Errorf("read: %w", err))
		return false
	}
	switch {
	case r.last == 0:
	case r.q.Reverse:
		r.q.Before = r.last
	default:
		r.q.After = r.last
	}
	return true
}

// yieldAll yields what cur finds, up to the limit. It returns cur's error, if that is what ended it.
func (r *reading) yieldAll(ctx context.Context, cur *index.Cursor) error {
	for n := 0; ; n++ {
		if n%checkEvery == 0 && n > 0 {
			if err := r.store.mayRead(ctx); err != nil {
				r.yield(event.Event{}, err)
				return nil
			}
		}
		if !cur.Next() {
			return cur.Err()
		}
		raw := cur.Raw()
		r.last = raw.Seq
		if !r.borrow {
			r.spare = event.Spare{} // what was yielded keeps it
		}
		if !r.yield(raw.EventIn(&r.spare), nil) {
			return nil
		}
		if r.limit > 0 {
			if r.limit--; r.limit == 0 {
				return nil
			}
		}
	}
}
