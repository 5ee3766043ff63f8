package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"batpak"
	"batpak/coordinate"
	"batpak/internal/vfs"
)

// Concurrent clients write down when each of their calls began and ended and what it returned; then a checker looks for an
// order of the calls, each somewhere between its begin and its end, in which a store that does one call at a time would
// have returned the same. The store that does one call at a time is [linState].

// What a call asks for.
const (
	askAppend = iota
	askRead
	askCommit
	askCancel
	askCrash // the process dies, and the store is opened again
)

// A linAsk is one call.
type linAsk struct {
	what    int
	entity  int
	payload byte // of an append; names it
	key     byte // 0 for none
	fence   byte // number of the fence, 0 for none; of a crash: of the last one before it
	expect  int  // clock; -1 for any
	unless  int  // no event of the entity behind this clock; -1 for no condition
}

// What a call returned.
const (
	gotOK         = iota
	gotExpect     // the clock was another one
	gotUnless     // an event was in the way
	gotFenceEnded // Commit, Cancel and appends through a fence
	gotFenceOpen  // the key is in doubt
	gotUnknown    // the process died meanwhile
)

// A linGot is what it returned.
type linGot struct {
	what     int
	clock    int
	replayed bool
	read     string // payload and clock of each event
}

// A linState is the log of one entity, or of a store that has one: three bytes for each event (payload, key, fence), and
// for each fence how it ended.
type linState struct {
	log    string
	fences string // 'c' committed, 'x' cancelled, 'o' neither; by number
}

const linFences = 64

func (s *linState) ended(fence byte) byte {
	if fence == 0 {
		return 'c'
	}
	return s.fences[fence]
}

func (s *linState) end(fence byte, as byte) {
	s.fences = s.fences[:fence] + string(as) + s.fences[fence+1:]
}

func (s *linState) len() int { return len(s.log) / 3 }

// front returns the first place that reads do not see.
func (s *linState) front() int {
	front := s.len()
	for i := range s.len() {
		if s.ended(s.log[3*i+2]) == 'o' {
			front = i
			break
		}
	}
	for moved := front < s.len(); moved; {
		moved = false
		for i := range front {
			for j := front; j < s.len() && s.log[3*i+2] != 0; j++ {
				if s.log[3*i+2] == s.log[3*j+2] && s.ended(s.log[3*i+2]) == 'c' {
					front, moved = i, true
				}
			}
			if moved {
				break
			}
		}
	}
	return front
}

// read returns what a read sees.
func (s *linState) read() string {
	var seen []byte
	for i := range s.front() {
		if s.ended(s.log[3*i+2]) == 'c' {
			seen = append(seen, s.log[3*i], byte(i+1))
		}
	}
	return string(seen)
}

// append is what an append does.
func (s *linState) append(a *linAsk) linGot {
	if a.fence != 0 && s.ended(a.fence) != 'o' {
		return linGot{what: gotFenceEnded}
	}
	for i := s.len() - 1; i >= 0 && a.key != 0; i-- {
		fence := s.log[3*i+2]
		switch ended := s.ended(fence); {
		case s.log[3*i+1] != a.key || ended == 'x':
		case ended == 'o' && fence != a.fence:
			return linGot{what: gotFenceOpen}
		default:
			return linGot{clock: i + 1, replayed: true}
		}
	}
	for i := max(a.unless, 0); i < s.len() && a.unless >= 0; i++ {
		if s.ended(s.log[3*i+2]) != 'x' {
			return linGot{what: gotUnless}
		}
	}
	if a.expect >= 0 && a.expect != s.len() {
		return linGot{what: gotExpect}
	}
	s.log += string([]byte{a.payload, a.key, a.fence})
	return linGot{clock: s.len()}
}

// step does one call, and returns what it returns.
func (s *linState) step(a *linAsk) linGot {
	switch a.what {
	case askAppend:
		return s.append(a)
	case askRead:
		return linGot{read: s.read()}
	case askCrash:
		for i := range int(a.fence) + 1 {
			if s.fences[i] == 'o' {
				s.end(byte(i), 'x')
			}
		}
		return linGot{}
	}
	if s.ended(a.fence) != 'o' {
		return linGot{what: gotFenceEnded}
	}
	s.end(a.fence, map[int]byte{askCommit: 'c', askCancel: 'x'}[a.what])
	return linGot{}
}

