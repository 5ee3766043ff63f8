//go:build unix

package batpak_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/event"
)

// killEnv names the directory for the processes that TestKilledProcess starts.
const killEnv = "BATPAK_TEST_KILL"

// TestKilledProcess kills a process that opens, appends, checkpoints and seals, with SIGKILL and at any moment, again and
// again, in one directory: what it had said was committed is there, in order and once, and nothing needs a hand. What an
// acknowledgement means does not matter to the death of a process: the relaxed modes, which write through a mapped window
// where they can, lose nothing either.
func TestKilledProcess(t *testing.T) {
	t.Parallel()
	kills := envInt(t, "BATPAK_KILLS", sized(24, 300, 7500))
	modes := []batpak.SyncMode{batpak.SyncAlways, batpak.SyncInterval, batpak.SyncNever}
	for _, mode := range modes {
		t.Run(mode.String(), func(t *testing.T) {
			t.Parallel()
			started := time.Now()
			k := &killing{dir: filepath.Join(t.TempDir(), "store"), mode: mode, acked: make(map[event.ID]bool)}
			rng := rand.New(rand.NewPCG(seed(t), uint64(mode)))
			for k.run = range kills / len(modes) {
				k.kill(t, rng)
				if err := k.allThere(); err != nil {
					t.Fatalf("after kill %d: %v", k.run+1, err)
				}
			}
			t.Logf("%d kills, %d of them during an open; %d events acknowledged; %d reopened by the snapshot; in %v",
				kills/len(modes), k.early, len(k.acked), k.bySnapshot, time.Since(started).Round(time.Millisecond))
		})
	}
}

// A killing is one directory and what the processes that died in it had said.
type killing struct {
	dir               string
	mode              batpak.SyncMode
	run               int
	acked             map[event.ID]bool
	early, bySnapshot int
}

// options are those of a run: few index blocks or many, few segments or many.
func (k *killing) options() *batpak.Options {
	o := []*batpak.Options{
		{Sync: k.mode, SegmentSize: 16 << 10, FillAhead: 8 << 10},
		{Sync: k.mode, SegmentSize: 4 << 10, FillAhead: -1, IndexEvery: 512},
		{Sync: k.mode, SegmentSize: 64 << 10, FillAhead: 8 << 10, IndexEvery: 1 << 10},
	}[k.run%3]
	if k.mode == batpak.SyncNever && o.FillAhead > 0 {
		o.FillAhead = 0 // appends bring their own zeroes
	}
	return o
}

// kill starts a process that appends and kills it: when it has printed some IDs, or at any moment of its open.
func (k *killing) kill(t *testing.T, rng *rand.Rand) {
	t.Helper()
	cmd, r, err := startAppending(k.dir, k.run, k.mode)
	if err != nil {
		t.Fatal(err)
	}
	early, after, opened := k.run%5 == 4, rng.IntN(60), false
	wait := time.Duration(rng.IntN(3000)) * time.Microsecond
	for lines := 0; ; lines++ {
		if early && lines == 1 || lines == after+2 { // the first line says that it opens, the second one that it has
			<-time.After(wait)
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
		line, err := r.ReadString('\n')
		text, whole := strings.CutSuffix(line, "\n")
		if id, err := event.ParseID(text); whole && err == nil {
			k.acked[id] = true
		}
		opened = opened || text == "open"
		if err != nil {
			break
		}
	}
	if !opened {
		k.early++
	}
	if err := waitKilled(cmd); err != nil {
		t.Fatal(err)
	}
}

// startAppending starts TestKilledProcessChild on a directory, and returns what it says.
func startAppending(dir string, run int, mode batpak.SyncMode) (*exec.Cmd, *bufio.Reader, error) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcessChild$")
	cmd.Env = append(os.Environ(), killEnv+"="+dir, fmt.Sprintf("%s_RUN=%d", killEnv, run), fmt.Sprintf("%s_MODE=%d", killEnv, mode))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	return cmd, bufio.NewReader(out), cmd.Start()
}

