package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"batpak"
	"batpak/coldstart"
	"batpak/coordinate"
	"batpak/event"
	"batpak/hidden"
	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// Whatever an open starts from, the store that it makes is the same. A generation is a copy of a store's directory at
// one point of its life; its caches are taken away, or replaced by those of other generations, and everything that can
// be seen is compared with what callers were told.

// A generation is a directory and what it must tell.
type generation struct {
	name   string
	files  map[string][]byte
	told   []told
	hidden hidden.Set
	gone   []told // events that are not in the log any more, and whose keys are known
}

// The files that an open can do without.
const (
	snapshotFile   = "index.fbati"
	checkpointFile = "index.ckpt"
	blockSuffix    = ".fbix"
	catalogSuffix  = ".fbcat"
)

func isImage(name string) bool   { return name == snapshotFile || name == checkpointFile }
func isBlock(name string) bool   { return strings.HasSuffix(name, blockSuffix) }
func isCatalog(name string) bool { return strings.HasSuffix(name, catalogSuffix) }
func isCache(name string) bool   { return isImage(name) || isBlock(name) || isCatalog(name) }

// A lifetime makes generations.
type lifetime struct {
	*rig
	hidden      hidden.Set
	gone        []told
	generations []generation
}

// liveLong lives through appends of every kind, checkpoints, seals, closes, kills, and a segment that cannot be sealed.
func liveLong() (*lifetime, error) {
	l := &lifetime{rig: newRig(batpak.Options{IndexEvery: 256})}
	if err := l.open(); err != nil {
		return nil, err
	}
	var unsealable string
	l.intercept = func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpOpenWrite && unsealable != "" && c.Name == unsealable {
			return vfs.Decision{Err: syscall.EIO}
		}
		return vfs.Decision{}
	}
	for i := range 15 {
		if err := l.round(); err != nil {
			return nil, err
		}
		l.settle()
		l.keep(fmt.Sprintf("round %d", i))
		var err error
		switch i {
		case 2, 7, 12:
			if err = l.checkpoint(); err == nil {
				l.keep(fmt.Sprintf("checkpoint %d", i))
			}
		case 4:
			err = l.intermission()
		case 6, 11:
			unsealable = ""
			err = stepKill(l.rig)
		case 8, 10:
			unsealable = slices.Max(slices.Collect(maps.Keys(segmentsOf(l.mem.Files()))))
		case 13:
			err = stepReopen(l.rig)
		}
		if err != nil {
			return nil, fmt.Errorf("round %d: %w", i, err)
		}
	}
	if err := l.close(); err != nil {
		return nil, err
	}
	l.keep("closed")
	return l, chained(l.history())
}

// round appends events that between them use every field.
func (l *lifetime) round() error {
	lane := l.draft(streamA, 30)
	lane.Lane = 1
	pair := []batpak.Draft{l.full(streamB), l.full(streamA)}
	pair[1].Kind = kindOne
	return errors.Join(
		second(l.append(l.draft(streamA, 60))), second(l.append(lane)), stepCauses(l.rig), second(l.append(l.full(streamB))),
		second(l.batch(pair)), second(l.append(l.draft(coordinate.MustNew(fmt.Sprintf("once:%d", l.serial), "eu"), 200))),
	)
}

// intermission closes the store, hides some of its events, lets others be evicted that were there before them, and opens
// it again.
func (l *lifetime) intermission() error {
	if err := l.close(); err != nil {
		return err
	}
	l.keep("first close")
	h := l.history()
	store := h[0].receipt.Store
	l.hidden = hidden.Of(hidden.Range{From: 2, To: 4}, hidden.Range{From: h[len(h)-3].Seq, To: h[len(h)-3].Seq + 1})
	l.mem.SetFile(hidden.FileName, hidden.AppendFile(nil, store, &hidden.File{Set: l.hidden, Covers: h[len(h)-1].Seq}))
	if err := l.evict(store); err != nil {
		return err
	}
	l.keep("hidden and evicted")
	return l.reopen()
}

