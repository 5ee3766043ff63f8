package segment

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"batpak/event"
	"batpak/internal/paged"
	"batpak/internal/wire"
)

var sidxShapes = map[string]sidxShape{
	"empty":         {entities: 1, scopes: 1, kinds: 1},
	"one":           {events: 1, entities: 1, scopes: 1, kinds: 1},
	"plain":         {events: 2000, entities: 300, scopes: 4, kinds: 6, lanes: 1},
	"everything":    {events: 1500, entities: 40, scopes: 9, kinds: 20, lanes: 3, gaps: true, sparse: true},
	"entity each":   {events: 700, entities: 100_000, scopes: 2, kinds: 2, lanes: 1, gaps: true},
	"entity shared": {events: 700, entities: 1, scopes: 1, kinds: 1, lanes: 4, sparse: true},
}

// answers collects everything that a footer says, as text; it stops at the first error.
type answers struct {
	bytes.Buffer
	err error
}

func (a *answers) say(err error, v ...any) {
	if a.err == nil {
		a.err = err
		fmt.Fprintln(a, v...)
	}
}

func (a *answers) list(f *Footer, l List, err error) {
	rows := make([]uint32, l.Len())
	if err == nil {
		err = f.ReadList(l, 0, rows)
	}
	a.say(err, rows)
}

// ask asks f everything it can be asked about the model.
func ask(f *Footer, m *sidxModel) *answers {
	a := new(answers)
	for row := uint32(0); row < f.Rows() && a.err == nil; row++ {
		a.askRow(f, row)
	}
	for i := 0; i < len(m.events) && a.err == nil; i++ {
		a.askEvent(f, &m.events[i])
	}
	for e := uint32(0); e < f.Entities() && a.err == nil; e++ {
		name, err := f.AppendEntity(nil, e)
		a.say(err, string(name))
		l, err := f.EntityRows(e, e+1)
		a.list(f, l, err)
		lo, hi, err := f.EntityHeads(e)
		a.say(err, lo, hi)
	}
	for i := uint32(0); i < f.Heads() && a.err == nil; i++ {
		h, err := f.HeadAt(i)
		a.say(err, h)
	}
	for i := uint32(0); i < f.Kinds() && a.err == nil; i++ {
		k, err := f.KindAt(i)
		a.say(err, k)
		l, err := f.KindRows(i, i+1)
		a.list(f, l, err)
	}
	for i := uint32(0); i < f.Scopes() && a.err == nil; i++ {
		name, err := f.AppendScope(nil, i)
		a.say(err, string(name))
		l, err := f.ScopeRows(i)
		a.list(f, l, err)
	}
	for i := uint32(0); i < f.Tags() && a.err == nil; i++ {
		name, err := f.AppendTag(nil, i)
		a.say(err, string(name))
		l, err := f.TagRows(i)
		a.list(f, l, err)
	}
	for _, prefix := range []string{"", "order:", "order:1", "customer/", "zzz"} {
		lo, hi, err := f.EntityPrefix(prefix)
		a.say(err, prefix, lo, hi)
	}
	for i := range f.Tiles() {
		h, err := f.Tile(i)
		a.say(err, h)
	}
	r, err := f.Range()
	a.say(err, r)
	return a
}

func (a *answers) askRow(f *Footer, row uint32) {
	l, err := f.Locator(row)
	a.say(err, l)
	seq, err := f.Seq(row)
	a.say(err, seq)
	kind, err := f.Kind(row)
	a.say(err, kind)
	flags, err := f.Flags(row)
	a.say(err, flags)
	lane, err := f.Lane(row)
	a.say(err, lane)
	hlc, err := f.HLC(row)
	a.say(err, uint64(hlc))
	clock, err := f.Clock(row)
	a.say(err, clock)
	c, err := f.Coordinate(row)
	a.say(err, c)
	if a.err == nil {
		e, s, err := f.CoordinateParts(c)
		a.say(err, e, s)
	}
}

func (a *answers) askEvent(f *Footer, h *event.Header) {
	var places []Locator
	ok, err := f.FindID(&h.ID, func(l Locator) (bool, error) { places = append(places, l); return false, nil })
	a.say(err, places, ok)
	row, ok, err := f.FindKey(h.Key.Hash, f.Rows())
	a.say(err, row, ok)
	row, err = f.RowOfSeq(h.Seq + 1)
	a.say(err, row)
	row, err = f.RowOfHLC(h.HLC - 1)
	a.say(err, row)
	e, ok, err := f.LookupEntity(h.Coordinate.Entity())
	a.say(err, e, ok)
	if ok {
		head, ok, err := f.Head(e, h.Lane)
		a.say(err, head, ok)
	}
	s, ok, err := f.LookupScope(h.Coordinate.Scope())
	a.say(err, s, ok)
	for _, by := range []Relation{ByCausation, ByCorrelation} {
		list, err := f.Children(by, h.ID)
		a.list(f, list, err)
	}
}

