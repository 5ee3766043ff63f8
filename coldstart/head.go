package coldstart

import (
	"errors"

	"batpak/event"
	"batpak/index"
	"batpak/segment"
)

// checkHead checks that the log holds the event that the caller expects. It looks it up as a read does: it costs one
// frame.
//
// Errors: *[HeadMismatchError]; *[CorruptError] for a frame that does not hold; *[segment.FooterError]; I/O errors.
func (o *opener) checkHead(v *survey) error {
	want := o.cfg.ExpectHead
	if want == nil {
		return nil
	}
	hash, err := v.hashOf(want.Seq)
	var frame *segment.FrameError
	switch {
	case errors.As(err, &frame):
		return corrupt(frame.Segment, frame.Offset, want.Seq, want.Seq, "frame of the expected head", err)
	case err != nil:
		return err
	case hash != want.Hash:
		return &HeadMismatchError{Want: *want, LastSeq: o.nextSeq(v.tail) - 1, Hash: hash}
	}
	return nil
}

// hashOf returns the hash of event seq, zero when it is not there.
func (v *survey) hashOf(seq uint64) (event.Hash, error) {
	if t := v.tail; t != nil && seq >= t.header.FirstSeq {
		hash, _, err := index.HashOf(seq, t.cover.runs, t.active)
		return hash, err
	}
	for i := range v.runs {
		r := &v.runs[i]
		if seq < r.link.header.FirstSeq || seq > r.link.next.LastSeq {
			continue
		}
		var sealed []*index.Sealed
		var active *index.Active
		if r.sealed != nil {
			sealed = []*index.Sealed{r.sealed}
		} else {
			sealed, active = r.frames.cover.runs, r.frames.active
		}
		if hash, ok, err := index.HashOf(seq, sealed, active); ok || err != nil {
			return hash, err
		}
	}
	return event.Hash{}, nil
}
