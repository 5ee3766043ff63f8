package index

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"batpak/internal/paged"
)

// A CatalogPart is something that a catalog is made of: exactly one of the two is set.
type CatalogPart struct {
	Sealed  *Sealed
	Catalog *Catalog
}

// Range returns the first and last segment of the part.
func (p CatalogPart) Range() (first, last uint64) {
	if p.Catalog != nil {
		return p.Catalog.Range()
	}
	return p.Sealed.sum.Segment, p.Sealed.sum.Segment
}

// WriteCatalog writes a catalog over parts to w and returns its name and how many bytes it has. The parts ascend and
// do not overlap; the catalogs among them have the given key, which is new when there is none. Segments below oldest
// are gone, and what only they held is left out. A [View] holds all parts meanwhile, and the catalogs cover what it
// holds of their ranges.
//
// Catalogs are read twice, from front to back; of a segment, the hashes of its streams and keys are held and sorted.
//
// Errors: *[CatalogError] for a part that does not hold, which is not asked any more; *[segment.FooterError]; the
// context's; those of w.
func WriteCatalog(ctx context.Context, w io.Writer, store, key [16]byte, oldest uint64, parts []CatalogPart) (name string, size int64, err error) {
	m := &merge{ctx: ctx, hash: newCatalogHash(key), oldest: oldest}
	return m.write(w, store, key, parts)
}

// A merge makes one catalog of several parts.
type merge struct {
	ctx     context.Context
	hash    catalogHash
	oldest  uint64 // segment; those below are left out
	members []member
	bits    int    // D of the catalog that is made: not less than that of any part, whose hashes have no more bits
	mask    uint64 // the low bits

	sources []source
	next    []uint64 // of each source: its next entry, 0 at its end
	steps   int
}

func (m *merge) write(w io.Writer, store, key [16]byte, parts []CatalogPart) (name string, size int64, err error) {
	if err := m.start(key, parts); err != nil {
		return "", 0, err
	}
	h := catalogHead{
		store: store, first: m.members[0].segment, last: m.members[len(m.members)-1].segment, key: key,
		members: uint64(len(m.members)), bits: m.bits,
	}
	// The first pass counts: where an entry stands depends on how many there are.
	if err := m.each(func(uint64) { h.entries++ }); err != nil {
		return "", 0, err
	}
	h.homes = homesFor(h.entries)
	out := paged.NewWriter(w, h.seed())
	var b []byte
	for i := range m.members {
		b = appendMember(b[:0], &m.members[i])
		out.Append(b)
	}
	err = m.each(func(slot uint64) {
		for home := h.home(slot &^ m.mask); h.slots < home; h.slots++ {
			out.Uint64(0)
		}
		out.Uint64(slot)
		h.slots++
	})
	if err != nil {
		return "", 0, err
	}
	body, crc, err := out.Finish()
	if err == nil {
		h.sumsCRC = crc
		_, err = w.Write(appendCatalogHead(nil, &h))
	}
	name = CatalogName(h.first, h.last)
	if err != nil {
		return "", 0, fmt.Errorf("write %s: %w", name, err)
	}
	return name, int64(body+paged.SumsLen(body)) + catalogTrailer, nil
}

// start collects the members and the sources.
func (m *merge) start(key [16]byte, parts []CatalogPart) error {
	bases := make([]int, len(parts)) // number of the part's first member; below 0 when members before the first are gone
	for i, p := range parts {
		bases[i] = len(m.members)
		if p.Sealed != nil {
			m.members = append(m.members, memberOf(p.Sealed.sum))
			continue
		}
		o, err := p.Catalog.open()
		if err != nil {
			return err
		}
		if o.head.key != key {
			return &CatalogError{File: o.name, Reason: "another key", Err: ErrCatalogForeign}
		}
		m.bits = max(m.bits, o.head.bits)
		if m.members, err = p.Catalog.appendMembers(m.members); err != nil {
			return err
		}
		gone := 0
		for bases[i]+gone < len(m.members) && m.members[bases[i]+gone].segment < m.oldest {
			gone++
		}
		m.members = slices.Delete(m.members, bases[i], bases[i]+gone)
		bases[i] -= gone
	}
	for i := 1; i < len(m.members); i++ {
		if m.members[i-1].segment >= m.members[i].segment {
			panic(fmt.Sprintf("index: catalog over segments %d and %d", m.members[i-1].segment, m.members[i].segment))
		}
	}
	if n := len(m.members); n == 0 || n > MaxMembers {
		panic(fmt.Sprintf("index: catalog over %d segments", n))
	}
	m.bits = max(m.bits, bits.Len(uint(len(m.members))))
	m.mask = 1<<m.bits - 1
	for i, p := range parts {
		s, err := m.sourceOf(p, bases[i])
		if err != nil {
			return err
		}
		m.sources = append(m.sources, s)
	}
	return nil
}

// sourceOf returns the entries of a part whose first member is number base.
func (m *merge) sourceOf(p CatalogPart, base int) (source, error) {
	if p.Catalog != nil {
		o, err := p.Catalog.open()
		return &tableSource{c: p.Catalog, o: o, mask: m.mask, base: base}, err
	}
	hashes, err := p.Sealed.hashes(m.hash)
	if err != nil {
		return nil, err
	}
	for i, h := range hashes {
		hashes[i] = h&^m.mask | uint64(base+1)
	}
	slices.Sort(hashes)
	return &listSource{slots: slices.Compact(hashes)}, nil
}

