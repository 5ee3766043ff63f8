package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// A rig is a store on a strict file system, and everything that its callers were told. Its methods are for one
// goroutine, but for append and batch.
type rig struct {
	mem  *vfs.Mem
	opts batpak.Options
	st   *batpak.Store

	// intercept sees each call to the file system before it happens, and may fail it. nil lets all pass.
	intercept func(vfs.Call) vfs.Decision
	// lenient workloads go on when a call fails with this error; nil stops them at the first error.
	lenient error
	// watch makes each mutation look at what readers see at that moment: in SyncAlways that is promised (I3).
	watch bool

	fs    *vfs.Faulty                  // of the process that lives
	dead  *atomic.Bool                 // that process was killed
	live  atomic.Pointer[batpak.Store] // st, for look
	clock atomic.Int64                 // thirds of a millisecond, from testEpoch
	tick  atomic.Pointer[func()]       // called when the store next looks at the clock

	mu       sync.Mutex
	told     []told              // what was acknowledged, in order of acknowledgement
	unknown  [][]batpak.Draft    // of appends whose outcome is unknown
	fates    []*fate             // of all fences
	murky    map[streamName]bool // streams with staged events of unknown outcome
	refused  [][]batpak.Draft    // of appends that must not be there
	serial   int                 // of drafts
	seen     []sight             // what readers saw, by time
	poison   error               // first error after which this process must not append any more
	failures []error             // of appends, that are not as promised
}

// A sight is the last sequence that readers saw when the trace had a length.
type sight struct {
	ops int
	seq uint64
}

// smallSegment holds a few events, so that workloads rotate.
const smallSegment = 4 << 10

// testEpoch is when all tests happen.
const testEpoch = 1_700_000_000_000

// newRig returns a rig without an open store. The options' clock and file system are set here.
func newRig(o batpak.Options) *rig {
	r := &rig{mem: vfs.NewMem(), opts: o}
	r.clock.Store(3 * testEpoch)
	if r.opts.SegmentSize == 0 {
		r.opts.SegmentSize = smallSegment
	}
	if r.opts.FillAhead == 0 {
		r.opts.FillAhead = -1
	}
	if r.opts.SyncEvery == 0 {
		r.opts.SyncEvery = time.Hour // only on demand: a timer is not deterministic
	}
	r.opts.Clock = func() time.Time {
		if f := r.tick.Swap(nil); f != nil {
			(*f)()
		}
		return time.UnixMilli(r.clock.Add(1) / 3)
	}
	return r
}

// onClock has f called when the store next looks at the clock; nil takes that back.
func (r *rig) onClock(f func()) {
	if f == nil {
		r.tick.Store(nil)
		return
	}
	r.tick.Store(&f)
}

// open opens the store in a new process.
func (r *rig) open() error {
	dead := new(atomic.Bool)
	r.dead = dead
	r.fs = vfs.Inject(r.mem, func(c vfs.Call) vfs.Decision {
		if dead.Load() {
			return vfs.Decision{Err: syscall.EINTR} // nothing happens any more; a sync that never began has not failed
		}
		if r.watch && c.Kind <= vfs.OpDirSync {
			r.look()
		}
		if r.intercept != nil {
			return r.intercept(c)
		}
		return vfs.Decision{}
	})
	o := r.opts
	o.SetFS(r.fs)
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		return err
	}
	r.use(st)
	r.poison = nil
	if err := r.resolve(); err != nil {
		return err
	}
	r.promiseShown()
	return nil
}

// resolve finds out what became of the appends whose outcome was unknown: what this open shows is there for good, and
// what it does not show will never be.
func (r *rig) resolve() error {
	if err := r.resolveFates(); err != nil || len(r.unknown) == 0 {
		return err
	}
	got, err := collect(r.st, batpak.Query{})
	if err != nil {
		return err
	}
	landed, lost, err := sortOut(got, r.unknown)
	if err != nil {
		return err
	}
	r.told, r.refused, r.unknown = append(r.told, landed...), append(r.refused, lost...), nil
	return nil
}

// use makes st the store that is open; nil for none.
func (r *rig) use(st *batpak.Store) {
	r.st = st
	r.live.Store(st)
}

// look records what readers see now.
func (r *rig) look() {
	st := r.live.Load()
	if st == nil || r.opts.Sync != batpak.SyncAlways {
		return
	}
	for ev, err := range st.Read(context.Background(), batpak.Query{Reverse: true, Limit: 1}) {
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen = append(r.seen, sight{r.mem.OpCount(), ev.Seq})
		r.mu.Unlock()
	}
}

