package coldstart

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"batpak/event"
	"batpak/idemp"
	"batpak/internal/merkle"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A Replacement is one compaction as its writer sees it: older segments of the log, the sources, are replaced by others,
// the results. The protocol stands in pending.go. In this order: [State.PrepareReplacement]; Write for each result;
// Commit; Place; Finish. Before Commit, Abandon gives up.
//
// Sequences and segment numbers stay: a result takes the number of one of its sources. As long as segments are bound by
// their headers, the sources include the segment behind one whose end moves: it is written again with another header.
//
// Beside it the committer may go on. Nothing of a Replacement touches the segments in memory: their owner puts the
// results there between Place and Finish, and holds all sources open before Place, which takes names from them.
//
// After an error of Commit, Place or Finish the directory is in the state that the record says, and the next open
// resolves it; no other Replacement can begin before. An error that a sync of the directory has returned may concern
// the names of other new files, too: whoever appends has to treat it as its own. Not safe for concurrent use.
type Replacement struct {
	// Hidden reports the events that are hidden for ever: nobody will ask for their keys. It may be set before Commit;
	// nil means those that were hidden when the store was opened. No source holds an event whose fence is undecided.
	Hidden func(seq uint64) bool

	s       *State
	c       compaction
	sources []*link
	behind  segment.Header // of the segment behind the last source
	written []uint64       // numbers of the results, ascending

	late *idemp.Builder // planted.KeysMovedLate
}

// PrepareReplacement begins the compaction that replaces the segments with the given numbers; generation tells it from
// other compactions, and is not 0. When the error is nil the record of it is durable.
//
// Errors: *[PendingError] with [ErrPending] when one was begun before and not ended; [ErrAbsent] for a number that no
// older segment has; *[CorruptError]; I/O errors.
func (s *State) PrepareReplacement(ctx context.Context, generation uint64, sources []uint64) (*Replacement, error) {
	_, err := readPending(s.Dir, s.StoreID)
	if err == nil {
		return nil, &PendingError{pendingName, ErrPending}
	}
	if !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	log, err := readLog(ctx, s.Dir, s.StoreID)
	if err != nil {
		return nil, err
	}
	rec := &pendingRecord{state: statePrepared, store: s.StoreID, generation: generation}
	sources = slices.Clone(sources)
	slices.Sort(sources)
	r := &Replacement{s: s, c: compaction{dir: s.Dir, rec: rec, hook: s.cfg.Hook}}
	for _, id := range sources {
		l := log.find(id)
		if l == nil || l.next == nil {
			return nil, fmt.Errorf("replace segment %06d: %w among the older segments", id, ErrAbsent)
		}
		rec.sources = append(rec.sources, describe(l))
		r.sources = append(r.sources, l)
		r.behind = *l.next
	}
	if !rec.sound() {
		return nil, fmt.Errorf("coldstart: compaction %d of segments %v cannot be recorded", generation, sources)
	}
	if err := r.c.write(statePrepared); err != nil {
		return nil, err
	}
	return r, nil
}

// readLog reads the headers of the segments that are listed in dir.
func readLog(ctx context.Context, dir vfs.Dir, store [16]byte) (*chain, error) {
	l, err := list(dir)
	if err != nil {
		return nil, err
	}
	return readChain(ctx, dir, store, nil, l.segments, nil)
}

// Write makes the result that takes the number id of what write writes: a whole segment, header first. When the error is
// nil its bytes are durable. It may be written again until Commit.
//
// Errors: those of write; I/O errors.
func (r *Replacement) Write(id uint64, write func(vfs.File) error) error {
	r.must(statePrepared)
	if r.c.rec.source(id) == nil {
		return fmt.Errorf("write segment %06d: %w among the sources", id, ErrAbsent)
	}
	if err := removeLeftover(r.c.dir, resultName(id)); err != nil {
		return fmt.Errorf("write segment %06d: %w", id, err)
	}
	if err := writeDurably(r.c.dir, resultName(id), write); err != nil {
		return fmt.Errorf("write segment %06d: %w", id, err)
	}
	if i, again := slices.BinarySearch(r.written, id); !again {
		r.written = slices.Insert(r.written, i, id)
	}
	return nil
}

// must panics when the compaction is not in the state that a step needs.
func (r *Replacement) must(state pendingState) {
	if r.c.rec.state != state {
		panic(fmt.Sprintf("coldstart: step of a compaction in state %d, want %d", r.c.rec.state, state))
	}
}

