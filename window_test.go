package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/internal/vfs"
)

// A keyModel is a store and what each idempotency key stands for.
type keyModel struct {
	*rig
	rand  *rand.Rand
	first map[string]told // by key
	keys  []string        // of first, in the order of their events
	aged  int             // retries outside the window that were written anew
	rungs map[coldstart.Rung]int
}

// inside reports whether a key has to be known.
func (m *keyModel) inside(t *told) bool {
	return t.Seq+m.opts.IdempotencyWindow > m.told[len(m.told)-1].Seq
}

// commit appends drafts whose keys nobody has used, alone or as a batch.
func (m *keyModel) commit(drafts ...batpak.Draft) error {
	receipts := make([]batpak.Receipt, 1)
	var err error
	if len(drafts) == 1 {
		receipts[0], err = m.append(drafts[0])
	} else {
		receipts, err = m.batch(drafts)
	}
	if err != nil {
		return fmt.Errorf("new keys: %w", err)
	}
	for i, t := range tell(drafts, receipts) {
		if t.receipt.Replayed {
			return fmt.Errorf("draft %d under the new key %q is a replay of event %d", i, t.key, t.Seq)
		}
		m.know(t)
	}
	return nil
}

func (m *keyModel) know(t told) {
	if t.key == nil {
		return
	}
	key := string(t.key)
	m.keys = append(slices.DeleteFunc(m.keys, func(k string) bool { return k == key }), key)
	m.first[key] = t
}

// fresh returns a draft, with a key of its own or without one.
func (m *keyModel) fresh(keyed bool) batpak.Draft {
	d := m.draft([]batpak.Draft{{Coordinate: streamA}, {Coordinate: streamB}}[m.rand.IntN(2)].Coordinate, m.rand.IntN(200))
	d.Lane = m.rand.Uint32N(2)
	if keyed {
		d.IdempotencyKey = append([]byte("key "), d.Payload...)
	}
	return d
}

// pick returns a key that was used, the newer the likelier.
func (m *keyModel) pick() (told, bool) {
	if len(m.keys) == 0 {
		return told{}, false
	}
	back := min(m.rand.IntN(len(m.keys)), m.rand.IntN(len(m.keys)))
	return m.first[m.keys[len(m.keys)-1-back]], true
}

// retry appends what was appended before. Inside the window it is answered, outside it may be written.
func (m *keyModel) retry() error {
	t, ok := m.pick()
	if !ok {
		return nil
	}
	want := t.receipt
	want.Replayed = true
	inside := m.inside(&t)
	got, err := m.append(t.draft)
	switch {
	case err != nil:
		return fmt.Errorf("retry of event %d: %w", t.Seq, err)
	case got.Replayed && got != want:
		return fmt.Errorf("retry of event %d: %+v, want %+v", t.Seq, got, want)
	case got.Replayed:
		return nil
	case inside:
		return fmt.Errorf("event %d was written again as %d, with a window of %d", t.Seq, got.Seq, m.opts.IdempotencyWindow)
	}
	m.aged++
	m.know(tell([]batpak.Draft{t.draft}, []batpak.Receipt{got})[0])
	return nil
}

// misuse appends something else under a key.
func (m *keyModel) misuse() error {
	t, ok := m.pick()
	if !ok {
		return nil
	}
	other := m.fresh(false)
	other.IdempotencyKey = t.key
	inside := m.inside(&t)
	got, err := m.append(other)
	var conflict *batpak.IdempotencyConflictError
	switch {
	case errors.As(err, &conflict):
		if conflict.Seq != t.Seq || conflict.ID != t.ID || conflict.Want == conflict.Have || conflict.Have == [16]byte{} {
			return fmt.Errorf("key of event %d: %+v", t.Seq, conflict)
		}
		return nil
	case err != nil || inside || got.Replayed:
		return fmt.Errorf("other request under the key of event %d: %+v, %w", t.Seq, got, err)
	}
	m.aged++
	m.know(tell([]batpak.Draft{other}, []batpak.Receipt{got})[0])
	return nil
}

