// Package event holds the nouns of the store: [ID], [Kind], [HLC], [Header], [Event], [Hash], and the pure functions
// that chain events. It does no I/O: everything here can be checked by reading.
//
// # The chain
//
// Every event carries the hash of its place in the history of its (entity, lane):
//
//	content = SHA-256(salt, payload)                          salt: 16 bytes or none
//	hash    = SHA-256("batpak.event.v1\n", parent, content, meta)
//
// parent is the hash of the event before it on the same (entity, lane), 32 zero bytes for the first one. meta is the
// head of the encoded body, drawn at [AppendMeta]: every header field in its one spelling. Redacting a payload keeps
// content, so hashes, receipts and proofs stay valid.
package event

import "batpak/coordinate"

// HashLen is the length of a [Hash] in bytes.
const HashLen = 32

// A Hash is a SHA-256 (FIPS 180-4). The zero Hash is the parent of the first event of a chain.
type Hash [HashLen]byte

// IsZero reports whether h is the parent of a first event.
func (h Hash) IsZero() bool { return h == Hash{} }

// A Flags word says which optional fields a body carries and how its payload is stored.
type Flags uint16

// The bits of [Flags], in the order of the fields that they announce.
const (
	FlagBranch      Flags = 1 << iota // lane and depth
	FlagFork                          // ID of the event that this lane branches from
	FlagCorrelation                   // correlation ID
	FlagCausation                     // causation ID
	FlagKey                           // idempotency key and fingerprint
	FlagFence                         // fence number
	FlagTags                          // tags
	FlagExtensions                    // extensions
	FlagSalted                        // 16-byte salt of the content hash
	FlagRedacted                      // payload gone, content hash in its place
	FlagCompressed                    // reserved: payload is compressed
	FlagEncrypted                     // reserved: payload is encrypted

	knownFlags = FlagEncrypted<<1 - 1
	// unreadable are the flags that this version knows of but cannot read the payload of.
	unreadable = FlagCompressed | FlagEncrypted
)

// A Key is an idempotency key as it is stored: 128 bits of the hash of the caller's bytes, and 128 bits of the hash
// of the request that used it first.
type Key struct {
	Hash        [16]byte
	Fingerprint [16]byte
}

// A Header is everything an event carries beside its payload and its hash.
type Header struct {
	Seq            uint64 // global commit order; ≥ 1
	ID             ID
	HLC            HLC
	Clock          uint64 // events so far on this (entity, lane), this one included; ≥ 1
	Kind           Kind
	PayloadVersion uint16 // of the caller's schema; 0 means the caller set none
	Coordinate     coordinate.Coordinate
	Lane           uint32 // branch of the entity; 0 is the main one
	Depth          uint32 // how many forks the event is away from the main lane, or what the caller made it; 0 means not set
	Fork           ID     // event that the lane branches from, on its first event only
	Correlation    ID     // zero means none
	Causation      ID     // zero means none
	Key            Key    // zero Hash means none
	Fence          uint64 // fence that staged the event; 0 means none
	Tags           []string
	Extensions     map[string][]byte
	Salt           [16]byte // of the content hash; zero means none
}

// An Event is one immutable fact, as readers get it. Its slices and maps belong to whoever received it, unless the
// read asked to borrow.
type Event struct {
	ID             ID
	Seq            uint64 // global commit order; ≥ 1
	Coordinate     coordinate.Coordinate
	Kind           Kind
	Payload        []byte // nil when empty
	Clock          uint64 // of its (entity, lane); ≥ 1
	Lane           uint32
	Depth          uint32
	HLC            HLC
	Correlation    ID // zero means none
	Causation      ID // zero means none
	PayloadVersion uint16
	Tags           []string // in the order given; nil means none
	Hash           Hash     // the event's link in its chain
	Extensions     map[string][]byte
	Fork           ID   // on the first event of a lane: the event that it branches from; zero means none
	Redacted       bool // the payload was removed; Payload is nil
}
