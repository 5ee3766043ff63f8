// Package batpak is an embeddable, append-only event store.
//
// One Go process opens a directory, appends events, reads them back, and can prove afterwards that none was lost,
// changed or reordered. There is no server, no cgo and nothing to configure:
//
//	st, err := batpak.Open(dir, nil)
//	rcpt, err := st.Append(ctx, batpak.Draft{
//		Coordinate: coordinate.MustNew("order:1042", "eu"),
//		Kind:       event.MustKind(0x1, 7),
//		Payload:    []byte(`{"total":42}`),
//	})
//	for ev, err := range st.Read(ctx, batpak.Query{Entity: "order:1042"}) { … }
//	err = st.Close()
//
// # Promises
//
// Each has a test that carries its number (TestI1_…):
//
//	I1   acknowledged as durable ⇒ there after any crash, once, unchanged
//	I2   a batch is there whole or not at all
//	I3   nothing is visible that could still vanish, in the default mode
//	I4   sequences, IDs, clocks, hashes and receipts never change after commit
//	I5   every damaged bit of every file is detected before a wrong answer is given; no input makes the store panic
//	I6   caches can be deleted at any time without loss
//	I7   a known key never writes twice
//	I8   what was hidden stays hidden
//	I9   after any number of crashes in a row the store opens
//	I10  one writer at a time; a second one gets a typed error at once
//
// What they rest on, and what no single disk can promise, is in docs/reliability.md.
//
// # Stability
//
// This package, coordinate and event are the API. The other public folders hold the parts it is made of; what a
// signature or an error here mentions is API, the rest of them promises nothing before v1.
package batpak
