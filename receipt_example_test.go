package batpak_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"batpak"
	"batpak/coordinate"
)

// exampleKey is a signing key. A real one is random, and kept apart from the store.
func exampleKey() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)) }

// A store that signs gives a customer a receipt, who checks it later without the store: with the public key alone.
func ExampleVerifyReceipt() {
	key := exampleKey()
	st, done := exampleStore(&batpak.Options{SigningKeys: []ed25519.PrivateKey{key}})
	payload := []byte(`{"total":42}`)
	rcpt, err := st.Append(context.Background(), batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed, Payload: payload})
	if err != nil {
		log.Fatal(err)
	}
	proof, err := rcpt.MarshalBinary()
	if err != nil {
		log.Fatal(err)
	}
	done() // the store is gone

	var mine batpak.Receipt
	if err := mine.UnmarshalBinary(proof); err != nil {
		log.Fatal(err)
	}
	rules := batpak.ReceiptRules{Keys: []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}}
	fmt.Println("receipt:", batpak.VerifyReceipt(mine, rules))
	fmt.Println("payload:", mine.VerifyPayload(payload))

	mine.Kind = paid
	err = batpak.VerifyReceipt(mine, rules)
	fmt.Println("changed:", errors.Is(err, batpak.ErrReceiptMismatch))
	// Output:
	// receipt: <nil>
	// payload: <nil>
	// changed: true
}

// The store says exactly in what a receipt differs from the bytes of its event.
func ExampleStore_VerifyReceipt() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	rcpt, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.VerifyReceipt(ctx, rcpt))
	rcpt.Kind = paid
	err = st.VerifyReceipt(ctx, rcpt)
	fmt.Println(err)
	var wrong *batpak.ReceiptError
	if errors.As(err, &wrong) {
		fmt.Println(wrong.Field, wrong.Want, wrong.Have)
	}
	// Output:
	// <nil>
	// batpak: receipt does not hold: Kind: field differs: want 1:1, have 1:2
	// Kind 1:1 1:2
}

// A receipt that was lost can be had again; it says the same.
func ExampleStore_Receipt() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	rcpt, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed})
	if err != nil {
		log.Fatal(err)
	}
	again, err := st.Receipt(ctx, rcpt.ID)
	fmt.Println(again == rcpt, err)
	// Output: true <nil>
}

// A receipt from before the store had keys is signed when somebody asks for it.
func ExampleStore_SignReceipt() {
	key := exampleKey()
	st, done := exampleStore(&batpak.Options{SigningKeys: []ed25519.PrivateKey{key}})
	defer done()
	ctx := context.Background()
	old, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed})
	if err != nil {
		log.Fatal(err)
	}
	old.Signature = batpak.Signature{}
	signed, err := st.SignReceipt(ctx, old)
	fmt.Println(signed.Same(old), signed.Signature.KeyID() == batpak.KeyIDOf(key.Public().(ed25519.PublicKey)), err)
	// Output: true true <nil>
}

// In JSON, numbers of 64 bits are strings: no reader rounds them.
func ExampleReceipt_MarshalJSON() {
	st, done := exampleStore(nil)
	defer done()
	rcpt, err := st.Append(context.Background(), batpak.Draft{
		Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed, Extensions: map[string][]byte{"trace": []byte("7f")},
	})
	if err != nil {
		log.Fatal(err)
	}
	text, err := json.Marshal(rcpt)
	if err != nil {
		log.Fatal(err)
	}
	var form map[string]any
	if err := json.Unmarshal(text, &form); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%q %q %q %v\n", form["seq"], form["entity"], form["kind"], form["extensions"])
	fmt.Printf("%s\n", rcpt.Header().Extensions["trace"])
	// Output:
	// "1" "order:1042" "1:1" map[trace:N2Y=]
	// 7f
}
