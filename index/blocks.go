package index

import (
	"errors"
	"fmt"
	"sync/atomic"

	"batpak/internal/vfs"
	"batpak/segment"
)

// A Blocks is the file of index blocks of one segment that has no footer yet, mapped, and the segment's own file, from
// which the frames are read: the segment may still grow, and not every system cuts a mapped file. The runs made of it
// share it, and the last one to be closed closes it.
type Blocks struct {
	m      *vfs.Map
	file   vfs.File
	header *segment.Header
	seal   segment.Seal
	refs   atomic.Int32 // runs, and who opened it
}

// OpenBlocks maps the file of index blocks of the segment with header h, and takes the segment's own from open. The
// caller calls Release when it has made its runs.
//
// Errors: those of the directory; [fs.ErrNotExist] when there is no such file.
func OpenBlocks(dir vfs.Dir, h *segment.Header, open func() (vfs.File, error)) (*Blocks, error) {
	m, err := dir.Map(segment.BlockName(h.Segment))
	if err != nil {
		return nil, fmt.Errorf("map index blocks of segment %06d: %w", h.Segment, err)
	}
	f, err := open()
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	b := &Blocks{m: m, file: f, header: h, seal: segment.NewSeal(h.Salt)}
	b.refs.Store(1)
	return b, nil
}

// Len returns the length of the file.
func (b *Blocks) Len() int64 { return int64(b.m.Len()) }

// Open opens the block that starts at offset at. It must be opened under [Blocks.Guarded].
//
// Errors: *[segment.FooterError].
func (b *Blocks) Open(at int64) (*segment.Block, error) {
	block, err := segment.OpenBlock(b.m, at, b.header.Store, b.header.Segment)
	if err == nil && block.Foot.Summary().Salt != b.header.Salt {
		return nil, &segment.FooterError{
			Segment: b.header.Segment, Section: "trailer", Offset: at, Reason: "salt of another file", Err: segment.ErrForeign,
		}
	}
	return block, err
}

// ReadFrame reads from the segment that the blocks are about.
func (b *Blocks) ReadFrame(p []byte, off int64) (int, error) { return b.file.ReadAt(p, off) }

// Guarded is [vfs.Map.Guarded] of the mapped file.
func (b *Blocks) Guarded(fn func() error) error { return b.m.Guarded(fn) }

// Run returns block as a run for a [Set], which closes it.
func (b *Blocks) Run(block *segment.Block) *Sealed {
	b.refs.Add(1)
	s := &Sealed{sum: block.Foot.Summary()}
	s.mapped.Store(&mapped{m: b.m, foot: block.Foot, seal: b.seal, blocks: b})
	return s
}

// Release gives up one hold; the last one unmaps and closes.
func (b *Blocks) Release() error {
	if b.refs.Add(-1) > 0 {
		return nil
	}
	if err := errors.Join(b.m.Close(), b.file.Close()); err != nil {
		return fmt.Errorf("close index blocks of segment %06d: %w", b.header.Segment, err)
	}
	return nil
}

// block reports whether s is an index block and not a sealed segment.
func (s *Sealed) block() bool {
	mp := s.mapped.Load()
	return mp != nil && mp.blocks != nil
}
