package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"batpak"
	"batpak/coldstart"
	"batpak/coordinate"
	"batpak/event"
)

// tempDir returns a directory for an example, and what removes it.
func tempDir() (string, func()) {
	dir, err := os.MkdirTemp("", "batpak-example-")
	if err != nil {
		log.Fatal(err)
	}
	return dir, func() { os.RemoveAll(dir) }
}

// exampleStore returns a store for an example, and what closes and removes it.
func exampleStore(o *batpak.Options) (*batpak.Store, func()) {
	dir, remove := tempDir()
	st, err := batpak.Open(dir, o)
	if err != nil {
		log.Fatal(err)
	}
	return st, func() { st.Close(); remove() }
}

var placed, paid = event.MustKind(1, 1), event.MustKind(1, 2)

func Example() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()

	st, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	order := coordinate.MustNew("order:1042", "eu")
	if _, err := st.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, Payload: []byte(`{"total":42}`)}); err != nil {
		log.Fatal(err)
	}
	if _, err := st.Append(ctx, batpak.Draft{Coordinate: order, Kind: paid, Payload: []byte(`{"by":"card"}`)}); err != nil {
		log.Fatal(err)
	}
	for ev, err := range st.Read(ctx, batpak.Query{Entity: "order:1042"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(ev.Seq, ev.Clock, ev.Kind, string(ev.Payload))
	}
	// Output:
	// 1 1 1:1 {"total":42}
	// 2 2 1:2 {"by":"card"}
}

func ExampleOpen() {
	dir, remove := tempDir()
	defer remove()

	st, err := batpak.Open(dir, &batpak.Options{Sync: batpak.SyncInterval})
	if err != nil {
		log.Fatal(err)
	}
	_, err = batpak.Open(dir, nil) // one writer at a time
	fmt.Println(err != nil)
	fmt.Println(st.Close())
	// Output:
	// true
	// <nil>
}

func ExampleOpen_readOnly() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()
	writer, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Close()
	writer.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("a", "s"), Kind: placed})

	reader, err := batpak.Open(dir, &batpak.Options{ReadOnly: true}) // beside the writer
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()
	head, err := reader.Head(ctx, "a", 0)
	fmt.Println(head.Clock, err)
	_, err = reader.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("a", "s"), Kind: placed})
	fmt.Println(errors.Is(err, batpak.ErrReadOnly))
	// Output:
	// 1 <nil>
	// true
}

func ExampleStore_Append_expect() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	account := coordinate.MustNew("account:7", "eu")

	_, err := st.Append(ctx, batpak.Draft{Coordinate: account, Kind: placed, Expect: batpak.Absent()})
	fmt.Println(err)
	_, err = st.Append(ctx, batpak.Draft{Coordinate: account, Kind: paid, Expect: batpak.Clock(1)})
	fmt.Println(err)

	_, err = st.Append(ctx, batpak.Draft{Coordinate: account, Kind: paid, Expect: batpak.Clock(1)})
	if conflict, ok := errors.AsType[*batpak.ConflictError](err); ok {
		fmt.Println("expected", conflict.Want, "but the clock is", conflict.Have)
	}
	// Output:
	// <nil>
	// <nil>
	// expected clock 1 but the clock is 2
}

func ExampleStore_Append_idempotencyKey() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	d := batpak.Draft{
		Coordinate: coordinate.MustNew("order:1", "eu"), Kind: placed,
		Payload: []byte(`{"total":1}`), IdempotencyKey: []byte("request-17"),
	}

	first, err := st.Append(ctx, d)
	if err != nil {
		log.Fatal(err)
	}
	again, err := st.Append(ctx, d) // a retry: nothing is written
	fmt.Println(again.ID == first.ID, again.Replayed, err)

	d.Payload = []byte(`{"total":2}`)
	_, err = st.Append(ctx, d)
	fmt.Println(errors.Is(err, batpak.ErrIdempotency))
	// Output:
	// true true <nil>
	// true
}

func ExampleStore_Append_ack() {
	st, done := exampleStore(&batpak.Options{Sync: batpak.SyncNever})
	defer done()
	ctx := context.Background()
	at := coordinate.MustNew("sensor:1", "lab")

	st.Append(ctx, batpak.Draft{Coordinate: at, Kind: placed}) // with the operating system
	_, err := st.Append(ctx, batpak.Draft{Coordinate: at, Kind: paid, Ack: batpak.AckDurable})
	fmt.Println(st.Stats().Durable, err) // both are on stable storage now
	// Output:
	// 2 <nil>
}

func ExampleStore_AppendBatch() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()

	receipts, err := st.AppendBatch(ctx, []batpak.Draft{
		{Coordinate: coordinate.MustNew("order:1", "eu"), Kind: placed},
		{Coordinate: coordinate.MustNew("stock:9", "eu"), Kind: paid, CausedByDraft: batpak.DraftAt(0)},
	})
	if err != nil {
		log.Fatal(err)
	}
	effect, err := st.Event(ctx, receipts[1].ID)
	fmt.Println(len(receipts), effect.Causation == receipts[0].ID, err)
	// Output:
	// 2 true <nil>
}