func TestFooterHoldsWhatWasAdded(t *testing.T) {
	for name, shape := range sidxShapes {
		t.Run(name, func(t *testing.T) {
			m := newSidxModel(t, 42, shape)
			f := m.open(t)
			if err := f.VerifyAll(); err != nil {
				t.Fatal(err)
			}
			checkRows(t, f, m)
			checkLists(t, f, m)
			checkLookups(t, f, m)
			if a := ask(f, m); a.err != nil {
				t.Fatal(a.err)
			}
		})
	}
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func checkRows(t *testing.T, f *Footer, m *sidxModel) {
	t.Helper()
	if int(f.Rows()) != len(m.events) {
		t.Fatalf("Rows() = %d, want %d", f.Rows(), len(m.events))
	}
	for i := range m.events {
		h, row := &m.events[i], uint32(i)
		l := must[Locator](t)(f.Locator(row))
		if want := (Locator{m.offsets[i], m.lengths[i]}); l != want {
			t.Fatalf("Locator(%d) = %v, want %v", i, l, want)
		}
		c := must[uint32](t)(f.Coordinate(row))
		e, s, err := f.CoordinateParts(c)
		if err != nil {
			t.Fatal(err)
		}
		got := event.Header{
			Seq: must[uint64](t)(f.Seq(row)), HLC: must[event.HLC](t)(f.HLC(row)), Clock: must[uint64](t)(f.Clock(row)),
			Kind: must[event.Kind](t)(f.Kind(row)), Lane: must[uint32](t)(f.Lane(row)),
		}
		entity, scope := string(must[[]byte](t)(f.AppendEntity(nil, e))), string(must[[]byte](t)(f.AppendScope(nil, s)))
		if got.Seq != h.Seq || got.HLC != h.HLC || got.Clock != h.Clock || got.Kind != h.Kind || got.Lane != h.Lane ||
			entity != h.Coordinate.Entity() || scope != h.Coordinate.Scope() {
			t.Fatalf("row %d = %+v %s@%s, want %+v", i, got, entity, scope, h)
		}
	}
}

// rowsWhere returns the rows whose event fits, as a footer's list should.
func (m *sidxModel) rowsWhere(fits func(h *event.Header) bool) []uint32 {
	rows := []uint32{}
	for i := range m.events {
		if fits(&m.events[i]) {
			rows = append(rows, uint32(i))
		}
	}
	return rows
}

func checkLists(t *testing.T, f *Footer, m *sidxModel) {
	t.Helper()
	same := func(what string, l List, err error, want []uint32) {
		t.Helper()
		got := make([]uint32, l.Len())
		if err == nil {
			err = f.ReadList(l, 0, got)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%s = %v, %v, want %v", what, got, err, want)
		}
	}
	for i := range m.events {
		h := &m.events[i]
		e, ok, err := f.LookupEntity(h.Coordinate.Entity())
		if err != nil || !ok {
			t.Fatalf("LookupEntity(%q) = %v, %v", h.Coordinate.Entity(), ok, err)
		}
		l, err := f.EntityRows(e, e+1)
		same("EntityRows", l, err, m.rowsWhere(func(o *event.Header) bool { return o.Coordinate.Entity() == h.Coordinate.Entity() }))
		if i > 50 {
			break
		}
		s, _, _ := f.LookupScope(h.Coordinate.Scope())
		l, err = f.ScopeRows(s)
		same("ScopeRows", l, err, m.rowsWhere(func(o *event.Header) bool { return o.Coordinate.Scope() == h.Coordinate.Scope() }))
		k, _ := f.KindsFrom(uint32(h.Kind))
		l, err = f.KindRows(k, k+1)
		same("KindRows", l, err, m.rowsWhere(func(o *event.Header) bool { return o.Kind == h.Kind }))
		for _, tag := range h.Tags {
			i, _, _ := f.LookupTag(tag)
			l, err = f.TagRows(i)
			same("TagRows", l, err, m.rowsWhere(func(o *event.Header) bool { return slices.Contains(o.Tags, tag) }))
		}
		l, err = f.Children(ByCausation, h.ID)
		same("Children", l, err, m.rowsWhere(func(o *event.Header) bool { return o.Causation == h.ID }))
		l, err = f.Children(ByCorrelation, h.ID)
		same("Children", l, err, m.rowsWhere(func(o *event.Header) bool { return o.Correlation == h.ID }))
	}
}

func checkLookups(t *testing.T, f *Footer, m *sidxModel) {
	t.Helper()
	last := map[[16]byte]uint32{}
	for i := range m.events {
		last[m.events[i].Key.Hash] = uint32(i)
	}
	for i := range m.events {
		h := &m.events[i]
		want := Locator{m.offsets[i], m.lengths[i]}
		if ok, err := f.FindID(&h.ID, func(l Locator) (bool, error) { return l == want, nil }); !ok || err != nil {
			t.Fatalf("FindID(event %d) = %v, %v", i, ok, err)
		}
		if row, ok, err := f.FindKey(h.Key.Hash, f.Rows()); err != nil || ok != (h.Key.Hash != [16]byte{}) || ok && row != last[h.Key.Hash] {
			t.Fatalf("FindKey(event %d) = %d, %v, %v", i, row, ok, err)
		}
		if row, ok, err := f.FindKey(h.Key.Hash, uint32(i)+1); err != nil || ok != (h.Key.Hash != [16]byte{}) || ok && row != uint32(i) {
			t.Fatalf("FindKey(event %d, before the next one) = %d, %v, %v", i, row, ok, err)
		}
		e, _, _ := f.LookupEntity(h.Coordinate.Entity())
		same := m.rowsWhere(func(o *event.Header) bool {
			return o.Coordinate.Entity() == h.Coordinate.Entity() && o.Lane == h.Lane
		})
		first, end := m.events[same[0]].Clock, same[len(same)-1]
		head := Head{h.Lane, end, first, m.events[end].Clock, m.events[end].ID, m.hashes[end]}
		if got, ok, err := f.Head(e, h.Lane); got != head || !ok || err != nil {
			t.Fatalf("Head(%d, %d) = %v, %v, %v, want %v", e, h.Lane, got, ok, err, head)
		}
	}
	absent := event.NewID(5, 5)
	never := func(l Locator) (bool, error) { t.Errorf("FindID(absent) may be at %v", l); return false, nil }
	if ok, err := f.FindID(&absent, never); ok || err != nil {
		t.Fatalf("FindID(absent) = %v, %v", ok, err)
	}
	if _, ok, err := f.LookupEntity("order:none"); ok || err != nil {
		t.Fatalf("LookupEntity(absent) = %v, %v", ok, err)
	}
	for _, seq := range []uint64{0, 1, 999, 1000, 1001, 1500, 1 << 40} {
		want := len(m.rowsWhere(func(h *event.Header) bool { return h.Seq < seq }))
		if row, err := f.RowOfSeq(seq); int(row) != want || err != nil {
			t.Fatalf("RowOfSeq(%d) = %d, %v, want %d", seq, row, err, want)
		}
	}
	for _, prefix := range []string{"", "order:1", "order:", "customer/", "zz", "A"} {
		lo, hi, err := f.EntityPrefix(prefix)
		l, err2 := f.EntityRows(lo, hi)
		want := len(m.rowsWhere(func(h *event.Header) bool { return bytes.HasPrefix([]byte(h.Coordinate.Entity()), []byte(prefix)) }))
		if err != nil || err2 != nil || int(l.Len()) != want {
			t.Fatalf("EntityPrefix(%q) = [%d, %d) of %d rows, %v, %v, want %d", prefix, lo, hi, l.Len(), err, err2, want)
		}
	}
}

// A full bucket of the ID slots overflows into the next one, the last one into the first.
func TestIDBucketsOverflow(t *testing.T) {
	for n := range uint64(100) {
		s := newIDBuckets(n)
		table := make([]byte, s.count*idBucketLen)
		for i := range n {
			s.insert(table, 1<<64-1, newIDSlot(1<<64-1, uint32(i+1), 1)) // all at home in the last bucket
		}
		at, found := s.home(1<<64-1), uint64(0)
		for range s.count {
			for k := uint64(0); k < idBucketLen; k += idSlotLen {
				if slot := idSlot(binary.LittleEndian.Uint64(table[at*idBucketLen+k:])); slot != 0 {
					if found++; uint64(slot.locator().Offset) != found {
						t.Fatalf("%d entries: %v in place %d of the search", n, slot.locator(), found)
					}
				} else if found < n {
					t.Fatalf("%d entries: empty slot behind %d", n, found)
				}
			}
			at = s.next(at)
		}
		if found != n || s.count*8 <= n {
			t.Errorf("%d entries: found %d in %d buckets", n, found, s.count)
		}
	}
}

// The buckets of the ID slots lie on cache lines of the file, wherever the frames end.
func TestIDBucketsAreAligned(t *testing.T) {
	for events := range 70 {
		m := newSidxModel(t, uint64(events), sidxShape{events: events, entities: 2, scopes: 1, kinds: 1})
		if at := m.open(t).t.sections[secIDSlots].off + uint64(m.end); at%idBucketLen != 0 {
			t.Errorf("%d events, frames up to %d: ID slots at %d of the file", events, m.end, at)
		}
	}
}

// The footer costs at most 72 bytes per plain event beside the dictionary.
func TestFooterSizePerPlainEvent(t *testing.T) {
	m := newSidxModel(t, 1, sidxShape{events: 20_000, entities: 500, scopes: 5, kinds: 6})
	f := m.open(t)
	size := f.Size()
	for _, i := range []int{secNames, secEntities, secEntitySlots, secScopes, secCoordinateTable, secKindTable, secTags, secHeads} {
		size -= int64(f.t.sections[i].len)
	}
	if per := float64(size) / float64(len(m.events)); per > 72 {
		t.Errorf("%.1f bytes per event, want at most 72", per)
	} else {
		t.Logf("%.2f bytes per event", per)
	}
}

// The bytes of a footer of version 1 never change: this is the SHA-256 of one that holds a little of everything.
func TestFooterBytesAreOfVersion1(t *testing.T) {
	m := newSidxModel(t, 2, sidxShapes["everything"])
	const want = "8445f6e198868e92f1a9206f30c7fd8eb8b0e7c2c8d639773956aca3b4edd226"
	if got := fmt.Sprintf("%x", sha256.Sum256(m.file[m.end:])); got != want {
		t.Errorf("footer hashes to %s, want %s", got, want)
	}
}

func TestFooterEveryBit(t *testing.T) {
	m := newSidxModel(t, 3, sidxShape{events: 12, entities: 4, scopes: 2, kinds: 3, lanes: 2, gaps: true, sparse: true})
	want := ask(m.open(t), m)
	if want.err != nil {
		t.Fatal(want.err)
	}
	b := slices.Clone(m.file)
	for i := int(m.end); i < len(b); i++ {
		for bit := range 8 {
			b[i] ^= 1 << bit
			f, err := OpenFooter(mapBytes(t, b), m.header.Store, m.header.Segment)
			if err == nil {
				if err = f.VerifyAll(); err == nil {
					t.Errorf("byte %d bit %d of the footer: not found by VerifyAll", i-int(m.end), bit)
				}
				got := ask(f, m)
				if err = got.err; err == nil && got.String() != want.String() {
					t.Fatalf("byte %d bit %d of the footer: wrong answers", i-int(m.end), bit)
				}
			}
			var fe *FooterError
			if err != nil && (!errors.As(err, &fe) || !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrAbsent)) {
				t.Fatalf("byte %d bit %d of the footer: %v, want *FooterError", i-int(m.end), bit, err)
			}
			b[i] ^= 1 << bit
		}
	}
}

