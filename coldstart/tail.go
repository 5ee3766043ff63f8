package coldstart

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"batpak/event"
	"batpak/index"
	"batpak/internal/merkle"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A replay is one segment made readable by its frames: those behind its index blocks are read into memory.
type replay struct {
	*scan
	cover  *cover
	file   vfs.File // whose reads go on as long as active is in use
	size   int64    // of the file when the scan began
	active *index.Active
	folder *merkle.Folder // over all events up to the end of the scan
	hashes []event.Hash   // on their way to the folder, which has a lock
	fold   bool           // them as they come
}

// total returns how many events the segment has up to the end of the replay.
func (r *replay) total() uint64 { return r.cover.events(r.header) + r.events }

// close gives up what no set has taken.
func (r *replay) close() {
	r.cover.close()
	r.file.Close()
}

// join puts the replay into set, which takes it over.
func (r *replay) join(set *index.Set) {
	if len(r.cover.runs) > 0 {
		set.Add(r.cover.runs...)
	}
	set.Rotate(r.active)
}

// cut returns the tree at the end of the replay, nil when its tiles are not all there: those that the covered events
// completed are not.
func (r *replay) cut() (tree merkle.Tree, whole *merkle.Tree) {
	tree = r.folder.Cut()
	if len(r.cover.runs) > 0 {
		return tree, nil
	}
	return tree, &tree
}

// wholeFile is the until of a scan that ends where the frames end.
const wholeFile = math.MaxInt64

// newReplay reads the frames of the segment with header h, of which none lies behind limit, up to until. On an error nothing
// stays open but file, which it uses if that is the segment's. Without blocks it reads all of them; with, those behind the
// index blocks.
func newReplay(ctx context.Context, dir vfs.Dir, file *kept, h *segment.Header, limit, until int64, blocks bool) (*replay, error) {
	f, err := file.open(dir, h.Segment)
	if err != nil {
		return nil, err
	}
	size, err := vfs.OpenSize(f)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open segment %06d: %w", h.Segment, err)
	}
	c := noCover(h)
	if blocks {
		if c, err = readCover(dir, file, h, min(size, limit, until)); err != nil {
			f.Close()
			return nil, err
		}
	}
	r := &replay{
		scan: newScan(f, h, c.at, min(size, limit), until), cover: c,
		file: f, size: size, active: index.NewActiveFrom(h, c.at.seq+1, f), folder: merkle.NewFolder(c.tree),
		fold: until != wholeFile, // an end that is known has a root that is known
	}
	if err := r.read(ctx); err != nil {
		r.close()
		return nil, err
	}
	r.active.Publish()
	return r, nil
}

// read runs the scan and puts what it finds into memory, where nobody sees it before it is published.
func (r *replay) read(ctx context.Context) error {
	r.each = r.index
	var behind *ahead
	if !r.fold { // the others are read several at once
		behind = decodeAhead(r.scan, r.size-r.at.offset, r.index)
	}
	err := r.run(ctx)
	if behind != nil {
		err = behind.wait(err)
	}
	if err != nil {
		return err
	}
	r.takeHashes()
	return nil
}

// index takes the next event.
func (r *replay) index(raw *event.Raw, offset, length uint32) error {
	if err := r.active.Add(raw, offset, length); err != nil {
		return corrupt(r.header.Segment, int64(offset), raw.Seq, 0, "event does not follow its stream", err)
	}
	if r.hashes == nil {
		r.hashes = make([]event.Hash, 0, 256) // taken together: the folder has a lock
	}
	if r.hashes = append(r.hashes, raw.Hash); len(r.hashes) == cap(r.hashes) {
		r.takeHashes()
	}
	return nil
}

// takeHashes gives the folder what has come together. It folds it at once where the tree will be asked for in any case.
func (r *replay) takeHashes() {
	r.folder.Take(r.hashes...)
	r.hashes = r.hashes[:0]
	if r.fold && r.folder.Pending() >= foldEvery {
		r.folder.Fold()
	}
}

// foldEvery is how many hashes of an older segment are folded together, so that they are still in the cache.
const foldEvery = 8192

// replay is newReplay with the index blocks, unless they were found damaged.
func (o *opener) replay(ctx context.Context, h *segment.Header, limit, until int64) (*replay, error) {
	return newReplay(ctx, o.dir, &o.kept, h, limit, until, !o.distrusted[h.Segment])
}

