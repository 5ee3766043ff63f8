package batpak

import (
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/cursors"
)

// What the store writes of consumers into the log, as events of its own. A Query sees them when it names these kinds.
const (
	// KindConsumer: a consumer was made, or put elsewhere. The entity is [ConsumersEntity], the only tag the consumer's
	// name, the payload a [ConsumerRecord] in JSON.
	KindConsumer = event.KindConsumer
	// KindPosition: how far a consumer is, in one batch with what came of it. The entity is [ConsumersEntity], a slash and
	// the consumer's name, the payload a [PositionRecord] in JSON.
	KindPosition = event.KindPosition
	// KindParked: an event was parked, replayed or forgotten. The entity is that of the consumer's positions, the
	// causation is the event, the payload a [ParkedRecord] in JSON.
	KindParked = event.KindParked
)

// ConsumersEntity is the entity of what is written of all consumers; what is written of one has an entity that begins
// with it. The scope of all of that is "batpak".
const ConsumersEntity = "batpak:consumers"

const consumersScope = "batpak"

// A ConsumerRecord is the payload of an event of [KindConsumer]. The newest one of a name says what holds.
type ConsumerRecord struct {
	Name       string          `json:"name"`
	Reason     string          `json:"reason"`     // "made", "reset", "seek"
	Generation uint64          `json:"generation"` // one more than before; positions of older ones count no more
	Seq        uint64          `json:"seq"`        // behind which it goes on; 0 for the beginning
	Hash       string          `json:"hash"`       // of that event; empty where there is none
	Origin     uint64          `json:"origin"`     // where it began when it was made or reset
	Query      json.RawMessage `json:"query"`      // what it selects
}

// A PositionRecord is the payload of an event of [KindPosition].
type PositionRecord struct {
	Generation uint64 `json:"generation"`
	Seq        uint64 `json:"seq"`  // of the last event that was handled
	Hash       string `json:"hash"` // of that event
}

// A ParkedRecord is the payload of an event of [KindParked].
type ParkedRecord struct {
	State      string   `json:"state"` // "parked", "replayed", "forgotten"
	Generation uint64   `json:"generation"`
	Seq        uint64   `json:"seq"` // of the event
	ID         event.ID `json:"id"`  // of the event
	Attempts   int      `json:"attempts,omitempty"`
	Error      string   `json:"error,omitempty"` // of the last attempt, cut to 4 KiB, or shorter where a segment has no room
	Panic      bool     `json:"panic,omitempty"` // the last attempt panicked
}

// States of a [ParkedRecord].
const (
	stateParked    = "parked"
	stateReplayed  = "replayed"
	stateForgotten = "forgotten"
)

// maxParkedError is how many bytes of an error are kept.
const maxParkedError = 4 << 10

// ReactionKey is the idempotency key of the draft at index that a reactor has answered the event with sequence seq with:
// [OperationKey] of "batpak.reaction", the consumer, the sequence and the index, both as decimal digits.
func ReactionKey(consumer string, seq uint64, index int) []byte {
	return OperationKey("batpak.reaction", consumer, strconv.FormatUint(seq, 10), strconv.Itoa(index))
}

// consumerEntity returns the entity of what is written of one consumer.
func consumerEntity(name string) string { return ConsumersEntity + "/" + name }

// recordDraft returns the draft of one of the store's own events.
func recordDraft(entity string, kind event.Kind, record any) Draft {
	payload, err := json.Marshal(record)
	if err != nil {
		panic("batpak: a record does not encode: " + err.Error())
	}
	return Draft{Coordinate: coordinate.Stored(entity, consumersScope), Kind: kind, Payload: payload, own: true}
}

// positionDraft returns the draft that moves a consumer to p.
func positionDraft(name string, p cursors.Position) Draft {
	return recordDraft(consumerEntity(name), KindPosition, &PositionRecord{p.Generation, p.Seq, hashText(p.Hash)})
}

// hashText returns h in hexadecimal digits, empty for none.
func hashText(h event.Hash) string {
	if h.IsZero() {
		return ""
	}
	return hex.EncodeToString(h[:])
}

// parseHash is the inverse of hashText.
func parseHash(text string) (h event.Hash, ok bool) {
	if text == "" {
		return h, true
	}
	n, err := hex.Decode(h[:], []byte(text[:min(len(text), 2*len(h))]))
	return h, err == nil && n == len(h) && hashText(h) == text
}

// decodePosition returns the position of a record's payload.
//
// Errors: *[DraftError].
func decodePosition(payload []byte) (cursors.Position, error) {
	var r PositionRecord
	if err := decodeStrictly(payload, &r); err != nil {
		return cursors.Position{}, &DraftError{Field: "position", Err: err}
	}
	return position(r.Generation, r.Seq, r.Hash)
}

// position checks what a record says of a position.
//
// Errors: *[DraftError].
func position(generation, seq uint64, hash string) (cursors.Position, error) {
	h, ok := parseHash(hash)
	if !ok || generation == 0 || seq == 0 && !h.IsZero() {
		return cursors.Position{}, &DraftError{Field: "position", Reason: "not one"}
	}
	return cursors.Position{Generation: generation, Seq: seq, Hash: h}, nil
}

// cutText returns at most so many bytes of s, as valid UTF-8.
func cutText(s string, most int) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}
