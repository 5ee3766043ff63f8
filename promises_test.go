package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"batpak"
	"batpak/internal/vfs"
	"batpak/segment"
)

// One test for each promise of doc.go, as short as it can be; the sweeps look wider.

// startRig returns a rig with an open store.
func startRig(t *testing.T, o batpak.Options) *rig {
	t.Helper()
	r := newRig(o)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	return r
}

// mustAppend appends and ends the test on an error.
func (r *rig) mustAppend(t *testing.T, d batpak.Draft) batpak.Receipt {
	t.Helper()
	rcpt, err := r.append(d)
	if err != nil {
		t.Fatal(err)
	}
	return rcpt
}

// eachCrash calls check with what each state holds in which a power failure now, or at any time before, leaves the disk.
func (r *rig) eachCrash(t *testing.T, check func(name string, ops int, st *batpak.Store)) {
	t.Helper()
	n := 0
	for ops := 0; ops <= r.mem.OpCount(); ops++ {
		for state := range r.mem.CrashStates(ops, vfs.StateOptions{Workload: t.Name()}) {
			n++
			l := &life{opts: r.opts, mem: state.FS()}
			st, err := l.open()
			if err != nil {
				t.Fatalf("%s: %v", state.Name, err)
			}
			check(state.Name, ops, st)
			if err := st.Close(); err != nil {
				t.Fatalf("%s: %v", state.Name, err)
			}
		}
	}
	t.Logf("%d states", n)
}

// TestI1_AcknowledgedIsThereAfterAnyCrash: once, unchanged.
func TestI1_AcknowledgedIsThereAfterAnyCrash(t *testing.T) {
	r := startRig(t, batpak.Options{})
	for range 3 {
		r.mustAppend(t, r.full(streamA))
	}
	r.eachCrash(t, func(name string, ops int, st *batpak.Store) {
		for _, want := range r.told {
			if want.durable > ops {
				continue
			}
			got, err := st.Event(context.Background(), want.ID)
			if err == nil {
				err = sameEvent(&got, &want.Event)
			}
			if err != nil {
				t.Errorf("%s: event %d: %v", name, want.Seq, err)
			}
		}
	})
}

