package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"batpak/coordinate"
	"batpak/internal/wire"
)

// The body of an event frame, little-endian. Fields in brackets are there when their flag is set.
//
//	offset  size  field
//	0       8     seq              ≥ 1
//	8       16    ID
//	24      8     HLC
//	32      8     clock            ≥ 1
//	40      2     kind
//	42      2     flags            see Flags; an unknown bit is a body from the future
//	44      2     payload version
//	46      2     entity length    1 ≤ length ≤ 1,024
//	48      2     scope length     1 ≤ length ≤ 1,024
//	50      …     entity, scope
//	        4+4   [lane, depth]    FlagBranch; at least one is not zero
//	        16    [fork]           FlagFork
//	        16    [correlation]    FlagCorrelation
//	        16    [causation]      FlagCausation
//	        16+16 [key hash, request fingerprint]   FlagKey
//	        8     [fence]          FlagFence
//	        2+…   [tags]           FlagTags: length of what follows, then (length u16, bytes) each
//	        4+…   [extensions]     FlagExtensions: length of what follows, then (key length u16, value length u32,
//	                               key, value) each, keys ascending
//	        16    [salt]           FlagSalted
//	— everything up to here is meta, and is hashed —
//	        32    hash
//	        32    [content hash]   FlagRedacted: in place of the payload
//	        …     payload          to the end of the frame
const (
	offSeq       = 0
	offID        = offSeq + 8
	offHLC       = offID + IDLen
	offClock     = offHLC + 8
	offKind      = offClock + 8
	offFlags     = offKind + 2
	offVersion   = offFlags + 2
	offEntityLen = offVersion + 2
	offScopeLen  = offEntityLen + 2
	fixedLen     = offScopeLen + 2
)

// FixedLen is the size of what every body carries beside its entity, scope and payload.
const FixedLen = fixedLen + HashLen

// The plain frame's overhead is promised (≤ 104 bytes with the frame header of 20): these fail to compile elsewhere.
const (
	_ uint = FixedLen - 82
	_ uint = 82 - FixedLen
)

// Limits of what a header may carry; the same constants bound the writer and the decoder.
const (
	MaxTags           = 64        // tags of one event
	MaxTagBytes       = 1<<16 - 1 // bytes of all tags of one event, two more for each
	MaxExtensions     = 64        // extensions of one event
	MaxExtensionKey   = 255       // bytes of an extension's key
	MaxExtensionBytes = 1 << 16   // bytes of all extensions of one event, keys and values
)

// Errors of the body codec.
var (
	// ErrBody says that a body whose checksum holds does not follow the format: not a crash, but damage or forgery.
	ErrBody = errors.New("event: malformed body")
	// ErrFuture says that a body carries a flag this version does not know.
	ErrFuture = errors.New("event: body from a newer version")
)

// CheckExtensionKey reports whether key may name an extension: 1 to [MaxExtensionKey] bytes of the same form as an
// entity.
//
// Errors: *[coordinate.Error].
func CheckExtensionKey(key string) error {
	if len(key) > MaxExtensionKey {
		return &coordinate.Error{Field: "extension key", Reason: "too long", Offset: MaxExtensionKey, Len: len(key)}
	}
	return coordinate.Check("extension key", key)
}

// flags returns the word that announces what h carries.
func (h *Header) flags() Flags {
	var f Flags
	set := func(bit Flags, on bool) {
		if on {
			f |= bit
		}
	}
	set(FlagBranch, h.Lane != 0 || h.Depth != 0)
	set(FlagFork, !h.Fork.IsZero())
	set(FlagCorrelation, !h.Correlation.IsZero())
	set(FlagCausation, !h.Causation.IsZero())
	set(FlagKey, h.Key.Hash != [16]byte{})
	set(FlagFence, h.Fence != 0)
	set(FlagTags, len(h.Tags) > 0)
	set(FlagExtensions, len(h.Extensions) > 0)
	set(FlagSalted, h.Salt != [16]byte{})
	return f
}

