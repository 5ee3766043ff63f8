package index

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"sync/atomic"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// An Active is the index of the active segment, in memory. One goroutine, the committer, calls Add, Publish and the
// methods that say so; reads come through a [View], from any number of goroutines, without locks. It keeps nothing of
// what it is given and allocates no object per event.
//
// Once a [Set] has it, the Set owns its file.
type Active struct {
	segment  uint64
	firstSeq uint64 // no event is below
	file     vfs.File
	seal     segment.Seal
	refs     atomic.Int32 // epochs that hold it

	published atomic.Uint32 // rows that readers may see

	// Written by the committer, read by anyone as far as published.
	rows     chunks[activeRow]
	ids      atomic.Pointer[slotTable] // by ID; nil as long as IDs ascend
	idSeed   uint64
	arena    arena
	entities dict
	scopes   dict
	kinds    dict
	tags     dict
	keys     keyTable
	children [2]dict // by segment.Relation, parent's ID

	// ordered is the sorted prefix of the entities that a query needed last; see withPrefix.
	ordered atomic.Pointer[[]uint32]

	// The committer's own.
	added    uint32
	last     activeRow                // the row added last
	scopeHit uint32                   // scope that was asked for last, plus one
	kindOf   [1 << 4]*[1 << 12]uint32 // number of each kind, plus one; by category
}

// An activeRow is one event; exactly one cache line.
type activeRow struct {
	id             event.ID
	seq, clock     uint64
	hlc            event.HLC
	offset, length uint32
	entity, scope  uint32
	lane           uint32
	kind           event.Kind
	flags          event.Flags
}

// A Head is the last event of one (entity, lane): what the next one links to.
type Head struct {
	Seq   uint64
	Clock uint64
	ID    event.ID
	Hash  event.Hash
}

// NewActive returns an empty index for the segment with header h, whose frames are read from f.
func NewActive(h *segment.Header, f vfs.File) *Active { return NewActiveFrom(h, h.FirstSeq, f) }

// NewActiveFrom is NewActive for the part of the segment that begins with sequence first: index blocks hold the rest.
func NewActiveFrom(h *segment.Header, first uint64, f vfs.File) *Active {
	a := &Active{
		segment: h.Segment, firstSeq: first, file: f, seal: segment.NewSeal(h.Salt),
		idSeed: rand.Uint64(),
	}
	a.rows.shift, a.arena.rows.shift = rowShift, listShift
	for _, d := range [...]*dict{&a.entities, &a.scopes, &a.kinds, &a.tags, &a.children[0], &a.children[1]} {
		d.init(rand.Uint64())
	}
	a.keys.init()
	return a
}

// Added returns how many events were added. Committer only.
func (a *Active) Added() uint32 { return a.added }

// Last returns the place and the ID of the event added last; ok is false when there is none. Committer only.
func (a *Active) Last() (at segment.Locator, id event.ID, ok bool) {
	return segment.Locator{Offset: a.last.offset, Length: a.last.length}, a.last.id, a.added > 0
}

// LastSeq returns the sequence of the event added last, 0 when there is none. Committer only.
func (a *Active) LastSeq() uint64 { return a.last.seq }

// Add takes the next event in commit order: r is decoded from the frame at offset; length counts the frame's header.
// Readers do not see it before Publish. It keeps nothing of r. Committer only.
//
// Errors: *[segment.FrameError] with [segment.ErrCorrupt] when the sequence or the HLC does not ascend; the index is then
// as it was.
func (a *Active) Add(r *event.Raw, offset, length uint32) error {
	if err := a.follows(r.Seq, r.HLC, offset); err != nil {
		return err
	}
	a.take(a.entities.number(r.Entity), r, offset, length)
	return nil
}

// Entity returns the number that this segment gives to an entity, for [Active.AddTo]. Committer only.
func (a *Active) Entity(name string) uint32 {
	h := hashOf(a.entities.seed, name)
	if i, ok := findIn(&a.entities, h, name); ok {
		return i
	}
	return a.entities.number([]byte(name))
}

// Scope is [Active.Entity] for scopes. Most events share theirs with the one before. Committer only.
func (a *Active) Scope(name string) uint32 { return scopeNumber(a, name) }

// AddTo is [Active.Add] for an event whose entity has been looked up. Committer only.
func (a *Active) AddTo(entity uint32, r *event.Raw, offset, length uint32) error {
	if err := a.follows(r.Seq, r.HLC, offset); err != nil {
		return err
	}
	a.take(entity, r, offset, length)
	return nil
}

// AddRow is [Active.Add] for an event that is not [segment.Row.Sparse], or [segment.Row.OnlyKeyed] with the given hash of
// its key. [Active.Entity] and [Active.Scope] gave out the numbers of its names. Committer only.
func (a *Active) AddRow(r *segment.Row, key *[16]byte) error {
	if err := a.follows(r.Seq, r.HLC, r.Offset); err != nil {
		return err
	}
	if r.Sparse() {
		a.keys.add(key, a.added)
	}
	a.put(&activeRow{
		id: r.ID, seq: r.Seq, clock: r.Clock, hlc: r.HLC, offset: r.Offset, length: r.Length,
		entity: r.Entity, scope: r.Scope, lane: r.Lane, kind: r.Kind, flags: r.Flags,
	})
	return nil
}

