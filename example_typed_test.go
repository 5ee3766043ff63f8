package batpak_test

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"log"
	"strings"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// The events of an order, as a program would declare them.
type (
	OrderPlaced   struct{ Cents int64 }
	OrderPaid     struct{ By string }
	OrderPlacedV1 struct{ Total string } // what it was before there were cents
)

func (OrderPlaced) isOrderEvent() {}
func (OrderPaid) isOrderEvent()   {}

// An OrderEvent is any of them.
type OrderEvent interface{ isOrderEvent() }

// orderRegistry is made once, by whoever opens the store.
func orderRegistry() *batpak.Registry {
	reg, err := batpak.NewRegistry(
		batpak.Bind[OrderPlaced](placed, 2, batpak.Upcast(1, func(old OrderPlacedV1) (OrderPlaced, error) {
			var whole, cents int64
			_, err := fmt.Sscanf(old.Total, "%d.%d", &whole, &cents)
			return OrderPlaced{Cents: 100*whole + cents}, err
		})),
		batpak.Bind[OrderPaid](paid, 1),
	)
	if err != nil {
		log.Fatal(err)
	}
	return reg
}

func ExampleAppendAs() {
	st, done := exampleStore(nil)
	defer done()
	ctx, reg := context.Background(), orderRegistry()

	// The draft says where and under which conditions, the value says what.
	order := batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu"), Expect: batpak.Absent()}
	rcpt, err := batpak.AppendAs(ctx, st, reg, order, OrderPlaced{Cents: 4250})
	if err != nil {
		log.Fatal(err)
	}
	ev, err := st.Event(ctx, rcpt.ID)
	fmt.Println(ev.Kind, ev.PayloadVersion, string(ev.Payload), err)
	value, err := batpak.DecodeAs[OrderPlaced](reg, ev)
	fmt.Println(value.Cents, err)
	// Output:
	// 1:1 2 {"Cents":4250} <nil>
	// 4250 <nil>
}

func ExampleTyped() {
	st, done := exampleStore(nil)
	defer done()
	ctx, reg := context.Background(), orderRegistry()
	order := batpak.Draft{Coordinate: coordinate.MustNew("order:1042", "eu")}
	batpak.AppendAs(ctx, st, reg, order, OrderPlaced{Cents: 4250})
	batpak.AppendAs(ctx, st, reg, order, OrderPaid{By: "card"})

	// One type: its events, the others are passed over.
	for ev, err := range batpak.Typed[OrderPaid](reg, st.Read(ctx, batpak.Query{Kinds: []event.Kind{paid}})) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("paid by", ev.Value.By, "in event", ev.Seq)
	}
	// An interface: the events of all types that implement it.
	for ev, err := range batpak.Typed[OrderEvent](reg, st.Read(ctx, batpak.Query{Entity: "order:1042"})) {
		if err != nil {
			log.Fatal(err)
		}
		switch v := ev.Value.(type) {
		case OrderPlaced:
			fmt.Println(ev.Clock, "placed for", v.Cents)
		case OrderPaid:
			fmt.Println(ev.Clock, "paid by", v.By)
		}
	}
	// Output:
	// paid by card in event 2
	// 1 placed for 4250
	// 2 paid by card
}

func ExampleUpcast() {
	st, done := exampleStore(nil)
	defer done()
	ctx, reg := context.Background(), orderRegistry()
	order := coordinate.MustNew("order:1", "eu")

	// Last year's program wrote this, and nobody ever rewrites it.
	st.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, PayloadVersion: 1, Payload: []byte(`{"Total":"42.50"}`)})
	// Next year's program wrote that.
	st.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, PayloadVersion: 3, Payload: []byte(`{"Lines":[]}`)})

	for ev, err := range batpak.Typed[OrderPlaced](reg, st.Read(ctx, batpak.Query{})) {
		if e, ok := errors.AsType[*batpak.DecodeError](err); ok && errors.Is(err, batpak.ErrFutureVersion) {
			fmt.Println("event", e.Seq, "has version", e.Version, "and we know", e.Current)
			continue // or stop: nothing was guessed
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(ev.Payload), "is", ev.Value.Cents)
	}
	// Output:
	// {"Total":"42.50"} is 4250
	// event 2 has version 3 and we know 2
}

