package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
)

var errPoison = errors.New("cannot be")

// failOn returns a handler that fails on some events, and records all calls.
func failOn(calls *[]uint64, fails ...uint64) func(context.Context, event.Event) error {
	return func(_ context.Context, ev event.Event) error {
		*calls = append(*calls, ev.Seq)
		if slices.Contains(fails, ev.Seq) {
			return errPoison
		}
		return nil
	}
}

// Without attempts to spare the first failure ends the run, names the event, and leaves it where it is.
func TestHandlerFails(t *testing.T) {
	for _, tt := range []struct {
		name  string
		o     batpak.ConsumerOptions
		panic any
		calls []uint64
	}{
		{"at once", batpak.ConsumerOptions{}, nil, []uint64{2, 3}},
		{"with a panic", batpak.ConsumerOptions{}, "boo", []uint64{2, 3}},
		{"with a panic of an error", batpak.ConsumerOptions{}, errPoison, []uint64{2, 3}},
		{"after three attempts", batpak.ConsumerOptions{MaxAttempts: 3, NoPark: true}, nil, []uint64{2, 3, 3, 3}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				c := consumer(t, st, "c", tt.o)
				appendAll(t, st, "2", "3", "4")
				var calls []uint64
				err := c.Run(t.Context(), func(ctx context.Context, ev event.Event) error {
					err := failOn(&calls, 3)(ctx, ev)
					if err != nil && tt.panic != nil {
						panic(tt.panic)
					}
					return err
				})
				var failed *batpak.HandlerError
				if !errors.Is(err, batpak.ErrHandler) || !errors.As(err, &failed) || failed.Seq != 3 || failed.Consumer != "c" ||
					failed.ID.IsZero() || failed.Attempts != max(tt.o.MaxAttempts, 1) || failed.Panic != tt.panic {
					t.Errorf("run ended with %v (%+v)", err, failed)
				}
				if tt.panic != "boo" && !errors.Is(err, errPoison) {
					t.Errorf("%v does not lead to its cause", err)
				}
				if tt.panic != nil && !strings.Contains(err.Error(), "consumer_retry_test.go") {
					t.Errorf("%v does not say where", err)
				}
				wantSeqs(t, "calls", calls, tt.calls)
				wantSeqs(t, "the next run", drain(t, c), upTo(3, 4))
			})
		})
	}
}

// The pauses between attempts are drawn evenly from a bound that doubles up to the largest one.
func TestBackOff(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		const attempts = 12
		pauses := func(seed uint64) (list []time.Duration) {
			c := consumer(t, st, "c", batpak.ConsumerOptions{
				MaxAttempts: attempts, NoPark: true, Pause: time.Second, MaxPause: time.Minute, Seed: seed,
			})
			last := time.Time{}
			err := c.Run(t.Context(), func(context.Context, event.Event) error {
				if !last.IsZero() {
					list = append(list, time.Since(last))
				}
				last = time.Now()
				return errPoison
			})
			if !errors.Is(err, errPoison) {
				t.Fatal(err)
			}
			return list
		}
		fillStore(t, st, 1)
		first := pauses(1)
		if again := pauses(1); !slices.Equal(first, again) {
			t.Errorf("the same seed: %v, then %v", first, again)
		}
		if other := pauses(2); slices.Equal(first, other) {
			t.Errorf("another seed: %v", other)
		}
		most := make([]time.Duration, attempts-1)
		for seed := range uint64(30) {
			for i, pause := range pauses(seed + 1) {
				if bound := min(time.Second<<i, time.Minute); pause <= 0 || pause > bound {
					t.Fatalf("pause %d is %v, bound %v", i, pause, bound)
				}
				most[i] = max(most[i], pause)
			}
		}
		for i, pause := range most {
			if bound := min(time.Second<<i, time.Minute); pause < bound/2 {
				t.Errorf("the longest pause %d is %v of %v", i, pause, bound)
			}
		}
	})
}

