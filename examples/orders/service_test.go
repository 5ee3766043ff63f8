package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"batpak"
	"batpak/event"
)

func equal(a, b any) bool { return reflect.DeepEqual(a, b) }

// A client talks to a service that runs.
type client struct {
	t    *testing.T
	base string
	stop func()
}

// start runs the service over a directory, as main does.
func start(t *testing.T, dir string) *client {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	where, ended := make(chan net.Addr, 1), make(chan error, 1)
	go func() { ended <- run(ctx, dir, "127.0.0.1:0", func(a net.Addr) { where <- a }) }()
	c := &client{t: t}
	select {
	case a := <-where:
		c.base = "http://" + a.String()
	case err := <-ended:
		t.Fatal(err)
	}
	c.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(c.stop)
	return c
}

// do sends a request, and decodes the answer into out unless that is nil. headers are names and values in turn.
func (c *client) do(method, path string, body, out any, headers ...string) (status int, header http.Header) {
	c.t.Helper()
	var in bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&in).Encode(body); err != nil {
			c.t.Error(err)
			return 0, nil
		}
	}
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, &in)
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Error(err)
		return 0, nil
	}
	defer res.Body.Close()
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			c.t.Errorf("%s %s: %v", method, path, err)
		}
	}
	return res.StatusCode, res.Header
}

// must is do for a command that has to succeed.
func (c *client) must(method, path string, body any, headers ...string) (res Result) {
	c.t.Helper()
	if status, _ := c.do(method, path, body, &res, headers...); status != http.StatusOK {
		c.t.Fatalf("%s %s: status %d", method, path, status)
	}
	return res
}

// shipments waits until event seq counts, and returns what is to be sent.
func (c *client) shipments(seq uint64) (list []ShipmentRequested) {
	c.t.Helper()
	var got struct{ Shipments []ShipmentRequested }
	if status, _ := c.do("GET", fmt.Sprintf("/shipments?seq=%d", seq), nil, &got); status != http.StatusOK {
		c.t.Fatalf("shipments: status %d", status)
	}
	return got.Shipments
}

// TestOrderFromPlacedToShipped is the life of an order, with a restart in the middle.
func TestOrderFromPlacedToShipped(t *testing.T) {
	dir := t.TempDir()
	c := start(t, dir)
	placed := c.must("PUT", "/orders/1042", tea)
	if placed.Order.Status != StatusPlaced || placed.Order.Version != 1 {
		t.Fatalf("placed: %+v", placed)
	}
	paid := c.must("POST", "/orders/1042/pay", Pay{900})
	// The reactor's answer is the next event that is not the store's own; whoever waits for it sees it counted.
	if got := c.shipments(paid.Seq + 1); !equal(got, []ShipmentRequested{{"1042", tea.Lines}}) {
		t.Fatalf("shipments: %+v", got)
	}
	c.stop()

	c = start(t, dir)
	var ada struct {
		Customer
		At uint64
	}
	if status, _ := c.do("GET", "/customers/ada", nil, &ada); status != http.StatusOK || ada.Customer != (Customer{1, 1, 900}) {
		t.Errorf("ada after a restart: %d %+v", status, ada)
	}
	shipped := c.must("POST", "/orders/1042/ship", Ship{"P-1"})
	if got := c.shipments(shipped.Seq); len(got) != 0 {
		t.Errorf("still to be sent: %+v", got)
	}
	var o Order
	status, header := c.do("GET", "/orders/1042", nil, &o)
	want := Order{ID: "1042", Customer: "ada", Lines: tea.Lines, Status: StatusShipped, Parcel: "P-1", Version: 3}
	if status != http.StatusOK || !equal(o, want) || header.Get("ETag") != `"3"` {
		t.Errorf("order: %d %s %+v", status, header.Get("ETag"), o)
	}
}

// TestRetries: the same request again is answered as it was the first time, whatever has happened to the order since; the
// same key for something else is refused.
func TestRetries(t *testing.T) {
	c := start(t, t.TempDir())
	key := []string{"Idempotency-Key", "k1", "If-Match", "0"}
	first := c.must("PUT", "/orders/7", tea, key...)
	c.must("POST", "/orders/7/pay", Pay{900}, "Idempotency-Key", "k1") // another operation, so another key
	again := c.must("PUT", "/orders/7", tea, key...)
	if !again.Replayed || again.Seq != first.Seq || !equal(again.Order, first.Order) {
		t.Errorf("again: %+v, first %+v", again, first)
	}
	other := Place{Customer: "bob", Lines: tea.Lines}
	if status, _ := c.do("PUT", "/orders/7", other, nil, key...); status != http.StatusConflict {
		t.Errorf("another order under the same key: status %d", status)
	}
	var o Order
	if c.do("GET", "/orders/7", nil, &o); o.Version != 2 {
		t.Errorf("order has version %d", o.Version)
	}
}

