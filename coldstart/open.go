package coldstart

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"batpak/event"
	"batpak/fault"
	"batpak/hidden"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// An opener is one Open: what it was asked for, and what it has found out so far.
type opener struct {
	cfg    Config
	dir    vfs.Dir
	lock   vfs.LockFile // nil when read-only
	report *Report
	steps  stepper
	began  time.Time
	since  time.Time // when the current phase began

	meta    meta
	created bool // by this open

	distrusted map[uint64]bool // segments whose footer was found damaged behind its trailer

	listing *listing
	chain   *chain
	image   *image // that the open rests on; nil for rungs below
	kept    kept   // the newest segment's file, for everybody who needs it

	// Evidence of how far the log was durable.
	anchor *Anchor // nil when there is none that holds
	rotten bool    // the anchor's file has a slot that does not hold
	signal *Signal // nil when there is no beacon
	proofs []proof

	known  hidden.File // what the file of hidden ranges says
	fenced bool        // the log may hold fences
}

// Open opens the store in cfg.Dir, and makes one in an empty directory.
//
// A writable open holds the lock before it reads anything, repairs what a crash has left, and makes durable what it
// shows; it needs no flag for that, however many crashes there were. A read-only open takes no lock, writes nothing,
// may run beside a writer, and shows what was durable, or, beside a relaxed writer, what was written. A refusal
// modifies nothing in either.
//
// ctx bounds the open; an open that gives up has not hurt the store.
//
// Errors: *[vfs.LockedError]; *[vfs.UnsafePathError]; *[MetaError]; *[PendingError]; *[FutureError]; *[CorruptError];
// *[TailMissingError]; *[HeadMismatchError]; [ErrNoStore]; the context's; I/O errors.
func Open(ctx context.Context, cfg Config) (*State, error) {
	cfg = cfg.withDefaults()
	dir, err := cfg.FS.OpenDir(cfg.Dir, vfs.DirOptions{Create: !cfg.ReadOnly, DirPerm: cfg.DirPerm, FilePerm: cfg.FilePerm})
	if err != nil {
		return nil, err
	}
	var s *State
	if cfg.ReadOnly {
		s, err = openReader(ctx, cfg, dir)
	} else {
		s, err = openWriter(ctx, cfg, dir)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return s, nil
}

func newOpener(cfg Config, dir vfs.Dir) *opener {
	now := time.Now()
	return &opener{cfg: cfg, dir: dir, began: now, since: now, report: &Report{Phases: make([]Phase, 0, mostPhases)}, steps: stepper{tell: cfg.Progress}}
}

// mostPhases is how many there mostly are.
const mostPhases = 4

// phase ends the current phase of the open.
func (o *opener) phase(name string) {
	now := time.Now()
	o.report.Phases = append(o.report.Phases, Phase{name, now.Sub(o.since)})
	o.since = now
}

func (o *opener) site(id, seq uint64) fault.Site {
	return fault.Site{Point: fault.SegmentScanned, Segment: id, Seq: seq}
}

// openWriter is Open for a writer. On an error it has released everything but dir.
func openWriter(ctx context.Context, cfg Config, dir vfs.Dir) (*State, error) {
	lock, err := dir.Lock(lockName)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", cfg.Dir, err)
	}
	distrusted := make(map[uint64]bool)
	for {
		o := newOpener(cfg, dir)
		o.lock, o.distrusted = lock, distrusted
		s, err := o.openLocked(ctx)
		if err == nil {
			return s, nil
		}
		if !distrust(distrusted, err) {
			return nil, errors.Join(err, lock.Close())
		}
	}
}

// distrust notes the segment whose footer, or index block, err is about: pages are checked when they are needed, and an
// open that finds one damaged is tried again without it. It reports whether there is one that was not noted before.
func distrust(noted map[uint64]bool, err error) bool {
	footer := badFooter(err)
	if footer == nil || noted[footer.Segment] {
		return false
	}
	noted[footer.Segment] = true
	return true
}

