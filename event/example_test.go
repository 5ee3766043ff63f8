package event_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"batpak/coordinate"
	"batpak/event"
)

// Two events of one stream, and the chain over them checked with nothing but SHA-256.
func ExampleLinker_Link() {
	var linker event.Linker
	var parent event.Hash // 32 zero bytes before the first event
	hlc := event.HLCAt(time.UnixMilli(1_700_000_000_000))
	for clock, payload := range []string{"created", "paid"} {
		header := event.Header{
			Seq: uint64(clock + 1), ID: event.NewID(hlc, 1), HLC: hlc, Clock: uint64(clock + 1),
			Kind: event.MustKind(0x1, 7), Coordinate: coordinate.MustNew("order:1042", "eu"),
		}
		meta := event.AppendMeta(nil, &header)
		content := event.ContentHash([16]byte{}, []byte(payload))
		hash := linker.Link(&parent, &content, meta)

		byHand := sha256.Sum256(bytes.Join([][]byte{[]byte("batpak.event.v1\n"), parent[:], content[:], meta}, nil))
		fmt.Println(payload, hash == byHand)
		parent, hlc = hash, hlc.Next(hlc.Time())
	}
	// Output:
	// created true
	// paid true
}

func ExampleNewID() {
	hlc := event.HLCAt(time.UnixMilli(0x017f22e279b0)) + 1
	id := event.NewID(hlc, 42)
	fmt.Println(id, id.HLC() == hlc)
	// Output: 017f22e2-79b0-7000-8400-00000000002a true
}

func ExampleParseKind() {
	kind, err := event.ParseKind("1:7")
	fmt.Println(kind, kind.Category(), kind.Number(), err)
	// Output: 1:7 1 7 <nil>
}