// linModel is the store that does one call at a time.
var linModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		parts := map[int][]porcupine.Operation{}
		for _, o := range history {
			e := o.Input.(linAsk).entity
			parts[e] = append(parts[e], o)
		}
		var out [][]porcupine.Operation
		for _, p := range parts {
			out = append(out, p)
		}
		return out
	},
	Init: func() any {
		open := make([]byte, linFences)
		for i := range open {
			open[i] = 'o'
		}
		return linState{fences: string(open)}
	},
	Step: func(state, input, output any) (bool, any) {
		s, a, got := state.(linState), input.(linAsk), output.(linGot)
		is := s.step(&a)
		return got.what == gotUnknown || is == got, s
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// A linRun is one history in the making.
type linRun struct {
	st       *batpak.Store
	entities int
	fenced   bool

	now   atomic.Int64
	names atomic.Int64 // of payloads

	mu      sync.Mutex
	history []porcupine.Operation
	known   map[int][]linKnown // by entity: what somebody has seen
	slots   [2]linFence        // fences that clients share
	numbers byte
	wrong   error
}

// A linKnown is an event that somebody has seen.
type linKnown struct {
	clock int
	seq   uint64
}

type linFence struct {
	f      *batpak.Fence
	number byte
}

// linCoordinate is the address of an entity.
func linCoordinate(entity int) coordinate.Coordinate {
	return coordinate.MustNew(fmt.Sprintf("linear:%d", entity), "s")
}

// keyPayload is the payload of everything under a key: retries are the same request.
const keyPayload = 200

// draw makes a call up.
func (l *linRun) draw(rng *rand.Rand) (a linAsk, seq uint64, f *batpak.Fence) {
	l.mu.Lock()
	defer l.mu.Unlock()
	a = linAsk{entity: rng.IntN(l.entities), expect: -1, unless: -1}
	if s := l.slots[rng.IntN(len(l.slots))]; s.f != nil && rng.IntN(2) == 0 {
		a.fence, f = s.number, s.f
		if end := rng.IntN(6); end < 2 {
			a.what = askCommit + end
			return a, 0, f
		}
	}
	if rng.IntN(4) == 0 {
		return linAsk{what: askRead, entity: a.entity}, 0, nil
	}
	a.payload = byte(l.names.Add(1))
	if rng.IntN(3) == 0 {
		a.key = byte(1 + rng.IntN(3))
		a.payload = keyPayload + a.key
	}
	var at linKnown
	if known := l.known[a.entity]; len(known) > 0 {
		at = known[len(known)-1-rng.IntN(min(3, len(known)))]
	}
	switch rng.IntN(4) {
	case 0:
		a.expect = at.clock
	case 1:
		a.unless = at.clock
	}
	return a, at.seq, f
}

// call makes a call to the store and writes it down.
func (l *linRun) call(client int, a linAsk, seq uint64, f *batpak.Fence) {
	began := l.now.Add(1)
	got, seen, err := l.ask(&a, seq, f)
	ended := l.now.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if errors.Is(err, batpak.ErrClosed) {
			return // nothing has happened
		}
		var w *batpak.WriteError
		if !errors.As(err, &w) && !errors.Is(err, errPower) {
			l.wrong = errors.Join(l.wrong, fmt.Errorf("%+v: %w", a, err))
		}
		if w == nil || !w.MayLand {
			return
		}
		got, ended = linGot{what: gotUnknown}, 1<<40
	}
	l.known[a.entity] = append(l.known[a.entity], seen...)
	l.history = append(l.history, porcupine.Operation{ClientId: client, Input: a, Call: began, Output: got, Return: ended})
}

// ask makes the call.
func (l *linRun) ask(a *linAsk, seq uint64, f *batpak.Fence) (got linGot, seen []linKnown, err error) {
	ctx := context.Background()
	at := linCoordinate(a.entity)
	switch a.what {
	case askRead:
		var read []byte
		for ev, err := range l.st.Read(ctx, batpak.Query{Entity: at.Entity()}) {
			if err != nil {
				return got, nil, err
			}
			read = append(read, ev.Payload[0], byte(ev.Clock))
			seen = append(seen[:0], linKnown{int(ev.Clock), ev.Seq})
		}
		return linGot{read: string(read)}, seen, nil
	case askCommit:
		got.what, err = outcome(f.Commit(ctx))
		return got, nil, err
	case askCancel:
		got.what, err = outcome(f.Cancel(ctx))
		return got, nil, err
	}
	d := batpak.Draft{Coordinate: at, Kind: kindOne, Payload: []byte{a.payload}}
	if a.key != 0 {
		d.IdempotencyKey = fmt.Appendf(nil, "%d of %d", a.key, a.entity)
	}
	if a.expect >= 0 {
		d.Expect = batpak.Clock(uint64(a.expect))
	}
	if a.unless >= 0 {
		d.Unless = []batpak.Unless{{Query: batpak.Query{Entity: at.Entity()}, Seq: seq}}
	}
	var rcpt batpak.Receipt
	if f != nil {
		rcpt, err = f.Append(ctx, d)
	} else {
		rcpt, err = l.st.Append(ctx, d)
	}
	got = linGot{clock: int(rcpt.Clock), replayed: rcpt.Replayed}
	if err == nil {
		seen = []linKnown{{got.clock, rcpt.Seq}}
	}
	got.what, err = outcome(err)
	return got, seen, err
}

// outcome names a refusal; other errors are returned.
func outcome(err error) (int, error) {
	var conflict *batpak.ConflictError
	switch {
	case errors.Is(err, batpak.ErrFenceEnded):
		return gotFenceEnded, nil
	case errors.Is(err, batpak.ErrFenceOpen):
		return gotFenceOpen, nil
	case errors.As(err, &conflict) && conflict.Unless != nil:
		return gotUnless, nil
	case errors.As(err, &conflict):
		return gotExpect, nil
	}
	return gotOK, err
}