func TestFooterEveryCut(t *testing.T) {
	m := newSidxModel(t, 4, sidxShape{events: 6, entities: 3, scopes: 2, kinds: 3, sparse: true})
	for n := range len(m.file) {
		_, err := OpenFooter(mapBytes(t, m.file[:n]), m.header.Store, m.header.Segment)
		if !errors.Is(err, ErrAbsent) && !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(m.file), err)
		}
	}
	longer := append(slices.Clone(m.file), 0)
	if _, err := OpenFooter(mapBytes(t, longer), m.header.Store, m.header.Segment); !errors.Is(err, ErrAbsent) {
		t.Fatalf("one byte behind: %v, want ErrAbsent", err)
	}
}

func TestFooterRefuses(t *testing.T) {
	m := newSidxModel(t, 5, sidxShape{events: 6, entities: 3, scopes: 2, kinds: 3})
	resum := func(b []byte) {
		seed := footerSeed(m.header.Store, m.header.Segment)
		start := len(b) - trailerLen
		binary.LittleEndian.PutUint32(b[len(b)-4:], wire.Sum(seed, b[start:len(b)-4]))
	}
	for _, c := range []struct {
		name    string
		segment uint64
		damage  func(b []byte) []byte
		want    error
	}{
		{"another segment's", 8, func(b []byte) []byte { return b }, ErrForeign},
		{"future version", 7, func(b []byte) []byte { b[len(b)-tailLen+4]++; resum(b); return b }, ErrFuture},
		{"future flag", 7, func(b []byte) []byte { b[len(b)-tailLen+6]++; resum(b); return b }, ErrFuture},
		{"frames moved", 7, func(b []byte) []byte { return b[8:] }, ErrDamaged},
		{"frames longer", 7, func(b []byte) []byte { return append(make([]byte, 8), b...) }, ErrDamaged},
		{"a section too long", 7, func(b []byte) []byte {
			b[len(b)-trailerLen+SummaryLen+8]++
			resum(b)
			return b
		}, ErrDamaged},
		{"more events than frames", 7, func(b []byte) []byte {
			b[len(b)-trailerLen+40] += 9
			resum(b)
			return b
		}, ErrDamaged},
		{"zeroes behind", 7, func(b []byte) []byte { return append(b, make([]byte, 5000)...) }, ErrAbsent},
		{"no footer", 7, func(b []byte) []byte { return b[:m.end] }, ErrAbsent},
	} {
		b := c.damage(slices.Clone(m.file))
		_, err := OpenFooter(mapBytes(t, b), m.header.Store, c.segment)
		var fe *FooterError
		if !errors.Is(err, c.want) || !errors.As(err, &fe) {
			t.Errorf("%s: %v, want *FooterError of %v", c.name, err, c.want)
		}
	}
	if _, err := OpenFooter(mapBytes(t, m.file), [16]byte{1}, 7); !errors.Is(err, ErrForeign) {
		t.Errorf("another store's: %v, want ErrForeign", err)
	}
}

