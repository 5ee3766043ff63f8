package batpak_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// A large batch is encoded, hashed and linked on two cores. Nothing of that shows.

// wideDrafts returns n drafts of a few streams, of all shapes.
func wideDrafts(n int) []batpak.Draft {
	drafts := make([]batpak.Draft, n)
	for i := range drafts {
		drafts[i] = batpak.Draft{
			Coordinate: coordinate.MustNew(fmt.Sprintf("e%d", i*i%11), "s"), Lane: uint32(i % 3),
			Kind: event.MustKind(1, 1), Payload: []byte(fmt.Sprintf("payload %d", i)),
		}
		if i%5 == 4 {
			drafts[i].CausedByDraft = batpak.DraftAt(i - 3)
		}
		if i%7 == 0 {
			drafts[i].IdempotencyKey = []byte(fmt.Sprintf("key %d", i))
			drafts[i].Tags = []string{"t"}
		}
	}
	return drafts
}

func TestLargeBatchIsLinked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	st := openAt(t, dir, &batpak.Options{Sync: batpak.SyncNever})
	type stream struct {
		entity string
		lane   uint32
	}
	heads, clocks := make(map[stream]event.Hash), make(map[stream]uint64)
	seq := uint64(0)
	for round := range 4 {
		drafts := wideDrafts(700)
		for i := range drafts {
			drafts[i].IdempotencyKey = nil
			if round == 3 { // each links to the one before it
				drafts[i].Coordinate, drafts[i].Lane = coordinate.MustNew("alone", "s"), 0
			}
		}
		receipts, err := st.AppendBatch(t.Context(), drafts)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range receipts {
			d, at := &drafts[i], stream{drafts[i].Coordinate.Entity(), drafts[i].Lane}
			seq++
			clocks[at]++
			if r.Seq != seq || r.Clock != clocks[at] || r.Parent != heads[at] || r.Coordinate != d.Coordinate ||
				r.Content != event.ContentHash([16]byte{}, d.Payload) {
				t.Fatalf("round %d: receipt %d = %+v, want sequence %d, clock %d, parent %x", round, i, r, seq, clocks[at], heads[at])
			}
			heads[at] = r.Hash
			ev, err := st.EventAt(t.Context(), r.Seq)
			if err != nil || ev.Hash != r.Hash || ev.ID != r.ID || string(ev.Payload) != string(d.Payload) {
				t.Fatalf("round %d: event %d = %+v, %v, want that of %+v", round, i, ev, err, r)
			}
			if d.CausedByDraft != 0 && ev.Causation != receipts[i-3].ID {
				t.Fatalf("round %d: event %d is caused by %v, want %v", round, i, ev.Causation, receipts[i-3].ID)
			}
		}
	}
	mustClose(t, st)
	report, err := batpak.Verify(t.Context(), dir, nil)
	if err != nil || len(report.Findings) > 0 {
		t.Errorf("Verify = %+v, %v", report, err)
	}
}

// Whichever core finds what first, the error is that of the first draft.
func TestLargeBatchFirstError(t *testing.T) {
	st := openAt(t, filepath.Join(t.TempDir(), "store"), &batpak.Options{Sync: batpak.SyncNever, MaxBatchBytes: 64 << 10, MaxEventBytes: 32 << 10})
	defer mustClose(t, st)
	for round := range 300 {
		drafts := wideDrafts(400)
		first := 1 + round*7%300
		for i := first; i < len(drafts); i += 1 + round%40 {
			drafts[i].Coordinate = coordinate.Coordinate{}
		}
		_, err := st.AppendBatch(t.Context(), drafts)
		var batch *batpak.BatchError
		if !errors.As(err, &batch) || batch.Index != first {
			t.Fatalf("AppendBatch with bad drafts from %d on: %v", first, err)
		}
	}
	drafts := wideDrafts(400)
	for _, i := range []int{100, 101, 102} {
		drafts[i].Payload = make([]byte, 30<<10)
	}
	drafts[200].Lane, drafts[200].Coordinate = 0, coordinate.Coordinate{} // behind what is looked at
	var limit *batpak.LimitError
	if _, err := st.AppendBatch(t.Context(), drafts); !errors.As(err, &limit) || limit.Field != "batch bytes" {
		t.Errorf("AppendBatch of too much = %v, want the limit of bytes", err)
	}
}

// A conflict in the last draft takes all of a large batch back.
func TestLargeBatchIsTakenBack(t *testing.T) {
	st := openAt(t, filepath.Join(t.TempDir(), "store"), &batpak.Options{Sync: batpak.SyncNever})
	defer mustClose(t, st)
	before, err := st.AppendBatch(t.Context(), wideDrafts(200))
	if err != nil {
		t.Fatal(err)
	}
	drafts := wideDrafts(300)
	for i := range drafts {
		drafts[i].IdempotencyKey = nil
	}
	drafts[299].Expect = batpak.Clock(10_000)
	var conflict *batpak.ConflictError
	if _, err := st.AppendBatch(t.Context(), drafts); !errors.As(err, &conflict) {
		t.Fatalf("AppendBatch with a conflict = %v", err)
	}
	drafts[299].Expect = batpak.Any()
	after, err := st.AppendBatch(t.Context(), drafts)
	if err != nil {
		t.Fatal(err)
	}
	if after[0].Seq != 201 {
		t.Errorf("sequence behind a batch that was taken back = %d, want 201", after[0].Seq)
	}
	for _, r := range after {
		if r.Clock == 1 {
			continue
		}
		if found := parentIn(r, before) || parentIn(r, after); !found {
			t.Errorf("the parent of %d is no event", r.Seq)
		}
	}
}

// parentIn reports whether the parent of r is the event of one of receipts.
func parentIn(r batpak.Receipt, receipts []batpak.Receipt) bool {
	for _, p := range receipts {
		if p.Hash == r.Parent && p.Clock == r.Clock-1 && p.Coordinate == r.Coordinate && p.Lane == r.Lane {
			return true
		}
	}
	return false
}
