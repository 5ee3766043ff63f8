package batpak_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/cursors"
	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// A dyingRun is one process with the consumer "c": it ends by itself, or is killed while the handler has the event dies.
type dyingRun struct {
	o     batpak.ConsumerOptions
	store batpak.Options
	dies  uint64
	react bool
	calls []uint64 // of the handler
	err   error    // of the run
}

// live lets it pass, and returns what it leaves.
func (l *dyingRun) live(t *testing.T, mem *vfs.Mem) *vfs.Mem {
	t.Helper()
	l.calls = nil
	left := mem
	bubble(t, mem, l.store, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", l.o)
		ctx, cancel := context.WithCancel(t.Context())
		handle := func(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
			l.calls = append(l.calls, ev.Seq)
			if ev.Seq == l.dies {
				left = mem.Clone()
				cancel()
				return nil, ctx.Err()
			}
			return replies(&ev), nil
		}
		done := make(chan error)
		go func() {
			if l.react {
				done <- c.React(ctx, handle)
			} else {
				done <- c.Run(ctx, func(ctx context.Context, ev event.Event) error { return second(handle(ctx, ev)) })
			}
		}()
		select {
		case l.err = <-done:
		case <-time.After(time.Minute):
			cancel()
			l.err = <-done
		}
	})
	return left
}

// TestEventThatKillsIsParked: the first process that dies of an event makes the next ones look closely, and MaxAttempts
// of those are enough.
func TestEventThatKillsIsParked(t *testing.T) {
	for name, l := range map[string]*dyingRun{
		"Run":                            {},
		"Run that keeps every position":  {o: batpak.ConsumerOptions{SaveEvents: 1}},
		"Run with positions to wait for": {store: batpak.Options{Sync: batpak.SyncNever}},
		"React":                          {react: true},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewMem()
			bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				consumer(t, st, "c", batpak.ConsumerOptions{Query: batpak.Query{Entity: "fenced"}})
				appendFenced(t, st, 8) // 2 to 9
			})
			l.o.Query, l.o.MaxAttempts, l.dies = batpak.Query{Entity: "fenced"}, 3, 6
			for range 1 + l.o.MaxAttempts {
				mem = l.live(t, mem)
				if !slices.Contains(l.calls, l.dies) {
					t.Fatalf("calls %d, without event %d", l.calls, l.dies)
				}
			}
			if l.store.Sync == batpak.SyncAlways {
				wantSeqs(t, "calls of the last one that dies", l.calls, []uint64{6})
			}
			mem = l.live(t, mem)
			if l.err != context.Canceled || slices.Contains(l.calls, l.dies) || l.calls[len(l.calls)-1] != 9 {
				t.Errorf("calls of the next one: %d, %v", l.calls, l.err)
			}
			bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				parked, err := st.Parked(t.Context(), "c")
				if err != nil || len(parked) != 1 || parked[0].Seq != 6 || parked[0].Attempts != 3 || parked[0].Error != batpak.ErrHandlerLost.Error() {
					t.Errorf("parked: %+v, %v", parked, err)
				}
				wantSeqs(t, "the next run", drain(t, consumer(t, st, "c", l.o)), nil)
			})
		})
	}
}

// With NoPark the run ends before the event is handed over once more, which it is by the next one.
func TestEventThatKillsEndsTheRun(t *testing.T) {
	mem := vfs.NewMem()
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		consumer(t, st, "c", batpak.ConsumerOptions{})
		fillStore(t, st, 4)
	})
	l := dyingRun{o: batpak.ConsumerOptions{MaxAttempts: 2, NoPark: true}, dies: 3}
	for range 3 {
		mem = l.live(t, mem)
	}
	mem = l.live(t, mem)
	var failed *batpak.HandlerError
	if !errors.As(l.err, &failed) || !errors.Is(l.err, batpak.ErrHandlerLost) || failed.Attempts != 2 || failed.Seq != 3 || len(l.calls) > 0 {
		t.Errorf("calls %d, %v", l.calls, l.err)
	}
	l.dies = 0
	if l.live(t, mem); len(l.calls) == 0 || l.calls[0] != 3 || l.err != context.Canceled {
		t.Errorf("calls of the next run %d, %v", l.calls, l.err)
	}
}

