package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"batpak/event"
	"batpak/fault"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// An indexer keeps the index blocks of the active segment. Safe for concurrent use.
type indexer struct {
	mu        sync.Mutex
	header    *segment.Header
	at        mark // behind the last covered frame
	stretches []stretch
	size      int64    // of the sound part of the file
	torn      bool     // something stands behind that, or another file has the name
	file      vfs.File // nil until the first block
	dropped   uint64   // blocks of segments up to this one are gone for good

	// What one block leaves for the next.
	copier  index.Copier
	builder *segment.FooterBuilder
	block   []byte
}

// followLocked makes ix keep the blocks of the segment with header h from the end of c on.
func (ix *indexer) followLocked(h *segment.Header, c *cover) {
	ix.closeLocked()
	ix.header, ix.at, ix.stretches, ix.size, ix.torn = h, c.at, c.stretches, c.size, c.torn
}

// close ends ix; a block that is being written is finished first.
func (ix *indexer) close() error {
	ix.mu.Lock()
	defer ix.mu.Unlock()
	ix.header = nil
	return ix.closeLocked()
}

func (ix *indexer) closeLocked() error {
	f := ix.file
	ix.file = nil
	if f == nil {
		return nil
	}
	return f.Close()
}

// continueBlocks makes the index blocks of the active segment go on where t ends, if t is that segment.
func (s *State) continueBlocks(t *tail) {
	h := s.Writer.Header()
	c := noCover(h)
	if t != nil && t.header.Segment == h.Segment {
		c = t.cover
	}
	s.indexer.mu.Lock()
	defer s.indexer.mu.Unlock()
	s.indexer.followLocked(h, c)
	s.indexed.Store(&segment.Pos{Segment: h.Segment, Offset: c.at.offset})
}

// Uncovered returns how many bytes of w are durable and not covered by an index block. Safe for concurrent use.
func (s *State) Uncovered(w *segment.Writer) int64 {
	covered := w.Header().Len()
	if p := s.indexed.Load(); p != nil && p.Segment == w.Header().Segment {
		covered = p.Offset
	}
	if planted.On(planted.BlockBeforeSync) {
		return w.Written() - covered
	}
	return w.Durable() - covered
}

// IndexBlock writes an index block for what is durable of the segment that w writes: durable is the last sequence that
// is. It is made from the index in memory, or from the frames where that does not reach. The committer goes on beside it. An open after a crash then replays what
// comes behind the block only. A failed IndexBlock costs time at the next Open and nothing else.
//
// The block ends where the Merkle tree was folded to, so that it carries the tree and nothing is hashed twice; what is
// durable and not folded yet is for the next one.
//
// Errors: the context's; *[CorruptError] when the frames are not what was written; I/O errors.
func (s *State) IndexBlock(ctx context.Context, w *segment.Writer, durable uint64) error {
	ix := &s.indexer
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if id := w.Header().Segment; ix.header == nil || id <= ix.dropped {
		return nil
	} else if ix.header.Segment != id { // begun by this process
		ix.followLocked(w.Header(), noCover(w.Header()))
	}
	h := ix.header
	if planted.On(planted.BlockBeforeSync) {
		durable = h.FirstSeq + s.Folder.Len() - h.TreeSize - 1
	}
	if durable < h.FirstSeq {
		return nil
	}
	tree, ok := s.Folder.At(h.TreeSize + durable - h.FirstSeq + 1)
	if !ok || h.FirstSeq+tree.Size()-h.TreeSize <= ix.at.seq+1 {
		return nil
	}
	until := w.Durable()
	if planted.On(planted.BlockBeforeSync) {
		until = w.Written()
	}
	from, n := ix.absorb(until, s.cfg.IndexEvery)
	block, end, err := s.buildBlock(ctx, h, from, until, tree)
	if err == nil && block != nil {
		err = ix.append(s.Dir, block)
	}
	if err != nil {
		return fmt.Errorf("index block of segment %06d: %w", h.Segment, err)
	}
	if block == nil {
		return nil
	}
	ix.at = end
	ix.stretches = append(ix.stretches[:n], stretch{from, end})
	s.indexed.Store(&segment.Pos{Segment: h.Segment, Offset: end.offset})
	return s.cfg.Hook.Hit(fault.Site{Point: fault.BlockWritten, Segment: h.Segment, Seq: end.seq})
}

// absorb returns where the next block is to start, and how many stretches stay in front of it: it takes in those that
// cover less than it would and less than most, so that there are few of them however often a store is opened and closed.
func (ix *indexer) absorb(until, most int64) (from mark, n int) {
	from, n = ix.at, len(ix.stretches)
	for n > 0 {
		s := &ix.stretches[n-1]
		if size := s.end.offset - s.from.offset; size > until-from.offset || size >= most {
			break
		}
		from, n = s.from, n-1
	}
	return from, n
}

