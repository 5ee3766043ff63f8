package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
)

// consumedStore returns a store in which "c" has handled the events 2 to 5 of 8, and where its file is.
func consumedStore(t *testing.T, prefix string) (mem *vfs.Mem, file string) {
	t.Helper()
	mem = vfs.NewMem()
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{}) // 1
		appendAll(t, st, prefix+"2", prefix+"3", prefix+"4", prefix+"5")
		wantSeqs(t, "to begin with", drain(t, c), upTo(2, 5))
		appendAll(t, st, prefix+"6", prefix+"7", prefix+"8")
	})
	files := cursorFiles(mem)
	if len(files) != 1 {
		t.Fatalf("files of positions: %v", files)
	}
	return mem, files[0]
}

// logWith returns a copy of a store's files without positions, and of those of another one.
func logWith(mem, positions *vfs.Mem) *vfs.Mem {
	files := mem.Files()
	maps.DeleteFunc(files, func(name string, _ []byte) bool { return strings.HasPrefix(name, "cursors/") })
	for _, name := range cursorFiles(positions) {
		files[name] = positions.Files()[name]
	}
	return vfs.NewMemFrom(files)
}

// A position that does not belong where it lies is a typed error that says what to do, for every call that asks for it;
// nothing is handed over, nothing is changed, and Reset and Seek are the way on.
func TestPositionFindings(t *testing.T) {
	mem, file := consumedStore(t, "")
	foreign, _ := consumedStore(t, "other ")
	early := mem.Clone() // rolled back: before anything was consumed
	whole := vfs.NewMem()
	bubble(t, whole, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		consumer(t, st, "c", batpak.ConsumerOptions{})
		early = whole.Clone()
		appendAll(t, st, "2", "3")
		drain(t, consumer(t, st, "c", batpak.ConsumerOptions{}))
	})
	rewritten := early.Clone()
	bubble(t, rewritten, batpak.Options{}, func(t *testing.T, st *batpak.Store) { appendAll(t, st, "two", "three", "four") })
	moved := whole.Clone()
	bubble(t, moved, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		if err := consumer(t, st, "c", batpak.ConsumerOptions{}).Seek(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	})
	with := func(mem *vfs.Mem, change func(b []byte) []byte) *vfs.Mem {
		m := mem.Clone()
		m.SetFile(file, change(m.Files()[file]))
		return m
	}
	for _, tt := range []struct {
		name  string
		mem   *vfs.Mem
		query batpak.Query
		want  error
		says  string
	}{
		{"damaged", with(mem, func(b []byte) []byte { b[60] ^= 4; return b }), batpak.Query{}, batpak.ErrPositionDamaged, "checksum"},
		{"empty", with(mem, func(b []byte) []byte { return nil }), batpak.Query{}, batpak.ErrPositionDamaged, "too short"},
		{"of another store", logWith(mem, foreign), batpak.Query{}, batpak.ErrPositionForeign, "identity"},
		{"of another query", mem, batpak.Query{Entity: "plain"}, batpak.ErrPositionQuery, "query"},
		{"ahead of the log", logWith(early, whole), batpak.Query{}, batpak.ErrPositionAhead, "names event 3"},
		{"of another history", logWith(rewritten, whole), batpak.Query{}, batpak.ErrPositionHistory, "event 3 is another one"},
		{"of a generation that the log lacks", logWith(rewritten, moved), batpak.Query{}, batpak.ErrPositionHistory, "generation"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, way := range []string{"Reset", "Seek"} {
				bubble(t, tt.mem.Clone(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
					c := consumer(t, st, "c", batpak.ConsumerOptions{Query: tt.query})
					checkFinding(t, st, c, tt.want, tt.says)
					if way == "Seek" {
						if err := c.Seek(t.Context(), 1); err != nil {
							t.Fatal(err)
						}
					} else if err := c.Reset(t.Context()); err != nil {
						t.Fatal(err)
					}
					if got := drain(t, c); len(got) < 1 && tt.query.Entity == "" && st.Visible() > 2 || len(got) > 0 && got[0] != 2 {
						t.Errorf("after %s: %d", way, got)
					}
				})
			}
		})
	}
}

