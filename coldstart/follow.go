package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"
	"time"

	"batpak/hidden"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// errAnew says that the log does not continue what was seen of it before, or not in a way that can be followed.
var errAnew = errors.New("coldstart: files were replaced since the last look")

// A follower is what a read-only State knows of the files that it shows, to go on from there.
type follower struct {
	base   vfs.Dir       // as it is, whatever compaction is pending
	turn   chan struct{} // holds one token, which whoever looks takes; closed with the State
	life   context.Context
	cancel context.CancelFunc

	builds  atomic.Uint64
	events  atomic.Uint64 // in the log
	durable atomic.Uint64 // last sequence known to be

	// The last look. Whoever has the turn reads and writes it.
	look
	anew bool // memory is not what look says: everything is to be built again
}

// A look is what the State showed when somebody last looked at the directory.
type look struct {
	dir      vfs.Dir // base, or what a pending compaction will leave of it
	meta     meta
	hidden   hidden.Set
	fenced   bool // the log may hold fences
	relaxed  bool
	signal   Signal        // zero when there was none
	highest  uint64        // number ever seen on a segment
	nascent  []segmentFile // that are no segment yet, or never will be, behind the newest one
	segments []segmentFile
	gaps     []gap
	catalogs []string
	unsealed []*link // older segments that are served from memory
	newest   *newestSeen
}

// A gap is sequences that recovery gave up: whoever had seen them saw what is lost.
type gap struct{ after, before uint64 }

// A newestSeen is the newest segment as far as it is in memory. Its file and its index are the Set's.
type newestSeen struct {
	*replay
	link *link
	stop int64     // behind the last frame, durable or not
	when time.Time // it was looked at
}

// newFollower returns what is to be known of a reader that o has opened. v is what the State is made of.
func newFollower(o *opener, v *survey, folder *merkle.Folder) *follower {
	f := &follower{turn: make(chan struct{}, 1)}
	f.turn <- struct{}{}
	f.life, f.cancel = context.WithCancel(context.Background())
	f.look = look{
		dir: o.dir, meta: o.meta, hidden: v.hidden.Set, fenced: o.fenced, relaxed: o.relaxed(), highest: o.listing.highest,
		catalogs: o.listing.catalogs,
	}
	if o.signal != nil {
		f.signal = *o.signal
	}
	if o.chain != nil {
		f.nascent = nascentIn(o.chain)
		f.know(o.chain.links)
	}
	for i := range v.runs {
		if v.runs[i].sealed == nil {
			f.unsealed = append(f.unsealed, v.runs[i].link)
		}
	}
	f.events.Store(folder.Len())
	if t := v.tail; t != nil {
		f.newest = &newestSeen{replay: t.replay, link: t.link, stop: t.stop, when: o.began}
		f.newest.rest()
		f.durable.Store(o.durableOf(t.lastSeq()))
	}
	return f
}

// durableOf returns the last sequence known to be durable in a log that shows events up to last.
func (o *opener) durableOf(last uint64) uint64 {
	if !o.relaxed() {
		return last
	}
	proven := uint64(0)
	for _, p := range o.proofs {
		proven = max(proven, p.seq)
	}
	return min(last, proven)
}

// know adds the files of links, and what they say is lost, to what f knows.
func (f *follower) know(links []*link) {
	for _, l := range links {
		f.segments = append(f.segments, l.segmentFile)
		if h := &l.header; h.FirstSeq > h.LastSeq+1 {
			f.gaps = append(f.gaps, gap{h.LastSeq, h.FirstSeq})
		}
	}
}

// skips reports whether recovery gave up the sequence seq.
func (f *follower) skips(seq uint64) bool {
	return slices.ContainsFunc(f.gaps, func(g gap) bool { return g.after < seq && seq < g.before })
}

// end returns where the log ends.
func (f *follower) end() segment.Pos {
	if f.newest == nil {
		return segment.Pos{}
	}
	return segment.Pos{Segment: f.newest.link.id, Offset: f.newest.at.offset}
}

// take makes the last look of n that of f.
func (f *follower) take(n *follower) {
	f.look, f.anew = n.look, false
	f.events.Store(n.events.Load())
	f.durable.Store(n.durable.Load())
}

