package index

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"batpak/event"
	"batpak/segment"
)

// A run is an immutable index over a contiguous range of sequences; the last one of an epoch still grows. Exactly one
// of sealed and memory is set.
type run struct {
	first  uint64 // no event is below
	sealed *Sealed
	memory *Active
}

func (r *run) segment() uint64 {
	if r.sealed != nil {
		return r.sealed.sum.Segment
	}
	return r.memory.segment
}

func (r *run) acquire() {
	if r.sealed != nil {
		r.sealed.refs.Add(1)
	} else {
		r.memory.refs.Add(1)
	}
}

func (r *run) release() error {
	if r.sealed != nil {
		return r.sealed.release()
	}
	return r.memory.release()
}

// A Set is the runs of a store and what readers may see of them. One goroutine at a time changes it; Acquire is safe
// from any number of goroutines at any time.
type Set struct {
	current atomic.Pointer[epoch]
	visible atomic.Uint64 // last visible sequence

	filters atomic.Int64 // bytes of the filters of its runs

	changing sync.Mutex // held by who replaces current
	failing  sync.Mutex // guards what follows; held for a moment only
	failed   error      // failures to unmap or close
	findings []error    // why catalogs were not used
}

// An epoch is one immutable list of runs, held by the Set while it is current and by each View on it.
type epoch struct {
	set  *Set
	refs atomic.Int64 // 0: its runs are released

	runs   []run     // ascending
	empty  []run     // sealed, without events: held, never read
	sealed []*Sealed // those of runs, ascending
	memory []*Active // those of runs, ascending
	byID   bool      // the IDs of sealed ascend from one to the next

	catalogs []*Catalog
	spans    []span // runs that they are asked for; ascending, disjoint
}

// NewSet returns a set of sealed segments or index blocks and, unless it is nil, the active segment, with catalogs to ask
// first; see [Set.SetCatalogs]. Nothing is visible yet. It takes over all of them: they are closed by Set.Close at the
// latest.
func NewSet(sealed []*Sealed, active *Active, catalogs ...*Catalog) *Set {
	s := new(Set)
	runs := sealedRuns(sealed)
	if active != nil {
		runs = append(runs, run{first: active.firstSeq, memory: active})
	}
	s.replace(newEpoch(s, runs, catalogs))
	return s
}

func sealedRuns(sealed []*Sealed) []run {
	runs := make([]run, 0, len(sealed)+1)
	for _, s := range sealed {
		runs = append(runs, run{first: s.sum.FirstSeq, sealed: s})
	}
	return runs
}

// newEpoch returns the epoch of runs and catalogs, which it takes over.
func newEpoch(s *Set, runs []run, catalogs []*Catalog) *epoch {
	e := &epoch{
		set: s, byID: true, catalogs: catalogs, runs: make([]run, 0, len(runs)), sealed: make([]*Sealed, 0, len(runs)),
	}
	for _, r := range runs {
		if r.sealed != nil && r.sealed.sum.Events == 0 {
			e.empty = append(e.empty, r)
		} else {
			e.runs = append(e.runs, r)
		}
	}
	slices.SortFunc(e.runs, func(x, y run) int {
		return cmp.Or(cmp.Compare(x.first, y.first), cmp.Compare(x.segment(), y.segment()))
	})
	for i := range e.runs {
		if r := &e.runs[i]; r.sealed != nil {
			e.sealed = append(e.sealed, r.sealed)
		} else {
			e.memory = append(e.memory, r.memory)
		}
	}
	for i := 1; i < len(e.sealed); i++ {
		if compareID(&e.sealed[i-1].sum.MaxID, &e.sealed[i].sum.MinID) >= 0 {
			e.byID = false
		}
	}
	e.spans = spansOf(e.runs, e.sealed, catalogs)
	return e
}

// replace makes e current and gives up the epoch before it; a nil e closes the set.
func (s *Set) replace(e *epoch) {
	if e != nil {
		e.acquire()
	}
	if old := s.current.Swap(e); old != nil {
		old.release()
	}
}

// acquire takes the first hold on e, and with it on its runs and catalogs.
func (e *epoch) acquire() {
	e.refs.Store(1)
	e.each((*run).acquire)
	for _, c := range e.catalogs {
		c.refs.Add(1)
	}
}

func (e *epoch) each(fn func(*run)) {
	for i := range e.runs {
		fn(&e.runs[i])
	}
	for i := range e.empty {
		fn(&e.empty[i])
	}
}

// release gives up one hold on e; the last one gives up its runs and catalogs.
func (e *epoch) release() {
	if e.refs.Add(-1) > 0 {
		return
	}
	e.each(func(r *run) { e.set.failedTo(r.release()) })
	for _, c := range e.catalogs {
		e.set.failedTo(c.release())
	}
}

// failedTo keeps an error, unless it is nil, for Close.
func (s *Set) failedTo(err error) {
	if err != nil {
		s.failing.Lock()
		s.failed = errors.Join(s.failed, err)
		s.failing.Unlock()
	}
}

