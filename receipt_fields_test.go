package batpak_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"batpak"
	"batpak/event"
)

// members is a receipt in JSON, taken apart.
type members map[string]any

func membersOf(t *testing.T, r batpak.Receipt) members {
	t.Helper()
	b, err := json.Marshal(r)
	m := members{}
	if err == nil {
		err = json.Unmarshal(b, &m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// receipt puts m together again.
func (m members) receipt() (r batpak.Receipt, err error) {
	b, err := json.Marshal(m)
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// flipHex returns the digits with one bit of the byte at index i changed.
func flipHex(digits any, i int) string {
	b, err := hex.DecodeString(digits.(string))
	if err != nil {
		panic(err)
	}
	b[i] ^= 1
	return hex.EncodeToString(b)
}

// A fieldCase changes one member of a receipt to something that another receipt could say there.
type fieldCase struct {
	member  string // in JSON; "a.b" is b of the object a
	change  func(m members)
	offline string // field that VerifyReceipt names, and where it is not ErrReceiptMismatch the condition
	store   string // the same of Store.VerifyReceipt
}

var (
	otherEventID = event.NewID(5<<16, 5)
	otherID      = otherEventID.String()
)

// set returns what gives a member the value v.
func set(member string, v any) func(members) {
	return func(m members) { m[member] = v }
}

// flip returns what changes one bit of a member in hexadecimal.
func flip(member string) func(members) {
	return func(m members) { m[member] = flipHex(m[member], 5) }
}

// inside does the same in an object inside.
func inside(object, member string) func(members) {
	return func(m members) { flip(member)(m[object].(map[string]any)) }
}

var fieldCases = []fieldCase{
	{"store", set("store", otherID), "Signature: signature does not hold", "Store: receipt of another store"},
	{"id", set("id", otherID), "Hash", "ID"},
	{"seq", set("seq", "1"), "Hash", "Seq"},
	{"entity", set("entity", "account:2"), "Hash", "Coordinate"},
	{"scope", set("scope", "us-2"), "Hash", "Coordinate"},
	{"kind", set("kind", "2:9"), "Hash", "Kind"},
	{"clock", set("clock", "3"), "Hash", "Clock"},
	{"lane", set("lane", 4), "Hash", "Lane"},
	{"depth", set("depth", 0), "Hash", "Depth"},
	{"hlc", set("hlc", "1"), "Hash", "HLC"},
	{"payload_version", set("payload_version", 65535), "Hash", "PayloadVersion"},
	{"fork", set("fork", otherID), "Hash", "Fork"},
	{"correlation", set("correlation", otherID), "Hash", "Correlation"},
	{"causation", func(m members) { delete(m, "causation") }, "Hash", "Causation"},
	{"key.hash", inside("key", "hash"), "Hash", "Key"},
	{"key.fingerprint", inside("key", "fingerprint"), "Hash", "Key"},
	{"fence", set("fence", "1"), "Hash", "Fence"},
	{"tags", set("tags", []string{"größe", "urgent"}), "Hash", "Tags"},
	{"extensions", set("extensions", map[string][]byte{"trace": {0, 1, 3}, "empty": {}}), "Hash", "Extensions"},
	{"salt", set("salt", strings.Repeat("00", 15)+"01"), "Hash", "Salt"},
	{"parent", flip("parent"), "Hash", "Parent"},
	{"content", flip("content"), "Hash", "Content"},
	{"hash", flip("hash"), "Hash", "Hash"},
	{"signature.key", inside("signature", "key"), "Signature: receipt is signed with an unknown key", "Signature: receipt is signed with an unknown key"},
	{"signature.ed25519", inside("signature", "ed25519"), "Signature: signature does not hold", "Signature: signature does not hold"},
	{"signature.leaves", func(m members) { m["signature"].(map[string]any)["leaves"] = 4 }, "Signature: signature does not hold", "Signature: signature does not hold"},
	{"signature.index", func(m members) { m["signature"].(map[string]any)["index"] = 1 }, "Signature: signature does not hold", "Signature: signature does not hold"},
	{"signature.path", func(m members) {
		s := m["signature"].(map[string]any)
		s["path"] = []string{flipHex(s["path"].([]any)[0], 0), s["path"].([]any)[1].(string)}
	}, "Signature: signature does not hold", "Signature: signature does not hold"},
	{"signature", func(m members) { delete(m, "signature") }, "Signature: receipt is not signed", ""},
}

// finding returns what an error of verification says, without the values.
func finding(err error) string {
	var e *batpak.ReceiptError
	if !errors.As(err, &e) || !errors.Is(err, batpak.ErrReceipt) || !errors.Is(err, e.Err) {
		return fmt.Sprint(err)
	}
	if e.Err == batpak.ErrReceiptMismatch {
		return e.Field
	}
	return e.Field + ": " + e.Err.Error()
}

// Every field of a receipt that is changed is found out, with its name where the store is at hand.
func TestEveryFieldOfAReceipt(t *testing.T) {
	r := startRig(t, signedBy(1, 2))
	r.mustAppend(t, r.full(streamA))
	rcpts, err := r.batch([]batpak.Draft{r.full(streamA), r.full(streamA), r.draft(streamB, 0)})
	if err != nil {
		t.Fatal(err)
	}
	whole := rcpts[0] // of a group of three, so with a path of two; neither the first nor the last of its stream
	rules := batpak.ReceiptRules{Keys: publicKeys(1, 2)}
	if err := errors.Join(batpak.VerifyReceipt(whole, rules), r.st.VerifyReceipt(t.Context(), whole)); err != nil {
		t.Fatal(err)
	}
	tested := map[string]bool{"version": true}
	for _, tt := range fieldCases {
		t.Run(tt.member, func(t *testing.T) {
			m := membersOf(t, whole)
			tt.change(m)
			rcpt, err := m.receipt()
			if err != nil || rcpt == whole {
				t.Fatalf("changed: %v, the same %v", err, rcpt == whole)
			}
			if got := finding(batpak.VerifyReceipt(rcpt, rules)); got != tt.offline {
				t.Errorf("VerifyReceipt finds %q, want %q", got, tt.offline)
			}
			if tt.store == "" {
				tt.store = "<nil>"
			}
			if got := finding(r.st.VerifyReceipt(t.Context(), rcpt)); got != tt.store {
				t.Errorf("Store.VerifyReceipt finds %q, want %q", got, tt.store)
			}
		})
		tested[tt.member] = true
	}
	last := membersOf(t, whole)
	for _, object := range []string{"key", "signature"} {
		for name := range last[object].(map[string]any) {
			last[object+"."+name] = true
		}
	}
	delete(last, "key")
	for name := range last {
		if !tested[name] {
			t.Errorf("member %q is not in the table", name)
		}
	}
}