// buildBlock encodes the block that covers the events behind from up to the last leaf of tree. It returns nil when not
// all of them stand in front of until. The block is valid until the next one.
func (s *State) buildBlock(ctx context.Context, h *segment.Header, from mark, until int64, tree merkle.Range) ([]byte, mark, error) {
	ix := &s.indexer
	last := h.FirstSeq + tree.Size() - h.TreeSize - 1
	end, frames, ok := s.copyStretch(&ix.copier, ix.builderFor(h), h, from, last, 0)
	if !ok {
		return s.readBlock(ctx, h, from, until, tree)
	}
	if end.offset > until {
		return nil, mark{}, nil
	}
	block, err := ix.builder.FinishBlock(ix.block[:0], from.offset, segment.FooterEnd{
		Frames: frames, End: end.offset, TreeSize: tree.Size(), Root: tree.Root(), Range: tree.Hashes(),
	})
	ix.block = block
	return block, end, err
}

// builderFor returns the indexer's builder, empty.
func (ix *indexer) builderFor(h *segment.Header) *segment.FooterBuilder {
	if ix.builder == nil {
		ix.builder = segment.NewFooterBuilder(h)
	} else {
		ix.builder.Reset(h)
	}
	return ix.builder
}

// readBlock is buildBlock from the frames.
func (s *State) readBlock(ctx context.Context, h *segment.Header, from mark, until int64, tree merkle.Range) ([]byte, mark, error) {
	f, err := s.Dir.OpenRead(segment.Name(h.Segment))
	if err != nil {
		return nil, mark{}, err
	}
	defer f.Close()
	b := s.indexer.builderFor(h)
	sc := newScan(f, h, from, until, until)
	sc.most = h.FirstSeq + tree.Size() - h.TreeSize - 1 - from.seq
	sc.each = func(r *event.Raw, offset, length uint32) error { return b.Add(r, offset, length) }
	if err := sc.run(ctx); err != nil {
		return nil, mark{}, err
	}
	if sc.events != sc.most || sc.half() {
		return nil, mark{}, nil
	}
	block, err := b.FinishBlock(nil, from.offset, segment.FooterEnd{
		Frames: sc.count, End: sc.at.offset, TreeSize: tree.Size(), Root: tree.Root(), Range: tree.Hashes(),
	})
	return block, sc.at, err
}

// append writes block behind the sound part of the file.
func (ix *indexer) append(dir vfs.Dir, block []byte) error {
	if ix.file == nil {
		if err := ix.open(dir); err != nil {
			return err
		}
	}
	if _, err := ix.file.WriteAt(block, ix.size); err != nil {
		ix.torn = true
		return errors.Join(err, ix.closeLocked())
	}
	ix.size += int64(len(block))
	return nil
}

// open opens the file for appending. What does not hold of an earlier one is left behind: never written over, since
// somebody may have it mapped.
func (ix *indexer) open(dir vfs.Dir) (err error) {
	name := segment.BlockName(ix.header.Segment)
	switch {
	case ix.torn:
		ix.file, err = ix.renew(dir, name)
	case ix.size == 0:
		if ix.file, err = dir.Create(name); errors.Is(err, fs.ErrExist) {
			ix.file, err = ix.renew(dir, name)
		}
	default:
		ix.file, err = dir.OpenWrite(name)
	}
	return err
}

// renew puts a copy of the sound part of the file in its place.
func (ix *indexer) renew(dir vfs.Dir, name string) (vfs.File, error) {
	if err := dir.Remove(name + tempSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dst, err := dir.Create(name + tempSuffix)
	if err != nil {
		return nil, err
	}
	if ix.size > 0 {
		var src vfs.File
		if src, err = dir.OpenRead(name); err == nil {
			_, err = io.Copy(io.NewOffsetWriter(dst, 0), io.NewSectionReader(src, 0, ix.size))
			err = errors.Join(err, src.Close())
		}
	}
	if err = errors.Join(err, dst.Close()); err != nil {
		return nil, err
	}
	if err := dir.Rename(name+tempSuffix, name); err != nil {
		return nil, err
	}
	ix.torn = false
	return dir.OpenWrite(name)
}

// dropBlocks removes the index blocks of a segment that has its footer. A failure leaves them for the next open.
func (s *State) dropBlocks(id uint64) {
	s.indexer.mu.Lock()
	defer s.indexer.mu.Unlock()
	s.indexer.dropped = max(s.indexer.dropped, id)
	if err := s.Dir.Remove(segment.BlockName(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.cfg.Logger.Warn("remove index blocks", "segment", id, "err", err)
	}
}
