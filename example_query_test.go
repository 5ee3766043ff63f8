package batpak_test

import (
	"context"
	"fmt"
	"log"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// The same query reads, counts and decides. A page begins behind the last event of the one before.
func ExampleQuery() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	for i, entity := range []string{"order:1", "order:2", "user:7", "order:1", "order:3", "user:7", "order:2"} {
		d := batpak.Draft{Coordinate: coordinate.MustNew(entity, "eu"), Kind: event.MustKind(1, i%3)}
		if i > 2 {
			d.Tags = []string{"urgent"}
		}
		if _, err := st.Append(ctx, d); err != nil {
			log.Fatal(err)
		}
	}

	q := batpak.Query{Entities: []string{"order:1", "order:2"}, EntityPrefix: "order:", Categories: []int{1}}
	n, err := st.Count(ctx, q)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "events")
	for q.Limit = 2; ; {
		page := 0
		for ev, err := range st.Read(ctx, q) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(ev.Seq, ev.Coordinate.Entity())
			q.After, page = ev.Seq, page+1
		}
		if page < q.Limit {
			break
		}
		fmt.Println("next page")
	}
	urgent, err := st.Exists(ctx, batpak.Query{Entity: "user:7", Tags: []string{"urgent"}})
	fmt.Println("urgent:", urgent, err)
	// Output:
	// 4 events
	// 1 order:1
	// 2 order:2
	// next page
	// 4 order:1
	// 7 order:2
	// next page
	// urgent: true <nil>
}