func TestFooterBuilderRefuses(t *testing.T) {
	h := Header{Segment: 1, FirstSeq: 1}
	raw := event.Raw{Seq: 5, HLC: 10, Clock: 2, Kind: 0x1001, Entity: []byte("e"), Scope: []byte("s"), ID: event.NewID(10, 1)}
	for name, change := range map[string]func(*event.Raw){
		"same sequence": func(r *event.Raw) { r.Seq = 5 },
		"same HLC":      func(r *event.Raw) { r.HLC = 10 },
		"same clock":    func(r *event.Raw) { r.Clock = 2 },
		"far sequence":  func(r *event.Raw) { r.Seq = 6 + 1<<32 },
	} {
		b := NewFooterBuilder(&h)
		if err := b.Add(&raw, 200, 100); err != nil {
			t.Fatal(err)
		}
		next := raw
		next.Seq, next.HLC, next.Clock = 6, 11, 3
		bad := next
		change(&bad)
		var fe *FrameError
		if err := b.Add(&bad, 300, 100); !errors.As(err, &fe) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: Add = %v, want *FrameError", name, err)
		}
		if err := b.Add(&next, 300, 100); err != nil || b.Events() != 2 {
			t.Errorf("%s: Add of a good event after it = %v", name, err)
		}
	}
	b := NewFooterBuilder(&h)
	b.Add(&raw, 200, 100)
	if _, err := b.Finish(nil, FooterEnd{End: 300, TreeSize: 1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("Finish with fewer frames than events = %v, want ErrCorrupt", err)
	}
}

