package main

import (
	"errors"
	"fmt"
	"strings"
)

// What a command is refused with. They say something about the order, not about the store.
var (
	errNoOrder = errors.New("there is no such order")
	errExists  = errors.New("the order exists already")
	errState   = errors.New("the order does not allow it any more")
	errInput   = errors.New("the command is incomplete")
)

// A Status is where an order stands.
type Status string

// The life of an order: placed → paid → shipped, or cancelled before it was shipped.
const (
	StatusNone      Status = ""
	StatusPlaced    Status = "placed"
	StatusPaid      Status = "paid"
	StatusShipped   Status = "shipped"
	StatusCancelled Status = "cancelled"
)

// An Order is what its events make of it: the aggregate. It knows nothing of the store, so its rules are tested without
// one.
type Order struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Lines    []Line `json:"lines"`
	Status   Status `json:"status"`
	Parcel   string `json:"parcel,omitempty"`
	Version  uint64 `json:"version"` // number of its events; the ETag
}

// Cents is what the order costs.
func (o *Order) Cents() (sum int64) {
	for _, l := range o.Lines {
		sum += l.Quantity * l.Cents
	}
	return sum
}

// apply takes in an event that has happened. It decides nothing.
func (o *Order) apply(v any) error {
	switch v := v.(type) {
	case Placed:
		o.Customer, o.Lines, o.Status = v.Customer, v.Lines, StatusPlaced
	case Paid:
		o.Status = StatusPaid
	case Shipped:
		o.Status, o.Parcel = StatusShipped, v.Parcel
	case Cancelled:
		o.Status = StatusCancelled
	default:
		return fmt.Errorf("an order has no %T", v)
	}
	o.Version++
	return nil
}

// A Command is what somebody wants of an order. decide returns the event that it comes to, or why not; it changes nothing.
type Command interface {
	name() string
	decide(o *Order) (any, error)
}

// The commands.
type (
	// Place makes the order.
	Place struct {
		Customer string `json:"customer"`
		Lines    []Line `json:"lines"`
	}
	// Pay pays all of it.
	Pay struct {
		Cents int64 `json:"cents"`
	}
	// Ship hands a paid order to the carrier.
	Ship struct {
		Parcel string `json:"parcel"`
	}
	// Cancel gives it up.
	Cancel struct {
		Reason string `json:"reason"`
	}
)

func (Place) name() string  { return "place" }
func (Pay) name() string    { return "pay" }
func (Ship) name() string   { return "ship" }
func (Cancel) name() string { return "cancel" }

func (c Place) decide(o *Order) (any, error) {
	if o.Status != StatusNone {
		return nil, errExists
	}
	if strings.TrimSpace(c.Customer) == "" || len(c.Lines) == 0 || len(c.Lines) > 100 {
		return nil, fmt.Errorf("%w: want a customer and 1 to 100 lines", errInput)
	}
	for i, l := range c.Lines {
		if l.Article == "" || l.Quantity < 1 || l.Quantity > 1e6 || l.Cents < 0 || l.Cents > 1e9 {
			return nil, fmt.Errorf("%w: line %d", errInput, i+1)
		}
	}
	return Placed(c), nil
}

func (c Pay) decide(o *Order) (any, error) {
	if err := o.must(StatusPlaced); err != nil {
		return nil, err
	}
	if c.Cents != o.Cents() {
		return nil, fmt.Errorf("%w: it costs %d cents, not %d", errInput, o.Cents(), c.Cents)
	}
	return Paid(c), nil
}

func (c Ship) decide(o *Order) (any, error) {
	if err := o.must(StatusPaid); err != nil {
		return nil, err
	}
	if c.Parcel == "" {
		return nil, fmt.Errorf("%w: want a parcel", errInput)
	}
	return Shipped(c), nil
}

func (c Cancel) decide(o *Order) (any, error) {
	if err := o.must(StatusPlaced, StatusPaid); err != nil {
		return nil, err
	}
	return Cancelled(c), nil
}

// must refuses an order that is in none of the states.
func (o *Order) must(states ...Status) error {
	if o.Status == StatusNone {
		return errNoOrder
	}
	for _, s := range states {
		if o.Status == s {
			return nil
		}
	}
	return fmt.Errorf("%w: it is %s", errState, o.Status)
}