// AppendMeta appends the meta part of h to dst: everything before the hash. The caller has checked the limits.
func AppendMeta(dst []byte, h *Header) []byte {
	le := binary.LittleEndian
	entity, scope := h.Coordinate.Entity(), h.Coordinate.Scope()
	f := h.flags()
	dst = le.AppendUint64(dst, h.Seq)
	dst = append(dst, h.ID[:]...)
	dst = le.AppendUint64(dst, uint64(h.HLC))
	dst = le.AppendUint64(dst, h.Clock)
	dst = le.AppendUint16(dst, uint16(h.Kind))
	dst = le.AppendUint16(dst, uint16(f))
	dst = le.AppendUint16(dst, h.PayloadVersion)
	dst = le.AppendUint16(dst, uint16(len(entity)))
	dst = le.AppendUint16(dst, uint16(len(scope)))
	dst = append(dst, entity...)
	dst = append(dst, scope...)
	if f == 0 {
		return dst // the plain event, and the hot path
	}
	return appendOptional(dst, h, f)
}

// appendOptional appends the fields that f announces.
func appendOptional(dst []byte, h *Header, f Flags) []byte {
	le := binary.LittleEndian
	if f&FlagBranch != 0 {
		dst = le.AppendUint32(dst, h.Lane)
		dst = le.AppendUint32(dst, h.Depth)
	}
	if f&FlagFork != 0 {
		dst = append(dst, h.Fork[:]...)
	}
	if f&FlagCorrelation != 0 {
		dst = append(dst, h.Correlation[:]...)
	}
	if f&FlagCausation != 0 {
		dst = append(dst, h.Causation[:]...)
	}
	if f&FlagKey != 0 {
		dst = append(dst, h.Key.Hash[:]...)
		dst = append(dst, h.Key.Fingerprint[:]...)
	}
	if f&FlagFence != 0 {
		dst = le.AppendUint64(dst, h.Fence)
	}
	if f&FlagTags != 0 {
		dst = appendTags(dst, h.Tags)
	}
	if f&FlagExtensions != 0 {
		dst = appendExtensions(dst, h.Extensions)
	}
	if f&FlagSalted != 0 {
		dst = append(dst, h.Salt[:]...)
	}
	return dst
}

func appendTags(dst []byte, tags []string) []byte {
	start := len(dst)
	dst = append(dst, 0, 0)
	for _, t := range tags {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(t)))
		dst = append(dst, t...)
	}
	binary.LittleEndian.PutUint16(dst[start:], uint16(len(dst)-start-2))
	return dst
}

func appendExtensions(dst []byte, ext map[string][]byte) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, k := range slices.Sorted(maps.Keys(ext)) {
		dst = binary.LittleEndian.AppendUint16(dst, uint16(len(k)))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(len(ext[k])))
		dst = append(dst, k...)
		dst = append(dst, ext[k]...)
	}
	binary.LittleEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// MetaFlags returns the flags of an encoded meta.
func MetaFlags(meta []byte) Flags { return Flags(binary.LittleEndian.Uint16(meta[offFlags:])) }

// Stamp sets the fields of an encoded meta that only the committer knows.
func Stamp(meta []byte, seq uint64, id ID, hlc HLC, clock uint64) {
	le := binary.LittleEndian
	le.PutUint64(meta[offSeq:], seq)
	copy(meta[offID:offHLC], id[:])
	le.PutUint64(meta[offHLC:], uint64(hlc))
	le.PutUint64(meta[offClock:], clock)
}

// SetCausation sets the causation of an encoded meta that was encoded with one; otherwise it does nothing. It is for
// causes that get their ID in the same batch.
func SetCausation(meta []byte, cause ID) {
	if at, ok := fieldAt(meta, FlagCausation); ok {
		copy(meta[at:], cause[:])
	}
}

// SetBranch sets lane and depth of an encoded meta that was encoded with either; otherwise it does nothing.
func SetBranch(meta []byte, lane, depth uint32) {
	if at, ok := fieldAt(meta, FlagBranch); ok {
		binary.LittleEndian.PutUint32(meta[at:], lane)
		binary.LittleEndian.PutUint32(meta[at+4:], depth)
	}
}

// SetFingerprint sets the request fingerprint of an encoded meta; without a key it does nothing.
func SetFingerprint(meta []byte, fingerprint [16]byte) {
	if at, ok := fieldAt(meta, FlagKey); ok {
		copy(meta[at+len(Key{}.Hash):], fingerprint[:])
	}
}

// fieldAt returns the offset of an optional field of fixed size in an encoded meta, if the meta announces it.
func fieldAt(meta []byte, field Flags) (at int, ok bool) {
	entityLen, scopeLen, err := decodeLens(meta)
	if err != nil {
		return 0, false
	}
	f := Flags(binary.LittleEndian.Uint16(meta[offFlags:]))
	if f&field == 0 {
		return 0, false
	}
	return fixedLen + entityLen + scopeLen + sizeBefore(f, field), true
}