// badFooter returns the error in err that says that a footer, or an index block, does not hold; nil when there is none.
func badFooter(err error) *segment.FooterError {
	var footer *segment.FooterError
	if !errors.As(err, &footer) {
		return nil
	}
	for _, condition := range []error{segment.ErrDamaged, segment.ErrAbsent, segment.ErrForeign} {
		if errors.Is(footer, condition) {
			return footer
		}
	}
	return nil
}

func (o *opener) openLocked(ctx context.Context) (*State, error) {
	defer o.kept.close()
	if err := o.cfg.Hook.Hit(fault.Site{Point: fault.StoreLocked}); err != nil {
		return nil, err
	}
	if err := o.identify(true); err != nil {
		return nil, err
	}
	if err := o.caches().refuseNewer(); err != nil { // before anything is changed
		return nil, err
	}
	if err := o.readEvidence(); err != nil {
		return nil, err
	}
	if err := o.resolvePending(ctx); err != nil {
		return nil, err
	}
	v, err := o.survey(ctx)
	if err != nil {
		return nil, err
	}
	s, err := o.recover(ctx, v)
	if err != nil {
		return nil, err
	}
	o.phase("recover")
	s.Report = *o.report
	return s, nil
}

// identify reads the store's identity; in an empty directory it makes one, if it may.
func (o *opener) identify(create bool) error {
	var look func(string) bool
	if create { // nobody else writes, so there is time to look at what is needed only; a reader lists again
		look = isSegment
	}
	entries, err := o.dir.Names(look)
	if err != nil {
		return err
	}
	l, err := sortOut(entries)
	if err != nil {
		return err
	}
	o.listing = l
	o.meta, err = readMeta(o.dir)
	switch {
	case !errors.Is(err, ErrAbsent):
		return err
	case len(l.segments) > 0 || len(l.quarantined) > 0 || l.inhabited:
		return err // a store has been here
	case !create:
		return fmt.Errorf("%w: %s", ErrNoStore, o.cfg.Dir)
	}
	o.cfg.Random(o.meta.Store[:])
	o.meta.Created = o.cfg.Now().UnixMilli()
	if err := createMeta(o.dir, &o.meta); err != nil {
		return err
	}
	o.created = true
	return o.cfg.Hook.Hit(fault.Site{Point: fault.MetaWritten})
}

// survey reads everything that tells the state of the store, and changes nothing. On an error nothing stays open.
func (o *opener) survey(ctx context.Context) (v *survey, err error) {
	if o.known, err = o.readHidden(); err != nil {
		return nil, err
	}
	if o.lock == nil || o.created || o.report.Pending != "" { // else nobody has changed it since
		if o.listing, err = list(o.dir); err != nil {
			return nil, err
		}
	}
	if n := len(o.listing.segments); n > 0 && o.lock != nil { // beside a writer, files are to be looked at as they are
		o.kept.id = o.listing.segments[n-1].id
	}
	o.report.Unknown = o.listing.strangers
	o.phase("list")
	found := new(survey)
	v = found
	defer func() {
		if err != nil {
			found.close()
		}
	}()
	if err := o.readLog(ctx, v); err != nil {
		return nil, err
	}
	if err := o.verdicts(v); err != nil {
		return nil, err
	}
	o.count(v)
	if o.lock != nil { // a reader does not believe in all of the tail yet
		if v.hidden, err = o.hiddenIn(ctx, v); err != nil {
			return nil, err
		}
	}
	if v.keys, err = o.readIdemp(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err // nothing has been changed yet
	}
	return v, o.checkHead(v)
}

