package event

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"batpak/coordinate"
)

// A Raw is a decoded body whose bytes still lie where they were decoded from: no allocation, valid as long as those.
type Raw struct {
	Seq            uint64
	ID             ID
	HLC            HLC
	Clock          uint64
	Kind           Kind
	Flags          Flags
	PayloadVersion uint16
	Lane, Depth    uint32
	Fork           ID
	Correlation    ID
	Causation      ID
	Key            Key
	Fence          uint64
	Salt           [16]byte
	Hash           Hash

	Entity, Scope []byte // alias the body
	Payload       []byte // aliases the body; empty when redacted
	Meta          []byte // aliases the body: its hashed head

	content    Hash   // when redacted
	tags       []byte // (length u16, bytes) each
	extensions []byte // (key length u16, value length u32, key, value) each
}

// DecodeBody decodes a whole body. The result aliases b. It checks the layout, not the names and not the hash:
// [Raw.Check] does.
//
// Errors: [ErrBody]; [ErrFuture].
func DecodeBody(b []byte) (Raw, error) {
	var r Raw
	err := r.Decode(b)
	return r, err
}

// Decode is [DecodeBody] into a Raw that is used again: it sets every field.
func (r *Raw) Decode(b []byte) error {
	*r = Raw{}
	if err := r.decodeMeta(b); err != nil {
		return err
	}
	rest := b[len(r.Meta):]
	if len(rest) < HashLen {
		return fmt.Errorf("%w: no hash", ErrBody)
	}
	copy(r.Hash[:], rest)
	r.Payload = rest[HashLen:]
	if r.Flags&FlagRedacted != 0 {
		if len(r.Payload) != HashLen {
			return fmt.Errorf("%w: redacted event with %d bytes", ErrBody, len(r.Payload))
		}
		copy(r.content[:], r.Payload)
		r.Payload = nil
	}
	return nil
}

// BodyHash returns the hash in a whole body, which it aliases. It fails where [Raw.Decode] fails.
//
// Errors: [ErrBody]; [ErrFuture].
func BodyHash(b []byte) (*Hash, error) {
	entityLen, scopeLen, err := decodeLens(b)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	at := fixedLen + entityLen + scopeLen
	if le.Uint16(b[offFlags:]) == 0 && len(b)-at >= HashLen && le.Uint64(b[offSeq:]) != 0 && le.Uint64(b[offClock:]) != 0 {
		return (*Hash)(b[at:]), nil // the plain event
	}
	var r Raw
	if err := r.Decode(b); err != nil {
		return nil, err
	}
	return (*Hash)(b[len(r.Meta):]), nil
}

// Check reports whether everything inside r is what an append would have accepted: names, tags, extensions.
// Decoders of sealed, checksummed bytes need not call it; recovery, verification and fuzzing do.
//
// Errors: [ErrBody]; [ErrFuture] for payloads stored in a way that this version cannot read.
func (r *Raw) Check() error {
	if _, err := coordinate.New(string(r.Entity), string(r.Scope)); err != nil {
		return fmt.Errorf("%w: %w", ErrBody, err)
	}
	if r.Flags&unreadable != 0 {
		return fmt.Errorf("%w: flags %#x", ErrFuture, uint16(r.Flags))
	}
	if err := r.checkSpelling(); err != nil {
		return err
	}
	if err := r.checkTags(); err != nil {
		return err
	}
	return r.checkExtensions()
}

// checkSpelling refuses a field that is announced and zero: the header without it has a spelling already.
func (r *Raw) checkSpelling() error {
	for _, field := range [...]struct {
		flag Flags
		zero bool
	}{
		{FlagFork, r.Fork.IsZero()},
		{FlagCorrelation, r.Correlation.IsZero()},
		{FlagCausation, r.Causation.IsZero()},
		{FlagKey, r.Key.Hash == [16]byte{}},
		{FlagFence, r.Fence == 0},
		{FlagSalted, r.Salt == [16]byte{}},
	} {
		if field.zero && r.Flags&field.flag != 0 {
			return fmt.Errorf("%w: a field that is announced is zero (flag %#x)", ErrBody, uint16(field.flag))
		}
	}
	return nil
}

func (r *Raw) checkTags() error {
	count, size := 0, 0
	for tag := range r.EachTag {
		if err := coordinate.Check("tag", string(tag)); err != nil {
			return fmt.Errorf("%w: %w", ErrBody, err)
		}
		count, size = count+1, size+2+len(tag)
	}
	if announced := r.Flags&FlagTags != 0; size != len(r.tags) || count > MaxTags || announced != (count > 0) {
		return fmt.Errorf("%w: tags", ErrBody)
	}
	return nil
}

