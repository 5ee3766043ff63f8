package segment

import (
	"cmp"
	"encoding/binary"
	"runtime"
	"slices"

	"batpak/event"
	"batpak/internal/paged"
	"batpak/internal/wire"
)

// Finish appends the whole footer to dst: it is to stand at end.End and to end the file. Of the builder only
// [FooterBuilder.Reset] may be used then.
//
// Errors: [ErrCorrupt] when end contradicts the events that were added.
func (b *FooterBuilder) Finish(dst []byte, end FooterEnd) ([]byte, error) {
	if err := b.refuseEnd(&end); err != nil {
		return dst, err
	}
	b.sum.Frames, b.sum.End = end.Frames, end.End
	b.sum.TreeSize, b.sum.Root = end.TreeSize, end.Root
	b.sortSparse()
	f := finisher{b: b}
	f.rank()
	f.layout(&end)
	start := len(dst)
	total := int(f.t.bodyLen + sumsLen(f.t.bodyLen) + trailerLen)
	dst = slices.Grow(dst, total)[:start+int(f.t.bodyLen)]
	f.body = dst[start:]
	clear(f.body)
	f.dictionary()
	f.coordinateTable()
	f.columns()
	f.sparse()
	f.merkle(&end)
	dst = appendPageSums(dst, start, &f.t)
	return appendTrailer(dst, &f.t), nil
}

// A finisher turns what a builder collected into the body of a footer.
type finisher struct {
	b    *FooterBuilder
	t    trailer
	body []byte

	// Numbers in the order of arrival to numbers in the footer, and back.
	entityOrder, entityRank []uint32
	scopeOrder, scopeRank   []uint32
	tagOrder                []uint32
	coordOrder, coordRank   []uint32
	coordStarts             []uint32 // of each entity in the coordinate table; E+1
	headOrder, headStarts   []uint32 // by entity, then lane
	kinds                   []uint32 // that occur, ascending
}

// rank sorts everything that has a name.
func (f *finisher) rank() {
	b := f.b
	f.entityOrder, f.entityRank = ranked(b.entities.sorted())
	f.scopeOrder, f.scopeRank = ranked(b.scopes.sorted())
	f.tagOrder = b.tags.sorted()
	for category, block := range b.kinds {
		if block == nil {
			continue
		}
		for number, n := range block {
			if n > 0 {
				f.kinds = append(f.kinds, uint32(category<<12|number))
			}
		}
	}
	// Entities are counted; what one entity has of scopes and lanes is sorted, and is nearly always one of each.
	entities := b.entities.count()
	coords, coordStarts := grouped(entities, len(b.coordinates), func(i uint32) uint32 { return f.entityRank[b.coordinates[i].a] })
	sortGroups(coords, coordStarts, func(i uint32) uint32 { return f.scopeRank[b.coordinates[i].b] })
	f.coordOrder, f.coordRank = ranked(coords)
	f.coordStarts = coordStarts
	f.headOrder, f.headStarts = grouped(entities, len(b.heads), func(i uint32) uint32 { return f.entityRank[b.heads[i].entity] })
	sortGroups(f.headOrder, f.headStarts, func(i uint32) uint32 { return b.heads[i].Lane })
}

// grouped returns the numbers [0, items) ordered by their group, and where each group starts, the end last.
func grouped(groups, items int, of func(i uint32) uint32) (order, starts []uint32) {
	starts = make([]uint32, groups+1)
	for i := range uint32(items) {
		starts[of(i)+1]++
	}
	for g := range groups {
		starts[g+1] += starts[g]
	}
	next := slices.Clone(starts)
	order = make([]uint32, items)
	for i := range uint32(items) {
		g := of(i)
		order[next[g]] = i
		next[g]++
	}
	return order, starts
}

// sortGroups sorts the numbers of each group by key.
func sortGroups(order, starts []uint32, key func(i uint32) uint32) {
	for g := range len(starts) - 1 {
		if group := order[starts[g]:starts[g+1]]; len(group) > 1 {
			slices.SortFunc(group, func(x, y uint32) int { return cmp.Compare(key(x), key(y)) })
		}
	}
}

// ranked returns order and its inverse.
func ranked(order []uint32) (_, rank []uint32) {
	rank = make([]uint32, len(order))
	for r, i := range order {
		rank[i] = uint32(r)
	}
	return order, rank
}

