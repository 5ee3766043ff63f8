package batpak

import (
	"encoding/json"

	"batpak/coordinate"
	"batpak/event"
)

// KindDenial is the kind of the events that record denials. A Query sees them when it names this kind.
const KindDenial = event.KindDenial

// DenialEntity is the entity of all records of denials. A record's scope is that of the denied draft, its only tag the
// draft's entity, its correlation and causation those of the draft, and its payload a [DenialRecord] in JSON.
const DenialEntity = "batpak:denials"

// A DenialRecord is the payload of an event of [KindDenial].
type DenialRecord struct {
	Entity string       `json:"entity"` // of the denied draft
	Scope  string       `json:"scope"`
	Lane   uint32       `json:"lane"`
	Kind   event.Kind   `json:"kind"`
	Index  int          `json:"index"`            // of the draft in its batch; 0 outside of one
	Gate   string       `json:"gate"`             // that denied
	Denial Denial       `json:"denial"`           // of that gate
	Trace  []GateResult `json:"trace"`            // of all gates
	Cut    bool         `json:"cut,omitempty"`    // what gates had to say was too long: messages and contexts are missing
	Bytes  int          `json:"payload_bytes"`    // of the denied draft
	Tags   []string     `json:"tags,omitempty"`   // of the denied draft
	Keyed  bool         `json:"keyed,omitempty"`  // the draft had an idempotency key
	Fenced uint64       `json:"fenced,omitempty"` // number of the fence that the draft was to be staged by
}

// How long a record's payload may be, and what a request that asks for one keeps free for it in the segment.
const (
	denialMost    = 16 << 10
	denialReserve = denialMost + 4<<10
)

// recordDenial stages the record of a denial in the place of the request that was denied: it, which is draft index of
// that. trace is what every gate said of it. It returns what the caller is told, which counts when the group is committed.
func (s *Store) recordDenial(it *item, index int, denied *DeniedError, trace []GateResult) error {
	c := &s.commit
	d := &Draft{
		Coordinate: coordinate.Stored(DenialEntity, it.at.Scope()), Kind: KindDenial, Tags: []string{it.at.Entity()},
		Correlation: it.draft.Correlation, Causation: it.draft.Causation,
		Payload: denialPayload(&DenialRecord{
			Entity: it.at.Entity(), Scope: it.at.Scope(), Lane: it.lane, Kind: it.kind, Index: index,
			Gate: denied.Gate, Denial: denied.Denial, Trace: trace, Bytes: len(it.draft.Payload), Tags: it.draft.Tags,
			Keyed: it.keyed, Fenced: it.fence,
		}),
	}
	r := newRequest()
	defer r.free()
	r.items = append(r.items, item{})
	s.fill(&r.encoders[0], d, &r.items[0])
	p := c.save()
	end, err := s.place(&r.items[0], len(c.buf), p)
	if err != nil {
		c.restore(p)
		return err
	}
	c.extend(end)
	s.linkAll(r, p)
	r.complete(0, event.OptionalOf)
	receipt := r.receipts[0]
	denied.Receipt = &receipt
	return denied
}

// denialPayload encodes r, without the gates' words where they are too long.
func denialPayload(r *DenialRecord) []byte {
	if b, err := json.Marshal(r); err == nil && len(b) <= denialMost {
		return b
	}
	r.Cut, r.Tags = true, nil
	r.Denial = Denial{Code: short(r.Denial.Code)}
	for i := range r.Trace {
		if d := r.Trace[i].Denial; d != nil {
			r.Trace[i].Denial = &Denial{Code: short(d.Code)}
		}
	}
	b, err := json.Marshal(r)
	if err != nil || len(b) > denialMost {
		r.Trace = nil // hundreds of gates
		b, _ = json.Marshal(r)
	}
	return b
}

// short returns a code that cannot make a record too long.
func short(code string) string { return code[:min(len(code), 64)] }
