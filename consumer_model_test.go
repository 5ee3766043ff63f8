package batpak_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/cursors"
	"batpak/internal/vfs"
)

// A diner is a consumer under test: "run" handles events, "react" answers them with events. It remembers what it has
// handled, and how long the trace of the file system was by then.
type diner struct {
	name   string
	placed []placement
	ate    []bite
}

// A placement is where a diner was put.
type placement struct {
	generation, seq uint64
	begun, done     int // lengths of the trace
}

// A bite is an event that a handler has handled, or a failure that was passed over.
type bite struct {
	generation, seq uint64
	ops             int
}

// A banquet is a history of a store with consumers.
type banquet struct {
	*rig
	diners map[string]*diner
	served int
}

var source = streamNamed("src")

const poison = "poison"

// dinerOptions are those of every diner: positions are written often, and never by time.
func dinerOptions() batpak.ConsumerOptions {
	return batpak.ConsumerOptions{
		Query: batpak.Query{Entity: "src"}, SaveEvents: 2, SaveEvery: time.Hour, MaxAttempts: 1,
	}
}

// of returns the consumer of a diner, and notes where it was made.
func (b *banquet) of(name string) (*batpak.Consumer, *diner, error) {
	begun := b.mem.OpCount()
	c, err := b.st.Consumer(name, dinerOptions())
	if err != nil {
		return nil, nil, err
	}
	d := b.diners[name]
	if d == nil {
		d = &diner{name: name, placed: []placement{{1, 0, begun, b.mem.OpCount()}}}
		b.diners[name] = d
	}
	return c, d, nil
}

// put moves a diner.
func (b *banquet) put(name string, seq uint64) error {
	c, d, err := b.of(name)
	if err != nil {
		return err
	}
	begun := b.mem.OpCount()
	if seq == 0 {
		err = c.Reset(context.Background())
	} else {
		err = c.Seek(context.Background(), seq)
	}
	d.placed = append(d.placed, placement{uint64(len(d.placed) + 1), seq, begun, b.mem.OpCount()})
	return err
}

// eat lets a diner handle up to n events of those that there are.
func (b *banquet) eat(name string, n int) error {
	c, d, err := b.of(name)
	if err != nil {
		return err
	}
	p, err := c.Position(context.Background())
	if err != nil {
		return err
	}
	last, err := collect(b.st, batpak.Query{Entity: "src", After: p.Seq, Limit: n})
	if err != nil || len(last) == 0 {
		return err
	}
	return d.upTo(c, last[len(last)-1].Seq, func(ev *event.Event) {
		d.ate = append(d.ate, bite{p.Generation, ev.Seq, b.mem.OpCount()})
	})
}

// upTo runs a diner until it is past the event with this sequence; each is told to seen.
func (d *diner) upTo(c *batpak.Consumer, last uint64, seen func(*event.Event)) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	handle := func(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
		if ev.Seq > last {
			cancel()
			return nil, ctx.Err()
		}
		seen(&ev)
		return replies(&ev), fails(&ev)
	}
	passed := make(chan struct{})
	go func() { // what is parked, and what is answered, is passed behind the handler's back
		defer close(passed)
		for ctx.Err() == nil {
			p, err := c.Position(ctx)
			if err != nil {
				return // the run comes to the same end, and says why unless it is cancelled before
			}
			if p.Seq >= last {
				break
			}
			runtime.Gosched()
		}
		cancel()
	}()
	var err error
	if d.name == "run" {
		err = c.Run(ctx, func(ctx context.Context, ev event.Event) error { return second(handle(ctx, ev)) })
	} else {
		err = c.React(ctx, handle)
	}
	cancel()
	<-passed
	if err == context.Canceled {
		return nil
	}
	return err
}

// isPoison reports whether no handler can handle ev.
func isPoison(ev *event.Event) bool { return strings.HasPrefix(string(ev.Payload), poison) }

func fails(ev *event.Event) error {
	if isPoison(ev) {
		return errPoison
	}
	return nil
}

// replies returns what "react" answers ev with: one draft or two.
func replies(ev *event.Event) (drafts []batpak.Draft) {
	for i := range 1 + ev.Seq%2 {
		drafts = append(drafts, batpak.Draft{
			Coordinate: streamNamed("answers"), Kind: kindTwo, Payload: fmt.Appendf(nil, "%d.%d", ev.Seq, i),
		})
	}
	return drafts
}

// serve appends an event for the diners.
func (b *banquet) serve(to interface {
	Append(context.Context, batpak.Draft) (batpak.Receipt, error)
}, payload string) error {
	b.served++
	return second(to.Append(context.Background(), batpak.Draft{
		Coordinate: source, Kind: kindOne, Payload: fmt.Appendf(nil, "%s %d", payload, b.served),
	}))
}