// refence puts new fences where the ones that are shared have ended.
func (l *linRun) refence(rng *rand.Rand) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := rng.IntN(len(l.slots))
	if s := &l.slots[i]; l.fenced && (s.f == nil || rng.IntN(6) == 0) && l.numbers < linFences-1 {
		f, err := l.st.Fence(context.Background())
		if err != nil {
			return err
		}
		l.numbers++
		*s = linFence{f, l.numbers}
	}
	return nil
}

// clients lets clients make calls at the same time; when crash is set the process dies under them.
func (l *linRun) clients(rng *rand.Rand, calls int, crash func()) error {
	const clients = 8
	l.slots = [2]linFence{}
	for range 8 {
		if err := l.refence(rng); err != nil {
			return err
		}
	}
	var all sync.WaitGroup
	var made atomic.Int64
	for client := range clients {
		own := rand.New(rand.NewPCG(rng.Uint64(), 1))
		all.Go(func() {
			for range calls {
				if crash != nil && made.Add(1) == int64(clients*calls/2) {
					crash()
				}
				a, seq, f := l.draw(own)
				l.call(client, a, seq, f)
				_ = l.refence(own) // after a crash there are none
				runtime.Gosched()
			}
		})
	}
	all.Wait()
	return nil
}

// linHistory makes one history: with several entities, or with one and fences, with or without a crash.
func linHistory(seed uint64, fenced, crash bool) ([]porcupine.Operation, error) {
	rng := rand.New(rand.NewPCG(seed, 9))
	l := &linRun{entities: 3, fenced: fenced, known: map[int][]linKnown{}}
	if fenced {
		l.entities = 1 // what is seen of one entity depends on the fences of all
	}
	var dead atomic.Bool
	mem := vfs.NewMem()
	open := func() (err error) {
		o := batpak.Options{SegmentSize: smallSegment, FillAhead: -1}
		o.SetFS(vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
			if runtime.Gosched(); dead.Load() {
				return vfs.Decision{Err: errPower}
			}
			return vfs.Decision{}
		}))
		l.st, err = batpak.Open(vfs.MemDir, &o)
		return err
	}
	if err := open(); err != nil {
		return nil, err
	}
	if crash {
		if err := l.clients(rng, 4, func() { dead.Store(true) }); err != nil {
			return nil, err
		}
		began := l.now.Add(1)
		_ = l.st.Close() // of a process that is dead
		dead.Store(false)
		if err := open(); err != nil {
			return nil, err
		}
		for e := range l.entities {
			l.history = append(l.history, porcupine.Operation{
				Input: linAsk{what: askCrash, entity: e, fence: l.numbers}, Call: began, Output: linGot{}, Return: l.now.Add(1),
			})
		}
	}
	if err := l.clients(rng, 6, nil); err != nil {
		return nil, err
	}
	for e := range l.entities {
		l.call(0, linAsk{what: askRead, entity: e, expect: -1, unless: -1}, 0, nil)
	}
	return l.history, errors.Join(l.wrong, l.st.Close())
}

// errPower is what a file system says whose machine is off.
var errPower = errors.New("the power is off")

// TestLinearizable checks histories of eight clients.
func TestLinearizable(t *testing.T) {
	t.Parallel()
	histories := envInt(t, "BATPAK_HISTORIES", sized(300, 3_000, 20_000))
	if racing {
		histories = min(histories, 300)
	}
	base := seed(t)
	calls, unknown, outcomes := 0, 0, map[int]int{}
	for i := range histories {
		h, err := linHistory(base<<32+uint64(i), i%2 == 0, i%4 >= 2)
		if err != nil {
			t.Fatalf("history %d: %v", i, err)
		}
		for _, o := range h {
			outcomes[o.Output.(linGot).what]++
		}
		calls += len(h)
		switch porcupine.CheckOperationsTimeout(linModel, h, time.Minute) {
		case porcupine.Unknown:
			unknown++
		case porcupine.Illegal:
			for _, o := range h {
				t.Logf("%3d–%3d client %d: %+v -> %#v", o.Call, o.Return, o.ClientId, o.Input, o.Output)
			}
			t.Fatalf("history %d cannot be explained", i)
		}
	}
	t.Logf("%d histories of 8 clients, %d calls, half of them with fences, half with a crash; %d too hard to decide", histories, calls, unknown)
	t.Logf("%d carried out, %d refused for a clock, %d for an event, %d for an ended fence, %d for an open one, %d of unknown outcome",
		outcomes[gotOK], outcomes[gotExpect], outcomes[gotUnless], outcomes[gotFenceEnded], outcomes[gotFenceOpen], outcomes[gotUnknown])
	if unknown > 0 {
		t.Errorf("%d histories could not be decided", unknown)
	}
}
