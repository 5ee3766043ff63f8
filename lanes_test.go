package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/hidden"
	"batpak/internal/vfs"
)

// fork appends one draft on a new lane and records the outcome.
func (r *rig) fork(at event.ID, d batpak.Draft) (batpak.Receipt, error) {
	begun := r.mem.OpCount()
	rcpt, err := r.st.Fork(context.Background(), at, d)
	d.Fork, d.Lane = at, rcpt.Lane
	r.record([]batpak.Draft{d}, []batpak.Receipt{rcpt}, begun, err)
	return rcpt, r.forgive(err)
}

// onLane returns a draft of the plain entity for a lane.
func onLane(lane uint32, payload string) batpak.Draft {
	d := plain(payload)
	d.Lane = lane
	return d
}

// mustDo appends and ends the test on an error.
func mustDo(t testing.TB) func(batpak.Receipt, error) batpak.Receipt {
	return func(r batpak.Receipt, err error) batpak.Receipt {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
}

// depths returns the depth of each event of a lane.
func depths(t testing.TB, st *batpak.Store, lane uint32) (all []uint32) {
	t.Helper()
	got, err := collect(st, batpak.Query{Lane: &lane})
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		all = append(all, got[i].Depth)
	}
	return all
}

// growLanes appends n events to lanes of two entities, old ones and new ones, that branch from any event before.
func growLanes(r *rig, rng *rand.Rand, n int) error {
	for range n {
		at := [...]coordinate.Coordinate{streamA, streamB}[rng.IntN(2)]
		d := r.draft(at, [...]int{0, 0, 200, 700}[rng.IntN(4)])
		of := slices.DeleteFunc(r.history(), func(t told) bool { return t.Coordinate != at })
		pick := rng.IntN(10)
		var err error
		switch {
		case len(of) == 0 || pick < 2:
			_, err = r.append(d)
		case pick < 4:
			_, err = r.fork(of[rng.IntN(len(of))].ID, d)
		case pick < 5:
			d.Lane, d.Fork = 1000+rng.Uint32N(1_000_000), of[rng.IntN(len(of))].ID
			d.IdempotencyKey = fmt.Append(nil, "key of ", string(d.Payload))
			_, err = r.append(d)
		default:
			d.Lane = of[rng.IntN(len(of))].Lane
			if pick == 9 {
				d.Depth = rng.Uint32N(9)
			}
			_, err = r.append(d)
		}
		if err != nil {
			return err
		}
		r.settle()
	}
	return nil
}

func TestForkRefusals(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	must := mustDo(t)
	first := must(st.Append(ctx, plain("a")))
	must(st.Append(ctx, onLane(5, "b")))
	other := must(st.Append(ctx, batpak.Draft{Coordinate: streamA, Kind: kindOne}))
	staged := appendAll(t, openFence(t, st), "c")[0]
	cancelled := openFence(t, st)
	hidden := appendAll(t, cancelled, "d")[0]
	if err := cancelled.Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	draft := func(lane uint32, at event.ID) batpak.Draft {
		d := onLane(lane, "x")
		d.Fork = at
		return d
	}
	appended := func(d batpak.Draft) error { return second(st.Append(ctx, d)) }
	forked := func(at event.ID, d batpak.Draft) error { return second(st.Fork(ctx, at, d)) }
	for _, tc := range []struct {
		name string
		err  error
		want error  // one of these two
		of   string // field of a DraftError
	}{
		{"to lane 0", appended(draft(0, first.ID)), nil, "Fork"},
		{"to a lane in use", appended(draft(5, first.ID)), batpak.ErrConflict, ""},
		{"from no event", appended(draft(6, event.ID{1})), batpak.ErrNotFound, ""},
		{"from another entity", appended(draft(6, other.ID)), batpak.ErrInvalid, ""},
		{"from an event of another fence", appended(draft(6, staged.ID)), batpak.ErrFenceOpen, ""},
		{"from a hidden event", appended(draft(6, hidden.ID)), batpak.ErrNotFound, ""},
		{"Fork at the zero ID", forked(event.ID{}, plain("x")), nil, "Fork"},
		{"Fork with a lane", forked(first.ID, onLane(6, "x")), nil, "Lane"},
		{"Fork with another Fork", forked(first.ID, draft(0, other.ID)), nil, "Fork"},
		{"Fork from no event", forked(event.ID{1}, plain("x")), batpak.ErrNotFound, ""},
		{"Fork from another entity", forked(other.ID, plain("x")), batpak.ErrInvalid, ""},
		{"Fork from a hidden event", forked(hidden.ID, plain("x")), batpak.ErrNotFound, ""},
	} {
		var inDraft *batpak.DraftError
		var fork *batpak.ForkError
		var conflict *batpak.ConflictError
		switch {
		case tc.of != "":
			if !errors.As(tc.err, &inDraft) || inDraft.Field != tc.of {
				t.Errorf("%s: %v, want a *DraftError for %s", tc.name, tc.err, tc.of)
			}
		case errors.As(tc.err, &conflict):
			if tc.want != batpak.ErrConflict || conflict.Want != batpak.Absent() || conflict.Have != 1 || conflict.Lane != 5 || conflict.Seq != 2 {
				t.Errorf("%s: %v", tc.name, tc.err)
			}
		case !errors.As(tc.err, &fork) || !errors.Is(tc.err, tc.want) || !errors.Is(tc.err, batpak.ErrFork) || fork.Entity != "plain":
			t.Errorf("%s: %v, want a *ForkError with %v", tc.name, tc.err, tc.want)
		}
	}
	if next := must(st.Append(ctx, plain("e"))); next.Seq != 6 {
		t.Errorf("sequence %d after refusals, want 6", next.Seq)
	}
}

