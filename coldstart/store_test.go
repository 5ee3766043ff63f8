package coldstart

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"batpak/coordinate"
	"batpak/event"
	"batpak/idemp"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A model is what a store must hold: the hash of every event, by sequence.
type model map[uint64]event.Hash

// A testStore drives a State as the root package does, with a model beside it.
type testStore struct {
	t   testing.TB
	st  *State
	cfg Config

	seq     uint64
	hlc     event.HLC
	linker  event.Linker
	heads   map[string]index.Head
	fence   uint64                 // that stages what is written; 0 for none
	staged  bool                   // nothing that is written becomes visible: the fence is open
	kind    event.Kind             // of what is written; 0 for an ordinary one
	keyed   func(seq uint64) bool  // which events get an idempotency key; nil: none
	entries map[uint64]idemp.Entry // of the events that have one, by sequence
	events  model                  // everything written
	durable model                  // everything that a sync has covered
	spoken  model                  // everything that somebody was told of: more than durable in a relaxed store
}

// testConfig returns a config whose clock and randomness are the same in every run.
func testConfig(fs vfs.FS) Config {
	rng := rand.New(rand.NewPCG(1, 2))
	at := time.UnixMilli(1_700_000_000_000)
	return Config{
		FS: fs, Dir: vfs.MemDir, SegmentSize: 1 << 16,
		Now: func() time.Time { at = at.Add(time.Millisecond); return at },
		Random: func(b []byte) {
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
		},
	}
}

func openTest(t testing.TB, cfg Config) *testStore {
	t.Helper()
	st, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("Open = %v", err)
	}
	return adopt(t, st, cfg)
}

// adopt goes on with an open State; what it holds is the model.
func adopt(t testing.TB, st *State, cfg Config) *testStore {
	t.Helper()
	held, err := readAll(st)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return &testStore{
		t: t, st: st, cfg: cfg, seq: st.NextSeq - 1, hlc: st.LastHLC, heads: map[string]index.Head{},
		entries: map[uint64]idemp.Entry{}, events: held, durable: maps.Clone(held), spoken: maps.Clone(held),
	}
}

// readAll reads every event of st in order, and finds each one by its sequence and its stream's head again.
func readAll(st *State) (model, error) {
	v := st.Set.Acquire()
	defer v.Release()
	m := model{}
	last := event.Event{}
	heads := map[string]event.Event{}
	first, _ := v.Bounds()
	cur := v.Scan(index.Query{System: true}, false)
	defer cur.Close()
	for cur.Next() {
		ev := cur.Raw().Event()
		if ev.Seq <= last.Seq || ev.HLC <= last.HLC {
			return nil, fmt.Errorf("event %d (%v) follows %d (%v)", ev.Seq, ev.HLC, last.Seq, last.HLC)
		}
		stream := ev.Coordinate.Entity()
		if _, known := heads[stream]; !known && first > 1 {
			heads[stream] = event.Event{Clock: ev.Clock - 1} // the ones before are evicted
		}
		if ev.Clock != heads[stream].Clock+1 {
			return nil, fmt.Errorf("event %d of %s has clock %d after %d", ev.Seq, stream, ev.Clock, heads[stream].Clock)
		}
		var l event.Linker
		if evicted := heads[stream].Seq == 0 && ev.Clock > 1; !evicted && !l.Verify(cur.Raw(), heads[stream].Hash) {
			return nil, fmt.Errorf("event %d does not continue the chain of %s", ev.Seq, stream)
		}
		m[ev.Seq] = ev.Hash
		last = event.Event{Seq: ev.Seq, HLC: ev.HLC}
		heads[stream] = event.Event{Seq: ev.Seq, Clock: ev.Clock, Hash: ev.Hash}
	}
	if err := cur.Err(); err != nil {
		return nil, err
	}
	for stream, want := range heads {
		h, ok, err := v.Head(stream, 0)
		if err != nil {
			return nil, fmt.Errorf("head of %s: %w", stream, err)
		}
		if !ok || h.Seq != want.Seq || h.Hash != want.Hash {
			return nil, fmt.Errorf("head of %s = %d, %v, want %d", stream, h.Seq, ok, want.Seq)
		}
	}
	return m, nil
}

