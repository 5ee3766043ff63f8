package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
)

// streamNamed returns the coordinate of a stream.
func streamNamed(entity string) coordinate.Coordinate { return coordinate.MustNew(entity, "all") }

var answers = batpak.Query{Entity: "answers"}

// answering answers an event with n drafts.
func answering(n int) func(context.Context, event.Event) ([]batpak.Draft, error) {
	return func(_ context.Context, ev event.Event) (drafts []batpak.Draft, _ error) {
		for i := range n {
			drafts = append(drafts, batpak.Draft{
				Coordinate: streamNamed("answers"), Kind: kindTwo, Payload: fmt.Appendf(nil, "%d.%d", ev.Seq, i),
			})
		}
		return drafts, nil
	}
}

// react runs a reactor until nothing is left to answer.
func react(t testing.TB, c *batpak.Consumer, fn func(context.Context, event.Event) ([]batpak.Draft, error)) {
	t.Helper()
	untilIdle(t, func(ctx context.Context) error { return c.React(ctx, fn) })
}

// Answers are committed with the position, inherit what the drafts leave open, and go on in the next process without
// any file.
func TestReactor(t *testing.T) {
	mem := vfs.NewMem()
	o := batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}}
	group := event.NewID(1<<30, 1)
	bubble(t, mem, batpak.Options{MaxBatchEvents: 2}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o) // 1
		asked := plain("2")
		asked.Correlation = group
		source := mustAppend(t, st, asked) // 2
		appendAll(t, st, "3")
		react(t, c, answering(2)) // 4, 5, 6 and 7, 8, 9: the position is the third
		got, err := collect(st, answers)
		if err != nil || len(got) != 4 {
			t.Fatalf("answers: %v, %v", got, err)
		}
		if a := got[1]; a.Seq != 5 || a.Causation != source.ID || a.Correlation != group || string(a.Payload) != "2.1" {
			t.Errorf("answer %+v", a)
		}
		if first := mustEvent(t, st, 3).ID; got[2].Correlation != first {
			t.Errorf("an event without a group was answered in %v, want %v", got[2].Correlation, first)
		}
		known := batpak.Draft{Coordinate: streamNamed("answers"), Kind: kindTwo, Payload: []byte("2.1"), Correlation: group, Causation: source.ID,
			IdempotencyKey: batpak.OperationKey("batpak.reaction", "c", "2", "1")}
		if r := mustAppend(t, st, known); !r.Replayed || r.Seq != 5 {
			t.Errorf("under the key of the answer: %+v", r)
		}
	})
	mem = mem.Clone()
	loseCursors(mem)
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", o)
		react(t, c, func(_ context.Context, ev event.Event) ([]batpak.Draft, error) {
			t.Errorf("event %d comes again", ev.Seq)
			return nil, nil
		})
	})
}

// What a draft says itself stays.
func TestReactorLeavesDraftsAlone(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}})
		appendAll(t, st, "2", "3")
		own := []batpak.Draft{
			{Coordinate: streamNamed("answers"), Kind: kindTwo, Causation: event.NewID(1, 1), Correlation: event.NewID(2, 2)},
			{Coordinate: streamNamed("answers"), Kind: kindTwo, CausedByDraft: batpak.DraftAt(0)},
			{Coordinate: streamNamed("answers"), Kind: kindTwo, IdempotencyKey: []byte("once")},
		}
		react(t, c, func(_ context.Context, ev event.Event) ([]batpak.Draft, error) {
			if ev.Seq == 2 {
				return own, nil
			}
			// The same operation in answer to another event: known, and so not done again.
			once := own[2]
			once.Causation = mustEvent(t, st, 2).ID
			once.Correlation = once.Causation
			return []batpak.Draft{once, {Coordinate: streamNamed("answers"), Kind: kindOne}}, nil
		})
		got, err := collect(st, answers)
		if err != nil || len(got) != 4 {
			t.Fatalf("answers: %v, %v", got, err)
		}
		if got[0].Causation != event.NewID(1, 1) || got[0].Correlation != event.NewID(2, 2) || got[1].Causation != got[0].ID || got[3].Kind != kindOne {
			t.Errorf("answers: %+v", got)
		}
		if own[1].IdempotencyKey != nil || !own[2].Causation.IsZero() {
			t.Error("the handler's drafts were written to")
		}
	})
}

