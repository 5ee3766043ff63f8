package batpak_test

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"batpak"
	"batpak/internal/vfs"
)

// A workload is a named sequence of calls on a fresh store. It does the same calls to the file system in every run.
type workload struct {
	name string
	opts batpak.Options
	do   func(*rig) error
}

// run runs the workload and returns its rig, with the trace and all that callers were told. The store is left open, as
// a crash finds it, but idle; kill it when its trace is not to grow.
func (w *workload) run() (*rig, error) {
	r := newRig(w.opts)
	r.watch = true
	if err := r.open(); err != nil {
		return r, fmt.Errorf("%s: open: %w", w.name, err)
	}
	err := w.do(r)
	if r.st != nil {
		r.settle()
	}
	r.kill()
	if err != nil {
		return r, fmt.Errorf("%s: %w", w.name, err)
	}
	return r, chained(r.history())
}

// steps are the calls of which short workloads are made: each takes a rig with an open store to the next call.
var steps = []struct {
	letter byte
	do     func(*rig) error
}{
	{'a', func(r *rig) error { return second(r.append(r.draft(streamA, 0))) }},
	{'b', func(r *rig) error { return second(r.append(r.draft(streamB, 600))) }},
	{'k', stepKey},
	{'e', stepExpect},
	{'2', func(r *rig) error { return second(r.batch([]batpak.Draft{r.draft(streamA, 0), r.draft(streamB, 0)})) }},
	{'3', stepCauses},
	{'d', stepDurable},
	{'f', func(r *rig) error { return r.flush() }},
	{'r', stepRotate},
	{'c', stepReopen},
	{'p', stepKill},
	{'t', func(r *rig) error { return second(r.append(r.full(streamA))) }},
}

func second[T any](_ T, err error) error { return err }

// stepKey appends with the same key each time: the first one writes, the others are told its receipt.
func stepKey(r *rig) error {
	d := batpak.Draft{Coordinate: streamB, Kind: kindTwo, Payload: []byte("once"), IdempotencyKey: []byte("the key")}
	_, err := r.append(d)
	return err
}

// stepExpect appends twice with a condition: one that holds, and one that does not and must leave no trace.
func stepExpect(r *rig) error {
	clock := uint64(0)
	for _, t := range r.history() {
		if t.Coordinate == streamA && t.Lane == 0 {
			clock = t.Clock
		}
	}
	d := r.draft(streamA, 0)
	d.Expect = batpak.Clock(clock)
	if _, err := r.append(d); err != nil {
		return err
	}
	d = r.draft(streamA, 0)
	d.Expect = batpak.Clock(clock + 7)
	if _, err := r.append(d); !errors.Is(err, batpak.ErrConflict) {
		return fmt.Errorf("append with a wrong expectation: %v", err)
	}
	return nil
}

// stepCauses appends a batch whose members cause one another.
func stepCauses(r *rig) error {
	batch := []batpak.Draft{r.full(streamA), r.draft(streamB, 0), r.draft(streamA, 300)}
	batch[1].CausedByDraft, batch[2].CausedByDraft = batpak.DraftAt(0), batpak.DraftAt(1)
	return second(r.batch(batch))
}

// stepDurable appends one event that must be durable, whatever the store's mode.
func stepDurable(r *rig) error {
	d := r.draft(streamA, 0)
	d.Ack = batpak.AckDurable
	return second(r.append(d))
}

// stepRotate appends an event of which a small segment holds one.
func stepRotate(r *rig) error {
	_, err := r.append(r.draft(streamA, 1500))
	r.settle()
	return err
}

func stepReopen(r *rig) error {
	if err := r.close(); err != nil {
		return err
	}
	return r.reopen()
}

func stepKill(r *rig) error {
	r.kill()
	return r.reopen()
}

// reopen opens the store and lets it come to rest. A lenient workload tries twice.
func (r *rig) reopen() error {
	err := r.open()
	if err != nil && r.forgive(err) == nil {
		err = r.open()
	}
	if err != nil {
		return err
	}
	r.settle()
	return nil
}

// shortWorkloads returns every sequence of up to three calls. What asks for a sync runs where nothing else does.
func shortWorkloads() []workload {
	var all []workload
	var grow func(prefix string)
	grow = func(prefix string) {
		if prefix != "" {
			all = append(all, shortWorkload(prefix))
		}
		if len(prefix) == 3 {
			return
		}
		for _, s := range steps {
			grow(prefix + string(s.letter))
		}
	}
	grow("")
	return all
}