// retryBatch appends a batch of known drafts of the window, and one with a new draft among them.
func (m *keyModel) retryBatch() error {
	var all []told
	for range 2 + m.rand.IntN(4) {
		t, ok := m.pick()
		known := slices.ContainsFunc(all, func(o told) bool { return o.Seq == t.Seq })
		// A draft that another one of its batch caused cannot come alone.
		if ok && !known && m.inside(&t) {
			all = append(all, t)
		}
	}
	if len(all) < 2 {
		return nil
	}
	var drafts []batpak.Draft
	for i := range all {
		drafts = append(drafts, all[i].draft)
	}
	got, err := m.st.AppendBatch(context.Background(), drafts)
	if err != nil {
		return fmt.Errorf("retry of a batch: %w", err)
	}
	for i := range got {
		want := all[i].receipt
		want.Replayed = true
		if got[i] != want {
			return fmt.Errorf("retry of a batch: %+v, want %+v", got[i], want)
		}
	}
	drafts[1] = m.fresh(m.rand.IntN(2) == 0)
	var want []int
	for i := range drafts {
		if i != 1 {
			want = append(want, i)
		}
	}
	var partial *batpak.PartialReplayError
	if _, err := m.st.AppendBatch(context.Background(), drafts); !errors.As(err, &partial) || !slices.Equal(partial.Known, want) {
		return fmt.Errorf("batch of which %v are known: %w", want, err)
	}
	return nil
}

// reopen ends the process in some way, takes caches away, and opens again.
func (m *keyModel) reopen() error {
	m.settle()
	switch m.rand.IntN(3) {
	case 0:
		if err := m.close(); err != nil {
			return err
		}
	case 1:
		m.kill()
	default:
		m.kill()
		o := vfs.StateOptions{Workload: "keys", Random: 2, MaxTorn: 1, MaxEach: 3, Settled: func(name string) bool { return name == ".lock" }}
		states := slices.Collect(m.mem.CrashStates(m.mem.OpCount(), o))
		m.mem = states[m.rand.IntN(len(states))].FS()
	}
	for name := range m.mem.Files() {
		if isCache(name) && m.rand.IntN(3) == 0 {
			m.mem.DeleteFile(name)
		}
	}
	if m.rand.IntN(4) == 0 {
		cutFooters(m.mem)
	}
	m.opts.NoSnapshot, m.opts.NoCheckpoint = m.rand.IntN(3) == 0, m.rand.IntN(3) == 0
	if err := m.rig.open(); err != nil {
		return err
	}
	m.rungs[m.st.OpenReport().Rung]++
	return nil
}

// step does one thing.
func (m *keyModel) step() error {
	switch n := m.rand.IntN(20); {
	case n < 5:
		return m.commit(m.fresh(true))
	case n < 6:
		return m.commit(m.fresh(true), m.fresh(false), m.fresh(true))
	case n < 8:
		for range m.rand.IntN(12) {
			if err := m.commit(m.fresh(false)); err != nil {
				return err
			}
		}
		return nil
	case n < 14:
		return m.retry()
	case n < 16:
		return m.misuse()
	case n < 18:
		return m.retryBatch()
	case n < 19:
		m.settle()
		return nil
	}
	return m.reopen()
}

// keyHistory makes random calls and compares their answers with what each key stands for.
func keyHistory(seed uint64, steps int) (*keyModel, error) {
	r := rand.New(rand.NewPCG(seed, 4))
	m := &keyModel{
		rig:  newRig(batpak.Options{IdempotencyWindow: 1 + r.Uint64N(120), IndexEvery: 600}),
		rand: r, first: map[string]told{}, rungs: map[coldstart.Rung]int{},
	}
	if err := m.rig.open(); err != nil {
		return m, err
	}
	defer m.kill()
	if err := m.commit(m.fresh(true)); err != nil {
		return m, err
	}
	for i := range steps {
		if err := m.step(); err != nil {
			return m, fmt.Errorf("seed %d, window %d, step %d: %w", seed, m.opts.IdempotencyWindow, i, err)
		}
	}
	h := m.history()
	c := claim{want: h, least: len(h), most: len(h)}
	_, _, err := c.holds(m.st)
	return m, err
}

