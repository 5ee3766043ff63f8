package batpak_test

import (
	"context"
	"fmt"
	"log"

	"batpak"
	"batpak/coordinate"
)

// A mailer sees every order that there is, then each one as it comes. It breaks off, and later goes on where it was.
func ExampleStore_Follow() {
	st, remove := exampleStore(nil)
	defer remove()
	ctx := context.Background()
	place := func(number int) {
		order := coordinate.MustNew(fmt.Sprintf("order:%d", number), "eu")
		if _, err := st.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, Payload: []byte("{}")}); err != nil {
			log.Fatal(err)
		}
	}
	place(1040)
	place(1041)

	last := uint64(0) // kept where the mailer keeps what it has done
	for ev, err := range st.Follow(ctx, batpak.Query{EntityPrefix: "order:", After: last}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("mail for", ev.Coordinate.Entity())
		last = ev.Seq
		if ev.Seq == 2 {
			go place(1042) // while it waits
		}
		if ev.Seq == 3 {
			break
		}
	}

	place(1043) // while nobody follows
	for ev, err := range st.Follow(ctx, batpak.Query{EntityPrefix: "order:", After: last, Limit: 1}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("later, mail for", ev.Coordinate.Entity())
	}
	// Output:
	// mail for order:1040
	// mail for order:1041
	// mail for order:1042
	// later, mail for order:1043
}
