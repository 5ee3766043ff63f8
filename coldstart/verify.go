package coldstart

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math/bits"
	"slices"
	"time"

	"batpak/event"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// VerifyConfig says which directory [Verify] reads.
type VerifyConfig struct {
	FS       vfs.FS         // nil means the operating system's
	Dir      string         // path of the directory
	Progress func(Progress) // called after each segment, which the verification waits for; nil means nobody listens
}

// Verify reads every byte of the log in a directory and checks all that can be checked without knowing what the events
// mean: identity, headers and what each says about the segment before it, frames, batches, every field of every event,
// sequences, clocks, HLCs, hash chains, Merkle roots, durable-through marks, the anchor and the beacon, and that each
// footer is, byte for byte, what the frames below it yield. The files of hidden ranges and of evicted keys are checked
// as far as they go by themselves, and so are those of consumers' positions. States of projections that do not hold are notes:
// nobody takes them for more than a way to fold less.
//
// It changes nothing, takes no lock, and works on a store that Open refuses as well as beside a live writer. What is
// wrong is in the report; an error says that Verify could not look. Behind damage it goes on with the next segment.
//
// These bytes are not part of the log, and may change without a finding:
//
//	.lock            all of it: the owner's hint and the beacon, which may be lost, torn or old
//	anchor           one slot of the two, which a crash may tear (a note); the bytes between the slots
//	newest segment   behind the last frame: zeroes, or an unfinished write that nothing proves (a note)
//	older segment    behind the end that the next header names, while no footer stands there (a note)
//	other names      temporary, quarantined, unknown files (notes)
//
// Memory: the head of every stream, and the index of one segment.
//
// Errors: the context's; [ErrNoStore]; I/O errors.
func Verify(ctx context.Context, cfg VerifyConfig) (VerifyReport, error) {
	began := time.Now()
	fsys := cfg.FS
	if fsys == nil {
		fsys = vfs.OS
	}
	dir, err := fsys.OpenDir(cfg.Dir, vfs.DirOptions{})
	if err != nil {
		return VerifyReport{}, err
	}
	defer dir.Close()
	// What was found where somebody has replaced segments meanwhile, as a compaction does, may be half of two stores.
	for try := 1; ; try++ {
		was, err := dir.List()
		if err != nil {
			return VerifyReport{}, err
		}
		v := newVerifier(dir, cfg.Progress)
		err = v.all(ctx, fsys)
		v.result.Elapsed = time.Since(began)
		if err == nil && v.result.Clean() || ctx.Err() != nil || try == maxLooks {
			return v.result, err
		}
		if now, failed := dir.List(); failed != nil || !v.replaced(was, now) {
			return v.result, err
		}
	}
}

// all verifies everything, once.
func (v *verifier) all(ctx context.Context, fsys vfs.FS) error {
	err := v.run(ctx)
	if err == nil {
		err = v.sideFiles()
	}
	if err == nil {
		err = v.positions(fsys)
	}
	if err == nil {
		err = v.states(ctx, fsys)
	}
	v.result.Heads = len(v.heads)
	return err
}

func newVerifier(dir vfs.Dir, progress func(Progress)) *verifier {
	return &verifier{opener: newOpener(Config{ReadOnly: true, Dir: dir.Path()}, dir), progress: progress}
}

// A verifier is one Verify. It uses an opener's evidence, chain and verdicts, and none of its effects.
type verifier struct {
	*opener
	progress func(Progress)
	result   VerifyReport
	mendable []mendable // in the order of the findings and notes that they stand for
	end      *logEnd    // nil when the end of the log is damaged, or there is none
	future   bool       // a newer version has been at work

	// The log up to where the verifier stands.
	heads map[string]*streamEnd // by lane and entity
	known bool                  // every event before was seen: a stream that heads does not hold has none
	tree  merkle.Range          // over every event
	tiles []event.Hash          // that the segment at hand completed

	linker event.Linker
	key    []byte // scratch
}

// A streamEnd is the last event of a stream.
type streamEnd struct {
	clock uint64
	hash  event.Hash
}

