package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"batpak"
	"batpak/coordinate"
)

// What happens if the price had been another one? A fork tries it, and the order itself does not change.
func ExampleStore_Fork() {
	st, remove := exampleStore(nil)
	defer remove()
	ctx := context.Background()

	order := coordinate.MustNew("order:1042", "eu")
	append := func(lane uint32, payload string) batpak.Receipt {
		r, err := st.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, Lane: lane, Payload: []byte(payload)})
		if err != nil {
			log.Fatal(err)
		}
		return r
	}
	first := append(0, "placed")
	append(0, "priced at 42")

	fork, err := st.Fork(ctx, first.ID, batpak.Draft{Coordinate: order, Kind: placed, Payload: []byte("priced at 40")})
	if err != nil {
		log.Fatal(err)
	}
	append(fork.Lane, "paid")
	append(0, "cancelled")

	for ev, err := range st.Branch(ctx, "order:1042", fork.Lane) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("lane %d depth %d: %s\n", ev.Lane, ev.Depth, ev.Payload)
	}
	// Output:
	// lane 0 depth 0: placed
	// lane 1 depth 1: priced at 40
	// lane 1 depth 1: paid
}

// Whoever numbers lanes forks to the one that he names; it is taken once.
func ExampleForkError() {
	st, remove := exampleStore(nil)
	defer remove()
	ctx := context.Background()

	r, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: placed})
	if err != nil {
		log.Fatal(err)
	}
	named := batpak.Draft{Coordinate: r.Coordinate, Kind: placed, Lane: 7, Fork: r.ID}
	_, err = st.Append(ctx, named)
	fmt.Println(err)
	_, err = st.Append(ctx, named)
	fmt.Println(errors.Is(err, batpak.ErrConflict))

	named.Coordinate, named.Lane = coordinate.MustNew("order:1043", "eu"), 1
	_, err = st.Append(ctx, named)
	var fork *batpak.ForkError
	fmt.Println(errors.As(err, &fork), errors.Is(err, batpak.ErrInvalid))
	// Output:
	// <nil>
	// true
	// true true
}

func ExampleStore_Lanes() {
	st, remove := exampleStore(nil)
	defer remove()
	ctx := context.Background()

	order := coordinate.MustNew("order:1042", "eu")
	for _, lane := range []uint32{0, 0, 3, 0, 3} {
		if _, err := st.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, Lane: lane}); err != nil {
			log.Fatal(err)
		}
	}
	heads, err := st.Lanes(ctx, "order:1042")
	if err != nil {
		log.Fatal(err)
	}
	for _, h := range heads {
		fmt.Printf("lane %d: %d events, the last one is %d\n", h.Lane, h.Clock, h.Seq)
	}
	// Output:
	// lane 0: 3 events, the last one is 4
	// lane 3: 2 events, the last one is 5
}

func ExampleStore_Branch() {
	st, remove := exampleStore(nil)
	defer remove()
	ctx := context.Background()

	// A total is what the events of a branch add up to, whichever lanes they are on.
	account := coordinate.MustNew("account:7", "eu")
	at, err := st.Append(ctx, batpak.Draft{Coordinate: account, Kind: paid, Payload: []byte{100}})
	for _, amount := range []byte{20, 3} {
		if err == nil { // a fork of the fork before
			at, err = st.Fork(ctx, at.ID, batpak.Draft{Coordinate: account, Kind: paid, Payload: []byte{amount}})
		}
	}
	if err != nil {
		log.Fatal(err)
	}
	for lane := range uint32(3) {
		total := 0
		for ev, err := range st.Branch(ctx, "account:7", lane) {
			if err != nil {
				log.Fatal(err)
			}
			total += int(ev.Payload[0])
		}
		fmt.Println("lane", lane, "total", total)
	}
	// Output:
	// lane 0 total 100
	// lane 1 total 120
	// lane 2 total 123
}