// checkFinding checks that whoever asks for a position is told.
func checkFinding(t *testing.T, st *batpak.Store, c *batpak.Consumer, want error, says string) {
	t.Helper()
	called := func(context.Context, event.Event) error {
		t.Error("an event was handed over")
		return nil
	}
	_, posErr := c.Position(t.Context())
	_, lagErr := c.Lag(t.Context())
	for what, err := range map[string]error{"Run": c.Run(t.Context(), called), "Position": posErr, "Lag": lagErr} {
		var wrong *batpak.PositionError
		if !errors.Is(err, want) || !errors.As(err, &wrong) || wrong.Consumer != "c" ||
			!strings.Contains(err.Error(), "Reset or Seek") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %v that says %q", what, err, want, says)
		}
	}
	if want == batpak.ErrPositionQuery {
		return // that is between the store and one Consumer
	}
	infos, err := st.Consumers(t.Context())
	if err != nil || len(infos) != 1 || !errors.Is(infos[0].Err, want) {
		t.Errorf("Consumers: %+v, %v", infos, err)
	}
}

// TestPositionsOfOtherHistories is the check that a deliberate bug has to meet, without the bug.
func TestPositionsOfOtherHistories(t *testing.T) {
	if err := positionsOfOtherHistories(); err != nil {
		t.Error(err)
	}
}

// positionsOfOtherHistories checks that a position is refused by a log that was rolled back and written anew.
func positionsOfOtherHistories() error {
	mem := vfs.NewMem()
	tell := func(payloads ...string) (err error) {
		var o batpak.Options
		o.SetFS(mem)
		st, err := batpak.Open(vfs.MemDir, &o)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, st.Close()) }()
		c, err := st.Consumer("c", batpak.ConsumerOptions{})
		for _, p := range payloads {
			if err == nil {
				_, err = st.Append(context.Background(), plain(p))
			}
		}
		if err != nil {
			return err
		}
		d := &diner{name: "run"}
		return d.upTo(c, st.Visible(), func(*event.Event) {})
	}
	if err := tell("a", "b"); err != nil { // 2, 3
		return err
	}
	early := mem.Clone()
	if err := tell("c", "d"); err != nil {
		return err
	}
	whole := mem
	mem = early
	loseCursors(mem)
	if err := tell("e", "f", "g"); err != nil {
		return err
	}
	mem = logWith(mem, whole)
	if err := tell("h"); !errors.Is(err, batpak.ErrPositionHistory) {
		return fmt.Errorf("a position of another history: %v", err)
	}
	return nil
}

// A file of a newer version is refused, also by Reset: what it says is not lost.
func TestPositionOfTheFuture(t *testing.T) {
	mem, file := consumedStore(t, "")
	b := forgeCursor(mem.Files()[file], 16, 2)
	mem.SetFile(file, b)
	bubble(t, mem, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "c", batpak.ConsumerOptions{})
		_, err := c.Position(t.Context())
		for what, err := range map[string]error{"Position": err, "Reset": c.Reset(t.Context()), "Seek": c.Seek(t.Context(), 1)} {
			if !errors.Is(err, batpak.ErrPositionFuture) || strings.Contains(err.Error(), "Reset") {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
	if string(mem.Files()[file]) != string(b) {
		t.Error("the file was rewritten")
	}
}

// TestPositionFileFlips: whichever bit flips, and wherever the file is cut, the consumer is told, or the file holds.
func TestPositionFileFlips(t *testing.T) {
	mem, file := consumedStore(t, "")
	sound := mem.Files()[file]
	try := func(what string, b []byte) {
		mem := mem.Clone()
		mem.SetFile(file, b)
		st := openMem(t, mem)
		defer mustClose(t, st)
		if p, err := consumer(t, st, "c", batpak.ConsumerOptions{}).Position(t.Context()); !errors.Is(err, batpak.ErrPositionDamaged) {
			t.Errorf("%s: %+v, %v", what, p, err)
		}
	}
	for at := range sound {
		if at%sized(7, 1, 1) == 0 {
			b := []byte(string(sound))
			b[at] ^= 1 << (at % 8)
			try("a flipped bit", b)
			try("cut", sound[:at])
		}
	}
}

// What lies in the directory of positions under strange names, and links, are never followed, and disturb nobody else.
func TestPositionDirectory(t *testing.T) {
	mem, file := consumedStore(t, "")
	linked := mem.Clone()
	linked.SetSpecial(file, fs.ModeSymlink)
	bubble(t, linked, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		if _, err := st.Consumer("c", batpak.ConsumerOptions{}); !errors.Is(err, vfs.ErrUnsafePath) {
			t.Errorf("link in place of the file: %v", err)
		}
		wantSeqs(t, "another consumer", drain(t, consumer(t, st, "d", batpak.ConsumerOptions{})), upTo(2, 8))
	})
	left := mem.Clone()
	left.SetFile(file+".tmp", []byte("left over"))
	left.SetFile("cursors/notes", []byte("of people"))
	bubble(t, left, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		wantSeqs(t, "beside left-overs", drain(t, consumer(t, st, "c", batpak.ConsumerOptions{})), upTo(6, 8))
	})
	if names := cursorFiles(left); len(names) != 2 {
		t.Errorf("left: %v", names)
	}
	stray := logWith(vfs.NewMemFrom(nil), mem)
	bubble(t, stray, batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		infos, err := st.Consumers(t.Context())
		if err != nil || len(infos) != 1 || !errors.Is(infos[0].Err, batpak.ErrPositionForeign) {
			t.Errorf("positions without a log: %+v, %v", infos, err)
		}
	})
}

