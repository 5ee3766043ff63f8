package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/internal/vfs"
	"batpak/segment"
)

var (
	seatA, seatB = coordinate.MustNew("seat:a", "hall"), coordinate.MustNew("seat:b", "hall")
	row7         = batpak.Query{Tags: []string{"row:7"}}
)

// reserve is a draft that row7 selects.
func reserve(at coordinate.Coordinate) batpak.Draft {
	return batpak.Draft{Coordinate: at, Kind: kindOne, Tags: []string{"row:7"}}
}

// memStore opens a store in memory, for tests that hold the clock.
func memStore(t testing.TB) *batpak.Store {
	t.Helper()
	o := &batpak.Options{FillAhead: -1}
	o.SetFS(vfs.NewMem())
	return openAt(t, vfs.MemDir, o)
}

func mustAppend(t testing.TB, st *batpak.Store, d batpak.Draft) batpak.Receipt {
	t.Helper()
	rcpt, err := st.Append(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	return rcpt
}

// seqs returns the sequences of what a decision is based on.
func seqs(d batpak.Decision) (list []uint64, err error) {
	for ev, err := range d.Events {
		if err != nil {
			return list, err
		}
		list = append(list, ev.Seq)
	}
	return list, nil
}

// What was committed between the read and the append refuses the drafts if the query selects it, and only then.
func TestDecide(t *testing.T) {
	lane := uint32(1)
	other := reserve(seatB)
	other.Lane = 1
	for _, tt := range []struct {
		name  string
		query batpak.Query // of events 1 to 4, by seat a, b, a, b
		reads []uint64
		race  batpak.Draft // event 5
		tries int
	}{
		{"nobody else", row7, []uint64{1, 2, 3, 4}, batpak.Draft{}, 1},
		{"another row", row7, []uint64{1, 2, 3, 4}, batpak.Draft{Coordinate: seatA, Kind: kindOne, Tags: []string{"row:8"}}, 1},
		{"the same row", row7, []uint64{1, 2, 3, 4}, reserve(seatB), 2},
		{"the same entity", batpak.Query{Entity: "seat:a"}, []uint64{1, 3}, reserve(seatA), 2},
		{"another entity", batpak.Query{Entity: "seat:a"}, []uint64{1, 3}, reserve(seatB), 1},
		{"another lane", batpak.Query{Lane: new(uint32)}, []uint64{1, 2, 3, 4}, other, 1},
		{"the same lane", batpak.Query{Lane: &lane}, nil, other, 2},
		{"everything", batpak.Query{}, []uint64{1, 2, 3, 4}, reserve(seatB), 2},
		{"from a stored state on", batpak.Query{Tags: row7.Tags, After: 2}, []uint64{3, 4}, reserve(seatB), 2},
		{"the last one alone", batpak.Query{Tags: row7.Tags, Reverse: true, Limit: 1}, []uint64{4}, reserve(seatB), 2},
		{"the first one alone", batpak.Query{Tags: row7.Tags, Limit: 1}, []uint64{1}, reserve(seatB), 2},
		{"nothing is there", batpak.Query{Entity: "seat:z"}, nil, reserve(seatB), 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx := context.Background()
			st := memStore(t)
			defer mustClose(t, st)
			for _, at := range []coordinate.Coordinate{seatA, seatB, seatA, seatB} {
				mustAppend(t, st, reserve(at))
			}
			tries, end := 0, uint64(4)
			receipts, err := st.Decide(ctx, tt.query, func(d batpak.Decision) ([]batpak.Draft, error) {
				if tries++; tries == 1 && tt.race.Kind != 0 {
					mustAppend(t, st, tt.race) // before the read, even: it ends where the try began
				}
				for range 2 {
					if got, err := seqs(d); err != nil || tries == 1 && !slices.Equal(got, tt.reads) {
						t.Errorf("read %d, %v, want %d", got, err, tt.reads)
					}
				}
				if d.Try != tries || d.Seq != end {
					t.Errorf("try %d up to %d, want %d up to %d", d.Try, d.Seq, tries, end)
				}
				end = 5
				return []batpak.Draft{reserve(seatA), reserve(seatB)}, nil
			})
			if err != nil || tries != tt.tries || len(receipts) != 2 || receipts[1].Seq != st.Visible() {
				t.Errorf("Decide = %v, %v in %d tries, want %d", receipts, err, tries, tt.tries)
			}
		})
	}
}

