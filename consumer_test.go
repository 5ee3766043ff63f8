package batpak_test

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/cursors"
	"batpak/internal/vfs"
)

// bubble runs a test in a bubble of testing/synctest, with a store in mem.
func bubble(t *testing.T, mem *vfs.Mem, o batpak.Options, fn func(t *testing.T, st *batpak.Store)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.FillAhead = -1
		o.SetFS(mem)
		st := openAt(t, vfs.MemDir, &o)
		defer mustClose(t, st)
		fn(t, st)
	})
}

// consumer returns a consumer that must be.
func consumer(t testing.TB, st *batpak.Store, name string, o batpak.ConsumerOptions) *batpak.Consumer {
	t.Helper()
	c, err := st.Consumer(name, o)
	if err != nil {
		t.Fatalf("consumer %q: %v", name, err)
	}
	return c
}

// drain runs c in a bubble until it waits for events that are not there, and returns the sequences that it handed over.
func drain(t testing.TB, c *batpak.Consumer) []uint64 {
	t.Helper()
	var got []uint64
	drainTo(t, c, func(_ context.Context, ev event.Event) error {
		got = append(got, ev.Seq)
		return nil
	})
	return got
}

// drainTo is drain with a handler.
func drainTo(t testing.TB, c *batpak.Consumer, fn func(context.Context, event.Event) error) {
	t.Helper()
	untilIdle(t, func(ctx context.Context) error { return c.Run(ctx, fn) })
}

// untilIdle calls run, in a bubble, and ends it when nothing moves any more.
func untilIdle(t testing.TB, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- run(ctx) }()
	<-time.After(time.Hour) // for pauses, too
	synctest.Wait()
	cancel()
	if err := <-done; err != context.Canceled {
		t.Fatalf("run ended with %v", err)
	}
}

// upTo returns first to last.
func upTo(first, last uint64) (all []uint64) {
	for seq := first; seq <= last; seq++ {
		all = append(all, seq)
	}
	return all
}

func wantSeqs(t testing.TB, what string, got, want []uint64) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: handed over %d, want %d", what, got, want)
	}
}

// A consumer goes on where it stopped: in the same process, in the next one, and after a crash, where what was not kept
// comes again.
func TestConsumerGoesOn(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}}
	var crashed *vfs.Mem
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		fillStore(t, st, 5)
		c := consumer(t, st, "a", o) // event 6 says so
		wantSeqs(t, "the past", drain(t, c), upTo(1, 5))
		wantSeqs(t, "nothing new", drain(t, c), nil)
		fillStore(t, st, 3)
		wantSeqs(t, "what is new", drain(t, c), upTo(7, 9))
		wantSeqs(t, "another consumer", drain(t, consumer(t, st, "b", o)), []uint64{1, 2, 3, 4, 5, 7, 8, 9})
		fillStore(t, st, 2)
	})
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "a", o)
		if p, err := c.Position(t.Context()); err != nil || p.Seq != 9 || p.Generation != 1 || p.Hash.IsZero() {
			t.Errorf("position %+v, %v", p, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := c.Run(ctx, func(_ context.Context, ev event.Event) error {
			if ev.Seq == 11 {
				crashed = mem.Clone() // the handler has not returned, and the run not ended
				cancel()
			}
			return nil
		})
		if err != context.Canceled {
			t.Errorf("run ended with %v", err)
		}
		wantSeqs(t, "the rest", drain(t, c), []uint64{12})
	})
	bubble(t, crashed, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		wantSeqs(t, "after a crash", drain(t, consumer(t, st, "a", o)), upTo(11, 12))
	})
}

// Events come as they are committed, in order, also over pages, and only those that are selected.
func TestConsumerFollows(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{SegmentSize: smallSegment}, func(t *testing.T, st *batpak.Store) {
		all, some := consumer(t, st, "all", batpak.ConsumerOptions{}), consumer(t, st, "some", batpak.ConsumerOptions{Query: row7})
		ctx, cancel := context.WithCancel(t.Context())
		var got [2][]uint64
		done := make(chan error)
		for i, c := range []*batpak.Consumer{all, some} {
			go func() {
				done <- c.Run(ctx, func(_ context.Context, ev event.Event) error {
					got[i] = append(got[i], ev.Seq)
					return nil
				})
			}()
		}
		var want, wantSome []uint64
		for i := range 600 {
			d := plain(strings.Repeat("x", i))
			if i%5 == 0 {
				d.Tags = row7.Tags
			}
			r := mustAppend(t, st, d)
			want = append(want, r.Seq)
			if i%5 == 0 {
				wantSome = append(wantSome, r.Seq)
			}
		}
		synctest.Wait()
		cancel()
		for range 2 {
			if err := <-done; err != context.Canceled {
				t.Error(err)
			}
		}
		wantSeqs(t, "all", got[0], want)
		wantSeqs(t, "some", got[1], wantSome)
	})
}