// An event that fails too often is parked durably, and the consumer goes on. What is parked can be replayed or forgotten.
func TestParking(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{MaxAttempts: 2, Query: batpak.Query{Entity: "fenced"}}
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		appendFenced(t, st, 5) // 2 to 6
		var calls []uint64
		drainTo(t, c, failOn(&calls, 3, 4, 6))
		wantSeqs(t, "calls", calls, []uint64{2, 3, 3, 4, 4, 5, 6, 6})
		if err := c.Forget(t.Context(), 5); !errors.Is(err, batpak.ErrNotParked) {
			t.Errorf("Forget of what is not parked: %v", err)
		}
	})
	bubble(t, mem.Clone(), batpak.Options{}, func(t *testing.T, st *batpak.Store) { // also what a crash leaves
		c := consumer(t, st, "c", o)
		wantSeqs(t, "the next run", drain(t, c), nil)
		checkParked(t, st, 3, 4, 6)
		parked, err := c.Parked(t.Context())
		if err != nil || parked[0].Attempts != 2 || parked[0].Error != errPoison.Error() || parked[0].Panic || parked[0].ID.IsZero() || parked[0].Time.IsZero() {
			t.Errorf("parked: %+v, %v", parked, err)
		}
		var calls []uint64
		err = c.Replay(t.Context(), failOn(&calls, 4))
		var failed *batpak.HandlerError
		if !errors.As(err, &failed) || failed.Seq != 4 {
			t.Errorf("Replay: %v", err)
		}
		wantSeqs(t, "replayed", calls, upTo(3, 4))
		checkParked(t, st, 4, 6)
		if err := c.Replay(t.Context(), failOn(&calls), 6); err != nil {
			t.Error(err)
		}
		checkParked(t, st, 4)
		if err := c.Forget(t.Context()); err != nil {
			t.Error(err)
		}
		checkParked(t, st)
		if _, err := st.Parked(t.Context(), "nobody"); !errors.Is(err, batpak.ErrNoConsumer) {
			t.Errorf("what nobody has parked: %v", err)
		}
	})
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		if err := c.Seek(t.Context(), 3); err != nil {
			t.Fatal(err)
		}
		checkParked(t, st, 3) // the others come again
		var calls []uint64
		drainTo(t, c, failOn(&calls, 6))
		wantSeqs(t, "after Seek", calls, []uint64{4, 5, 6, 6})
		checkParked(t, st, 3, 6)
	})
}

// appendFenced appends n events to the stream "fenced".
func appendFenced(t *testing.T, st *batpak.Store, n int) {
	t.Helper()
	for i := range n {
		d := plain(fmt.Sprint(i))
		d.Coordinate = streamNamed("fenced")
		mustAppend(t, st, d)
	}
}

// checkParked checks which events "c" has parked.
func checkParked(t *testing.T, st *batpak.Store, want ...uint64) {
	t.Helper()
	parked, err := st.Parked(t.Context(), "c")
	var got []uint64
	for _, p := range parked {
		got = append(got, p.Seq)
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("parked: %d, %v, want %d", got, err, want)
	}
}

// A long error is cut, and what is no text is made one: a record never is what keeps an event from being parked.
func TestParkedErrorIsCut(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{MaxEventBytes: 64, SegmentSize: 1 << 20}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{MaxAttempts: 1})
		appendAll(t, st, "2")
		drainTo(t, c, func(context.Context, event.Event) error { panic("\xff" + strings.Repeat("größe", 5000)) })
		parked, err := c.Parked(t.Context())
		if err != nil || len(parked) != 1 || !parked[0].Panic || len(parked[0].Error) > 4<<10 || !strings.HasPrefix(parked[0].Error, "panic: \ufffdgröße") {
			t.Errorf("parked: %.200v, %v", parked, err)
		}
	})
}

// A handler that fails because its context has ended has not failed.
func TestEndedHandlerIsNoFailure(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{MaxAttempts: 1})
		appendAll(t, st, "2", "3")
		drainTo(t, c, func(ctx context.Context, ev event.Event) error {
			<-ctx.Done()
			return ctx.Err()
		})
		checkParked(t, st)
		wantSeqs(t, "the next run", drain(t, c), upTo(2, 3))
	})
}

