package batpak_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// conditions are all that a *batpak.ReceiptError can be.
var conditions = []error{
	batpak.ErrReceiptFormat, batpak.ErrReceiptFuture, batpak.ErrReceiptMismatch, batpak.ErrReceiptForeign, batpak.ErrReceiptMissing,
	batpak.ErrReceiptHidden, batpak.ErrReceiptEvicted, batpak.ErrReceiptUnsigned, batpak.ErrReceiptUnknownKey,
	batpak.ErrReceiptWrongKey, batpak.ErrReceiptSignature,
}

// mustFind ends the test unless err is the finding want about field, and no other; nil wants none.
func mustFind(t *testing.T, what string, err error, field string, want error) {
	t.Helper()
	if want == nil {
		if err != nil {
			t.Fatalf("%s: %v, want no finding", what, err)
		}
		return
	}
	var e *batpak.ReceiptError
	if !errors.As(err, &e) || e.Field != field || !errors.Is(err, batpak.ErrReceipt) {
		t.Fatalf("%s: %v, want a finding about %q", what, err, field)
	}
	for _, condition := range conditions {
		if errors.Is(err, condition) != (condition == want) {
			t.Fatalf("%s: %v is %v: %v", what, err, condition, errors.Is(err, condition))
		}
	}
}

// What can be wrong with a signature has a name each, and nothing is taken for less than it says.
func TestReceiptSignatures(t *testing.T) {
	signed := startRig(t, signedBy(1, 2))
	rcpt := signed.mustAppend(t, signed.full(streamA))
	bare := rcpt
	bare.Signature = batpak.Signature{}
	other := signed.mustAppend(t, signed.draft(streamB, 0))
	borrowed := bare
	borrowed.Signature = other.Signature
	m := membersOf(t, rcpt)
	m["signature"].(map[string]any)["key"] = batpak.KeyIDOf(publicKeys(1)[0]).String()
	renamed, err := m.receipt()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		rcpt  batpak.Receipt
		rules batpak.ReceiptRules
		want  error
	}{
		{"holds", rcpt, batpak.ReceiptRules{Keys: publicKeys(2)}, nil},
		{"holds, of this store", rcpt, batpak.ReceiptRules{Keys: publicKeys(1, 2), Store: rcpt.Store}, nil},
		{"no keys", rcpt, batpak.ReceiptRules{}, batpak.ErrReceiptUnknownKey},
		{"no keys, unsigned allowed", rcpt, batpak.ReceiptRules{AllowUnsigned: true}, batpak.ErrReceiptUnknownKey},
		{"another key is trusted", rcpt, batpak.ReceiptRules{Keys: publicKeys(1, 3)}, batpak.ErrReceiptUnknownKey},
		{"a key that is none is passed over", rcpt, batpak.ReceiptRules{Keys: append(publicKeys(2), []byte("short"))}, nil},
		{"unsigned", bare, batpak.ReceiptRules{Keys: publicKeys(2)}, batpak.ErrReceiptUnsigned},
		{"unsigned, allowed", bare, batpak.ReceiptRules{Keys: publicKeys(2), AllowUnsigned: true}, nil},
		{"another key than it says", renamed, batpak.ReceiptRules{Keys: publicKeys(1, 2)}, batpak.ErrReceiptWrongKey},
		{"another key than it says, which is unknown", renamed, batpak.ReceiptRules{Keys: publicKeys(1)}, batpak.ErrReceiptSignature},
		{"signature of another event", borrowed, batpak.ReceiptRules{Keys: publicKeys(2), AllowUnsigned: true}, batpak.ErrReceiptSignature},
	} {
		mustFind(t, tt.name, batpak.VerifyReceipt(tt.rcpt, tt.rules), "Signature", tt.want)
	}
	mustFind(t, "another store", batpak.VerifyReceipt(rcpt, batpak.ReceiptRules{Keys: publicKeys(2), Store: [16]byte{1}}), "Store", batpak.ErrReceiptForeign)
	mustFind(t, "zero", batpak.VerifyReceipt(batpak.Receipt{}, batpak.ReceiptRules{AllowUnsigned: true}), "Hash", batpak.ErrReceiptMismatch)
	for name, rcpt := range map[string]batpak.Receipt{"renamed": renamed, "borrowed": borrowed} {
		want := batpak.ErrReceiptWrongKey
		if name == "borrowed" {
			want = batpak.ErrReceiptSignature
		}
		mustFind(t, name+", in the store", signed.st.VerifyReceipt(t.Context(), rcpt), "Signature", want)
	}
	mustFind(t, "unsigned, in the store", signed.st.VerifyReceipt(t.Context(), bare), "", nil)

	replayed := bare
	replayed.Replayed = true
	if again, err := signed.st.SignReceipt(t.Context(), replayed); err != nil || !again.Replayed || !again.Same(rcpt) {
		t.Errorf("SignReceipt = %+v, %v", again, err)
	}
	lie := bare
	lie.Kind++
	_, err = signed.st.SignReceipt(t.Context(), lie)
	mustFind(t, "a lie to sign", err, "Kind", batpak.ErrReceiptMismatch)
	keyless := startRig(t, batpak.Options{})
	if _, err := keyless.st.SignReceipt(t.Context(), bare); !errors.Is(err, batpak.ErrNoSigningKey) {
		t.Errorf("SignReceipt without keys: %v, want %v", err, batpak.ErrNoSigningKey)
	}
	mustFind(t, "another store's", keyless.st.VerifyReceipt(t.Context(), bare), "Store", batpak.ErrReceiptForeign)
}