func ExampleStore_Read_page() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	for i := range 5 {
		at := coordinate.MustNew(fmt.Sprintf("order:%d", i%2), "eu")
		st.Append(ctx, batpak.Draft{Coordinate: at, Kind: placed, Tags: []string{"vip"}})
	}

	var after uint64 // the cursor of a page is the last sequence of the page before
	for {
		n := 0
		for ev, err := range st.Read(ctx, batpak.Query{EntityPrefix: "order:", Tags: []string{"vip"}, After: after, Limit: 2}) {
			if err != nil {
				log.Fatal(err)
			}
			after = ev.Seq
			n++
		}
		if n == 0 {
			break
		}
		fmt.Println("page of", n, "up to", after)
	}
	// Output:
	// page of 2 up to 2
	// page of 2 up to 4
	// page of 1 up to 5
}

func ExampleStore_Read_reverse() {
	st, done := exampleStore(nil)
	defer done()
	ctx := context.Background()
	for i := range 3 {
		st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("a", "s"), Kind: placed, Payload: fmt.Appendf(nil, "%d", i)})
	}
	// Borrow: the event's bytes are valid until the next step, and nothing is allocated for them.
	for ev, err := range st.Read(ctx, batpak.Query{Reverse: true, Limit: 2, Borrow: true}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(ev.Payload))
	}
	// Output:
	// 2
	// 1
}

func ExampleVerify() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()
	st, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("a", "s"), Kind: placed})
	st.Close()

	report, err := batpak.Verify(ctx, dir, nil)
	fmt.Println(report.Clean(), report.Events, err)
	// Output:
	// true 1 <nil>
}

func ExampleOptions_progress() {
	dir, remove := tempDir()
	defer remove()
	st, err := batpak.Open(dir, &batpak.Options{SegmentSize: 4 << 10})
	if err != nil {
		log.Fatal(err)
	}
	for range 40 {
		st.Append(context.Background(), batpak.Draft{Coordinate: coordinate.MustNew("a", "s"), Kind: placed, Payload: make([]byte, 500)})
	}
	st.Close()

	ctx, giveUp := context.WithCancel(context.Background())
	defer giveUp()
	_, err = batpak.OpenContext(ctx, dir, &batpak.Options{Progress: func(p batpak.Progress) {
		if p.Done == p.Total { // every call could draw a bar
			fmt.Println(p.Done, "of", p.Total, "segments, up to event", p.Seq)
			giveUp() // say, because the user has pressed a key
		}
	}})
	fmt.Println(errors.Is(err, context.Canceled))
	// Output:
	// 7 of 7 segments, up to event 40
	// true
}

func ExampleRepair() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()
	st, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	st.Append(ctx, batpak.Draft{Coordinate: coordinate.MustNew("a", "s"), Kind: placed})
	st.Close()

	os.WriteFile(filepath.Join(dir, "store.meta"), []byte("overwritten by mistake"), 0o600)
	_, err = batpak.Open(dir, nil)
	fmt.Println(errors.Is(err, coldstart.ErrDamaged))

	report, err := batpak.Repair(ctx, dir, nil) // says what it would do
	fmt.Println(report.Complete(), err)
	for _, a := range report.Actions {
		fmt.Println(a.Do, a.File, a.How)
	}
	report, err = batpak.Repair(ctx, dir, &batpak.RepairOptions{Write: true})
	fmt.Println(report.Complete(), err)
	for _, a := range report.Actions {
		fmt.Println("the old file is", a.Aside)
	}
	st, err = batpak.Open(dir, nil)
	fmt.Println(err)
	st.Close()
	// Output:
	// true
	// false <nil>
	// rebuild store.meta from the header of the only segment
	// true <nil>
	// the old file is store.meta.quarantine
	// <nil>
}

func ExampleStore_Refresh() {
	dir, remove := tempDir()
	defer remove()
	ctx := context.Background()
	writer, err := batpak.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Close()
	reader, err := batpak.Open(dir, &batpak.Options{ReadOnly: true}) // in another process, as a rule
	if err != nil {
		log.Fatal(err)
	}
	defer reader.Close()

	order := coordinate.MustNew("order:1042", "eu")
	after := uint64(0)
	for _, payload := range []string{`{"total":42}`, `{"total":43}`} {
		if _, err := writer.Append(ctx, batpak.Draft{Coordinate: order, Kind: placed, Payload: []byte(payload)}); err != nil {
			log.Fatal(err)
		}
		changed, err := reader.Refresh(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("something new:", changed)
		for ev, err := range reader.Read(ctx, batpak.Query{After: after}) {
			if err != nil {
				log.Fatal(err)
			}
			fmt.Println(ev.Seq, string(ev.Payload))
			after = ev.Seq
		}
	}
	changed, err := reader.Refresh(ctx)
	fmt.Println("something new:", changed, err)
	// Output:
	// something new: true
	// 1 {"total":42}
	// something new: true
	// 2 {"total":43}
	// something new: false <nil>
}
