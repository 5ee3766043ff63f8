package coldstart

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"batpak/event"
	"batpak/hidden"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// An advance is what catching up has found, to be shown all at once when nothing can fail any more.
type advance struct {
	began    time.Time
	listing  *listing
	hidden   hidden.File
	touched  []*link         // unsealed segments, as they are now
	resealed []*index.Sealed // those of them that have their footer now
	runs     []olderRun      // segments that have ended since, the one that was the newest first
	tail     *tail           // the newest segment, when that is another one now
}

// close gives up what no set has taken. The first run, unless it is sealed, is the Set's.
func (p *advance) close() {
	for _, s := range p.resealed {
		s.Close()
	}
	closeRuns(p.runs)
	if p.tail != nil {
		p.tail.close()
	}
}

// catchUp shows what came behind the last look. The caller has the turn. On an error nothing has changed, but for
// events in memory that nobody sees.
//
// Errors: errAnew when the log is to be read anew; those of Open; I/O errors.
func (s *State) catchUp(ctx context.Context) (changed bool, err error) {
	f := s.follow
	cfg := s.cfg
	cfg.Progress = nil
	o := newOpener(cfg, f.dir)
	o.meta = f.meta
	if f.fenced || f.dir != f.base {
		return false, errAnew
	}
	p := &advance{began: time.Now()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	behind, err := f.survey(o, p)
	if err != nil {
		return false, err
	}
	if err := f.reseal(o, p); err != nil {
		return false, err
	}
	was := &link{segmentFile: p.listing.segments[len(f.segments)-1], header: f.newest.link.header}
	if o.chain, err = readChain(ctx, o.dir, o.meta.Store, []*link{was}, behind, nil); err != nil {
		return false, err
	}
	if err := f.newest.same(o.dir, was); err != nil {
		return false, err
	}
	if len(o.chain.links) == 1 {
		err = f.grow(ctx, o)
	} else {
		err = f.pass(ctx, o, p)
	}
	if err != nil {
		return false, err
	}
	return s.apply(o, p), nil
}

// survey looks at the evidence and at the directory, in the order of an open.
func (f *follower) survey(o *opener, p *advance) (behind []segmentFile, err error) {
	if err := o.readEvidence(); err != nil {
		return nil, err
	}
	if p.hidden, err = o.readHidden(); err != nil {
		return nil, err
	}
	if o.fenced {
		return nil, errAnew // what is visible does not follow from what is new
	}
	if _, err := readPending(o.dir, o.meta.Store); !errors.Is(err, ErrAbsent) {
		return nil, errors.Join(errAnew, err)
	}
	if p.listing, err = list(o.dir); err != nil {
		return nil, err
	}
	o.listing = p.listing
	if err := o.caches().refuseNewerCatalogs(f.catalogs); err != nil {
		return nil, err
	}
	p.touched, behind, err = f.compare(p.listing.segments)
	if err != nil {
		return nil, err
	}
	// What was proven of older segments has been checked before.
	oldest := f.newest.link.id
	kept := o.proofs[:0]
	for _, proof := range o.proofs {
		if proof.Segment >= oldest {
			kept = append(kept, proof)
		}
	}
	o.proofs = kept
	if a := o.anchor; a != nil && a.End.Segment < oldest {
		a.TreeSize = 0
	}
	return behind, nil
}

// reseal opens the footers of the touched segments that have one now.
func (f *follower) reseal(o *opener, p *advance) error {
	for _, l := range p.touched {
		r := olderRun{link: l}
		err := o.useFooter(&r)
		if err != nil && !stepsDown(err) {
			return err
		}
		if r.sealed != nil {
			p.resealed = append(p.resealed, r.sealed)
			i := slices.IndexFunc(p.listing.segments, func(is segmentFile) bool { return is.id == l.id })
			p.listing.segments[i] = l.segmentFile
		}
	}
	return nil
}

// same checks that the file of the newest segment is still the one that is open, and that what was read of it last
// still stands there.
//
// Errors: errAnew when not; I/O errors.
func (n *newestSeen) same(dir vfs.Dir, now *link) error {
	for try := 0; ; try++ {
		is, err := n.sameFile(dir, now)
		if err != nil {
			return err
		}
		if is {
			break
		}
		if try == 3 {
			return fmt.Errorf("%w: segment %06d has another size", errAnew, n.link.id)
		}
	}
	l, id, ok := n.active.Last()
	if !ok {
		return nil
	}
	b := make([]byte, l.Length)
	if got, err := n.file.ReadAt(b, int64(l.Offset)); got < len(b) {
		return errors.Join(errAnew, err)
	}
	frame, err := segment.NewSeal(n.header.Salt).DecodeFrame(b, n.header.Segment, int64(l.Offset))
	if err != nil {
		return errors.Join(errAnew, err)
	}
	var raw event.Raw
	if err := raw.Decode(frame.Body); err != nil || raw.ID != id {
		return errors.Join(errAnew, err)
	}
	return nil
}

// sameFile reports whether now is the file that is open, and notes how it is at present. Where nothing else tells, another
// file has another size; the size of this one may be changing.
func (n *newestSeen) sameFile(dir vfs.Dir, now *link) (bool, error) {
	before, err := n.file.Size()
	if err != nil {
		return false, fmt.Errorf("read segment %06d: %w", n.link.id, err)
	}
	e, err := dir.Stat(segment.Name(n.link.id))
	if err != nil {
		return false, err
	}
	after, err := n.file.Size()
	if err != nil {
		return false, fmt.Errorf("read segment %06d: %w", n.link.id, err)
	}
	if e.Stamp.ID != now.stamp.ID {
		return false, errAnew
	}
	now.size, now.stamp = e.Size, e.Stamp
	return min(before, after) <= e.Size && e.Size <= max(before, after), nil
}

// grow reads what was written to the newest segment since.
func (f *follower) grow(ctx context.Context, o *opener) error {
	n := f.newest
	size := o.chain.links[0].size
	if o.relaxed() {
		if err := n.more(ctx, size, wholeFile); err != nil {
			return err
		}
		blank, err := n.blank()
		if err == nil && !blank {
			err = errAnew // half a frame, or what a writer cut off: the verdicts know
		}
		return errors.Join(err, f.proven(o))
	}
	until := int64(0)
	for _, p := range o.proofs {
		if p.Segment == n.link.id {
			until = max(until, p.Offset)
		}
	}
	if err := n.more(ctx, min(size, until), until); err != nil {
		return err
	}
	n.stop = n.at.offset
	if blank, err := n.blank(); err != nil || blank {
		return errors.Join(err, f.proven(o))
	}
	// Frames that are not proven yet: the marks in them may prove those before.
	rest := newScan(n.file, n.header, n.at, size, wholeFile)
	rest.each = func(*event.Raw, uint32, uint32) error { return nil }
	if err := rest.run(ctx); err != nil {
		return err
	}
	marked := int64(rest.through)
	if err := n.more(ctx, min(size, marked), marked); err != nil {
		return err
	}
	n.stop = rest.stop
	return f.proven(o)
}

// proven checks that what is known to be durable is there.
func (f *follower) proven(o *opener) error {
	n := f.newest
	for _, p := range o.proofs {
		if p.Segment != n.link.id || p.Offset > n.at.offset || p.seq > n.lastSeq() {
			return errAnew
		}
	}
	if n.at.offset < int64(n.through) {
		return errAnew
	}
	return nil
}

// more reads the frames up to until into memory; none lies behind limit.
func (n *newestSeen) more(ctx context.Context, limit, until int64) error {
	if until <= n.at.offset || limit <= n.at.offset {
		return nil
	}
	sc := newScan(n.file, n.header, n.at, limit, until)
	sc.events, sc.count, sc.fences, sc.through = n.events, n.count, n.fences, n.through
	next := *n.replay
	next.scan = sc
	n.replay = &next
	err := n.read(ctx)
	n.stop = n.scan.stop
	n.rest()
	if err == nil && n.fences > 0 {
		err = errAnew
	}
	return err
}

// pass goes over to another newest segment: the one that was is read to its end, or served by its footer.
func (f *follower) pass(ctx context.Context, o *opener, p *advance) error {
	n, next := f.newest, o.chain.links[0].next
	if n.at.offset > next.End {
		return errAnew // recovery has moved what was seen
	}
	p.runs = o.olderRuns()
	err := o.useFooter(&p.runs[0])
	if stepsDown(err) {
		err = n.finish(ctx, next)
	}
	if err == nil {
		err = o.restoreRest(ctx, p.runs[1:])
	}
	if err != nil {
		return err
	}
	if p.tail, err = o.readTail(ctx, o.chain.newest()); err != nil {
		return err
	}
	v := &survey{tail: p.tail, broken: o.chain.broken}
	if err := o.verdicts(v); err != nil {
		return err
	}
	if err := o.trim(ctx, v); err != nil {
		return err
	}
	if p.tail.fences > 0 {
		return errAnew
	}
	return nil
}

// finish reads the rest of a segment that ends as the header of the next one says.
func (n *newestSeen) finish(ctx context.Context, next *segment.Header) error {
	if err := n.more(ctx, next.End, next.End); err != nil {
		return err
	}
	tree := n.folder.Cut()
	if n.at.offset != next.End || n.header.TreeSize+n.total() != next.TreeSize || tree.Root != next.Root ||
		n.total() > 0 && (n.at.seq != next.LastSeq || n.at.hlc != next.LastHLC) {
		return errAnew
	}
	return nil
}

// apply shows what p has found. Nothing in it can fail.
func (s *State) apply(o *opener, p *advance) (changed bool) {
	f := s.follow
	for _, sealed := range p.resealed {
		s.Set.ReplaceSealed(sealed.Summary().Segment, sealed)
	}
	f.touch(p)
	if len(p.runs) > 0 {
		s.pass(o, p)
	} else {
		n := *f.newest
		n.link, n.when = o.chain.links[0], p.began
		f.newest = &n
		f.segments[len(f.segments)-1] = n.link.segmentFile
		n.active.Publish()
	}
	if len(p.runs) > 0 || len(p.resealed) > 0 {
		s.useCatalogs(p.listing.catalogs)
	}
	n := f.newest
	last := max(n.lastSeq(), s.Set.Visible())
	changed = last != s.Set.Visible() || !f.hidden.Equal(p.hidden.Set)
	f.hidden, f.relaxed, f.highest, f.signal = p.hidden.Set, o.relaxed(), p.listing.highest, Signal{}
	f.nascent, f.catalogs = nascentIn(o.chain), p.listing.catalogs
	if o.signal != nil {
		f.signal = *o.signal
	}
	f.events.Store(n.header.TreeSize + n.total())
	f.durable.Store(max(f.durable.Load(), o.durableOf(last)))
	s.show(last)
	return changed
}

// touch notes which segments have their footers now, and what the files of the others are.
func (f *follower) touch(p *advance) {
	for i := range f.segments[:len(f.segments)-1] {
		f.segments[i] = p.listing.segments[i]
	}
	sealed := make(map[uint64]bool)
	for _, r := range p.resealed {
		sealed[r.Summary().Segment] = true
	}
	kept := f.unsealed[:0]
	for _, l := range f.unsealed {
		if !sealed[l.id] {
			kept = append(kept, l)
		}
	}
	f.unsealed = kept
}

// pass puts the segments into the Set that p has found behind the one that was the newest.
func (s *State) pass(o *opener, p *advance) {
	f := s.follow
	was := f.newest
	var add []*index.Sealed
	var memory []*replay
	for i := range p.runs {
		r := &p.runs[i]
		switch {
		case r.sealed != nil:
			add = append(add, r.sealed)
			continue
		case i == 0: // in memory, and in the Set
		case r.link.events() > 0:
			memory = append(memory, r.frames)
		default:
			r.frames.file.Close() // read only: there is nothing to lose
		}
		f.unsealed = append(f.unsealed, r.link)
	}
	if p.runs[0].sealed != nil {
		s.Set.Replace([]uint64{was.link.id}, add...)
	} else {
		if len(add) > 0 {
			s.Set.Add(add...)
		}
		was.active.Publish()
		memory = append([]*replay{was.replay}, memory...)
	}
	for _, r := range append(memory, p.tail.replay) {
		if r != was.replay {
			r.join(s.Set)
		}
		if r.active.Added() == 0 && r != p.tail.replay {
			s.Set.Drop(r.active) // the set tells runs apart by their first sequence
		}
	}
	f.segments = f.segments[:len(f.segments)-1]
	f.know(o.chain.links)
	t := p.tail
	f.newest = &newestSeen{replay: t.replay, link: t.link, stop: t.stop, when: p.began}
	f.newest.rest()
}