// Failures of the handler in a process that looks closely count together with processes that ended.
func TestAttemptsBesideDeaths(t *testing.T) {
	mem := vfs.NewMem()
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		consumer(t, st, "c", batpak.ConsumerOptions{})
		fillStore(t, st, 4)
	})
	l := dyingRun{o: batpak.ConsumerOptions{MaxAttempts: 5}, dies: 3}
	for range 3 { // two that count
		mem = l.live(t, mem)
	}
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		var calls []uint64
		drainTo(t, consumer(t, st, "c", l.o), failOn(&calls, 3))
		wantSeqs(t, "calls", calls, []uint64{3, 3, 3, 4, 5})
		checkParked(t, st, 3)
	})
}

// storeID appends an event and returns the identity of the store, as its receipt has it.
func storeID(t *testing.T, st *batpak.Store) [16]byte {
	t.Helper()
	return mustAppend(t, st, plain("whose?")).Store
}

// attempt returns what the consumer "c" has noted in mem; exists is false without a file.
func attempt(t *testing.T, mem *vfs.Mem) (b []byte, exists bool) {
	t.Helper()
	b, exists = mem.Files()[cursors.DirName+"/"+cursors.AttemptName("c")]
	return b, exists
}

// A run that comes to its end, or whose store is closed, leaves nothing; one that goes on after such a one notes no event.
func TestOrderlyRunsLeaveNoAttempt(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{MaxAttempts: 3}
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		fillStore(t, st, 3)
		for _, last := range []uint64{0, 5} {
			drainTo(t, c, func(_ context.Context, ev event.Event) error {
				if b, exists := attempt(t, mem); !exists || len(b) > 0 {
					t.Errorf("at event %d: %d bytes, %v, want an empty file", ev.Seq, len(b), exists)
				}
				return nil
			})
			if _, exists := attempt(t, mem); exists {
				t.Errorf("a run that was ended behind %d leaves its file", last)
			}
			fillStore(t, st, 1)
		}
		if err := c.Run(t.Context(), func(context.Context, event.Event) error { return st.Close() }); err != batpak.ErrClosed {
			t.Errorf("run of a store that is closed: %v", err)
		}
		if _, exists := attempt(t, mem); exists {
			t.Error("a store that was closed leaves the file of its run")
		}
	})
}

// A process that dies while no handler has an event counts for nothing; one that has looked at SaveEvents events closely
// looks no more.
func TestIdleDeathsDoNotCount(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{MaxAttempts: 1, SaveEvents: 4, SaveEvery: 2 * time.Hour}
	var left *vfs.Mem
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		fillStore(t, st, 2)
		id := storeID(t, st)
		mem.SetFile(cursors.DirName+"/"+cursors.AttemptName("c"), nil)
		go func() {
			<-time.After(time.Minute)
			left = mem.Clone()
		}()
		var noted []bool
		drainTo(t, c, func(context.Context, event.Event) error {
			b, _ := attempt(t, mem)
			a, err := cursors.DecodeAttempt(b, id)
			if err != nil {
				t.Error(err)
			}
			noted = append(noted, a.Seq > 0)
			if len(noted) == 3 {
				for range 3 {
					if _, err := st.Append(t.Context(), plain("late")); err != nil {
						t.Error(err)
					}
				}
			}
			return nil
		})
		if want := []bool{true, true, true, true, false, false}; !slices.Equal(noted, want) {
			t.Errorf("noted: %v, want %v", noted, want)
		}
	})
	bubble(t, left, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		wantSeqs(t, "after an idle death", drain(t, consumer(t, st, "c", o)), upTo(6, 7))
		checkParked(t, st)
	})
}

// The same while it still looks closely: what it had handled without keeping the position comes again, and is not parked.
func TestIdleDeathOfACloseLook(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{MaxAttempts: 1, SaveEvery: 2 * time.Hour}
	var left *vfs.Mem
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		fillStore(t, st, 3)
		mem.SetFile(cursors.DirName+"/"+cursors.AttemptName("c"), nil)
		go func() {
			<-time.After(time.Minute)
			left = mem.Clone()
		}()
		wantSeqs(t, "handed over", drain(t, c), upTo(2, 4))
	})
	bubble(t, left, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		wantSeqs(t, "after an idle death", drain(t, consumer(t, st, "c", o)), upTo(2, 4))
		checkParked(t, st)
	})
}

