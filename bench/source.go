package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

const (
	payloadLen = 300
	batchLen   = 1000
)

// A source makes the same events for every store: event i is one of stream i·stride mod entities, so that streams
// take turns and each has the clock i ÷ entities + 1.
type source struct {
	coordinates []coordinate.Coordinate
	next        int
	drafts      []batpak.Draft
}

func newSource(entities int) *source {
	s := &source{coordinates: make([]coordinate.Coordinate, entities)}
	for i := range s.coordinates {
		s.coordinates[i] = coordinate.MustNew(entityOf(i, entities), "eu")
	}
	return s
}

// entityOf returns the stream of event i.
func entityOf(i, entities int) string {
	stride := 7919 // prime
	if entities%stride == 0 {
		stride = 1
	}
	return fmt.Sprintf("order:%07d", i%entities*stride%entities)
}

// batch returns the next n events. They are valid until the next call.
func (s *source) batch(n int) []batpak.Draft {
	for len(s.drafts) < n {
		s.drafts = append(s.drafts, batpak.Draft{Kind: event.MustKind(1, 7), Payload: make([]byte, 0, payloadLen)})
	}
	for i := range n {
		d := &s.drafts[i]
		d.Coordinate = s.coordinates[s.next%len(s.coordinates)]
		d.Payload = appendPayload(d.Payload[:0], s.next)
		s.next++
	}
	return s.drafts[:n]
}

var note = strings.Repeat("the quick brown fox jumps over the lazy dog ", 8)

// appendPayload appends the JSON of event i: payloadLen bytes.
func appendPayload(dst []byte, i int) []byte {
	dst = fmt.Appendf(dst, `{"order":%d,"total":%d,"currency":"EUR","note":"`, i, i*37%100_000)
	return append(append(dst, note[:payloadLen-len(dst)-2]...), `"}`...)
}

// idOf returns an ID for event i as stores without IDs of their own need it: increasing, and random behind that.
func idOf(i int) []byte {
	id := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(i)<<16)
	x := uint64(i) * 0x9e3779b97f4a7c15
	return binary.BigEndian.AppendUint64(id, x^x>>29)
}

// A writer is a store that events go into.
type writer interface {
	// write commits the drafts as one. The first is event number first.
	write(ctx context.Context, first int, drafts []batpak.Draft) error
	close() error
}

// A fill says how much is written to a store.
type fill struct {
	Entities int
	Events   int // 0 means until the two below are reached
	Segments int
	Active   int64 // bytes of the active segment

	SegmentSize int64
	Batch       int // events of one write; 0 means batchLen, fewer when segments are small
}

func (f *fill) batch() int {
	if f.Batch > 0 {
		return f.Batch
	}
	return int(min(batchLen, max(1, f.SegmentSize/(64*512))))
}

// full reports whether w holds what f asks for.
func (f *fill) full(w writer, written int) bool {
	if f.Events > 0 {
		return written >= f.Events
	}
	stats := w.(batpakWriter).Stats()
	return stats.Segments > f.Segments || stats.Segments == f.Segments && stats.Active >= f.Active
}

// fillUp writes batches until w is full.
func fillUp(ctx context.Context, w writer, s *source, f fill) error {
	for !f.full(w, s.next) {
		n := f.batch()
		if f.Events > 0 {
			n = min(n, f.Events-s.next)
		}
		first := s.next
		if err := w.write(ctx, first, s.batch(n)); err != nil {
			return err
		}
	}
	return nil
}

// build makes a store at path, fills it and closes it.
func build(ctx context.Context, kind, path string, f fill) error {
	w, err := writers[kind](path, f.SegmentSize)
	if err != nil {
		return fmt.Errorf("build %s: %w", path, err)
	}
	err = fillUp(ctx, w, newSource(f.Entities), f)
	if closed := w.close(); err == nil {
		err = closed
	}
	if err != nil {
		return fmt.Errorf("build %s: %w", path, err)
	}
	return nil
}
