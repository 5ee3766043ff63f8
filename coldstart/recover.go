package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"

	"batpak/event"
	"batpak/fault"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// Recovery in a writable open. Every step leaves a directory that opens again, to the same log, whatever the next step
// does:
//
//	check what is in doubt     changes nothing; the last chance to refuse
//	remove left-overs          nobody reads them
//	quarantine                 the file was not part of the log; its number is never used again
//	move what is in doubt      the copy is whole and durable before it gets its name, and its header, by being there,
//	                           ends the segment before it
//	renew an unused segment    the copy is whole and durable before it takes the name of what it was copied from
//	new segment                as a rotation; a crash leaves a file to quarantine, or to renew

// A survey is everything that an open has found out before it changes anything.
type survey struct {
	runs   []olderRun
	tail   *tail // nil when there is no segment
	broken []*link
	hidden visibility
	keys   *idemp.Table // of evicted events; nil when there is none
}

func (v *survey) close() {
	closeRuns(v.runs)
	if v.keys != nil {
		v.keys.Close()
	}
	if v.tail != nil {
		v.tail.close()
	}
}

// tidy removes left-overs of crashed replacements and takes broken files out of the log.
func (o *opener) tidy(s *State, v *survey) error {
	for _, name := range o.listing.leftovers {
		if err := o.discard(s, name); err != nil {
			return fmt.Errorf("remove left-over %s: %w", name, err)
		}
		o.report.Removed = append(o.report.Removed, name)
	}
	for _, id := range o.listing.blocks {
		if o.needsBlocks(v, id) {
			continue
		}
		if err := o.discard(s, segment.BlockName(id)); err != nil {
			return fmt.Errorf("remove index blocks: %w", err)
		}
		o.report.Removed = append(o.report.Removed, segment.BlockName(id))
	}
	for i := range v.broken {
		name := segment.Name(v.broken[i].id)
		if err := o.dir.Rename(name, name+quarantineSuffix); err != nil {
			return fmt.Errorf("quarantine %s: %w", name, err)
		}
		o.report.Quarantined = append(o.report.Quarantined, name+quarantineSuffix)
	}
	if len(v.broken) == 0 {
		return nil
	}
	// Else the broken file could come back beside a segment that was made after this.
	if err := o.dir.Sync(); err != nil {
		return fmt.Errorf("quarantine: %w", err)
	}
	return nil
}

// discard removes a file. Where the system lets it the file's bytes are given back when s.Sweep closes it: freeing a whole
// segment takes longer than the rest of an open.
func (o *opener) discard(s *State, name string) error {
	f, err := o.dir.OpenRead(name)
	if err != nil {
		return o.dir.Remove(name)
	}
	if err := o.dir.Remove(name); err != nil {
		return errors.Join(f.Close(), o.dir.Remove(name)) // not of an open file, then
	}
	s.discarded = append(s.discarded, f)
	return nil
}

// needsBlocks reports whether segment id is in the log and has no footer.
func (o *opener) needsBlocks(v *survey, id uint64) bool {
	if v.tail != nil && v.tail.link.id == id {
		return true
	}
	for i := range v.runs {
		if v.runs[i].link.id == id {
			return v.runs[i].frames != nil
		}
	}
	return false
}

// settle puts into t.kept what is to stay of the newest segment where it is, and checks the rest. It changes nothing on
// disk: it can still refuse.
//
// Errors: *[CorruptError]; I/O errors.
func (o *opener) settle(ctx context.Context, s *State, t *tail) error {
	t.kept = t.replay
	if t.verdict.do != actMove || t.at.offset <= t.durable {
		return nil
	}
	kept, err := o.replay(ctx, t.header, t.at.offset, t.durable)
	if err != nil {
		return err
	}
	t.kept = kept
	s.Set.Replace([]uint64{t.link.id})
	kept.join(s.Set)
	return verifyDoubtful(ctx, s.Set, kept, t)
}

// proceed carries out the verdict on the end of the log and makes s ready for appends.
func (o *opener) proceed(ctx context.Context, s *State, t *tail) error {
	if t == nil {
		return o.startLog(s)
	}
	var err error
	switch t.verdict.do {
	case actResume:
		s.Writer, err = o.resume(t)
		if t.unseen {
			s.unseen = t.link.id
		}
	case actRenew:
		err = o.renew(ctx, s, t)
	case actMove:
		err = o.move(ctx, s, t)
	default:
		panic("coldstart: verdict " + t.verdict.label + " does not end in a writer")
	}
	if err != nil {
		return err
	}
	return o.skipSequences(s, t)
}

// resume opens the newest segment to go on in it.
func (o *opener) resume(t *tail) (*segment.Writer, error) {
	if !o.kept.has(t.link.id) {
		return segment.Resume(o.dir, t.header, t.at.offset, o.cfg.SegmentSize, o.cfg.FillAhead)
	}
	return segment.ResumeFile(o.dir, o.kept.file.Hold(), t.header, t.at.offset, o.cfg.SegmentSize, o.cfg.FillAhead)
}