// keep copies the directory.
func (l *lifetime) keep(name string) {
	l.generations = append(l.generations, generation{name, l.mem.Files(), l.history(), l.hidden, l.gone})
}

// segments returns the names of the generation's segments in order.
func (g *generation) segments() []string {
	return slices.Sorted(maps.Keys(segmentsOf(maps.Clone(g.files))))
}

// without returns the generation's files but those that drop names.
func (g *generation) without(drop func(name string) bool) *vfs.Mem {
	m := vfs.NewMemFrom(g.files)
	for name := range g.files {
		if drop(name) {
			m.DeleteFile(name)
		}
	}
	return m
}

// with returns the generation's files, with those that take names replaced by those of another generation.
func (g *generation) with(from *generation, take func(name string) bool) *vfs.Mem {
	m := g.without(take)
	for name, b := range from.files {
		if take(name) {
			m.SetFile(name, b)
		}
	}
	return m
}

// tells compares everything that a reader of st can see with the generation.
func (g *generation) tells(st *batpak.Store) error {
	visible := make([]event.Event, 0, len(g.told))
	streams := map[streamName]*told{}
	for i := range g.told {
		t := &g.told[i]
		streams[streamName{t.Coordinate.Entity(), t.Lane}] = t
		if !g.hidden.Contains(t.Seq) {
			visible = append(visible, t.Event)
		}
		if err := g.tellsEvent(st, t); err != nil {
			return fmt.Errorf("event %d: %w", t.Seq, err)
		}
	}
	for k, t := range streams {
		head, err := st.Head(context.Background(), k.entity, k.lane)
		if w := (batpak.Head{Seq: t.Seq, ID: t.ID, Clock: t.Clock, Lane: k.lane, Hash: t.Hash}); err != nil || head != w {
			return fmt.Errorf("head of %v = %+v, %v, want %+v", k, head, err, w)
		}
	}
	for _, nobody := range []streamName{{"nobody", 0}, {streamA.Entity(), 77}} {
		if _, err := st.Head(context.Background(), nobody.entity, nobody.lane); !errors.Is(err, batpak.ErrNotFound) {
			return fmt.Errorf("head of %v: %v, want %v", nobody, err, batpak.ErrNotFound)
		}
	}
	last := g.told[len(g.told)-1].Seq
	if s := st.Stats(); s.Events != uint64(len(g.told)) || s.FirstSeq != 1 || s.LastSeq != last || s.Visible != last {
		return fmt.Errorf("Stats() = %+v, want %d events up to %d", s, len(g.told), last)
	}
	return errors.Join(tellsQueries(st, visible), g.tellsLanes(st))
}

// tellsEvent looks an event up by sequence and by ID.
func (g *generation) tellsEvent(st *batpak.Store, t *told) error {
	byID, err1 := st.Event(context.Background(), t.ID)
	bySeq, err2 := st.EventAt(context.Background(), t.Seq)
	if g.hidden.Contains(t.Seq) {
		if !errors.Is(err1, batpak.ErrNotFound) || !errors.Is(err2, batpak.ErrNotFound) {
			return fmt.Errorf("it is hidden: %v, %v, want %v", err1, err2, batpak.ErrNotFound)
		}
		return nil
	}
	return errors.Join(err1, err2, sameEvent(&byID, &t.Event), sameEvent(&bySeq, &t.Event), tellsReceipt(st, t))
}

// tellsQueries reads by every kind of selection, in both directions.
func tellsQueries(st *batpak.Store, visible []event.Event) error {
	lane := uint32(3)
	for _, q := range []batpak.Query{
		{}, {Entity: streamA.Entity()}, {Entity: streamB.Entity(), Lane: &lane}, {EntityPrefix: "once:"}, {Scope: "us"},
		{Kinds: []event.Kind{kindTwo}}, {Tags: []string{"urgent"}}, {After: 5, Before: 31, Borrow: true}, {Entity: "nobody"},
	} {
		var want []event.Event
		for i := range visible {
			if selects(&q, &visible[i]) {
				want = append(want, visible[i])
			}
		}
		for _, q.Reverse = range []bool{false, true} {
			if err := reads(st, q, want); err != nil {
				return fmt.Errorf("query %+v: %w", q, err)
			}
			slices.Reverse(want)
		}
	}
	return nil
}