// waitKilled waits for a process that was killed; one that has ended by itself is an error, since it has not done its part.
func waitKilled(cmd *exec.Cmd) error {
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		return fmt.Errorf("the process ended by itself: %v", err)
	}
	return nil
}

// allThere checks that every acknowledged event is there, that the rest makes one history, that nobody holds the lock, and
// that what a reader saw who came first is there, too. After every other kill only the reader looks, so that the next
// process finds the directory as the crash left it, and the parent what two crashes in a row have.
func (k *killing) allThere() error {
	o := *k.options()
	o.NoSnapshot, o.NoCheckpoint = k.run%4 == 3, k.run%8 == 3
	o.ReadOnly = true
	shown := 0
	if st, err := batpak.Open(k.dir, &o); err == nil {
		got, err := collect(st, batpak.Query{})
		if err := errors.Join(err, st.Close(), k.oneHistory(got)); err != nil {
			return fmt.Errorf("read-only: %w", err)
		}
		shown = len(got)
	} else if len(k.acked) > 0 || !errors.Is(err, coldstart.ErrNoStore) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read-only: %w", err)
	}
	if k.run%2 == 0 {
		return nil
	}
	o.ReadOnly = false
	st, err := batpak.Open(k.dir, &o)
	if err != nil {
		return err
	}
	if st.OpenReport().Rung == coldstart.RungSnapshot {
		k.bySnapshot++
	}
	got, err := collect(st, batpak.Query{})
	found := 0
	for i := range got {
		if k.acked[got[i].ID] {
			found++
		}
	}
	if found < len(k.acked) || len(got) < shown {
		err = errors.Join(err, fmt.Errorf("%d of %d acknowledged events are there, %d in all; a reader has seen %d", found, len(k.acked), len(got), shown))
	}
	return errors.Join(err, k.oneHistory(got), st.Close())
}

// oneHistory checks that sequences ascend, without gaps where nobody may have been shown what is lost, and that clocks count.
func (k *killing) oneHistory(got []event.Event) (err error) {
	clocks := map[string]uint64{}
	last := uint64(0)
	for i := range got {
		ev := &got[i]
		clocks[ev.Coordinate.Entity()]++
		if ev.Seq <= last || k.mode == batpak.SyncAlways && ev.Seq != last+1 || ev.Clock != clocks[ev.Coordinate.Entity()] {
			err = errors.Join(err, fmt.Errorf("event %d behind %d, at place %d, has clock %d", ev.Seq, last, i, ev.Clock))
		}
		last = ev.Seq
	}
	return err
}

// TestKilledProcessChild is the process that is killed: it says that it opens and that it has, appends from several
// goroutines, prints the IDs of what was committed, and checkpoints beside that.
func TestKilledProcessChild(t *testing.T) {
	dir := os.Getenv(killEnv)
	if dir == "" {
		t.Skip("NOT TESTED by itself: TestKilledProcess runs it as the process that is killed")
	}
	run, err1 := strconv.Atoi(os.Getenv(killEnv + "_RUN"))
	mode, err2 := strconv.Atoi(os.Getenv(killEnv + "_MODE"))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	fmt.Println("opening")
	st, err := batpak.Open(dir, (&killing{mode: batpak.SyncMode(mode), run: run}).options())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("open")
	for g := range 4 {
		go func() {
			r := &rig{}
			for {
				d := r.draft(streamA, 100*g)
				if g%2 == 1 {
					d.Coordinate = streamB
				}
				d.Payload = append(d.Payload, strconv.Itoa(run)...)
				rcpt, err := st.Append(context.Background(), d)
				if err != nil {
					fmt.Println("error", err)
					return
				}
				fmt.Println(rcpt.ID) // one write: the pipe takes lines as they are
			}
		}()
	}
	if run%3 > 0 {
		go func() {
			for st.Checkpoint(context.Background()) == nil {
				<-time.After(time.Millisecond)
			}
		}()
	}
	<-time.After(time.Minute) // nobody has killed it: do not write for ever
}
