package batpak

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"sync"

	"batpak/coordinate"
	"batpak/event"
	"batpak/index"
	"batpak/segment"
)

// maxKeyBytes bounds an idempotency key.
const maxKeyBytes = 1024

// A request is one Append or AppendBatch on its way through the committer: encoded, hashed and checked on its caller's
// goroutine, so that the committer only stamps, links and copies. Requests are pooled.
type request struct {
	items    []item
	drafts   []Draft          // for the gates, one for each item; empty where there are none
	encoders [2]encoder       // a single draft needs one
	probes   []index.KeyProbe // of the keys of items
	batch    bool             // commits as a batch frame and its members
	ack      Ack              // strictest of the drafts
	frames   int64            // bytes of the items' frames

	// Set by the committer.
	receipts []Receipt
	err      error
	settled  bool         // the outcome, an error too, does not hang on the group: the log says it
	signed   *signedGroup // signs the receipts; nil: nobody does yet

	// Guarded by the queue's lock.
	state requestState
	wake  chan bool // true: lead the next group; false: the outcome is there; nil in a request that does not wait

	fence *Fence          // that stages the items; nil for most
	op    segment.FenceOp // what else is asked of the fence; such a request has no items
	cause error           // why it is cancelled, when nobody asked

	ticket *ticket // who gets the outcome instead of whoever waits on wake; nil for most
}

type requestState uint8

const (
	requestQueued requestState = iota // waits; may be taken back
	requestTaken                      // part of a group that is being committed
	requestLeads                      // was told to lead
)

// An item is one encoded draft: room for a frame header, then meta, hash and payload. What only the committer knows
// is zero.
type item struct {
	frame   []byte // in the buffer of an encoder
	metaLen int
	content event.Hash
	at      coordinate.Coordinate
	kind    event.Kind
	flags   event.Flags // as the meta says
	lane    uint32
	depth   uint32   // that the draft names; 0 on another lane than 0 for the one that is maintained
	version uint16   // of the payload
	newLane bool     // lane is to be chosen
	fork    event.ID // event that the lane branches from; zero for none
	expect  Expect
	unless  []unless
	cause   int    // index of the draft that causes this one, or -1
	fence   uint64 // that stages it; 0 for none
	draft   *Draft // for the gates; nil where there are none

	// stagedBy is the fence that staged the event which has used the key, where the log does not tell; 0 for none.
	stagedBy uint64

	key   event.Key
	keyed bool
}

// meta returns the meta part of the frame.
func (it *item) meta() []byte { return it.frame[segment.FrameHeaderLen:][:it.metaLen] }

// An encoder turns drafts into items. The two of a batch work side by side.
type encoder struct {
	buf    []byte   // frames, one behind the other; one that was outgrown lives on in the items
	unless []unless // conditions of the items
	header event.Header
	fence  uint64 // that stages the events; 0 for none
	hashed []byte // what a key's hashes are of
	frames int64  // bytes
	ack    Ack

	failed int // index of the draft that err is about
	err    error
}

// reset makes e ready for another request. The header is overwritten then.
func (e *encoder) reset() {
	e.buf, e.frames, e.ack, e.err, e.fence = e.buf[:0], 0, AckDefault, nil, 0
	if cap(e.buf) > keepBuf {
		e.buf = nil
	}
	clear(e.unless) // drop the strings
	e.unless = e.unless[:0]
	if cap(e.unless) > keepUnless {
		e.unless = nil
	}
}

// Requests in the pool hold no channel: those of a testing/synctest bubble must not be met outside of it.
var requestPool = sync.Pool{New: func() any { return new(request) }}

// keepBuf is the largest buffer that goes back to the pool: one huge event must not stay on the heap for ever.
const keepBuf = 1 << 20

// keepUnless is keepBuf for conditions.
const keepUnless = 1 << 10

// newRequest returns an empty request.
func newRequest() *request {
	r := requestPool.Get().(*request)
	r.items, r.receipts, r.probes = r.items[:0], r.receipts[:0], r.probes[:0]
	r.batch, r.ack, r.frames = false, AckDefault, 0
	r.err, r.settled, r.signed, r.state, r.ticket = nil, false, nil, requestQueued, nil
	r.fence, r.op, r.cause, r.wake = nil, 0, nil, nil
	return r
}

// within lets f, unless it is nil, stage what r is going to hold.
func (r *request) within(f *Fence) {
	if r.fence = f; f == nil {
		return
	}
	r.encoders[0].fence, r.encoders[1].fence = f.number, f.number
}

// free gives r back. Nobody may hold it any more.
func (r *request) free() {
	for i := range r.encoders {
		if e := &r.encoders[i]; len(e.buf) > 0 || len(e.unless) > 0 || e.err != nil || e.fence != 0 {
			e.reset()
		}
	}
	clear(r.items) // drop the strings
	clear(r.drafts)
	r.drafts = r.drafts[:0]
	clear(r.receipts)
	requestPool.Put(r)
}