// shortWorkload returns the workload of a few letters.
func shortWorkload(letters string) workload {
	w := workload{name: "short-" + letters}
	if strings.ContainsAny(letters, "df") {
		w.opts.Sync = batpak.SyncNever
	}
	w.do = func(r *rig) error {
		for i := range letters {
			for _, s := range steps {
				if s.letter != letters[i] {
					continue
				}
				if err := s.do(r); err != nil {
					return fmt.Errorf("call %d (%c): %w", i, s.letter, err)
				}
			}
		}
		return nil
	}
	return w
}

// longWorkloads are the ones of several dozen calls.
func longWorkloads() []workload {
	fill := batpak.Options{FillAhead: 2 << 10}
	return []workload{
		{"W1", batpak.Options{}, singles},
		{"W1-fill", fill, singles},
		{"W1-never", batpak.Options{Sync: batpak.SyncNever}, singles},
		{"W2", batpak.Options{SegmentSize: 64 << 10}, groups},
		{"W2-interval", batpak.Options{SegmentSize: 64 << 10, Sync: batpak.SyncInterval}, groups},
		{"W2-never", batpak.Options{SegmentSize: 64 << 10, Sync: batpak.SyncNever}, groups},
		{"W2-joined", batpak.Options{}, joinedGroups},
		{"W3", batpak.Options{SegmentSize: 32 << 10}, batches},
		{"W3-never", batpak.Options{SegmentSize: 32 << 10, Sync: batpak.SyncNever}, batches},
		{"W4", batpak.Options{}, rotations},
		{"W4-fill", fill, rotations},
		{"W4-never", batpak.Options{Sync: batpak.SyncNever}, rotations},
		{"W9", batpak.Options{}, crashes},
		{"W9-never", batpak.Options{Sync: batpak.SyncNever}, crashes},
		{"W10", batpak.Options{IndexEvery: 1}, checkpoints},
		{"W10-never", batpak.Options{IndexEvery: 1, Sync: batpak.SyncNever}, checkpoints},
		{"W11", batpak.Options{}, fences},
		{"W11-never", batpak.Options{Sync: batpak.SyncNever}, fences},
		{"W11-blocks", batpak.Options{IndexEvery: 1}, fences},
		{"W12", batpak.Options{}, fenceCrashes},
		{"W12-never", batpak.Options{Sync: batpak.SyncNever}, fenceCrashes},
	}
}

// singles is W1: single appends, one sync each.
func singles(r *rig) error {
	for i := range 12 {
		d := r.draft(streamA, 10*i)
		if i%4 == 3 {
			d = r.full(streamB)
		}
		if _, err := r.append(d); err != nil {
			return err
		}
		r.settle()
	}
	return r.close()
}

// groups is W2: groups of 1 to 16 appends that share a write, some of which ask for a sync.
func groups(r *rig) error {
	for n := 1; n <= 16; n *= 2 {
		drafts := make([][]batpak.Draft, n+1)
		for i := range drafts {
			drafts[i] = []batpak.Draft{r.draft(streamA, 10*i)}
			switch {
			case i%5 == 3:
				drafts[i] = append(drafts[i], r.draft(streamB, 0))
			case i%5 == 4:
				drafts[i][0].Ack = batpak.AckDurable
			}
		}
		if err := r.group(drafts); err != nil {
			return err
		}
	}
	return nil
}

// group makes the first request lead a group of its own, and holds its first write until all others wait, in order:
// they are the next group. Requests of more than one draft are batches. The late ones come when the next group is about to
// be staged, and join it where the store has just been opened: a leader then waits for whom it has answered.
func (r *rig) group(requests [][]batpak.Draft, late ...[]batpak.Draft) error {
	entered, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	was := r.intercept
	r.intercept = func(c vfs.Call) vfs.Decision {
		if c.Kind == vfs.OpWrite && strings.HasSuffix(c.Name, ".fbat") {
			once.Do(func() { close(entered); <-goOn })
		}
		if was != nil {
			return was(c)
		}
		return vfs.Decision{}
	}
	defer func() { r.intercept = was }()
	var w waiters
	for i, drafts := range requests {
		if i > 0 {
			w.send(r, drafts)
			continue
		}
		w.wg.Go(func() {
			defer once.Do(func() { close(entered) })
			w.append(r, drafts)
		})
		<-entered
	}
	if len(late) > 0 {
		r.onClock(func() {
			var w2 waiters
			for _, drafts := range late {
				w2.send(r, drafts)
			}
			w.wg.Go(func() { w.add(w2.wait()) })
		})
		defer r.onClock(nil)
	}
	close(goOn)
	return w.wait()
}

