package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

func TestUnless(t *testing.T) {
	ctx := context.Background()
	at := func(entity, scope string) coordinate.Coordinate { return coordinate.MustNew(entity, scope) }
	kind, other := event.MustKind(1, 1), event.MustKind(1, 2)
	lane := uint32(3)
	for _, tc := range []struct {
		name  string
		query batpak.Query
		after uint64 // events 1 to 4 are there
		want  uint64 // event in the way; 0 for none
	}{
		{"any event after the end", batpak.Query{}, 4, 0},
		{"any event after the last but one", batpak.Query{}, 3, 4},
		{"first of several", batpak.Query{}, 0, 1},
		{"entity", batpak.Query{Entity: "a"}, 0, 1},
		{"entity behind its first", batpak.Query{Entity: "a"}, 1, 3},
		{"entity behind its last", batpak.Query{Entity: "a"}, 3, 0},
		{"no such entity", batpak.Query{Entity: "z"}, 0, 0},
		{"prefix", batpak.Query{EntityPrefix: "b"}, 0, 2},
		{"scope", batpak.Query{Scope: "s2"}, 1, 4},
		{"kind", batpak.Query{Kinds: []event.Kind{other}}, 0, 3},
		{"tag", batpak.Query{Tags: []string{"x"}}, 0, 4},
		{"lane", batpak.Query{Lane: &lane}, 0, 4},
		{"kind and entity", batpak.Query{Entity: "b", Kinds: []event.Kind{other}}, 0, 0},
		{"what does not matter", batpak.Query{After: 9, Before: 1, Limit: 1, Reverse: true, Borrow: true, Entity: "a"}, 1, 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := openAt(t, t.TempDir(), nil)
			defer st.Close()
			for _, d := range []batpak.Draft{
				{Coordinate: at("a", "s1"), Kind: kind},
				{Coordinate: at("b", "s1"), Kind: kind},
				{Coordinate: at("a", "s1"), Kind: other},
				{Coordinate: at("b", "s2"), Kind: kind, Tags: []string{"x"}, Lane: lane},
			} {
				if _, err := st.Append(ctx, d); err != nil {
					t.Fatal(err)
				}
			}
			condition := batpak.Unless{Query: tc.query, Seq: tc.after}
			rcpt, err := st.Append(ctx, batpak.Draft{Coordinate: at("c", "s1"), Kind: kind, Unless: []batpak.Unless{condition}})
			if tc.want == 0 {
				if err != nil || rcpt.Seq != 5 {
					t.Fatalf("Append = %v, %v", rcpt.Seq, err)
				}
				return
			}
			var conflict *batpak.ConflictError
			if !errors.As(err, &conflict) || conflict.Seq != tc.want || conflict.ReadAfter != tc.after || conflict.Unless == nil {
				t.Fatalf("Append = %v; want a conflict with event %d", err, tc.want)
			}
			if st.Visible() != 4 {
				t.Errorf("a refused draft left %d events", st.Visible())
			}
		})
	}
}

// A batch may hold several conditions over several entities; none of them is broken by the batch itself.
func TestUnlessInBatches(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer st.Close()
	draft := func(entity string, conditions ...batpak.Unless) batpak.Draft {
		return batpak.Draft{Coordinate: coordinate.MustNew(entity, "s"), Kind: event.MustKind(1, 1), Unless: conditions}
	}
	a, b := batpak.Query{Entity: "a"}, batpak.Query{Entity: "b"}
	both := []batpak.Draft{
		draft("a", batpak.Unless{Query: a}), draft("a", batpak.Unless{Query: a}, batpak.Unless{Query: b}), draft("b"),
	}
	if _, err := st.AppendBatch(ctx, both); err != nil {
		t.Fatal(err)
	}
	_, err := st.AppendBatch(ctx, both)
	var in *batpak.BatchError
	if !errors.As(err, &in) || in.Index != 0 || !errors.Is(err, batpak.ErrConflict) {
		t.Fatalf("second batch: %v", err)
	}
	both[0].Unless[0].Seq, both[1].Unless[0].Seq = 3, 3
	if _, err = st.AppendBatch(ctx, both); !errors.As(err, &in) || in.Index != 1 {
		t.Fatalf("third batch: %v", err)
	}
	if st.Visible() != 3 {
		t.Errorf("%d events, want 3", st.Visible())
	}
	many := make([]batpak.Unless, 17)
	if _, err := st.Append(ctx, draft("a", many...)); !errors.Is(err, batpak.ErrLimit) {
		t.Errorf("17 conditions: %v", err)
	}
	if _, err := st.Append(ctx, draft("a", batpak.Unless{Query: batpak.Query{Entity: "a\x00"}})); !errors.Is(err, batpak.ErrInvalid) {
		t.Errorf("query that cannot be: %v", err)
	}
}

// Of many who decide on the same state at the same time, one wins: also when all of them meet in one write group.
func TestUnlessLetsOneWin(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer st.Close()
	const rounds, racers = 20, 16
	for round := range rounds {
		seq := st.Visible()
		outcomes := make(chan error)
		for i := range racers {
			go func() {
				_, err := st.Append(ctx, batpak.Draft{
					Coordinate: coordinate.MustNew(fmt.Sprintf("seat:%d", i), "s"), Kind: event.MustKind(1, 1), Tags: []string{"row:7"},
					Unless: []batpak.Unless{{Query: batpak.Query{Tags: []string{"row:7"}}, Seq: seq}},
				})
				outcomes <- err
			}()
		}
		won := 0
		for range racers {
			switch err := <-outcomes; {
			case err == nil:
				won++
			case !errors.Is(err, batpak.ErrConflict):
				t.Error(err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d won", round, won)
		}
	}
}