// TestReadWeakness19_PositionsAreWrittenByCountAndTime: by count, by time while nothing comes, and at the end; not for
// each event.
func TestReadWeakness19_PositionsAreWrittenByCountAndTime(t *testing.T) {
	mem := vfs.NewMem()
	var writes atomic.Int64
	fsys := vfs.Inject(mem, func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpRename && strings.HasSuffix(c.Dir, "/cursors") {
			writes.Add(1)
		}
		return vfs.Decision{}
	})
	synctest.Test(t, func(t *testing.T) {
		o := batpak.Options{FillAhead: -1}
		o.SetFS(fsys)
		st := openAt(t, vfs.MemDir, &o)
		defer mustClose(t, st)
		c := consumer(t, st, "c", batpak.ConsumerOptions{SaveEvents: 100, SaveEvery: time.Minute})
		writes.Store(0)
		fillStore(t, st, 250)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx, func(context.Context, event.Event) error { return nil }) }()
		synctest.Wait()
		if writes.Load() != 2 {
			t.Errorf("%d writes for 250 events, want 2", writes.Load())
		}
		<-time.After(2 * time.Minute)
		if synctest.Wait(); writes.Load() != 3 {
			t.Errorf("%d writes after a while, want 3", writes.Load())
		}
		<-time.After(time.Hour)
		fillStore(t, st, 1)
		if synctest.Wait(); writes.Load() != 4 {
			t.Errorf("%d writes after one more, want 4: the last one is an hour ago", writes.Load())
		}
		fillStore(t, st, 1)
		if synctest.Wait(); writes.Load() != 4 {
			t.Errorf("%d writes after one more, want 4", writes.Load())
		}
		cancel()
		if <-done; writes.Load() != 5 {
			t.Errorf("%d writes in all, want 5", writes.Load())
		}
	})
}

// TestReadWeakness08_PositionNeverAheadOfDurable: what a position file names is on stable storage by then, in every mode.
func TestReadWeakness08_PositionNeverAheadOfDurable(t *testing.T) {
	if err := positionsBehindDurable(); err != nil {
		t.Error(err)
	}
}

// forgeCursor returns a file of a position with another byte, and a checksum that holds.
func forgeCursor(b []byte, at int, to byte) []byte {
	b = []byte(string(b))
	b[at] = to
	s := wire.Sum(wire.Sum(0, b[:12]), b[16:])
	copy(b[12:], []byte{byte(s), byte(s >> 8), byte(s >> 16), byte(s >> 24)})
	return b
}