// TestI2_BatchIsThereWholeOrNotAtAll.
func TestI2_BatchIsThereWholeOrNotAtAll(t *testing.T) {
	r := startRig(t, batpak.Options{Sync: batpak.SyncNever})
	for range 3 {
		if _, err := r.batch([]batpak.Draft{r.draft(streamA, 0), r.draft(streamB, 300), r.draft(streamA, 9)}); err != nil {
			t.Fatal(err)
		}
	}
	r.eachCrash(t, func(name string, _ int, st *batpak.Store) {
		got, err := collect(st, batpak.Query{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got)%3 != 0 {
			t.Errorf("%s: %d events of batches of 3", name, len(got))
		}
	})
}

// TestI3_NothingVisibleCanVanish: what readers see while an append is on its way is there after a crash at that moment.
func TestI3_NothingVisibleCanVanish(t *testing.T) {
	r := newRig(batpak.Options{})
	r.watch = true
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	for range 3 {
		r.mustAppend(t, r.draft(streamA, 0))
	}
	r.eachCrash(t, func(name string, ops int, st *batpak.Store) {
		if c := r.claimAt(r.history(), ops); st.Stats().Visible < uint64(c.least) {
			t.Errorf("%s: %d events, readers had seen %d", name, st.Stats().Visible, c.least)
		}
	})
}

// TestI4_NothingChangesAfterCommit: not by a crash, not by reopening, not by the rung that serves.
func TestI4_NothingChangesAfterCommit(t *testing.T) {
	r := startRig(t, batpak.Options{})
	if err := rotations(r); err != nil {
		t.Fatal(err)
	}
	again := func(why string, change func()) {
		change()
		if err := r.open(); err != nil {
			t.Fatalf("%s: %v", why, err)
		}
		h := r.history()
		c := claim{want: h, least: len(h), most: len(h)}
		if _, _, err := c.holds(r.st); err != nil {
			t.Errorf("%s: %v", why, err)
		}
		for _, w := range h {
			if w.key == nil || w.size > 1 {
				continue
			}
			want := w.receipt
			want.Replayed = true
			if got := r.mustAppend(t, w.draft); got != want {
				t.Errorf("%s: receipt of event %d = %+v, want %+v", why, w.Seq, got, want)
			}
		}
		if err := r.close(); err != nil {
			t.Fatal(err)
		}
	}
	again("reopened", func() {})
	again("killed", func() {
		if err := r.open(); err != nil {
			t.Fatal(err)
		}
		r.mustAppend(t, r.full(streamA))
		r.kill()
	})
	again("from frames", func() { cutFooters(r.mem) })
}

// cutFooters takes the footers off all segments: the next one's header says where the frames end.
func cutFooters(m *vfs.Mem) {
	files := segmentsOf(m.Files())
	for name, b := range files {
		id, _ := segment.ParseName(name)
		h, err := segment.DecodeHeader(b, id)
		if err == nil && h.Previous > 0 {
			previous := segment.Name(h.Previous)
			m.SetFile(previous, files[previous][:h.End])
		}
	}
}

// TestI5_DamageIsDetected: see TestBitFlips for every bit. Here, one bit of an event's payload.
func TestI5_DamageIsDetected(t *testing.T) {
	r := startRig(t, batpak.Options{})
	d := r.draft(streamA, 100)
	r.mustAppend(t, d)
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range segmentsOf(r.mem.Files()) {
		if at := bytes.Index(b, d.Payload); at > 0 {
			b[at+50] ^= 1
			r.mem.SetFile(name, b)
		}
	}
	if err := r.open(); !typedRefusal(err) {
		t.Errorf("Open after damage = %v, want a typed refusal", err)
	}
}

// TestI6_CachesCanGo: footers, the anchor and the lock file.
func TestI6_CachesCanGo(t *testing.T) {
	for _, c := range []struct {
		name string
		lose func(*vfs.Mem)
	}{
		{"footers", cutFooters},
		{"anchor", func(m *vfs.Mem) { m.DeleteFile("anchor") }},
		{"beacon", func(m *vfs.Mem) { m.DeleteFile(".lock") }},
		{"all", func(m *vfs.Mem) { cutFooters(m); m.DeleteFile("anchor"); m.DeleteFile(".lock") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := startRig(t, batpak.Options{})
			if err := rotations(r); err != nil {
				t.Fatal(err)
			}
			c.lose(r.mem)
			h := r.history()
			l := &life{opts: r.opts, mem: r.mem, compare: true}
			if _, err := l.live(claim{want: h, least: len(h), most: len(h)}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestI7_KnownKeyNeverWritesTwice: in the same process, after a close, after a crash, without footers.
func TestI7_KnownKeyNeverWritesTwice(t *testing.T) {
	r := startRig(t, batpak.Options{})
	d := r.full(streamA)
	first := r.mustAppend(t, d)
	want := first
	want.Replayed = true
	retry := func(when string) {
		t.Helper()
		if got := r.mustAppend(t, d); got != want {
			t.Errorf("%s: receipt %+v, want %+v", when, got, want)
		}
		other := d
		other.Payload = []byte("something else")
		var conflict *batpak.IdempotencyConflictError
		if _, err := r.st.Append(context.Background(), other); !errors.As(err, &conflict) || conflict.Seq != first.Seq {
			t.Errorf("%s: other request under the same key: %v", when, err)
		}
	}
	retry("at once")
	for range 4 {
		r.mustAppend(t, r.draft(streamB, 1500))
		r.settle()
	}
	retry("after rotations")
	for _, step := range []func(*rig) error{stepReopen, stepKill} {
		if err := step(r); err != nil {
			t.Fatal(err)
		}
		retry("after reopening")
	}
	r.kill()
	cutFooters(r.mem)
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	retry("from frames")
	if got, err := collect(r.st, batpak.Query{Entity: streamA.Entity()}); err != nil || len(got) != 1 {
		t.Errorf("%d events, %v, want 1", len(got), err)
	}
	// The window holds for the last sequence in it. When all of its segment is behind it the key is a new one.
	r.opts.IdempotencyWindow = r.history()[len(r.history())-1].Seq - first.Seq + 1
	if err := stepKill(r); err != nil {
		t.Fatal(err)
	}
	retry("at the edge of the window")
	for range 4 {
		r.mustAppend(t, r.draft(streamB, 1500))
		r.settle()
	}
	if got := r.mustAppend(t, d); got.Replayed || got.Clock != first.Clock+1 {
		t.Errorf("outside the window: %+v", got)
	}
}

// TestI8_HiddenStaysHidden: this version hides nothing yet but what was rolled back. An append that was refused, or a
// batch that a crash tore, is not there after any number of openings.
func TestI8_HiddenStaysHidden(t *testing.T) {
	r := startRig(t, batpak.Options{Sync: batpak.SyncNever})
	r.mustAppend(t, r.draft(streamA, 0))
	bad := r.draft(streamA, 0)
	bad.Expect = batpak.Clock(7)
	if _, err := r.append(bad); !errors.Is(err, batpak.ErrConflict) {
		t.Fatal(err)
	}
	before := r.mem.OpCount()
	if _, err := r.batch([]batpak.Draft{r.draft(streamA, 0), r.draft(streamB, 0)}); err != nil {
		t.Fatal(err)
	}
	torn := 0
	for state := range r.mem.CrashStates(before+1, vfs.StateOptions{Workload: t.Name()}) {
		l := &life{opts: r.opts, mem: state.FS()}
		for range 3 {
			st, err := l.open()
			if err != nil {
				t.Fatal(err)
			}
			torn += int(st.OpenReport().Batches)
			got, err := collect(st, batpak.Query{})
			if err != nil || len(got) == 2 || len(got) > 3 {
				t.Errorf("%s: %d events, %v", state.Name, len(got), err)
			}
			if err := st.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if torn == 0 {
		t.Error("no state had a torn batch")
	}
}

// TestI9_OpensAfterManyCrashes: each process dies with an append that was not acknowledged as durable.
func TestI9_OpensAfterManyCrashes(t *testing.T) {
	r := startRig(t, batpak.Options{})
	for i := range 60 {
		d := r.draft(streamA, 200)
		d.Expect = batpak.Clock(uint64(len(r.history())))
		r.mustAppend(t, d)
		r.kill()
		if i%3 == 0 { // the power fails, not only the process
			for state := range r.mem.CrashStates(r.mem.OpCount(), vfs.StateOptions{Workload: fmt.Sprint(i)}) {
				r.mem = state.FS()
				break
			}
		}
		if err := r.open(); err != nil {
			t.Fatalf("after %d crashes: %v", i+1, err)
		}
	}
	h := r.history()
	c := claim{want: h, least: len(h), most: len(h)}
	if _, _, err := c.holds(r.st); err != nil {
		t.Error(err)
	}
}

// TestI10_OneWriter: a second one is refused at once, by type; readers are not.
func TestI10_OneWriter(t *testing.T) {
	r := startRig(t, batpak.Options{})
	r.mustAppend(t, r.draft(streamA, 0))
	l := &life{opts: r.opts, mem: r.mem}
	var locked *vfs.LockedError
	if _, err := l.open(); !errors.As(err, &locked) || !errors.Is(err, vfs.ErrLocked) {
		t.Errorf("second writer: %v, want *vfs.LockedError", err)
	}
	l.opts.ReadOnly = true
	st, err := l.open()
	if err != nil {
		t.Fatalf("reader beside a writer: %v", err)
	}
	if got, err := collect(st, batpak.Query{}); err != nil || len(got) != 1 {
		t.Errorf("reader beside a writer: %d events, %v", len(got), err)
	}
	if err := st.Close(); err != nil {
		t.Error(err)
	}
	r.mustAppend(t, r.draft(streamA, 0))
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if err := r.open(); err != nil {
		t.Errorf("after Close: %v", err)
	}
}