// Where a new consumer begins is noted in the log, so that it outlives a crash and the directory of positions.
func TestConsumerFrom(t *testing.T) {
	for _, tt := range []struct {
		name string
		from batpak.From
		want []uint64
	}{
		{"the beginning", batpak.From{}, []uint64{1, 2, 3, 5, 6}},
		{"now", batpak.FromNow(), []uint64{5, 6}},
		{"after 2", batpak.FromAfter(2), []uint64{3, 5, 6}},
		{"after the last", batpak.FromAfter(3), []uint64{5, 6}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := vfs.NewMem()
			o := batpak.ConsumerOptions{From: tt.from}
			bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				fillStore(t, st, 3)
				consumer(t, st, "c", o)
				fillStore(t, st, 2)
			})
			loseCursors(mem)
			bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				wantSeqs(t, "first run", drain(t, consumer(t, st, "c", o)), tt.want)
			})
			loseCursors(mem)
			bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				wantSeqs(t, "without its file", drain(t, consumer(t, st, "c", o)), tt.want)
			})
		})
	}
}

// loseCursors removes the files of all positions.
func loseCursors(mem *vfs.Mem) {
	for _, name := range cursorFiles(mem) {
		mem.DeleteFile(name)
	}
}

// cursorFiles returns the names of the files of positions.
func cursorFiles(mem *vfs.Mem) (names []string) {
	for name := range mem.Files() {
		if strings.HasPrefix(name, "cursors/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Reset and Seek are durable, and refused while the consumer runs.
func TestConsumerResetAndSeek(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{From: batpak.FromAfter(1)}
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		fillStore(t, st, 4)
		c := consumer(t, st, "c", o)
		wantSeqs(t, "first", drain(t, c), upTo(2, 4))
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, "after Reset", drain(t, c), upTo(2, 4))
		if err := c.Seek(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, "after Seek to the beginning", drain(t, c), upTo(1, 4))
		if err := c.Seek(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		if err := c.Seek(t.Context(), 99); !errors.Is(err, batpak.ErrInvalid) {
			t.Errorf("Seek behind the end: %v", err)
		}
		if p, err := c.Position(t.Context()); err != nil || p.Seq != 3 || p.Generation != 4 {
			t.Errorf("position %+v, %v", p, err)
		}
	})
	loseCursors(mem) // the log knows, too
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		drainTo(t, c, func(ctx context.Context, ev event.Event) error {
			if ev.Seq != 4 {
				t.Errorf("after Seek to 3: event %d", ev.Seq)
			}
			for what, err := range map[string]error{
				"Reset": c.Reset(ctx), "Seek": c.Seek(ctx, 1), "Run": c.Run(ctx, nil), "React": c.React(ctx, nil),
				"Run of another Consumer": consumer(t, st, "c", o).Run(ctx, nil),
			} {
				if !errors.Is(err, batpak.ErrConsumerRunning) {
					t.Errorf("%s while it runs: %v", what, err)
				}
			}
			return nil
		})
		known, err := st.KnownConsumer(t.Context(), "c")
		if err != nil {
			t.Fatal(err)
		}
		if err := known.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, "after Reset by name", drain(t, c), upTo(2, 4))
		if _, err := st.KnownConsumer(t.Context(), "nobody"); !errors.Is(err, batpak.ErrNoConsumer) {
			t.Errorf("unknown consumer: %v", err)
		}
	})
}

