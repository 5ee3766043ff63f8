package batpak_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// signingKey returns the key with this number.
func signingKey(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// publicKeys returns the public keys of those with these numbers.
func publicKeys(numbers ...byte) (keys []ed25519.PublicKey) {
	for _, n := range numbers {
		keys = append(keys, signingKey(n).Public().(ed25519.PublicKey))
	}
	return keys
}

// signedBy returns options whose last key has the last number.
func signedBy(numbers ...byte) batpak.Options {
	var o batpak.Options
	for _, n := range numbers {
		o.SigningKeys = append(o.SigningKeys, signingKey(n))
	}
	return o
}

// receiptCases are receipts of a store with every field in use: alone, in a batch, as a retry.
func receiptCases(t *testing.T, o batpak.Options) (r *rig, receipts []batpak.Receipt) {
	t.Helper()
	r = startRig(t, o)
	single := r.full(streamA)
	receipts = append(receipts, r.mustAppend(t, r.draft(streamB, 0)), r.mustAppend(t, single))
	batch := []batpak.Draft{r.full(streamA), r.draft(streamA, 9), r.full(streamB)}
	batch[1].CausedByDraft, batch[2].Causation, batch[2].CausedByDraft = batpak.DraftAt(0), event.ID{}, batpak.DraftAt(1)
	rcpts, err := r.batch(batch)
	if err != nil {
		t.Fatal(err)
	}
	return r, append(append(receipts, rcpts...), r.mustAppend(t, single))
}

// Each receipt carries the whole header, proves itself and its payload, and is the same when it is fetched again, by its
// ID, by a retry, through bytes and through JSON.
func TestReceiptIsSelfContained(t *testing.T) {
	for _, o := range []batpak.Options{{}, signedBy(1)} {
		r, receipts := receiptCases(t, o)
		rules := batpak.ReceiptRules{Keys: publicKeys(1), AllowUnsigned: len(o.SigningKeys) == 0}
		for i, rcpt := range receipts {
			name := fmt.Sprintf("%d keys, receipt %d", len(o.SigningKeys), i)
			if rcpt.Signature.IsZero() != (len(o.SigningKeys) == 0) {
				t.Errorf("%s: signed by %v", name, rcpt.Signature.KeyID())
			}
			ev, err := r.st.Event(t.Context(), rcpt.ID)
			if err != nil {
				t.Fatal(err)
			}
			h := rcpt.Header()
			told := event.Event{
				ID: h.ID, Seq: h.Seq, Coordinate: h.Coordinate, Kind: h.Kind, Payload: ev.Payload, Clock: h.Clock, Lane: h.Lane,
				Depth: h.Depth, HLC: h.HLC, Correlation: h.Correlation, Causation: h.Causation,
				PayloadVersion: h.PayloadVersion, Tags: h.Tags, Hash: rcpt.Hash, Extensions: h.Extensions,
			}
			if err := sameEvent(&told, &ev); err != nil {
				t.Errorf("%s: its header: %v", name, err)
			}
			again, err := r.st.Receipt(t.Context(), rcpt.ID)
			if err != nil || !again.Same(rcpt) || again.Replayed {
				t.Errorf("%s: fetched again: %+v, %v, want %+v", name, again, err, rcpt)
			}
			for _, have := range append(recoded(t, rcpt), rcpt, again) {
				err := errors.Join(batpak.VerifyReceipt(have, rules), have.VerifyPayload(ev.Payload), r.st.VerifyReceipt(t.Context(), have))
				if err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if err := have.VerifyPayload(append(ev.Payload, 0)); !errors.Is(err, batpak.ErrReceiptMismatch) {
					t.Errorf("%s: another payload: %v", name, err)
				}
			}
		}
	}
}

// recoded returns r after a way through bytes and one through JSON; both yield the same form again.
func recoded(t *testing.T, r batpak.Receipt) []batpak.Receipt {
	t.Helper()
	want := r
	want.Replayed = false
	var out [2]batpak.Receipt
	b, err := r.MarshalBinary()
	if err == nil {
		err = out[0].UnmarshalBinary(b)
	}
	if err != nil || out[0] != want {
		t.Fatalf("through bytes: %+v, %v, want %+v", out[0], err, want)
	}
	clear(b) // nothing of it is kept
	text, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(text, &out[1])
	}
	if err != nil || out[1] != want {
		t.Fatalf("through JSON: %+v, %v, want %+v", out[1], err, want)
	}
	for _, r := range out {
		if again, err := json.Marshal(r); err != nil || !bytes.Equal(again, text) {
			t.Fatalf("JSON again: %s, %v, want %s", again, err, text)
		}
	}
	return out[:]
}

