package batpak

import (
	"batpak/coordinate"
	"batpak/event"
)

// check validates the fields of d in their order; index is its place in the batch.
func (s *Store) check(d *Draft, index int) error {
	switch {
	case d.Coordinate.IsZero():
		return &DraftError{Field: "Coordinate", Reason: "missing"}
	case d.Kind.Reserved() && !d.own:
		return &DraftError{Field: "Kind", Err: event.ErrKindReserved}
	case int64(len(d.Payload)) > s.opts.MaxEventBytes && !d.own:
		return &LimitError{Field: "payload", Value: int64(len(d.Payload)), Limit: s.opts.MaxEventBytes}
	case len(d.IdempotencyKey) > maxKeyBytes:
		return &LimitError{Field: "idempotency key", Value: int64(len(d.IdempotencyKey)), Limit: maxKeyBytes}
	case d.CausedByDraft < 0 || int(d.CausedByDraft) > index:
		return &DraftError{Field: "CausedByDraft", Reason: "not an earlier draft of the batch"}
	case d.CausedByDraft != 0 && !d.Causation.IsZero():
		return &DraftError{Field: "CausedByDraft", Reason: "excludes Causation"}
	case !d.Fork.IsZero() && d.Lane == 0:
		return &DraftError{Field: "Fork", Reason: "lane 0 branches from nothing"}
	case d.Ack > AckDurable:
		return &DraftError{Field: "Ack", Reason: "not an acknowledgement"}
	}
	if err := checkCoordinate(d.Coordinate); err != nil {
		return err
	}
	if len(d.Tags) == 0 && len(d.Extensions) == 0 {
		return nil
	}
	return checkExtras(d)
}

// checkCoordinate refuses what did not come from coordinate.New: such a frame could never be read again.
func checkCoordinate(c coordinate.Coordinate) error {
	err := coordinate.Check("entity", c.Entity())
	if err == nil {
		err = coordinate.Check("scope", c.Scope())
	}
	if err != nil {
		return &DraftError{Field: "Coordinate", Err: err}
	}
	return nil
}

// checkExtras validates tags and extensions.
func checkExtras(d *Draft) error {
	if len(d.Tags) > event.MaxTags {
		return &LimitError{Field: "tags", Value: int64(len(d.Tags)), Limit: event.MaxTags}
	}
	total := 0
	for _, tag := range d.Tags {
		total += len(tag) + 2
		if err := coordinate.Check("tag", tag); err != nil {
			return &DraftError{Field: "Tags", Err: err}
		}
	}
	if total > event.MaxTagBytes {
		return &LimitError{Field: "tag bytes", Value: int64(total), Limit: event.MaxTagBytes}
	}
	if len(d.Extensions) > event.MaxExtensions {
		return &LimitError{Field: "extensions", Value: int64(len(d.Extensions)), Limit: event.MaxExtensions}
	}
	total = 0
	for key, value := range d.Extensions {
		if err := event.CheckExtensionKey(key); err != nil {
			return &DraftError{Field: "Extensions", Err: err}
		}
		total += len(key) + len(value)
	}
	if total > event.MaxExtensionBytes {
		return &LimitError{Field: "extension bytes", Value: int64(total), Limit: event.MaxExtensionBytes}
	}
	return nil
}
