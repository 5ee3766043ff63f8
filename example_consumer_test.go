package batpak_test

import (
	"context"
	"fmt"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// A consumer sends a mail for each order that was placed: every order at least once, also after a crash. What cannot be
// sent is parked after five attempts, and the others go on.
func ExampleConsumer_Run() {
	st, done := exampleStore(nil)
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for _, order := range []string{"order:1", "order:2"} {
		_, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew(order, "eu"), Kind: event.MustKind(1, 1)})
		if err != nil {
			fmt.Println(err)
		}
	}

	mails, err := st.Consumer("mails", batpak.ConsumerOptions{
		Query:       batpak.Query{EntityPrefix: "order:", Kinds: []event.Kind{event.MustKind(1, 1)}},
		MaxAttempts: 5,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = mails.Run(ctx, func(_ context.Context, ev event.Event) error {
		fmt.Println("mail about", ev.Coordinate.Entity())
		if ev.Coordinate.Entity() == "order:2" {
			cancel() // a service would go on
		}
		return nil
	})
	fmt.Println(err)
	lag, err := mails.Lag(context.Background())
	fmt.Println(lag.Events, "events behind,", err)
	// Output:
	// mail about order:1
	// mail about order:2
	// context canceled
	// 0 events behind, <nil>
}

// A reactor answers each order with an invoice: one, whatever crashes, since the invoice and the position are committed
// together.
func ExampleConsumer_React() {
	st, done := exampleStore(nil)
	defer done()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	order, err := st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("order:1", "eu"), Kind: event.MustKind(1, 1)})
	if err != nil {
		fmt.Println(err)
		return
	}
	billing, err := st.Consumer("billing", batpak.ConsumerOptions{Query: batpak.Query{EntityPrefix: "order:"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	go func() {
		for invoice, err := range st.Follow(ctx, batpak.Query{EntityPrefix: "invoice:"}) {
			if err == nil {
				fmt.Println(invoice.Coordinate.Entity(), "is caused by the order:", invoice.Causation == order.ID)
			}
			cancel()
		}
	}()
	err = billing.React(ctx, func(_ context.Context, ev event.Event) ([]batpak.Draft, error) {
		return []batpak.Draft{{
			Coordinate: coordinate.MustNew("invoice:"+ev.Coordinate.Entity(), "eu"), Kind: event.MustKind(2, 1),
		}}, nil
	})
	fmt.Println(err)
	// Output:
	// invoice:order:1 is caused by the order: true
	// context canceled
}
