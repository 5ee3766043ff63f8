package coldstart

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"

	"batpak/event"
	"batpak/fault"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// Before a compaction is committed, the idempotency keys of the events that it evicts go to index.idemp, durably: at
// no time is a key inside the window in neither of the two. What a compaction leaves behind that is given up, or that a
// crash rolls back, is entries for events that are still there, which say the same as those.
//
// An entry holds the whole receipt, and so the hash of the event before on the stream. A keyed event that stays while
// the one before it goes gets an entry, too: nothing else would know its receipt any more.
//
// The same walk sees to it that every stream, which is an entity and a lane, keeps its last event: where that would go,
// or where those that stay could still be lost in a crash, nothing is committed. So clocks go on, and chains, and the last
// event of the log stays, too, with its clock reading.

// moveKeys writes index.idemp anew, with the keys of the events of the sources that are not in results. log is the log
// as it will be, and durable as far as any crash leaves it. When no key moves it writes nothing.
//
// Errors: *[HeadEvictedError]; *[idemp.FileError] for a damaged file, which is kept; *[CorruptError]; the context's;
// I/O errors.
func (r *Replacement) moveKeys(ctx context.Context, log *chain, durable uint64) (err error) {
	s := r.s
	visible := s.Set.Visible() // before the view: the window may only begin too early
	v := s.Set.AcquireAll()    // the event behind an evicted one may wait behind an open fence
	if v == nil {
		return fmt.Errorf("move keys: %w", ErrAbsent)
	}
	defer v.Release()
	b := idemp.NewBuilder(s.Dir, idemp.Update{
		Store: s.StoreID, Old: s.evicted.table, From: idemp.WindowStart(visible, s.cfg.IdempotencyWindow),
	})
	defer func() { err = errors.Join(err, b.Discard()) }()
	if err := r.findKeys(ctx, log, newKeyMover(v, b, s.evicted.table, durable, moverStreams)); err != nil {
		return fmt.Errorf("move keys: %w", err)
	}
	if planted.On(planted.KeysMovedLate) {
		late := *b
		r.late = &late
		return nil
	}
	if b.Added() == 0 {
		return nil
	}
	if err = b.Write(); err == nil {
		err = r.c.hit(fault.KeysWritten)
	}
	if err != nil {
		return fmt.Errorf("move keys: %w", err)
	}
	t, err := idemp.Open(s.Dir, s.StoreID)
	if err != nil {
		return fmt.Errorf("move keys: %w", err)
	}
	if before := s.evicted.use(t); before != nil {
		return before.Close()
	}
	return nil
}

// findKeys shows every event of the sources to m.
func (r *Replacement) findKeys(ctx context.Context, log *chain, m *keyMover) error {
	if m.hidden = r.Hidden; m.hidden == nil {
		m.hidden = r.s.Hidden.Contains
	}
	var results []*link
	for _, id := range r.written {
		results = append(results, log.find(id))
	}
	view := viewReplaced(r.s.Dir, &pendingRecord{}, r.written)
	return m.compare(ctx, &eventReader{dir: r.s.Dir, left: r.sources}, &eventReader{dir: view, left: results})
}

// A keyMover finds the entries that a compaction makes necessary, and the streams that it would end.
type keyMover struct {
	v       *index.View // holds the sources, and not the results
	b       *idemp.Builder
	old     *idemp.Table // nil: none
	durable uint64       // last sequence that survives a crash
	hidden  func(seq uint64) bool

	seed maphash.Seed
	seen []seenEvent // by hash of the stream
}

// moverStreams is how many streams a compaction remembers the last event of, in half a MiB; of others it asks the index.
const moverStreams = 4 << 10

func newKeyMover(v *index.View, b *idemp.Builder, old *idemp.Table, durable uint64, streams int) *keyMover {
	return &keyMover{v: v, b: b, old: old, durable: durable, seed: maphash.MakeSeed(), seen: make([]seenEvent, streams)}
}

// A seenEvent is an event of the sources, the last one so far of its stream. No sequence: none.
type seenEvent struct {
	entity  string
	lane    uint32
	seq     uint64
	clock   uint64
	hash    event.Hash
	evicted bool
}

// compare takes every event of the sources, which end where the results do.
func (m *keyMover) compare(ctx context.Context, sources, results *eventReader) error {
	defer sources.close()
	defer results.close()
	for more := true; sources.next(ctx); {
		for more && results.raw.Seq < sources.raw.Seq {
			more = results.next(ctx)
		}
		if err := results.err; err != nil {
			return err
		}
		if err := m.take(&sources.raw, results.raw.Seq != sources.raw.Seq); err != nil {
			return err
		}
	}
	if sources.err != nil {
		return sources.err
	}
	for i := range m.seen {
		if err := m.leave(&m.seen[i]); err != nil {
			return err
		}
	}
	return nil
}

