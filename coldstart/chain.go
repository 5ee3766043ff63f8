package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A link is one segment, and what the header of the next one says about its end.
type link struct {
	segmentFile
	header segment.Header
	broken error           // why header does not decode; nil when it does
	next   *segment.Header // nil for the newest segment
	listed bool            // by an image: header is what that says, and has no range
}

// end returns where the frames of an older segment end.
func (l *link) end() int64 { return l.next.End }

// events returns how many events an older segment holds.
func (l *link) events() uint64 { return l.next.TreeSize - l.header.TreeSize }

// A chain is the log as its headers tell it: each segment names the one before.
type chain struct {
	links  []*link // ascending; every one but the last has next set
	broken []*link // files that no header names and whose own does not decode; next is set when a newer segment is there
}

// newest returns the segment that the log ends in, or nil.
func (c *chain) newest() *link {
	if len(c.links) == 0 {
		return nil
	}
	return c.links[len(c.links)-1]
}

// older returns all segments but the newest.
func (c *chain) older() []*link { return c.links[:max(0, len(c.links)-1)] }

// readChain reads the headers of files and joins them, to each other and to the segments below, which are known. It reads
// nothing else, and leaves the file open that keep asks for; nil asks for none.
//
// Errors: *[FutureError]; *[CorruptError] for a header that is missing, foreign, or does not continue the one before;
// I/O errors.
func readChain(ctx context.Context, dir vfs.Dir, store [16]byte, below []*link, files []segmentFile, keep *kept) (*chain, error) {
	links := append(below, make([]*link, len(files))...)
	read := links[len(below):]
	err := each(ctx, len(files), func(i int) error {
		read[i] = &link{segmentFile: files[i]}
		return read[i].readKept(dir, store, keep)
	})
	if err != nil {
		return nil, err
	}
	c := &chain{links: links}
	c.setAside(len(links), 0)
	return c, c.join(len(below))
}

// setAside takes the files below links[i] out whose headers do not decode, as long as their numbers are above
// previous: nobody names them. It returns where links[i] then stands.
func (c *chain) setAside(i int, previous uint64) int {
	for i > 0 && c.links[i-1].broken != nil && c.links[i-1].id > previous {
		l := c.links[i-1]
		if i < len(c.links) {
			l.next = &c.links[i].header
		}
		c.broken = append(c.broken, l)
		i--
		c.links = slices.Delete(c.links, i, i+1)
	}
	return i
}

// A kept is the file of one segment that is left open, for reading and writing, when its header has been read: everybody
// who needs it during the open, and afterwards, shares it.
type kept struct {
	id   uint64 // of the segment; 0 for none
	file *vfs.Shared
}

// first opens the file of segment id for who reads its header: for writing, too, if it is the one to be kept. Who needs it
// for that finds out himself when that cannot be.
func (k *kept) first(dir vfs.Dir, id uint64) (vfs.File, error) {
	name := segment.Name(id)
	if k != nil && k.id == id && k.file == nil {
		if f, err := dir.OpenWrite(name); err == nil {
			k.file = vfs.Share(f)
			return k.file.Hold(), nil
		}
	}
	f, err := dir.OpenRead(name)
	if err != nil {
		return nil, fmt.Errorf("open segment %06d: %w", id, err)
	}
	return f, nil
}

// has reports whether the file of segment id was kept.
func (k *kept) has(id uint64) bool { return k != nil && k.id == id && k.file != nil }

// open returns the file of segment id: the one that was kept, or another one.
func (k *kept) open(dir vfs.Dir, id uint64) (vfs.File, error) {
	if k.has(id) {
		return k.file.Hold(), nil
	}
	f, err := dir.OpenRead(segment.Name(id))
	if err != nil {
		return nil, fmt.Errorf("open segment %06d: %w", id, err)
	}
	return f, nil
}

// close gives up the file: others may still hold it.
func (k *kept) close() {
	if k.file != nil {
		k.file.Close()
		k.file = nil
	}
}

// read reads and decodes the header.
func (l *link) read(dir vfs.Dir, store [16]byte) error { return l.readKept(dir, store, nil) }

