package coldstart

import (
	"errors"
	"fmt"
	"math/bits"

	"batpak/event"
	"batpak/internal/planted"
	"batpak/segment"
)

// readEvidence reads the anchor and the beacon. Neither is needed.
func (o *opener) readEvidence() error {
	anchor, finding, err := readAnchor(o.dir, o.meta.Store)
	if err != nil {
		return err
	}
	if finding != nil && !errors.Is(finding, ErrAbsent) {
		o.report.Skipped = append(o.report.Skipped, Skip{Err: fmt.Errorf("%s: %w", anchorName, finding)})
	}
	o.anchor, o.rotten = anchor, finding != nil
	var signal Signal
	var ok bool
	if o.lock != nil {
		signal, ok, err = readBeacon(o.lock, o.meta.Store)
	} else {
		signal, ok, err = ReadBeacon(o.dir, o.meta.Store)
	}
	if err != nil {
		return err
	}
	if ok {
		o.signal = &signal
	}
	if planted.On(planted.AnchorIgnored) {
		return nil
	}
	if anchor != nil {
		o.proofs = append(o.proofs, proof{anchor.End, anchor.LastSeq, "anchor"})
	}
	if ok {
		o.proofs = append(o.proofs, proof{signal.Durable, signal.Seq, "beacon"})
	}
	return nil
}

// verdicts applies the table to the end of the log and to the files behind it.
func (o *opener) verdicts(v *survey) error {
	for _, l := range v.broken {
		f, err := o.examineBroken(l, headerLen(l, v.tail))
		if err != nil {
			return err
		}
		if row := judge(f); row.do != actQuarantine {
			return corrupt(l.id, 0, o.nextSeq(v.tail), 0, row.label, l.broken)
		}
	}
	if v.tail != nil {
		o.report.Verdict = v.tail.verdict.label
		if err := o.refusal(v.tail); err != nil {
			return err
		}
	}
	return o.checkProofs(v.tail)
}

// headerLen returns how long the header would be that belongs where a broken one is: that of the segment that took its
// place, or one that continues the log.
func headerLen(l *link, t *tail) int64 {
	switch {
	case l.next != nil:
		return l.next.Len()
	case t == nil:
		return (&segment.Header{}).Len()
	}
	size := t.header.TreeSize + t.total()
	return (&segment.Header{Range: make([]event.Hash, bits.OnesCount64(size))}).Len()
}

// nextSeq returns the sequence behind the end of the log.
func (o *opener) nextSeq(t *tail) uint64 {
	if t == nil {
		return 1
	}
	return t.at.seq + 1
}

// checkProofs checks that the log holds what the anchor and the beacon name. The newest segment has had its verdict.
func (o *opener) checkProofs(t *tail) error {
	var have segment.Pos
	if t != nil {
		have = segment.Pos{Segment: t.link.id, Offset: t.at.offset}
	}
	for _, p := range o.proofs {
		missing := p.seq >= o.nextSeq(t)
		if l := o.find(p.Segment); l == nil {
			missing = true
		} else if l.next != nil && p.Offset > l.end() {
			missing = true
		}
		if missing {
			return &TailMissingError{
				Have: have, HaveSeq: o.nextSeq(t) - 1, Want: p.Pos, WantSeq: p.seq, Evidence: p.evidence,
			}
		}
	}
	a := o.anchor
	if a == nil || a.TreeSize == 0 || planted.On(planted.AnchorIgnored) {
		return nil
	}
	if l := o.find(a.End.Segment); l.header.TreeSize == a.TreeSize && l.header.Root != a.Root {
		return corrupt(l.id, 0, 1, l.header.LastSeq, "anchor names another history", ErrForeign)
	}
	return nil
}

// find returns the segment with the given number, or nil.
func (o *opener) find(id uint64) *link { return o.chain.find(id) }

// find returns the segment with the given number, or nil.
func (c *chain) find(id uint64) *link {
	for _, l := range c.links {
		if l.id == id {
			return l
		}
	}
	return nil
}