// The lag is what the query selects behind the position, the bytes from there to the end, and how old it is.
func TestLag(t *testing.T) {
	mem := vfs.NewMem()
	bubble(t, mem, batpak.Options{SegmentSize: smallSegment}, func(t *testing.T, st *batpak.Store) {
		all := consumer(t, st, "all", batpak.ConsumerOptions{})
		some := consumer(t, st, "some", batpak.ConsumerOptions{Query: row7})
		checkLag(t, all, 0, 0, 0)
		begun := time.Now()
		for i := range 40 {
			d := plain(strings.Repeat("x", 300))
			if i == 10 || i == 30 {
				d.Tags = row7.Tags
			}
			mustAppend(t, st, d)
			<-time.After(time.Second)
		}
		if time.Since(begun) != 40*time.Second {
			t.Fatalf("%v have passed", time.Since(begun))
		}
		checkLag(t, all, 40, 40*400, 40*time.Second)
		checkLag(t, some, 2, 30*400, 30*time.Second)
		drain(t, some)
		checkLag(t, some, 0, 0, 0)
		infos, err := st.Consumers(t.Context())
		if err != nil || len(infos) != 2 || infos[0].Name != "all" || infos[0].Lag.Events != 40 || infos[1].Lag.Events != 0 ||
			infos[1].Query != `{"tags":["row:7"]}` || infos[1].Running || infos[1].Err != nil {
			t.Errorf("Consumers: %+v, %v", infos, err)
		}
		drainTo(t, all, func(ctx context.Context, ev event.Event) error {
			if infos, err := st.Consumers(ctx); err != nil || !infos[0].Running || infos[0].Position.Seq != ev.Seq-1 && ev.Seq > 3 {
				t.Errorf("Consumers at %d: %+v, %v", ev.Seq, infos, err)
			}
			return nil
		})
	})
	var o batpak.Options
	o.SetFS(mem)
	o.ReadOnly = true
	reader := openAt(t, vfs.MemDir, &o)
	defer mustClose(t, reader)
	infos, err := reader.Consumers(t.Context())
	if err != nil || len(infos) != 2 || infos[0].Err != nil || infos[0].Position.Seq != 42 || infos[1].Position.Seq != 33 {
		t.Errorf("to a reader: %+v, %v", infos, err)
	}
}

func checkLag(t *testing.T, c *batpak.Consumer, events uint64, bytes int64, age time.Duration) {
	t.Helper()
	l, err := c.Lag(t.Context())
	if err != nil || l.Events != events || l.Bytes < bytes*9/10 || l.Bytes > bytes*12/10 || l.Age.Round(time.Second) != age {
		t.Errorf("lag of %s: %+v, %v, want %d events, some %d bytes, %v", c.Name(), l, err, events, bytes, age)
	}
}

// What was handled is kept while an event that fails is waited for, however long that takes.
func TestPositionIsKeptBetweenAttempts(t *testing.T) {
	mem := vfs.NewMem()
	var crashed *vfs.Mem
	o := batpak.ConsumerOptions{MaxAttempts: 9, Pause: time.Hour, MaxPause: time.Hour, Seed: 1, SaveEvery: time.Second}
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		fillStore(t, st, 4)
		c := consumer(t, st, "a", o)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- c.Run(ctx, func(_ context.Context, ev event.Event) error {
				if ev.Seq == 4 {
					return errors.New("not now")
				}
				return nil
			})
		}()
		<-time.After(2 * time.Second)
		crashed = mem.Clone()
		cancel()
		<-done
	})
	bubble(t, crashed, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		if p, err := consumer(t, st, "a", o).Position(t.Context()); err != nil || p.Seq != 3 {
			t.Errorf("after a crash between attempts: %+v, %v, want event 3", p, err)
		}
	})
}
