package batpak

import (
	"context"
	"fmt"
	"time"

	"batpak/event"
)

// A ProjectionDef defines a projection: a state of type S, and how it follows from events. It is a value; nothing
// happens before [NewProjection].
type ProjectionDef[S any] struct {
	// Name tells the projection from others, also across restarts: 1 to 1,024 bytes of UTF-8 without control characters.
	Name string

	// Version is that of the schema of S and of what Fold makes of events; at least 1. Whoever changes either, counts it
	// up: states stored by another version are not used.
	Version uint32

	// Query selects the events; Limit, Reverse and Borrow have no meaning here and must be zero.
	Query Query

	// Init returns the state before the first event. nil means the zero S.
	Init func() S

	// Fold moves *state on by one event. For one state it is called once for each event that Query selects, in commit
	// order, one call at a time. It should be a function of its arguments: states are folded anew whenever that is needed,
	// and At, Rebuild and Reset fold other states at the same time. It may change *state in place and fail half-way: a
	// state that a failed fold has touched is never shown, see [ProjectionError].
	//
	// ev.Payload and ev.Extensions are borrowed: they are valid until Fold returns, and must be copied to be kept; an
	// error that it returns must not hold them either. All else of ev may be kept. Fold must not call the projection.
	Fold func(state *S, ev event.Event) error

	// Codec encodes states that are stored. nil means [JSON]; S must then be one that JSON gives back as it was. Its
	// Marshal is given a *S; where S is a pointer type, an S.
	Codec Codec

	// Clone returns a copy of *state that shares nothing with it that Fold changes. nil means that S is copied by
	// assignment if it has nothing to share, and else through the codec, which takes longer.
	Clone func(state *S) S

	// NoSnapshots keeps states in memory only. Opening the projection then costs a pass over the log.
	NoSnapshots bool
	// SnapshotEvery is how many folded events may pass before the state is stored. Zero means 262,144.
	SnapshotEvery uint64
	// SnapshotAfter is how long a state that has changed may stay without being stored while the projection is kept up
	// to date. Zero means a minute.
	SnapshotAfter time.Duration
	// SnapshotLimit is how many bytes an encoded state may take; larger ones are not stored. Zero means 64 MiB.
	SnapshotLimit int64
	// KeepSnapshots is how many states are kept, the newest and older ones at growing distances: for [Projection.At], and
	// in case one is damaged. Zero means 4.
	KeepSnapshots int
}

// A Projection is a state that is kept in step with the log of a store, as its [ProjectionDef] says. It applies every
// visible event that the query selects once, in commit order. Its position is a sequence: every event up to it that was
// ever visible has been applied. The position never goes back.
//
// It does nothing on its own: [Projection.CatchUp], State and Wait bring it up to date on demand, [Projection.Run] keeps it
// there, [Group] does the same for several in one pass over the log. It is safe for concurrent use.
//
// After a fold has failed, the projection stands at the event before, and everything that would move it on returns the
// same *[ProjectionError]; [Projection.View] goes on showing the last good state.
//
// A state is a function of the events that are in the log. When events are evicted from it, it is folded anew from those
// that are left.
type Projection[S any] struct {
	core *projection
}

// NewProjection registers def with st, and restores the newest state that was stored of it. It folds nothing yet. Of one
// name and version there is one projection at a time; close it to open it again.
//
// States are stored in the store's directory. One that is damaged, or is not one of this store, history, version or
// query, is passed over for an older one, or for the events: [Projection.Status] tells. Closing the store closes its
// projections.
//
// Errors: *[OptionError], *[DraftError] and *[LimitError] for a definition that cannot be; [ErrProjectionOpen];
// [ErrClosed]; *coldstart.FutureError when a newer version has stored a state; *vfs.UnsafePathError; *[PanicError] when
// Init panics; those of [Store.Read] for damage in the log.
func NewProjection[S any](st *Store, def ProjectionDef[S]) (*Projection[S], error) {
	compiled, err := compileProjection(st, def)
	if err != nil {
		return nil, err
	}
	core, err := st.openProjection(compiled)
	if err != nil {
		return nil, err
	}
	return &Projection[S]{core}, nil
}

// CatchUp applies what is visible now and was not applied yet.
//
// Errors: *[ProjectionError]; *[CanceledError]; [ErrClosed]; those of [Store.Read] for damage.
func (p *Projection[S]) CatchUp(ctx context.Context) error {
	return catchUp(ctx, []*projection{p.core})
}

