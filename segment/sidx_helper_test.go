package segment

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// A sidxModel is a sealed segment made of random events, and what was put in.
type sidxModel struct {
	header  Header
	events  []event.Header
	hashes  []event.Hash
	offsets []uint32
	lengths []uint32
	file    []byte // header, frames, footer
	end     int64  // of the frames
}

// A sidxShape says what random events look like.
type sidxShape struct {
	events, entities, scopes, kinds int
	lanes                           uint32
	gaps                            bool // sequences with holes
	sparse                          bool // tags, keys, references
	families                        bool // one event in 1, 2, 4, … 256 is the cause of those up to the next one
}

func (s sidxShape) header(r *rand.Rand, seq uint64, hlc event.HLC) event.Header {
	h := event.Header{
		Seq: seq, HLC: hlc, ID: event.NewID(hlc, r.Uint64()),
		Kind:       event.Kind(1+r.IntN(s.kinds))<<11 | event.Kind(r.IntN(3)),
		Coordinate: coordinate.MustNew(sidxEntity(r.IntN(s.entities)), fmt.Sprintf("tenant-%d", r.IntN(s.scopes))),
	}
	if s.lanes > 1 {
		h.Lane = r.Uint32N(s.lanes)
	}
	if !s.sparse {
		return h
	}
	if r.IntN(3) == 0 {
		for range 1 + r.IntN(3) {
			h.Tags = append(h.Tags, fmt.Sprintf("tag%d", r.IntN(9)))
		}
	}
	if r.IntN(4) == 0 {
		binary.BigEndian.PutUint64(h.Key.Hash[:], r.Uint64()>>r.IntN(40)|1)
	}
	return h
}

func sidxEntity(i int) string {
	if i%5 == 0 {
		return fmt.Sprintf("customer/%d", i)
	}
	return fmt.Sprintf("order:%d", i)
}

// newSidxModel builds a whole sealed segment.
func newSidxModel(t testing.TB, seed uint64, shape sidxShape) *sidxModel {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	m := &sidxModel{header: Header{Segment: 7, FirstSeq: 1000}}
	for i := range m.header.Salt {
		m.header.Salt[i], m.header.Store[i] = byte(r.Uint32()), byte(r.Uint32())
	}
	m.file = AppendHeader(nil, &m.header)
	b, seal := NewFooterBuilder(&m.header), NewSeal(m.header.Salt)
	clocks := map[string]uint64{}
	seq, hlc, frames := m.header.FirstSeq, event.HLC(1<<40), uint64(0)
	for range shape.events {
		h := shape.header(r, seq, hlc)
		if n := len(m.events); shape.sparse && n > 0 {
			if r.IntN(3) == 0 {
				h.Causation = m.events[r.IntN(n)].ID
			}
			if r.IntN(3) == 0 {
				h.Correlation = m.events[r.IntN(min(n, 5))].ID
			}
		}
		if n := len(m.events); shape.families {
			if size := 1 << (n / 512 % 9); n%size != 0 {
				h.Causation = m.events[n-n%size].ID
			}
		}
		chain := fmt.Sprint(h.Coordinate.Entity(), h.Lane)
		clocks[chain]++
		h.Clock = clocks[chain]
		if r.IntN(10) == 0 {
			m.file = seal.AppendMark(m.file, int64(len(m.file)), 0)
			frames++
		}
		m.push(t, b, seal, r, &h)
		frames++
		seq, hlc = seq+1, hlc+1+event.HLC(r.IntN(1000))
		if shape.gaps && r.IntN(4) == 0 {
			seq += r.Uint64N(50)
		}
	}
	m.end = int64(len(m.file))
	file, err := b.Finish(m.file, FooterEnd{Frames: frames, End: m.end, TreeSize: uint64(shape.events),
		Tiles: make([]event.Hash, shape.events/256), Range: make([]event.Hash, 3)})
	if err != nil {
		t.Fatalf("Finish: %v (seed %d)", err, seed)
	}
	m.file = file
	return m
}

// push appends one event to the file and the builder.
func (m *sidxModel) push(t testing.TB, b *FooterBuilder, seal Seal, r *rand.Rand, h *event.Header) {
	t.Helper()
	var hash event.Hash
	binary.LittleEndian.PutUint64(hash[:], r.Uint64())
	body := append(event.AppendMeta(nil, h), hash[:]...)
	body = append(body, "payload"...)
	offset := len(m.file)
	m.file = seal.AppendFrame(m.file, int64(offset), TypeEvent, 0, 0, body)
	raw, err := event.DecodeBody(body)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Add(&raw, uint32(offset), uint32(len(m.file)-offset)); err != nil {
		t.Fatalf("Add: %v", err)
	}
	m.events, m.hashes = append(m.events, *h), append(m.hashes, hash)
	m.offsets, m.lengths = append(m.offsets, uint32(offset)), append(m.lengths, uint32(len(m.file)-offset))
}

// mapBytes returns a map of a file with the given content.
func mapBytes(t testing.TB, b []byte) *vfs.Map {
	t.Helper()
	dir, err := vfs.NewMemFrom(map[string][]byte{"f": b}).OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := dir.Map("f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func (m *sidxModel) open(t testing.TB) *Footer {
	t.Helper()
	f, err := OpenFooter(mapBytes(t, m.file), m.header.Store, m.header.Segment)
	if err != nil {
		t.Fatalf("OpenFooter: %v", err)
	}
	return f
}
