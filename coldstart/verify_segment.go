package coldstart

import (
	"context"
	"encoding/binary"
	"fmt"

	"batpak/event"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A segmentCheck is one segment being verified.
type segmentCheck struct {
	*scan
	v      *verifier
	link   *link
	file   vfs.File
	size   int64                  // of the file when the scan began
	footer *segment.FooterBuilder // nil for a segment that is not to have one
	broken bool                   // the footer cannot be rebuilt, or the log has lost an event here
}

// segment verifies segment i of the chain.
func (v *verifier) segment(ctx context.Context, i int) error {
	l := v.chain.links[i]
	if l.broken != nil {
		v.lose()
		return nil
	}
	if i == 0 && l.header.TreeSize == 0 {
		v.heads, v.known = make(map[string]*streamEnd), true
	} else if v.heads == nil {
		v.heads = make(map[string]*streamEnd)
	}
	f, err := v.dir.OpenRead(segment.Name(l.id))
	if err != nil {
		return fmt.Errorf("open segment %06d: %w", l.id, err)
	}
	defer f.Close()
	c := &segmentCheck{v: v, link: l, file: f}
	v.tree, _ = merkle.NewRange(l.header.TreeSize, l.header.Range) // rangeHolds has looked at it
	v.tiles = nil
	v.result.LastSeq = max(v.result.LastSeq, l.header.LastSeq)
	c.footer = segment.NewFooterBuilder(&l.header)
	if err := c.read(ctx, startOf(&l.header)); err != nil {
		return err
	}
	if err := c.end(ctx, i); err != nil {
		return err
	}
	v.result.Bytes += c.size
	v.result.LastSeq, v.result.TreeSize, v.result.Root = max(v.result.LastSeq, c.lastSeq()), v.tree.Size(), v.tree.Root()
	if c.broken {
		v.lose()
	}
	return nil
}

// lastSeq returns the last sequence of all events up to where the check stands.
func (c *segmentCheck) lastSeq() uint64 {
	if c.events == 0 {
		return c.link.header.LastSeq
	}
	return c.at.seq
}

// read scans the frames from a mark on. A frame that contradicts the log ends it with a finding.
func (c *segmentCheck) read(ctx context.Context, from mark) error {
	size, err := c.file.Size()
	if err != nil {
		return fmt.Errorf("read segment %06d: %w", c.link.id, err)
	}
	c.size = size
	limit, until := size, int64(wholeFile)
	if c.link.next != nil {
		limit, until = min(size, c.link.end()), c.link.end()
	}
	before, counted := c.scan, uint64(0)
	c.scan = newScan(c.file, &c.link.header, from, limit, until)
	c.each = c.event
	if before != nil { // the same scan, gone on with
		counted = before.count
		c.events, c.count, c.through = before.events, before.count, before.through
		if before.half() {
			c.count -= uint64(len(before.batch.members)) + 1
		}
	}
	c.v.result.Frames -= counted
	err = c.run(ctx)
	c.v.result.Frames += c.count
	if err == nil {
		return nil
	}
	c.broken = true
	return c.v.found(err)
}

// flag keeps a finding about the event at offset.
func (c *segmentCheck) flag(r *event.Raw, offset uint32, reason string, err error) {
	c.v.add(Finding{
		File: segment.Name(c.link.id), Segment: c.link.id, Offset: int64(offset), FirstSeq: r.Seq, LastSeq: r.Seq,
		Reason: reason, Err: err,
	})
}

// event checks one event; its place in the log has been checked by the scan.
func (c *segmentCheck) event(r *event.Raw, offset, length uint32) error {
	v := c.v
	v.result.Events++
	v.fenced = v.fenced || r.Fence != 0
	if c.batch.Count > 0 && int64(offset) == c.batch.from {
		v.result.Batches++
	}
	if err := r.Check(); err != nil {
		c.flag(r, offset, "event", err)
	}
	if event.NewID(r.HLC, binary.BigEndian.Uint64(r.ID[8:])) != r.ID {
		c.flag(r, offset, "ID is not made of the HLC", nil)
	}
	c.checkStream(r, offset)
	if err := c.footer.Add(r, offset, length); err != nil {
		c.flag(r, offset, "event cannot be indexed", err)
		c.broken = true
	}
	if tile, ok := v.tree.Append(&r.Hash); ok {
		v.tiles = append(v.tiles, tile)
	}
	c.checkAnchor(r, offset)
	return nil
}

// checkStream checks clock and hash against the event before on the same (entity, lane).
func (c *segmentCheck) checkStream(r *event.Raw, offset uint32) {
	v := c.v
	v.key = binary.LittleEndian.AppendUint32(v.key[:0], r.Lane)
	v.key = append(v.key, r.Entity...)
	end := v.heads[string(v.key)]
	if end == nil {
		end = new(streamEnd)
		v.heads[string(v.key)] = end
		if !v.known { // what stood before is lost
			end.clock, end.hash = r.Clock, r.Hash
			return
		}
	}
	switch {
	case r.Clock != end.clock+1:
		c.flag(r, offset, fmt.Sprintf("clock %d follows %d", r.Clock, end.clock), nil)
	case !v.linker.Verify(r, end.hash):
		c.flag(r, offset, "hash does not follow from the event and its parent", nil)
	}
	end.clock, end.hash = r.Clock, r.Hash
}

// checkAnchor compares the tree that the anchor names with the one that has grown to its size.
func (c *segmentCheck) checkAnchor(r *event.Raw, offset uint32) {
	if a := c.v.anchor; a != nil && a.TreeSize == c.v.tree.Size() && a.Root != c.v.tree.Root() {
		c.flag(r, offset, "anchor names another history", ErrForeign)
	}
}

// end judges the place where the frames end.
func (c *segmentCheck) end(ctx context.Context, i int) error {
	switch {
	case c.broken:
		return nil
	case c.link.next != nil:
		return c.endOlder()
	case i < len(c.v.chain.links)-1:
		return nil // nothing continues it: that is a finding already
	}
	return c.endNewest(ctx, i)
}

// endOlder checks that the frames are what the next header says of them, then the footer.
func (c *segmentCheck) endOlder() error {
	l, next := c.link, c.link.next
	if c.at.offset != l.end() || c.half() || c.events != l.events() || c.v.tree.Root() != next.Root ||
		c.lastSeq() != next.LastSeq || c.events > 0 && c.at.hlc != next.LastHLC {
		c.broken = true
		row := judge(facts{subject: older, rest: restBytes})
		c.v.add(Finding{
			File: segment.Name(l.id), Segment: l.id, Offset: c.at.offset, FirstSeq: c.at.seq + 1, LastSeq: next.LastSeq,
			Reason: row.label, Err: (&replay{scan: c.scan}).fault(l.end()),
		})
		return nil
	}
	return c.endFooter()
}

// endNewest gives the end of the log its verdict. Beside a writer the file grows, and another one may follow.
func (c *segmentCheck) endNewest(ctx context.Context, i int) error {
	covered, err := c.checkBlocks()
	if err != nil {
		return err
	}
	for {
		t := &tail{
			replay: &replay{scan: c.scan, cover: covered, file: c.file, size: c.size},
			link:   c.link, facts: facts{subject: newest},
		}
		if err := c.v.examine(t); err != nil {
			return c.v.found(err)
		}
		t.verdict = judge(t.facts)
		refusal := c.v.refusal(t)
		if refusal == nil {
			c.v.end = &logEnd{c.link, min(t.durable, t.at.offset), t.facts.doubt == unused}
			c.noteTail(t)
			return c.v.found(c.v.checkProofs(t))
		}
		before := c.at
		if err := c.read(ctx, before); err != nil || c.broken {
			return err
		}
		if c.at != before {
			continue
		}
		followed, err := c.v.followed(i)
		if err != nil {
			return err
		}
		if !followed {
			c.broken = true
			return c.v.found(refusal)
		}
		return c.endOlder()
	}
}

// checkBlocks checks every page of the index blocks of a segment without a footer, and returns what they say was
// durable: a cover without runs. Blocks are a cache: what is wrong with them is a note.
func (c *segmentCheck) checkBlocks() (*cover, error) {
	h := &c.link.header
	blocks, err := readCover(c.v.dir, nil, h, c.size)
	if err != nil {
		return noCover(h), c.v.found(err)
	}
	defer blocks.close()
	note := func(err error) {
		c.v.note(Finding{File: segment.BlockName(c.link.id), Segment: c.link.id, Reason: "index blocks, which the next open replays", Err: err})
	}
	if blocks.reason != nil {
		note(blocks.reason)
	}
	for _, r := range blocks.runs {
		err := r.Guarded(func() error {
			foot, err := r.Footer()
			if err != nil {
				return err
			}
			return foot.VerifyAll()
		})
		if err != nil {
			note(err)
		}
	}
	none := noCover(h)
	none.at = blocks.at
	return none, nil
}

// noteTail notes what recovery would cut.
func (c *segmentCheck) noteTail(t *tail) {
	if t.facts.rest < restBytes && t.facts.batch == whole {
		return
	}
	f := Finding{
		File: segment.Name(c.link.id), Segment: c.link.id, Offset: c.at.offset,
		Reason: fmt.Sprintf("%s: %d bytes, which the next open cuts", t.verdict.label, t.torn),
	}
	if fault := c.frames.Fault(); fault != nil {
		f.Err = fault
	}
	c.v.note(f)
}

// followed looks for a segment that was made since the directory was listed and continues links[i].
func (v *verifier) followed(i int) (bool, error) {
	l, err := list(v.dir)
	if err != nil {
		return false, v.found(err)
	}
	for _, file := range l.segments {
		next := &link{segmentFile: file}
		if file.id <= v.chain.links[i].id || next.read(v.dir, v.meta.Store) != nil || next.broken != nil {
			continue
		}
		if next.header.Previous == v.chain.links[i].id && rangeHolds(&next.header) == "" {
			v.chain.links = append(v.chain.links, next)
			v.chain.links[i].next = &next.header
			return true, nil
		}
	}
	return false, nil
}