// The end of a run is the end of its context, as it is, or of the store.
func TestConsumerEnds(t *testing.T) {
	fine := func(context.Context, event.Event) error { return nil }
	t.Run("context", func(t *testing.T) {
		bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
			c := consumer(t, st, "c", batpak.ConsumerOptions{})
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := c.Run(ctx, fine); err != context.DeadlineExceeded {
				t.Errorf("run ended with %v", err)
			}
			if err := c.Run(ctx, fine); err != context.DeadlineExceeded {
				t.Errorf("run of an ended context: %v", err)
			}
			why := errors.New("enough")
			caused, stop := context.WithCancelCause(t.Context())
			stop(why)
			if err := c.Run(caused, fine); err != why {
				t.Errorf("run ended with %v", err)
			}
		})
	})
	for _, at := range []string{"waiting", "in a handler", "in a pause"} {
		t.Run("store closed while "+at, func(t *testing.T) {
			mem := vfs.NewMem()
			synctest.Test(t, func(t *testing.T) {
				st := openMem(t, mem)
				c := consumer(t, st, "c", batpak.ConsumerOptions{MaxAttempts: 9, Pause: time.Hour, MaxPause: time.Hour})
				if at != "waiting" {
					fillStore(t, st, 1)
				}
				done := make(chan error)
				go func() {
					done <- c.Run(context.Background(), func(ctx context.Context, ev event.Event) error {
						if at == "in a handler" {
							<-ctx.Done()
							if context.Cause(ctx) != batpak.ErrClosed {
								t.Errorf("cause of the handler's context: %v", context.Cause(ctx))
							}
						}
						return errors.New("not now")
					})
				}()
				synctest.Wait()
				mustClose(t, st)
				if err := <-done; err != batpak.ErrClosed {
					t.Errorf("run ended with %v", err)
				}
				if err := c.Run(context.Background(), fine); err != batpak.ErrClosed {
					t.Errorf("run of a closed store: %v", err)
				}
				if _, err := st.Consumer("c", batpak.ConsumerOptions{}); !errors.Is(err, batpak.ErrClosed) {
					t.Errorf("consumer of a closed store: %v", err)
				}
			})
			if at != "waiting" {
				bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
					wantSeqs(t, "what was not handled", drain(t, consumer(t, st, "c", batpak.ConsumerOptions{})), []uint64{2})
				})
			}
		})
	}
}