func (r *Raw) checkExtensions() error {
	count, size, content := 0, 0, 0
	var last []byte
	for key, value := range r.EachExtension {
		if err := CheckExtensionKey(string(key)); err != nil {
			return fmt.Errorf("%w: %w", ErrBody, err)
		}
		if count > 0 && bytes.Compare(last, key) >= 0 {
			return fmt.Errorf("%w: extension keys do not ascend", ErrBody)
		}
		count, size, last = count+1, size+6+len(key)+len(value), key
		content += len(key) + len(value)
	}
	if content > MaxExtensionBytes {
		return fmt.Errorf("%w: %d bytes of extensions", ErrBody, content)
	}
	if announced := r.Flags&FlagExtensions != 0; size != len(r.extensions) || count > MaxExtensions || announced != (count > 0) {
		return fmt.Errorf("%w: extensions", ErrBody)
	}
	return nil
}

// EachTag yields the tags in their order; they alias the body. A malformed rest is left out.
func (r *Raw) EachTag(yield func([]byte) bool) {
	for b := r.tags; len(b) >= 2; {
		n := int(binary.LittleEndian.Uint16(b))
		if n > len(b)-2 || !yield(b[2:2+n:2+n]) {
			return
		}
		b = b[2+n:]
	}
}

// EachExtension yields keys and values, keys ascending; they alias the body. A malformed rest is left out.
func (r *Raw) EachExtension(yield func(key, value []byte) bool) {
	for b := r.extensions; len(b) >= 6; {
		k, v := uint64(binary.LittleEndian.Uint16(b)), uint64(binary.LittleEndian.Uint32(b[2:]))
		if k+v > uint64(len(b)-6) {
			return
		}
		b = b[6:]
		if !yield(b[:k:k], b[k:k+v:k+v]) {
			return
		}
		b = b[k+v:]
	}
}

// A Spare is memory for the tags and extensions of one event after the other. The zero Spare is ready.
type Spare struct {
	tags       []string
	extensions map[string][]byte
}

// Event returns the event that r decodes. Its strings and its payload alias the body, so the body must not change
// while the event is in use: the caller gives it away, or says that the event is borrowed.
func (r *Raw) Event() Event { return r.EventIn(new(Spare)) }

// EventIn is [Raw.Event] for an event that is borrowed: its tags and extensions lie in spare, until the next one's do.
func (r *Raw) EventIn(spare *Spare) Event {
	ev := Event{
		ID: r.ID, Seq: r.Seq, Kind: r.Kind, Clock: r.Clock, Lane: r.Lane, Depth: r.Depth, HLC: r.HLC,
		Coordinate:     coordinate.Stored(text(r.Entity), text(r.Scope)),
		Correlation:    r.Correlation,
		Causation:      r.Causation,
		PayloadVersion: r.PayloadVersion,
		Hash:           r.Hash,
		Fork:           r.Fork,
		Redacted:       r.Flags&FlagRedacted != 0,
	}
	if len(r.Payload) > 0 {
		ev.Payload = r.Payload[:len(r.Payload):len(r.Payload)]
	}
	if r.Flags&FlagTags != 0 {
		ev.Tags = r.tagsIn(spare)
	}
	if r.Flags&FlagExtensions != 0 {
		if spare.extensions == nil {
			spare.extensions = make(map[string][]byte)
		}
		clear(spare.extensions)
		for key, value := range r.EachExtension {
			spare.extensions[text(key)] = value
		}
		ev.Extensions = spare.extensions
	}
	return ev
}

// tagsIn returns the tags in spare, which grows at once.
func (r *Raw) tagsIn(spare *Spare) []string {
	n := 0
	for range r.EachTag {
		n++
	}
	if cap(spare.tags) < n {
		spare.tags = make([]string, 0, n)
	}
	spare.tags = spare.tags[:0]
	for tag := range r.EachTag {
		spare.tags = append(spare.tags, text(tag))
	}
	return spare.tags[:n:n]
}

// text returns b as a string without a copy: one allocation serves the whole event.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Header returns a copy of everything r decodes but its payload and hash.
func (r *Raw) Header() Header {
	h := Header{
		Seq: r.Seq, ID: r.ID, HLC: r.HLC, Clock: r.Clock, Kind: r.Kind, PayloadVersion: r.PayloadVersion,
		Coordinate: coordinate.Stored(string(r.Entity), string(r.Scope)),
		Lane:       r.Lane, Depth: r.Depth, Fork: r.Fork, Correlation: r.Correlation, Causation: r.Causation,
		Key: r.Key, Fence: r.Fence, Salt: r.Salt,
	}
	for tag := range r.EachTag {
		h.Tags = append(h.Tags, string(tag))
	}
	for key, value := range r.EachExtension {
		if h.Extensions == nil {
			h.Extensions = make(map[string][]byte)
		}
		h.Extensions[string(key)] = bytes.Clone(value)
	}
	return h
}

// Content returns the content hash: of the payload, or the one kept when the payload was redacted.
func (r *Raw) Content() Hash {
	if r.Flags&FlagRedacted != 0 {
		return r.content
	}
	return ContentHash(r.Salt, r.Payload)
}
