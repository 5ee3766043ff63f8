package main

import (
	"context"
	"crypto/sha256"
	"fmt"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// orders is the prefix of the entities that orders are; their ID is behind it.
const orders = "order:"

// maxID bounds the length of an order's ID.
const maxID = 64

// A Service carries out commands and answers queries over one store.
type Service struct {
	st         *batpak.Store
	reg        *batpak.Registry
	overview   *batpak.Projection[Overview]
	fulfilment *batpak.Consumer
}

// A Request is a command with what its sender demands.
type Request struct {
	Order   string
	Command Command
	// Key makes a retry safe: a request that was carried out before is answered as it was then.
	Key string
	// Version, if it is not nil, is the one that the sender has seen: the command is refused if there is another.
	Version *uint64
}

// A Result is what has come of a request.
type Result struct {
	Order    Order  `json:"order"`
	Seq      uint64 `json:"seq"` // a read that waits for it sees the change
	Replayed bool   `json:"replayed,omitempty"`
}

// Do reads the order, lets the command decide, and appends what it decided, unless the order has changed meanwhile: then
// it begins again. The event is durable when Do returns.
func (s *Service) Do(ctx context.Context, r Request) (Result, error) {
	if len(r.Order) > maxID {
		return Result{}, fmt.Errorf("%w: an ID has at most %d bytes", errInput, maxID)
	}
	at, err := coordinate.New(orders+r.Order, "orders")
	if err != nil {
		return Result{}, err
	}
	key := batpak.OperationKey(r.Command.name(), r.Order, r.Key)
	draft := batpak.Draft{Coordinate: at, IdempotencyKey: key, Correlation: commandID(key)}
	if r.Version != nil {
		draft.Expect = batpak.Clock(*r.Version)
	}
	var order Order
	receipts, err := s.st.Decide(ctx, batpak.Query{Entity: at.Entity()}, func(d batpak.Decision) ([]batpak.Draft, error) {
		// A retry is decided on what its first try saw, so it comes to the same event, and the store knows its key.
		if order, err = s.fold(r.Order, d, draft.Correlation); err != nil {
			return nil, err
		}
		v, err := r.Command.decide(&order)
		if err != nil {
			return nil, err
		}
		decided, err := s.reg.Draft(draft, v)
		if err != nil {
			return nil, err
		}
		return []batpak.Draft{decided}, order.apply(v)
	})
	if err != nil {
		return Result{}, err
	}
	return Result{Order: order, Seq: receipts[0].Seq, Replayed: receipts[0].Replayed}, nil
}

// fold makes an order of its events, up to the one that the command itself has led to, if it has.
func (s *Service) fold(id string, d batpak.Decision, command event.ID) (Order, error) {
	o := Order{ID: id}
	for ev, err := range batpak.Typed[any](s.reg, d.Events) {
		if err != nil {
			return o, err
		}
		if !command.IsZero() && ev.Correlation == command {
			break
		}
		if err := o.apply(ev.Value); err != nil {
			return o, fmt.Errorf("event %d: %w", ev.Seq, err)
		}
	}
	return o, nil
}

// Order returns an order as it is now.
func (s *Service) Order(ctx context.Context, id string) (Order, error) {
	d := batpak.Decision{Events: s.st.Read(ctx, batpak.Query{Entity: orders + id})}
	o, err := s.fold(id, d, event.ID{})
	if err == nil && o.Status == StatusNone {
		err = errNoOrder
	}
	return o, err
}

// commandID names a command in the events that it leads to, so that everything which follows from it can be found by
// Store.Correlated.
func commandID(key []byte) (id event.ID) {
	sum := sha256.Sum256(key)
	copy(id[:], sum[:])
	return id
}