func mustEvent(t testing.TB, st *batpak.Store, seq uint64) event.Event {
	t.Helper()
	ev, err := st.EventAt(context.Background(), seq)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

// TestReadWeakness12_NothingIsAnsweredTwice: not after Reset, nor without positions, nor by a handler that has changed its
// mind.
func TestReadWeakness12_NothingIsAnsweredTwice(t *testing.T) {
	o := batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}}
	for _, tt := range []struct {
		name   string
		second func(context.Context, event.Event) ([]batpak.Draft, error)
		want   int // answers in all
		err    error
	}{
		{"the same", answering(2), 4, nil},
		{"fewer", answering(1), 4, nil},
		{"none", answering(0), 4, nil},
		{"more", answering(3), 6, nil},
		{"others", func(_ context.Context, ev event.Event) ([]batpak.Draft, error) {
			return []batpak.Draft{{Coordinate: streamNamed("answers"), Kind: kindTwo, Payload: []byte("something else")}}, nil
		}, 4, batpak.ErrIdempotency},
		{"more, which refer to those that are known", func(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
			drafts, err := answering(3)(ctx, ev)
			drafts[2].CausedByDraft = batpak.DraftAt(0)
			return drafts, err
		}, 4, batpak.ErrIdempotency},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				c := consumer(t, st, "c", o)
				appendAll(t, st, "2", "3")
				react(t, c, answering(2))
				if err := c.Reset(t.Context()); err != nil {
					t.Fatal(err)
				}
				calls := 0
				again := func(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
					calls++
					return tt.second(ctx, ev)
				}
				if tt.err == nil {
					if react(t, c, again); calls != 2 {
						t.Errorf("%d events came again, want 2", calls)
					}
				} else if err := c.React(t.Context(), again); !errors.Is(err, tt.err) || !errors.Is(err, batpak.ErrHandler) {
					t.Errorf("react: %v, want %v", err, tt.err)
				}
				if got, err := collect(st, answers); err != nil || len(got) != tt.want {
					t.Errorf("%d answers, %v, want %d", len(got), err, tt.want)
				}
			})
		})
	}
}

// A draft that is refused is a failure of the handler: it may do better, or the event is parked.
func TestReactorIsRefused(t *testing.T) {
	no := batpak.Gate{Name: "no", Check: func(_ *batpak.GateView, d *batpak.Draft) *batpak.Denial {
		if strings.HasPrefix(string(d.Payload), "3.") {
			return &batpak.Denial{Code: "three"}
		}
		return nil
	}}
	bubble(t, vfs.NewMem(), batpak.Options{Gates: []batpak.Gate{no}}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{Query: batpak.Query{Entity: "plain"}, MaxAttempts: 3})
		appendAll(t, st, "2", "3", "4", "5", "6")
		clock := uint64(0)
		var calls []uint64
		fn := func(ctx context.Context, ev event.Event) ([]batpak.Draft, error) {
			calls = append(calls, ev.Seq)
			drafts, err := answering(1)(ctx, ev)
			switch ev.Seq {
			case 4: // wrong the first time
				drafts[0].Expect = batpak.Clock(clock)
				clock++
			case 5:
				drafts[0].Kind = batpak.KindPosition
			}
			return drafts, err
		}
		react(t, c, fn)
		wantSeqs(t, "calls", calls, []uint64{2, 3, 3, 3, 4, 4, 5, 5, 5, 6})
		checkParked(t, st, 3, 5)
		if got := payloads(t, st, answers); !slices.Equal(got, []string{"2.0", "4.0", "6.0"}) {
			t.Errorf("answers: %v", got)
		}
		if err := c.ReplayReact(t.Context(), answering(2), 5); err != nil {
			t.Error(err)
		}
		if err := c.ReplayReact(t.Context(), answering(1), 3); !errors.Is(err, batpak.ErrDenied) {
			t.Errorf("replay: %v", err)
		}
		checkParked(t, st, 3)
		if got := payloads(t, st, answers); !slices.Equal(got, []string{"2.0", "4.0", "6.0", "5.0", "5.1"}) {
			t.Errorf("answers: %v", got)
		}
	})
}

// FuzzPositionRecord: no payload makes the decoder panic, and what decodes has one encoding that says the same.
func FuzzPositionRecord(f *testing.F) {
	f.Add([]byte(`{"generation":1,"seq":7,"hash":"` + strings.Repeat("0a", 32) + `"}`))
	f.Add([]byte(`{"generation":1,"seq":0,"hash":""}`))
	f.Add([]byte(`{"generation":0,"seq":1}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		p, text, err := batpak.DecodePosition(payload)
		if err != nil {
			return
		}
		again, textAgain, err := batpak.DecodePosition(text)
		if err != nil || again != p || string(textAgain) != string(text) {
			t.Errorf("%q is %+v, whose text %q is %+v, %v", payload, p, text, again, err)
		}
	})
}
