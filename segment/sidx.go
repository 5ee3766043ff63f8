package segment

import (
	"errors"
	"fmt"

	"batpak/event"
	"batpak/internal/paged"
)

// A SIDX footer is the index of one sealed segment, laid out to be searched where it lies.
//
//	frames | body: sections, aligned | page sums | trailer |
//
// The body is a row of sections, each begun at a multiple of 8 unless it says otherwise. R is the number of events, E entities, S scopes, C coordinates, K kinds, T tags,
// H (entity, lane) pairs. A row is an event's number in the segment, from 0, in commit order. A record table has one
// record more than it has entries: an entry's starts are in its own record, its ends in the next one.
//
//	section       shape    content
//	locators      8 × R    offset u32, length of the whole frame u32
//	seqs          4 × R    sequence, less the first one of the segment
//	coordinates   4 × R    number in the coordinate table
//	kinds         2 × R
//	flags         2 × R    event.Flags
//	clocks        4 × R    low 32 bits; the rest follows from the head of the (entity, lane)
//	lanes         4 × R
//	HLCs          8 × R    strictly ascending
//	names         bytes    entities, scopes, tags; each sorted bytewise, one behind the other
//	entities      16×(E+1) start in names, in the coordinate table, in entity rows, in heads
//	entity slots  4×(E·5/4+1)  static hash by name, see sidxSlots
//	scopes        8×(S+1)  start in names, in scope rows
//	coordinate table 8 × C entity u32, scope u32; sorted by both, so an entity prefix is a range of numbers
//	kind table    8×(K+1)  kind u32, start in kind rows; kinds ascending
//	tags          8×(T+1)  start in names, in tag rows
//	entity rows   4 × R    rows of each entity, ascending; entities in their order
//	scope rows    4 × R
//	kind rows     4 × R
//	tag rows      4 × …
//	ID slots      64×⌈(R·5/4+1)/8⌉  static hash by ID, see idSlot; begins at a multiple of 64 of the file
//	key hashes    16 × N   idempotency keys, ascending
//	key rows      4 × N
//	cause hashes  8 × N    hash of the causation, ascending, then by row
//	cause rows    4 × N
//	correlation hashes, correlation rows                as the causes
//	heads         72 × H   lane u32, last row u32, first clock u64, last clock u64, ID of the last event 16, its
//	                       hash 32; by entity, then lane
//	tiles         32 × …   hashes of the Merkle subtrees of 256 leaves that this segment completed
//	range         32 × …   compact range of the Merkle tree at the end of the segment
//
// The page sums are one CRC-32C per 4,096 bytes of the body (the last page is short), seeded with store and segment
// and the page's number: a page of another footer, or of another place, never holds. A page is checked when it is
// first used, once. The trailer is drawn at trailerLen.
//
// IDs stand in the frames only, and in the heads: who looks for an ID reads the frame in any case.
//
// A plain event costs 58 bytes and its share of the dictionary; every list but the first three is sparse.
const (
	secLocators = iota
	secSeqs
	secCoordinates
	secKinds
	secFlags
	secClocks
	secLanes
	secHLCs
	secNames
	secEntities
	secEntitySlots
	secScopes
	secCoordinateTable
	secKindTable
	secTags
	secEntityRows
	secScopeRows
	secKindRows
	secTagRows
	secIDSlots
	secKeyHashes
	secKeyRows
	secCauseHashes
	secCauseRows
	secCorrelationHashes
	secCorrelationRows
	secHeads
	secTiles
	secRange
	sectionCount
)

// Sizes of the fixed-width entries.
const (
	locatorLen = 4 + 4
	idSlotLen  = 4 + 2 + 2
	entityLen  = 4 * 4
	recordLen  = 2 * 4
	headLen    = 4 + 4 + 8 + 8 + event.IDLen + event.HashLen
	keyHashLen = 16
	idHashLen  = 8

	sidxPage  = paged.PageLen
	sidxAlign = 8
	// maxSidxRows keeps row numbers, and row numbers plus one, inside 32 bits.
	maxSidxRows = 1<<32 - 2
)

const (
	_ uint = headLen - 72
	_ uint = 72 - headLen
)

// sectionShapes names every section and its entry size, in order.
var sectionShapes = [sectionCount]struct {
	name string
	size uint64
}{
	{"locators", locatorLen}, {"seqs", 4}, {"coordinates", 4}, {"kinds", 2}, {"flags", 2}, {"clocks", 4},
	{"lanes", 4}, {"HLCs", 8}, {"names", 1}, {"entities", entityLen}, {"entity slots", 4}, {"scopes", recordLen},
	{"coordinate table", recordLen}, {"kind table", recordLen}, {"tags", recordLen}, {"entity rows", 4},
	{"scope rows", 4}, {"kind rows", 4}, {"tag rows", 4}, {"ID slots", idBucketLen}, {"key hashes", keyHashLen},
	{"key rows", 4}, {"cause hashes", idHashLen}, {"cause rows", 4}, {"correlation hashes", idHashLen},
	{"correlation rows", 4}, {"heads", headLen}, {"tiles", event.HashLen}, {"range", event.HashLen},
}

// Conditions of a footer.
var (
	// ErrAbsent: the file does not end in a footer. It is unsealed, or the footer is to be rebuilt.
	ErrAbsent = errors.New("segment: no footer")
	// ErrDamaged: the footer fails its checks. It is rebuilt from the frames.
	ErrDamaged = errors.New("segment: footer damaged")
)

// A FooterError locates what is wrong with a footer.
type FooterError struct {
	Segment uint64
	Section string // "trailer", "page sums", or a section of the body
	Offset  int64  // bytes from start of file; 0 when the whole footer is meant
	Reason  string // short and constant: "checksum", "row out of range"
	Err     error  // ErrAbsent, ErrDamaged, ErrFuture or ErrForeign
}

func (e *FooterError) Error() string {
	return fmt.Sprintf("%v: segment %06d %s, offset %d: %s", e.Err, e.Segment, e.Section, e.Offset, e.Reason)
}

// Unwrap returns the condition.
func (e *FooterError) Unwrap() error { return e.Err }

// A Summary is what a footer says about its segment as a whole: what a store needs to know of a segment without
// touching it. It is fixed in size.
type Summary struct {
	Store   [16]byte
	Segment uint64
	Salt    [16]byte // of the segment's frames

	Events   uint64 // event frames: rows of the footer
	Frames   uint64 // frames of all types
	End      int64  // offset behind the last frame, where the footer starts
	FirstSeq uint64 // of the first and last event; 0 when there is none
	LastSeq  uint64

	// Ranges, both ends included; all zero when there is no event.
	MinHLC, MaxHLC   event.HLC
	MinID, MaxID     event.ID
	MinKind, MaxKind event.Kind
	MinLane, MaxLane uint32

	TreeSize uint64     // events in the Merkle tree up to the end of the segment
	Root     event.Hash // Merkle tree hash over them
}

// A Head is the last event of one (entity, lane) in a segment.
type Head struct {
	Lane  uint32
	Row   uint32     // of the last event
	First uint64     // clock of the first event in this segment
	Last  uint64     // clock of the last event
	ID    event.ID   // of the last event
	Hash  event.Hash // of the last event
}

// A Locator is the place of one event.
type Locator struct {
	Offset uint32 // of the frame header, bytes from start of file
	Length uint32 // of the whole frame, header included
}

// Relation says which of an event's two references a list of children follows.
type Relation uint8

// The relations of events.
const (
	ByCausation   Relation = iota // events whose Causation is the ID
	ByCorrelation                 // events whose Correlation is the ID
)