// readLog makes all segments readable: the older ones by the first rung that holds, the newest by its frames.
func (o *opener) readLog(ctx context.Context, v *survey) (err error) {
	if v.runs, err = o.restore(ctx); err != nil {
		return err
	}
	v.broken = o.chain.broken
	o.phase(o.report.Rung.String())
	if l := o.chain.newest(); l != nil {
		if v.tail, err = o.readTail(ctx, l); err != nil {
			return err
		}
		o.steps.step(v.tail.lastSeq())
		if err := o.cfg.Hook.Hit(o.site(l.id, v.tail.at.seq)); err != nil {
			return err
		}
	}
	o.phase("tail")
	return nil
}

// count fills in what the report says about the segments.
func (o *opener) count(v *survey) {
	r := o.report
	r.Segments = len(o.chain.links)
	r.Reserved = make(map[event.Kind]uint64)
	for i := range v.runs {
		run := &v.runs[i]
		if run.sealed != nil {
			source := SourceFooter
			if run.link.listed {
				source = Source(r.Rung) // of the two that rest on an image
			} else {
				r.Footers++
			}
			r.from(run.link.id, source)
			r.Restored += run.link.events()
			continue
		}
		r.from(run.link.id, SourceFrames)
		r.Scanned++
		o.add(run.frames)
	}
	if t := v.tail; t != nil {
		r.from(t.link.id, SourceTail)
		o.add(t.replay)
		r.Clean = o.clean(t)
		if t.verdict.do == actMove {
			r.TornBytes, r.LostFrames = t.torn, t.lost
		}
		if t.half() {
			r.Batches, r.BatchEvents = 1, uint64(len(t.batch.members))
		}
	}
	r.ReservedTotal = maps.Clone(r.Reserved)
	for i := range v.runs {
		addKinds(r.ReservedTotal, v.runs[i].reserved)
		if f := v.runs[i].frames; f != nil {
			addKinds(r.ReservedTotal, f.cover.reserved)
		}
	}
	if v.tail != nil {
		addKinds(r.ReservedTotal, v.tail.cover.reserved)
	}
	if o.image != nil {
		addKinds(r.ReservedTotal, o.image.reserved)
	}
}

// add counts a segment that was read by its frames, or by those behind its index blocks.
func (o *opener) add(p *replay) {
	r := o.report
	r.Blocks += len(p.cover.runs)
	r.Restored += p.cover.events(p.header)
	r.Replayed += p.events
	r.Frames += p.count
	r.Fences += p.fences
	r.Bytes += p.stop - p.cover.at.offset
	if p.cover.reason != nil && o.lock != nil { // a reader may see a block that is being written
		r.Skipped = append(r.Skipped, Skip{Segment: p.header.Segment, Err: p.cover.reason})
	}
	for k, n := range p.reserved {
		r.Reserved[k] += n
	}
}