// TestConcurrentCommands: of many that pay one order, one succeeds; of many orders, all do, each with one shipment.
func TestConcurrentCommands(t *testing.T) {
	const crowd = 16
	dir := t.TempDir()
	c := start(t, dir)
	c.must("PUT", "/orders/x", tea)
	statuses := make([]int, crowd)
	var wg sync.WaitGroup
	for i := range crowd {
		wg.Go(func() {
			statuses[i], _ = c.do("POST", "/orders/x/pay", Pay{900}, nil)
			path := "/orders/" + strconv.Itoa(i)
			c.do("PUT", path, tea, nil)
			if status, _ := c.do("POST", path+"/pay", Pay{900}, nil); status != http.StatusOK {
				t.Errorf("pay %d: status %d", i, status)
			}
		})
	}
	wg.Wait()
	won := 0
	for _, status := range statuses {
		switch status {
		case http.StatusOK:
			won++
		case http.StatusConflict, http.StatusServiceUnavailable:
		default:
			t.Errorf("status %d", status)
		}
	}
	if won != 1 {
		t.Errorf("the order was paid %d times", won)
	}
	c.stop()
	checkShipments(t, dir, crowd+1)
}

// checkShipments goes on where the service stopped, until there are n requests for shipments, each for another order.
func checkShipments(t *testing.T, dir string, n int) {
	t.Helper()
	st, err := batpak.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	s, err := newService(st)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	reacted := make(chan error, 1)
	go func() { reacted <- s.fulfilment.React(ctx, s.requestShipment) }()
	requests := batpak.Query{Kinds: []event.Kind{kindShipment}}
	seen := map[string]int{}
	upTo := requests
	upTo.Limit = n
	for ev, err := range st.Follow(ctx, upTo) {
		if err != nil {
			t.Fatal(err)
		}
		seen[ev.Coordinate.Entity()]++
	}
	cancel()
	if err := <-reacted; !errors.Is(err, context.Canceled) {
		t.Errorf("react: %v", err)
	}
	if all, err := st.Count(t.Context(), requests); err != nil || all != uint64(n) || len(seen) != n {
		t.Errorf("%d requests for %d orders, %v; want %d each", all, len(seen), err, n)
	}
}

// TestStatusCodes: each refusal has its own.
func TestStatusCodes(t *testing.T) {
	c := start(t, t.TempDir())
	c.must("PUT", "/orders/1", tea)
	tests := []struct {
		name, method, path string
		body               any
		headers            []string
		want               int
	}{
		{"no such order", "GET", "/orders/2", nil, nil, 404},
		{"no such order to pay", "POST", "/orders/2/pay", Pay{900}, nil, 404},
		{"no such customer", "GET", "/customers/bob", nil, nil, 404},
		{"placed twice", "PUT", "/orders/1", tea, nil, 409},
		{"shipped before it is paid", "POST", "/orders/1/ship", Ship{"P"}, nil, 409},
		{"the wrong sum", "POST", "/orders/1/pay", Pay{1}, nil, 400},
		{"an unknown field", "POST", "/orders/1/pay", map[string]int{"euro": 9}, nil, 400},
		{"no body", "PUT", "/orders/3", nil, nil, 400},
		{"a control character", "PUT", "/orders/%00", tea, nil, 400},
		{"too long an ID", "PUT", "/orders/" + strings.Repeat("x", 65), tea, nil, 400},
		{"another version", "POST", "/orders/1/pay", Pay{900}, []string{"If-Match", `"2"`}, 412},
		{"no version", "POST", "/orders/1/pay", Pay{900}, []string{"If-Match", "x"}, 400},
		{"no number", "GET", "/shipments?seq=x", nil, nil, 400},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var said struct{ Error string }
			status, _ := c.do(tt.method, tt.path, tt.body, &said, tt.headers...)
			if status != tt.want || said.Error == "" {
				t.Errorf("status %d %q, want %d", status, said.Error, tt.want)
			}
		})
	}
}

// TestWaitsEnd: a request that waits for an event which never comes is answered, and does not keep the service from ending.
func TestWaitsEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		st, err := batpak.Open(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		s, err := newService(st)
		if err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		s.routes().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "GET", "/shipments?seq=1000000", nil))
		if w.Code != http.StatusServiceUnavailable {
			t.Errorf("status %d, want 503", w.Code)
		}
	})
}