// TestAttemptThatDoesNotHold: what a power cut leaves of the file, or what another store has written, counts for nothing.
func TestAttemptThatDoesNotHold(t *testing.T) {
	mem := vfs.NewMem()
	var id [16]byte
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		consumer(t, st, "c", batpak.ConsumerOptions{})
		fillStore(t, st, 1)
		id = storeID(t, st)
	})
	o := batpak.ConsumerOptions{MaxAttempts: 2}
	note := func(store [16]byte, a cursors.Attempt) []byte { return cursors.AppendAttempt(nil, store, &a) }
	for _, tt := range []struct {
		name string
		b    []byte
		want []uint64
	}{
		{"holds", note(id, cursors.Attempt{Generation: 1, Seq: 2, Times: 2}), []uint64{3}},
		{"more than can be", note(id, cursors.Attempt{Generation: 1, Seq: 2, Times: 1<<32 - 1}), []uint64{3}},
		{"of another generation", note(id, cursors.Attempt{Generation: 2, Seq: 2, Times: 2}), upTo(2, 3)},
		{"of another event", note(id, cursors.Attempt{Generation: 1, Seq: 1, Times: 2}), upTo(2, 3)},
		{"of another store", note([16]byte{1}, cursors.Attempt{Generation: 1, Seq: 2, Times: 2}), upTo(2, 3)},
		{"empty", nil, upTo(2, 3)},
		{"zeros", make([]byte, 64), upTo(2, 3)},
		{"huge", make([]byte, 1<<20), upTo(2, 3)},
		{"cut", note(id, cursors.Attempt{Generation: 1, Seq: 2, Times: 2})[:63], upTo(2, 3)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mem := mem.Clone()
			mem.SetFile(cursors.DirName+"/"+cursors.AttemptName("c"), tt.b)
			bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				wantSeqs(t, "handed over", drain(t, consumer(t, st, "c", o)), tt.want)
			})
		})
	}
}

// TestAttemptFromTheFuture: what a newer version has noted is not written over.
func TestAttemptFromTheFuture(t *testing.T) {
	mem := vfs.NewMem()
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{MaxAttempts: 2})
		fillStore(t, st, 2)
		b := cursors.AppendAttempt(nil, storeID(t, st), &cursors.Attempt{})
		b[wire.SmallVersion]++
		wire.SealSmall(b)
		mem.SetFile(cursors.DirName+"/"+cursors.AttemptName("c"), b)
		err := c.Run(t.Context(), func(context.Context, event.Event) error { return nil })
		var wrong *batpak.PositionError
		if !errors.As(err, &wrong) || !errors.Is(err, batpak.ErrPositionFuture) || !strings.HasSuffix(wrong.File, ".attempt") {
			t.Errorf("run ended with %v", err)
		}
		if now, _ := attempt(t, mem); !slices.Equal(now, b) {
			t.Errorf("the file is %x now, was %x", now, b)
		}
	})
}

// TestProcessThatDiesOfAnEvent is TestEventThatKillsIsParked with processes and a disk.
func TestProcessThatDiesOfAnEvent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	for death := range 3 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestDyingHandlerChild$")
		cmd.Env = append(os.Environ(), "BATPAK_DYING_DIR="+dir)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 7 {
			t.Fatalf("process %d ended with %v, want status 7:\n%s", death, err, out)
		}
	}
	st := openAt(t, dir, nil)
	defer mustClose(t, st)
	c := consumer(t, st, "c", batpak.ConsumerOptions{MaxAttempts: 2})
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Run(ctx, func(_ context.Context, ev event.Event) error {
		if ev.Seq != 4 {
			t.Errorf("event %d is handed over, want 4", ev.Seq)
		}
		cancel()
		return nil
	}); err != context.Canceled {
		t.Error(err)
	}
	checkParked(t, st, 3)
}

// TestDyingHandlerChild is the process that dies of event 3.
func TestDyingHandlerChild(t *testing.T) {
	dir := os.Getenv("BATPAK_DYING_DIR")
	if dir == "" {
		t.Skip("NOT TESTED here: it is a process of TestProcessThatDiesOfAnEvent")
	}
	st := openAt(t, dir, nil)
	c := consumer(t, st, "c", batpak.ConsumerOptions{MaxAttempts: 2})
	if st.Visible() < 4 {
		fillStore(t, st, 3)
	}
	err := c.Run(t.Context(), func(_ context.Context, ev event.Event) error {
		if ev.Seq == 3 {
			os.Exit(7)
		}
		return nil
	})
	t.Fatal(err)
}