// waiters are appends that wait for a leader, one behind the other.
type waiters struct {
	wg   sync.WaitGroup
	sent int
	done atomic.Int64 // appends that failed before they came to wait

	mu  sync.Mutex
	err error
}

// send appends drafts on a goroutine of its own, and returns when it waits. Nobody else waits but those who were sent.
func (w *waiters) send(r *rig, drafts []batpak.Draft) {
	w.wg.Go(func() {
		defer w.done.Add(1)
		w.append(r, drafts)
	})
	w.sent++
	for r.st.Waiting()+int(w.done.Load()) < w.sent {
		runtime.Gosched()
	}
}

func (w *waiters) append(r *rig, drafts []batpak.Draft) {
	if len(drafts) > 1 {
		w.add(second(r.batch(drafts)))
	} else {
		w.add(second(r.append(drafts[0])))
	}
}

func (w *waiters) add(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = errors.Join(w.err, err)
}

// wait returns the errors of the appends.
func (w *waiters) wait() error {
	w.wg.Wait()
	return w.err
}

// joinedGroups is W2 with groups that others join while they are staged.
func joinedGroups(r *rig) error {
	for n := range 3 {
		err := r.group([][]batpak.Draft{
			{r.draft(streamA, 0)}, {r.draft(streamA, 0)}, {r.draft(streamB, 0)},
		}, []batpak.Draft{r.draft(streamB, 0)}, []batpak.Draft{r.draft(streamA, 10*n), r.draft(streamB, 0)}, []batpak.Draft{r.full(streamA)})
		if err == nil {
			err = stepReopen(r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// batches is W3: batches of 1, 2 and 100, and one that no segment holds.
func batches(r *rig) error {
	for _, n := range []int{1, 2, 100, 2} {
		batch := make([]batpak.Draft, n)
		for i := range batch {
			batch[i] = r.draft(streamA, 0)
			if i%2 == 1 {
				batch[i] = r.draft(streamB, 0)
				batch[i].CausedByDraft = batpak.DraftAt(i - 1)
			}
		}
		if _, err := r.batch(batch); err != nil {
			return err
		}
		r.settle()
	}
	huge := []batpak.Draft{r.draft(streamA, 16<<10), r.draft(streamA, 16<<10)}
	if _, err := r.batch(huge); !errors.Is(err, batpak.ErrLimit) {
		return fmt.Errorf("batch larger than a segment: %v", err)
	}
	return r.close()
}

// rotations is W4: every third append goes to a new segment, and full ones get their footer.
func rotations(r *rig) error {
	for i := range 9 {
		if _, err := r.append(r.draft(streamA, 400+200*(i%3))); err != nil {
			return err
		}
		if i%3 == 2 {
			if _, err := r.batch([]batpak.Draft{r.full(streamB), r.draft(streamA, 0)}); err != nil {
				return err
			}
		}
		r.settle()
	}
	return r.close()
}

// crashes is W9: the process dies again and again, sometimes right after it came up.
func crashes(r *rig) error {
	for i := range 5 {
		if _, err := r.append(r.draft(streamA, 0)); err != nil {
			return err
		}
		if i == 2 {
			if _, err := r.append(r.draft(streamB, 1700)); err != nil {
				return err
			}
			r.settle()
		}
		if _, err := r.batch([]batpak.Draft{r.full(streamB), r.draft(streamA, 0)}); err != nil {
			return err
		}
		if err := stepKill(r); err != nil {
			return err
		}
		if i%2 == 1 {
			if err := stepKill(r); err != nil {
				return err
			}
		}
	}
	_, err := r.append(r.draft(streamA, 0))
	return err
}

// checkpoints is W10: index blocks after every append, checkpoints between them, right before and right after a rotation;
// the process is closed, and dies, with blocks of the active segment on disk.
func checkpoints(r *rig) error {
	for i := range 6 {
		if _, err := r.append(r.draft(streamA, 20+500*(i%2))); err != nil {
			return err
		}
		r.settle()
		if err := stepCauses(r); err != nil {
			return err
		}
		var step func(*rig) error
		switch i {
		case 0, 4:
			step = (*rig).checkpoint
		case 1:
			step = stepKill
		case 2:
			step = stepReopen
		default:
			step = stepRotate
		}
		if err := step(r); err != nil {
			return err
		}
		r.settle()
	}
	return r.close()
}