// A decision to do nothing does nothing; one that fails is the caller's error, untouched.
func TestDecideWithoutDrafts(t *testing.T) {
	st := memStore(t)
	defer mustClose(t, st)
	for _, drafts := range [][]batpak.Draft{nil, {}} {
		if receipts, err := st.Decide(context.Background(), row7, func(batpak.Decision) ([]batpak.Draft, error) { return drafts, nil }); receipts != nil || err != nil {
			t.Errorf("Decide = %v, %v", receipts, err)
		}
	}
	receipts, err := st.Decide(context.Background(), row7, func(batpak.Decision) ([]batpak.Draft, error) {
		return []batpak.Draft{reserve(seatA)}, errMine
	})
	if receipts != nil || err != errMine || st.Visible() != 0 {
		t.Errorf("Decide = %v, %v, and %d events", receipts, err, st.Visible())
	}
}

// A decision that is overtaken for ever ends, after pauses as its Retry says, with the last conflict.
func TestDecideGivesUp(t *testing.T) {
	took := map[string]time.Duration{}
	for _, tt := range []struct {
		name  string
		retry batpak.Retry
		tries int
		most  time.Duration // that all pauses together may take
	}{
		{"defaults", batpak.Retry{Seed: 7}, 16, (127 + 8*100) * time.Millisecond},
		{"same seed", batpak.Retry{Seed: 7}, 16, (127 + 8*100) * time.Millisecond},
		{"another seed", batpak.Retry{Seed: 8}, 16, (127 + 8*100) * time.Millisecond},
		{"random seed", batpak.Retry{}, 16, (127 + 8*100) * time.Millisecond},
		{"once", batpak.Retry{Tries: 1}, 1, 0},
		{"slowly", batpak.Retry{Tries: 4, Pause: time.Hour, Seed: 7}, 4, 3 * time.Hour},
		{"ever slower", batpak.Retry{Tries: 4, Pause: time.Hour, MaxPause: 1 << 62, Seed: 7}, 4, 7 * time.Hour},
		{"fast", batpak.Retry{Tries: 100, Pause: 1, MaxPause: 1}, 100, 99},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memStore(t)
				defer mustClose(t, st)
				tries, started := 0, time.Now()
				receipts, err := st.DecideRetry(t.Context(), row7, tt.retry, func(batpak.Decision) ([]batpak.Draft, error) {
					tries++
					mustAppend(t, st, reserve(seatB))
					return []batpak.Draft{reserve(seatA)}, nil
				})
				took[tt.name] = time.Since(started)
				contended, ok := errors.AsType[*batpak.ContendedError](err)
				conflict, _ := errors.AsType[*batpak.ConflictError](err)
				if !ok || receipts != nil || tries != tt.tries || contended.Tries != tries || !errors.Is(err, batpak.ErrContended) || !errors.Is(err, batpak.ErrConflict) {
					t.Fatalf("DecideRetry = %v, %v in %d tries, want %d", receipts, err, tries, tt.tries)
				}
				if conflict.Seq != uint64(tries) || conflict.Unless == nil || conflict.Unless.Seq != uint64(tries)-1 || st.Visible() != uint64(tries) {
					t.Errorf("conflict %+v of %d events", conflict, st.Visible())
				}
				if got := took[tt.name]; got > tt.most || got < tt.most/10 {
					t.Errorf("pauses of %v, want up to %v", got, tt.most)
				}
			})
		})
	}
	if took["defaults"] != took["same seed"] || took["defaults"] == took["another seed"] {
		t.Errorf("pauses %v do not follow their seeds", took)
	}
}