func TestFooterAllocatesNothing(t *testing.T) {
	m := newSidxModel(t, 6, sidxShape{events: 3000, entities: 200, scopes: 3, kinds: 5, lanes: 2, gaps: true, sparse: true})
	f := m.open(t)
	h := &m.events[1234]
	entity, scope := h.Coordinate.Entity(), h.Coordinate.Scope()
	rows := make([]uint32, 64)
	allocs := testing.AllocsPerRun(100, func() {
		f.FindID(&h.ID, func(Locator) (bool, error) { return true, nil })
		f.FindKey(m.events[1].Key.Hash, f.Rows())
		e, _, _ := f.LookupEntity(entity)
		f.Head(e, h.Lane)
		f.LookupScope(scope)
		f.EntityPrefix("order:1")
		f.RowOfSeq(h.Seq)
		f.Clock(1234)
		l, _ := f.Children(ByCausation, h.ID)
		f.ReadList(l, 0, rows[:min(64, l.Len())])
		f.ReadColumn(ColumnKind, 100, rows)
	})
	if allocs != 0 {
		t.Errorf("%v allocations, want 0", allocs)
	}
	// The race detector makes the pool of page buffers forget some of them.
	if allocs := testing.AllocsPerRun(1, func() { f.VerifyAll() }); allocs > float64(f.Size()/sidxPage)/2 {
		t.Errorf("VerifyAll: %v allocations, want none per page", allocs)
	}
}