func TestDepthIsMaintained(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	must := mustDo(t)
	deep := onLane(0, "a lane 0 that counts for itself")
	deep.Depth = 7
	root := must(st.Append(ctx, deep))
	must(st.Append(ctx, plain("depth 0 again")))
	one := must(st.Fork(ctx, root.ID, plain("8")))
	must(st.Append(ctx, onLane(one.Lane, "8")))
	two := must(st.Fork(ctx, one.ID, plain("9")))
	given := onLane(two.Lane, "3")
	given.Depth = 3
	must(st.Append(ctx, given))
	must(st.Append(ctx, onLane(two.Lane, "3")))
	alone := must(st.Append(ctx, onLane(50, "0")))
	must(st.Append(ctx, onLane(50, "0")))
	ownFork := onLane(60, "9")
	ownFork.Fork, ownFork.Depth = alone.ID, 9
	must(st.Append(ctx, ownFork))
	most := onLane(70, "the greatest")
	most.Depth = math.MaxUint32
	top := must(st.Append(ctx, most))
	last := must(st.Fork(ctx, top.ID, plain("as deep")))
	want := map[uint32][]uint32{
		0: {7, 0}, one.Lane: {8, 8}, two.Lane: {9, 3, 3}, 50: {0, 0}, 60: {9}, 70: {math.MaxUint32}, last.Lane: {math.MaxUint32},
	}
	if len(want) != 7 {
		t.Fatalf("lanes were given twice: %v", want)
	}
	for round := range 3 {
		for lane, all := range want {
			if got := depths(t, st, lane); !slices.Equal(got, all) {
				t.Errorf("round %d: lane %d has depths %v, want %v", round, lane, got, all)
			}
		}
		mustClose(t, st)
		st = openAt(t, dir, nil)
		for lane, all := range want { // the head of another process, too
			must(st.Append(ctx, onLane(lane, "next")))
			next := all[len(all)-1]
			want[lane] = append(all, next)
		}
	}
	mustClose(t, st)
}

// The drafts of a batch see its earlier ones.
func TestForksInBatches(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	root := mustDo(t)(st.Append(ctx, plain("root")))
	forks := func(lane uint32) batpak.Draft {
		d := onLane(lane, "fork")
		d.Fork = root.ID
		return d
	}
	receipts, err := st.AppendBatch(ctx, []batpak.Draft{forks(1), onLane(1, "next"), forks(2), onLane(1, "next"), onLane(2, "next")})
	if err != nil {
		t.Fatal(err)
	}
	for i, clock := range []uint64{1, 2, 1, 3, 2} {
		if receipts[i].Clock != clock {
			t.Errorf("draft %d has clock %d, want %d", i, receipts[i].Clock, clock)
		}
	}
	for _, lane := range []uint32{1, 2} {
		for i, depth := range depths(t, st, lane) {
			if depth != 1 {
				t.Errorf("lane %d: event %d has depth %d, want 1", lane, i, depth)
			}
		}
	}
	var in *batpak.BatchError
	_, err = st.AppendBatch(ctx, []batpak.Draft{forks(3), forks(3)})
	if !errors.As(err, &in) || in.Index != 1 || !errors.Is(err, batpak.ErrConflict) {
		t.Errorf("two forks to one lane: %v", err)
	}
	if _, err := st.Head(ctx, "plain", 3); !errors.Is(err, batpak.ErrNotFound) {
		t.Errorf("lane of a refused batch: %v", err)
	}
	// What was refused left nothing behind: neither the lane nor its depth.
	again := mustDo(t)(st.Append(ctx, onLane(3, "alone")))
	if again.Clock != 1 || depths(t, st, 3)[0] != 0 {
		t.Errorf("lane 3 begins with clock %d, depth %d", again.Clock, depths(t, st, 3)[0])
	}
}