// layout gives every section its place.
func (f *finisher) layout(end *FooterEnd) {
	b := f.b
	rows := b.sum.Events
	entities := uint64(b.entities.count())
	names := uint64(len(b.entities.names) + len(b.scopes.names) + len(b.tags.names))
	counts := [sectionCount]uint64{
		secNames: names, secEntities: entities + 1, secEntitySlots: newSidxSlots(entities).count,
		secScopes: uint64(b.scopes.count()) + 1, secCoordinateTable: uint64(len(b.coordinates)),
		secKindTable: uint64(len(f.kinds)) + 1, secTags: uint64(b.tags.count()) + 1,
		secTagRows: uint64(len(b.tagRows)), secIDSlots: newIDBuckets(rows).count,
		secKeyHashes: uint64(len(b.keys)), secKeyRows: uint64(len(b.keys)),
		secCauseHashes: uint64(len(b.causes)), secCauseRows: uint64(len(b.causes)),
		secCorrelationHashes: uint64(len(b.correlations)), secCorrelationRows: uint64(len(b.correlations)),
		secHeads: uint64(len(b.heads)), secTiles: uint64(len(end.Tiles)), secRange: uint64(len(end.Range)),
	}
	for _, i := range [...]int{secLocators, secSeqs, secCoordinates, secKinds, secFlags, secClocks, secLanes, secHLCs,
		secEntityRows, secScopeRows, secKindRows} {
		counts[i] = rows
	}
	f.t.sum = b.sum
	at := uint64(0)
	for i := range f.t.sections {
		at = f.t.sectionStart(i, at)
		f.t.sections[i] = footerPlace{at, counts[i] * sectionShapes[i].size}
		at += f.t.sections[i].len
	}
	f.t.bodyLen = align(at)
}

// section returns the bytes of section i.
func (f *finisher) section(i int) []byte {
	s := f.t.sections[i]
	return f.body[s.off : s.off+s.len]
}

// dictionary writes names and the record tables over them.
func (f *finisher) dictionary() {
	b, le := f.b, binary.LittleEndian
	names, at, rows := f.section(secNames), uint32(0), uint32(0)
	record := f.section(secEntities)
	put := func(e int) {
		le.PutUint32(record[e*entityLen:], at)
		le.PutUint32(record[e*entityLen+4:], f.coordStarts[e])
		le.PutUint32(record[e*entityLen+8:], rows)
		le.PutUint32(record[e*entityLen+12:], f.headStarts[e])
	}
	table, slots := f.section(secEntitySlots), newSidxSlots(uint64(len(f.entityOrder)))
	for e, i := range f.entityOrder {
		put(e)
		name := b.entities.name(i)
		at += uint32(copy(names[at:], name))
		rows += b.entities.rows[i]
		slots.insert(table, hashName(b.seed, name), uint32(e))
	}
	put(len(f.entityOrder))
	at = f.records(secScopes, &b.scopes, f.scopeOrder, at)
	f.records(secTags, &b.tags, f.tagOrder, at)
	kinds, rows := f.section(secKindTable), 0
	for i, k := range f.kinds {
		le.PutUint32(kinds[i*recordLen:], k)
		le.PutUint32(kinds[i*recordLen+4:], rows)
		rows += *b.kinds.at(uint16(k))
	}
	le.PutUint32(kinds[len(f.kinds)*recordLen:], 1<<16) // behind every kind
	le.PutUint32(kinds[len(f.kinds)*recordLen+4:], rows)
}

// records writes the names of d in order from at on, and their record table. It returns where the names end.
func (f *finisher) records(section int, d *sidxDict, order []uint32, at uint32) uint32 {
	le, names, table, rows := binary.LittleEndian, f.section(secNames), f.section(section), uint32(0)
	for r, i := range order {
		le.PutUint32(table[r*recordLen:], at)
		le.PutUint32(table[r*recordLen+4:], rows)
		at += uint32(copy(names[at:], d.name(i)))
		rows += d.rows[i]
	}
	le.PutUint32(table[len(order)*recordLen:], at)
	le.PutUint32(table[len(order)*recordLen+4:], rows)
	return at
}

func (f *finisher) coordinateTable() {
	le, table := binary.LittleEndian, f.section(secCoordinateTable)
	for r, i := range f.coordOrder {
		c := f.b.coordinates[i]
		le.PutUint32(table[r*recordLen:], f.entityRank[c.a])
		le.PutUint32(table[r*recordLen+4:], f.scopeRank[c.b])
	}
}