// size returns the bytes that r takes in a segment.
func (r *request) size() int64 {
	size := r.frames
	if r.batch {
		size += segment.BatchLen
	}
	if r.records() {
		size += denialReserve
	}
	if r.fence != nil && r.op == 0 {
		size += fenceFrameLen // the first of its fence has one in front
	}
	return size
}

// encodeOne checks and encodes a single draft.
func (s *Store) encodeOne(r *request, d *Draft) error {
	if d.CausedByDraft != 0 {
		return &DraftError{Field: "CausedByDraft", Reason: "only a batch has earlier drafts"}
	}
	r.items = append(r.items, item{})
	s.keepDrafts(r)
	e := &r.encoders[0]
	if err := s.encode(e, d, 0, &r.items[0]); err != nil {
		return err
	}
	r.ack, r.frames = e.ack, e.frames
	if err := s.checkSize(r); err != nil {
		return err
	}
	return r.probeKeys()
}

// encodeBatch checks and encodes the drafts of a batch.
func (s *Store) encodeBatch(r *request, drafts []Draft) error {
	r.batch = true
	if len(drafts) == 0 {
		return &DraftError{Field: "drafts", Reason: "empty batch"}
	}
	if len(drafts) > s.opts.MaxBatchEvents && len(drafts)-ownDrafts(drafts) > s.opts.MaxBatchEvents {
		return &LimitError{Field: "batch events", Value: int64(len(drafts)), Limit: int64(s.opts.MaxBatchEvents)}
	}
	// What is too large is not encoded to its end; a draft before that end which cannot be is the error all the same.
	count, total := 0, int64(0)
	for ; count < len(drafts) && total <= s.opts.MaxBatchBytes; count++ {
		total += payloadBytes(drafts[count : count+1])
	}
	if err := s.encodeAll(r, drafts[:count]); err != nil {
		return err
	}
	if total > s.opts.MaxBatchBytes {
		return &LimitError{Field: "batch bytes", Value: payloadBytes(drafts), Limit: s.opts.MaxBatchBytes}
	}
	if err := s.checkSize(r); err != nil {
		return err
	}
	return r.probeKeys()
}

// ownDrafts returns how many of drafts are events of the store's own: a caller's limit is none for them.
func ownDrafts(drafts []Draft) (n int) {
	for i := range drafts {
		if drafts[i].own {
			n++
		}
	}
	return n
}

// payloadBytes returns the size of the payloads of the caller's drafts.
func payloadBytes(drafts []Draft) (total int64) {
	for i := range drafts {
		if !drafts[i].own {
			total += int64(len(drafts[i].Payload))
		}
	}
	return total
}

// encodeChunk is how many drafts one of the encoders takes at once.
const encodeChunk = 16

// encodeAll encodes drafts, on two cores where they are many. The error is that of the first draft that cannot be: the
// encoders take chunks in order and finish what they have taken, so neither passes over one before the other's.
func (s *Store) encodeAll(r *request, drafts []Draft) error {
	r.items = slices.Grow(r.items, len(drafts))[:len(drafts)]
	s.keepDrafts(r)
	encode := func(worker, chunk int) bool {
		e := &r.encoders[worker]
		for i := chunk * encodeChunk; i < min((chunk+1)*encodeChunk, len(drafts)); i++ {
			if e.err = s.encode(e, &drafts[i], i, &r.items[i]); e.err != nil {
				e.failed = i
				return false
			}
		}
		return true
	}
	chunks := (len(drafts) + encodeChunk - 1) / encodeChunk
	if len(drafts) < shareFrom {
		for chunk := 0; chunk < chunks && encode(0, chunk); chunk++ {
		}
	} else {
		share(chunks, encode)
	}
	first, second := &r.encoders[0], &r.encoders[1]
	r.ack, r.frames = max(first.ack, second.ack), first.frames+second.frames
	switch {
	case second.err != nil && (first.err == nil || second.failed < first.failed):
		return &BatchError{Index: second.failed, Err: second.err}
	case first.err != nil:
		return &BatchError{Index: first.failed, Err: first.err}
	}
	return nil
}

// records reports whether a denial of any of r's drafts is to be recorded.
func (r *request) records() bool {
	for i := range r.drafts {
		if r.drafts[i].RecordDenial {
			return true
		}
	}
	return false
}

// keepDrafts makes room for what the gates will see, if there are any.
func (s *Store) keepDrafts(r *request) {
	if len(s.opts.Gates) == 0 {
		return
	}
	r.drafts = slices.Grow(r.drafts[:0], len(r.items))[:len(r.items)]
	for i := range r.items {
		r.items[i].draft = &r.drafts[i]
	}
}

