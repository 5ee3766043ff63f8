package coordinate_test

import (
	"errors"
	"fmt"

	"batpak/coordinate"
)

func ExampleNew() {
	c, err := coordinate.New("order:1042", "eu")
	fmt.Println(c.Entity(), c.Scope(), err)

	_, err = coordinate.New("order:\x00", "eu")
	var bad *coordinate.Error
	fmt.Println(errors.As(err, &bad), bad.Field, bad.Reason, bad.Offset)
	// Output:
	// order:1042 eu <nil>
	// true entity control character 6
}

func ExampleRegion_Contains() {
	orders := coordinate.Region{EntityPrefix: "order:", Scope: "eu"}
	fmt.Println(orders.Contains(coordinate.MustNew("order:1042", "eu")))
	fmt.Println(orders.Contains(coordinate.MustNew("order:1042", "us")))
	// Output:
	// true
	// false
}
