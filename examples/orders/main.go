// Orders is a small order service, to start one's own from: commands over HTTP, aggregates with optimistic concurrency,
// idempotent retries, a projection that readers may wait for, and a reactor that answers events with events, once.
//
//	go run ./examples/orders -dir /tmp/orders
//	curl -X PUT  localhost:8080/orders/1042 -H 'Idempotency-Key: a' -d '{"customer":"ada","lines":[{"article":"tea","quantity":2,"cents":450}]}'
//	curl -X POST localhost:8080/orders/1042/pay -d '{"cents":900}'
//	curl localhost:8080/customers/ada
//	curl localhost:8080/shipments
//
//	order.go       the rules of an order, without a store
//	service.go     a command: read, decide, append, again if overtaken
//	overview.go    the projection
//	fulfilment.go  the reactor
//	http.go        requests in, answers out
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"batpak"
)

func main() {
	dir := flag.String("dir", "orders-data", "directory of the store; made where there is none")
	addr := flag.String("addr", "localhost:8080", "address to listen at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *dir, *addr, nil); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. listening, if it is not nil, is told the address.
func run(ctx context.Context, dir, addr string, listening func(net.Addr)) (err error) {
	st, err := batpak.Open(dir, &batpak.Options{Logger: slog.Default()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	fmt.Fprint(os.Stderr, st.OpenReport())
	s, err := newService(st)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if listening != nil {
		listening(l.Addr())
	}
	return s.serve(ctx, l)
}

// newService prepares a service over a store.
func newService(st *batpak.Store) (*Service, error) {
	reg, err := newRegistry()
	if err != nil {
		return nil, err
	}
	s := &Service{st: st, reg: reg}
	if s.overview, err = batpak.NewProjection(st, overviewDef(reg)); err != nil {
		return nil, err
	}
	s.fulfilment, err = fulfilment(st)
	return s, err
}

// serve answers requests, keeps the projection up to date and runs the reactor, until ctx ends or one of them fails.
func (s *Service) serve(ctx context.Context, l net.Listener) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	srv := &http.Server{Handler: s.routes(), ReadHeaderTimeout: 10 * time.Second}
	var parts sync.WaitGroup
	part := func(what string, do func() error) {
		parts.Go(func() {
			if err := do(); err != nil && ctx.Err() == nil {
				fail(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	part("serve", func() error { return srv.Serve(l) })
	part("overview", func() error { return s.overview.Run(ctx) })
	part("fulfilment", func() error { return s.fulfilment.React(ctx, s.requestShipment) })
	<-ctx.Done()
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := srv.Shutdown(bounded) // requests under way end first
	parts.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}