// Of many who fork at the same time, no two get the same lane, and none gets one that somebody else has named.
func TestForksChooseFreeLanes(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), &batpak.Options{SegmentSize: 16 << 10, Sync: batpak.SyncNever})
	defer mustClose(t, st)
	root := mustDo(t)(st.Append(ctx, plain("root")))
	const forkers, forks = 8, 50
	var mu sync.Mutex
	got := map[uint32]bool{0: true}
	var all sync.WaitGroup
	for who := range forkers {
		all.Go(func() {
			for i := range forks {
				var rcpt batpak.Receipt
				var err error
				if who == 0 { // names lanes ahead of the others
					d := onLane(uint32(1+7*i), "named")
					d.Fork = root.ID
					rcpt, err = st.Append(ctx, d)
				} else {
					rcpt, err = st.Fork(ctx, root.ID, plain("forked"))
				}
				if who == 0 && errors.Is(err, batpak.ErrConflict) {
					continue // an other one was faster
				}
				if err != nil || rcpt.Clock != 1 {
					t.Errorf("fork: clock %d, %v", rcpt.Clock, err)
					return
				}
				mu.Lock()
				if got[rcpt.Lane] {
					t.Errorf("lane %d was given twice", rcpt.Lane)
				}
				got[rcpt.Lane] = true
				mu.Unlock()
			}
		})
	}
	all.Wait()
	heads, err := st.Lanes(ctx, "plain")
	if err != nil || len(heads) != len(got) {
		t.Fatalf("%d lanes, %v, want %d", len(heads), err, len(got))
	}
	if next := mustDo(t)(st.Fork(ctx, root.ID, plain("next"))); next.Lane != heads[len(heads)-1].Lane+1 {
		t.Errorf("lane %d follows %d", next.Lane, heads[len(heads)-1].Lane)
	}
	// Another entity has lanes of its own.
	at := mustDo(t)(st.Append(ctx, batpak.Draft{Coordinate: streamA, Kind: kindOne}))
	if first := mustDo(t)(st.Fork(ctx, at.ID, batpak.Draft{Coordinate: streamA, Kind: kindOne})); first.Lane != 1 {
		t.Errorf("first fork of another entity: lane %d", first.Lane)
	}
}

// When the highest lane is taken, gaps are.
func TestForkFillsGaps(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	must := mustDo(t)
	root := must(st.Append(ctx, plain("root")))
	must(st.Append(ctx, onLane(math.MaxUint32, "highest")))
	must(st.Append(ctx, onLane(2, "in use")))
	if got := must(st.Fork(ctx, root.ID, plain("x"))).Lane; got != 1 {
		t.Errorf("first gap: lane %d, want 1", got)
	}
	mustClose(t, st)
	st = openAt(t, dir, nil)
	defer mustClose(t, st)
	for _, want := range []uint32{3, 4} {
		if got := must(st.Fork(ctx, root.ID, plain("x"))).Lane; got != want {
			t.Errorf("next gap: lane %d, want %d", got, want)
		}
	}
}

// A retry finds its first lane, whatever happened there since; another request under the key does not.
func TestForksAreIdempotent(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	st := openAt(t, dir, nil)
	must := mustDo(t)
	root, second := must(st.Append(ctx, plain("root"))), must(st.Append(ctx, plain("second")))
	keyed := plain("fork")
	keyed.IdempotencyKey = []byte("fork")
	first := must(st.Fork(ctx, root.ID, keyed))
	deep := onLane(first.Lane, "deep")
	deep.Depth = 40
	must(st.Append(ctx, deep))
	next := onLane(first.Lane, "next") // inherits 40
	next.IdempotencyKey = []byte("next")
	inherited := must(st.Append(ctx, next))
	for _, depth := range []uint32{9, 8, 7} {
		deep.Depth = depth
		must(st.Append(ctx, deep))
	}
	if got := depths(t, st, first.Lane); !slices.Equal(got, []uint32{1, 40, 40, 9, 8, 7}) {
		t.Errorf("depths %v", got)
	}
	for range 2 {
		for _, retry := range []struct {
			want batpak.Receipt
			do   func() (batpak.Receipt, error)
		}{
			{first, func() (batpak.Receipt, error) { return st.Fork(ctx, root.ID, keyed) }},
			{inherited, func() (batpak.Receipt, error) { return st.Append(ctx, next) }},
		} {
			retry.want.Replayed = true
			if got, err := retry.do(); err != nil || got != retry.want {
				t.Errorf("retry: %+v, %v, want %+v", got, err, retry.want)
			}
		}
		named := keyed
		named.Lane, named.Fork = first.Lane, root.ID
		for name, err := range map[string]error{
			"from another event": errOf(st.Fork(ctx, second.ID, keyed)), "to a lane that is named": errOf(st.Append(ctx, named)),
			"without a fork": errOf(st.Append(ctx, keyed)),
		} {
			if !errors.Is(err, batpak.ErrIdempotency) {
				t.Errorf("%s: %v", name, err)
			}
		}
		mustClose(t, st)
		st = openAt(t, dir, nil)
	}
	mustClose(t, st)
}

