package batpak_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// orderStory appends an order, what followed from it, and what followed from that.
func orderStory(st *batpak.Store) (order, payment, shipped batpak.Receipt) {
	tell := func(entity, what string, cause, group event.ID) batpak.Receipt {
		r, err := st.Append(context.Background(), batpak.Draft{
			Coordinate: coordinate.MustNew(entity, "eu"), Kind: placed, Payload: []byte(what), Causation: cause, Correlation: group,
		})
		if err != nil {
			log.Fatal(err)
		}
		return r
	}
	order = tell("order:1042", "placed", event.ID{}, event.ID{})
	payment = tell("payment:7", "asked for", order.ID, order.ID)
	tell("stock:shoe", "reserved", order.ID, order.ID)
	payment = tell("payment:7", "received", payment.ID, order.ID)
	shipped = tell("order:1042", "shipped", payment.ID, order.ID)
	return order, payment, shipped
}

// printStep prints a step, further to the right the further away it is.
func printStep(step batpak.Step, err error) {
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s%s %s\n", strings.Repeat("  ", step.Distance), step.Coordinate.Entity(), step.Payload)
}

// Why was the order shipped?
func ExampleStore_Causes() {
	st, remove := exampleStore(nil)
	defer remove()
	_, _, shipped := orderStory(st)

	for step, err := range st.Causes(context.Background(), shipped.ID) {
		printStep(step, err)
		if step.End == batpak.EndGenesis {
			fmt.Println("nothing caused it")
		}
	}
	// Output:
	// order:1042 shipped
	//   payment:7 received
	//     payment:7 asked for
	//       order:1042 placed
	// nothing caused it
}

// What came of the order, in two steps at most?
func ExampleStore_Effects() {
	st, remove := exampleStore(nil)
	defer remove()
	order, _, _ := orderStory(st)

	for step, err := range st.Effects(context.Background(), order.ID, batpak.MaxDistance(2)) {
		printStep(step, err)
	}
	// Output:
	// order:1042 placed
	//   payment:7 asked for
	//   stock:shoe reserved
	//     payment:7 received
}

// Everything that belongs to the same order as a payment.
func ExampleStore_Correlated() {
	st, remove := exampleStore(nil)
	defer remove()
	_, payment, _ := orderStory(st)

	for step, err := range st.Correlated(context.Background(), payment.ID) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(step.Seq, step.Coordinate.Entity(), string(step.Payload))
	}
	// Output:
	// 1 order:1042 placed
	// 2 payment:7 asked for
	// 3 stock:shoe reserved
	// 4 payment:7 received
	// 5 order:1042 shipped
}

// The history of one stream, each event proven by the one before it. What a cancelled fence left keeps its place.
func ExampleStore_Ancestors() {
	st, remove := exampleStore(nil)
	defer remove()
	ctx := context.Background()

	order := coordinate.MustNew("order:1042", "eu")
	var last batpak.Receipt
	for _, what := range []string{"placed", "paid with a stolen card", "paid"} {
		draft := batpak.Draft{Coordinate: order, Kind: placed, Payload: []byte(what)}
		var err error
		if what == "paid with a stolen card" {
			var fence *batpak.Fence
			if fence, err = st.Fence(ctx); err == nil {
				_, err = fence.Append(ctx, draft)
				defer fence.Cancel(ctx)
			}
			if err == nil {
				err = fence.Cancel(ctx)
			}
		} else {
			last, err = st.Append(ctx, draft)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
	for step, err := range st.Ancestors(ctx, last.ID) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("clock %d, %v, verified %v: %q\n", step.Clock, step.Missing, step.Verified, step.Payload)
	}
	// Output:
	// clock 3, present, verified true: "paid"
	// clock 2, hidden, verified true: ""
	// clock 1, present, verified true: "placed"
}