// frame encodes the next event of stream as a frame that will stand at offset.
func (s *testStore) frame(dst []byte, offset int64, stream int, flags segment.FrameFlags, payload []byte) ([]byte, event.Hash) {
	entity := fmt.Sprintf("e%d", stream)
	head, known := s.heads[entity]
	if !known {
		v := s.st.Set.Acquire()
		var err error
		head, _, err = v.Head(entity, 0)
		v.Release()
		if err != nil {
			s.t.Fatalf("Head(%s) = %v", entity, err)
		}
	}
	s.seq++
	s.hlc = s.hlc.Next(s.cfg.Now())
	h := event.Header{
		Seq: s.seq, ID: event.NewID(s.hlc, s.seq), HLC: s.hlc, Clock: head.Clock + 1, Kind: event.MustKind(1, 1),
		Coordinate: coordinate.MustNew(entity, "s"), Fence: s.fence,
	}
	if s.kind != 0 {
		h.Kind = s.kind
	}
	if s.keyed != nil && s.keyed(s.seq) {
		h.Key = keyOf(s.seq)
	}
	body := event.AppendMeta(nil, &h)
	content := event.ContentHash(h.Salt, payload)
	hash := s.linker.Link(&head.Hash, &content, body)
	body = append(append(body, hash[:]...), payload...)
	if h.Key != (event.Key{}) {
		raw, _ := event.DecodeBody(body)
		s.entries[s.seq] = idemp.EntryOf(&raw, head.Hash)
	}
	s.heads[entity] = index.Head{Seq: h.Seq, Clock: h.Clock, ID: h.ID, Hash: hash}
	s.events[s.seq] = hash
	w := s.st.Writer
	return w.Seal().AppendFrame(dst, offset, segment.TypeEvent, flags, uint32(w.Durable()), body), hash
}

// keyOf returns the key of the event with a sequence.
func keyOf(seq uint64) event.Key {
	var k event.Key
	binary.BigEndian.PutUint64(k.Hash[:], seq*0x9e3779b97f4a7c15|1<<56)
	binary.BigEndian.PutUint64(k.Fingerprint[:], seq)
	return k
}

// group encodes n events; as a batch if batch is set.
func (s *testStore) group(n int, batch bool, size int) []byte {
	w := s.st.Writer
	base := w.End()
	first := s.seq + 1
	var members []byte
	var digest segment.BatchDigest
	digest.Reset()
	flags := segment.FrameFlags(0)
	if batch {
		base += segment.BatchLen
		flags = segment.FlagMember
	}
	for i := range n {
		payload := make([]byte, size)
		binary.LittleEndian.PutUint64(payload, s.seq+1)
		var hash event.Hash
		members, hash = s.frame(members, base+int64(len(members)), i%3, flags, payload)
		digest.Add(&hash)
	}
	if !batch {
		return members
	}
	b := segment.Batch{Count: uint32(n), Length: uint64(len(members)), First: first}
	digest.Sum(&b.Digest)
	open := w.Seal().AppendFrame(nil, w.End(), segment.TypeBatch, segment.FlagGroup, uint32(w.Durable()), segment.AppendBatch(nil, &b))
	return append(open, members...)
}

// write writes a group and indexes it, without a sync.
func (s *testStore) write(group []byte) {
	s.t.Helper()
	w, at := s.st.Writer, s.st.Writer.End()
	if err := w.Write(group); err != nil {
		s.t.Fatalf("Write = %v", err)
	}
	s.index(group, at)
}

