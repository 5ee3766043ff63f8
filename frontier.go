package batpak

import (
	"context"
	"fmt"

	"batpak/index"
)

// A Frontier says how far the events of a store have come, as sequences; 0 means that none has. Accepted ≥ Written ≥
// Durable, and Visible ≤ Written. In SyncAlways a visible event is durable.
type Frontier struct {
	Accepted uint64 // sequences given out; those of a write that fails are given out again
	Written  uint64 // handed to the operating system: survives the death of the process
	Durable  uint64 // on stable storage: survives power loss
	Visible  uint64 // reads see everything up to here, but what is hidden; it waits for open fences
}

// Frontier returns how far the store's events have come. Its fields are read one after the other, in an order in which
// the relations between them hold. In a read-only store Accepted and Written are what it has seen.
func (s *Store) Frontier() Frontier {
	f := Frontier{Visible: s.set.Visible()}
	if s.opts.ReadOnly {
		_, f.Durable = s.state.Known()
		f.Written = max(f.Visible, f.Durable)
		f.Accepted = f.Written
		return f
	}
	f.Durable = s.durable.Load()
	f.Written = max(s.written.Load(), f.Visible, f.Durable)
	f.Accepted = max(s.accepted.Load(), f.Written)
	return f
}

// LaneFrontier is [Store.Frontier] for one lane of all entities: each field is the sequence of the last event on that
// lane that has come so far. It is found through the index, from the end of the log backwards: its cost is that of
// [Store.Read] with Query.Lane, Reverse and a Limit of 1. Events that are not written yet are not counted as accepted.
//
// Errors: [ErrClosed]; *[CanceledError]; *segment.FrameError and *segment.FooterError for damage.
func (s *Store) LaneFrontier(ctx context.Context, lane uint32) (Frontier, error) {
	all := s.Frontier()
	var f Frontier
	err := s.look(ctx, func(v *index.View) (err error) {
		whole := s.set.AcquireAll()
		if whole == nil {
			return ErrClosed
		}
		defer whole.Release()
		if f.Visible, err = lastOfLane(v, lane, all.Visible, s.hidden.filter()); err != nil {
			return err
		}
		if f.Durable, err = lastOfLane(whole, lane, all.Durable, nil); err != nil {
			return err
		}
		f.Written, err = lastOfLane(whole, lane, all.Written, nil)
		return err
	})
	if err != nil {
		return Frontier{}, fmt.Errorf("frontier of lane %d: %w", lane, err)
	}
	f.Accepted = f.Written
	return f, nil
}

// lastOfLane returns the last event of a lane up to a sequence; 0 for none.
func lastOfLane(v *index.View, lane uint32, upTo uint64, hidden func(uint64) bool) (uint64, error) {
	if upTo == 0 {
		return 0, nil
	}
	cur := v.Scan(index.Query{Lane: &lane, Before: upTo + 1, Reverse: true, System: true, Hidden: hidden}, true)
	defer cur.Close()
	if !cur.Next() {
		return 0, cur.Err()
	}
	return cur.Raw().Seq, nil
}

// WaitDurable returns nil when the event with sequence seq, and everything before it, is on stable storage. In
// SyncInterval and SyncNever it asks for the sync rather than wait for one to come; in SyncAlways an append needs no
// wait. A sequence that nobody has appended yet is waited for.
//
// Errors: *[CanceledError]; *[WriteError] when the writer has failed; [ErrClosed]; in a read-only store [ErrReadOnly]
// when seq was not durable at the last [Store.Refresh], since nothing would move it on.
func (s *Store) WaitDurable(ctx context.Context, seq uint64) error {
	if s.opts.ReadOnly {
		if _, durable := s.state.Known(); durable >= seq {
			return nil
		}
		return s.notYet()
	}
	return s.await(ctx, &s.durable, seq, func() { s.askSync(seq) })
}

// askSync has what was written up to seq synced, for somebody who waits for that and is known to.
func (s *Store) askSync(seq uint64) {
	if s.opts.Sync != SyncAlways && s.written.Load() >= seq {
		wake(s.background.lagging)
	}
}

// WaitVisible returns nil when reads see the event with sequence seq, and everything before it, but what is hidden. It
// waits for open fences, and for sequences that nobody has appended yet.
//
// Errors: as [Store.WaitDurable]; a read-only store moves on with [Store.Refresh].
func (s *Store) WaitVisible(ctx context.Context, seq uint64) error {
	if s.opts.ReadOnly && s.closed.Load() {
		return ErrClosed
	}
	return s.await(ctx, &s.visible, seq, nil)
}

// notYet is why a wait in a read-only store is refused.
func (s *Store) notYet() error {
	if s.closed.Load() {
		return ErrClosed
	}
	return ErrReadOnly
}

// await waits on a watermark, and says why it ended early; entered is for [watermark.wait].
func (s *Store) await(ctx context.Context, w *watermark, seq uint64, entered func()) error {
	reached, err := w.wait(ctx, seq, entered)
	switch {
	case reached:
		return nil
	case err != nil:
		return &CanceledError{Err: err}
	}
	return s.whyEnded()
}

// whyEnded returns why nothing will move on any more.
func (s *Store) whyEnded() error {
	if w := s.commit.current.Load(); w != nil && w.Err() != nil {
		return &WriteError{Poisoned: true, Err: w.Err()}
	}
	return ErrClosed
}

// endWaits lets everybody who waits go, since nothing will move on any more.
func (s *Store) endWaits() {
	s.durable.end()
	s.visible.end()
	s.hub.end()
}