func TestSummaryRoundTrip(t *testing.T) {
	m := newSidxModel(t, 7, sidxShape{events: 30, entities: 3, scopes: 1, kinds: 2, lanes: 2})
	want := *m.open(t).Summary()
	b := AppendSummary(nil, &want)
	got, ok := DecodeSummary(b)
	if len(b) != SummaryLen || !ok || got != want {
		t.Fatalf("DecodeSummary = %+v, %v, want %+v", got, ok, want)
	}
	for n := range b {
		if _, ok := DecodeSummary(b[:n]); ok {
			t.Fatalf("DecodeSummary of %d bytes holds", n)
		}
	}
}

// forgeFooter puts sound checksums over whatever the bytes behind the frames are, so that what is left to refuse is
// what they say.
func forgeFooter(m *sidxModel, b []byte) {
	seed := footerSeed(m.header.Store, m.header.Segment)
	start := len(b) - trailerLen
	if start < int(m.end) {
		return
	}
	copy(b[start:], m.header.Store[:])
	binary.LittleEndian.PutUint64(b[start+16:], m.header.Segment)
	bodyLen := binary.LittleEndian.Uint64(b[start+SummaryLen+sectionCount*16:])
	sums := sumsLen(bodyLen)
	if bodyLen > uint64(len(b)) || int(bodyLen+sums) > start {
		return
	}
	base := start - int(bodyLen+sums)
	for page := uint64(0); page*sidxPage < bodyLen; page++ {
		at := base + int(page*sidxPage)
		sum := paged.Sum(seed, page, b[at:base+int(min((page+1)*sidxPage, bodyLen))])
		binary.LittleEndian.PutUint32(b[base+int(bodyLen+page*4):], sum)
	}
	binary.LittleEndian.PutUint32(b[start+SummaryLen+sectionCount*16+8:], wire.Sum(seed, b[base+int(bodyLen):start]))
	tail := b[len(b)-tailLen:]
	binary.LittleEndian.PutUint32(tail, trailerLen)
	binary.LittleEndian.PutUint32(tail[4:], sidxVersion)
	copy(tail[8:], sidxMagic)
	binary.LittleEndian.PutUint32(tail[12:], wire.Sum(seed, b[start:len(b)-4]))
}

// A footer that somebody forged, with sound checksums, must not make the reader panic or run for ever.
func TestFooterForged(t *testing.T) {
	m := newSidxModel(t, 8, sidxShape{events: 40, entities: 9, scopes: 3, kinds: 4, lanes: 2, gaps: true, sparse: true})
	r := rand.New(rand.NewPCG(8, 8))
	for n := range 3000 {
		if testing.Short() && n%8 > 0 {
			continue
		}
		b := slices.Clone(m.file)
		for range 1 + r.IntN(4) {
			at := int(m.end) + r.IntN(len(b)-int(m.end))
			b[at] = []byte{0, 0xff, byte(r.Uint32()), b[at] + 1}[r.IntN(4)]
		}
		forgeFooter(m, b)
		if f, err := OpenFooter(mapBytes(t, b), m.header.Store, m.header.Segment); err == nil {
			ask(f, m)
		}
	}
}

func FuzzFooter(f *testing.F) {
	m := newSidxModel(f, 9, sidxShape{events: 8, entities: 3, scopes: 2, kinds: 3, lanes: 2, sparse: true})
	f.Add(m.file[m.end:], false)
	f.Add(m.file[m.end:], true)
	f.Add([]byte(sidxMagic), false)
	f.Fuzz(func(t *testing.T, footer []byte, forged bool) {
		b := append(slices.Clone(m.file[:m.end]), footer...)
		if forged {
			forgeFooter(m, b)
		}
		opened, err := OpenFooter(mapBytes(t, b), m.header.Store, m.header.Segment)
		if err == nil {
			ask(opened, m)
			err = opened.VerifyAll()
		}
		var fe *FooterError
		if err != nil && !errors.As(err, &fe) {
			t.Errorf("%v, want *FooterError", err)
		}
	})
}