// follows reports whether an event may come behind the one added last.
func (a *Active) follows(seq uint64, hlc event.HLC, offset uint32) error {
	if seq <= a.last.seq || hlc <= a.last.hlc && a.added > 0 || seq < a.firstSeq {
		return a.refuse(offset, "sequence or HLC does not ascend")
	}
	return nil
}

// take adds r, which follows.
func (a *Active) take(entity uint32, r *event.Raw, offset, length uint32) {
	const sparse = event.FlagTags | event.FlagKey | event.FlagCausation | event.FlagCorrelation
	if r.Flags&sparse != 0 {
		a.addSparse(r, a.added)
	}
	a.put(&activeRow{
		id: r.ID, seq: r.Seq, clock: r.Clock, hlc: r.HLC, offset: offset, length: length,
		entity: entity, scope: scopeNumber(a, r.Scope), lane: r.Lane, kind: r.Kind, flags: r.Flags,
	})
}

// put adds a row.
func (a *Active) put(r *activeRow) {
	n, last := a.added, a.last.id
	a.rows.reserve(n + 1)
	a.last = *r
	*a.rows.at(n) = *r
	a.entities.push(&a.arena, r.entity, n)
	a.scopes.push(&a.arena, r.scope, n)
	a.kinds.push(&a.arena, a.kind(r.kind), n)
	a.added = n + 1
	a.addID(&r.id, &last)
}

// addID sees to it that the event added last is found by its ID. IDs ascend, and then the rows themselves are searched;
// from the first one on that does not, there is a table.
func (a *Active) addID(id, last *event.ID) {
	ids := a.ids.Load()
	if ids == nil {
		if compareID(last, id) < 0 || a.added == 1 {
			return
		}
		ids = newSlotTable(firstSlots)
		for row := range a.added - 1 {
			ids = ids.add(a.hashID(&a.rows.at(row).id), row)
		}
	}
	a.ids.Store(ids.add(a.hashID(id), a.added-1))
}

// Publish makes every event added so far visible to later reads, all at once. Committer only.
func (a *Active) Publish() {
	a.keys.settle()
	a.published.Store(a.added)
}

func (a *Active) refuse(offset uint32, reason string) error {
	return &segment.FrameError{Segment: a.segment, Offset: int64(offset), Reason: reason, Err: segment.ErrCorrupt}
}

func (a *Active) hashID(id *event.ID) uint64 {
	le := binary.LittleEndian
	return mix(mix(le.Uint64(id[:8])^a.idSeed, hashK1)^le.Uint64(id[8:]), hashK2)
}

// scopeNumber returns the number of a scope; most events share theirs with the one before.
func scopeNumber[T string | []byte](a *Active, name T) uint32 {
	if hit := a.scopeHit; hit == 0 || string(a.scopes.name(hit-1)) != string(name) {
		a.scopeHit = a.scopes.number([]byte(name)) + 1
	}
	return a.scopeHit - 1
}

// kind returns the number of a kind.
func (a *Active) kind(k event.Kind) uint32 {
	of := &a.kindOf[k.Category()]
	if *of == nil {
		*of = new([1 << 12]uint32)
	}
	at := &(*of)[k.Number()]
	if *at == 0 {
		*at = a.kinds.number([]byte(kindName(k))) + 1
	}
	return *at - 1
}

func kindName(k event.Kind) string { return string([]byte{byte(k >> 8), byte(k)}) }

// addSparse takes the fields that few events have.
func (a *Active) addSparse(r *event.Raw, row uint32) {
	if r.Flags&event.FlagKey != 0 {
		a.keys.add(&r.Key.Hash, row)
	}
	if r.Flags&event.FlagCausation != 0 {
		d := &a.children[segment.ByCausation]
		d.push(&a.arena, d.number(r.Causation[:]), row)
	}
	if r.Flags&event.FlagCorrelation != 0 {
		d := &a.children[segment.ByCorrelation]
		d.push(&a.arena, d.number(r.Correlation[:]), row)
	}
	if r.Flags&event.FlagTags != 0 {
		for tag := range r.EachTag {
			i := a.tags.number(tag)
			if l := a.tags.list(i); l.len() == 0 || a.lastRow(l) != row { // a tag given twice is one tag
				a.tags.push(&a.arena, i, row)
			}
		}
	}
}

// lastRow returns the last row of a list that is not empty.
func (a *Active) lastRow(s listState) uint32 {
	var row [1]uint32
	a.arena.read(s, s.len()-1, row[:])
	return row[0]
}

// release gives up an epoch's hold; the last one closes the file.
func (a *Active) release() error {
	if a.refs.Add(-1) > 0 {
		return nil
	}
	if err := a.file.Close(); err != nil && err != fs.ErrClosed {
		return fmt.Errorf("close segment %06d: %w", a.segment, err)
	}
	return nil
}