// sizeBefore returns how many bytes those of the optional fields in f take that stand before field, which is one of fixed
// size.
func sizeBefore(f, field Flags) (n int) {
	for _, before := range [...]struct {
		flag Flags
		size int
	}{{FlagBranch, 8}, {FlagFork, IDLen}, {FlagCorrelation, IDLen}, {FlagCausation, IDLen}, {FlagKey, 32}} {
		if before.flag == field {
			break
		}
		if f&before.flag != 0 {
			n += before.size
		}
	}
	return n
}

// decodeLens checks that meta can hold the fixed part and the names.
func decodeLens(b []byte) (entityLen, scopeLen int, err error) {
	if len(b) < fixedLen {
		return 0, 0, fmt.Errorf("%w: %d bytes", ErrBody, len(b))
	}
	le := binary.LittleEndian
	entityLen, scopeLen = int(le.Uint16(b[offEntityLen:])), int(le.Uint16(b[offScopeLen:]))
	if entityLen == 0 || scopeLen == 0 || fixedLen+entityLen+scopeLen > len(b) {
		return 0, 0, fmt.Errorf("%w: entity of %d, scope of %d bytes", ErrBody, entityLen, scopeLen)
	}
	return entityLen, scopeLen, nil
}

// DecodeMeta decodes the meta part at the start of b. The result aliases b.
//
// Errors: [ErrBody]; [ErrFuture].
func DecodeMeta(b []byte) (Raw, error) {
	var r Raw
	err := r.decodeMeta(b)
	return r, err
}

func (r *Raw) decodeMeta(b []byte) error {
	entityLen, scopeLen, err := decodeLens(b)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	r.Seq = le.Uint64(b[offSeq:])
	r.ID = ID(b[offID:offHLC])
	r.HLC = HLC(le.Uint64(b[offHLC:]))
	r.Clock = le.Uint64(b[offClock:])
	r.Kind = Kind(le.Uint16(b[offKind:]))
	r.Flags = Flags(le.Uint16(b[offFlags:]))
	r.PayloadVersion = le.Uint16(b[offVersion:])
	end := fixedLen + entityLen + scopeLen
	r.Entity = b[fixedLen : fixedLen+entityLen : fixedLen+entityLen]
	r.Scope = b[fixedLen+entityLen : end : end]
	if r.Seq == 0 || r.Clock == 0 {
		return fmt.Errorf("%w: sequence %d, clock %d", ErrBody, r.Seq, r.Clock)
	}
	if r.Flags&^FlagRedacted != 0 {
		n, err := r.decodeOptional(b[end:])
		if err != nil {
			return err
		}
		end += n
	}
	r.Meta = b[:end:end]
	return nil
}

// decodeOptional decodes the announced fields at the start of b and returns their length.
func (r *Raw) decodeOptional(b []byte) (int, error) {
	if r.Flags&^knownFlags != 0 {
		return 0, fmt.Errorf("%w: flags %#x", ErrFuture, uint16(r.Flags))
	}
	w := wire.Reader{B: b}
	if r.Flags&FlagBranch != 0 {
		r.Lane, r.Depth = w.Uint32(), w.Uint32()
		if r.Lane == 0 && r.Depth == 0 {
			return 0, fmt.Errorf("%w: branch without lane or depth", ErrBody)
		}
	}
	if r.Flags&FlagFork != 0 {
		w.Copy(r.Fork[:])
	}
	if r.Flags&FlagCorrelation != 0 {
		w.Copy(r.Correlation[:])
	}
	if r.Flags&FlagCausation != 0 {
		w.Copy(r.Causation[:])
	}
	if r.Flags&FlagKey != 0 {
		w.Copy(r.Key.Hash[:])
		w.Copy(r.Key.Fingerprint[:])
	}
	if r.Flags&FlagFence != 0 {
		r.Fence = w.Uint64()
	}
	if r.Flags&FlagTags != 0 {
		r.tags = w.Bytes(int(w.Uint16()))
	}
	if r.Flags&FlagExtensions != 0 {
		n := w.Uint32()
		if n > MaxExtensionBytes+MaxExtensions*6 {
			return 0, fmt.Errorf("%w: %d bytes of extensions", ErrBody, n)
		}
		r.extensions = w.Bytes(int(n))
	}
	if r.Flags&FlagSalted != 0 {
		w.Copy(r.Salt[:])
	}
	if w.Short {
		return 0, fmt.Errorf("%w: optional fields cut off", ErrBody)
	}
	return len(b) - len(w.B), nil
}
