package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A testLog writes real segments and keeps the runs over them, as a store would.
type testLog struct {
	t   testing.TB
	r   *rand.Rand
	dir vfs.Dir
	set *Set

	store  [16]byte
	shape  testShape
	seq    uint64
	hlc    event.HLC
	clocks map[string]uint64
	events []testEvent
	mixIDs bool // IDs that do not ascend

	header segment.Header // of the active segment
	active *Active
	file   vfs.File
	buf    []byte // frames that are not written yet
	end    int64  // behind the last frame, buf included
	frames []testFrames
}

// testFrames is what is needed to seal one segment.
type testFrames struct {
	header segment.Header
	frames uint64
	end    int64
	events []testPlace // of the segment
}

type testPlace struct {
	body           []byte
	offset, length uint32
}

type testEvent struct {
	event.Header
	payload string
	hash    event.Hash
}

// A testShape says what random events look like.
type testShape struct {
	entities, scopes, kinds int
	lanes                   uint32
	gaps, sparse, system    bool
	payload                 int // bytes
}

var everything = testShape{entities: 30, scopes: 4, kinds: 7, lanes: 3, gaps: true, sparse: true, system: true, payload: 30}

func newTestLog(t testing.TB, dir vfs.Dir, seed uint64, shape testShape) *testLog {
	t.Helper()
	l := &testLog{t: t, r: rand.New(rand.NewPCG(seed, 2)), dir: dir, shape: shape, hlc: 1 << 40, clocks: map[string]uint64{}}
	l.store[0] = byte(seed)
	l.begin()
	l.set = NewSet(nil, l.active)
	return l
}