// take looks at the next event of the sources.
func (m *keyMover) take(raw *event.Raw, evicted bool) error {
	at := &m.seen[m.slot(raw)]
	follows := at.seq > 0 && at.entity == string(raw.Entity) && at.lane == raw.Lane
	if !follows {
		if err := m.leave(at); err != nil {
			return err
		}
	}
	// An earlier compaction may have taken what stood between the two.
	next := follows && at.clock == raw.Clock-1
	if m.wanted(raw) && (evicted || next && at.evicted) {
		parent := at.hash
		if !next {
			var err error
			if parent, err = m.parentOf(raw); err != nil {
				return err
			}
		}
		entry := idemp.EntryOf(raw, parent)
		if err := m.b.Add(&entry); err != nil {
			return err
		}
	}
	if !follows {
		at.entity, at.lane = string(raw.Entity), raw.Lane
	}
	at.seq, at.clock, at.hash, at.evicted = raw.Seq, raw.Clock, raw.Hash, evicted
	return nil
}

func (m *keyMover) slot(raw *event.Raw) uint64 {
	return (maphash.Bytes(m.seed, raw.Entity) + uint64(raw.Lane)) % uint64(len(m.seen))
}

// wanted reports whether the key of an event has to be known.
func (m *keyMover) wanted(raw *event.Raw) bool {
	return raw.Flags&event.FlagKey != 0 && raw.Seq >= m.b.From() && !m.hidden(raw.Seq)
}

// leave forgets an event. When it is evicted, there must be one behind it on its stream, that stays or is taken in its
// turn: what comes next on the stream is counted and linked from the last one. That one, wherever it is, may need an entry.
func (m *keyMover) leave(at *seenEvent) error {
	if !at.evicted {
		return nil
	}
	cur := m.v.Scan(index.Query{Entity: at.entity, Lane: &at.lane, After: at.seq, System: true}, true)
	defer cur.Close()
	next := cur.Next()
	if err := cur.Err(); err != nil {
		return err
	}
	if (!next || cur.Raw().Seq > m.durable) && !planted.On(planted.HeadsEvicted) {
		return &HeadEvictedError{Entity: at.entity, Lane: at.lane, Seq: at.seq, Clock: at.clock}
	}
	if !next || cur.Raw().Clock != at.clock+1 || !m.wanted(cur.Raw()) {
		return nil
	}
	entry := idemp.EntryOf(cur.Raw(), at.hash)
	return m.b.Add(&entry)
}

// parentOf returns the hash of the event before raw on its stream: from the log, or, when that is gone, from the entry
// that raw was given then. It is zero when that entry was lost with a file that somebody chose to go on without.
func (m *keyMover) parentOf(raw *event.Raw) (event.Hash, error) {
	if raw.Clock == 1 {
		return event.Hash{}, nil
	}
	lane := raw.Lane
	cur := m.v.Scan(index.Query{
		Entity: string(raw.Entity), Lane: &lane, Before: raw.Seq, Reverse: true, System: true,
	}, true)
	defer cur.Close()
	if cur.Next() && cur.Raw().Clock == raw.Clock-1 {
		return cur.Raw().Hash, nil
	}
	if err := cur.Err(); err != nil || m.old == nil {
		return event.Hash{}, err
	}
	e, ok, err := m.old.Find(raw.Key.Hash)
	if err != nil || !ok || e.Seq != raw.Seq {
		return event.Hash{}, err
	}
	return e.Parent, nil
}

// An eventReader reads the events of older segments one by one, in the order of the log.
type eventReader struct {
	dir  vfs.Dir
	left []*link

	raw event.Raw // the event that next has read; no sequence: none yet
	err error     // why next returned false; nil at the end

	file   vfs.File // of left[0]; nil: not open
	frames *segment.Scanner
	read   uint64 // events
}

// next reads the next event. It returns false at the end and on an error.
func (e *eventReader) next(ctx context.Context) bool {
	for e.err == nil && len(e.left) > 0 {
		if e.file == nil {
			e.err = e.open(ctx)
			continue
		}
		if e.frames.Next() {
			f := e.frames.Frame()
			if f.Type != segment.TypeEvent {
				continue
			}
			if e.read++; e.read%ctxEvery == 0 {
				e.err = ctx.Err()
			}
			if err := e.raw.Decode(f.Body); errors.Is(err, event.ErrFuture) {
				e.err = &FutureError{File: segment.Name(e.left[0].id), Err: err}
			} else if err != nil {
				e.err = e.early(err)
			}
			if e.err != nil {
				continue
			}
			return true
		}
		if err := e.frames.Err(); err != nil {
			e.err = fmt.Errorf("read segment %06d: %w", e.left[0].id, err)
		} else if e.frames.Offset() != e.left[0].end() {
			e.err = e.early(e.fault())
		}
		e.close()
		e.left = e.left[1:]
	}
	return false
}

func (e *eventReader) open(ctx context.Context) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	l := e.left[0]
	if e.file, err = e.dir.OpenRead(segment.Name(l.id)); err != nil {
		return fmt.Errorf("open segment %06d: %w", l.id, err)
	}
	e.frames = segment.NewScanner(e.file, &l.header, l.header.Len(), l.end())
	return nil
}

// early returns the error of a segment whose frames end where they should not.
func (e *eventReader) early(fault error) error {
	l := e.left[0]
	return corrupt(l.id, e.frames.Offset(), e.raw.Seq+1, l.next.LastSeq, "frames end early", fault)
}

// fault returns why the frames end, as an error that is nil when they just do.
func (e *eventReader) fault() error {
	if f := e.frames.Fault(); f != nil {
		return f
	}
	return nil
}

func (e *eventReader) close() {
	if e.file != nil {
		e.file.Close() // it was read only
		e.file = nil
	}
}