// Commit makes the results count. Before, it reads them to their ends, and the headers of the log as it will be: that
// log must hold, or nothing is committed. The idempotency keys of events that are in no result any more are moved to
// index.idemp first, see moveKeys. When the error is nil the results count after any crash. After an error
// Abandon tells whether they do.
//
// Errors: *[HeadEvictedError] when a stream would lose its last event; *[CorruptError]; *[FutureError];
// *[idemp.FileError]; [ErrStale] when the beacon still names a source, which it does until the first sync behind the
// rotation; the context's; I/O errors.
func (r *Replacement) Commit(ctx context.Context) error {
	r.must(statePrepared)
	next := *r.c.rec
	next.state, next.results = stateCommitted, nil
	for _, id := range r.written {
		next.results = append(next.results, pendingFile{segment: id})
	}
	view := viewReplaced(r.c.dir, &next, r.written)
	log, err := readLog(ctx, view, next.store)
	if err != nil {
		return fmt.Errorf("commit compaction: %w", err)
	}
	for i := range next.results {
		if err := next.results[i].prove(ctx, view, log); err != nil {
			return fmt.Errorf("commit compaction: %w", err)
		}
	}
	if !next.sound() {
		return fmt.Errorf("coldstart: results %v cannot be recorded", r.written)
	}
	durable, err := r.moveEvidence(log) // first: it may refuse, and costs little
	if err == nil {
		err = r.moveKeys(ctx, log, durable)
	}
	if err != nil {
		return fmt.Errorf("commit compaction: %w", err)
	}
	// A record that outlives a crash must not name results that do not.
	if !planted.On(planted.ResultsNamedLate) {
		if err := r.c.dir.Sync(); err != nil {
			return fmt.Errorf("commit compaction: %w", err)
		}
	}
	c := compaction{dir: r.c.dir, rec: &next, hook: r.c.hook, aside: r.written}
	if err := c.write(stateCommitted); err != nil {
		return fmt.Errorf("commit compaction: %w", err)
	}
	r.c = c
	return nil
}

// moveEvidence sees to it that whatever is left of anchor and beacon after a crash names no source: the log could not
// hold what they say of a segment that is gone, or ends elsewhere. Of the beacon, which nobody syncs, an old version
// may come back; of the anchor, when a slot rots, the other slot.
//
// It returns the last sequence that it knows to be durable: older segments are whole, and of the newest one the beacon
// tells.
func (r *Replacement) moveEvidence(log *chain) (durable uint64, err error) {
	if err := r.s.writeAnchor(anchorAt(&r.behind, &r.s.cfg)); err != nil {
		return 0, err
	}
	if err := r.s.repeatAnchor(); err != nil {
		return 0, err
	}
	signal, ok, err := readBeacon(r.s.lock, r.s.StoreID)
	if err != nil {
		return 0, err
	}
	if ok && signal.Durable.Segment < r.behind.Segment {
		return 0, fmt.Errorf("%w: beacon names segment %06d", ErrStale, signal.Durable.Segment)
	}
	return max(log.newest().header.LastSeq, signal.Seq), r.s.lock.Sync()
}

// prove reads the result that f names by its frames, and fills in f.
func (f *pendingFile) prove(ctx context.Context, dir vfs.Dir, log *chain) error {
	l := log.find(f.segment)
	if l == nil || l.next == nil {
		return f.missing(resultName(f.segment), "is not a segment that the log goes on behind")
	}
	file, err := dir.OpenRead(segment.Name(l.id))
	if err != nil {
		return err
	}
	defer file.Close()
	tree, _ := merkle.NewRange(l.header.TreeSize, l.header.Range)
	folder := merkle.NewFolder(tree)
	s := newScan(file, &l.header, startOf(&l.header), l.end(), l.end())
	s.each = func(raw *event.Raw, _, _ uint32) error {
		folder.Take(raw.Hash)
		return nil
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if s.at.offset != l.end() || s.half() || s.events != l.events() || folder.Cut().Root != l.next.Root {
		return corrupt(l.id, s.at.offset, s.at.seq+1, l.next.LastSeq, "result of a compaction ends early, or is another history", nil)
	}
	*f = describe(l)
	f.content, err = contentSum(ctx, dir, segment.Name(l.id), f.end)
	return err
}

// Place gives the results their names. When the error is nil they have them after any crash.
//
// Errors: I/O errors.
func (r *Replacement) Place(ctx context.Context) error {
	r.must(stateCommitted)
	return r.c.place(ctx)
}

// Finish removes the sources, and the record. It is for the moment when no reader needs the sources any more.
//
// Errors: I/O errors.
func (r *Replacement) Finish() error {
	r.must(statePlaced)
	if err := r.c.retire(); err != nil {
		return err
	}
	if planted.On(planted.KeysMovedLate) {
		return r.late.Write()
	}
	r.c.rec = &pendingRecord{}
	return nil
}

// Abandon gives up a compaction that is not committed.
//
// Errors: *[PendingError] with [ErrPending] when it is, or may be, after a Commit that failed; I/O errors.
func (r *Replacement) Abandon() error {
	rec, err := readPending(r.c.dir, r.c.rec.store)
	if err != nil {
		return err
	}
	if rec.state != statePrepared {
		return &PendingError{pendingName, ErrPending}
	}
	if _, err = r.c.rollBack(); err == nil {
		r.c.rec = &pendingRecord{}
	}
	return err
}
