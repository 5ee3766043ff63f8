package batpak

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"unicode/utf8"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/receipt"
)

const (
	receiptJSONVersion = 1
	maxReceiptJSON     = 4 << 20 // bytes; above the JSON of any receipt
)

// hexBytes is bytes as hexadecimal digits.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h), nil }

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.AppendDecode(nil, text)
	return err
}

// A receiptJSON is a receipt in JSON. Numbers of 64 bits are strings, since many readers of JSON would round them.
type receiptJSON struct {
	Version        uint64            `json:"version"`
	Store          event.ID          `json:"store"`
	ID             event.ID          `json:"id"`
	Seq            uint64            `json:"seq,string"`
	Entity         string            `json:"entity"`
	Scope          string            `json:"scope"`
	Kind           event.Kind        `json:"kind"`
	Clock          uint64            `json:"clock,string"`
	Lane           uint32            `json:"lane"`
	Depth          uint32            `json:"depth"`
	HLC            uint64            `json:"hlc,string"`
	PayloadVersion uint16            `json:"payload_version"`
	Fork           *event.ID         `json:"fork,omitempty"`
	Correlation    *event.ID         `json:"correlation,omitempty"`
	Causation      *event.ID         `json:"causation,omitempty"`
	Key            *keyJSON          `json:"key,omitempty"`
	Fence          uint64            `json:"fence,string,omitempty"`
	Tags           []string          `json:"tags,omitempty"`
	Extensions     map[string][]byte `json:"extensions,omitempty"` // base64
	Salt           hexBytes          `json:"salt,omitempty"`
	Parent         hexBytes          `json:"parent"`
	Content        hexBytes          `json:"content"`
	Hash           hexBytes          `json:"hash"`
	Signature      *signatureJSON    `json:"signature,omitempty"`
}

// A keyJSON is an idempotency key as an event carries it.
type keyJSON struct {
	Hash        hexBytes `json:"hash"`
	Fingerprint hexBytes `json:"fingerprint"`
}

// A signatureJSON is a receipt's part of a signed group.
type signatureJSON struct {
	Key       hexBytes   `json:"key"`
	Signature hexBytes   `json:"ed25519"`
	Leaves    uint32     `json:"leaves"`
	Index     uint32     `json:"index"`
	Path      []hexBytes `json:"path,omitempty"`
}

// MarshalJSON implements [json.Marshaler]. Hashes, keys and signatures are hexadecimal, extensions base64, numbers of 64
// bits strings.
//
// Errors: *[ReceiptError] with [ErrReceiptFormat] for a receipt whose fields no event can have.
func (r Receipt) MarshalJSON() ([]byte, error) {
	head, err := receipt.DecodeMeta(r.meta())
	if err != nil {
		return nil, receiptForm(err)
	}
	h := head.Header()
	j := receiptJSON{
		Version: receiptJSONVersion, Store: r.Store, ID: h.ID, Seq: h.Seq,
		Entity: h.Coordinate.Entity(), Scope: h.Coordinate.Scope(), Kind: h.Kind, Clock: h.Clock, Lane: h.Lane, Depth: h.Depth,
		HLC: uint64(h.HLC), PayloadVersion: h.PayloadVersion, Fork: idOrNil(h.Fork), Correlation: idOrNil(h.Correlation),
		Causation: idOrNil(h.Causation), Fence: h.Fence, Tags: h.Tags, Extensions: h.Extensions,
		Parent: r.Parent[:], Content: r.Content[:], Hash: r.Hash[:],
	}
	if h.Key.Hash != [16]byte{} {
		j.Key = &keyJSON{Hash: h.Key.Hash[:], Fingerprint: h.Key.Fingerprint[:]}
	}
	if h.Salt != [16]byte{} {
		j.Salt = h.Salt[:]
	}
	if s, err := receipt.DecodeSignature([]byte(r.Signature.text)); err == nil {
		j.Signature = &signatureJSON{Key: s.Key[:], Signature: s.Signature[:], Leaves: s.Leaves, Index: s.Index}
		for i := range s.Path {
			j.Signature.Path = append(j.Signature.Path, s.Path[i][:])
		}
	}
	return json.Marshal(&j)
}

func idOrNil(id event.ID) *event.ID {
	if id.IsZero() {
		return nil
	}
	return &id
}

// UnmarshalJSON implements [json.Unmarshaler]. It takes what MarshalJSON returns, with other white space and its members
// in any order, and nothing else: no member that is missing, unknown, doubled or spelled in another way. That b is a
// receipt says nothing about its truth: verify it. After an error r is as it was.
//
// Errors: *[ReceiptError] with [ErrReceiptFormat], or [ErrReceiptFuture] for a receipt of a newer version.
func (r *Receipt) UnmarshalJSON(b []byte) error {
	got, err := receiptOfJSON(b)
	if err != nil {
		return receiptForm(err)
	}
	*r = got
	return nil
}

