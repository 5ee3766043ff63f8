package batpak

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"batpak/coldstart"
	"batpak/fault"
	"batpak/hidden"
	"batpak/index"
	"batpak/segment"
)

// A Store is an open directory of events. All its methods are safe for concurrent use.
type Store struct {
	opts  Options
	state *coldstart.State
	set   *index.Set

	hidden hiddenRanges
	signer *signer // nil: receipts are not signed

	queue    queue
	pressure pressure
	commit   committer

	checkpointing sync.Mutex // held by Checkpoint

	lastFence  atomic.Uint64 // highest number of a fence
	openFences atomic.Int64  // that have staged something
	keeping    sync.Mutex    // held while the hidden ranges are written
	kept       uint64        // what the file of hidden ranges covers

	accepted atomic.Uint64 // last sequence given out
	written  atomic.Uint64 // last sequence that the operating system has
	durable  watermark     // last sequence known to be on stable storage
	visible  watermark     // last sequence that reads see
	hub      hub           // wakes followers
	poller   poller        // of a read-only store: looks for them
	closed   atomic.Bool
	keys     sync.RWMutex // held by reads outside the committer that look at evicted keys; Close waits for them

	background  background
	consumers   consumers
	projections projections
	closing     sync.Once
	closeErr    error
}

// Open opens the store in dir, and makes it where there is none. nil options mean the defaults. A nil error means that
// everything acknowledged before is there, and that this process is the only writer until Close.
//
// Open repairs what a crash leaves; it never needs a flag for that. It refuses damage, and changes nothing then.
//
// Errors: *[OptionError]; *vfs.LockedError when somebody else writes; *coldstart.CorruptError,
// *coldstart.TailMissingError, *coldstart.MetaError, *coldstart.HiddenError, *coldstart.IdempError and
// *coldstart.PendingError for damage, naming file, place and events;
// coldstart.ErrFuture for a store of a newer version; *vfs.UnsafePathError for links and special files in place of data; any I/O error.
func Open(dir string, o *Options) (*Store, error) { return OpenContext(context.Background(), dir, o) }

// OpenContext is [Open]; it gives up when ctx ends, and leaves a store that opens as before.
func OpenContext(ctx context.Context, dir string, o *Options) (*Store, error) {
	opts, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	state, err := coldstart.Open(ctx, opts.coldstart(dir))
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, err)
	}
	s := &Store{opts: opts, state: state, set: state.Set, signer: newSigner(opts.SigningKeys)}
	s.hub.init()
	s.hidden.use(state.Hidden)
	state.Hide = s.hidden.use
	s.queue.idle.L = &s.queue.mu
	last := state.LastSeq
	if !opts.ReadOnly {
		last = state.NextSeq - 1 // sequences that were given up count as events that are hidden
	}
	s.durable.Store(last)
	s.visible.Store(s.set.Visible())
	s.accepted.Store(last)
	s.written.Store(last)
	if opts.ReadOnly {
		s.poller.init(s.Frontier())
		return s, nil
	}
	s.lastFence.Store(state.Fences.LastFence)
	if !state.Derived {
		s.kept = state.Fences.Covers
	}
	s.commit.relaxed = opts.Sync != SyncAlways
	s.commit.loose = opts.Sync == SyncNever && opts.FillAhead == 0
	s.commit.start(state)
	s.background.start(s)
	return s, nil
}

// coldstart translates the options for the package that opens directories.
func (o *Options) coldstart(dir string) coldstart.Config {
	c := coldstart.Config{
		FS: o.fs, Dir: dir, DirPerm: o.DirPerm, FilePerm: o.FilePerm, ReadOnly: o.ReadOnly,
		ContinueWithoutIdemp: o.ContinueWithoutIdemp, NoSnapshot: o.NoSnapshot, NoCheckpoint: o.NoCheckpoint, SegmentSize: o.SegmentSize, FillAhead: o.FillAhead, IndexEvery: o.IndexEvery, Relaxed: o.Sync != SyncAlways,
		IdempotencyWindow: o.IdempotencyWindow, Now: o.Clock, Random: func(b []byte) { crand.Read(b) }, Hook: o.hook, Logger: o.Logger,
		Progress: toldTo(o.Progress),
	}
	if o.ExpectHead != nil {
		c.ExpectHead = &coldstart.Head{Seq: o.ExpectHead.Seq, Hash: o.ExpectHead.Hash}
	}
	return c
}