// startLog makes the first segment.
func (o *opener) startLog(s *State) error {
	if !o.created {
		// Nothing says that whoever made the identity has seen its sync succeed.
		if err := createMeta(o.dir, &o.meta); err != nil {
			return err
		}
	}
	tree := s.Folder.Cut()
	h := s.header(0, mark{}, &tree, 1)
	s.NextSeq = h.FirstSeq
	var err error
	s.Writer, s.Active, err = s.create(&h)
	if err != nil {
		return err
	}
	s.Set.Rotate(s.Active)
	s.older.push(&h)
	return nil
}

// move ends the newest segment at its last proven frame, or at its last frame where all are proven, and goes on in a
// new file: with a copy of the frames in doubt, if there are any.
func (o *opener) move(ctx context.Context, s *State, t *tail) error {
	kept := t.kept
	tree, whole := kept.cut()
	h := s.header(t.link.id, mark{kept.at.offset, kept.lastSeq(), kept.at.hlc}, &tree, kept.at.seq+1)
	h.Recovered = true
	u := Unsealed{Header: *t.header, Next: h, Tree: whole}
	s.recut = false // the next segment's tiles begin with it
	var err error
	if kept.at.offset == t.at.offset {
		s.Folder = kept.folder
		s.Writer, s.Active, err = s.create(&h)
	} else {
		err = o.moveFrames(ctx, s, &h, kept, t)
	}
	if err != nil {
		return err
	}
	if kept.events == 0 {
		s.Set.Drop(kept.active) // the set tells runs apart by their first sequence
	}
	s.Set.Rotate(s.Active)
	s.older.push(&h)
	s.Pending = append(s.Pending, u)
	return nil
}

// lastSeq returns the last sequence of all events up to the end of the replay.
func (r *replay) lastSeq() uint64 {
	if r.total() == 0 {
		return r.header.LastSeq
	}
	return r.at.seq
}

// moveFrames makes the segment with header h of the frames of t behind kept, and opens it.
func (o *opener) moveFrames(ctx context.Context, s *State, h *segment.Header, kept *replay, t *tail) error {
	end, err := o.copyFrames(ctx, h, kept, t)
	if err != nil {
		return fmt.Errorf("move frames of segment %06d: %w", t.link.id, err)
	}
	s.highest = h.Segment
	moved, err := o.replay(ctx, h, end, wholeFile)
	if err != nil {
		return err
	}
	s.Active, s.Folder = moved.active, moved.folder
	s.Writer, err = segment.Resume(o.dir, h, end, o.cfg.SegmentSize, o.cfg.FillAhead)
	if err == nil && (moved.at.offset != end || moved.at.seq != t.at.seq) {
		panic(fmt.Sprintf("coldstart: moved frames end at %+v, want offset %d, sequence %d", moved.at, end, t.at.seq))
	}
	if err != nil {
		moved.close()
	}
	return err
}

// copyFrames writes the frames of t behind kept to a new segment with header h. It returns where the copy ends. Event, batch and fence bodies are copied
// byte by byte, so that hashes, IDs and sequences stay; marks and index blocks speak of the old file, and are left out.
func (o *opener) copyFrames(ctx context.Context, h *segment.Header, kept *replay, t *tail) (int64, error) {
	c := copier{seal: segment.NewSeal(h.Salt), buf: segment.AppendHeader(nil, h)}
	err := o.place(h.Segment, t.at.seq, func(f vfs.File) error {
		c.dst = f
		return c.copy(ctx, segment.NewScanner(kept.file, t.header, kept.at.offset, t.at.offset))
	})
	o.report.Moved += c.frames
	return c.at, err
}

// renew puts a copy of an unused segment in its place. Of what is there, bytes and name, nothing says that the sync of
// whoever made it has succeeded; the copy's does.
func (o *opener) renew(ctx context.Context, s *State, t *tail) error {
	id := t.link.id
	s.Set.Replace([]uint64{id}) // closes the file: not every system renames over an open one
	err := o.place(id, t.at.seq, func(dst vfs.File) error {
		src, err := o.dir.OpenRead(segment.Name(id))
		if err != nil {
			return err
		}
		_, err = io.Copy(io.NewOffsetWriter(dst, 0), io.NewSectionReader(src, 0, t.at.offset))
		return errors.Join(err, src.Close())
	})
	if err != nil {
		return fmt.Errorf("renew segment %06d: %w", id, err)
	}
	again, err := o.replay(ctx, t.header, t.at.offset, wholeFile)
	if err != nil {
		return err
	}
	s.Active, s.Folder = again.active, again.folder
	again.join(s.Set)
	if again.at != t.at {
		panic(fmt.Sprintf("coldstart: renewed segment ends at %+v, want %+v", again.at, t.at))
	}
	s.Writer, err = segment.Resume(o.dir, t.header, t.at.offset, o.cfg.SegmentSize, o.cfg.FillAhead)
	return err
}

