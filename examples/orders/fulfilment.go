package main

import (
	"context"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// fulfilment is the consumer that asks the warehouse for what was paid.
func fulfilment(st *batpak.Store) (*batpak.Consumer, error) {
	return st.Consumer("fulfilment", batpak.ConsumerOptions{Query: batpak.Query{Kinds: []event.Kind{kindPaid}}, MaxAttempts: 5})
}

// requestShipment answers a payment with a request for a shipment: a reactor. The request and the consumer's position are
// committed together, so there is exactly one request to each payment, whatever crashes in between; its cause is the
// payment, and it belongs to the same group.
func (s *Service) requestShipment(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
	order, err := s.Order(ctx, orderOf(&ev))
	if err != nil {
		return nil, err
	}
	at, err := coordinate.New("shipment:"+order.ID, "warehouse")
	if err != nil {
		return nil, err
	}
	d, err := s.reg.Draft(batpak.Draft{Coordinate: at}, ShipmentRequested{Order: order.ID, Lines: order.Lines})
	if err != nil {
		return nil, err
	}
	return []batpak.Draft{d}, nil
}
