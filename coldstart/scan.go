package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"

	"batpak/event"
	"batpak/internal/planted"
	"batpak/segment"
)

// A mark is a place between two frames of a segment, and what the log has come to there.
type mark struct {
	offset int64
	seq    uint64 // of the last event before it, or one less than the segment's first
	hlc    event.HLC
}

// startOf returns the mark in front of the first frame of a segment.
func startOf(h *segment.Header) mark {
	return mark{offset: h.Len(), seq: h.FirstSeq - 1, hlc: h.LastHLC}
}

// A scan reads the frames of one segment in order and checks that they follow one another: sequences without a gap,
// HLCs that ascend, batches that are whole. It hands every event on once everything it belongs to is there. Whether
// the place where it ends is the end of the log is for the verdict. Not safe for concurrent use.
type scan struct {
	header *segment.Header
	src    io.ReaderAt
	until  int64  // stop in front of the frame or batch that would end behind it
	most   uint64 // stop behind this many events, if that is not inside a batch; 0 means no limit

	// each takes an event whose frame stands at offset; length counts the frame's header. It keeps nothing of r.
	each func(r *event.Raw, offset, length uint32) error
	// fence takes a fence frame; nil: nobody asks.
	fence func(f *segment.Fence)

	frames  *segment.Scanner
	raw     *event.Raw // that the next event is decoded into; each may put another in its place
	batch   openBatch
	lasting bool // what each is given stays as it is for longer than the call

	// What the scan has found.
	at       mark   // behind the last frame or whole batch
	stop     int64  // behind the last frame; ahead of at inside a batch
	through  uint32 // highest durable-through mark in any frame
	events   uint64
	count    uint64 // frames of all types
	fences   uint64
	fenced   bool // a fence frame, or an event that a fence has staged
	reserved map[event.Kind]uint64
}

// An openBatch is a batch whose members are being read.
type openBatch struct {
	segment.Batch
	left    uint32 // members to come; 0 when no batch is open
	from    int64  // offset of the first member
	held    bool   // by the scanner: bodies stay where they are
	bodies  []byte // copies, when it is not
	members []member
	digest  segment.BatchDigest
}

// A member is an event of a batch: where its frame stands, and its body.
type member struct {
	offset, length uint32
	body           []byte
}

// newScan returns a scan of the frames in [from.offset, until); no frame lies behind limit.
func newScan(src io.ReaderAt, h *segment.Header, from mark, limit, until int64) *scan {
	return &scan{
		header: h, src: src, until: until, frames: segment.NewScanner(src, h, from.offset, limit),
		raw: new(event.Raw), at: from, stop: from.offset, reserved: make(map[event.Kind]uint64),
	}
}

// ctxEvery is how many frames are read between two looks at the context.
const ctxEvery = 4096

// run reads to the first bytes that are no frame, or to until. A nil error says nothing about why it ended.
//
// Errors: *[CorruptError] for sound frames that do not follow one another; *[FutureError]; I/O errors; those of each.
func (s *scan) run(ctx context.Context) error {
	for {
		for s.frames.Next() {
			f := s.frames.Frame()
			if s.count%ctxEvery == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			done, err := s.take(f)
			if done || err != nil {
				return err
			}
		}
		if err := s.frames.Err(); err != nil {
			return fmt.Errorf("read segment %06d: %w", s.header.Segment, err)
		}
		if fault := s.frames.Fault(); fault != nil && errors.Is(fault, segment.ErrFuture) {
			return &FutureError{File: segment.Name(s.header.Segment), Err: fault}
		}
		if !planted.On(planted.KeepFramesAfterHole) || !s.skipHole() {
			return nil
		}
	}
}

// take takes one frame; done says that it ends behind until.
func (s *scan) take(f *segment.Frame) (done bool, err error) {
	if s.batch.left == 0 && (f.End() > s.until || s.most > 0 && s.events >= s.most) {
		return true, nil
	}
	switch {
	case s.batch.left > 0:
		err = s.takeMember(f)
	case f.Type == segment.TypeBatch:
		done, err = s.openBatch(f)
	case f.Flags&segment.FlagMember != 0:
		err = s.corrupt(f.Offset, "batch member without a batch", nil)
	case f.Type == segment.TypeEvent:
		err = s.takeEvent(f.Body, uint32(f.Offset), uint32(f.Len()))
	case f.Type == segment.TypeFence:
		err = s.takeFence(f)
	}
	if done || err != nil {
		return done, err
	}
	s.count++
	s.through = max(s.through, f.Through)
	s.stop = f.End()
	if s.batch.left == 0 {
		s.at.offset = s.stop
	}
	return false, nil
}