func (v *verifier) run(ctx context.Context) error {
	if err := v.look(); err != nil {
		return err
	}
	if err := v.readLinks(); err != nil {
		return err
	}
	v.joinLinks()
	for i := 0; i < len(v.chain.links); i++ {
		if err := v.segment(ctx, i); err != nil {
			return err
		}
		l := v.chain.links[i]
		v.result.Segments++
		if v.progress != nil {
			v.progress(Progress{Rung: RungFrames, Done: i + 1, Total: len(v.chain.links), Seq: v.result.LastSeq})
		}
		if l.next == nil && i+1 < len(v.chain.links) {
			v.lose()
		}
	}
	return v.judgeBroken()
}

// add keeps a finding.
func (v *verifier) add(f Finding) { v.result.Findings = append(v.result.Findings, f) }

// note keeps what is not damage.
func (v *verifier) note(f Finding) { v.result.Notes = append(v.result.Notes, f) }

// A mendable is a finding, or a note, about something that can be made anew from what holds.
type mendable struct {
	file   string
	link   *link // of the segment whose footer does not hold, though its frames do; nil when it is another file
	noted  bool  // it is among the notes
	at     int   // where it stands among the findings, or the notes
	reason string
}

// addMendable keeps a finding that can be mended.
func (v *verifier) addMendable(f Finding, l *link) {
	v.mendable = append(v.mendable, mendable{f.File, l, false, len(v.result.Findings), f.why()})
	v.add(f)
}

// noteMendable keeps a note about what can be mended.
func (v *verifier) noteMendable(f Finding, l *link) {
	v.mendable = append(v.mendable, mendable{f.File, l, true, len(v.result.Notes), f.why()})
	v.note(f)
}

// A logEnd is where the log ends, in its newest segment.
type logEnd struct {
	link    *link
	durable int64 // highest offset that is proven to have been durable
	unused  bool  // not even the segment's header is
}

// found keeps err if it is a finding, and returns it otherwise.
func (v *verifier) found(err error) error {
	v.future = v.future || errors.Is(err, ErrFuture)
	if f, ok := findingOf(err); ok {
		v.add(f)
		return nil
	}
	return err
}

// look reads identity, evidence and the directory, in this order: beside a writer, what evidence names is then there.
func (v *verifier) look() error {
	var err error
	v.meta, err = readMeta(v.dir)
	if err != nil {
		if err := v.withoutMeta(err); err != nil {
			return err
		}
	}
	v.result.Store = v.meta.Store
	if err := v.viewPending(); err != nil {
		if err := v.found(err); err != nil {
			return err
		}
	}
	if err := v.readAnchorAgain(); err != nil {
		return err
	}
	return v.listAll()
}

// withoutMeta takes the store's identity from the first segment that has one.
func (v *verifier) withoutMeta(cause error) error {
	if _, ok := findingOf(cause); !ok {
		return cause
	}
	entries, err := v.dir.List()
	if err != nil {
		return err
	}
	if !holdsStore(entries) {
		return fmt.Errorf("%w: %s", ErrNoStore, v.cfg.Dir)
	}
	for h := range headers(v.dir, entries) {
		v.meta.Store = h.Store
		break
	}
	if f, ok := findingOf(cause); ok && !errors.Is(cause, ErrFuture) {
		v.addMendable(f, nil)
		return nil
	}
	return v.found(cause)
}

// holdsStore reports whether a store is, or has been, in a directory.
func holdsStore(entries []vfs.Entry) bool {
	return slices.ContainsFunc(entries, func(e vfs.Entry) bool {
		_, kind := classify(e.Name)
		return kind == nameSegment || kind == nameQuarantined || e.Name == anchorName || e.Name == metaName
	})
}

// headers returns the headers of all segments whose headers hold.
func headers(dir vfs.Dir, entries []vfs.Entry) iter.Seq[*segment.Header] {
	return func(yield func(*segment.Header) bool) {
		for _, e := range entries {
			id, kind := classify(e.Name)
			if kind != nameSegment || !e.Mode.IsRegular() {
				continue
			}
			b, err := readStart(dir, e.Name)
			if err != nil {
				continue
			}
			if h, err := segment.DecodeHeader(b, id); err == nil && !yield(&h) {
				return
			}
		}
	}
}

// readStart returns the first bytes of a file: as many as the longest header has.
func readStart(dir vfs.Dir, name string) ([]byte, error) {
	f, err := dir.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, segment.MaxHeaderLen)
	n, _ := f.ReadAt(b, 0)
	return b[:n], nil
}