// A context that ends ends the pause, too.
func TestDecideEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memStore(t)
		defer mustClose(t, st)
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errMine)
		defer cancel()
		started := time.Now()
		_, err := st.DecideRetry(ctx, row7, batpak.Retry{Pause: 1000 * time.Hour, Seed: 7}, func(batpak.Decision) ([]batpak.Draft, error) {
			mustAppend(t, st, reserve(seatB))
			return []batpak.Draft{reserve(seatA)}, nil
		})
		canceled, ok := errors.AsType[*batpak.CanceledError](err)
		if !ok || canceled.MayLand || !errors.Is(err, errMine) || time.Since(started) != time.Minute || st.Visible() != 1 {
			t.Errorf("DecideRetry = %v after %v with %d events", err, time.Since(started), st.Visible())
		}

		// So does one that ends while a fence is waited for.
		f, err := st.Fence(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Append(t.Context(), reserve(seatA)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeoutCause(t.Context(), time.Minute, errMine)
		defer cancel()
		started = time.Now()
		_, err = st.DecideRetry(ctx, row7, batpak.Retry{MaxPause: time.Hour}, func(batpak.Decision) ([]batpak.Draft, error) {
			return []batpak.Draft{reserve(seatA)}, nil
		})
		if canceled, ok := errors.AsType[*batpak.CanceledError](err); !ok || canceled.MayLand || !errors.Is(err, errMine) || time.Since(started) != time.Minute {
			t.Errorf("DecideRetry = %v after %v", err, time.Since(started))
		}
		if err := f.Cancel(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Events behind an open fence are not read, and not passed over either: the decision waits for their fence.
func TestDecideMindsOpenFences(t *testing.T) {
	for _, tt := range []struct {
		name   string
		staged batpak.Draft
		end    func(*batpak.Fence, context.Context) error // nil: the fence stays open
		tries  int                                        // 0: as many as there are, in vain
		reads  []uint64                                   // by the last try
	}{
		{"committed meanwhile", reserve(seatB), (*batpak.Fence).Commit, 2, []uint64{1, 2}},
		{"cancelled meanwhile", reserve(seatB), (*batpak.Fence).Cancel, 2, []uint64{1}},
		{"open for ever", reserve(seatB), nil, 0, []uint64{1}},
		{"open with another row's", batpak.Draft{Coordinate: seatB, Kind: kindOne, Tags: []string{"row:8"}}, nil, 1, []uint64{1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				st := memStore(t)
				defer mustClose(t, st)
				mustAppend(t, st, reserve(seatA))
				f, err := st.Fence(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.Append(ctx, tt.staged); err != nil {
					t.Fatal(err)
				}
				if tt.end != nil {
					time.AfterFunc(time.Minute, func() {
						if err := tt.end(f, ctx); err != nil {
							t.Error(err)
						}
					})
				}
				tries, started, read := 0, time.Now(), []uint64(nil)
				retry := batpak.Retry{Tries: 5, MaxPause: time.Hour, Seed: 7}
				_, err = st.DecideRetry(ctx, row7, retry, func(d batpak.Decision) ([]batpak.Draft, error) {
					tries++
					read, err = seqs(d)
					return []batpak.Draft{reserve(seatA)}, err
				})
				took := time.Since(started)
				if !slices.Equal(read, tt.reads) {
					t.Errorf("the last try read %d, want %d", read, tt.reads)
				}
				switch {
				case tt.tries == 0 && (!errors.Is(err, batpak.ErrContended) || tries != 5 || took < 4*time.Hour || took > 5*time.Hour):
					t.Errorf("DecideRetry = %v in %d tries and %v, want all of them in vain", err, tries, took)
				case tt.tries > 0 && (err != nil || tries != tt.tries):
					t.Errorf("DecideRetry = %v in %d tries, want %d", err, tries, tt.tries)
				case tt.tries == 2 && (took < time.Minute || took > time.Minute+2*time.Millisecond):
					t.Errorf("it took %v, want the minute until the fence ended", took)
				}
				if tt.end == nil {
					if err := f.Cancel(ctx); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// What cannot be is refused before anything is decided.
func TestDecideRefuses(t *testing.T) {
	dir := t.TempDir()
	writer := openAt(t, dir, nil)
	defer mustClose(t, writer)
	reader := openAt(t, dir, &batpak.Options{ReadOnly: true})
	defer mustClose(t, reader)
	closed := memStore(t)
	mustClose(t, closed)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		name  string
		ctx   context.Context
		st    *batpak.Store
		query batpak.Query
		retry batpak.Retry
		want  error
	}{
		{"context that has ended", ended, writer, row7, batpak.Retry{}, batpak.ErrCanceled},
		{"closed store", context.Background(), closed, row7, batpak.Retry{}, batpak.ErrClosed},
		{"read-only store", context.Background(), reader, row7, batpak.Retry{}, batpak.ErrReadOnly},
		{"query with an end", context.Background(), writer, batpak.Query{Before: 7}, batpak.Retry{}, batpak.ErrInvalid},
		{"query that cannot be", context.Background(), writer, batpak.Query{Entity: "\x00"}, batpak.Retry{}, batpak.ErrInvalid},
		{"negative limit", context.Background(), writer, batpak.Query{Limit: -1}, batpak.Retry{}, batpak.ErrInvalid},
		{"tries below 1", context.Background(), writer, row7, batpak.Retry{Tries: -1}, batpak.ErrOption},
		{"pause below 1", context.Background(), writer, row7, batpak.Retry{Pause: -1}, batpak.ErrOption},
		{"longest pause below the first", context.Background(), writer, row7, batpak.Retry{Pause: 2, MaxPause: 1}, batpak.ErrOption},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.st.DecideRetry(tt.ctx, tt.query, tt.retry, func(batpak.Decision) ([]batpak.Draft, error) {
				t.Error("it was decided")
				return nil, nil
			})
			if !errors.Is(err, tt.want) {
				t.Errorf("DecideRetry = %v, want %v", err, tt.want)
			}
		})
	}
}

// Conditions of the drafts themselves: one that fails for what could have been read is an answer, one that fails for what
// came meanwhile is not.
func TestDecideWithConditionsOfItsDrafts(t *testing.T) {
	ctx := context.Background()
	st := memStore(t)
	defer mustClose(t, st)
	mustAppend(t, st, reserve(seatA))
	tries := 0
	_, err := st.Decide(ctx, row7, func(batpak.Decision) ([]batpak.Draft, error) {
		tries++
		d := reserve(seatA)
		d.Expect = batpak.Absent()
		return []batpak.Draft{reserve(seatB), d}, nil
	})
	if in, ok := errors.AsType[*batpak.BatchError](err); !ok || in.Index != 1 || !errors.Is(err, batpak.ErrConflict) || errors.Is(err, batpak.ErrContended) || tries != 1 {
		t.Errorf("Decide = %v in %d tries, want one conflict", err, tries)
	}

	tries = 0
	receipts, err := st.Decide(ctx, batpak.Query{Entity: "seat:a"}, func(d batpak.Decision) ([]batpak.Draft, error) {
		head, err := st.Head(ctx, "seat:a", 0)
		if tries++; tries == 1 {
			mustAppend(t, st, reserve(seatA))
		}
		next := reserve(seatA)
		next.Expect = batpak.Clock(head.Clock)
		return []batpak.Draft{next}, err
	})
	if err != nil || tries != 2 || receipts[0].Clock != 3 {
		t.Errorf("Decide = %v, %v in %d tries, want 2", receipts, err, tries)
	}
}

// The drafts stay the caller's: the condition that is added shows in none of them.
func TestDecideLeavesDraftsAlone(t *testing.T) {
	st := memStore(t)
	defer mustClose(t, st)
	own := make([]batpak.Unless, 1, 4)
	own[0].Query.Entity = "seat:z"
	for n := 1; n < 3; n++ {
		drafts := []batpak.Draft{reserve(seatA), reserve(seatB)}[:n]
		drafts[0].Unless = own
		if _, err := st.Decide(context.Background(), row7, func(batpak.Decision) ([]batpak.Draft, error) { return drafts, nil }); err != nil {
			t.Fatal(err)
		}
		if len(drafts[0].Unless) != 1 || own[:2][1].Query.Tags != nil {
			t.Errorf("%d drafts: conditions became %+v", n, own[:2])
		}
	}
}

// A known key comes before all conditions: the first receipts come back, also to a decision that has been overtaken.
func TestDecideReplaysKnownKeys(t *testing.T) {
	st := memStore(t)
	defer mustClose(t, st)
	decide := func(race bool) (receipts []batpak.Receipt, tries int) {
		receipts, err := st.Decide(context.Background(), row7, func(d batpak.Decision) ([]batpak.Draft, error) {
			if tries++; race {
				mustAppend(t, st, reserve(seatB))
			}
			drafts := []batpak.Draft{reserve(seatA), reserve(seatA)}
			for i := range drafts {
				drafts[i].IdempotencyKey = batpak.OperationKey("reserve", "request 1", strconv.Itoa(i))
			}
			return drafts, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return receipts, tries
	}
	first, _ := decide(false)
	for _, race := range []bool{false, true} {
		again, tries := decide(race)
		if tries != 1 || len(again) != 2 || !again[0].Replayed || !again[1].Replayed || again[0].ID != first[0].ID || again[1].ID != first[1].ID {
			t.Errorf("race %v: %+v in %d tries, want %+v", race, again, tries, first)
		}
	}
}

// Damage that the read meets is not a shorter history, even to a callback that does not look.
func TestDecideDoesNotPassOverDamage(t *testing.T) {
	r := mustWrite(t, batpak.Options{}, false, severalSegments)
	s := &specimen{files: r.mem.Files(), told: r.history(), opts: r.opts}
	at := s.frames()[1]
	bad := bytes.Clone(s.files[at.file])
	bad[at.at+at.size/2] ^= 8
	r.mem.SetFile(at.file, bad)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	defer r.kill()
	end := r.st.Visible()
	_, err := r.st.Decide(context.Background(), batpak.Query{}, func(d batpak.Decision) ([]batpak.Draft, error) {
		for range d.Events { // an error is a step like any other
		}
		return []batpak.Draft{reserve(seatA)}, nil
	})
	if _, ok := errors.AsType[*segment.FrameError](err); !ok || r.st.Visible() != end {
		t.Errorf("Decide = %v, and %d new events, want a *segment.FrameError", err, r.st.Visible()-end)
	}
}

// Many who decide at once: each decision is made on all that came before it. Two seats of each row may be taken; everyone
// tries to take one in each row.
func TestDecideLetsNobodyIn(t *testing.T) {
	ctx := context.Background()
	st := openAt(t, t.TempDir(), nil)
	defer mustClose(t, st)
	const rows, people, seats = 10, 12, 2
	var mu sync.Mutex
	taken, tries := map[string]int{}, 0
	var group sync.WaitGroup
	for p := range people {
		group.Go(func() {
			for row := range rows {
				tag := "row:" + strconv.Itoa(row)
				retry := batpak.Retry{Tries: 1000, MaxPause: 5 * time.Millisecond}
				receipts, err := st.DecideRetry(ctx, batpak.Query{Tags: []string{tag}, Borrow: true}, retry, func(d batpak.Decision) ([]batpak.Draft, error) {
					mu.Lock()
					tries++
					mu.Unlock()
					if got, err := seqs(d); err != nil || len(got) >= seats {
						return nil, err
					}
					at := coordinate.MustNew(fmt.Sprintf("person:%d", p), "hall")
					return []batpak.Draft{{Coordinate: at, Kind: kindOne, Tags: []string{tag}}}, nil
				})
				mu.Lock()
				taken[tag] += len(receipts)
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	for row := range rows {
		tag := "row:" + strconv.Itoa(row)
		got, err := collect(st, batpak.Query{Tags: []string{tag}})
		if err != nil || len(got) != seats || taken[tag] != seats {
			t.Errorf("%s: %d seats taken, %d receipts, %v, want %d", tag, len(got), taken[tag], err, seats)
		}
	}
	t.Logf("%d decisions in %d tries", rows*people, tries)
}
