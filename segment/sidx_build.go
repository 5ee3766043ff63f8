package segment

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"

	"batpak/event"
)

// A kindTable holds a number for each kind, in one block for each category that occurs. The zero kindTable is ready.
type kindTable [1 << 4]*[1 << 12]uint32

// at returns the place of the number of k.
func (t *kindTable) at(k uint16) *uint32 {
	block := &t[k>>12]
	if *block == nil {
		*block = new([1 << 12]uint32)
	}
	return &(*block)[k&(1<<12-1)]
}

// A FooterBuilder collects the events of one segment, in commit order, and encodes its footer. Sealing and rebuilding
// use the same builder over the same frames. Not safe for concurrent use.
type FooterBuilder struct {
	sum  Summary
	last event.HLC
	seed uint64

	rows  [][]buildRow // chunks of buildChunk rows, so that growing copies nothing
	spare [][]buildRow // empty chunks of an earlier footer
	kinds kindTable    // rows of each kind

	// Names in the order they came, and what hangs on them.
	entities sidxDict
	scopes   sidxDict
	tags     sidxDict
	scopeHit uint32        // scope of the last event, plus one
	streams  []buildStream // of each entity

	// What the stream's own fields do not hold: coordinates and lanes after the first one of an entity.
	coordinates []recordPair
	moreCoords  map[recordPair]uint32
	heads       []buildHead
	moreHeads   map[recordPair]uint32

	// Sparse lists, in commit order until Finish sorts them.
	tagRows      []recordPair // tag, row
	keys         []buildKey
	causes       []buildChild
	correlations []buildChild
}

const buildChunk = 4096

// A buildRow is an event as the columns will hold it.
type buildRow struct {
	id             event.ID
	hlc            event.HLC
	offset, length uint32
	seq            uint32 // less the first
	coordinate     uint32 // in the order of arrival
	clock, lane    uint32
	kind, flags    uint16
}

// A buildStream is the first coordinate and the first lane of an entity: nearly always the only ones.
type buildStream struct{ scope, coordinate, lane, head uint32 }

type recordPair struct{ a, b uint32 }

type buildHead struct {
	entity uint32
	Head
}

type buildKey struct {
	hash [keyHashLen]byte
	row  uint32
}

type buildChild struct {
	hash uint64
	row  uint32
}

// NewFooterBuilder returns a builder for the segment with header h.
func NewFooterBuilder(h *Header) *FooterBuilder {
	b := &FooterBuilder{moreCoords: make(map[recordPair]uint32), moreHeads: make(map[recordPair]uint32)}
	b.start(h)
	for _, d := range [...]*sidxDict{&b.entities, &b.scopes, &b.tags} {
		*d = newSidxDict(b.seed)
	}
	return b
}

// start sets what a footer of the segment with header h starts from.
func (b *FooterBuilder) start(h *Header) {
	b.sum = Summary{Store: h.Store, Segment: h.Segment, Salt: h.Salt}
	b.last, b.seed, b.scopeHit = 0, sidxSeed(h.Salt), 0
}

// Events returns how many events were added.
func (b *FooterBuilder) Events() uint64 { return b.sum.Events }

// Add takes the next event: r is decoded from the frame at offset, length counts its header. It keeps nothing of r.
//
// Errors: *[FrameError] with [ErrCorrupt] for an event that cannot follow the one before it: sequence, HLC or the
// clock of its (entity, lane) does not ascend. The builder is then as it was.
func (b *FooterBuilder) Add(r *event.Raw, offset, length uint32) error {
	row := Row{
		ID: r.ID, Seq: r.Seq, Clock: r.Clock, HLC: r.HLC, Offset: offset, Length: length, Lane: r.Lane, Kind: r.Kind,
		Flags: r.Flags,
	}
	if err := b.follows(&row); err != nil {
		return err
	}
	row.Entity = b.entities.number(r.Entity)
	head, err := b.advance(&row)
	if err != nil {
		return err
	}
	head.Hash = r.Hash
	row.Scope = b.scope(r.Scope)
	b.put(&row)
	if row.Sparse() {
		b.AddSparse(r)
	}
	return nil
}

// follows reports why r cannot be the next event, whatever its stream, or nil.
func (b *FooterBuilder) follows(r *Row) error {
	first := b.sum.FirstSeq
	if b.sum.Events == 0 {
		first = r.Seq
	}
	switch {
	case b.sum.Events > 0 && r.Seq <= b.sum.LastSeq || r.Seq == 0:
		return b.refuse(r.Offset, "sequence does not ascend")
	case b.sum.Events > 0 && r.HLC <= b.last:
		return b.refuse(r.Offset, "HLC does not ascend")
	case r.Seq-first >= 1<<32 || b.sum.Events >= maxSidxRows:
		return b.refuse(r.Offset, "sequence too far from the first one")
	}
	return nil
}