// Rotate puts a new active segment behind the one so far, which stays readable from memory until ReplaceSealed.
func (s *Set) Rotate(active *Active) {
	s.change(nil, run{first: active.firstSeq, memory: active})
}

// ReplaceSealed puts the sealed file of a segment in the place of its index in memory, or of an earlier opening.
// The file must hold the same events.
func (s *Set) ReplaceSealed(id uint64, sealed *Sealed) { s.Replace([]uint64{id}, sealed) }

// Replace takes the segments with the given numbers out and puts others in, all at once: compaction and retention.
// Views that exist keep what they hold.
func (s *Set) Replace(remove []uint64, add ...*Sealed) { s.change(remove, sealedRuns(add)...) }

// change replaces the current epoch by one without the segments in remove and with the runs in add.
func (s *Set) change(remove []uint64, add ...run) {
	s.changeIf(func(r *run) bool { return slices.Contains(remove, r.segment()) }, add...)
}

// changeIf is change by a predicate. Once the set is closed it gives up what is added at once.
func (s *Set) changeIf(remove func(*run) bool, add ...run) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.changeLocked(remove, add...)
}

func (s *Set) changeLocked(remove func(*run) bool, add ...run) {
	old := s.current.Load()
	if old == nil {
		closed := newEpoch(s, add, nil)
		closed.acquire()
		closed.release()
		return
	}
	var runs []run
	old.each(func(r *run) {
		if !remove(r) {
			runs = append(runs, *r)
		}
	})
	s.replace(newEpoch(s, append(runs, add...), old.catalogs))
}

// SetCatalogs replaces the catalogs that [View.Head] and [View.FindKey] ask. It takes over those that are new; views
// that exist keep what they hold. Catalogs may cover the same segments: the widest is asked.
func (s *Set) SetCatalogs(catalogs []*Catalog) {
	s.changing.Lock()
	defer s.changing.Unlock()
	var runs []run
	old := s.current.Load()
	if old != nil {
		old.each(func(r *run) { runs = append(runs, *r) })
	}
	e := newEpoch(s, runs, slices.Clone(catalogs))
	if old != nil {
		s.replace(e)
		return
	}
	e.acquire()
	e.release()
}

// CatalogFindings returns why catalogs were not used, each once, oldest first: *[CatalogError]. Nothing is wrong with
// what was answered; it took longer.
func (s *Set) CatalogFindings() []error {
	s.failing.Lock()
	defer s.failing.Unlock()
	return slices.Clone(s.findings)
}

// note keeps what is wrong with a catalog.
func (s *Set) note(c *Catalog, err error) {
	if c.told.CompareAndSwap(false, true) {
		s.failing.Lock()
		s.findings = append(s.findings, err)
		s.failing.Unlock()
	}
}

// Drop takes the index in memory of a segment out that holds no event, so that the next segment's, which begins with the
// same sequence, can stand in its place; index blocks of the segment stay.
func (s *Set) Drop(active *Active) {
	s.changeIf(func(r *run) bool { return r.memory == active })
}

// Footers returns what the footer, or the index blocks, of segment id say of it, in order; nil when it is served from
// memory alone or is not there.
func (s *Set) Footers(id uint64) (sums []segment.Summary) {
	v := s.Acquire()
	if v == nil {
		return nil
	}
	defer v.Release()
	for _, sealed := range v.e.sealed {
		if sealed.sum.Segment == id {
			sums = append(sums, *sealed.sum)
		}
	}
	return sums
}

// Heal puts an index in memory in the place of the footer, or of the index blocks, of a segment: last is what [Set.Footers]
// says of the last of them, and active holds the same events. Where others stand by now, since the segment was sealed
// meanwhile, or healed, it does nothing and returns false: active is then still the caller's.
func (s *Set) Heal(last *segment.Summary, active *Active) bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	old := s.current.Load()
	if old == nil || !slices.ContainsFunc(old.sealed, func(sealed *Sealed) bool { return *sealed.sum == *last }) {
		return false
	}
	s.changeLocked(
		func(r *run) bool { return r.sealed != nil && r.segment() == last.Segment }, run{first: active.firstSeq, memory: active},
	)
	return true
}

// TakeOver puts everything that other holds in the place of what s holds, all at once, and closes other. Views that
// exist keep what they hold; the visible end stays where it is.
//
// Errors: those of closing other.
func (s *Set) TakeOver(other *Set) error {
	if v := other.Acquire(); v != nil {
		var runs []run
		v.e.each(func(r *run) { runs = append(runs, *r) })
		s.changing.Lock()
		e := newEpoch(s, runs, v.e.catalogs)
		if s.current.Load() != nil {
			s.replace(e)
		} // else s is closed, and other closes what it holds
		s.changing.Unlock()
		v.Release()
	}
	return other.Close()
}

// Add puts sealed segments or index blocks in.
func (s *Set) Add(add ...*Sealed) { s.change(nil, sealedRuns(add)...) }

// SetVisible moves the visible end: events up to last, included, may be read. It never moves back. The events must
// have been published before. The committer calls it.
func (s *Set) SetVisible(last uint64) {
	if last = min(last, math.MaxUint64-1); last > s.visible.Load() {
		s.visible.Store(last)
	}
}

