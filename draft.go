package batpak

import (
	"fmt"

	"batpak/coordinate"
	"batpak/event"
)

// A Draft is an event before its commit. Append reads it and keeps nothing of it.
type Draft struct {
	Coordinate coordinate.Coordinate // required
	Kind       event.Kind            // required; not a reserved one
	Payload    []byte                // any bytes, stored and hashed as they are; may be empty

	// IdempotencyKey makes a retry safe: any bytes, up to 1,024. A known key with the same request returns the
	// receipt of the first commit, with Replayed set, before any condition is looked at; with another request it is
	// an *[IdempotencyConflictError]. Empty means no key. How long a key is known says [Options.IdempotencyWindow].
	IdempotencyKey []byte

	// Expect is what must be true of the stream (the draft's entity and lane) at commit. The zero Expect is Any.
	Expect Expect
	// Unless refuses the draft if any of them has come true: up to 16. They are looked at once for the whole batch, so
	// that no draft is refused for the batch's own events.
	Unless []Unless

	Tags        []string // up to 64, each like a name of a coordinate
	Correlation event.ID // group that the event belongs to; zero means none
	Causation   event.ID // direct cause; zero means none
	// CausedByDraft names an earlier draft of the same batch as the direct cause. The zero DraftRef means none; it
	// excludes Causation.
	CausedByDraft DraftRef

	// Lane is a branch of the entity, with a clock and a chain of its own; 0 is the main one. Appending to a lane makes it.
	Lane uint32
	// Depth says how many forks away from the main lane the event is, or whatever else the caller counts. Zero on a lane
	// other than 0 means what the store maintains: on the first event of a fork, one more than the depth of the event
	// branched from; on later ones, the depth of the event before; 0 on the first event of a lane that branches from
	// nothing. On lane 0 it is what it is.
	Depth uint32
	// Fork is the event that the lane branches from; only the first event of a lane other than 0 can name one. It implies
	// Absent. The event is one of the same entity that is committed and not hidden, or that the same fence has staged; an
	// event of the same batch has no ID yet. Zero means that the lane, if this is its first event, branches from nothing.
	// [Store.Fork] chooses a lane that is free.
	Fork event.ID

	Extensions     map[string][]byte // up to 64, 64 KiB together; keys of 1 to 255 bytes, of the form of an entity
	PayloadVersion uint16            // of the caller's schema
	Ack            Ack               // when Append may return

	// RecordDenial asks for a record when a gate denies: an event of [KindDenial] that says what every gate thinks, in
	// the store as any other event; the *[DeniedError] carries its receipt. A batch has one record, for the draft that
	// was denied first.
	RecordDenial bool

	newLane bool // Fork chooses Lane, which is not zero
	own     bool // one of the store's own events: of a reserved kind, and no gate's business
}

// An Ack says what the acknowledgement of one draft waits for.
type Ack uint8

// The acknowledgements of [Draft.Ack].
const (
	AckDefault Ack = iota // what the store's SyncMode says
	AckDurable            // the sync that covers the event
)

// A DraftRef names a draft of the same batch. The zero DraftRef names none.
type DraftRef int

// DraftAt names the draft at index i of the batch.
func DraftAt(i int) DraftRef { return DraftRef(i + 1) }

// An Expect is a condition on a stream's clock. The zero Expect is [Any]. Expects are comparable.
type Expect struct {
	kind  expectKind
	clock uint64
}

type expectKind uint8

const (
	expectAny expectKind = iota
	expectAbsent
	expectClock
)

// Any expects nothing.
func Any() Expect { return Expect{} }

// Absent expects that the stream has no event.
func Absent() Expect { return Expect{kind: expectAbsent} }

// Clock expects that the last event of the stream has clock n: that n events were ever appended to it. Clock(0) is
// Absent.
func Clock(n uint64) Expect {
	if n == 0 {
		return Absent()
	}
	return Expect{kind: expectClock, clock: n}
}

// holds reports whether a stream at clock have meets e.
func (e Expect) holds(have uint64) bool { return e.kind == expectAny || e.clock == have }

func (e Expect) String() string {
	switch e.kind {
	case expectAbsent:
		return "absent"
	case expectClock:
		return fmt.Sprintf("clock %d", e.clock)
	}
	return "any"
}

// An Unless is a condition on everything that a decision was based on (the dynamic consistency boundary): it refuses an
// append if an event that Query selects was committed after sequence Seq. Seq is the one up to which the caller has
// read, such as [Store.Visible] before the read began.
//
// Events that are not visible yet, since their fence is open, count; those that were hidden for good do not. Query's
// After, Before, Limit, Reverse and Borrow do not matter. A Query that names nothing means any event at all.
type Unless struct {
	Query Query
	Seq   uint64
}

// A Head is the last event of a stream.
type Head struct {
	Seq   uint64
	ID    event.ID
	Clock uint64 // number of events ever appended to the stream
	Lane  uint32
	Hash  event.Hash
}