// advance makes r the head of its (entity, lane), but for the hash. The result is valid until the next call.
func (b *FooterBuilder) advance(r *Row) (*Head, error) {
	head := b.head(r.Entity, r.Lane)
	if r.Clock <= head.Last {
		return nil, b.refuse(r.Offset, "clock does not ascend")
	}
	if head.Last == 0 {
		head.First = r.Clock
	}
	head.Row, head.Last, head.ID = uint32(b.sum.Events), r.Clock, r.ID
	return head, nil
}

// put adds the row of r.
func (b *FooterBuilder) put(r *Row) {
	b.entities.rows[r.Entity]++
	b.scopes.rows[r.Scope]++
	*b.kinds.at(uint16(r.Kind))++
	first := b.sum.FirstSeq
	if b.sum.Events == 0 {
		first = r.Seq
	}
	b.push(buildRow{
		id: r.ID, hlc: r.HLC, offset: r.Offset, length: r.Length, seq: uint32(r.Seq - first),
		coordinate: b.coordinate(r.Entity, r.Scope), clock: uint32(r.Clock), lane: r.Lane,
		kind: uint16(r.Kind), flags: uint16(r.Flags),
	})
	b.summarize(r)
}

func (b *FooterBuilder) refuse(offset uint32, reason string) error {
	return &FrameError{Segment: b.sum.Segment, Offset: int64(offset), Reason: reason, Err: ErrCorrupt}
}

func (b *FooterBuilder) push(r buildRow) {
	if b.sum.Events%buildChunk == 0 {
		b.rows = append(b.rows, b.chunk())
	}
	chunk := &b.rows[len(b.rows)-1]
	*chunk = append(*chunk, r)
}

// chunk returns an empty chunk: one that another footer has left, or a new one.
func (b *FooterBuilder) chunk() []buildRow {
	if last := len(b.spare) - 1; last >= 0 {
		c := b.spare[last]
		b.spare = b.spare[:last]
		return c
	}
	return make([]buildRow, 0, min(buildChunk, max(b.sum.Events, 64))) // small segments stay small
}

// scope returns the number of a scope; most events share theirs with the one before.
func (b *FooterBuilder) scope(name []byte) uint32 {
	if hit := b.scopeHit; hit > 0 && string(b.scopes.name(hit-1)) == string(name) {
		return hit - 1
	}
	i := b.scopes.number(name)
	b.scopeHit = i + 1
	return i
}

// head returns the head of (entity, lane), made when it is new. It is valid until the next call.
func (b *FooterBuilder) head(entity, lane uint32) *Head {
	if int(entity) == len(b.streams) {
		b.streams = append(b.streams, buildStream{scope: noScope, lane: lane, head: uint32(len(b.heads))})
		b.heads = append(b.heads, buildHead{entity, Head{Lane: lane}})
	}
	if s := &b.streams[entity]; s.lane == lane {
		return &b.heads[s.head].Head
	}
	i, ok := b.moreHeads[recordPair{entity, lane}]
	if !ok {
		i = uint32(len(b.heads))
		b.moreHeads[recordPair{entity, lane}] = i
		b.heads = append(b.heads, buildHead{entity, Head{Lane: lane}})
	}
	return &b.heads[i].Head
}

// noScope says that an entity has no coordinate yet.
const noScope = ^uint32(0)

// coordinate returns the number of a coordinate.
func (b *FooterBuilder) coordinate(entity, scope uint32) uint32 {
	s := &b.streams[entity]
	if s.scope == scope {
		return s.coordinate
	}
	i, ok := b.moreCoords[recordPair{entity, scope}]
	if ok {
		return i
	}
	i = uint32(len(b.coordinates))
	b.coordinates = append(b.coordinates, recordPair{entity, scope})
	if s.scope == noScope {
		s.scope, s.coordinate = scope, i
	} else {
		b.moreCoords[recordPair{entity, scope}] = i
	}
	return i
}