// TestI7_WindowAgainstModel: a key whose event is among the last IdempotencyWindow sequences is known, whatever close,
// crash and rung lie between; behind them it may be used again.
func TestI7_WindowAgainstModel(t *testing.T) {
	first := seed(t)
	aged, rungs := 0, map[coldstart.Rung]int{}
	for i := range uint64(sized(12, 60, 3000)) {
		m, err := keyHistory(first+i, 250)
		if err != nil {
			t.Fatal(err)
		}
		aged += m.aged
		for rung, n := range m.rungs {
			rungs[rung] += n
		}
	}
	for _, rung := range []coldstart.Rung{coldstart.RungSnapshot, coldstart.RungCheckpoint, coldstart.RungFooters, coldstart.RungFrames} {
		if rungs[rung] == 0 {
			t.Errorf("no open by %v", rung)
		}
	}
	if aged == 0 {
		t.Error("no key was used again outside the window")
	}
	t.Logf("opens by rung %v, %d keys used again outside the window", rungs, aged)
}

func TestKeyHistory(t *testing.T)           { noError(t, second(keyHistory(1, 300))) }
func TestKeysOfFailedWrites(t *testing.T)   { noError(t, keysOfFailedWrites()) }
func TestKeysOfCancelledFence(t *testing.T) { noError(t, keysOfCancelledFence()) }

// keysOfFailedWrites: the key of an append that failed is not known, in a group with others, in a batch, and alone.
func keysOfFailedWrites() error {
	r := newRig(batpak.Options{})
	if err := r.open(); err != nil {
		return err
	}
	defer r.kill()
	r.lenient = batpak.ErrNotLanded
	single, batch := r.full(streamA), []batpak.Draft{r.full(streamB), r.full(streamA)}
	failing := true
	r.intercept = func(c vfs.Call) vfs.Decision {
		if failing && c.Kind == vfs.OpWrite {
			return vfs.Decision{Err: syscall.ENOSPC}
		}
		return vfs.Decision{}
	}
	for _, failing = range []bool{true, true, false} {
		one, err := r.append(single)
		if err != nil {
			return err
		}
		two, err := r.batch(batch)
		if err != nil {
			return err
		}
		if one.Replayed || len(two) > 0 && (two[0].Replayed || two[1].Replayed) || failing != (one.Seq == 0) {
			return fmt.Errorf("failing %v: receipts %+v and %+v", failing, one, two)
		}
	}
	if n := len(r.history()); n != 3 {
		return fmt.Errorf("%d events were told, want 3", n)
	}
	return nil
}

// keysOfCancelledFence stages a keyed append whose fence is cancelled, or ended by a crash: a retry is a new append, and
// what is retried from then on is that. The two events lie in one segment, or in two; what serves them is anything.
func keysOfCancelledFence() error {
	for _, apart := range []bool{false, true} {
		for _, crash := range []bool{false, true} {
			r, err := writtenRig(batpak.Options{IndexEvery: 600}, false, func(r *rig) error { return nil })
			if err != nil {
				return err
			}
			if err := r.cancelAndRetry(apart, crash); err != nil {
				return fmt.Errorf("apart %v, crash %v: %w", apart, crash, err)
			}
		}
	}
	return nil
}

func (r *rig) cancelAndRetry(apart, crash bool) error {
	ctx := context.Background()
	if err := r.open(); err != nil {
		return err
	}
	defer func() { r.kill() }()
	d := r.full(streamA)
	f, err := r.st.Fence(ctx)
	if err != nil {
		return err
	}
	cancelled, err := f.Append(ctx, d)
	if err != nil {
		return err
	}
	if crash {
		r.kill()
		err = r.open()
	} else {
		err = f.Cancel(ctx)
	}
	if err != nil {
		return err
	}
	for range map[bool]int{true: 8}[apart] {
		if err := second(r.append(r.draft(streamB, 900))); err != nil {
			return err
		}
		r.settle()
	}
	again, err := r.append(d)
	if err != nil || again.Replayed || again.Clock != cancelled.Clock+1 || again.Parent != cancelled.Hash {
		return fmt.Errorf("retry of a cancelled append: %+v, %w", again, err)
	}
	again.Replayed = true
	for _, next := range []func() error{
		func() error { return nil }, r.reopenClean, func() error { r.kill(); return r.open() },
		func() error { r.kill(); cutFooters(r.mem); return r.open() },
		func() error {
			r.kill()
			maps.DeleteFunc(r.mem.Files(), func(name string, _ []byte) bool {
				if isCache(name) {
					r.mem.DeleteFile(name)
				}
				return false
			})
			return r.open()
		},
	} {
		if err := next(); err != nil {
			return err
		}
		if got, err := r.append(d); err != nil || got != again {
			return fmt.Errorf("retry: %+v, %w, want %+v", got, err, again)
		}
	}
	return nil
}

