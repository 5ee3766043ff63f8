package batpak_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"batpak"
)

// goldenSeeds returns the golden receipts: in bytes and in JSON.
func goldenSeeds(f *testing.F) (golden []goldenReceipt) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "receipts", "v1-*.json"))
	if err != nil || len(names) == 0 {
		f.Fatalf("golden receipts: %v, %v", names, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		var g goldenReceipt
		if err == nil {
			err = json.Unmarshal(b, &g)
		}
		if err != nil {
			f.Fatal(err)
		}
		golden = append(golden, g)
	}
	return golden
}

// mustBeTyped ends the test unless err is a finding about the form of a receipt.
func mustBeTyped(t *testing.T, err error) {
	t.Helper()
	var e *batpak.ReceiptError
	if !errors.As(err, &e) || e.Err != batpak.ErrReceiptFormat && e.Err != batpak.ErrReceiptFuture {
		t.Fatalf("%v, want a finding about the form", err)
	}
}

// checkDecoded checks what holds for any receipt, true or not: it has one form, and verifying it does not panic.
func checkDecoded(t *testing.T, r batpak.Receipt) {
	t.Helper()
	recoded(t, r)
	var e *batpak.ReceiptError
	for _, err := range []error{
		batpak.VerifyReceipt(r, batpak.ReceiptRules{AllowUnsigned: true}), batpak.VerifyReceipt(r, batpak.ReceiptRules{Keys: publicKeys(1)}),
		r.VerifyPayload([]byte("payload")),
	} {
		if err != nil && !errors.As(err, &e) {
			t.Fatalf("%v, want a *batpak.ReceiptError", err)
		}
	}
}

func FuzzReceiptBinary(f *testing.F) {
	for _, g := range goldenSeeds(f) {
		f.Add(g.Binary)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r batpak.Receipt
		if err := r.UnmarshalBinary(b); err != nil {
			mustBeTyped(t, err)
			return
		}
		if again, err := r.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("encoded again: %x, %v, want %x", again, err, b)
		}
		checkDecoded(t, r)
	})
}

func FuzzReceiptJSON(f *testing.F) {
	for _, g := range goldenSeeds(f) {
		f.Add([]byte(g.Receipt))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r batpak.Receipt
		if err := r.UnmarshalJSON(b); err != nil {
			mustBeTyped(t, err)
			return
		}
		checkDecoded(t, r)
	})
}

// FuzzReceiptSignature changes signed receipts: what verifies is one of those that were signed.
func FuzzReceiptSignature(f *testing.F) {
	var signed []goldenReceipt
	for _, g := range goldenSeeds(f) {
		if g.Key != nil {
			f.Add(uint8(len(signed)), uint16(0), []byte{0})
			f.Add(uint8(len(signed)), uint16(len(g.Binary)-1), []byte{1})
			signed = append(signed, g)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, at uint16, change []byte) {
		g := signed[int(which)%len(signed)]
		b := bytes.Clone(g.Binary)
		for i, x := range change {
			b[(int(at)+i)%len(b)] ^= x
		}
		var r batpak.Receipt
		if err := r.UnmarshalBinary(b); err != nil {
			mustBeTyped(t, err)
			return
		}
		err := batpak.VerifyReceipt(r, batpak.ReceiptRules{Keys: publicKeys(1)})
		if (err == nil) != bytes.Equal(b, g.Binary) {
			t.Fatalf("changed by %x at %d: %v", change, at, err)
		}
	})
}