// What cannot be a consumer is refused before anything is written.
func TestConsumerRefusals(t *testing.T) {
	lane := uint32(3)
	mem := vfs.NewMem()
	st := openMem(t, mem)
	fillStore(t, st, 1)
	for _, tt := range []struct {
		name, consumer string
		o              batpak.ConsumerOptions
		want           error
	}{
		{"no name", "", batpak.ConsumerOptions{}, batpak.ErrInvalid},
		{"control character", "a\nb", batpak.ConsumerOptions{}, batpak.ErrInvalid},
		{"long name", strings.Repeat("x", 256), batpak.ConsumerOptions{}, batpak.ErrLimit},
		{"After", "c", batpak.ConsumerOptions{Query: batpak.Query{After: 1}}, batpak.ErrOption},
		{"Before", "c", batpak.ConsumerOptions{Query: batpak.Query{Before: 1}}, batpak.ErrOption},
		{"ToHLC", "c", batpak.ConsumerOptions{Query: batpak.Query{ToHLC: 1}}, batpak.ErrOption},
		{"Limit", "c", batpak.ConsumerOptions{Query: batpak.Query{Limit: 1}}, batpak.ErrOption},
		{"Reverse", "c", batpak.ConsumerOptions{Query: batpak.Query{Reverse: true}}, batpak.ErrOption},
		{"bad query", "c", batpak.ConsumerOptions{Query: batpak.Query{Entity: "\n"}}, batpak.ErrInvalid},
		{"long query", "c", batpak.ConsumerOptions{Query: batpak.Query{EntityPrefix: strings.Repeat("x", 1<<17)}}, batpak.ErrLimit},
		{"attempts", "c", batpak.ConsumerOptions{MaxAttempts: -1}, batpak.ErrOption},
		{"pause", "c", batpak.ConsumerOptions{Pause: -1}, batpak.ErrOption},
		{"longest pause", "c", batpak.ConsumerOptions{Pause: 9, MaxPause: 8}, batpak.ErrOption},
		{"events", "c", batpak.ConsumerOptions{SaveEvents: -1}, batpak.ErrOption},
		{"time", "c", batpak.ConsumerOptions{SaveEvery: 1}, batpak.ErrOption},
		{"from the future", "c", batpak.ConsumerOptions{From: batpak.FromAfter(2)}, batpak.ErrOption},
	} {
		if c, err := st.Consumer(tt.consumer, tt.o); !errors.Is(err, tt.want) || c != nil {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	if names := cursorFiles(mem); len(names) != 0 || st.Frontier().Written != 1 {
		t.Errorf("refused consumers have left %v, and events up to %d", names, st.Frontier().Written)
	}
	full := batpak.Query{
		Entity: "plain", Entities: []string{"plain", "b"}, EntityPrefix: "p\xff", EntityPrefixes: []string{"p", "\xfe"}, Scope: "all",
		Kinds: []event.Kind{kindTwo, kindOne}, Categories: []int{3, 1}, Tags: []string{"b", "a"}, Lane: &lane, System: true,
		Correlation: event.NewID(1<<20, 7), Causation: event.NewID(1<<20, 8), FromHLC: 5,
	}
	consumer(t, st, "full", batpak.ConsumerOptions{Query: full})
	mustClose(t, st)
	var o batpak.Options
	o.SetFS(mem)
	o.ReadOnly = true
	reader := openAt(t, vfs.MemDir, &o)
	defer mustClose(t, reader)
	if _, err := reader.Consumer("full", batpak.ConsumerOptions{Query: full}); !errors.Is(err, batpak.ErrReadOnly) {
		t.Errorf("consumer of a read-only store: %v", err)
	}
	st = openMem(t, mem.Clone())
	defer mustClose(t, st)
	slices.Reverse(full.Kinds) // says the same
	full.Tags = []string{"a", "b", "a"}
	if _, err := consumer(t, st, "full", batpak.ConsumerOptions{Query: full}).Position(t.Context()); err != nil {
		t.Errorf("the same query in other words: %v", err)
	}
}

// TestConsumerQueriesAreStoredWhole: no field of a query is forgotten where the store tells consumers' queries apart.
func TestConsumerQueriesAreStoredWhole(t *testing.T) {
	notStored := []string{"After", "Before", "ToHLC", "Limit", "Reverse", "Borrow"}
	st := memStore(t)
	defer mustClose(t, st)
	none := consumer(t, st, "c", batpak.ConsumerOptions{})
	if _, err := none.Position(t.Context()); err != nil {
		t.Fatal(err)
	}
	lane := uint32(0)
	some := map[string]any{
		"Entity": "a", "Entities": []string{"a"}, "EntityPrefix": "a", "EntityPrefixes": []string{"a"}, "Scope": "a",
		"Kinds": []event.Kind{kindOne}, "Categories": []int{1}, "Tags": []string{"a"}, "Lane": &lane,
		"Correlation": event.NewID(1, 1), "Causation": event.NewID(1, 1), "FromHLC": event.HLC(1), "System": true,
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[batpak.Query]()) {
		value, ok := some[field.Name]
		if ok == slices.Contains(notStored, field.Name) {
			t.Errorf("Query.%s: is it part of what a consumer selects?", field.Name)
		}
		if !ok {
			continue
		}
		var q batpak.Query
		reflect.ValueOf(&q).Elem().FieldByIndex(field.Index).Set(reflect.ValueOf(value))
		c := consumer(t, st, "c", batpak.ConsumerOptions{Query: q})
		if _, err := c.Position(t.Context()); !errors.Is(err, batpak.ErrPositionQuery) {
			t.Errorf("another %s: %v", field.Name, err)
		}
		if err := c.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
		known, err := st.KnownConsumer(t.Context(), "c")
		if err == nil {
			_, err = known.Position(t.Context())
		}
		if err != nil {
			t.Errorf("the query with %s does not come back: %v", field.Name, err)
		}
		if err := none.Reset(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// The store's own events are not handed over unless they are asked for.
func TestConsumerAndSystemEvents(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		fillStore(t, st, 2)
		plainly := consumer(t, st, "plainly", batpak.ConsumerOptions{}) // 3
		whole := consumer(t, st, "whole", batpak.ConsumerOptions{Query: batpak.Query{System: true}})
		kind := consumer(t, st, "kind", batpak.ConsumerOptions{Query: batpak.Query{Kinds: []event.Kind{batpak.KindConsumer}}})
		wantSeqs(t, "plainly", drain(t, plainly), upTo(1, 2))
		wantSeqs(t, "with System", drain(t, whole), upTo(1, 5))
		wantSeqs(t, "by kind", drain(t, kind), upTo(3, 5))
	})
}

// A consumer never passes an open fence, and what was staged comes in its place.
func TestConsumerAndFences(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{}) // 1
		staged, lost := openFence(t, st), openFence(t, st)
		appendAll(t, st, "2")
		appendAll(t, staged, "3")
		appendAll(t, st, "4")
		appendAll(t, lost, "5")
		appendAll(t, st, "6")
		wantSeqs(t, "in front of the fences", drain(t, c), upTo(2, 2))
		late := consumer(t, st, "late", batpak.ConsumerOptions{}) // 7, behind them
		if err := staged.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, "behind the first", drain(t, c), upTo(3, 4))
		if err := lost.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantSeqs(t, "behind the second", drain(t, c), []uint64{6})
		wantSeqs(t, "made meanwhile", drain(t, late), []uint64{2, 3, 4, 6})
	})
}