func (r *rig) reopenClean() error {
	r.settle()
	if err := r.close(); err != nil {
		return err
	}
	return r.open()
}

// TestFingerprints pins what two requests are told apart by: it is in the frames of every store.
func TestFingerprints(t *testing.T) {
	r := startRig(t, batpak.Options{})
	for _, tt := range []struct {
		name string
		d    batpak.Draft
		want string
	}{
		{"plain", batpak.Draft{Coordinate: streamA, Kind: kindOne, Payload: []byte("p")}, "2507270b8d7f5c1c2e479245dd13ceb4"},
		{"all fields", func() batpak.Draft { r.serial = 6; return r.full(streamB) }(), "4dbffcf8448a1a1a05afb6edb0b4cad2"},
	} {
		tt.d.IdempotencyKey = []byte(tt.name)
		r.mustAppend(t, tt.d)
		tt.d.Payload = append(bytes.Clone(tt.d.Payload), 'x')
		var conflict *batpak.IdempotencyConflictError
		if _, err := r.st.Append(t.Context(), tt.d); !errors.As(err, &conflict) || fmt.Sprintf("%x", conflict.Have) != tt.want {
			t.Errorf("%s: fingerprint %x, want %s", tt.name, conflict.Have, tt.want)
		}
	}
}

// TestFingerprintsDiffer changes one field of a request at a time.
func TestFingerprintsDiffer(t *testing.T) {
	r := startRig(t, batpak.Options{})
	base := r.full(streamA)
	first := r.mustAppend(t, base)
	for name, edit := range map[string]func(d *batpak.Draft){
		"entity": func(d *batpak.Draft) { d.Coordinate = streamB }, "kind": func(d *batpak.Draft) { d.Kind = kindOne },
		"payload": func(d *batpak.Draft) { d.Payload = nil }, "lane": func(d *batpak.Draft) { d.Lane++ },
		"depth": func(d *batpak.Draft) { d.Depth++ }, "version": func(d *batpak.Draft) { d.PayloadVersion++ },
		"correlation": func(d *batpak.Draft) { d.Correlation[15]++ }, "causation": func(d *batpak.Draft) { d.Causation[15]++ },
		"no tag": func(d *batpak.Draft) { d.Tags = nil }, "tags": func(d *batpak.Draft) { d.Tags = []string{"größe", "urgent"} },
		"extensions": func(d *batpak.Draft) { d.Extensions = map[string][]byte{"trace": {0, 1, 2}} },
	} {
		d := base
		edit(&d)
		var conflict *batpak.IdempotencyConflictError
		if _, err := r.st.Append(t.Context(), d); !errors.As(err, &conflict) || conflict.Seq != first.Seq {
			t.Errorf("another %s: %v", name, err)
		}
	}
	same := base
	same.Expect, same.Ack = batpak.Clock(77), batpak.AckDurable // not part of what is asked for
	if got, err := r.st.Append(t.Context(), same); err != nil || !got.Replayed || got.Seq != first.Seq {
		t.Errorf("another condition: %+v, %v", got, err)
	}
	// The draft that causes one is part of the request, by its place.
	batch := []batpak.Draft{r.draft(streamA, 0), r.draft(streamA, 0), r.full(streamB)}
	batch[2].Causation = [16]byte{}
	batch[2].CausedByDraft = batpak.DraftAt(0)
	batch[0].IdempotencyKey, batch[1].IdempotencyKey = []byte("b0"), []byte("b1")
	receipts, err := r.st.AppendBatch(t.Context(), batch)
	if err != nil {
		t.Fatal(err)
	}
	batch[2].CausedByDraft = batpak.DraftAt(1)
	var conflict *batpak.IdempotencyConflictError
	if _, err := r.st.AppendBatch(t.Context(), batch); !errors.As(err, &conflict) || conflict.Seq != receipts[2].Seq {
		t.Errorf("another cause: %v", err)
	}
}