// A Seek whose context ends while it is being written has put the consumer where the log says: this process and the next
// one agree on that.
func TestSeekCanceledInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, token := false, make(chan struct{})
		st, mem := storeInMem(t, batpak.Options{FillAhead: -1}, func(c vfs.Call) vfs.Decision {
			if slow && c.Kind == vfs.OpSync {
				<-token
			}
			return vfs.Decision{}
		})
		fillStore(t, st, 3)
		c := consumer(t, st, "a", batpak.ConsumerOptions{})
		wantSeqs(t, "before", drain(t, c), upTo(1, 3))
		slow = true
		for range 2 { // the first one is written; the second one then leads a group with the Seek in it
			go func() { mustAppend(t, st, plain("x")) }()
			synctest.Wait()
		}
		ctx, cancel := context.WithCancel(t.Context())
		sought := make(chan error, 1)
		go func() { sought <- c.Seek(ctx, 1) }()
		synctest.Wait()
		token <- struct{}{}
		synctest.Wait()
		cancel()
		synctest.Wait()
		slow = false
		close(token)
		err := <-sought
		synctest.Wait()
		here, failed := c.Position(t.Context())
		if failed != nil {
			t.Fatal(failed)
		}
		mustClose(t, st)
		o := batpak.Options{}
		o.SetFS(mem)
		st = openAt(t, vfs.MemDir, &o)
		defer mustClose(t, st)
		there, failed := consumer(t, st, "a", batpak.ConsumerOptions{}).Position(t.Context())
		if failed != nil || here != there || (err == nil) != (here.Seq == 1) {
			t.Errorf("Seek: %v; here %+v, in the next process %+v, %v", err, here, there, failed)
		}
	})
}

// Nothing is said of positions, and nobody tidies up among them, once the store is closed.
func TestPositionsOfAClosedStore(t *testing.T) {
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		c := consumer(t, st, "a", batpak.ConsumerOptions{})
		mustClose(t, st)
		if _, err := c.Position(t.Context()); err != batpak.ErrClosed {
			t.Errorf("Position: %v", err)
		}
		if err := st.OpenCursors(); err != batpak.ErrClosed {
			t.Errorf("directory: %v", err)
		}
	})
	bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
		mustClose(t, st)
		if err := st.OpenCursors(); err != batpak.ErrClosed {
			t.Errorf("directory that nobody had asked for: %v", err)
		}
	})
}

// What a newer version says of a consumer in the log is refused as such, and nothing is appended over it; others go on.
func TestRecordsOfTheFuture(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kind    event.Kind
		payload string
	}{
		{"record", batpak.KindConsumer, `{"name":"a","reason":"made","generation":2,"seq":0,"hash":"","origin":0,"query":{},"until":9}`},
		{"query", batpak.KindConsumer, `{"name":"a","reason":"made","generation":2,"seq":0,"hash":"","origin":0,"query":{"colour":1}}`},
		{"position", batpak.KindPosition, `{"generation":1,"seq":1,"hash":"","shard":3}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, vfs.NewMem(), batpak.Options{}, func(t *testing.T, st *batpak.Store) {
				if tt.kind == batpak.KindPosition {
					made := `{"name":"a","reason":"made","generation":1,"seq":0,"hash":"","origin":0,"query":{}}`
					if err := st.AppendRecord(batpak.KindConsumer, "a", made); err != nil {
						t.Fatal(err)
					}
				}
				if err := st.AppendRecord(tt.kind, "a", tt.payload); err != nil {
					t.Fatal(err)
				}
				consumer(t, st, "b", batpak.ConsumerOptions{})
				last := st.Visible()
				if _, err := st.Consumer("a", batpak.ConsumerOptions{}); !errors.Is(err, batpak.ErrPositionFuture) {
					t.Errorf("Consumer: %v", err)
				}
				infos, err := st.Consumers(t.Context())
				if err != nil || len(infos) != 2 || infos[0].Name != "a" || !errors.Is(infos[0].Err, batpak.ErrPositionFuture) || infos[1].Err != nil {
					t.Errorf("Consumers: %+v, %v", infos, err)
				}
				if st.Visible() != last {
					t.Error("something was appended")
				}
			})
		})
	}
}
