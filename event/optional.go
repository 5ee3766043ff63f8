package event

import (
	"encoding/binary"
	"unsafe"
)

// An Optional is the fields of a header that few events have, as one value: fork, correlation, causation, key, fence,
// tags, extensions and salt. The zero Optional has none of them. Optionals are comparable, and equal when the fields
// are; they are safe for concurrent use.
type Optional struct {
	flags Flags  // the fields that are there
	text  string // the fields, as they stand in meta behind lane and depth
}

// IsZero reports whether o has no field.
func (o Optional) IsZero() bool { return o == Optional{} }

// OptionalOf returns the optional fields of an encoded meta, which it keeps nothing of. Without any it takes no memory.
func OptionalOf(meta []byte) Optional {
	flags, text := optionalIn(meta)
	return Optional{flags: flags, text: string(text)}
}

// Optionals makes the optional fields of many events: those of a few share an allocation. The zero Optionals is ready; it
// is not safe for concurrent use, what it makes is.
type Optionals struct{ room []byte } // what is written is not written again

// optionalsRoom bounds what one Optional that is kept keeps of others.
const optionalsRoom = 512

// Of is [OptionalOf].
func (o *Optionals) Of(meta []byte) Optional {
	flags, text := optionalIn(meta)
	if len(text) == 0 {
		return Optional{}
	}
	if cap(o.room)-len(o.room) < len(text) {
		o.room = make([]byte, 0, max(optionalsRoom, len(text)))
	}
	at := len(o.room)
	o.room = append(o.room, text...)
	return Optional{flags: flags, text: unsafe.String(&o.room[at], len(text))}
}

// optionalIn returns the optional fields in meta: which there are, and their bytes, which alias meta.
func optionalIn(meta []byte) (Flags, []byte) {
	entityLen, scopeLen, err := decodeLens(meta)
	if err != nil {
		return 0, nil
	}
	f := Flags(binary.LittleEndian.Uint16(meta[offFlags:]))
	at := fixedLen + entityLen + scopeLen
	if f&FlagBranch != 0 {
		at += 4 + 4
	}
	f &^= FlagBranch | FlagRedacted
	if f == 0 || at > len(meta) {
		return 0, nil
	}
	return f, meta[at:]
}

// AppendMetaWith is [AppendMeta] of a header that has the optional fields of o in place of its own.
func AppendMetaWith(dst []byte, h *Header, o Optional) []byte {
	start := len(dst)
	dst = AppendMeta(dst, &Header{
		Seq: h.Seq, ID: h.ID, HLC: h.HLC, Clock: h.Clock, Kind: h.Kind, PayloadVersion: h.PayloadVersion,
		Coordinate: h.Coordinate, Lane: h.Lane, Depth: h.Depth,
	})
	at := start + offFlags
	flags := Flags(binary.LittleEndian.Uint16(dst[at:])) | o.flags
	binary.LittleEndian.PutUint16(dst[at:], uint16(flags))
	return append(dst, o.text...)
}

// WithFence returns o with the given fence in the place of its own; 0 means none.
func (o Optional) WithFence(fence uint64) Optional {
	at := sizeBefore(o.flags, FlagFence)
	head, tail := o.text[:at], o.text[at:]
	if o.flags&FlagFence != 0 {
		tail = tail[8:]
	}
	o.flags &^= FlagFence
	if fence == 0 {
		o.text = head + tail
		return o
	}
	o.flags |= FlagFence
	o.text = string(binary.LittleEndian.AppendUint64([]byte(head), fence)) + tail
	return o
}
