package batpak_test

import (
	"context"
	"fmt"
	"log"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// Sales is the state of a projection.
type Sales struct {
	Orders int
	Total  map[string]int // by customer
}

func ExampleNewProjection() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()

	type placed struct {
		Customer string
		Total    int
	}
	reg, err := batpak.NewRegistry(batpak.Bind[placed](event.MustKind(1, 1), 1))
	if err != nil {
		log.Fatal(err)
	}
	sales, err := batpak.NewProjection(st, batpak.ProjectionDef[Sales]{
		Name: "sales", Version: 1,
		Query: batpak.Query{EntityPrefix: "order:"},
		Init:  func() Sales { return Sales{Total: map[string]int{}} },
		Fold: batpak.FoldAs(reg, func(s *Sales, ev batpak.EventOf[placed]) error {
			if ev.Value.Total < 0 {
				return fmt.Errorf("total of %d", ev.Value.Total)
			}
			s.Orders++
			s.Total[ev.Value.Customer] += ev.Value.Total
			return nil
		}),
	})
	if err != nil {
		log.Fatal(err)
	}

	var last batpak.Receipt
	for i, order := range []placed{{"ada", 30}, {"bob", 5}, {"ada", 12}} {
		at := coordinate.MustNew(fmt.Sprintf("order:%d", i), "eu")
		if last, err = batpak.AppendAs(ctx, st, reg, batpak.Draft{Coordinate: at}, order); err != nil {
			log.Fatal(err)
		}
	}
	if err := sales.Wait(ctx, last.Seq); err != nil { // read your own writes
		log.Fatal(err)
	}
	err = sales.View(func(s *Sales, at uint64) {
		fmt.Println(s.Orders, "orders, ada:", s.Total["ada"], "at", at)
	})
	if err != nil {
		log.Fatal(err)
	}
	before, err := sales.At(ctx, 1)
	fmt.Println("as of event 1:", before.Orders, "order, ada:", before.Total["ada"], err)
	// Output:
	// 3 orders, ada: 42 at 3
	// as of event 1: 1 order, ada: 30 <nil>
}