// place makes the file of segment id of what write writes: whole and durable under a temporary name first, then under
// its own.
func (o *opener) place(id, seq uint64, write func(vfs.File) error) error {
	name := segment.Name(id)
	f, err := o.dir.Create(name + tempSuffix)
	if err != nil {
		return err
	}
	if err = write(f); err == nil {
		err = o.cfg.Hook.Hit(fault.Site{Point: fault.TailCopied, Segment: id, Seq: seq})
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := o.cfg.Hook.Hit(fault.Site{Point: fault.TailSynced, Segment: id, Seq: seq}); err != nil {
		return err
	}
	if err := o.dir.Rename(name+tempSuffix, name); err != nil {
		return err
	}
	if planted.On(planted.NoDirSyncAtCreate) {
		return nil
	}
	return o.dir.Sync()
}

// A copier writes frames to a new place.
type copier struct {
	seal   segment.Seal
	dst    vfs.File
	buf    []byte // not written yet
	at     int64  // offset of the first byte behind buf
	frames uint64
}

// copyBlock is how much is written at once.
const copyBlock = 1 << 20

func (c *copier) copy(ctx context.Context, src *segment.Scanner) error {
	c.at = int64(len(c.buf))
	for src.Next() {
		f := src.Frame()
		if f.Type == segment.TypeMark || f.Type == segment.TypeIndex {
			continue
		}
		c.buf = c.seal.AppendFrame(c.buf, c.at, f.Type, f.Flags, 0, f.Body)
		c.at += f.Len()
		c.frames++
		if len(c.buf) >= copyBlock {
			if err := errors.Join(ctx.Err(), c.flush()); err != nil {
				return err
			}
		}
	}
	if err := src.Err(); err != nil {
		return err
	}
	if f := src.Fault(); f != nil {
		return f
	}
	return c.flush()
}

func (c *copier) flush() error {
	_, err := c.dst.WriteAt(c.buf, c.at-int64(len(c.buf)))
	c.buf = c.buf[:0]
	return err
}

// verifyDoubtful checks the events of t behind kept as a verification would: names, fields, clocks and hash chain. The
// bytes never had a sync to vouch for them.
func verifyDoubtful(ctx context.Context, set *index.Set, kept *replay, t *tail) error {
	set.SetVisible(kept.lastSeq())
	view := set.Acquire()
	defer view.Release()
	heads := make(map[string]index.Head)
	var linker event.Linker
	var key []byte
	s := newScan(kept.file, t.header, kept.at, t.at.offset, t.at.offset)
	s.each = func(r *event.Raw, offset, _ uint32) error {
		if err := r.Check(); err != nil {
			return s.corrupt(int64(offset), "event", err)
		}
		key = append(key[:0], byte(r.Lane), byte(r.Lane>>8), byte(r.Lane>>16), byte(r.Lane>>24))
		key = append(key, r.Entity...)
		head, known := heads[string(key)]
		if !known {
			var err error
			if head, _, err = view.Head(string(r.Entity), r.Lane); err != nil {
				return err
			}
		}
		if r.Clock != head.Clock+1 || !linker.Verify(r, head.Hash) {
			return s.corrupt(int64(offset), "event does not follow its stream", nil)
		}
		heads[string(key)] = index.Head{Seq: r.Seq, Clock: r.Clock, ID: r.ID, Hash: r.Hash}
		return nil
	}
	return s.run(ctx)
}

// minFrame is the size of the smallest frame that an event can have.
const minFrame = segment.FrameHeaderLen + event.FixedLen + 2

// skipSequences gives up the sequences that a writer may have shown to somebody before a power loss took them. Only a
// relaxed writer can have: in the default mode nothing is shown before it is durable.
func (o *opener) skipSequences(s *State, t *tail) error {
	relaxed := o.signal != nil && o.signal.Relaxed
	limit := max(o.cfg.SegmentSize, t.size)
	if o.anchor != nil {
		relaxed, limit = o.anchor.Relaxed, max(limit, o.anchor.Limit)
	}
	if !relaxed || planted.On(planted.SequenceReusedAfterCut) {
		return nil
	}
	// What was lost stood in one segment: a rotation makes the segment before it durable first.
	skip := uint64((limit+minFrame-1)/minFrame) + 1
	u, err := s.rotate(s.NextSeq + skip)
	if err != nil {
		return err
	}
	s.NextSeq += skip
	s.Pending = append(s.Pending, u)
	o.report.SkippedSeqs = skip
	return nil
}