// TestReadWeakness26_ConsumersGoAnywhere: whatever a consumer is called, it begins where it is told to, goes where it is
// put, and its position is there in the next process.
func TestReadWeakness26_ConsumersGoAnywhere(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}, From: batpak.FromNow()}
	names := []string{strings.Repeat("ß/..", 51), "../store.meta", "a", "A", "a ", strings.Repeat("x", 255)}
	for round := range uint64(3) {
		bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
			for i, name := range names {
				c := consumer(t, st, name, o)
				p, err := c.Position(t.Context())
				if want := uint64(i + 1); err != nil || round > 0 && p.Seq != want || p.Generation != round+1 {
					t.Errorf("round %d: %.20q is at %+v, %v, want %d", round, name, p, err, want)
				}
				if round == 0 {
					fillStore(t, st, 1)
				}
				if got := drain(t, c); round == 0 && len(got) != 1 {
					t.Errorf("%.20q from now on: %d", name, got)
				}
			}
			for i, name := range names {
				if err := consumer(t, st, name, o).Seek(t.Context(), uint64(i+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// The query of a consumer stays what it was, whatever its maker does to the lists that it gave.
func TestConsumerKeepsItsQuery(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		fillStore(t, st, 3)
		entities, tags, lane := []string{"plain"}, []string{}, uint32(0)
		o := batpak.ConsumerOptions{Query: batpak.Query{Entities: entities, Tags: tags, Lane: &lane}}
		c := consumer(t, st, "a", o)
		entities[0], lane = "other", 7
		wantSeqs(t, "lists changed", drain(t, c), upTo(1, 3))
	})
}

// TestConsumersBesideOthers: while Consumers looks for the files of positions somebody makes another consumer, or puts one
// elsewhere. Neither is a finding.
func TestConsumersBesideOthers(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind vfs.OpKind // of the call on a position that it happens before
		do   func(t *testing.T, st *batpak.Store)
	}{
		{"made", vfs.OpList, func(t *testing.T, st *batpak.Store) { consumer(t, st, "late", batpak.ConsumerOptions{}) }},
		{"put elsewhere", vfs.OpOpenRead, func(t *testing.T, st *batpak.Store) {
			if err := consumer(t, st, "early", batpak.ConsumerOptions{}).Seek(t.Context(), 1); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := vfs.NewMem()
			o := &batpak.Options{}
			o.SetFS(mem)
			st := openAt(t, vfs.MemDir, o)
			fillStore(t, st, 3)
			consumer(t, st, "early", batpak.ConsumerOptions{})
			mustClose(t, st)
			for n := 1; ; n++ { // the nth such call
				var looking atomic.Bool
				m, calls := mem.Clone(), 0
				o.SetFS(vfs.Inject(m, func(c vfs.Call) vfs.Decision {
					if looking.Load() && c.Kind == tt.kind && path.Base(c.Dir) == cursors.DirName {
						if calls++; calls == n {
							tt.do(t, st)
						}
					}
					return vfs.Decision{}
				}))
				st = openAt(t, vfs.MemDir, o)
				if _, err := st.Consumers(t.Context()); err != nil { // opens the directory
					t.Fatal(err)
				}
				looking.Store(true)
				infos, err := st.Consumers(t.Context())
				looking.Store(false)
				for _, info := range infos {
					err = errors.Join(err, info.Err)
				}
				if err != nil || len(infos) == 0 {
					t.Errorf("before call %d: %+v, %v", n, infos, err)
				}
				mustClose(t, st)
				if calls < n {
					return
				}
			}
		})
	}
}

// A link in the place of one position does not keep the others from being listed.
func TestConsumersBesideALink(t *testing.T) {
	mem := vfs.NewMem()
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		consumer(t, st, "a", batpak.ConsumerOptions{})
		consumer(t, st, "b", batpak.ConsumerOptions{})
	})
	mem.SetSpecial(cursors.DirName+"/"+cursors.FileName("a"), fs.ModeSymlink)
	mem.SetSpecial(cursors.DirName+"/"+cursors.FileName("stray"), fs.ModeSymlink)
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		infos, err := st.Consumers(t.Context())
		if err != nil || len(infos) != 3 {
			t.Fatalf("%+v, %v", infos, err)
		}
		for i, name := range []string{"", "a", "b"} {
			if infos[i].Name != name || errors.Is(infos[i].Err, vfs.ErrUnsafePath) != (name != "b") {
				t.Errorf("%q: %v, want %q", infos[i].Name, infos[i].Err, name)
			}
		}
	})
}