// Visible returns the last visible sequence. Safe for concurrent use.
func (s *Set) Visible() uint64 { return s.visible.Load() }

// Close ends the set: Acquire returns nil from now on. Views that exist stay whole; what they hold is unmapped and
// closed when the last of them is released.
//
// Errors: those of unmapping and closing so far.
func (s *Set) Close() error {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.replace(nil)
	s.failing.Lock()
	defer s.failing.Unlock()
	return s.failed
}

// A View is what one reader sees: a list of runs and a visible end that do not change. It must be released. Its
// methods are safe for concurrent use until then.
type View struct {
	e       *epoch
	visible uint64
}

// Acquire returns a View of everything visible now, nil when the set is closed. It takes no lock.
func (s *Set) Acquire() *View { return s.acquire(new(View)) }

// AcquireAll returns a View of everything published now, visible or not, nil when the set is closed. It is for the
// committer, which must know of events that wait behind an open fence.
func (s *Set) AcquireAll() *View { return s.acquireAll(new(View)) }

// acquireAll is apart from AcquireAll for the reason that acquire is.
func (s *Set) acquireAll(v *View) *View {
	if v = s.acquire(v); v != nil {
		v.visible = math.MaxUint64 - 1
	}
	return v
}

// acquire fills v and returns it. It is apart from Acquire so that Acquire is inlined and its View can stay on the
// caller's stack.
func (s *Set) acquire(v *View) *View {
	// The end comes first: the runs taken after it hold at least everything up to it.
	v.visible = s.visible.Load()
	for {
		e := s.current.Load()
		if e == nil {
			return nil
		}
		if n := e.refs.Load(); n > 0 && e.refs.CompareAndSwap(n, n+1) {
			v.e = e
			return v
		}
	}
}

// Release ends the use of v and of everything that came from it: cursors, borrowed events.
func (v *View) Release() {
	if e := v.e; e != nil {
		v.e = nil
		e.release()
	}
}

// Visible returns the last sequence that v shows.
func (v *View) Visible() uint64 { return v.visible }

// Bounds returns the sequences of the first and the last event that v holds, visible or not; 0 for none.
func (v *View) Bounds() (first, last uint64) {
	for i := range v.e.runs {
		from, to, ok := v.e.runs[i].bounds()
		if !ok {
			continue
		}
		if first == 0 {
			first = from
		}
		last = to
	}
	return first, last
}

// bounds returns the sequences of the first and the last event of r; ok is false when it has none.
func (r *run) bounds() (first, last uint64, ok bool) {
	if r.sealed != nil {
		return r.sealed.sum.FirstSeq, r.sealed.sum.LastSeq, r.sealed.sum.Events > 0
	}
	t := r.memory.open()
	if t.n == 0 {
		return 0, 0, false
	}
	return t.a.rows.at(0).seq, t.a.rows.at(t.n - 1).seq, true
}

// Runs returns how many runs v holds.
func (v *View) Runs() int { return len(v.e.runs) }

// Sealed returns how many of them are sealed segments.
func (v *View) Sealed() int {
	n := 0
	for _, s := range v.e.sealed {
		if !s.block() {
			n++
		}
	}
	return n
}

// runOfSeq returns the number of the run that holds sequence seq, if any does: the last one whose first sequence is
// not above it, 0 when all are. Runs without events share their first sequence with the run behind them.
func (e *epoch) runOfSeq(seq uint64) int {
	behind, _ := slices.BinarySearchFunc(e.runs, seq, func(r run, seq uint64) int {
		if r.first <= seq {
			return -1
		}
		return 1
	})
	return max(0, behind-1)
}

func compareID(x, y *event.ID) int { return bytes.Compare(x[:], y[:]) }

// runsOf returns the numbers of the first and the last run that may hold events of the sequences [from, to] and of the
// range of time of q; there is none when first is above last. Both ascend together, so runs outside are not looked at.
func (e *epoch) runsOf(from, to uint64, q *Query) (first, last int) {
	first, last = e.runOfSeq(from), e.runOfSeq(to)
	// A run in memory without events is in no one's way: it is never said to lie outside.
	n := last - first + 1
	if q.ToHLC != 0 {
		n = sort.Search(n, func(i int) bool {
			low, _, any := e.runs[first+i].times()
			return any && low >= q.ToHLC
		})
	}
	last = first + n - 1
	first += sort.Search(n, func(i int) bool {
		_, high, any := e.runs[first+i].times()
		return !any || high >= q.FromHLC
	})
	return first, last
}

// times returns the stamps of the first and the last event of r; ok is false when it has none.
func (r *run) times() (low, high event.HLC, ok bool) {
	if r.sealed != nil {
		return r.sealed.sum.MinHLC, r.sealed.sum.MaxHLC, r.sealed.sum.Events > 0
	}
	t := r.memory.open()
	if t.n == 0 {
		return 0, 0, false
	}
	return t.a.rows.at(0).hlc, t.a.rows.at(t.n - 1).hlc, true
}