func (s *testStore) index(group []byte, at int64) {
	w := s.st.Writer
	for len(group) > 0 {
		f, err := w.Seal().DecodeFrame(group, 1, at)
		if err != nil {
			s.t.Fatalf("DecodeFrame = %v", err)
		}
		if f.Type == segment.TypeEvent {
			raw, _ := event.DecodeBody(f.Body)
			if err := s.st.Active.Add(&raw, uint32(f.Offset), uint32(f.Len())); err != nil {
				s.t.Fatalf("Add = %v", err)
			}
			s.st.Folder.Take(raw.Hash)
		}
		group, at = group[f.Len():], f.End()
	}
	s.st.Active.Publish()
	if !s.staged {
		s.st.Set.SetVisible(s.seq)
	}
	if s.cfg.Relaxed {
		s.spoken = maps.Clone(s.events)
	}
}

// sync makes everything written durable and acknowledges it.
func (s *testStore) sync() {
	s.t.Helper()
	if err := s.st.Writer.Sync(); err != nil {
		s.t.Fatalf("Sync = %v", err)
	}
	s.durable, s.spoken = maps.Clone(s.events), maps.Clone(s.events)
	if err := s.st.Beacon.Publish(s.end().Pos, s.seq); err != nil {
		s.t.Fatalf("Publish = %v", err)
	}
}

// append commits n events durably, one group.
func (s *testStore) append(n int) {
	s.t.Helper()
	s.write(s.group(n, false, 16))
	s.sync()
}

func (s *testStore) end() End {
	w := s.st.Writer
	return End{Pos: segment.Pos{Segment: w.Header().Segment, Offset: w.End()}, Seq: s.seq, HLC: s.hlc}
}

func (s *testStore) rotate() Unsealed {
	s.t.Helper()
	u, err := s.st.Rotate(s.end())
	if err != nil {
		s.t.Fatalf("Rotate = %v", err)
	}
	return u
}

func (s *testStore) seal(u Unsealed) {
	s.t.Helper()
	if err := s.st.Seal(context.Background(), u); err != nil {
		s.t.Fatalf("Seal = %v", err)
	}
}

// close ends the store cleanly.
func (s *testStore) close() {
	s.t.Helper()
	s.sync()
	if err := s.st.Writer.Trim(); err != nil {
		s.t.Fatalf("Trim = %v", err)
	}
	if err := s.st.WriteAnchor(s.end(), true); err != nil {
		s.t.Fatalf("WriteAnchor = %v", err)
	}
	s.crash()
}

// crash drops everything in memory.
func (s *testStore) crash() {
	s.t.Helper()
	if err := s.st.Close(); err != nil {
		s.t.Fatalf("Close = %v", err)
	}
}

// A rebuilt store has segments that were rotated by hand: three of them, the first two sealed, a half-full third.
func threeSegments(t testing.TB, fs vfs.FS) (*testStore, model) {
	s := openTest(t, testConfig(fs))
	for range 2 {
		s.append(3)
		s.write(s.group(2, true, 16))
		s.sync()
		s.seal(s.rotate())
	}
	s.append(2)
	s.append(2)
	return s, maps.Clone(s.events)
}

// reopen opens the directory in fs, reads everything and closes it without a clean end.
func reopen(fs vfs.FS, readOnly bool) (model, Report, error) {
	cfg := testConfig(fs)
	cfg.ReadOnly = readOnly
	st, err := Open(context.Background(), cfg)
	if err != nil {
		return nil, Report{}, err
	}
	m, err := readAll(st)
	return m, st.Report, errors.Join(err, st.Close())
}

// contains says which event of want is not in m as it was, or "".
func (m model) contains(want model) string {
	for _, seq := range slices.Sorted(maps.Keys(want)) {
		if got, ok := m[seq]; !ok {
			return fmt.Sprintf("event %d is missing", seq)
		} else if got != want[seq] {
			return fmt.Sprintf("event %d is another one", seq)
		}
	}
	return ""
}

// prefixOf says how m is not a prefix of want, or "".
func (m model) prefixOf(want model) string {
	if why := want.contains(m); why != "" {
		return "more than was written: " + why
	}
	seqs := slices.Sorted(maps.Keys(want))
	for i, seq := range seqs {
		if _, ok := m[seq]; ok && i > 0 {
			if _, before := m[seqs[i-1]]; !before {
				return fmt.Sprintf("event %d is there and %d is not", seq, seqs[i-1])
			}
		}
	}
	return ""
}