func memDir(t testing.TB) vfs.Dir {
	t.Helper()
	dir, err := vfs.NewMem().OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func osDir(t testing.TB) vfs.Dir {
	t.Helper()
	dir, err := vfs.OS.OpenDir(t.TempDir(), vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}

// begin starts a new segment.
func (l *testLog) begin() {
	l.t.Helper()
	l.header = segment.Header{Store: l.store, Segment: l.header.Segment + 1, FirstSeq: l.seq + 1, LastSeq: l.seq}
	l.header.Previous = l.header.Segment - 1
	for i := range l.header.Salt {
		l.header.Salt[i] = byte(l.r.Uint32())
	}
	f, err := l.dir.Create(segment.Name(l.header.Segment))
	if err != nil {
		l.t.Fatal(err)
	}
	l.file, l.buf = f, segment.AppendHeader(nil, &l.header)
	l.end = int64(len(l.buf))
	l.active = NewActive(&l.header, f)
	l.frames = append(l.frames, testFrames{header: l.header})
	l.flush()
}

// addRaw adds an event to the active index, by one of the two ways there are: both show the same.
func (l *testLog) addRaw(r *event.Raw, offset, length uint32) error {
	row := segment.Row{
		ID: r.ID, Seq: r.Seq, Clock: r.Clock, HLC: r.HLC, Offset: offset, Length: length, Lane: r.Lane, Kind: r.Kind, Flags: r.Flags,
	}
	if r.Seq%2 == 0 || row.Sparse() && !row.OnlyKeyed() {
		return l.active.Add(r, offset, length)
	}
	row.Entity, row.Scope = l.active.Entity(string(r.Entity)), l.active.Scope(string(r.Scope))
	return l.active.AddRow(&row, &r.Key.Hash)
}

// flush writes what is buffered.
func (l *testLog) flush() {
	l.t.Helper()
	if _, err := l.file.WriteAt(l.buf, l.end-int64(len(l.buf))); err != nil {
		l.t.Fatal(err)
	}
	l.buf = l.buf[:0]
}

// random returns the next random event, not committed.
func (l *testLog) random() event.Header {
	s, r := l.shape, l.r
	h := event.Header{
		Kind:       event.Kind(1+r.IntN(s.kinds)%12)<<12 | event.Kind(r.IntN(s.kinds)),
		Coordinate: coordinate.MustNew(testEntity(r.IntN(s.entities)), fmt.Sprintf("scope-%d", r.IntN(s.scopes))),
	}
	if s.lanes > 1 && r.IntN(2) == 0 {
		h.Lane = r.Uint32N(s.lanes)
	}
	if s.system && r.IntN(9) == 0 {
		h.Kind = event.Kind([]int{event.CategorySystem, event.CategoryEffect}[r.IntN(2)]<<12 | r.IntN(3))
	}
	if !s.sparse {
		return h
	}
	for range r.IntN(3) {
		h.Tags = append(h.Tags, fmt.Sprintf("tag%d", r.IntN(min(4, s.kinds))))
	}
	if r.IntN(4) == 0 {
		binary.BigEndian.PutUint64(h.Key.Hash[:], r.Uint64N(500)+1)
	}
	if n := len(l.events); n > 0 && r.IntN(3) == 0 {
		h.Causation = l.events[n-1-r.IntN(min(n, 40))].ID
		h.Correlation = l.events[r.IntN(min(n, 9))].ID
	}
	return h
}

// testEntity returns names of several beginnings and lengths.
func testEntity(i int) string {
	name := fmt.Sprintf("%s:%d", []string{"order", "customer", "o"}[i%3], i)
	if i%11 == 7 {
		name += strings.Repeat("/long", i%200)
	}
	return name
}

// add commits n random events; readers do not see them yet.
func (l *testLog) add(n int) {
	for range n {
		h := l.random()
		l.addEvent(h)
	}
	l.flush()
}

// addEvent stamps h and commits it.
func (l *testLog) addEvent(h event.Header) {
	l.t.Helper()
	l.seq++
	if l.shape.gaps && l.r.IntN(5) == 0 {
		l.seq += l.r.Uint64N(4)
	}
	l.hlc += 1 + event.HLC(l.r.IntN(100))
	stream := fmt.Sprint(h.Coordinate.Entity(), "\x00", h.Lane)
	l.clocks[stream]++
	h.Seq, h.HLC, h.Clock, h.ID = l.seq, l.hlc, l.clocks[stream], event.NewID(l.hlc, l.r.Uint64())
	if l.mixIDs {
		h.ID = event.NewID(event.HLC(l.r.Uint64()>>16), l.r.Uint64())
	}
	e := testEvent{Header: h, payload: string(make([]byte, l.r.IntN(l.shape.payload+1)))}
	binary.LittleEndian.PutUint64(e.hash[:], l.r.Uint64())
	body := append(event.AppendMeta(nil, &h), e.hash[:]...)
	body = append(body, e.payload...)
	l.commit(body)
	l.events = append(l.events, e)
}

// commit puts a body into the segment and the index, now and then behind a frame of another type.
func (l *testLog) commit(body []byte) {
	l.t.Helper()
	seal, seg := segment.NewSeal(l.header.Salt), &l.frames[len(l.frames)-1]
	if l.shape.gaps && l.r.IntN(8) == 0 {
		n := len(l.buf)
		l.buf = seal.AppendMark(l.buf, l.end, 0)
		l.end += int64(len(l.buf) - n)
		seg.frames++
	}
	n := len(l.buf)
	l.buf = seal.AppendFrame(l.buf, l.end, segment.TypeEvent, 0, 0, body)
	length := len(l.buf) - n
	raw, err := event.DecodeBody(body)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.addRaw(&raw, uint32(l.end), uint32(length)); err != nil {
		l.t.Fatal(err)
	}
	seg.events = append(seg.events, testPlace{body, uint32(l.end), uint32(length)})
	l.end += int64(length)
	seg.frames++
	seg.end = l.end
	if len(l.buf) > 1<<20 {
		l.flush()
	}
}

// show publishes everything and moves the visible end to it.
func (l *testLog) show() {
	l.active.Publish()
	l.set.SetVisible(l.seq)
}

// rotate begins a new segment; the old one stays in memory.
func (l *testLog) rotate() {
	l.active.Publish()
	l.begin()
	l.set.Rotate(l.active)
}

// seal writes the footer of segment id and serves it from its file.
func (l *testLog) seal(id uint64) *Sealed {
	l.t.Helper()
	l.writeFooter(id)
	s, err := OpenSealed(l.dir, l.store, id)
	if err != nil {
		l.t.Fatal(err)
	}
	l.set.ReplaceSealed(id, s)
	return s
}

func (l *testLog) writeFooter(id uint64) {
	l.t.Helper()
	seg := &l.frames[id-1]
	b := segment.NewFooterBuilder(&seg.header)
	for _, p := range seg.events {
		raw, err := event.DecodeBody(p.body)
		if err != nil {
			l.t.Fatal(err)
		}
		if err := b.Add(&raw, p.offset, p.length); err != nil {
			l.t.Fatal(err)
		}
	}
	end := segment.FooterEnd{Frames: seg.frames, End: seg.end, TreeSize: uint64(len(seg.events))}
	if end.End == 0 {
		end.End = seg.header.Len()
	}
	footer, err := b.Finish(nil, end)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := segment.WriteFooter(l.dir, id, end.End, footer); err != nil {
		l.t.Fatal(err)
	}
}

// mixed fills a log with sealed runs, a frozen one and an active one.
func mixed(t testing.TB, dir vfs.Dir, seed uint64, shape testShape, perSegment int) *testLog {
	t.Helper()
	l := newTestLog(t, dir, seed, shape)
	for range 3 {
		l.add(perSegment)
		l.rotate()
	}
	l.rotate() // an empty segment
	l.add(perSegment)
	l.rotate()
	l.add(perSegment / 2)
	l.seal(1)
	l.seal(2)
	l.seal(4) // the empty one
	l.seal(3)
	l.show()
	return l
}

// findKeyOf is [View.FindKey] for whoever wants the event by value; it is zero when there is none.
func findKeyOf(v *View, key [16]byte, from uint64, hidden func(seq uint64) bool) (raw event.Raw, ok bool, err error) {
	if ok, err = v.FindKey(&raw, key, from, hidden); !ok || err != nil {
		return event.Raw{}, false, err
	}
	return raw, true, nil
}