// Goroutines that append at the same time get signatures of their own events; a retry in the same group gets one, too.
func TestReceiptsOfManyAreSigned(t *testing.T) {
	r := startRig(t, signedBy(1, 2))
	const callers, rounds = 16, 8
	var all sync.WaitGroup
	var mu sync.Mutex
	var receipts []batpak.Receipt
	for caller := range callers {
		all.Go(func() {
			for round := range rounds {
				d := batpak.Draft{Coordinate: coordinate.MustNew(fmt.Sprint("c", caller%5), "eu"), Kind: kindOne, Payload: []byte{byte(round)}}
				if caller%4 == 0 {
					d.Coordinate, d.IdempotencyKey = streamB, fmt.Append(nil, "round ", round)
				}
				rcpt, err := r.st.Append(context.Background(), d)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				receipts = append(receipts, rcpt)
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(receipts) != callers*rounds {
		t.Fatalf("%d receipts, want %d", len(receipts), callers*rounds)
	}
	for _, rcpt := range receipts {
		err := errors.Join(batpak.VerifyReceipt(rcpt, batpak.ReceiptRules{Keys: publicKeys(2)}), r.st.VerifyReceipt(t.Context(), rcpt))
		if err != nil || rcpt.Signature.KeyID() != batpak.KeyIDOf(publicKeys(2)[0]) {
			t.Errorf("event %d: %v", rcpt.Seq, err)
		}
	}
}

// A write group has one signature, of which each request gets the part of its own events.
func TestSignGroup(t *testing.T) {
	r, receipts := receiptCases(t, signedBy(1))
	signed := r.st.SignGroup(receipts[:1], receipts[1:2], receipts[2:5])
	for i, rcpt := range slices.Concat(signed...) {
		if err := batpak.VerifyReceipt(rcpt, batpak.ReceiptRules{Keys: publicKeys(1)}); err != nil || !rcpt.Same(receipts[i]) {
			t.Errorf("receipt %d: %v", i, err)
		}
		var form struct {
			Signature struct{ Leaves, Index int }
		}
		text, err := json.Marshal(rcpt)
		if err := errors.Join(err, json.Unmarshal(text, &form)); err != nil || form.Signature.Leaves != 5 || form.Signature.Index != i {
			t.Errorf("receipt %d is leaf %d of %d, %v, want of 5", i, form.Signature.Index, form.Signature.Leaves, err)
		}
	}
	// What only claims the place of an event of the group gets no part of its signature.
	claim := receipts[4]
	claim.Hash[0]++
	own, other := r.st.SignGroup(receipts[4:5], []batpak.Receipt{claim}), r.st.SignGroup(receipts[4:5])
	if own[0][0].Signature != other[0][0].Signature || own[1][0].Signature == own[0][0].Signature {
		t.Error("another hash at the sequence of an event has the event's signature")
	}
	old := receipts[0] // of an older group: signed all the same
	if got := r.st.SignGroup(receipts[4:5], []batpak.Receipt{old})[1][0]; batpak.VerifyReceipt(got, batpak.ReceiptRules{Keys: publicKeys(1)}) != nil {
		t.Error("a retry of an older event is not signed")
	}
}

// A key is replaced by adding another: what the old one signed still verifies, and can be signed anew.
func TestSigningKeyRotation(t *testing.T) {
	r := startRig(t, signedBy(1))
	rcpt := r.mustAppend(t, r.full(streamA))
	r.kill()
	r.opts.SigningKeys = signedBy(1, 2).SigningKeys
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if err := r.st.VerifyReceipt(t.Context(), rcpt); err != nil {
		t.Errorf("signed by the old key: %v", err)
	}
	fresh := r.mustAppend(t, r.full(streamA))
	anew, err := r.st.SignReceipt(t.Context(), rcpt)
	if err != nil || !anew.Same(rcpt) {
		t.Fatalf("SignReceipt = %+v, %v", anew, err)
	}
	for _, have := range []batpak.Receipt{fresh, anew} {
		if err := batpak.VerifyReceipt(have, batpak.ReceiptRules{Keys: publicKeys(2)}); err != nil {
			t.Errorf("signed by the new key: %v", err)
		}
	}
	r.kill()
	r.opts.SigningKeys = signedBy(2).SigningKeys
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if err := r.st.VerifyReceipt(t.Context(), rcpt); !errors.Is(err, batpak.ErrReceiptUnknownKey) {
		t.Errorf("the old key is gone: %v, want %v", err, batpak.ErrReceiptUnknownKey)
	}
	if anew, err := r.st.SignReceipt(t.Context(), rcpt); err != nil || r.st.VerifyReceipt(t.Context(), anew) != nil {
		t.Errorf("signed anew: %v", err)
	}
}

// A goldenReceipt is a file in testdata/receipts: a receipt that an earlier version made, beside its payload and its
// binary form. They are never written again: -new-golden makes those that are missing.
type goldenReceipt struct {
	Payload []byte          `json:"payload"` // base64
	Key     []byte          `json:"key"`     // that signed, base64
	Binary  []byte          `json:"binary"`  // base64
	Receipt json.RawMessage `json:"receipt"`
}

func TestGoldenReceipts(t *testing.T) {
	home := filepath.Join("testdata", "receipts")
	if _, err := os.Stat(home); os.IsNotExist(err) && *newGolden {
		makeGoldenReceipts(t, home)
	}
	names, err := filepath.Glob(filepath.Join(home, "v1-*.json"))
	if err != nil || len(names) != 4 {
		t.Fatalf("golden receipts: %v, %v, want 4", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var g goldenReceipt
		if err := json.Unmarshal(b, &g); err != nil {
			t.Fatal(err)
		}
		var fromJSON, fromBinary batpak.Receipt
		if err := errors.Join(json.Unmarshal(g.Receipt, &fromJSON), fromBinary.UnmarshalBinary(g.Binary)); err != nil || fromJSON != fromBinary {
			t.Fatalf("%s: %v, %+v, want %+v", name, err, fromJSON, fromBinary)
		}
		rules := batpak.ReceiptRules{Keys: []ed25519.PublicKey{g.Key}, AllowUnsigned: g.Key == nil}
		if err := errors.Join(batpak.VerifyReceipt(fromBinary, rules), fromBinary.VerifyPayload(g.Payload)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		binary, err := fromJSON.MarshalBinary()
		if err != nil || !bytes.Equal(binary, g.Binary) {
			t.Errorf("%s: MarshalBinary = %x, %v, want %x", name, binary, err, g.Binary)
		}
		var compact bytes.Buffer
		text, err := json.Marshal(fromBinary)
		if err := errors.Join(err, json.Compact(&compact, g.Receipt)); err != nil || !bytes.Equal(text, compact.Bytes()) {
			t.Errorf("%s: MarshalJSON = %s, %v, want %s", name, text, err, compact.Bytes())
		}
	}
}

func makeGoldenReceipts(t *testing.T, home string) {
	for _, o := range []batpak.Options{{}, signedBy(1)} {
		r, receipts := receiptCases(t, o)
		for name, rcpt := range map[string]batpak.Receipt{"plain": receipts[0], "full": receipts[4]} {
			ev, err := r.st.Event(t.Context(), rcpt.ID)
			if err != nil {
				t.Fatal(err)
			}
			g := goldenReceipt{Payload: ev.Payload}
			if o.SigningKeys != nil {
				g.Key, name = publicKeys(1)[0], name+"-signed"
			}
			binary, err := rcpt.MarshalBinary()
			text, err2 := json.Marshal(rcpt)
			g.Binary, g.Receipt = binary, text
			b, err3 := json.MarshalIndent(g, "", "  ")
			if err := errors.Join(err, err2, err3, os.MkdirAll(home, 0o755)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(home, "v1-"+name+".json"), append(b, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// tellsReceipt has the receipt of an event made anew, and the one from back then verified.
func tellsReceipt(st *batpak.Store, t *told) error {
	got, err := st.Receipt(context.Background(), t.ID)
	if err == nil && !got.Same(t.receipt) {
		err = fmt.Errorf("receipt of event %d: %+v, want %+v", t.Seq, got, t.receipt)
	}
	return errors.Join(err, st.VerifyReceipt(context.Background(), t.receipt))
}

// Receipts of submissions, of fences and of denials are complete and signed like all others.
func TestReceiptsOfEveryWayToAppend(t *testing.T) {
	o := signedBy(1)
	o.SegmentSize = 1 << 20
	o.Gates = []batpak.Gate{{Name: "never", Kinds: []event.Kind{kindOne}, Check: func(*batpak.GateView, *batpak.Draft) *batpak.Denial {
		return &batpak.Denial{Code: "no"}
	}}}
	r := startRig(t, o)
	receipts := map[string]batpak.Receipt{}
	must := func(name string, rcpt batpak.Receipt, err error) {
		t.Helper()
		if receipts[name] = rcpt; err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	ticket, err := r.st.Submit(t.Context(), r.full(streamA))
	if err != nil {
		t.Fatal(err)
	}
	rcpt, err := ticket.Wait(t.Context())
	must("submitted", rcpt, err)
	batch, err := r.st.SubmitBatch(t.Context(), []batpak.Draft{r.full(streamA), r.full(streamB)})
	if err != nil {
		t.Fatal(err)
	}
	rcpts, err := batch.Wait(t.Context())
	must("submitted batch", rcpts[1], err)

	denied := r.draft(streamA, 0)
	denied.RecordDenial, denied.Correlation = true, event.NewID(7<<16, 7)
	var denial *batpak.DeniedError
	if _, err = r.st.Append(t.Context(), denied); !errors.As(err, &denial) || denial.Receipt == nil {
		t.Fatalf("denied: %v, want a recorded denial", err)
	}
	must("denial", *denial.Receipt, nil)

	fence, err := r.st.Fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	cancelled, err := r.st.Fence(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rcpt, err = fence.Append(t.Context(), r.full(streamB))
	must("fenced", rcpt, err)
	mustFind(t, "fence open", r.st.VerifyReceipt(t.Context(), rcpt), "", batpak.ErrReceiptMissing)
	hidden, err := cancelled.Append(t.Context(), r.full(streamB))
	if err := errors.Join(err, fence.Commit(t.Context()), cancelled.Cancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	mustFind(t, "fence cancelled", r.st.VerifyReceipt(t.Context(), hidden), "", batpak.ErrReceiptHidden)
	again, err := r.st.Append(t.Context(), r.full(streamB))
	must("behind the fences", again, err)

	for name, rcpt := range receipts {
		if rcpt.Header().Fence != 0 != (name == "fenced") {
			t.Errorf("%s: staged by fence %d", name, rcpt.Header().Fence)
		}
		for _, rcpt := range append(recoded(t, rcpt), rcpt) {
			mustFind(t, name+", alone", batpak.VerifyReceipt(rcpt, batpak.ReceiptRules{Keys: publicKeys(1)}), "", nil)
			mustFind(t, name+", in the store", r.st.VerifyReceipt(t.Context(), rcpt), "", nil)
		}
		if again, err := r.st.Receipt(t.Context(), rcpt.ID); err != nil || !again.Same(rcpt) {
			t.Errorf("%s: fetched again: %+v, %v, want %+v", name, again, err, rcpt)
		}
	}
}