// answers makes appends that leave no trace: retries, other requests under used keys, conditions that do not hold.
func (g *generation) answers(st *batpak.Store) error {
	ctx := context.Background()
	for _, t := range append(slices.Clip(g.told), g.gone...) {
		if t.key == nil || t.size > 1 || g.hidden.Contains(t.Seq) {
			continue
		}
		want := t.receipt
		want.Replayed = true
		if got, err := st.Append(ctx, t.draft); err != nil {
			return fmt.Errorf("retry of event %d: %w", t.Seq, err)
		} else if got != want {
			return fmt.Errorf("retry of event %d: %+v, want %+v", t.Seq, got, want)
		}
		other := t.draft
		other.Payload = []byte("another request")
		var conflict *batpak.IdempotencyConflictError
		if _, err := st.Append(ctx, other); !errors.As(err, &conflict) || conflict.Seq != t.Seq || conflict.ID != t.ID {
			return fmt.Errorf("another request under the key of event %d: %v", t.Seq, err)
		}
	}
	last := g.last(streamA, 0)
	d := batpak.Draft{Coordinate: streamA, Kind: kindOne, Expect: batpak.Clock(last.Clock + 1)}
	var conflict *batpak.ConflictError
	if _, err := st.Append(ctx, d); !errors.As(err, &conflict) || conflict.Have != last.Clock || conflict.ReadAfter != last.Seq {
		return fmt.Errorf("append with a wrong expectation: %v, want clock %d and sequence %d", err, last.Clock, last.Seq)
	}
	return nil
}

// last returns the last event of a stream.
func (g *generation) last(at coordinate.Coordinate, lane uint32) *told {
	for i := len(g.told) - 1; i >= 0; i-- {
		if g.told[i].Coordinate.Entity() == at.Entity() && g.told[i].Lane == lane {
			return &g.told[i]
		}
	}
	return new(told)
}

// goOn appends events, and returns the generation that the store then is.
func (g *generation) goOn(st *batpak.Store) (generation, error) {
	after, last := *g, g.last(streamA, 0)
	single := batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("after"), Expect: batpak.Clock(last.Clock)}
	keyed := batpak.Draft{Coordinate: streamB, Lane: 3, Kind: kindTwo, Payload: []byte("keyed"), IdempotencyKey: []byte("after"), Tags: []string{"urgent"}}
	fresh := batpak.Draft{Coordinate: coordinate.MustNew("fresh", "eu"), Kind: kindOne, Expect: batpak.Absent()}
	for _, drafts := range [][]batpak.Draft{{single}, {keyed, fresh}} {
		receipts, err := st.AppendBatch(context.Background(), drafts)
		if err != nil {
			return after, err
		}
		if next := after.told[len(after.told)-1].Seq + 1; receipts[0].Seq != next {
			return after, fmt.Errorf("appended event has sequence %d, want %d", receipts[0].Seq, next)
		}
		after.told = deepen(append(slices.Clip(after.told), tell(drafts, receipts)...))
	}
	return after, chained(slices.Clone(after.told))
}

// opens opens what is in m, compares everything, goes on, and compares again. fits says by which rungs it may be opened.
func (g *generation) opens(m *vfs.Mem, o batpak.Options, fits func(coldstart.Rung) bool) error {
	l := &life{opts: o, mem: m}
	start := m.OpCount()
	st, err := l.open()
	if err != nil {
		return err
	}
	defer st.Close()
	if rep := st.OpenReport(); !fits(rep.Rung) {
		return fmt.Errorf("opened by %v:\n%v", rep.Rung, rep)
	}
	if err := g.tells(st); err != nil {
		return err
	}
	if o.ReadOnly {
		return errors.Join(st.Close(), unchanged(m, start, true))
	}
	if err := g.answers(st); err != nil {
		return err
	}
	after, err := g.goOn(st)
	if err != nil {
		return fmt.Errorf("going on: %w", err)
	}
	st.WaitIdle()
	if err := errors.Join(after.tells(st), after.answers(st), st.Close()); err != nil {
		return fmt.Errorf("gone on: %w", err)
	}
	if st, err = l.open(); err != nil {
		return fmt.Errorf("open again: %w", err)
	}
	defer st.Close()
	if rep := st.OpenReport(); !rep.Clean {
		return fmt.Errorf("opened again: not a clean end:\n%v", rep)
	}
	if err := after.tells(st); err != nil {
		return fmt.Errorf("opened again: %w", err)
	}
	return nil
}