// takeFence hands a fence frame on.
func (s *scan) takeFence(f *segment.Frame) error {
	s.fences++
	s.fenced = true
	fence, ok := segment.DecodeFence(f.Body)
	if !ok {
		return s.corrupt(f.Offset, "fence frame", nil)
	}
	if s.fence != nil {
		s.fence(&fence)
	}
	return nil
}

// takeEvent checks one event and hands it on.
func (s *scan) takeEvent(body []byte, offset, length uint32) error {
	r := s.raw
	if err := r.Decode(body); err != nil {
		if errors.Is(err, event.ErrFuture) {
			return &FutureError{File: segment.Name(s.header.Segment), Err: err}
		}
		return s.corrupt(int64(offset), "event", err)
	}
	switch {
	case r.Seq != s.at.seq+1 && !planted.On(planted.KeepFramesAfterHole):
		return s.corrupt(int64(offset), fmt.Sprintf("sequence %d follows %d", r.Seq, s.at.seq), nil)
	case r.HLC <= s.at.hlc:
		return s.corrupt(int64(offset), "HLC does not ascend", nil)
	}
	if err := s.each(r, offset, length); err != nil {
		return err
	}
	s.at.seq, s.at.hlc = r.Seq, r.HLC
	s.events++
	s.fenced = s.fenced || r.Fence != 0
	if r.Kind.Unknown() {
		s.reserved[r.Kind]++
	}
	return nil
}

// openBatch takes a batch frame; done says that the batch ends behind until.
func (s *scan) openBatch(f *segment.Frame) (done bool, err error) {
	b := &s.batch
	var ok bool
	if b.Batch, ok = segment.DecodeBatch(f.Body); !ok || b.First != s.at.seq+1 || f.Flags&segment.FlagMember != 0 {
		return false, s.corrupt(f.Offset, "batch frame", nil)
	}
	if b.Length > uint64(s.until-f.End()) {
		return true, nil
	}
	b.left, b.from, b.bodies, b.members = b.Count, f.End(), b.bodies[:0], b.members[:0]
	if s.lasting {
		b.bodies = nil
	}
	b.held = s.frames.Hold(int64(b.Length))
	b.digest.Reset()
	return false, nil
}

// takeMember takes an event of the open batch; the last one hands all of them on.
func (s *scan) takeMember(f *segment.Frame) error {
	b := &s.batch
	if f.Type != segment.TypeEvent || f.Flags&segment.FlagMember == 0 {
		return s.corrupt(f.Offset, "frame inside a batch", nil)
	}
	body := f.Body
	if !b.held {
		b.bodies = append(b.bodies, f.Body...) // what it leaves behind when it grows stays as it is
		body = b.bodies[len(b.bodies)-len(f.Body):]
	}
	b.members = append(b.members, member{uint32(f.Offset), uint32(f.Len()), body})
	if hash, err := event.BodyHash(body); err == nil {
		b.digest.Add(hash)
	}
	if b.left--; b.left > 0 {
		return nil
	}
	var digest event.Hash
	b.digest.Sum(&digest)
	if uint64(f.End()-b.from) != b.Length || digest != b.Digest {
		return s.corrupt(b.from-segment.BatchLen, "batch length or digest", nil)
	}
	return s.flush()
}

// flush hands on the members that were read.
func (s *scan) flush() error {
	for i := range s.batch.members {
		m := &s.batch.members[i]
		if err := s.takeEvent(m.body, m.offset, m.length); err != nil {
			return err
		}
	}
	return nil
}

// half reports whether the scan ended inside a batch.
func (s *scan) half() bool { return s.batch.left > 0 }

// corrupt returns the error for sound bytes that contradict the log.
func (s *scan) corrupt(offset int64, reason string, err error) error {
	return corrupt(s.header.Segment, offset, s.at.seq+1, 0, reason, err)
}

// skipHole is a planted bug: it goes on behind the bytes that stopped the scan.
func (s *scan) skipHole() bool {
	found := false
	var at int64
	err := s.frames.Resync(func(f *segment.Frame) bool {
		at, found = f.Offset, true
		return false
	})
	if err != nil || !found {
		return false
	}
	s.frames = segment.NewScanner(s.src, s.header, at, s.until)
	return true
}
