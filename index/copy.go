package index

import (
	"fmt"
	"runtime"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A Copier makes footers from indexes in memory: of the frames it reads only those that have more than the index knows,
// and the last one of each stream, for its hash. It keeps its memory from one footer to the next. The zero Copier is
// ready; it is not safe for concurrent use.
type Copier struct {
	entities, scopes numbering
	frames           window
	raw              event.Raw
}

// A numbering is the numbers that a footer gives to what an index in memory has numbered: below the footer's number.
type numbering struct {
	of     []uint64
	footer uint32
}

// start begins another footer of an index with n names.
func (n *numbering) start(names uint32) {
	if n.footer++; n.footer == 0 {
		clear(n.of[:cap(n.of)])
		n.footer = 1
	}
	if int(names) > cap(n.of) {
		n.of = make([]uint64, names, names+names/4)
	}
	n.of = n.of[:names]
}

// number returns the number of name i of d, which is new in the footer when fresh gets called.
func (n *numbering) number(d *dict, i uint32, fresh func(name []byte) uint32) uint32 {
	at := &n.of[i]
	if uint32(*at>>32) != n.footer {
		*at = uint64(n.footer)<<32 | uint64(fresh(d.name(i)))
	}
	return uint32(*at)
}

// A Stretch is rows of an index in memory that follow one another: what a footer is made of.
type Stretch struct {
	a      *Active
	lo, hi uint32 // rows
}

// Memory returns the index in memory of the end of segment id, nil when there is none. It may be used until v is
// released.
func (v *View) Memory(id uint64) *Active {
	for i := len(v.e.memory) - 1; i >= 0; i-- {
		if a := v.e.memory[i]; a.segment == id {
			return a
		}
	}
	return nil
}

// Stretch returns the events with sequences [first, last] if all of them have been published. Safe for concurrent use.
func (a *Active) Stretch(first, last uint64) (s Stretch, ok bool) {
	t := a.open()
	if first > last || t.n == 0 || first < t.a.rows.at(0).seq || last-first >= uint64(t.n) {
		return s, false
	}
	lo, _ := t.rowOfSeq(first)
	hi := uint64(lo) + last - first + 1
	if hi > uint64(t.n) || a.rows.at(lo).seq != first || a.rows.at(uint32(hi)-1).seq != last {
		return s, false
	}
	return Stretch{a, lo, uint32(hi)}, true
}

// End returns the offset behind the last frame of s, and the stamp of its event.
func (s Stretch) End() (offset int64, hlc event.HLC) {
	r := s.a.rows.at(s.hi - 1)
	return int64(r.offset) + int64(r.length), r.hlc
}

// File returns what the frames are read from. It is open as long as the index may be used.
func (s Stretch) File() vfs.File { return s.a.file }

// yieldEvery is how many rows are copied before others may use the core: a committer that comes back from the disk must
// not wait for all of them.
const yieldEvery = 256

// Copy adds the events of s to b, which is empty. Where frames of other types may stand in front of one, in
// [from, to) of the file, it calls gap; the first event of s stands behind start.
//
// Errors: those of gap; *[segment.FrameError] for a frame that is not what the index says; I/O errors. b is then of no
// use.
func (c *Copier) Copy(b *segment.FooterBuilder, s Stretch, start int64, gap func(from, to int64) error) error {
	a := s.a
	c.entities.start(a.entities.count.Load())
	c.scopes.start(a.scopes.count.Load())
	c.frames.reset()
	defer c.frames.release()
	f := activeTable{a, s.hi}.frames()
	at, entity, scope, key := start, b.NewEntity, b.NewScope, a.keys.from(s.lo)
	for row := s.lo; row < s.hi; row++ {
		if row%yieldEvery == 0 {
			runtime.Gosched()
		}
		r := a.rows.at(row)
		if int64(r.offset) != at {
			if err := gap(at, int64(r.offset)); err != nil {
				return err
			}
		}
		at = int64(r.offset) + int64(r.length)
		next := segment.Row{
			ID: r.id, Seq: r.seq, Clock: r.clock, HLC: r.hlc, Offset: r.offset, Length: r.length, Lane: r.lane,
			Entity: c.entities.number(&a.entities, r.entity, entity),
			Scope:  c.scopes.number(&a.scopes, r.scope, scope), Kind: r.kind, Flags: r.flags,
		}
		if err := b.AddRow(&next); err != nil {
			return err
		}
		if next.OnlyKeyed() {
			key = a.keys.next(key, row)
			b.AddKey(&a.keys.entries.at(key).key)
		} else if next.Sparse() {
			raw, err := c.read(&f, r)
			if err != nil {
				return err
			}
			b.AddSparse(raw)
		}
	}
	return c.hashes(b, s, &f)
}

// hashes reads the hashes of the last event of each stream, in the order of the file.
func (c *Copier) hashes(b *segment.FooterBuilder, s Stretch, f *frames) error {
	for row := s.lo; row < s.hi; row++ {
		r := s.a.rows.at(row)
		entity := uint32(c.entities.of[r.entity])
		if row%yieldEvery == 0 {
			runtime.Gosched()
		}
		if !b.IsHead(entity, r.lane, row-s.lo) {
			continue
		}
		body, err := c.body(f, r)
		if err != nil {
			return err
		}
		hash, err := event.BodyHash(body)
		if err != nil {
			return f.malformed(int64(r.offset), err)
		}
		b.SetHash(entity, r.lane, hash)
	}
	return nil
}

// body reads and checks the frame of a row. The result is valid until the next call.
func (c *Copier) body(f *frames, r *activeRow) ([]byte, error) {
	frame, err := c.frames.ascending(f, place{r.seq, r.offset, r.length})
	if err != nil {
		return nil, err
	}
	return f.body(frame, int64(r.offset))
}

// read reads the event of a row, which is valid until the next call.
func (c *Copier) read(f *frames, r *activeRow) (*event.Raw, error) {
	body, err := c.body(f, r)
	if err != nil {
		return nil, err
	}
	off := int64(r.offset)
	if err := f.decode(&c.raw, body, off); err != nil {
		return nil, err
	}
	if c.raw.Seq != r.seq || c.raw.ID != r.id {
		return nil, fmt.Errorf("copy: %w", f.flaw(off, "event is not the index's"))
	}
	return &c.raw, nil
}