// start continues the log that was opened.
func (c *committer) start(state *coldstart.State) {
	c.seq, c.hlc = state.NextSeq-1, state.LastHLC
	c.folder, c.streams = state.Folder, newStreams()
	c.fences = make(map[uint64]*Fence)
	if state.Fenced {
		c.tracker = hidden.NewTracker(state.Fences)
	}
	c.use(state.Writer, state.Active)
}

// A seeded is a random generator that takes its seed when it is first asked: no open has to wait for that.
type seeded struct{ source *rand.ChaCha8 }

// Uint64 returns 64 random bits.
func (s *seeded) Uint64() uint64 {
	if s.source == nil {
		var seed [32]byte
		crand.Read(seed[:])
		s.source = rand.NewChaCha8(seed)
	}
	return s.source.Uint64()
}

// use makes w the segment that is written to.
func (c *committer) use(w *segment.Writer, active *index.Active) {
	c.writer, c.active, c.seal = w, active, w.Seal()
	if c.relaxed {
		w.Relax()
	}
	if c.loose {
		w.Loosen()
	}
	c.streams.reset()
	c.current.Store(w)
}

// Append commits one event and returns its receipt.
//
// When the error is nil the event is committed as [Options.Sync] and Draft.Ack say: by default it is on stable storage
// and every later read sees it. Goroutines that append at the same time share writes and syncs. ctx bounds the wait,
// not the commit: an append that is under way when ctx ends may still land, and the error says so.
//
// Errors: *[DraftError], *[LimitError] for a draft that cannot be, before anything is queued; *[ConflictError];
// *[IdempotencyConflictError]; *[CanceledError]; *[WriteError]; [ErrClosed]; [ErrReadOnly]; *segment.FrameError,
// *segment.FooterError and *idemp.FileError for damage where the stream's head or the key is looked up, and nothing
// is written then.
func (s *Store) Append(ctx context.Context, d Draft) (Receipt, error) { return s.append(ctx, d, nil) }

// append commits one event, through a fence unless that is nil.
func (s *Store) append(ctx context.Context, d Draft, f *Fence) (Receipt, error) {
	if err := s.writable(ctx); err != nil {
		return Receipt{}, err
	}
	r := newRequest()
	r.within(f)
	if err := s.encodeOne(r, &d); err != nil {
		r.free()
		return Receipt{}, err
	}
	abandoned, err := s.commitRequest(ctx, r)
	if abandoned {
		return Receipt{}, err // a leader still works on r
	}
	defer r.free()
	s.finishReceipts(r)
	if err != nil {
		return Receipt{}, err
	}
	return r.receipts[0], nil
}

// AppendBatch commits all drafts or none, and returns their receipts in order. It is one write and, by default, one
// sync. Drafts see the batch's earlier ones: their Expect counts them, and CausedByDraft can name them. A batch that is
// to be retried carries keys on all of its drafts: retried, it returns the receipts of the first time. One with keys on
// some of them is refused once those are known.
//
// Errors: as [Store.Append], wrapped in a *[BatchError] where one draft is to blame; *[PartialReplayError].
func (s *Store) AppendBatch(ctx context.Context, drafts []Draft) ([]Receipt, error) {
	return s.appendBatch(ctx, drafts, nil)
}

// appendBatch commits a batch, through a fence unless that is nil.
func (s *Store) appendBatch(ctx context.Context, drafts []Draft, f *Fence) ([]Receipt, error) {
	if err := s.writable(ctx); err != nil {
		return nil, err
	}
	r := newRequest()
	r.within(f)
	if err := s.encodeBatch(r, drafts); err != nil {
		r.free()
		return nil, err
	}
	r.receipts = make([]Receipt, 0, len(drafts)) // goes to the caller
	abandoned, err := s.commitRequest(ctx, r)
	if abandoned {
		return nil, err
	}
	defer r.free()
	s.finishReceipts(r)
	if err != nil {
		return nil, err
	}
	receipts := r.receipts
	r.receipts = nil
	return receipts, nil
}