// rungOf returns the rung by which a generation opens without the first steps of the ladder.
func (g *generation) rungOf(at coldstart.Rung) coldstart.Rung {
	footers := slices.ContainsFunc(g.segments(), g.isSealed)
	if at == coldstart.RungSnapshot && g.files[snapshotFile] == nil {
		at = coldstart.RungCheckpoint
	}
	if at == coldstart.RungCheckpoint && g.files[checkpointFile] == nil {
		at = coldstart.RungFooters
	}
	if at == coldstart.RungFooters && !footers {
		at = coldstart.RungFrames
	}
	return at
}

// isSealed reports whether the file name ends in a footer.
func (g *generation) isSealed(name string) bool {
	id, _ := segment.ParseName(name)
	h, err := segment.DecodeHeader(g.files[name], id)
	if err != nil {
		return false
	}
	dir, err := vfs.NewMemFrom(g.files).OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		return false
	}
	s, err := index.OpenSealed(dir, h.Store, id)
	return err == nil && s.Close() == nil
}

// A ladder of opens, and what they found.
type climbs struct {
	g     errgroup.Group
	count atomic.Int64
	rungs [coldstart.RungFrames + 1]atomic.Int64
	wrong findings
}

func (c *climbs) try(name string, do func() error) {
	c.g.Go(func() error {
		c.count.Add(1)
		if err := calmly(do); err != nil {
			c.wrong.add(fmt.Errorf("%s: %w", name, err))
		}
		return nil
	})
}

// calmly turns a panic into an error.
func calmly(do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return do()
}

// only counts the rungs that fits says yes to.
func (c *climbs) only(fits func(coldstart.Rung) bool) func(coldstart.Rung) bool {
	return func(rung coldstart.Rung) bool {
		if !fits(rung) {
			return false
		}
		c.rungs[rung].Add(1)
		return true
	}
}

func (c *climbs) report(t *testing.T, started time.Time) {
	t.Helper()
	_ = c.g.Wait()
	c.wrong.report(t)
	t.Logf("%d opens tried, by snapshot %d, checkpoint %d, footers %d, frames %d, in %v", c.count.Load(),
		c.rungs[coldstart.RungSnapshot].Load(), c.rungs[coldstart.RungCheckpoint].Load(), c.rungs[coldstart.RungFooters].Load(),
		c.rungs[coldstart.RungFrames].Load(), time.Since(started).Round(time.Millisecond))
}

// TestEveryRungTellsTheSame: one store, every rung, with and without blocks and catalogs, to readers and to a writer,
// with caches of other times: the same answers.
func TestEveryRungTellsTheSame(t *testing.T) {
	t.Parallel()
	l, err := liveLong()
	if err != nil {
		t.Fatal(err)
	}
	l.describe(t)
	t.Run("rungs", func(t *testing.T) {
		started, c := time.Now(), new(climbs)
		c.g.SetLimit(runtime.GOMAXPROCS(0))
		for i := range l.generations {
			l.climb(c, &l.generations[i])
		}
		c.report(t, started)
		for rung := coldstart.RungSnapshot; rung <= coldstart.RungFrames; rung++ {
			if c.rungs[rung].Load() == 0 {
				t.Errorf("no open by %v", rung)
			}
		}
	})
	t.Run("mixed", func(t *testing.T) {
		started, c := time.Now(), new(climbs)
		c.g.SetLimit(runtime.GOMAXPROCS(0))
		l.mix(c)
		c.report(t, started)
	})
}