// Missing, hidden and evicted events are told apart, and a receipt that the log never gave is none of them.
func TestReceiptsOfWhatIsNotThere(t *testing.T) {
	l := &lifetime{rig: startRig(t, batpak.Options{})}
	for range 3 {
		l.mustAppend(t, l.full(streamA))
	}
	if err := l.intermission(); err != nil { // 2 and 3 are hidden, three others evicted
		t.Fatal(err)
	}
	told := l.history()
	verify := func(r batpak.Receipt) error { return l.st.VerifyReceipt(t.Context(), r) }
	mustFind(t, "there", verify(l.mustAppend(t, l.full(streamB))), "", nil)
	mustFind(t, "hidden", verify(told[1].receipt), "", batpak.ErrReceiptHidden)
	if _, err := l.st.Receipt(t.Context(), told[1].ID); !errors.Is(err, batpak.ErrNotFound) {
		t.Errorf("Receipt of a hidden event: %v, want %v", err, batpak.ErrNotFound)
	}
	next := l.mustAppend(t, l.draft(streamA, 0))
	next.Seq, next.ID = next.Seq+1, event.NewID(next.HLC+1, 0)
	mustFind(t, "never written", verify(next), "", batpak.ErrReceiptMissing)
	next.Seq, next.ID = 0, event.ID{}
	mustFind(t, "of nothing", verify(next), "", batpak.ErrReceiptMissing)

	for i := range l.gone {
		gone := l.gone[i].receipt
		gone.Seq += 1000 // the other store's sequences are in use here
		mustFind(t, "evicted, changed", verify(gone), "Seq", batpak.ErrReceiptMismatch)
		retry := l.mustAppend(t, l.gone[i].draft)
		if !retry.Replayed || !retry.Same(l.gone[i].receipt) {
			t.Errorf("retry of an evicted event: %+v, want %+v", retry, l.gone[i].receipt)
		}
		mustFind(t, "evicted, by itself", batpak.VerifyReceipt(retry, batpak.ReceiptRules{AllowUnsigned: true}), "", nil)
	}
}