func receiptOfJSON(b []byte) (Receipt, error) {
	if len(b) > maxReceiptJSON || !utf8.Valid(b) {
		return Receipt{}, fmt.Errorf("%d bytes, or not UTF-8", len(b))
	}
	var v struct {
		Version uint64 `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return Receipt{}, err
	}
	if v.Version > receiptJSONVersion {
		return Receipt{}, fmt.Errorf("%w: version %d", receipt.ErrFuture, v.Version)
	}
	if err := uniqueMembers(b); err != nil {
		return Receipt{}, err
	}
	var j receiptJSON
	if err := json.Unmarshal(b, &j); err != nil {
		return Receipt{}, err
	}
	r, err := j.receipt()
	if err != nil {
		return Receipt{}, err
	}
	again, err := r.MarshalJSON()
	if err != nil {
		return Receipt{}, err
	}
	if !sameJSON(b, again) {
		return Receipt{}, errors.New("not spelled as a receipt is")
	}
	return r, nil
}

// receipt returns the receipt that j spells.
func (j *receiptJSON) receipt() (Receipt, error) {
	at, err := coordinate.New(j.Entity, j.Scope)
	if err != nil {
		return Receipt{}, err
	}
	h := event.Header{
		Seq: j.Seq, ID: j.ID, HLC: event.HLC(j.HLC), Clock: j.Clock, Kind: j.Kind, PayloadVersion: j.PayloadVersion,
		Coordinate: at, Lane: j.Lane, Depth: j.Depth, Fence: j.Fence, Tags: j.Tags, Extensions: j.Extensions,
	}
	for _, id := range []struct {
		to   *event.ID
		from *event.ID
	}{{&h.Fork, j.Fork}, {&h.Correlation, j.Correlation}, {&h.Causation, j.Causation}} {
		if id.from != nil {
			*id.to = *id.from
		}
	}
	copy(h.Salt[:], j.Salt)
	if j.Key != nil {
		copy(h.Key.Hash[:], j.Key.Hash)
		copy(h.Key.Fingerprint[:], j.Key.Fingerprint)
	}
	if err := checkExtras(&Draft{Tags: j.Tags, Extensions: j.Extensions}); err != nil {
		return Receipt{}, err
	}
	meta := event.AppendMeta(nil, &h)
	head, err := receipt.DecodeMeta(meta)
	if err != nil {
		return Receipt{}, err
	}
	r := receiptFrom(j.Store, &head)
	copy(r.Parent[:], j.Parent)
	copy(r.Content[:], j.Content)
	copy(r.Hash[:], j.Hash)
	if j.Signature != nil {
		r.Signature, err = j.Signature.signature()
	}
	return r, err
}

// signature returns the signature that j spells.
func (j *signatureJSON) signature() (Signature, error) {
	s := receipt.Signature{Leaves: j.Leaves, Index: j.Index}
	copy(s.Key[:], j.Key)
	copy(s.Signature[:], j.Signature)
	for _, hash := range j.Path {
		var h event.Hash
		copy(h[:], hash)
		s.Path = append(s.Path, h)
	}
	text := receipt.AppendSignature(nil, &s)
	_, err := receipt.DecodeSignature(text)
	return Signature{text: string(text)}, err
}

// sameJSON reports whether a and b are one value: whatever the order of their members and the white space.
func sameJSON(a, b []byte) bool {
	var values [2]any
	for i, text := range [][]byte{a, b} {
		d := json.NewDecoder(bytes.NewReader(text))
		d.UseNumber()
		if d.Decode(&values[i]) != nil {
			return false
		}
	}
	return reflect.DeepEqual(values[0], values[1])
}

// uniqueMembers refuses an object that names a member twice: readers differ in which of the two they take.
func uniqueMembers(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	var open []map[string]bool // of the objects around, nil for arrays
	name := false              // a member's name comes next, if anything
	for {
		token, err := d.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('{'):
			open, name = append(open, map[string]bool{}), true
			continue
		case json.Delim('['):
			open, name = append(open, nil), false
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		default:
			if name {
				members, text := open[len(open)-1], token.(string)
				if members[text] {
					return fmt.Errorf("member %q twice", text)
				}
				members[text], name = true, false
				continue
			}
		}
		name = len(open) > 0 && open[len(open)-1] != nil
	}
}