// newState returns a State over what the survey found, with nothing to append to yet. It takes over the survey.
func (o *opener) newState(v *survey) (*State, error) {
	s := &State{
		Dir: o.dir, view: o.dir, StoreID: o.meta.Store, cfg: o.cfg, lock: o.lock, highest: o.listing.highest, NextSeq: 1,
		anchor: anchorFile{dir: o.dir, store: o.meta.Store},
	}
	if o.anchor != nil {
		s.anchored = *o.anchor
		s.anchor.generation, s.anchor.whole = o.anchor.generation, !o.rotten
	}
	sealed := make([]*index.Sealed, 0, len(v.runs)+8)
	var memory []*replay
	if o.image != nil {
		whole := o.report.Rung == RungSnapshot && (o.listing.has(checkpointName) || o.cfg.NoCheckpoint)
		s.older.begin(o.image, whole)
	}
	for i := range v.runs {
		r := &v.runs[i]
		if !r.link.listed {
			s.older.push(&r.link.header)
		}
		if r.sealed != nil {
			if !r.link.listed {
				s.older.seal(entry{*r.sealed.Summary(), r.link.segmentFile}, r.reserved)
			}
			sealed = append(sealed, r.sealed)
			continue
		}
		s.Pending = append(s.Pending, Unsealed{Header: r.link.header, Next: *r.link.next, Tree: r.tree})
		if r.link.events() > 0 {
			memory = append(memory, r.frames)
		} else if err := r.frames.file.Close(); err != nil {
			return nil, fmt.Errorf("close segment %06d: %w", r.link.id, err)
		}
	}
	s.Hidden = v.hidden.Set
	s.evicted.use(v.keys)
	s.Fences, s.Fenced, s.Derived, s.created = v.hidden.File, o.meta.Fenced, v.hidden.stale, o.meta.Created
	v.keys = nil
	s.Folder = merkle.NewFolder(merkle.Range{})
	var active *index.Active
	if t := v.tail; t != nil {
		sealed, active = append(sealed, t.cover.runs...), t.active
		s.Folder, s.recut = t.folder, len(t.cover.runs) > 0
		s.LastSeq, s.LastHLC, s.NextSeq = t.lastSeq(), t.at.hlc, t.at.seq+1
		s.older.push(t.header)
	}
	s.Set = index.NewSet(sealed, active, s.newCatalogs(o.listing.catalogs)...)
	for _, r := range memory {
		r.join(s.Set)
		if r.active.Added() == 0 {
			s.Set.Drop(r.active)
		}
	}
	if o.image != nil && planted.On(planted.SnapshotAheadTrusted) {
		s.NextSeq = max(s.NextSeq, o.image.watermark.seq+1)
	}
	return s, nil
}

// recover makes a State that can be written to of what the survey found. On an error everything but dir and lock is
// released.
func (o *opener) recover(ctx context.Context, v *survey) (*State, error) {
	if t := v.tail; t == nil || !o.kept.has(t.link.id) || t.verdict.do != actResume {
		o.kept.close() // nobody writes to it: it may be renamed, or renamed over, and not every system does that to an open file
	}
	s, err := o.newState(v)
	if err != nil {
		v.close()
		return nil, err
	}
	if v.tail != nil {
		s.Active = v.tail.active
		err = o.settle(ctx, s, v.tail)
	}
	if err == nil {
		err = o.tidy(s, v)
	}
	if err == nil && v.hidden.ahead {
		err = s.WriteHidden(v.hidden.File) // before another event has one of the sequences
	}
	if err == nil {
		err = o.proceed(ctx, s, v.tail)
	}
	if err == nil {
		err = o.announce(s, v.tail)
	}
	if err != nil {
		return nil, errors.Join(err, s.abandon())
	}
	s.continueBlocks(v.tail)
	s.Set.SetVisible(s.NextSeq - 1)
	return s, nil
}

// announce tells the next recovery and other processes where the log stands. Everything in it is durable.
func (o *opener) announce(s *State, t *tail) error {
	end := End{
		Pos: segment.Pos{Segment: s.Writer.Header().Segment, Offset: s.Writer.End()}, Seq: s.NextSeq - 1, HLC: s.LastHLC,
	}
	moved := t != nil && (t.verdict.do == actMove || t.verdict.do == actRenew || o.report.SkippedSeqs > 0)
	if o.cfg.Relaxed || moved || o.anchor != nil && o.anchor.Relaxed {
		if err := s.WriteAnchor(end, false); err != nil {
			return err
		}
	}
	s.Beacon = newBeacon(o.lock, o.meta.Store, o.cfg.Relaxed)
	if s.Beacon.says(o.signal, end.Pos, end.Seq) {
		return nil
	}
	if err := s.Beacon.Publish(end.Pos, end.Seq); err != nil {
		o.cfg.Logger.Warn("write beacon", "err", err) // on a full disk, say: no reason not to open
	}
	return nil
}

// abandon releases everything but the directory and the lock.
func (s *State) abandon() error {
	s.Sweep()
	err := errors.Join(s.Set.Close(), s.evicted.close())
	if s.Writer != nil {
		err = errors.Join(err, s.Writer.Close())
	}
	return err
}