// A proof is the highest place that is known to have been durable, and how it is known.
type proof struct {
	segment.Pos
	seq      uint64
	evidence string
}

// A tail is the newest segment, and what is to become of it.
type tail struct {
	*replay
	link    *link
	facts   facts
	verdict *verdict
	kept    *replay // what recovery leaves where it is; set by settle

	unseen  bool   // nobody has looked far behind the end: see peek
	durable int64  // D: highest offset that is proven to have been durable
	torn    int64  // bytes behind the end that are no frame, zeroes not counted
	lost    uint64 // valid frames behind a hole
}

// readTail reads the newest segment and judges its end. On an error nothing stays open.
func (o *opener) readTail(ctx context.Context, l *link) (*tail, error) {
	r, err := o.replay(ctx, &l.header, wholeFile, wholeFile)
	if err != nil {
		return nil, err
	}
	t := &tail{replay: r, link: l, facts: facts{subject: newest}}
	err = o.examine(t)
	if err == nil {
		err = o.moved(t)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	t.verdict = judge(t.facts)
	return t, nil
}

// examine finds the facts about the end of t.
func (o *opener) examine(t *tail) error {
	t.durable = t.marked()
	// A writer's marks begin behind the header, recovery's copies have none; a block is made of what is durable.
	used := int64(t.through) >= t.header.Len() || len(t.cover.runs) > 0
	if o.sawItWritten(t) {
		if err := t.peek(); err != nil {
			return err
		}
	}
	if !t.unseen {
		if err := t.examineRest(); err != nil {
			return err
		}
	}
	if o.lock == nil {
		if err := o.excuse(t); err != nil {
			return err
		}
	}
	if t.half() {
		t.facts.batch = half
	}
	if t.durable > t.at.offset {
		t.facts.proof = marked
	}
	for _, p := range o.proofs {
		if p.Segment != t.link.id {
			continue
		}
		used = true
		if t.durable = max(t.durable, p.Offset); p.Offset > t.at.offset && t.facts.proof == below {
			t.facts.proof = anchored
		}
	}
	switch {
	case !used && t.facts.rest == restEnd && !t.half():
		t.facts.doubt = unused
	case t.at.offset > t.durable:
		t.facts.doubt = doubtful
	}
	if t.facts.rest == restBytes {
		var err error
		if t.facts.footer, err = o.footerOf(t); err != nil {
			return err
		}
	}
	t.plantBugs()
	return nil
}

// marked returns the highest offset that the frames and the index blocks say was durable.
func (t *tail) marked() int64 { return max(t.cover.at.offset, int64(t.through)) }

// sawItWritten reports whether the system that runs has seen all of t written: then it shows what was written, in the
// order in which it was, synced or not.
func (o *opener) sawItWritten(t *tail) bool {
	return o.lock != nil && o.cfg.FS == vfs.OS && o.signal != nil && o.signal.Boot != 0 && o.signal.Boot == vfs.BootID() &&
		o.signal.Durable.Segment == t.link.id && t.frames.Fault() != nil && !t.half()
}

// peekLen is how far peek looks.
const peekLen = 64 << 10

// peek looks at the first bytes behind the frames only. When they are zeroes where frames are written one behind the
// other, nothing was written behind them either: a segment's zeroes are many megabytes, and reading them takes longer
// than the rest of the open. A disk that failed may have taken them back, and left what came later: [State.Ahead] looks
// at the rest when the store is open.
func (t *tail) peek() error {
	b := make([]byte, min(peekLen, max(0, t.size-t.stop)))
	if n, err := t.file.ReadAt(b, t.stop); n < len(b) {
		return fmt.Errorf("read segment %06d: %w", t.link.id, err)
	}
	if len(bytes.Trim(b, "\x00")) == 0 {
		t.facts.rest, t.unseen = restZeroes, t.size-t.stop > peekLen
	}
	return nil
}

// Ahead looks for bytes behind everything that w has written that are not zero, from offset from on. It is for the
// background after an open, beside the committer: what it finds may just be written by that, and is to be compared with
// End when the committer rests. What is there all the same is what a failed disk has left of an earlier end of the log:
// the segment must be ended in front of it, by a rotation. found is false when there is nothing, or all of it was seen.
//
// Errors: the context's; I/O errors.
func (s *State) Ahead(ctx context.Context, w *segment.Writer, from int64) (at int64, found bool, err error) {
	if id := w.Header().Segment; id != s.unseen {
		return 0, false, nil
	}
	f, err := s.Dir.OpenRead(segment.Name(s.unseen))
	if err != nil {
		return 0, false, fmt.Errorf("look ahead in segment %06d: %w", s.unseen, err)
	}
	defer f.Close()
	size, err := f.Size()
	const step = 1 << 20
	for off := max(from, w.Written()); err == nil && off < size; off += step {
		if err = ctx.Err(); err != nil {
			break
		}
		var last int64
		start := max(off, w.Written())
		if start >= min(off+step, size) {
			continue
		}
		last, err = lastNonZero(f, start, min(off+step, size))
		if err == nil && last > start && last > w.Written() {
			return last, true, nil
		}
	}
	if err != nil {
		return 0, false, fmt.Errorf("look ahead in segment %06d: %w", s.unseen, err)
	}
	return 0, false, nil
}

// examineRest looks at what stands behind the frames.
func (t *tail) examineRest() error {
	if t.frames.Fault() == nil {
		return nil
	}
	last, err := lastNonZero(t.file, t.stop, t.size)
	if err != nil {
		return fmt.Errorf("read segment %06d: %w", t.link.id, err)
	}
	if t.half() {
		t.torn = max(last, t.stop) - t.at.offset
	} else {
		t.torn = last - t.stop
	}
	if last == t.stop {
		t.facts.rest = restZeroes
		return nil
	}
	t.facts.rest = restBytes
	err = t.frames.Resync(func(f *segment.Frame) bool {
		t.facts.rest = restFrames
		t.lost++
		t.durable = max(t.durable, int64(f.Through))
		return true
	})
	if err != nil {
		return fmt.Errorf("read segment %06d: %w", t.link.id, err)
	}
	return nil
}

// movedOn reports whether a frame now stands where the scan ended: a writer is at work. Everything behind a frame is
// written after it, so this is to be called when what is behind has been looked at.
func (t *tail) movedOn() bool {
	return t.facts.rest >= restBytes && segment.NewScanner(t.file, t.header, t.stop, t.size).Next()
}

// zeroes is what lastNonZero compares with.
var zeroes [4096]byte

// trimZeroes returns b without the zeroes at its end.
func trimZeroes(b []byte) []byte {
	for len(b) >= len(zeroes) && bytes.Equal(b[len(b)-len(zeroes):], zeroes[:]) {
		b = b[:len(b)-len(zeroes)]
	}
	for len(b) >= 8 && binary.LittleEndian.Uint64(b[len(b)-8:]) == 0 {
		b = b[:len(b)-8]
	}
	for len(b) > 0 && b[len(b)-1] == 0 {
		b = b[:len(b)-1]
	}
	return b
}

// lookAlone is how many bytes one goroutine looks through for the last that is not zero before others help: a segment that
// has hardly begun holds zeroes up to its full size, and copying them out of the page cache is most of the work.
const lookAlone = 4 << 20

// lastNonZero returns the offset behind the last byte in [from, to) that is not zero, from when there is none.
func lastNonZero(src io.ReaderAt, from, to int64) (int64, error) {
	parts := min((to-from)/lookAlone+1, int64(runtime.GOMAXPROCS(0)))
	if parts == 1 {
		return lastNonZeroIn(src, from, to)
	}
	lasts, group := make([]int64, parts), new(errgroup.Group)
	for i := range parts {
		group.Go(func() (err error) {
			start, end := from+(to-from)*i/parts, from+(to-from)*(i+1)/parts
			if lasts[i], err = lastNonZeroIn(src, start, end); lasts[i] == start {
				lasts[i] = from
			}
			return err
		})
	}
	err := group.Wait()
	return slices.Max(lasts), err
}

// lastNonZeroIn is lastNonZero on this goroutine.
func lastNonZeroIn(src io.ReaderAt, from, to int64) (int64, error) {
	last, buf := from, make([]byte, min(to-from, 256<<10))
	for off := from; off < to; {
		n, err := src.ReadAt(buf[:min(int64(len(buf)), to-off)], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return last, err
		}
		if n == 0 {
			return last, nil // a writer has cut the file meanwhile
		}
		if used := trimZeroes(buf[:n]); len(used) > 0 {
			last = off + int64(len(used))
		}
		off += int64(n)
	}
	return last, nil
}

// footerOf reports whether the file ends in a footer: then it was sealed, and a later segment was there.
//
// Errors: *[FutureError].
func (o *opener) footerOf(t *tail) (footerFact, error) {
	s, err := index.OpenSealed(o.dir, o.meta.Store, t.link.id)
	if errors.Is(err, segment.ErrFuture) {
		return unsealed, &FutureError{File: segment.Name(t.link.id), Err: err}
	}
	if err != nil {
		return unsealed, nil
	}
	defer s.Close()
	if s.Summary().End != t.stop {
		return unsealed, nil
	}
	return sealed, nil
}

// plantBugs falsifies the facts where a test asks for it.
func (t *tail) plantBugs() {
	if planted.On(planted.CutAtFirstBadFrame) {
		t.facts.proof = below
	}
	if planted.On(planted.RefuseAtFirstBadFrame) && t.facts.rest == restBytes {
		t.facts.rest, t.facts.proof = restFrames, marked
	}
	if planted.On(planted.TailResumedInPlace) && t.facts.rest <= restZeroes {
		t.facts.doubt = proven
	}
	if planted.On(planted.HalfBatchKept) && t.half() && t.flush() == nil {
		t.batch.left, t.at.offset, t.facts.batch = 0, t.stop, whole
		t.active.Publish()
	}
}

// refusal returns the error of a verdict that ends the open, or nil.
func (o *opener) refusal(t *tail) error {
	var fault error
	if f := t.frames.Fault(); f != nil {
		fault = f
	}
	switch t.verdict.do {
	case actCorrupt:
		last := uint64(0)
		for _, p := range o.proofs {
			last = max(last, p.seq)
		}
		return corrupt(t.link.id, t.at.offset, t.at.seq+1, last, t.verdict.label, fault)
	case actTailMissing:
		e := &TailMissingError{
			Have: segment.Pos{Segment: t.link.id, Offset: t.at.offset}, HaveSeq: t.at.seq,
			Want: segment.Pos{Segment: t.link.id + 1}, Evidence: "footer",
		}
		for _, p := range o.proofs {
			if p.Compare(e.Have) > 0 && t.facts.footer == unsealed {
				e.Want, e.WantSeq, e.Evidence = p.Pos, p.seq, p.evidence
			}
		}
		return e
	}
	return nil
}

// clean reports whether the log ends as a clean close leaves it.
func (o *opener) clean(t *tail) bool {
	return o.anchor != nil && !o.anchor.Relaxed && t.verdict.do == actResume && t.facts.rest == restEnd &&
		o.anchor.End == segment.Pos{Segment: t.link.id, Offset: t.at.offset}
}

// examineBroken finds the facts about a file outside the chain whose header does not decode. allowed is how long the header would
// be that belonged there.
func (o *opener) examineBroken(l *link, allowed int64) (facts, error) {
	f := facts{subject: newest, header: broken}
	if l.next != nil {
		f.subject = offChain
	}
	file, err := o.dir.OpenRead(segment.Name(l.id))
	if err != nil {
		return f, fmt.Errorf("open segment %06d: %w", l.id, err)
	}
	defer file.Close()
	last, err := lastNonZero(file, 0, l.size)
	if err != nil {
		return f, fmt.Errorf("read segment %06d: %w", l.id, err)
	}
	switch {
	case last > allowed:
		f.rest = restBytes
	case last < l.size:
		f.rest = restZeroes
	}
	// Frames may be readable though the header is not: their checksums need the salt only.
	var salt [16]byte
	if n, _ := file.ReadAt(salt[:], segment.SaltOffset); n == len(salt) {
		h := segment.Header{Segment: l.id, Salt: salt}
		err = segment.NewScanner(file, &h, 0, l.size).Resync(func(*segment.Frame) bool {
			f.rest = restFrames
			return false
		})
	}
	if err != nil {
		return f, fmt.Errorf("read segment %06d: %w", l.id, err)
	}
	for _, p := range o.proofs {
		if p.Segment == l.id {
			f.proof = anchored
		}
	}
	return f, nil
}
