package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"batpak"
	"batpak/coordinate"
)

// maxBody bounds a request's body.
const maxBody = 1 << 20

// routes returns the service's HTTP interface.
//
//	PUT  /orders/{id}            place an order            {"customer":"ada","lines":[{"article":"tea","quantity":2,"cents":450}]}
//	POST /orders/{id}/pay        pay it                    {"cents":900}
//	POST /orders/{id}/ship       ship it                   {"parcel":"P-1"}
//	POST /orders/{id}/cancel     give it up                {"reason":"changed my mind"}
//	GET  /orders/{id}            the order; its ETag is its version
//	GET  /customers/{name}       what a customer has ordered    ?seq=N waits until event N counts
//	GET  /shipments              what the warehouse has to send ?seq=N as well
//
// Commands take two headers: Idempotency-Key makes a retry safe, If-Match refuses if the order has another version.
func (s *Service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /orders/{id}", command[Place](s))
	mux.HandleFunc("POST /orders/{id}/pay", command[Pay](s))
	mux.HandleFunc("POST /orders/{id}/ship", command[Ship](s))
	mux.HandleFunc("POST /orders/{id}/cancel", command[Cancel](s))
	mux.HandleFunc("GET /orders/{id}", s.getOrder)
	mux.HandleFunc("GET /customers/{name}", s.getCustomer)
	mux.HandleFunc("GET /shipments", s.getShipments)
	return mux
}

// command handles one kind of command.
func command[C Command](s *Service) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var c C
		in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		in.DisallowUnknownFields()
		if err := in.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
			refuse(w, fmt.Errorf("%w: %v", errInput, err))
			return
		}
		req := Request{Order: r.PathValue("id"), Command: c, Key: r.Header.Get("Idempotency-Key")}
		if req.Key == "" {
			req.Key = rand.Text() // a request of its own, whatever it says
		}
		if tag := r.Header.Get("If-Match"); tag != "" {
			version, err := strconv.ParseUint(strings.Trim(tag, `"`), 10, 64)
			if err != nil {
				refuse(w, fmt.Errorf("%w: If-Match is no version: %q", errInput, tag))
				return
			}
			req.Version = &version
		}
		res, err := s.Do(r.Context(), req)
		if err != nil {
			refuse(w, err)
			return
		}
		w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(res.Order.Version, 10)))
		answer(w, http.StatusOK, res)
	}
}

func (s *Service) getOrder(w http.ResponseWriter, r *http.Request) {
	o, err := s.Order(r.Context(), r.PathValue("id"))
	if err != nil {
		refuse(w, err)
		return
	}
	w.Header().Set("ETag", strconv.Quote(strconv.FormatUint(o.Version, 10)))
	answer(w, http.StatusOK, o)
}

// seq returns the sequence that a query wants to see counted; 0 when it names none.
func seq(r *http.Request) (uint64, error) {
	text := r.URL.Query().Get("seq")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: seq is no number: %q", errInput, text)
	}
	return n, nil
}

// answer writes v as JSON.
func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("answer", "err", err) // the client has gone
	}
}

// refuse says why a request came to nothing.
func refuse(w http.ResponseWriter, err error) {
	status := statusOf(err)
	if status >= 500 {
		slog.Error("request", "err", err)
	}
	answer(w, status, map[string]string{"error": err.Error()})
}

// statusOf tells what an error means to an HTTP client. The store's errors are matched by what they are, never by text.
func statusOf(err error) int {
	switch {
	case errors.Is(err, errNoOrder):
		return http.StatusNotFound
	case errors.Is(err, errInput), errors.Is(err, coordinate.ErrInvalid):
		return http.StatusBadRequest
	case errors.Is(err, errExists), errors.Is(err, errState), errors.Is(err, batpak.ErrIdempotency):
		return http.StatusConflict
	case errors.Is(err, batpak.ErrContended): // too many commands for one order at once: try again
		return http.StatusServiceUnavailable
	case errors.Is(err, batpak.ErrConflict): // If-Match
		return http.StatusPreconditionFailed
	case errors.Is(err, batpak.ErrCanceled), errors.Is(err, batpak.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}