// promiseShown records that what Open shows is durable.
func (r *rig) promiseShown() {
	ops := r.mem.OpCount()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.told {
		r.told[i].durable = min(r.told[i].durable, ops)
	}
	for _, f := range r.fates {
		if f.acked < never {
			f.durable = min(f.durable, ops)
		}
	}
}

// settle returns when the background has nothing left to do, so that the next call finds the file system at rest.
func (r *rig) settle() { r.st.WaitIdle() }

// close closes the store; all that was acknowledged is durable then.
func (r *rig) close() error {
	st := r.st
	r.use(nil)
	if err := st.Close(); err != nil {
		return r.forgive(fmt.Errorf("close: %w", err))
	}
	r.promiseShown()
	return nil
}

// forgive returns nil for the error that a lenient workload goes on after.
func (r *rig) forgive(err error) error {
	if r.lenient != nil && errors.Is(err, r.lenient) {
		return nil
	}
	return err
}

// kill ends the process as kill -9 does: nothing more reaches the file system, which keeps what it has, synced or not.
func (r *rig) kill() {
	r.dead.Store(true)
	if st := r.st; st != nil {
		r.use(nil)
		_ = st.Close() // ends its goroutines; the error says that nothing could be written
	}
}

// append appends one draft and records the outcome.
func (r *rig) append(d batpak.Draft) (batpak.Receipt, error) {
	begun := r.mem.OpCount()
	rcpt, err := r.st.Append(context.Background(), d)
	r.record([]batpak.Draft{d}, []batpak.Receipt{rcpt}, begun, err)
	return rcpt, r.forgive(err)
}

// batch appends a batch and records the outcome.
func (r *rig) batch(drafts []batpak.Draft) ([]batpak.Receipt, error) {
	begun := r.mem.OpCount()
	rcpts, err := r.st.AppendBatch(context.Background(), drafts)
	r.record(drafts, rcpts, begun, err)
	return rcpts, r.forgive(err)
}

// record notes what the caller of an append was told.
func (r *rig) record(drafts []batpak.Draft, receipts []batpak.Receipt, begun int, err error) {
	ops := r.mem.OpCount()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.judge(err)
	if err != nil {
		if mayLand(err) {
			r.unknown = append(r.unknown, drafts)
		} else {
			r.refused = append(r.refused, drafts)
		}
		return
	}
	durable := never
	for i := range drafts {
		if r.opts.Sync == batpak.SyncAlways || drafts[i].Ack == batpak.AckDurable {
			durable = ops
		}
	}
	if receipts[0].Replayed {
		for i := range r.told {
			if r.told[i].Seq == receipts[0].Seq {
				r.told[i].durable = min(r.told[i].durable, durable)
			}
		}
		return
	}
	for _, t := range tell(drafts, receipts) {
		t.begun, t.acked, t.durable = begun, ops, durable
		r.told = append(r.told, t)
	}
}

// judge keeps an outcome that breaks the promise about failures: whoever heard of an unknown outcome hears of it for
// ever, and nothing but the fault is reported. The caller holds mu.
func (r *rig) judge(err error) {
	switch {
	case r.poison != nil && err == nil:
		r.failures = append(r.failures, fmt.Errorf("append succeeded after: %w", r.poison))
	case r.poison != nil && !errors.Is(err, batpak.ErrPoisoned) && mayLand(err):
		r.failures = append(r.failures, fmt.Errorf("after %w: %w", r.poison, err))
	case r.poison == nil && errors.Is(err, batpak.ErrPoisoned):
		r.poison = err
	}
}

// mayLand reports whether an append that failed may be there all the same.
func mayLand(err error) bool {
	var w *batpak.WriteError
	var c *batpak.CanceledError
	return errors.As(err, &w) && w.MayLand || errors.As(err, &c) && c.MayLand
}

// flush makes everything durable.
func (r *rig) flush() error {
	if err := r.st.Flush(context.Background()); err != nil {
		r.mu.Lock()
		r.judge(err)
		r.mu.Unlock()
		return r.forgive(fmt.Errorf("flush: %w", err))
	}
	r.promiseShown()
	return nil
}

