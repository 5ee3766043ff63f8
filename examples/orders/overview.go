package main

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"batpak"
	"batpak/event"
)

// An Overview is what all orders together come to: a projection. It is a function of the events, so it can be folded
// anew whenever it changes its shape; then its version counts up.
type Overview struct {
	Customers map[string]*Customer `json:"customers"`
	Orders    map[string]*Known    `json:"orders"`
	Shipments map[string][]Line    `json:"shipments"` // requested and not sent yet, by order
}

// A Customer is what one customer has ordered.
type Customer struct {
	Orders int   `json:"orders"`
	Open   int   `json:"open"` // neither shipped nor cancelled
	Paid   int64 `json:"paid"` // cents
}

// A Known is what the fold has to remember of an order.
type Known struct {
	Customer string `json:"customer"`
}

// overviewDef defines the projection.
func overviewDef(reg *batpak.Registry) batpak.ProjectionDef[Overview] {
	return batpak.ProjectionDef[Overview]{
		Name: "overview", Version: 1,
		Query: batpak.Query{Categories: []int{kindPlaced.Category(), kindShipment.Category()}},
		Init: func() Overview {
			return Overview{Customers: map[string]*Customer{}, Orders: map[string]*Known{}, Shipments: map[string][]Line{}}
		},
		Fold: batpak.FoldAs(reg, func(o *Overview, ev batpak.EventOf[any]) error {
			o.apply(orderOf(&ev.Event), ev.Value)
			return nil
		}),
	}
}

// orderOf returns the ID of the order that an event of an order is about.
func orderOf(ev *event.Event) string { return strings.TrimPrefix(ev.Coordinate.Entity(), orders) }

// apply takes in one event; order is meaningful for those of an order.
func (o *Overview) apply(order string, v any) {
	switch v := v.(type) {
	case Placed:
		c := o.customer(v.Customer)
		c.Orders++
		c.Open++
		o.Orders[order] = &Known{Customer: v.Customer}
	case Paid:
		o.of(order).Paid += v.Cents
	case Shipped, Cancelled:
		o.of(order).Open--
		delete(o.Orders, order)
		delete(o.Shipments, order)
	case ShipmentRequested:
		// The order may have been cancelled between its payment and this.
		if o.Orders[v.Order] != nil {
			o.Shipments[v.Order] = v.Lines
		}
	}
}

// of returns the customer of an open order.
func (o *Overview) of(order string) *Customer { return o.customer(o.Orders[order].Customer) }

func (o *Overview) customer(name string) *Customer {
	c := o.Customers[name]
	if c == nil {
		c = &Customer{}
		o.Customers[name] = c
	}
	return c
}

// maxWait is how long a read waits for an event to count: less than what serve gives to requests under way.
const maxWait = 3 * time.Second

// view waits until the event that the request names counts, and calls read with the state and its position.
func (s *Service) view(w http.ResponseWriter, r *http.Request, read func(o *Overview, at uint64) any) {
	n, err := seq(r)
	if err == nil {
		ctx, cancel := context.WithTimeout(r.Context(), maxWait)
		err = s.overview.Wait(ctx, n) // read your writes; the sequence is in every Result
		cancel()
	}
	if err != nil {
		refuse(w, err)
		return
	}
	var shown any
	if err := s.overview.View(func(o *Overview, at uint64) { shown = read(o, at) }); err != nil {
		refuse(w, err)
		return
	}
	if shown == nil {
		refuse(w, errNoOrder)
		return
	}
	answer(w, http.StatusOK, shown)
}

func (s *Service) getCustomer(w http.ResponseWriter, r *http.Request) {
	s.view(w, r, func(o *Overview, at uint64) any {
		c := o.Customers[r.PathValue("name")]
		if c == nil {
			return nil
		}
		return struct {
			Customer
			At uint64 `json:"at"`
		}{*c, at}
	})
}

func (s *Service) getShipments(w http.ResponseWriter, r *http.Request) {
	s.view(w, r, func(o *Overview, at uint64) any {
		list := make([]ShipmentRequested, 0, len(o.Shipments))
		for order, lines := range o.Shipments {
			list = append(list, ShipmentRequested{order, lines}) // lines are never changed in place
		}
		slices.SortFunc(list, func(a, b ShipmentRequested) int { return strings.Compare(a.Order, b.Order) })
		return map[string]any{"shipments": list, "at": at}
	})
}