// readAnchorAgain reads the evidence, and a slot that does not hold once more: a writer may have been at it.
func (v *verifier) readAnchorAgain() error {
	const tries = 3
	for try := 1; ; try++ {
		v.proofs, v.anchor, v.signal, v.report.Skipped = nil, nil, nil, nil
		if err := v.readEvidence(); err != nil {
			return v.found(err)
		}
		if len(v.report.Skipped) == 0 {
			return nil
		}
		if try < tries {
			continue
		}
		f := Finding{File: anchorName, Err: v.report.Skipped[0].Err}
		switch {
		case v.anchor == nil:
			f.Reason = "anchor does not hold"
			v.addMendable(f, nil)
		case errors.Is(f.Err, ErrForeign):
			f.Reason = "anchor of another store"
			v.addMendable(f, nil)
		default:
			f.Reason = "one slot of the anchor does not hold"
			v.note(f)
		}
		return nil
	}
}

// listAll lists the directory; what has one of our names and is no regular file is a finding.
func (v *verifier) listAll() error {
	entries, err := v.dir.List()
	if err != nil {
		return err
	}
	v.listing = new(listing)
	for _, e := range entries {
		if err := v.listing.add(e); err != nil {
			v.add(Finding{File: e.Name, Reason: "not a regular file", Err: err})
		}
	}
	for _, names := range []struct {
		names  []string
		reason string
	}{
		{v.listing.leftovers, "left-over of a replacement"},
		{v.listing.quarantined, "set aside by a recovery or a repair"},
		{v.listing.strangers, "unknown name"},
	} {
		for _, name := range names.names {
			v.note(Finding{File: name, Reason: names.reason})
		}
	}
	return nil
}

// readLinks reads every header. The newest files whose headers do not decode are set aside for the verdict.
func (v *verifier) readLinks() error {
	var links []*link
	for _, file := range v.listing.segments {
		l := &link{segmentFile: file}
		if err := l.read(v.dir, v.meta.Store); err != nil {
			if err := v.found(err); err != nil {
				return err
			}
			continue
		}
		links = append(links, l)
	}
	v.chain = &chain{links: links}
	v.chain.setAside(len(links), 0)
	return nil
}

// joinLinks tells each segment what the next header says of it, and finds every place where two do not fit. It goes
// from the newest to the first, as an open does.
func (v *verifier) joinLinks() {
	var found []Finding
	for i := len(v.chain.links) - 1; i >= 0; i-- {
		l := v.chain.links[i]
		if l.broken != nil {
			row := judge(facts{subject: older, header: broken})
			found = append(found, Finding{
				File: segment.Name(l.id), Segment: l.id, FirstSeq: v.chain.firstSeqBelow(i), Reason: row.label, Err: l.broken,
			})
			continue
		}
		if reason := rangeHolds(&l.header); reason != "" {
			found = append(found, Finding{File: segment.Name(l.id), Segment: l.id, FirstSeq: l.header.FirstSeq, Reason: reason})
		}
		i = v.chain.setAside(i, l.header.Previous)
		if l.header.Previous == 0 && i == 0 {
			break
		}
		if f, ok := findingOf(v.chain.fits(i)); ok {
			found = append(found, f)
		} else if v.chain.links[i-1].broken == nil {
			v.chain.links[i-1].next = &l.header
		}
	}
	slices.Reverse(found)
	v.result.Findings = append(v.result.Findings, found...)
}

// lose forgets all streams: an event was lost that may have been the last of any.
func (v *verifier) lose() { v.heads, v.known = nil, false }

// judgeBroken gives the newest files whose headers do not decode their verdict.
func (v *verifier) judgeBroken() error {
	end := (&segment.Header{}).Len() + int64(bits.OnesCount64(v.tree.Size()))*event.HashLen
	for _, l := range v.chain.broken {
		allowed := end
		if l.next != nil {
			allowed = l.next.Len()
		}
		f, err := v.examineBroken(l, allowed)
		if err != nil {
			if err := v.found(err); err != nil {
				return err
			}
			continue
		}
		row := judge(f)
		finding := Finding{File: segment.Name(l.id), Segment: l.id, Reason: row.label, Err: l.broken}
		if row.do == actQuarantine {
			v.note(finding)
			continue
		}
		finding.FirstSeq = v.result.LastSeq + 1
		v.add(finding)
	}
	if len(v.chain.links) == 0 && len(v.result.Findings) == 0 {
		return v.found(v.checkProofs(nil))
	}
	return nil
}