// AddSparse takes the fields that few events have from r, which is the event that was added last. [FooterBuilder.Add]
// calls it; after [FooterBuilder.AddRow] it is for the caller where [Row.Sparse] says so.
func (b *FooterBuilder) AddSparse(r *event.Raw) {
	row := uint32(b.sum.Events - 1)
	if r.Flags&event.FlagKey != 0 {
		b.AddKey(&r.Key.Hash)
	}
	if r.Flags&event.FlagCausation != 0 {
		b.causes = append(b.causes, buildChild{hashID(b.seed, &r.Causation), row})
	}
	if r.Flags&event.FlagCorrelation != 0 {
		b.correlations = append(b.correlations, buildChild{hashID(b.seed, &r.Correlation), row})
	}
	if r.Flags&event.FlagTags != 0 {
		from := len(b.tagRows)
		for tag := range r.EachTag {
			t := b.tags.number(tag)
			if !slices.Contains(b.tagRows[from:], recordPair{t, row}) { // a tag given twice is one tag
				b.tagRows = append(b.tagRows, recordPair{t, row})
				b.tags.rows[t]++
			}
		}
	}
}

// AddKey is [FooterBuilder.AddSparse] for an event that has an idempotency key, and nothing else of what that takes.
func (b *FooterBuilder) AddKey(hash *[16]byte) {
	b.keys = append(b.keys, buildKey{*hash, uint32(b.sum.Events - 1)})
}

func (b *FooterBuilder) summarize(r *Row) {
	s := &b.sum
	if s.Events == 0 {
		s.FirstSeq, s.MinHLC = r.Seq, r.HLC
		s.MinID, s.MaxID = r.ID, r.ID
		s.MinKind, s.MaxKind = r.Kind, r.Kind
		s.MinLane, s.MaxLane = r.Lane, r.Lane
	}
	s.Events++
	s.LastSeq, s.MaxHLC, b.last = r.Seq, r.HLC, r.HLC
	if bytes.Compare(r.ID[:], s.MaxID[:]) > 0 {
		s.MaxID = r.ID
	} else if bytes.Compare(r.ID[:], s.MinID[:]) < 0 {
		s.MinID = r.ID
	}
	s.MinKind, s.MaxKind = min(s.MinKind, r.Kind), max(s.MaxKind, r.Kind)
	s.MinLane, s.MaxLane = min(s.MinLane, r.Lane), max(s.MaxLane, r.Lane)
}

// A FooterEnd is what only the end of the scan tells.
type FooterEnd struct {
	Frames uint64 // of all types
	End    int64  // offset behind the last frame, where the footer will stand

	TreeSize uint64       // events in the Merkle tree up to here
	Root     event.Hash   // of that tree
	Tiles    []event.Hash // subtrees of 256 leaves that the segment's events completed
	Range    []event.Hash // compact range of the tree
}

// sortSparse brings the sparse lists into the order of their sections.
func (b *FooterBuilder) sortSparse() {
	children := func(x, y buildChild) int {
		if x.hash != y.hash {
			return cmp.Compare(x.hash, y.hash)
		}
		return cmp.Compare(x.row, y.row)
	}
	slices.SortFunc(b.causes, children)
	slices.SortFunc(b.correlations, children)
	b.keys = sortKeys(b.keys)
}

// sortKeys returns keys in their order. They are hashes and lie evenly: their first bits put each near its place, and
// what shares those is sorted as a few.
func sortKeys(keys []buildKey) []buildKey {
	shift := 65 - bits.Len(uint(len(keys)|1)) // half of the places stay empty: the first byte of a key is odd
	at := func(k *buildKey) uint64 { return binary.BigEndian.Uint64(k.hash[:]) >> shift }
	ends := make([]uint32, 1<<(64-shift))
	for i := range keys {
		ends[at(&keys[i])]++
	}
	sum := uint32(0)
	for i, n := range ends {
		ends[i], sum = sum, sum+n
	}
	sorted := make([]buildKey, len(keys))
	for i := range keys {
		end := &ends[at(&keys[i])]
		sorted[*end] = keys[i]
		*end++
	}
	from := uint32(0)
	for _, end := range ends {
		if end-from > 1 {
			slices.SortFunc(sorted[from:end], func(x, y buildKey) int {
				if c := bytes.Compare(x.hash[:], y.hash[:]); c != 0 {
					return c
				}
				return cmp.Compare(x.row, y.row)
			})
		}
		from = end
	}
	return sorted
}

// refuseEnd says why end cannot end the segment, or nil.
func (b *FooterBuilder) refuseEnd(end *FooterEnd) error {
	s := b.sum
	s.Frames, s.End, s.TreeSize = end.Frames, end.End, end.TreeSize
	if !s.sound() {
		return fmt.Errorf("segment %06d: footer of %d events, %d frames ending at %d, tree of %d: %w",
			s.Segment, s.Events, end.Frames, end.End, end.TreeSize, ErrCorrupt)
	}
	return nil
}
