package batpak

import (
	"errors"
	"fmt"

	"batpak/event"
)

// Conditions of projections, for errors.Is.
var (
	// ErrFold: a projection's fold has refused an event. It comes as *[ProjectionError].
	ErrFold = errors.New("batpak: fold failed")
	// ErrProjectionOpen: a projection with this name and version is open in this store already.
	ErrProjectionOpen = errors.New("batpak: projection is open already")
)

// A ProjectionError says which event a projection's fold has refused. The projection stays behind the event before it:
// a fold is a function of its events, so asking again would give the same. [Projection.Rebuild] goes on with a mended
// definition, [Projection.Reset] from the start with the same one.
type ProjectionError struct {
	Projection string
	Version    uint32
	Seq        uint64
	ID         event.ID
	Entity     string
	Kind       event.Kind
	Err        error // of the fold; a *[PanicError] if it panicked
}

func (e *ProjectionError) Error() string {
	return fmt.Sprintf("%v: projection %q version %d at event %d (%v, kind %v of %q): %v",
		ErrFold, e.Projection, e.Version, e.Seq, e.ID, e.Kind, e.Entity, e.Err)
}

// Unwrap returns [ErrFold] and the cause.
func (e *ProjectionError) Unwrap() []error { return []error{ErrFold, e.Err} }

// A ProjectionFinding says why a stored state of a projection was not used, or not stored. The log was folded instead:
// nothing is lost but time.
type ProjectionFinding struct {
	Projection string
	Version    uint32
	File       string // in the directory of states; empty when it concerns all of them
	Err        error  // coldstart.ErrDamaged, coldstart.ErrStale or coldstart.ErrForeign; else an I/O error or that of a codec
}

func (e *ProjectionFinding) Error() string {
	return fmt.Sprintf("batpak: stored state of projection %q version %d: %s: %v", e.Projection, e.Version, e.File, e.Err)
}

// Unwrap returns the finding.
func (e *ProjectionFinding) Unwrap() error { return e.Err }
