package segment

import "batpak/event"

// A Row is one event as an index in memory knows it, for a builder that is to read no frame. Entity and Scope are
// numbers that [FooterBuilder.NewEntity] and [FooterBuilder.NewScope] gave out.
type Row struct {
	ID             event.ID
	Seq, Clock     uint64
	HLC            event.HLC
	Offset, Length uint32 // of the frame; Length counts its header
	Entity, Scope  uint32
	Lane           uint32
	Kind           event.Kind
	Flags          event.Flags
}

// Sparse reports whether the event has any of the fields that [FooterBuilder.AddSparse] takes.
func (r *Row) Sparse() bool {
	return r.Flags&(event.FlagTags|event.FlagKey|event.FlagCausation|event.FlagCorrelation) != 0
}

// OnlyKeyed reports whether all of it that the event has is an idempotency key.
func (r *Row) OnlyKeyed() bool {
	return r.Flags&(event.FlagTags|event.FlagKey|event.FlagCausation|event.FlagCorrelation) == event.FlagKey
}

// NewEntity numbers an entity for [FooterBuilder.AddRow], from 0. No name may come twice, and none through
// [FooterBuilder.Add]: it is not looked up. It keeps nothing of name.
func (b *FooterBuilder) NewEntity(name []byte) uint32 { return b.entities.push(name) }

// NewScope is [FooterBuilder.NewEntity] for scopes.
func (b *FooterBuilder) NewScope(name []byte) uint32 { return b.scopes.push(name) }

// AddRow is [FooterBuilder.Add] for an event whose names have numbers. The hash of the last event of each (entity, lane)
// is missing then, for [FooterBuilder.SetHash].
//
// Errors: as those of Add.
func (b *FooterBuilder) AddRow(r *Row) error {
	if err := b.follows(r); err != nil {
		return err
	}
	if _, err := b.advance(r); err != nil {
		return err
	}
	b.put(r)
	return nil
}

// IsHead reports whether the event in row is the last one of its (entity, lane) so far.
func (b *FooterBuilder) IsHead(entity, lane, row uint32) bool { return b.head(entity, lane).Row == row }

// SetHash sets the hash of the last event of (entity, lane), which has one.
func (b *FooterBuilder) SetHash(entity, lane uint32, hash *event.Hash) {
	b.head(entity, lane).Hash = *hash
}

// Reset empties b for another footer of the segment with header h, and keeps its memory.
func (b *FooterBuilder) Reset(h *Header) {
	b.start(h)
	for _, chunk := range b.rows {
		if cap(chunk) == buildChunk {
			b.spare = append(b.spare, chunk[:0])
		}
	}
	b.rows = b.rows[:0]
	for _, block := range b.kinds {
		if block != nil {
			clear(block[:])
		}
	}
	for _, d := range [...]*sidxDict{&b.entities, &b.scopes, &b.tags} {
		d.reset(b.seed)
	}
	b.streams, b.coordinates, b.heads = b.streams[:0], b.coordinates[:0], b.heads[:0]
	clear(b.moreCoords)
	clear(b.moreHeads)
	b.tagRows, b.keys, b.causes, b.correlations = b.tagRows[:0], b.keys[:0], b.causes[:0], b.correlations[:0]
}