// State catches up and returns the state, and the position that it is of. The state is the caller's: a copy, see
// ProjectionDef.Clone.
//
// Errors: as [Projection.CatchUp]; the codec's, where it makes the copy.
func (p *Projection[S]) State(ctx context.Context) (state S, at uint64, err error) {
	if err := p.CatchUp(ctx); err != nil {
		return state, 0, err
	}
	shown := p.core.show(func(h *holding) {
		state, err = h.fold.(*folded[S]).clone()
		at = h.at
	})
	if shown != nil {
		return state, 0, shown
	}
	return state, at, err
}

// View calls read with the state as it is, and its position. It does not catch up; it waits at most for the events that
// are being applied, 1,024 at a time. While a projection catches up on more than those, what is seen may lie between two
// events of one batch.
//
// Nothing changes the state while read runs; read must not either, and must keep no part of it that Fold changes in place.
// It must not call the projection.
//
// Errors: *[ProjectionError] between a fold that failed and the moment when the state before it has been made again;
// never, once that was returned to whoever was moving the projection on, unless the fold is not a function.
func (p *Projection[S]) View(read func(state *S, at uint64)) error {
	return p.core.show(func(h *holding) { read(&h.fold.(*folded[S]).state, h.at) })
}

// Wait returns nil when every event up to seq has been applied: whoever has appended sees its own write from then on. It
// waits for the event to become visible, as [Store.WaitVisible] does, and then applies it, unless [Projection.Run] or
// somebody else was faster. It returns at once when the position has come to seq, also after a fold has failed behind it.
//
// Errors: as [Projection.CatchUp]; as [Store.WaitVisible].
func (p *Projection[S]) Wait(ctx context.Context, seq uint64) error {
	for {
		if p.core.position() >= seq {
			return nil
		}
		if err := p.core.ready(); err != nil {
			return err
		}
		if err := p.core.awaitVisible(ctx, seq); err != nil {
			return err
		}
		if err := p.CatchUp(ctx); err != nil && p.core.position() < seq {
			return err
		}
	}
}

// At returns the state as of any sequence up to the visible end: of exactly the events up to it. It is folded from the
// nearest stored state that is not behind seq, or from the start, and does not touch the projection's own state. The
// state is the caller's.
//
// Errors: [ErrNotFound] when seq is not visible yet; as [Projection.CatchUp].
func (p *Projection[S]) At(ctx context.Context, seq uint64) (state S, err error) {
	h, err := p.core.asOf(ctx, seq)
	if err != nil {
		return state, fmt.Errorf("projection %q as of %d: %w", p.core.name, seq, err)
	}
	return h.fold.(*folded[S]).state, nil
}

// Run keeps the projection up to date until ctx ends, a fold fails, or the projection or the store is closed. It stores
// states on the way, and the last one when it returns. In a read-only store it refreshes the store as [Store.Follow] does.
//
// Errors: as [Projection.CatchUp], never nil.
func (p *Projection[S]) Run(ctx context.Context) error { return keepUp(ctx, []*projection{p.core}) }

// Snapshot stores the state as it is now, if that is not stored yet. A projection does so by itself; after a nil error the
// next [NewProjection] goes on from here or later.
//
// Errors: *[ProjectionFinding] when it could not be stored; *[CanceledError]; [ErrClosed]; [ErrReadOnly]; *[WriteError],
// since a state is stored only once the events in it are durable.
func (p *Projection[S]) Snapshot(ctx context.Context) error { return p.core.snapshot(ctx) }

// Rebuild replaces the definition by one of a higher version and the same name. The new state is folded beside the old
// one, which goes on serving and following, and takes its place once it has come to the same position. When the error
// is nil the projection shows the new state, and has lost the failure that it may have had. After an error the old
// definition stays.
//
// Errors: *[OptionError]; those of [NewProjection]; as [Projection.CatchUp].
func (p *Projection[S]) Rebuild(ctx context.Context, def ProjectionDef[S]) error {
	compiled, err := compileProjection(p.core.store, def)
	if err != nil {
		return err
	}
	return p.core.rebuild(ctx, compiled)
}

// Reset folds the state anew from the events alone, beside the old one as [Projection.Rebuild] does. States that are
// stored are removed first.
//
// Errors: as [Projection.CatchUp]; I/O errors.
func (p *Projection[S]) Reset(ctx context.Context) error { return p.core.reset(ctx) }

// Status says how the projection stands.
func (p *Projection[S]) Status() ProjectionStatus { return p.core.status() }

// Close stores the state and unregisters the projection: calls under way end with [ErrClosed], and so do later ones, but
// for View and Status. Closing twice is the same as closing once.
//
// Errors: as [Projection.Snapshot]; the projection is closed all the same.
func (p *Projection[S]) Close() error { return p.core.close() }

// members implements [AnyProjection].
func (p *Projection[S]) members() *projection { return p.core }