// errOf returns the error of a call.
func errOf[T any](_ T, err error) error { return err }

// A fence may fork from what it has staged itself; cancelled, its lanes stay taken.
func TestForksThroughFences(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	must := mustDo(t)
	root := must(st.Append(ctx, plain("root")))
	f, g := openFence(t, st), openFence(t, st)
	staged := appendAll(t, f, "f")[0]
	one := must(f.Fork(ctx, staged.ID, plain("f1")))
	must(f.Append(ctx, onLane(one.Lane, "f2")))
	two := must(g.Fork(ctx, root.ID, plain("g1")))
	if _, err := g.Fork(ctx, staged.ID, plain("g2")); !errors.Is(err, batpak.ErrFenceOpen) || !errors.Is(err, batpak.ErrFork) {
		t.Errorf("from an event of another fence: %v", err)
	}
	branch := func(lane uint32) (all []string) {
		for ev, err := range st.Branch(ctx, "plain", lane) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(ev.Payload))
		}
		return all
	}
	if one.Lane != 1 || two.Lane != 2 || branch(1) != nil || branch(2) != nil {
		t.Errorf("lanes %d and %d show %q and %q before their fences are committed", one.Lane, two.Lane, branch(1), branch(2))
	}
	if err := errors.Join(f.Commit(ctx), g.Cancel(ctx)); err != nil {
		t.Fatal(err)
	}
	if got, want := branch(1), []string{"root", "f", "f1", "f2"}; !slices.Equal(got, want) {
		t.Errorf("branch = %q, want %q", got, want)
	}
	if got := branch(2); got != nil {
		t.Errorf("branch of a cancelled fork: %q", got)
	}
	must(st.Append(ctx, plain("later")))
	must(st.Append(ctx, onLane(2, "g3")))
	if got, want := branch(2), []string{"root", "g3"}; !slices.Equal(got, want) {
		t.Errorf("branch of a lane whose first event is hidden = %q, want %q", got, want)
	}
	if got := depths(t, st, 2); !slices.Equal(got, []uint32{1}) {
		t.Errorf("depth behind a hidden fork: %v", got)
	}
	if next := must(st.Fork(ctx, root.ID, plain("x"))); next.Lane != 3 {
		t.Errorf("a fork took lane %d", next.Lane)
	}
}

// A write that fails takes lanes, heads and depths back.
func TestForkAfterAFailedWrite(t *testing.T) {
	r := startRig(t, batpak.Options{})
	root := r.mustAppend(t, r.draft(streamA, 0))
	one, err := r.fork(root.ID, r.draft(streamA, 0))
	if err != nil {
		t.Fatal(err)
	}
	fail := true
	r.intercept = func(c vfs.Call) vfs.Decision {
		if fail && c.Kind == vfs.OpWrite && c.Name == newestOf(r.mem) {
			fail = false
			return vfs.Decision{Err: syscall.ENOSPC}
		}
		return vfs.Decision{}
	}
	deep := r.draft(streamA, 0)
	deep.Lane, deep.Depth = one.Lane, 99
	if _, err := r.append(deep); !errors.Is(err, batpak.ErrNotLanded) {
		t.Fatalf("failed write: %v", err)
	}
	next := r.draft(streamA, 0)
	next.Lane = one.Lane
	if got := r.mustAppend(t, next); got.Clock != 2 {
		t.Errorf("clock %d, want 2", got.Clock)
	}
	fail = true
	if _, err := r.fork(root.ID, r.draft(streamA, 0)); !errors.Is(err, batpak.ErrNotLanded) {
		t.Fatalf("failed write: %v", err)
	}
	if _, err := r.fork(root.ID, r.draft(streamA, 0)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h := r.history()
		if err := errors.Join((&generation{told: h}).tellsLanes(r.st), chained(h)); err != nil {
			t.Error(err)
		}
		if err := stepReopen(r); err != nil {
			t.Fatal(err)
		}
	}
}