// enter waits for the turn.
func (f *follower) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case _, ok := <-f.turn:
		if !ok {
			return fs.ErrClosed
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *follower) leave() { f.turn <- struct{}{} }

// within returns a context that ends with ctx, or when the State is closed.
func (f *follower) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(f.life, func() { cancel(fs.ErrClosed) })
	return ctx, func() { unhook(); cancel(nil) }
}

// close ends a look that is under way, and all later ones. A nil f has none.
func (f *follower) close() {
	if f == nil {
		return
	}
	f.cancel()
	if _, ok := <-f.turn; ok {
		close(f.turn)
	}
}

// unchanged reports whether nothing has happened since the last look that readers may see.
//
// Errors: I/O errors.
func (f *follower) unchanged() (bool, error) {
	n := f.newest
	if n == nil {
		return false, nil
	}
	for _, was := range f.nascent {
		e, err := f.base.Stat(segment.Name(was.id))
		if err != nil || e.Size != was.size || !untouched(e.Stamp, was.stamp, n.when) {
			return false, ignoreAbsent(err)
		}
	}
	e, err := f.base.Stat(segment.Name(n.link.id))
	if err != nil || e.Stamp.ID != n.link.stamp.ID || e.Size != n.link.size {
		return false, ignoreAbsent(err)
	}
	// Rotations make the next number's file before anything says so.
	if _, err := f.base.Stat(segment.Name(f.highest + 1)); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	blank, err := n.blank()
	if err != nil || blank && n.stop == n.at.offset && !f.relaxed {
		return blank, err // what is new comes with new bytes
	}
	signal, _, err := ReadBeacon(f.base, f.meta.Store)
	if err != nil || signal != f.signal {
		return false, err // it may prove frames that were seen before
	}
	if blank {
		return true, nil
	}
	// Bytes that are no frame may be one that a writer was at. The file's time need not tell: see vfs.OverwriteAt.
	next := segment.NewScanner(n.file, n.header, n.stop, e.Size)
	return !next.Next() && next.Err() == nil, next.Err()
}

// untouched reports whether a file that had the stamp was when somebody looked, and now has is, was not written to, as far
// as its time tells.
func untouched(is, was vfs.Stamp, looked time.Time) bool {
	return is == was && looked.UnixNano()-is.Changed > int64(time.Second)
}

// nascentIn returns the files that c leaves out.
func nascentIn(c *chain) (files []segmentFile) {
	for _, l := range c.broken {
		files = append(files, l.segmentFile)
	}
	return files
}

func ignoreAbsent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// blank reports whether nothing stands behind the frames.
func (n *newestSeen) blank() (bool, error) {
	var b [segment.FrameHeaderLen]byte
	got, err := n.file.ReadAt(b[:], n.stop)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, fmt.Errorf("read segment %06d: %w", n.link.id, err)
	}
	return !slices.ContainsFunc(b[:got], func(c byte) bool { return c != 0 }), nil
}

// rest gives back what is needed while frames are read only.
func (n *newestSeen) rest() {
	n.frames, n.batch, n.raw, n.each, n.fence = nil, openBatch{}, nil, nil, nil
}

// compare checks that files continue what was seen: it returns those of unsealed segments that were touched since, and
// those behind the newest one. Otherwise it is errAnew.
func (f *follower) compare(files []segmentFile) (touched []*link, behind []segmentFile, err error) {
	if f.newest == nil || len(files) < len(f.segments) {
		return nil, nil, errAnew
	}
	last := len(f.segments) - 1
	for i, was := range f.segments[:last] {
		is := files[i]
		if is == was {
			continue
		}
		j := slices.IndexFunc(f.unsealed, func(l *link) bool { return l.id == is.id })
		if is.id != was.id || is.stamp.ID != was.stamp.ID || j < 0 {
			return nil, nil, errAnew
		}
		l := *f.unsealed[j]
		l.segmentFile = is
		touched = append(touched, &l)
	}
	if is := files[last]; is.id != f.segments[last].id || is.stamp.ID != f.segments[last].stamp.ID {
		return nil, nil, errAnew
	}
	return touched, files[last+1:], nil
}