// An event whose key is all that the store has left of it is evicted: the key confirms the receipt.
func TestReceiptOfAnEvictedEvent(t *testing.T) {
	l := &lifetime{rig: startRig(t, signedBy(1))}
	l.mustAppend(t, l.draft(streamB, 0))
	if err := errors.Join(l.close(), l.evict(l.told[0].receipt.Store)); err != nil {
		t.Fatal(err)
	}
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	gone := l.gone[2].receipt // its sequence is above those of this store
	mustFind(t, "evicted", l.st.VerifyReceipt(t.Context(), gone), "", batpak.ErrReceiptEvicted)
	_, err := l.st.SignReceipt(t.Context(), gone)
	mustFind(t, "to sign", err, "", batpak.ErrReceiptEvicted)
	for field, change := range map[string]func(r *batpak.Receipt){
		"Content": func(r *batpak.Receipt) { r.Content[0]++ },
		"Parent":  func(r *batpak.Receipt) { r.Parent[0]++ },
		"HLC":     func(r *batpak.Receipt) { r.HLC++ },
		"Hash":    func(r *batpak.Receipt) { r.Depth++ },
	} {
		changed := gone
		change(&changed)
		mustFind(t, field, l.st.VerifyReceipt(t.Context(), changed), field, batpak.ErrReceiptMismatch)
	}
	retry := l.mustAppend(t, l.gone[2].draft)
	mustFind(t, "retry", batpak.VerifyReceipt(retry, batpak.ReceiptRules{Keys: publicKeys(1)}), "", nil)
}

// The bytes of the log are what counts: an event that was rewritten with all checksums right does not prove its receipt.
func TestReceiptAgainstARewrittenLog(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		change      func(body []byte, raw *event.Raw)
	}{
		{"payload", "Content", func(body []byte, raw *event.Raw) { body[len(body)-1] ^= 1 }},
		{"payload version", "PayloadVersion", func(body []byte, raw *event.Raw) { body[44] ^= 1 }},
		{"hash", "Hash", func(body []byte, raw *event.Raw) { body[len(raw.Meta)] ^= 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, batpak.Options{})
			rcpt := r.mustAppend(t, r.draft(streamA, 0))
			r.kill()
			rewriteLast(t, r.mem, tt.change)
			if err := r.open(); err != nil {
				t.Fatal(err)
			}
			mustFind(t, "verified", r.st.VerifyReceipt(t.Context(), rcpt), tt.field, batpak.ErrReceiptMismatch)
			_, err := r.st.Receipt(t.Context(), rcpt.ID)
			mustFind(t, "made anew", err, "Hash", batpak.ErrReceiptMismatch)
		})
	}
}

// rewriteLast changes the last event of the first segment, with its checksum.
func rewriteLast(t *testing.T, m *vfs.Mem, change func(body []byte, raw *event.Raw)) {
	t.Helper()
	b := bytes.Clone(m.Files()[segment.Name(1)])
	head, err := segment.DecodeHeader(b, 1)
	if err != nil {
		t.Fatal(err)
	}
	sc := segment.NewScanner(bytes.NewReader(bytes.Clone(b)), &head, head.Len(), int64(len(b)))
	var frame segment.Frame
	for sc.Next() {
		frame = *sc.Frame()
	}
	whole := b[frame.Offset:frame.End()]
	var raw event.Raw
	if err := raw.Decode(whole[segment.FrameHeaderLen:]); err != nil {
		t.Fatal(err)
	}
	change(whole[segment.FrameHeaderLen:], &raw)
	segment.NewSeal(head.Salt).Finish(whole, frame.Offset, frame.Type, frame.Flags, frame.Through)
	m.SetFile(segment.Name(1), b)
}

