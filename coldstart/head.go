package coldstart

import (
	"context"
	"fmt"

	"batpak/event"
	"batpak/segment"
)

// checkHead checks that the log holds the event that the caller expects. It reads the frames of one segment.
//
// Errors: *[HeadMismatchError].
func (o *opener) checkHead(ctx context.Context, t *tail) error {
	want := o.cfg.ExpectHead
	if want == nil {
		return nil
	}
	mismatch := &HeadMismatchError{Want: *want, LastSeq: o.nextSeq(t) - 1}
	for _, l := range o.chain.links {
		end, last := int64(wholeFile), o.nextSeq(t)-1
		if l.next != nil {
			end, last = l.end(), l.next.LastSeq
		}
		if want.Seq < l.header.FirstSeq || want.Seq > last {
			continue
		}
		if t != nil && l == t.link {
			end = t.at.offset
		}
		hash, err := o.hashAt(ctx, l, end, want.Seq)
		if err != nil {
			return err
		}
		if hash == want.Hash {
			return nil
		}
		mismatch.Hash = hash
	}
	return mismatch
}

// hashAt returns the hash of event seq in a segment whose frames end at end, zero when it is not there.
func (o *opener) hashAt(ctx context.Context, l *link, end int64, seq uint64) (hash event.Hash, err error) {
	f, err := o.dir.OpenRead(segment.Name(l.id))
	if err != nil {
		return hash, fmt.Errorf("open segment %06d: %w", l.id, err)
	}
	defer f.Close()
	s := newScan(f, &l.header, startOf(&l.header), end, end)
	s.each = func(r *event.Raw, _, _ uint32) error {
		if r.Seq == seq {
			hash = r.Hash
		}
		return nil
	}
	return hash, s.run(ctx)
}