// probeKeys makes ready for the look-up of r's keys. It refuses a batch that uses a key twice: the second could only be a
// retry of the first.
func (r *request) probeKeys() error {
	for i := range r.items {
		if it := &r.items[i]; it.keyed {
			r.probes = append(r.probes, index.NewKeyProbe(it.key.Hash, i))
		}
	}
	if i, j := index.Twins(r.probes); i != j {
		return &BatchError{
			Index: j, Err: &DraftError{Field: "IdempotencyKey", Reason: "also used by draft " + strconv.Itoa(i)},
		}
	}
	return nil
}

// checkSize refuses what no segment can hold.
func (s *Store) checkSize(r *request) error {
	if room := s.opts.SegmentSize - segmentReserve; r.size() > room {
		return &LimitError{Field: "segment", Value: r.size(), Limit: room}
	}
	return nil
}

// encode checks d and makes it the frame of it: sequence, ID, clocks, chain hash and checksums left out. index is its
// place in the batch.
func (s *Store) encode(e *encoder, d *Draft, index int, it *item) error {
	if err := s.check(d, index); err != nil {
		return err
	}
	*it = item{draft: it.draft}
	if d.own {
		it.draft = nil
	}
	if len(d.Unless) > 0 {
		var err error
		if it.unless, err = e.compileUnless(d.Unless); err != nil {
			return err
		}
	}
	s.fill(e, d, it)
	return nil
}

// fill makes d, which was checked, the frame of it.
func (s *Store) fill(e *encoder, d *Draft, it *item) {
	h := &e.header
	*h = event.Header{
		Kind: d.Kind, PayloadVersion: d.PayloadVersion, Coordinate: d.Coordinate, Lane: d.Lane, Depth: d.Depth, Fork: d.Fork,
		Correlation: d.Correlation, Causation: d.Causation, Tags: d.Tags, Extensions: d.Extensions,
		Fence: e.fence,
	}
	it.at, it.kind, it.lane, it.expect, it.cause, it.fence = d.Coordinate, d.Kind, d.Lane, d.Expect, -1, e.fence
	it.depth, it.version, it.fork, it.newLane = d.Depth, d.PayloadVersion, d.Fork, d.newLane
	if d.CausedByDraft != 0 {
		it.cause = int(d.CausedByDraft) - 1
		h.Causation = event.ID{1} // room, stamped when the cause has its ID
	}
	if len(d.IdempotencyKey) > 0 {
		it.keyed = true
		h.Key.Hash = e.keyHash(d.IdempotencyKey)
		it.key.Hash = h.Key.Hash
	}
	start := len(e.buf)
	var room [max(segment.FrameHeaderLen, event.HashLen)]byte
	e.buf = append(e.buf, room[:segment.FrameHeaderLen]...)
	e.buf = event.AppendMeta(e.buf, h)
	it.metaLen = len(e.buf) - start - segment.FrameHeaderLen
	e.buf = append(e.buf, room[:event.HashLen]...)
	payload := len(e.buf)
	e.buf = append(e.buf, d.Payload...)
	it.frame = e.buf[start:len(e.buf):len(e.buf)]
	it.content = event.ContentHash([16]byte{}, e.buf[payload:])
	if it.keyed {
		e.finishKey(it, d)
	}
	if it.draft != nil {
		e.keepDraft(it, d)
	}
	it.flags = event.MetaFlags(it.meta())
	e.ack = max(e.ack, d.Ack)
	e.frames += int64(len(it.frame))
}

// keyHash returns the 128 bits that stand for a key. Zero means "no key" in a frame and never comes out.
func (e *encoder) keyHash(key []byte) (h [16]byte) {
	e.hashed = append(append(e.hashed[:0], "batpak.key.v1\n"...), key...)
	sum := sha256.Sum256(e.hashed)
	copy(h[:], sum[:])
	h[0] |= 1
	return h
}

// finishKey computes the fingerprint of a keyed request, which needs the content hash, and puts it into the frame.
// The fingerprint covers what the caller asked for: coordinate, kind, lane, depth, fork, payload version, correlation,
// causation, tags, extensions, payload. A fence is not part of it: the retry comes through another one, or through none.
// What is hashed has one reading: after 32 bytes of content hash come the digits of CausedByDraft up to a line feed,
// then "new lane\n" where the lane is to be chosen, then the meta, which begins with zeroes and tells its own parts apart.
// It is part of the format.
func (e *encoder) finishKey(it *item, d *Draft) {
	meta := it.meta()
	b := append(append(e.hashed[:0], "batpak.request.v1\n"...), it.content[:]...)
	b = append(strconv.AppendInt(b, int64(d.CausedByDraft), 10), '\n')
	if it.newLane {
		b = append(b, "new lane\n"...)
	}
	if it.fence != 0 {
		e.header.Fence = 0
		b = event.AppendMeta(b, &e.header)
	} else {
		b = append(b, meta...) // everything but what the committer stamps, which is zero
	}
	e.hashed = b
	sum := sha256.Sum256(b)
	copy(it.key.Fingerprint[:], sum[:])
	event.SetFingerprint(meta, it.key.Fingerprint)
}