// readKept is read that leaves the file to keep.
func (l *link) readKept(dir vfs.Dir, store [16]byte, keep *kept) error {
	f, err := keep.first(dir, l.id)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, segment.MaxHeaderLen)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read segment %06d: %w", l.id, err)
	}
	l.header, err = segment.DecodeHeader(b[:n], l.id)
	switch {
	case errors.Is(err, segment.ErrFuture):
		return &FutureError{File: segment.Name(l.id), Err: err}
	case err == nil && l.header.Store != store:
		err = ErrForeign
	}
	if errors.Is(err, segment.ErrForeign) || errors.Is(err, ErrForeign) {
		v := judge(facts{header: foreign})
		return corrupt(l.id, 0, l.header.FirstSeq, 0, v.label, errors.Join(ErrForeign, err))
	}
	l.broken = err
	return nil
}

// join follows the chain from the newest segment to the first one that is not known.
func (c *chain) join(known int) error {
	for i := len(c.links) - 1; i >= known; i-- {
		l := c.links[i]
		if l.broken != nil {
			v := judge(facts{subject: older, header: broken})
			return corrupt(l.id, 0, c.firstSeqBelow(i), l.next.LastSeq, v.label, l.broken)
		}
		if reason := rangeHolds(&l.header); reason != "" {
			return corrupt(l.id, 0, l.header.FirstSeq, 0, reason, nil)
		}
		i = c.setAside(i, l.header.Previous)
		if l.header.Previous == 0 && i == 0 {
			return nil
		}
		if err := c.fits(i); err != nil {
			return err
		}
		c.links[i-1].next = &l.header
	}
	return nil
}

// fits checks that links[i] continues links[i-1].
func (c *chain) fits(i int) error {
	h := &c.links[i].header
	switch {
	case h.Previous == 0:
		below := c.links[i-1]
		v := judge(facts{subject: offChain})
		return corrupt(below.id, 0, below.header.FirstSeq, 0, v.label, nil)
	case i == 0 || c.links[i-1].id < h.Previous:
		v := judge(facts{header: sound, link: unlinked})
		return corrupt(h.Previous, 0, c.firstSeqBelow(i), h.LastSeq, v.label,
			fmt.Errorf("segment %06d continues %s, which is missing", h.Segment, segment.Name(h.Previous)))
	case c.links[i-1].id > h.Previous:
		below := c.links[i-1]
		v := judge(facts{subject: offChain})
		return corrupt(below.id, 0, below.header.FirstSeq, 0, v.label,
			fmt.Errorf("segment %06d continues %06d", h.Segment, h.Previous))
	case c.links[i-1].broken != nil:
		return nil // join says so, and knows what is lost
	}
	if reason := continues(c.links[i-1], h); reason != "" {
		v := judge(facts{subject: older, link: unlinked})
		p := &c.links[i-1].header
		return corrupt(p.Segment, min(h.End, c.links[i-1].size), p.FirstSeq, h.LastSeq, v.label,
			fmt.Errorf("segment %06d: %s", h.Segment, reason))
	}
	return nil
}

// firstSeqBelow returns the first sequence that may be in what is missing below links[i].
func (c *chain) firstSeqBelow(i int) uint64 {
	for i--; i >= 0; i-- {
		if c.links[i].broken == nil {
			return c.links[i].header.FirstSeq
		}
	}
	return 1
}

// rangeHolds says what in a header contradicts itself, or "".
func rangeHolds(h *segment.Header) string {
	tree, ok := merkle.NewRange(h.TreeSize, h.Range)
	if !ok || tree.Root() != h.Root {
		return "root hash of the header"
	}
	if h.FirstSeq != h.LastSeq+1 && !h.Recovered {
		return "gap in front of the first sequence"
	}
	return ""
}

// continues says why next cannot be the header of the segment behind p, or "".
func continues(p *link, next *segment.Header) string {
	h := &p.header
	events := next.TreeSize - h.TreeSize
	switch {
	case next.End < h.Len() || next.End > p.size:
		return fmt.Sprintf("names end %d of a file of %d bytes", next.End, p.size)
	case next.TreeSize < h.TreeSize || next.LastSeq < h.LastSeq || next.LastHLC < h.LastHLC:
		return "is behind the segment that it continues"
	case events == 0 && (next.LastSeq != h.LastSeq || next.Root != h.Root),
		events > 0 && next.LastSeq-h.FirstSeq != events-1:
		return fmt.Sprintf("names %d events up to sequence %d", events, next.LastSeq)
	}
	return ""
}
