package segment_test

import (
	"errors"
	"fmt"

	"batpak/segment"
)

// A frame decodes at its own offset of its own segment, and nowhere else.
func ExampleSeal_DecodeFrame() {
	seal := segment.NewSeal([16]byte{1, 2, 3})
	frame := seal.AppendFrame(nil, 160, segment.TypeEvent, segment.FlagGroup, 0, []byte("body"))

	f, err := seal.DecodeFrame(frame, 7, 160)
	fmt.Printf("%s, next frame at %d, %v\n", f.Body, f.End(), err)

	_, err = seal.DecodeFrame(frame, 7, 161)
	fmt.Println(err)

	_, err = seal.DecodeFrame(frame[:len(frame)-1], 7, 160)
	fmt.Println(errors.Is(err, segment.ErrTorn))
	// Output:
	// body, next frame at 184, <nil>
	// segment: corrupt: segment 000007 offset 161: header checksum
	// true
}

func ExampleParseName() {
	id, ok := segment.ParseName("0000000042.fbat")
	fmt.Println(id, ok, segment.Name(id))
	// Output: 42 true 0000000042.fbat
}
