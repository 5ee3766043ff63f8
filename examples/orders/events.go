package main

import (
	"batpak"
	"batpak/event"
)

// The events of an order. What has been stored is never rewritten: a type that changes its shape gets a new version and
// an upcaster where it is bound; see batpak.Bind.
type (
	// Placed is the first event of an order.
	Placed struct {
		Customer string `json:"customer"`
		Lines    []Line `json:"lines"`
	}
	// Paid says that the whole order was paid.
	Paid struct {
		Cents int64 `json:"cents"`
	}
	// Shipped ends an order.
	Shipped struct {
		Parcel string `json:"parcel"`
	}
	// Cancelled ends an order, too.
	Cancelled struct {
		Reason string `json:"reason"`
	}
	// ShipmentRequested is what the fulfilment reactor makes of a Paid, on a stream of its own.
	ShipmentRequested struct {
		Order string `json:"order"`
		Lines []Line `json:"lines"`
	}
)

// A Line is a number of one article, each at the same price.
type Line struct {
	Article  string `json:"article"`
	Quantity int64  `json:"quantity"`
	Cents    int64  `json:"cents"`
}

// Kinds: category 1 is an order's life, category 2 is the warehouse.
var (
	kindPlaced    = event.MustKind(1, 1)
	kindPaid      = event.MustKind(1, 2)
	kindShipped   = event.MustKind(1, 3)
	kindCancelled = event.MustKind(1, 4)
	kindShipment  = event.MustKind(2, 1)
)

// newRegistry binds the types above. It fails only if the bindings contradict each other, so at the first start.
func newRegistry() (*batpak.Registry, error) {
	return batpak.NewRegistry(
		batpak.Bind[Placed](kindPlaced, 1),
		batpak.Bind[Paid](kindPaid, 1),
		batpak.Bind[Shipped](kindShipped, 1),
		batpak.Bind[Cancelled](kindCancelled, 1),
		batpak.Bind[ShipmentRequested](kindShipment, 1),
	)
}