// checkpoint makes everything durable, and has the index written.
func (r *rig) checkpoint() error {
	if err := r.st.Checkpoint(context.Background()); err != nil {
		r.mu.Lock()
		r.judge(err)
		r.mu.Unlock()
		return r.forgive(fmt.Errorf("checkpoint: %w", err))
	}
	r.promiseShown()
	return nil
}

// history returns what was told, in commit order.
func (r *rig) history() []told {
	h := slices.Clone(r.told)
	slices.SortStableFunc(h, func(a, b told) int { return int(int64(a.Seq) - int64(b.Seq)) })
	return deepen(h)
}

// claimAt returns what a store must hold after a crash behind the first ops of the trace.
func (r *rig) claimAt(history []told, ops int) claim {
	visible := uint64(0)
	for _, s := range r.seen {
		if s.ops <= ops {
			visible = max(visible, s.seq)
		}
	}
	c := claimAt(history, visible, ops)
	c.murky = r.murky
	return c
}

// claimAt returns what a store must hold after a crash behind the first ops of the trace, when readers had seen the
// events up to visible.
func claimAt(history []told, visible uint64, ops int) claim {
	c := claim{want: history, ops: ops + 1, visible: visible}
	for i := range history {
		t := &history[i]
		if t.durable <= ops || t.Seq <= visible {
			c.least = i + 1
		}
		if t.begun < ops {
			c.most = i + 1
		}
		if t.acked <= ops {
			c.shown = max(c.shown, t.Seq)
		}
	}
	return c
}

// Names that workloads use.
var (
	streamA = coordinate.MustNew("account:a", "eu")
	streamB = coordinate.MustNew("account:b", "us")
	kindOne = event.MustKind(1, 1)
	kindTwo = event.MustKind(0xE, 4095)
)

// draft returns a draft with a payload of its own, of at least size bytes.
func (r *rig) draft(at coordinate.Coordinate, size int) batpak.Draft {
	r.mu.Lock()
	r.serial++
	n := r.serial
	r.mu.Unlock()
	p := strconv.Itoa(n) + ":" + at.Entity()
	if len(p) < size {
		p += strings.Repeat(string(rune('a'+n%26)), size-len(p))
	}
	return batpak.Draft{Coordinate: at, Kind: kindOne, Payload: []byte(p)}
}

// full returns a draft that uses every field.
func (r *rig) full(at coordinate.Coordinate) batpak.Draft {
	d := r.draft(at, 0)
	d.Kind = kindTwo
	d.IdempotencyKey = []byte("key of " + string(d.Payload))
	d.Tags = []string{"urgent", "größe"}
	d.Correlation = event.NewID(event.HLC(r.serial)<<16, 7)
	d.Causation = event.NewID(event.HLC(r.serial)<<16, 8)
	d.Lane, d.Depth, d.PayloadVersion = 3, 2, 9
	d.Extensions = map[string][]byte{"trace": {0, 1, 2}, "empty": {}}
	return d
}

// envInt returns the number in an environment variable, or what it is without one.
func envInt(t testing.TB, name string, unset int) int {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		return unset
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatalf("%s = %q: not a number", name, v)
	}
	return n
}

// night reports whether the long sizes were asked for.
func night() bool { return os.Getenv("BATPAK_NIGHT") != "" }

// submit reports whether the sizes were asked for that every change has to pass.
func submit() bool { return os.Getenv("BATPAK_SUBMIT") != "" }

// sized returns the size for the lane that runs: at a developer's desk, before a change is taken, at night.
func sized(desk, submitted, atNight int) int {
	switch {
	case night():
		return atNight
	case submit():
		return submitted
	}
	return desk
}

// thinned returns the stride for the lane that runs: one of so many cases is tried, and fewer where the race detector
// watches.
func thinned(desk, submitted, atNight int) int {
	n := sized(desk, submitted, atNight)
	if racing {
		n = 40*n + 1
	}
	return n
}

// unlessRacing returns a limit on cases, where 0 means none: a small one where the race detector watches.
func unlessRacing(limit int) int {
	if racing {
		return 25
	}
	return limit
}

// findings collects what is wrong, from many goroutines.
type findings struct {
	mu    sync.Mutex
	count int
	first []error
}

func (f *findings) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count++; len(f.first) < 10 {
		f.first = append(f.first, err)
	}
}

func (f *findings) report(t *testing.T) {
	t.Helper()
	for _, err := range f.first {
		t.Error(err)
	}
	if f.count > len(f.first) {
		t.Errorf("and %d more", f.count-len(f.first))
	}
}
