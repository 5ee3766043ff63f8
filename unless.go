package batpak

import (
	"iter"
	"slices"

	"batpak/index"
	"batpak/internal/planted"
	"batpak/segment"
)

// maxUnless bounds the conditions of one draft: each of them is a query inside the committer.
const maxUnless = 16

// An unless is an [Unless] that was checked.
type unless struct {
	Unless
	q index.Query
}

// compileUnless checks conditions on their caller's goroutine. The result lies in e.
//
// Errors: *[DraftError]; *[LimitError].
func (e *encoder) compileUnless(conditions []Unless) ([]unless, error) {
	if len(conditions) > maxUnless {
		return nil, &LimitError{Field: "conditions", Value: int64(len(conditions)), Limit: maxUnless}
	}
	from, to := len(e.unless), len(e.unless)+len(conditions)
	e.unless = slices.Grow(e.unless, len(conditions))[:to] // what was outgrown lives on in the items
	for i := range conditions {
		u := &e.unless[from+i]
		u.Unless = conditions[i]
		u.Query.Limit = 0
		var err error
		if u.q, err = u.Query.compile(); err != nil {
			return nil, &DraftError{Field: "Unless", Err: err}
		}
		u.q.After, u.q.Before, u.q.Reverse = u.Seq, 0, false
	}
	return e.unless[from:to:to], nil
}

// checkUnless checks the conditions of all items of r against everything committed, and against the requests staged before
// it in the group.
//
// Errors: *[ConflictError], in a *[BatchError] where r is a batch; errors of a read.
func (s *Store) checkUnless(r *request, p savepoint) error {
	for i := range r.items {
		it := &r.items[i]
		for j := range it.unless {
			u := &it.unless[j]
			seq, err := s.selected(u, p)
			if err == nil && seq != 0 {
				condition := u.Unless // the request will be another's
				err = &ConflictError{
					Coordinate: it.at, Lane: it.lane, Want: it.expect, Unless: &condition, Seq: seq, ReadAfter: u.Seq,
				}
			}
			if err != nil && r.batch {
				err = &BatchError{Index: i, Err: err}
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// selected returns the first event that u selects, in the log or staged before p; 0 when there is none.
func (s *Store) selected(u *unless, p savepoint) (seq uint64, err error) {
	c := &s.commit
	if u.Seq < p.seq-uint64(p.staged) {
		seq, err = s.committed(u)
		for s.healed(err) {
			seq, err = s.committed(u)
		}
	}
	if err != nil || seq != 0 {
		return seq, err
	}
	if p.staged == 0 || planted.On(planted.UnlessBlindInGroup) {
		return 0, nil
	}
	for _, err := range c.selects(&u.q, p.staged, false) {
		if err != nil || c.raw.Seq > u.Seq {
			return c.raw.Seq, err
		}
	}
	return 0, nil
}

// body returns the body of a staged event's frame.
func (c *committer) body(sp *span) []byte { return c.buf[sp.from+segment.FrameHeaderLen : sp.to] }

// selects yields the first n events of the group that q selects, decoded into c.raw; ranges are not looked at.
func (c *committer) selects(q *index.Query, n int, reverse bool) iter.Seq2[*span, error] {
	return func(yield func(*span, error) bool) {
		for i := range n {
			if reverse {
				i = n - 1 - i
			}
			sp := &c.staged[i]
			if !q.MatchesEntity(sp.head.key.entity) {
				continue // most are other entities' events, and need not be decoded
			}
			err := c.raw.Decode(c.body(sp))
			if (err != nil || q.Matches(&c.raw)) && (!yield(sp, err) || err != nil) {
				return
			}
		}
	}
}

// committed returns the first event in the log that u selects; 0 when there is none.
func (s *Store) committed(u *unless) (seq uint64, err error) {
	v := s.set.AcquireAll()
	if v == nil {
		return 0, ErrClosed
	}
	defer v.Release()
	if v.NoneBehind(&u.q) {
		return 0, nil
	}
	q := u.q
	s.hidden.hide(&q)
	cur := v.ScanWith(&s.commit.cursor, q, true)
	defer cur.Close()
	if cur.Next() {
		seq = cur.Raw().Seq
	}
	return seq, cur.Err()
}

// Visible returns the sequence up to which a read that begins now sees; 0 before the first event. It never goes back.
func (s *Store) Visible() uint64 { return s.set.Visible() }
