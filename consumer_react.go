package batpak

import (
	"context"
	"errors"
	"slices"

	"batpak/event"
	"batpak/internal/planted"
)

// answer commits the drafts that a handler has made of ev, and with them own, an event of the store's that says so. When
// all of the drafts are known already it writes nothing: written is false then, and own is still to be told.
//
// Errors: *fatalError for what is not about the drafts; else as [Store.AppendBatch].
func (c *Consumer) answer(ctx context.Context, ev *event.Event, drafts []Draft, own Draft) (written bool, err error) {
	batch := c.prepare(ev, drafts)
	if planted.On(planted.PositionApartFromReaction) {
		_, err := c.store.AppendBatch(ctx, batch)
		if err == nil {
			_, err = c.store.appendBatch(ctx, []Draft{own}, nil)
		}
		return err == nil, fatal(err)
	}
	for {
		_, err = c.store.appendBatch(ctx, append(batch, own), nil)
		var partial *PartialReplayError
		if !errors.As(err, &partial) {
			return err == nil, fatal(err)
		}
		rest, ok := without(batch, partial.Known)
		switch {
		case len(rest) == 0:
			return false, nil // answered before
		case !ok:
			return false, err
		}
		batch = rest
	}
}

// prepare returns drafts with what they inherit of ev, the one that they answer.
func (c *Consumer) prepare(ev *event.Event, drafts []Draft) []Draft {
	batch := slices.Clone(drafts)
	group := ev.Correlation
	if group.IsZero() {
		group = ev.ID // as Correlated sees it: such an event is the first of a group of its own
	}
	for i := range batch {
		d := &batch[i]
		if d.Correlation.IsZero() {
			d.Correlation = group
		}
		if d.Causation.IsZero() && d.CausedByDraft == 0 {
			d.Causation = ev.ID
		}
		if len(d.IdempotencyKey) == 0 {
			d.IdempotencyKey = ReactionKey(c.state.name, ev.Seq, i)
		}
	}
	return batch
}

// without returns batch without the drafts at the indexes of known. ok is false when one that is left refers to another
// of the batch, which may have moved or gone.
func without(batch []Draft, known []int) (rest []Draft, ok bool) {
	ok = true
	for i := range batch {
		if slices.Contains(known, i) {
			continue
		}
		rest = append(rest, batch[i])
		ok = ok && batch[i].CausedByDraft == 0
	}
	return rest, ok
}

// aboutDrafts are the conditions of errors that the drafts of a handler are to blame for.
var aboutDrafts = []error{ErrInvalid, ErrLimit, ErrConflict, ErrIdempotency, ErrDenied, ErrFork, ErrFenceOpen}

// fatal wraps an error of an append that is not about the drafts: trying again, or the next event, would not help.
func fatal(err error) error {
	if err == nil {
		return nil
	}
	for _, about := range aboutDrafts {
		if errors.Is(err, about) {
			return err
		}
	}
	return &fatalError{err}
}