// describe checks that the store has what the test is about.
func (l *lifetime) describe(t *testing.T) {
	t.Helper()
	unsealed, blocks, catalogs := 0, 0, 0
	for _, g := range l.generations {
		names := g.segments()
		for _, name := range names[:len(names)-1] {
			if !g.isSealed(name) {
				unsealed++
			}
		}
		for name := range g.files {
			if isBlock(name) {
				blocks++
			}
			if isCatalog(name) {
				catalogs++
			}
		}
	}
	last := l.generations[len(l.generations)-1]
	t.Logf("%d generations, %d events in %d segments; over all generations %d older segments without footer, %d files of blocks, %d catalogs",
		len(l.generations), len(last.told), len(last.segments()), unsealed, blocks, catalogs)
	if unsealed == 0 || blocks == 0 || catalogs == 0 || len(last.gone) == 0 || last.hidden.IsEmpty() {
		t.Error("the store lacks one of them")
	}
}

// climb opens one generation by every rung.
func (l *lifetime) climb(c *climbs, g *generation) {
	none := func(string) bool { return false }
	for _, rung := range []struct {
		at      coldstart.Rung
		drop    func(string) bool
		footers bool // cut
	}{
		{coldstart.RungSnapshot, none, false},
		{coldstart.RungCheckpoint, func(name string) bool { return name == snapshotFile }, false},
		{coldstart.RungFooters, isImage, false},
		{coldstart.RungFrames, isImage, true},
	} {
		for _, also := range []struct {
			name string
			drop func(string) bool
		}{
			{"all", none}, {"no blocks", isBlock}, {"no catalogs", isCatalog}, {"neither", func(name string) bool { return isBlock(name) || isCatalog(name) }},
		} {
			for _, readOnly := range []bool{true, false} {
				want := rung.at
				if !rung.footers {
					want = g.rungOf(rung.at)
				}
				name := fmt.Sprintf("%s, %v, %s, read-only %v", g.name, rung.at, also.name, readOnly)
				c.try(name, func() error {
					m := g.without(func(name string) bool { return rung.drop(name) || also.drop(name) })
					if rung.footers {
						cutFooters(m)
					}
					o := l.opts
					o.ReadOnly = readOnly
					return g.opens(m, o, c.only(func(rung coldstart.Rung) bool { return rung == want }))
				})
			}
		}
	}
}

// mix opens each generation with the caches of each other one.
func (l *lifetime) mix(c *climbs) {
	classes := []struct {
		name string
		take func(string) bool
		cut  bool // footers
	}{
		{"images", isImage, false}, {"blocks", isBlock, false}, {"catalogs", isCatalog, false}, {"caches", isCache, false},
		{"snapshot", func(name string) bool { return name == snapshotFile }, false}, {"blocks for footers", isBlock, true},
	}
	n := 0
	for i := range l.generations {
		for j := range l.generations {
			for k, class := range classes {
				if n++; i == j || (i+j+k)%thinned(4, 2, 1) != 0 {
					continue
				}
				from, g, readOnly := &l.generations[i], &l.generations[j], n%5 == 0
				c.try(fmt.Sprintf("%s with %s of %s", g.name, class.name, from.name), func() error {
					m := g.with(from, class.take)
					if class.cut {
						cutFooters(m)
					}
					o := l.opts
					o.ReadOnly = readOnly
					return g.opens(m, o, c.only(func(rung coldstart.Rung) bool {
						return !class.take(snapshotFile) || class.cut || snapshotFits(g, from, i > j, rung)
					}))
				})
			}
		}
	}
}

// snapshotFits reports whether a generation that was given the snapshot of another one may be opened by rung: a snapshot
// that lists segments which were not sealed yet is never trusted, an older one holds for what it lists.
func snapshotFits(g, from *generation, later bool, rung coldstart.Rung) bool {
	switch ahead := !bytes.Equal(g.files[snapshotFile], from.files[snapshotFile]); {
	case from.files[snapshotFile] == nil:
		return rung != coldstart.RungSnapshot
	case later && ahead:
		return rung != coldstart.RungSnapshot
	}
	return rung == coldstart.RungSnapshot
}
