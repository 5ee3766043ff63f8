package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// An account that nobody may overdraw, whoever appends at the same time.
func ExampleGate() {
	withdrawn := event.MustKind(0x1, 2)
	limit := batpak.Gate{
		Name: "three-withdrawals", Kinds: []event.Kind{withdrawn},
		Check: func(v *batpak.GateView, d *batpak.Draft) *batpak.Denial {
			if v.Clock < 3 {
				return nil
			}
			return &batpak.Denial{Code: "limit", Message: "three withdrawals were made"}
		},
	}
	st, done := exampleStore(&batpak.Options{Gates: []batpak.Gate{limit}})
	defer done()
	for range 4 {
		_, err := st.Append(context.Background(), batpak.Draft{Coordinate: coordinate.MustNew("account:1", "eu"), Kind: withdrawn})
		var denied *batpak.DeniedError
		if errors.As(err, &denied) {
			fmt.Println(denied.Gate, denied.Code)
		}
	}
	// Output: three-withdrawals limit
}

// Two parts of one import become visible together, or not at all.
func ExampleStore_Fence() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	f, err := st.Fence(ctx)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Cancel(ctx) // does nothing behind Commit
	for _, part := range []string{"orders", "customers"} {
		if _, err := f.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew(part, "eu"), Kind: event.MustKind(0x1, 1)}); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("before:", st.Visible())
	if err := f.Commit(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("after:", st.Visible())
	// Output:
	// before: 0
	// after: 2
}

// A decision that rests on more than one stream: it fails when anything that it rests on has changed.
func ExampleUnless() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	seats := batpak.Query{Tags: []string{"row:7"}}
	read := st.Visible() // and then read seats, and decide
	take := func(seat string) error {
		_, err := st.Append(ctx, batpak.Draft{
			Coordinate: coordinate.MustNew(seat, "hall"), Kind: event.MustKind(0x1, 1), Tags: []string{"row:7"},
			Unless: []batpak.Unless{{Query: seats, Seq: read}},
		})
		return err
	}
	fmt.Println(take("seat:7a"))
	var conflict *batpak.ConflictError
	fmt.Println(errors.As(take("seat:7b"), &conflict), conflict.Seq)
	// Output:
	// <nil>
	// true 1
}

// An append that nobody waits for at once.
func ExampleStore_Submit() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	ticket, err := st.Submit(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1", "eu"), Kind: event.MustKind(0x1, 1)})
	if err != nil {
		log.Fatal(err)
	}
	rcpt, err := ticket.Wait(ctx)
	fmt.Println(rcpt.Seq, err)
	// Output: 1 <nil>
}

// Waiting for events of another goroutine.
func ExampleStore_WaitVisible() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	go st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1", "eu"), Kind: event.MustKind(0x1, 1)})
	if err := st.WaitVisible(ctx, 1); err != nil {
		log.Fatal(err)
	}
	fmt.Println(st.Frontier().Visible)
	// Output: 1
}