// hashes returns the hashes of everything that a catalog says of the segment.
func (s *Sealed) hashes(by catalogHash) (hashes []uint64, err error) {
	mp, err := s.open()
	if err != nil {
		return nil, err
	}
	hashes = make([]uint64, 0, uint64(mp.foot.Heads())+uint64(mp.foot.Keys()))
	err = mp.m.Guarded(func() error {
		err := mp.foot.EachHead(func(entity []byte, lane uint32) {
			hashes = append(hashes, hashStream(by, entity, lane))
		})
		if err != nil {
			return err
		}
		return mp.foot.EachKey(func(key *[16]byte) { hashes = append(hashes, by.key(key)) })
	})
	return hashes, err
}

// stepsPerLook is after how many entries a merge looks whether it is still wanted.
const stepsPerLook = 1 << 16

// each calls fn with every entry of the merged table, in order.
func (m *merge) each(fn func(slot uint64)) error {
	m.next = m.next[:0]
	for _, s := range m.sources {
		s.rewind()
		slot, err := s.next()
		if err != nil {
			return err
		}
		m.next = append(m.next, slot)
	}
	for {
		slot, err := m.take()
		if err != nil || slot == 0 {
			return err
		}
		fn(slot)
	}
}

// take returns the least entry that is left, 0 at the end, and passes over those of older segments with its hash.
// There are a dozen sources at most: looking at each is as fast as a heap.
func (m *merge) take() (slot uint64, err error) {
	if m.steps++; m.steps%stepsPerLook == 0 && m.ctx.Err() != nil {
		return 0, m.ctx.Err()
	}
	least := ^uint64(0)
	for _, s := range m.next {
		if s != 0 && s&^m.mask < least {
			least = s &^ m.mask
		}
	}
	for i := range m.next {
		for m.next[i] != 0 && m.next[i]&^m.mask == least {
			slot = max(slot, m.next[i]) // the newest segment
			if m.next[i], err = m.sources[i].next(); err != nil {
				return 0, err
			}
		}
	}
	return slot, nil
}

// A source gives the entries of one part, as they are in the catalog that is made: ascending but for the members'
// numbers, of which the greatest of a hash counts.
type source interface {
	rewind()
	next() (slot uint64, err error) // 0 at the end
}

// A listSource is the entries of a segment.
type listSource struct {
	slots []uint64
	at    int
}

func (s *listSource) rewind() { s.at = 0 }

func (s *listSource) next() (uint64, error) {
	if s.at == len(s.slots) {
		return 0, nil
	}
	s.at++
	return s.slots[s.at-1], nil
}

// A tableSource is the entries of a catalog.
type tableSource struct {
	c    *Catalog
	o    *openCatalog
	mask uint64 // of the catalog that is made
	base int    // number of the first member in it; below 0 when the first ones are left out

	at   uint64 // slots that were read
	last uint64 // entry before, as it lies in the table
	buf  [paged.PageLen]byte
	left []byte // of buf
}

func (s *tableSource) rewind() { s.at, s.last, s.left = 0, 0, nil }

func (s *tableSource) next() (uint64, error) {
	mask := s.o.head.mask()
	for {
		if len(s.left) == 0 {
			if more, err := s.fill(); !more || err != nil {
				return 0, err
			}
		}
		slot := binary.LittleEndian.Uint64(s.left)
		s.left = s.left[slotLen:]
		if slot == 0 {
			continue
		}
		number := slot & mask
		if slot <= s.last || number == 0 || number > s.o.head.members {
			return 0, s.c.fail(s.o.located(s.o.flaw(s.o.head.tableAt()+s.at*slotLen, "table does not ascend")))
		}
		s.last = slot
		if in := s.base + int(number); in > 0 {
			return slot&^s.mask | uint64(in), nil
		}
	}
}

// fill reads the next slots.
func (s *tableSource) fill() (more bool, err error) {
	n := min(uint64(len(s.buf)/slotLen), s.o.head.slots-s.at)
	if n == 0 {
		return false, nil
	}
	s.left = s.buf[:n*slotLen]
	err = s.o.m.Guarded(func() error { return s.o.read(s.o.head.tableAt()+s.at*slotLen, s.left) })
	if err != nil {
		return false, s.c.fail(s.o.located(err))
	}
	s.at += n
	return true, nil
}

// appendMembers appends the members of the catalog to dst.
func (c *Catalog) appendMembers(dst []member) ([]member, error) {
	o, err := c.open()
	if err != nil {
		return dst, err
	}
	b := make([]byte, min(o.head.members, membersPerRead)*memberLen)
	for at := uint64(0); at < o.head.members; at += membersPerRead {
		n := min(membersPerRead, o.head.members-at)
		err := o.m.Guarded(func() error { return o.read(at*memberLen, b[:n*memberLen]) })
		if err != nil {
			return dst, c.fail(o.located(err))
		}
		for i := range n {
			m := decodeMember(b[i*memberLen:])
			if k := len(dst); m.segment < o.head.first || m.segment > o.head.last || k > 0 && dst[k-1].segment >= m.segment {
				return dst, c.fail(o.located(o.flaw((at+i)*memberLen, "members do not ascend")))
			}
			dst = append(dst, m)
		}
	}
	return dst, nil
}