func ExampleNewRegistry() {
	same := func(v OrderPaid) (OrderPaid, error) { return v, nil }
	_, err := batpak.NewRegistry(
		batpak.Bind[OrderPlaced](placed, 1),
		batpak.Bind[OrderPaid](placed, 3, batpak.Upcast(2, same)),
	)
	for line := range strings.Lines(err.Error()) {
		fmt.Println(strings.TrimSpace(line))
	}
	fmt.Println(errors.Is(err, batpak.ErrMissingUpcaster), errors.Is(err, batpak.ErrDuplicate))
	// Output:
	// batpak: upcaster is missing: batpak_test.OrderPaid as kind 1:1 version 3: from version 1
	// batpak: bound twice: batpak_test.OrderPaid as kind 1:1 version 3: the kind is bound to batpak_test.OrderPlaced
	// true true
}

func ExampleCodecOf() {
	// Every package with this pair of functions is a codec: encoding/xml here, as well as those for CBOR or MessagePack.
	reg, err := batpak.NewRegistry(batpak.Bind[OrderPaid](paid, 1, batpak.WithCodec(batpak.CodecOf("xml", xml.Marshal, xml.Unmarshal))))
	if err != nil {
		log.Fatal(err)
	}
	d, err := reg.Draft(batpak.Draft{Coordinate: coordinate.MustNew("order:1", "eu")}, OrderPaid{By: "card"})
	fmt.Println(string(d.Payload), err)
	// Output:
	// <OrderPaid><By>card</By></OrderPaid> <nil>
}

func ExampleRegistry_Draft() {
	st, done := exampleStore(nil)
	defer done()
	ctx, reg := context.Background(), orderRegistry()

	order := batpak.Draft{Coordinate: coordinate.MustNew("order:1", "eu")}
	var batch []batpak.Draft
	for _, v := range []OrderEvent{OrderPlaced{Cents: 100}, OrderPaid{By: "card"}} {
		d, err := reg.Draft(order, v)
		if err != nil {
			log.Fatal(err)
		}
		batch = append(batch, d)
	}
	receipts, err := st.AppendBatch(ctx, batch)
	fmt.Println(len(receipts), receipts[0].Kind, receipts[1].Kind, err)
	// Output:
	// 2 1:1 1:2 <nil>
}

func ExampleOperationKey() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()

	charge := batpak.Draft{
		Coordinate: coordinate.MustNew("order:1042", "eu"), Kind: paid,
		IdempotencyKey: batpak.OperationKey("charge", "order:1042", "attempt-1"),
	}
	fmt.Println(string(charge.IdempotencyKey))
	st.Append(ctx, charge)
	again, err := st.Append(ctx, charge)
	fmt.Println(again.Replayed, err)
	// Output:
	// 6:charge,10:order:1042,9:attempt-1,
	// true <nil>
}

func ExampleStore_Decide() {
	st, done := exampleStore(nil)
	defer done()
	ctx, seatTaken := context.Background(), event.MustKind(2, 1)

	// A row has two seats, and whoever takes one is a stream of their own: no clock of a stream could guard the row. What
	// the decision has read guards it.
	take := func(who string) error {
		row := batpak.Query{Kinds: []event.Kind{seatTaken}, Tags: []string{"row:7"}}
		_, err := st.Decide(ctx, row, func(d batpak.Decision) ([]batpak.Draft, error) {
			taken := 0
			for _, err := range d.Events {
				if err != nil {
					return nil, err
				}
				taken++
			}
			if taken == 2 {
				return nil, errors.New("row 7 is full")
			}
			return []batpak.Draft{{Coordinate: coordinate.MustNew(who, "hall"), Kind: seatTaken, Tags: []string{"row:7"}}}, nil
		})
		return err
	}
	for _, who := range []string{"ada", "bob", "eve"} {
		fmt.Println(who, take(who))
	}
	// Output:
	// ada <nil>
	// bob <nil>
	// eve row 7 is full
}

func ExampleStore_DecideRetry() {
	st, done := exampleStore(nil)
	defer done()
	ctx, at := context.Background(), coordinate.MustNew("counter", "lab")

	retry := batpak.Retry{Tries: 3}
	_, err := st.DecideRetry(ctx, batpak.Query{Entity: "counter"}, retry, func(d batpak.Decision) ([]batpak.Draft, error) {
		st.Append(ctx, batpak.Draft{Coordinate: at, Kind: placed}) // somebody is always faster
		return []batpak.Draft{{Coordinate: at, Kind: paid}}, nil
	})
	conflict, _ := errors.AsType[*batpak.ConflictError](err)
	fmt.Println(errors.Is(err, batpak.ErrContended), conflict.Seq)
	// Output:
	// true 3
}