// Any bit of a signed receipt that is flipped is refused, where it is decoded or where it is verified.
func TestEveryBitOfASignedReceipt(t *testing.T) {
	r := startRig(t, signedBy(1))
	r.mustAppend(t, r.full(streamA))
	rcpts, err := r.batch([]batpak.Draft{r.full(streamA), r.draft(streamB, 0), r.draft(streamB, 0)})
	if err != nil {
		t.Fatal(err)
	}
	rules := batpak.ReceiptRules{Keys: publicKeys(1)}
	whole, err := rcpts[0].MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	decoded := 0
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		var got batpak.Receipt
		if err := got.UnmarshalBinary(b); err != nil {
			if !errors.Is(err, batpak.ErrReceiptFormat) && !errors.Is(err, batpak.ErrReceiptFuture) || got != (batpak.Receipt{}) {
				t.Fatalf("bit %d: %v, %+v", bit, err, got)
			}
			continue
		}
		decoded++
		var e *batpak.ReceiptError
		if err := batpak.VerifyReceipt(got, rules); !errors.As(err, &e) {
			t.Fatalf("bit %d: %v, want a finding", bit, err)
		}
		if err := r.st.VerifyReceipt(t.Context(), got); !errors.As(err, &e) {
			t.Fatalf("bit %d, in the store: %v, want a finding", bit, err)
		}
	}
	t.Logf("%d bits, %d of them decode and do not verify", 8*len(whole), decoded)
	if decoded < 4*len(whole) {
		t.Errorf("only %d of %d flips decode: the signature was hardly tested", decoded, 8*len(whole))
	}
}

// JSON is taken in one spelling, whatever the order and the white space.
func TestReceiptJSONForm(t *testing.T) {
	r := startRig(t, signedBy(1))
	rcpt := r.mustAppend(t, r.full(streamA))
	b, err := json.Marshal(rcpt)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	swap := func(from, to string) string {
		if strings.Count(text, from) != 1 {
			t.Fatalf("%s is %d times in %s", from, strings.Count(text, from), text)
		}
		return strings.Replace(text, from, to, 1)
	}
	for _, tt := range []struct {
		name, in string
		want     error
	}{
		{"as it is", text, nil},
		{"white space", strings.ReplaceAll(text, `,"`, ",\n\t \""), nil},
		{"escaped", swap(`größe`, `gr\u00f6\u00dfe`), nil},
		{"null", `null`, batpak.ErrReceiptFormat},
		{"empty", ``, batpak.ErrReceiptFormat},
		{"no object", `[` + text + `]`, batpak.ErrReceiptFormat},
		{"something behind", text + `{}`, batpak.ErrReceiptFormat},
		{"version 2", swap(`"version":1`, `"version":2`), batpak.ErrReceiptFuture},
		{"version 2 with another member", swap(`"version":1`, `"version":2,"more":{}`), batpak.ErrReceiptFuture},
		{"version 0", swap(`"version":1`, `"version":0`), batpak.ErrReceiptFormat},
		{"no version", swap(`"version":1,`, ``), batpak.ErrReceiptFormat},
		{"member unknown", swap(`"version":1`, `"version":1,"more":1`), batpak.ErrReceiptFormat},
		{"member twice", swap(`"version":1`, `"version":1,"seq":"1"`), batpak.ErrReceiptFormat},
		{"member twice inside", swap(`"leaves":1`, `"leaves":1,"leaves":1`), batpak.ErrReceiptFormat},
		{"member in other letters", swap(`"seq"`, `"Seq"`), batpak.ErrReceiptFormat},
		{"member missing", swap(`"depth":2,`, ``), batpak.ErrReceiptFormat},
		{"member null", swap(`"depth":2`, `"depth":null`), batpak.ErrReceiptFormat},
		{"number for a string", swap(`"seq":"1"`, `"seq":1`), batpak.ErrReceiptFormat},
		{"number with zeroes", swap(`"seq":"1"`, `"seq":"01"`), batpak.ErrReceiptFormat},
		{"number as a fraction", swap(`"depth":2`, `"depth":2.0`), batpak.ErrReceiptFormat},
		{"number too large", swap(`"depth":2`, `"depth":4294967296`), batpak.ErrReceiptFormat},
		{"sequence zero", swap(`"seq":"1"`, `"seq":"0"`), batpak.ErrReceiptFormat},
		{"no entity", swap(`"entity":"`+streamA.Entity()+`"`, `"entity":""`), batpak.ErrReceiptFormat},
		{"not UTF-8", swap(`größe`, "gr\xffe"), batpak.ErrReceiptFormat},
		{"control character", swap(`größe`, `gr\u0000e`), batpak.ErrReceiptFormat},
		{"empty tag", swap(`größe`, ``), batpak.ErrReceiptFormat},
		{"extension null", swap(`"empty":""`, `"empty":null`), batpak.ErrReceiptFormat},
		{"hash too short", swap(`"hash":"`+hexOf(rcpt.Hash)+`"`, `"hash":"`+hexOf(rcpt.Hash)[2:]+`"`), batpak.ErrReceiptFormat},
		{"hash in capitals", swap(`"hash":"`+hexOf(rcpt.Hash)+`"`, `"hash":"`+strings.ToUpper(hexOf(rcpt.Hash))+`"`), batpak.ErrReceiptFormat},
		{"leaf beyond the group", swap(`"leaves":1`, `"leaves":0`), batpak.ErrReceiptFormat},
		{"huge", strings.Repeat(" ", 5<<20) + text, batpak.ErrReceiptFormat},
		{"deep", strings.Repeat("[", 1<<20), batpak.ErrReceiptFormat},
	} {
		got := batpak.Receipt{Seq: 77}
		mustFind(t, tt.name, got.UnmarshalJSON([]byte(tt.in)), "", tt.want)
		if want := (batpak.Receipt{Seq: 77}); tt.want == nil && got != rcpt || tt.want != nil && got != want {
			t.Errorf("%s: %+v", tt.name, got)
		}
	}
	for name, change := range map[string]func(*batpak.Receipt){
		"no sequence":   func(r *batpak.Receipt) { r.Seq = 0 },
		"no coordinate": func(r *batpak.Receipt) { *r = batpak.Receipt{} },
	} {
		bad := rcpt
		change(&bad)
		_, err := bad.MarshalBinary()
		mustFind(t, name, err, "", batpak.ErrReceiptFormat)
		_, err = json.Marshal(bad)
		mustFind(t, name+", in JSON", err, "", batpak.ErrReceiptFormat)
		_ = bad.Header()
	}
}