// courses is a history with everything that concerns positions: fences, rotation, failures, a new start, a kill, and
// positions that are put elsewhere.
func (b *banquet) courses() error {
	var f *batpak.Fence
	for i, step := range []func() error{
		func() error { return b.serve(b.st, "a") },
		func() error { return b.eat("run", 9) },
		func() error { return b.serve(b.st, "b") },
		func() error { return b.eat("react", 1) },
		func() error { return b.serve(b.st, poison) },
		func() error { return b.serve(b.st, "c") },
		func() error { return b.eat("run", 9) },
		func() error { return b.eat("react", 9) },
		func() (err error) { f, err = b.st.Fence(context.Background()); return err },
		func() error { return b.serve(f, "staged") },
		func() error { return b.serve(b.st, "behind the fence") },
		func() error { return b.eat("run", 9) },
		func() error { return f.Commit(context.Background()) },
		func() error { return b.eat("run", 1) },
		func() error { return b.eat("react", 9) },
		func() error { return b.serve(b.st, strings.Repeat("large", 300)) },
		func() error { return b.serve(b.st, strings.Repeat("large", 300)) },
		func() error { return b.eat("run", 9) },
		func() error { b.settle(); return stepReopen(b.rig) },
		func() error { return b.put("react", 0) },
		func() error { return b.eat("react", 4) },
		func() error { return b.put("run", 3) },
		func() error { return b.serve(b.st, "d") },
		func() error { return b.eat("run", 3) },
		func() error { return stepKill(b.rig) },
		func() error { return b.eat("run", 9) },
		func() error { return b.eat("react", 9) },
		func() error { return b.serve(b.st, "e") },
		func() error { return b.eat("run", 9) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// sweepConsumers lets the power fail in the middle of the courses, wherever that may be, and checks every stride-th
// state that a disk may then be in.
func sweepConsumers(mode batpak.SyncMode, stride int) (states int, err error) {
	b := &banquet{rig: newRig(batpak.Options{Sync: mode}), diners: map[string]*diner{}}
	if err := b.open(); err != nil {
		return 0, err
	}
	err = b.courses()
	b.settle()
	b.kill()
	if err != nil {
		return 0, err
	}
	o := vfs.StateOptions{Workload: "consumers-" + mode.String(), Seed: 1, Random: 1, Seen: map[[sha256.Size]byte]bool{}}
	o.Settled = func(name string) bool { return name == ".lock" }
	n := 0
	for ops := 0; ops <= b.mem.OpCount(); ops++ {
		for state := range b.mem.CrashStates(ops, o) {
			if n++; n%stride != 0 {
				continue
			}
			states++
			if err := b.survives(state.FS(), ops); err != nil {
				return states, fmt.Errorf("state %s: %w", state.Name, err)
			}
		}
	}
	return states, nil
}

// survives checks what a crash behind the first ops of the trace has left, and goes on.
func (b *banquet) survives(mem *vfs.Mem, ops int) (err error) {
	o := newRig(batpak.Options{Sync: b.opts.Sync}).opts
	o.SetFS(mem)
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	for _, name := range []string{"run", "react"} {
		d := b.diners[name]
		if ops <= d.placed[0].begun {
			continue
		}
		if err := d.goesOn(st, ops); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
	}
	return nil
}

// goesOn checks where a diner is after a crash, lets it handle what is left, and checks what came of it.
func (d *diner) goesOn(st *batpak.Store, ops int) error {
	c, err := st.Consumer(d.name, dinerOptions())
	if err != nil {
		return err
	}
	p, err := c.Position(context.Background())
	if err != nil {
		return err
	}
	events, err := collect(st, batpak.Query{Entity: "src"})
	if err != nil {
		return err
	}
	if err := d.mayBe(p, events, ops); err != nil {
		return err
	}
	if d.name == "react" {
		if err := answeredUpTo(st, d, p); err != nil {
			return err
		}
	}
	if err := d.finish(c, events, p); err != nil {
		return err
	}
	if err := parkedAll(c, events, d, ops); err != nil {
		return err
	}
	if d.name == "react" {
		return answeredOnce(st, events)
	}
	return nil
}

// mayBe checks that a position after a crash is one that the diner has earned.
func (d *diner) mayBe(p batpak.Position, events []event.Event, ops int) error {
	if p.Generation > uint64(len(d.placed)) {
		return fmt.Errorf("generation %d of %d", p.Generation, len(d.placed))
	}
	at := d.placed[p.Generation-1]
	if int(p.Generation) < len(d.placed) && d.placed[p.Generation].done <= ops {
		return fmt.Errorf("generation %d, although the next one was durable", p.Generation)
	}
	for _, ev := range events {
		if ev.Seq <= at.seq || ev.Seq > p.Seq {
			continue
		}
		if !slices.ContainsFunc(d.ate, func(b bite) bool { return b.generation == p.Generation && b.seq == ev.Seq && b.ops <= ops }) {
			return fmt.Errorf("position %d, but event %d was not handled by then", p.Seq, ev.Seq)
		}
	}
	return nil
}

// finish lets c handle everything behind p, and checks that it is given that, in order.
func (d *diner) finish(c *batpak.Consumer, events []event.Event, p batpak.Position) error {
	var want, got []uint64
	for _, ev := range events {
		if ev.Seq > p.Seq {
			want = append(want, ev.Seq)
		}
	}
	if len(want) == 0 {
		return nil
	}
	err := d.upTo(c, want[len(want)-1], func(ev *event.Event) { got = append(got, ev.Seq) })
	if err != nil || !slices.Equal(got, want) {
		return fmt.Errorf("behind %d: handed over %d, want %d; %w", p.Seq, got, want, err)
	}
	return nil
}

// parkedAll checks that every event that nobody can handle, and that was passed over, is parked.
func parkedAll(c *batpak.Consumer, events []event.Event, d *diner, ops int) error {
	parked, err := c.Parked(context.Background())
	if err != nil {
		return err
	}
	p, err := c.Position(context.Background())
	if err != nil {
		return err
	}
	for i := range events {
		ev := &events[i]
		is := slices.ContainsFunc(parked, func(p batpak.Parked) bool { return p.Seq == ev.Seq && p.ID == ev.ID })
		passed := ev.Seq <= p.Seq && ev.Seq > d.placed[p.Generation-1].seq
		if is != isPoison(ev) && (is || passed) {
			return fmt.Errorf("event %d parked: %v, position %d", ev.Seq, is, p.Seq)
		}
	}
	return nil
}

// answeredUpTo checks, right after a crash, that what was answered and the position were committed together.
func answeredUpTo(st *batpak.Store, d *diner, p batpak.Position) error {
	if p.Generation > 1 {
		return nil // a replay adds no answers
	}
	got, err := collect(st, answers)
	if err != nil {
		return err
	}
	for _, a := range got {
		var seq, i uint64
		if _, err := fmt.Sscanf(string(a.Payload), "%d.%d", &seq, &i); err != nil || seq > p.Seq {
			return fmt.Errorf("position %d, but %q is there, %v", p.Seq, a.Payload, err)
		}
	}
	return nil
}

// answeredOnce checks that each event has its answer, once.
func answeredOnce(st *batpak.Store, events []event.Event) error {
	got, err := collect(st, answers)
	if err != nil {
		return err
	}
	have := make(map[string]int)
	for _, a := range got {
		have[string(a.Payload)]++
	}
	for i := range events {
		if isPoison(&events[i]) {
			continue
		}
		for _, draft := range replies(&events[i]) {
			if n := have[string(draft.Payload)]; n != 1 {
				return fmt.Errorf("answer %q is there %d times", draft.Payload, n)
			}
			delete(have, string(draft.Payload))
		}
	}
	if len(have) > 0 {
		return fmt.Errorf("answers to events that are not there: %v", have)
	}
	return nil
}

// TestConsumerCrashes: wherever the power fails, consumers go on from a position that they have earned: nothing is
// skipped, nothing that was lost is named, and every event has one answer.
func TestConsumerCrashes(t *testing.T) {
	t.Parallel()
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncNever} {
		stride := thinned(9, 3, 1)
		started := time.Now()
		states, err := sweepConsumers(mode, stride)
		if err != nil {
			t.Errorf("%v: %v", mode, err)
		}
		t.Logf("%v: %d states in %v", mode, states, time.Since(started).Round(time.Millisecond))
	}
}

// positionsBehindDurable checks that no file of a position is written while the event that it names may still be lost.
func positionsBehindDurable() error {
	for _, mode := range []batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever} {
		if err := positionsBehindDurableIn(mode); err != nil {
			return fmt.Errorf("%v: %w", mode, err)
		}
	}
	return nil
}

func positionsBehindDurableIn(mode batpak.SyncMode) (err error) {
	b := &banquet{rig: newRig(batpak.Options{Sync: mode}), diners: map[string]*diner{}}
	written := 0
	b.intercept = func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRename && strings.HasSuffix(c.Dir, "/cursors") {
			st := b.live.Load()
			for name, file := range b.mem.Files() {
				if !strings.HasPrefix(name, "cursors/") || !strings.HasSuffix(name, ".tmp") {
					continue
				}
				written++
				f, bad := cursors.DecodeFile(file, st.ID())
				if durable := st.Frontier().Durable; bad != nil || f.Position.Seq > durable {
					err = errors.Join(err, fmt.Errorf("position %d is written while %d is durable; %v", f.Position.Seq, durable, bad))
				}
			}
		}
		return vfs.Decision{}
	}
	if err := b.open(); err != nil {
		return err
	}
	defer b.kill()
	for range 6 {
		for range 3 {
			if err := b.serve(b.st, "x"); err != nil {
				return err
			}
		}
		if err := b.eat("run", 9); err != nil {
			return err
		}
	}
	if written == 0 {
		return errors.New("no position was written")
	}
	return err
}