// writable refuses appends that need not be tried.
func (s *Store) writable(ctx context.Context) error {
	switch {
	case s.closed.Load():
		return ErrClosed
	case s.opts.ReadOnly:
		return ErrReadOnly
	case ctx.Err() != nil:
		return &CanceledError{Err: context.Cause(ctx)}
	}
	return nil
}

// commitRequest brings r to its outcome. When it was abandoned a leader still holds r.
func (s *Store) commitRequest(ctx context.Context, r *request) (abandoned bool, err error) {
	lead, err := s.queue.enter(r)
	if err != nil {
		return false, err
	}
	if lead {
		s.lead(r)
		return false, r.err
	}
	return s.wait(ctx, r)
}

// Flush makes everything that was appended or submitted before it durable, whatever the mode. In SyncAlways it waits for
// what was submitted, and has nothing else to do.
//
// Errors: *[WriteError]; [ErrClosed]; [ErrReadOnly]; *[CanceledError], after which the sync may still take place.
func (s *Store) Flush(ctx context.Context) error {
	if err := s.writable(ctx); err != nil {
		return err
	}
	r := newRequest() // without events: it goes behind everybody who came before
	r.ack = AckDurable
	abandoned, err := s.commitRequest(ctx, r)
	if !abandoned {
		r.free()
	}
	return err
}

// OpenReport says how Open got here. It does not change afterwards.
func (s *Store) OpenReport() coldstart.Report { return s.state.Report }

// ID returns the store's identity, which every receipt carries.
func (s *Store) ID() [16]byte { return s.state.StoreID }

// Close makes everything durable, in every mode, and releases the directory. Appends that are under way get their
// outcome, later ones [ErrClosed]; reads that are under way end with [ErrClosed] within 64 events. Closing twice
// is the same as closing once.
//
// Errors: the failure that poisoned the writer, if one did; any I/O error.
func (s *Store) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.closeProjections()
	s.queue.close()
	s.closed.Store(true)
	s.hub.end() // followers need not see the rest
	s.consumers.end()
	var errs []error
	if !s.opts.ReadOnly {
		s.checkpointing.Lock() // the last one has ended; the next one finds the store closed
		defer s.checkpointing.Unlock()
		s.background.stop()
		s.commit.mu.Lock()
		errs = append(errs, s.finish())
		s.commit.mu.Unlock()
	}
	errs = append(errs, s.closeConsumers())
	s.endWaits()
	s.keys.Lock() // the last one has ended; the next one finds the store closed
	defer s.keys.Unlock()
	errs = append(errs, s.state.Close())
	return errors.Join(errs...)
}

// finish brings the log to a clean end: synced, cut behind the last event, named by the anchor.
func (s *Store) finish() error {
	c := &s.commit
	if err := c.writer.Err(); err != nil {
		return &WriteError{Poisoned: true, Err: err}
	}
	if err := s.cancelFences(); err != nil {
		return err
	}
	if c.writer.Durable() != c.writer.End() {
		if err := s.syncWritten(); err != nil {
			return err
		}
	}
	if c.tracker != nil {
		if f := c.tracker.Settled(); f.Covers > s.kept {
			if err := s.state.WriteHidden(f); err != nil {
				return fmt.Errorf("close store: %w", err)
			}
		}
	}
	if err := c.writer.Trim(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	c.folder.Fold()
	s.indexToEnd()
	s.writeImages()
	if err := s.state.WriteAnchor(s.end(), true); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return s.opts.hook.Hit(fault.Site{Point: fault.StoreClosed, Segment: c.writer.Header().Segment, Seq: c.seq})
}

// end returns the end of the log. The caller holds the committer; everything is durable.
func (s *Store) end() coldstart.End {
	c := &s.commit
	c.folder.Fold()
	return coldstart.End{Pos: s.position(), Seq: c.seq, HLC: c.hlc}
}