// columns writes everything that every event has: one pass over the rows.
func (f *finisher) columns() {
	le := binary.LittleEndian
	locators, seqs, coords := f.section(secLocators), f.section(secSeqs), f.section(secCoordinates)
	kinds, flags, clocks := f.section(secKinds), f.section(secFlags), f.section(secClocks)
	lanes, hlcs := f.section(secLanes), f.section(secHLCs)
	table, buckets := f.section(secIDSlots), newIDBuckets(f.b.sum.Events)
	lists := f.newPostings()
	row := uint32(0)
	for _, chunk := range f.b.rows {
		runtime.Gosched() // a committer that comes back from the disk must not wait for all rows
		for i := range chunk {
			r := &chunk[i]
			at := locators[uint64(row)*locatorLen:][:locatorLen]
			le.PutUint32(at, r.offset)
			le.PutUint32(at[4:], r.length)
			le.PutUint32(seqs[row*4:], r.seq)
			le.PutUint32(coords[row*4:], f.coordRank[r.coordinate])
			le.PutUint16(kinds[row*2:], r.kind)
			le.PutUint16(flags[row*2:], r.flags)
			le.PutUint32(clocks[row*4:], r.clock)
			le.PutUint32(lanes[row*4:], r.lane)
			le.PutUint64(hlcs[uint64(row)*8:], uint64(r.hlc))
			id := hashID(f.b.seed, &r.id)
			buckets.insert(table, id, newIDSlot(id, r.offset, r.length))
			lists.add(f.b.coordinates[r.coordinate], r.kind, row)
			row++
		}
	}
}

// A postings puts rows into the lists of their entity, scope and kind.
type postings struct {
	entityRows, scopeRows, kindRows []byte
	entity, scope                   []uint32 // next free place of each, by number of arrival
	kind                            kindTable
}

func (f *finisher) newPostings() *postings {
	b := f.b
	p := &postings{
		entityRows: f.section(secEntityRows), scopeRows: f.section(secScopeRows), kindRows: f.section(secKindRows),
		entity: starts(f.entityOrder, b.entities.rows), scope: starts(f.scopeOrder, b.scopes.rows),
	}
	at := uint32(0)
	for _, k := range f.kinds {
		*p.kind.at(uint16(k)) = at
		at += *b.kinds.at(uint16(k))
	}
	return p
}

// starts returns where the list of each name begins when lists lie in order.
func starts(order, rows []uint32) []uint32 {
	at, next := make([]uint32, len(order)), uint32(0)
	for _, i := range order {
		at[i] = next
		next += rows[i]
	}
	return at
}

func (p *postings) add(c recordPair, kind uint16, row uint32) {
	le := binary.LittleEndian
	le.PutUint32(p.entityRows[uint64(p.entity[c.a])*4:], row)
	le.PutUint32(p.scopeRows[uint64(p.scope[c.b])*4:], row)
	next := p.kind.at(kind)
	le.PutUint32(p.kindRows[uint64(*next)*4:], row)
	p.entity[c.a]++
	p.scope[c.b]++
	*next++
}

// sparse writes what only some events have, and the heads.
func (f *finisher) sparse() {
	b, le := f.b, binary.LittleEndian
	tagRows, next := f.section(secTagRows), starts(f.tagOrder, b.tags.rows)
	for _, t := range b.tagRows {
		le.PutUint32(tagRows[uint64(next[t.a])*4:], t.b)
		next[t.a]++
	}
	hashes, rows := f.section(secKeyHashes), f.section(secKeyRows)
	for i := range b.keys {
		copy(hashes[i*keyHashLen:], b.keys[i].hash[:])
		le.PutUint32(rows[i*4:], b.keys[i].row)
	}
	children := func(hashes, rows []byte, list []buildChild) {
		for i, c := range list {
			le.PutUint64(hashes[i*idHashLen:], c.hash)
			le.PutUint32(rows[i*4:], c.row)
		}
	}
	children(f.section(secCauseHashes), f.section(secCauseRows), b.causes)
	children(f.section(secCorrelationHashes), f.section(secCorrelationRows), b.correlations)
	heads := f.section(secHeads)
	for i, from := range f.headOrder {
		at, h := heads[i*headLen:], &b.heads[from]
		le.PutUint32(at, h.Lane)
		le.PutUint32(at[4:], h.Row)
		le.PutUint64(at[8:], h.First)
		le.PutUint64(at[16:], h.Last)
		copy(at[24:], h.ID[:])
		copy(at[24+event.IDLen:headLen], h.Hash[:])
	}
}

func (f *finisher) merkle(end *FooterEnd) {
	put := func(section int, hashes []event.Hash) {
		b := f.section(section)
		for i := range hashes {
			copy(b[i*event.HashLen:], hashes[i][:])
		}
	}
	put(secTiles, end.Tiles)
	put(secRange, end.Range)
}

// appendPageSums appends the page sums of the body that begins at start of dst, and sets their checksum in t.
func appendPageSums(dst []byte, start int, t *trailer) []byte {
	seed := footerSeed(t.sum.Store, t.sum.Segment)
	body := dst[start:]
	sums := len(dst)
	for n := uint64(0); len(body) > 0; n++ {
		page := body[:min(sidxPage, len(body))]
		dst = binary.LittleEndian.AppendUint32(dst, paged.Sum(seed, n, page))
		body = body[len(page):]
	}
	for (len(dst)-sums)%sidxAlign != 0 {
		dst = append(dst, 0)
	}
	t.sumsCRC = wire.Sum(seed, dst[sums:])
	return dst
}