// One lane alone, or all of them in commit order: in both directions, page by page, over several segments.
func TestLanesByPages(t *testing.T) {
	r := startRig(t, batpak.Options{IndexEvery: 512})
	if err := growLanes(r, rand.New(rand.NewPCG(seed(t), 1)), 80); err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		h := r.history()
		for _, head := range append(lanesOf(h, streamA.Entity()), batpak.Head{Lane: 12345}) {
			if err := readsByPages(r.st, h, batpak.Query{Entity: streamA.Entity(), Lane: &head.Lane}); err != nil {
				t.Errorf("%s, lane %d: %v", when, head.Lane, err)
			}
		}
		if err := readsByPages(r.st, h, batpak.Query{Entity: streamA.Entity()}); err != nil {
			t.Errorf("%s, all lanes: %v", when, err)
		}
	}
	check("written")
	if err := stepReopen(r); err != nil {
		t.Fatal(err)
	}
	check("reopened")
	if err := stepKill(r); err != nil {
		t.Fatal(err)
	}
	check("killed")
}

// readsByPages compares pages of every size with the history, forwards and backwards.
func readsByPages(st *batpak.Store, h []told, q batpak.Query) error {
	var want []event.Event
	for i := range h {
		if selects(&q, &h[i].Event) {
			want = append(want, h[i].Event)
		}
	}
	for _, q.Limit = range []int{1, 3, 7} {
		for _, reverse := range []bool{false, true} {
			rest, page := slices.Clone(want), q
			if page.Reverse = reverse; reverse {
				slices.Reverse(rest)
			}
			for {
				n := min(q.Limit, len(rest))
				if err := reads(st, page, rest[:n]); err != nil {
					return fmt.Errorf("pages of %d, reverse %v: %w", q.Limit, reverse, err)
				}
				if n == 0 {
					break
				}
				if last := rest[n-1].Seq; reverse {
					page.Before = last
				} else {
					page.After = last
				}
				rest = rest[n:]
			}
		}
	}
	return nil
}

// Lanes, heads, depths and branches are the same by every rung, to a reader and to a writer that goes on, also where
// first events and events branched from are hidden.
func TestLanesOnEveryRung(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		n := seed(t)
		r := mustWrite(t, batpak.Options{IndexEvery: 512}, kill, func(r *rig) error {
			lane := r.full(streamB) // what going on needs: a lane that is not empty
			return errors.Join(second(r.append(lane)), second(r.append(r.draft(streamA, 0))), growLanes(r, rand.New(rand.NewPCG(n, 2)), 70))
		})
		h := r.history()
		var set hidden.Set
		forks := 0
		for i := range h {
			if !h[i].Fork.IsZero() {
				if forks++; forks%3 == 0 {
					set = set.Union(hidden.Of(hidden.Range{From: h[i].Seq, To: h[i].Seq + 1 + uint64(forks%2)}))
				}
			}
		}
		if forks < 10 {
			t.Fatalf("%d forks: the test needs more", forks)
		}
		r.everywhere(t, &generation{name: fmt.Sprintf("killed %v", kill), files: r.mem.Files(), told: h})
		r.mem.SetFile(hidden.FileName, hidden.AppendFile(nil, h[0].receipt.Store, &hidden.File{Set: set, Covers: h[len(h)-1].Seq}))
		r.everywhere(t, &generation{name: fmt.Sprintf("hidden, killed %v", kill), files: r.mem.Files(), told: h, hidden: set})
	}
}

// W29: streams were sorted by wall time, so that lanes stood in another order than they were committed in.
func TestWeaknessW29_LanesInCommitOrder(t *testing.T) {
	r := startRig(t, batpak.Options{})
	root := r.mustAppend(t, r.draft(streamA, 0))
	for i := range 40 {
		d := r.draft(streamA, 100*(i%2))
		var err error
		if r.clock.Add(-300 * int64(i%4)); i%5 == 0 { // set back again and again
			_, err = r.fork(root.ID, d)
		} else {
			d.Lane = uint32(i % 3)
			_, err = r.append(d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, step := range []func(*rig) error{func(*rig) error { return nil }, stepReopen, stepKill} {
		if err := step(r); err != nil {
			t.Fatal(err)
		}
		h := r.history()
		if err := errors.Join(chained(h), readsByPages(r.st, h, batpak.Query{Entity: streamA.Entity()})); err != nil {
			t.Error(err)
		}
	}
}
