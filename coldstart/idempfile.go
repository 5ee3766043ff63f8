package coldstart

import (
	"errors"
	"fmt"

	"batpak/idemp"
)

// An IdempError says that the keys of events that compaction has evicted are not known: the file that holds them is
// there and does not hold. Nothing can rebuild it: the events are gone. Open refuses, since a retry under such a key
// would be written a second time, unless Config.ContinueWithoutIdemp accepts that.
type IdempError struct {
	File string
	Err  error // wraps ErrDamaged or ErrForeign, and the finding of package idemp
}

func (e *IdempError) Error() string {
	return fmt.Sprintf("%s: %v; batpak repair rebuilds it without the keys of evicted events, which nothing else knows", e.File, e.Err)
}

// Unwrap returns the finding.
func (e *IdempError) Unwrap() error { return e.Err }

// readIdemp opens the table of keys whose events are gone from the log; nil when there is none, or when there is none
// that holds and the caller goes on without. The pages of the table are checked when they are used.
//
// Errors: *[IdempError]; *[FutureError]; I/O errors.
func (o *opener) readIdemp() (*idemp.Table, error) {
	if o.lock != nil && !o.listing.has(idemp.FileName) {
		return nil, nil
	}
	t, err := idemp.Open(o.dir, o.meta.Store)
	switch {
	case errors.Is(err, idemp.ErrAbsent):
		return nil, nil
	case errors.Is(err, idemp.ErrFuture):
		return nil, &FutureError{File: idemp.FileName, Err: err}
	case errors.Is(err, idemp.ErrForeign):
		return nil, o.withoutIdemp(&IdempError{idemp.FileName, fmt.Errorf("%w: %w", ErrForeign, err)})
	case errors.Is(err, idemp.ErrDamaged):
		return nil, o.withoutIdemp(&IdempError{idemp.FileName, fmt.Errorf("%w: %w", ErrDamaged, err)})
	}
	return t, err
}

// withoutIdemp notes e where the caller has agreed to go on, and returns it where not.
func (o *opener) withoutIdemp(e *IdempError) error {
	if !o.cfg.ContinueWithoutIdemp {
		return e
	}
	o.report.Skipped = append(o.report.Skipped, Skip{Err: e})
	return nil
}