func hexOf(h event.Hash) string { return strings.ToLower(batpak.KeyID(h).String()) }

// Receipts can be made, verified and signed while others append.
func TestReceiptsBesideAppends(t *testing.T) {
	r := startRig(t, signedBy(1))
	first := r.mustAppend(t, r.full(streamA))
	done := make(chan error, 1)
	go func() {
		for range 50 {
			if _, err := r.st.Append(context.Background(), r.draft(streamA, 700)); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	for range 50 {
		rcpt, err := r.st.Receipt(t.Context(), first.ID)
		if err == nil {
			rcpt, err = r.st.SignReceipt(t.Context(), rcpt)
		}
		if err != nil || !rcpt.Same(first) {
			t.Fatalf("%+v, %v", rcpt, err)
		}
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
}

// A retry through a fence, in the same write group as its original beside the fence: the receipt is the original's.
func TestRetryThroughAFenceInOneGroup(t *testing.T) {
	ctx := context.Background()
	g := openGated(t, vfs.OpSync, signedBy(1))
	defer mustClose(t, g.Store)
	f := openFence(t, g.Store)
	keyed := plain("keyed")
	keyed.IdempotencyKey = []byte("k")
	held := g.hold(plain("held"))
	first := g.queue(ctx, keyed)[0]
	var retry batpak.Receipt
	var err error
	done := make(chan struct{})
	go func() { defer close(done); retry, err = f.Append(ctx, keyed) }()
	g.waiting(2)
	g.goOn <- vfs.Decision{}
	<-done
	if err := errors.Join(held.wait(), first.wait(), err); err != nil {
		t.Fatal(err)
	}
	if !retry.Replayed || !retry.Same(first.receipts[0]) || retry.Signature.IsZero() {
		t.Errorf("retry %+v, want the receipt of %+v", retry, first.receipts[0])
	}
	if err := g.VerifyReceipt(ctx, retry); err != nil {
		t.Error(err)
	}
}
