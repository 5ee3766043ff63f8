package batpak

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"

	"batpak/event"
)

// A storedQuery is what a consumer selects, as the log keeps it: one text for all queries that say the same. A field that
// is not set is left out, so that those of later versions change no text. Names are bytes, since prefixes need not be
// text.
type storedQuery struct {
	Entities    []string     `json:"entities,omitempty"`
	Entity      string       `json:"entity,omitempty"`
	Prefix      []byte       `json:"prefix,omitempty"`
	Prefixes    [][]byte     `json:"prefixes,omitempty"`
	Scope       string       `json:"scope,omitempty"`
	Kinds       []event.Kind `json:"kinds,omitempty"`
	Categories  []int        `json:"categories,omitempty"`
	Tags        []string     `json:"tags,omitempty"`
	Lane        *uint32      `json:"lane,omitempty"`
	Correlation string       `json:"correlation,omitempty"`
	Causation   string       `json:"causation,omitempty"`
	FromHLC     uint64       `json:"from_hlc,omitempty"`
	System      bool         `json:"system,omitempty"`
}

// maxStoredQuery bounds the text of a consumer's query.
const maxStoredQuery = 64 << 10

// storeQuery returns q as the log keeps it, and its fingerprint. Where it begins and ends is not part of it.
//
// Errors: *[LimitError].
func storeQuery(q *Query) (stored storedQuery, print [32]byte, err error) {
	stored = storedQuery{
		Entity: q.Entity, Entities: ascending(q.Entities), Prefix: []byte(q.EntityPrefix), Scope: q.Scope,
		Kinds: ascending(q.Kinds), Categories: ascending(q.Categories), Tags: ascending(q.Tags),
		FromHLC: uint64(q.FromHLC), System: q.System,
	}
	for _, prefix := range ascending(q.EntityPrefixes) {
		stored.Prefixes = append(stored.Prefixes, []byte(prefix))
	}
	if q.Lane != nil {
		lane := *q.Lane
		stored.Lane = &lane
	}
	if !q.Correlation.IsZero() {
		stored.Correlation = q.Correlation.String()
	}
	if !q.Causation.IsZero() {
		stored.Causation = q.Causation.String()
	}
	text := stored.text()
	if len(text) > maxStoredQuery {
		return stored, print, &LimitError{Field: "query of a consumer", Value: int64(len(text)), Limit: maxStoredQuery}
	}
	return stored, sha256.Sum256(text), nil
}

// ascending returns a copy of list, ascending, without repetitions.
func ascending[T cmp.Ordered](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// text returns the one spelling of s.
func (s *storedQuery) text() []byte {
	b, err := json.Marshal(s)
	if err != nil {
		panic("batpak: a query does not encode: " + err.Error())
	}
	return b
}

// fingerprint returns the hash of the one spelling of s.
func (s *storedQuery) fingerprint() [32]byte { return sha256.Sum256(s.text()) }

// query is the inverse of storeQuery.
//
// Errors: those of IDs that are none.
func (s *storedQuery) query() (Query, error) {
	q := Query{
		Entity: s.Entity, Entities: s.Entities, EntityPrefix: string(s.Prefix), Scope: s.Scope, Kinds: s.Kinds,
		Categories: s.Categories, Tags: s.Tags, Lane: s.Lane, FromHLC: event.HLC(s.FromHLC), System: s.System,
	}
	for _, prefix := range s.Prefixes {
		q.EntityPrefixes = append(q.EntityPrefixes, string(prefix))
	}
	var err error
	if s.Correlation != "" {
		q.Correlation, err = event.ParseID(s.Correlation)
	}
	if s.Causation != "" && err == nil {
		q.Causation, err = event.ParseID(s.Causation)
	}
	return q, err
}

// decodeStrictly decodes the JSON that this package has written. The log has checked the bytes: what has other fields than
// are known here comes from a version that knows more.
//
// Errors: [ErrPositionFuture].
func decodeStrictly(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil && d.More() {
		err = &DraftError{Field: "payload", Reason: "more behind its end"}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrPositionFuture, err)
	}
	return nil
}
