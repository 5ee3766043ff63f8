package segment

import (
	"encoding/binary"
	"fmt"
	"testing"

	"batpak/event"
)

// BenchmarkFooterBuilder builds the footer of a full segment, Finish included; one op is one event. Bodies are decoded
// beforehand, as a scan has just done when it calls Add.
func BenchmarkFooterBuilder(b *testing.B) {
	for _, c := range []struct {
		name                   string
		events, entities, keep int
	}{
		{"events=250k/entities=20k", 250_000, 20_000, 1 << 12},
		{"events=250k/entities=250k", 250_000, 250_000, 250_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := newSidxModel(b, 1, sidxShape{events: 8, entities: 1, scopes: 1, kinds: 1})
			raws := make([]event.Raw, c.keep)
			for i := range raws {
				raws[i] = event.Raw{
					Kind: event.Kind(1+i%6) << 12, Scope: fmt.Appendf(nil, "tenant-%d", i%8),
					Entity: fmt.Appendf(nil, "order:%d", uint32(i)*2654435761%uint32(c.entities)),
				}
			}
			var dst []byte
			fb, n := NewFooterBuilder(&m.header), 0
			b.ReportAllocs()
			for b.Loop() {
				r := &raws[n%c.keep]
				n++
				r.Seq, r.HLC, r.Clock = uint64(999+n), event.HLC(n), uint64(n)
				r.ID = event.NewID(r.HLC, uint64(n)*hashK0)
				binary.LittleEndian.PutUint64(r.Hash[:], r.Seq)
				if err := fb.Add(r, uint32(256+n*250), 250); err != nil {
					b.Fatal(err)
				}
				if n == c.events {
					end := FooterEnd{Frames: uint64(n), End: int64(256 + n*250), TreeSize: uint64(n)}
					var err error
					if dst, err = fb.Finish(dst[:0], end); err != nil {
						b.Fatal(err)
					}
					fb, n = NewFooterBuilder(&m.header), 0
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Mevents/s")
		})
	}
}

func BenchmarkFooterLookups(b *testing.B) {
	m := newSidxModel(b, 1, sidxShape{events: 50_000, entities: 5000, scopes: 4, kinds: 6, lanes: 1, sparse: true})
	f := m.open(b)
	i := 0
	next := func() *event.Header {
		i = (i + 7919) % len(m.events)
		return &m.events[i]
	}
	for _, c := range []struct {
		name string
		fn   func(h *event.Header) error
	}{
		{"FindID", func(h *event.Header) error {
			_, err := f.FindID(&h.ID, func(Locator) (bool, error) { return true, nil })
			return err
		}},
		{"FindKey", func(h *event.Header) error { _, _, err := f.FindKey(h.Key.Hash, f.Rows()); return err }},
		{"LookupEntity", func(h *event.Header) error { _, _, err := f.LookupEntity(h.Coordinate.Entity()); return err }},
		{"RowOfSeq", func(h *event.Header) error { _, err := f.RowOfSeq(h.Seq); return err }},
		{"Children", func(h *event.Header) error { _, err := f.Children(ByCausation, h.ID); return err }},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.fn(next()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkVerifyAll(b *testing.B) {
	m := newSidxModel(b, 1, sidxShape{events: 50_000, entities: 5000, scopes: 4, kinds: 6, lanes: 1})
	f := m.open(b)
	b.SetBytes(f.Size())
	for b.Loop() {
		if err := f.VerifyAll(); err != nil {
			b.Fatal(err)
		}
	}
}
