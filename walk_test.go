package batpak_test

import (
	"bytes"
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
	"batpak/segment"
)

// linked appends a draft with a payload and links, and returns its receipt.
func (r *rig) linked(t *testing.T, at coordinate.Coordinate, cause, group event.ID) batpak.Receipt {
	t.Helper()
	d := r.draft(at, 0)
	d.Causation, d.Correlation = cause, group
	return r.mustAppend(t, d)
}

// story spells a walk: sequences, with what is not there in brackets, and what ended it.
func story(all []batpak.Step, err error) string {
	var b strings.Builder
	for _, s := range all {
		fmt.Fprintf(&b, "%d@%d", s.Seq, s.Distance)
		if s.Missing != batpak.Present {
			fmt.Fprintf(&b, "(%v)", s.Missing)
		}
		if s.End != batpak.NotEnded {
			fmt.Fprintf(&b, ".%v", s.End)
		}
		b.WriteByte(' ')
	}
	if err != nil {
		b.WriteString("error")
	}
	return strings.TrimSpace(b.String())
}

// mustTell checks what walks tell.
func mustTell(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
}

// Effects of several parents are merged: a level is in commit order, whatever their parents' order is.
func TestEffectsInCommitOrder(t *testing.T) {
	r := startRig(t, batpak.Options{})
	ctx := t.Context()
	root := r.linked(t, streamA, event.ID{}, event.ID{})
	a := r.linked(t, streamA, root.ID, event.ID{})
	b := r.linked(t, streamB, root.ID, event.ID{})
	for i := range 6 {
		parent := [...]event.ID{b.ID, a.ID}[i%2]
		r.linked(t, streamA, parent, event.ID{})
	}
	r.linked(t, streamA, root.ID, event.ID{})
	mustTell(t, "all", story(walked(r.st.Effects(ctx, root.ID))), "1@0 2@1 3@1 10@1 4@2 5@2 6@2 7@2 8@2 9@2")
	mustTell(t, "five", story(walked(r.st.Effects(ctx, root.ID, batpak.MaxSteps(5)))), "1@0 2@1 3@1 10@1 4@2")
	mustTell(t, "one link", story(walked(r.st.Effects(ctx, root.ID, batpak.MaxDistance(1)))), "1@0 2@1 3@1 10@1")
	mustTell(t, "causes", story(walked(r.st.Causes(ctx, a.ID))), "2@0 1@1.genesis")
	mustTell(t, "of no event", story(walked(r.st.Effects(ctx, event.ID{1}))), "0@0(unknown)")
}

// A level with more bytes than are kept is read again: the events are the same.
func TestEffectsBeyondWhatIsKept(t *testing.T) {
	r := startRig(t, batpak.Options{SegmentSize: 1 << 20})
	root := r.linked(t, streamA, event.ID{}, event.ID{})
	var want []string
	for i := range 12 {
		d := r.draft(streamB, 200_000)
		d.Causation = root.ID
		if i%2 == 1 {
			d.Payload = d.Payload[:20]
		}
		r.mustAppend(t, d)
		want = append(want, string(d.Payload))
	}
	var got []string
	for step, err := range r.st.Effects(t.Context(), root.ID) {
		if err != nil {
			t.Fatal(err)
		}
		if step.Distance == 1 {
			got = append(got, string(step.Payload))
			clear(step.Payload) // it is ours
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%d effects are not those that were appended", len(got))
	}
}

// What a fence has staged is told as far as whoever has its ID knows it: not at all while the fence is open, and by its
// place alone when it was cancelled.
func TestWalksOverFences(t *testing.T) {
	r := startRig(t, batpak.Options{})
	ctx := t.Context()
	fences := []*batpak.Fence{openFence(t, r.st), openFence(t, r.st)}
	must := mustDo(t)
	root := r.linked(t, streamA, event.ID{}, event.ID{})
	d := r.draft(streamA, 0)
	d.Causation, d.Correlation = root.ID, root.ID
	middle := must(fences[0].Append(ctx, d))
	last := r.linked(t, streamA, middle.ID, root.ID)
	tell := func(when string, causes, effects, correlated, ancestors string) {
		t.Helper()
		mustTell(t, when+", causes", story(walked(r.st.Causes(ctx, last.ID))), causes)
		mustTell(t, when+", effects", story(walked(r.st.Effects(ctx, root.ID))), effects)
		mustTell(t, when+", correlated", story(walked(r.st.Correlated(ctx, last.ID))), correlated)
		mustTell(t, when+", ancestors", story(walked(r.st.Ancestors(ctx, last.ID))), ancestors)
	}
	pending := "0@0(not visible yet)"
	tell("open", pending+".missing", "1@0", pending, pending+".missing")
	mustTell(t, "staged", story(walked(r.st.Causes(ctx, middle.ID))), pending+".missing")
	if err := fences[0].Cancel(ctx); err != nil {
		t.Fatal(err)
	}
	all := [...]string{
		"3@0 2@1(hidden) 1@2.genesis", "1@0 2@1(hidden) 3@2", "1@1 2@2(hidden) 3@0", "3@0 2@1(hidden) 1@2.genesis",
	}
	tell("cancelled", all[0], all[1], all[2], all[3])
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	tell("reopened", all[0], all[1], all[2], all[3])
}

// altered returns a change of the event with a sequence.
func altered(seq uint64, change func(*segment.Frame)) func([]segment.Frame) []segment.Frame {
	return func(frames []segment.Frame) []segment.Frame {
		for i := range frames {
			var raw event.Raw
			if frames[i].Type == segment.TypeEvent && raw.Decode(frames[i].Body) == nil && raw.Seq == seq {
				change(&frames[i])
			}
		}
		return frames
	}
}

// Events that have left the log leave their place: a walk says so, and goes on where there is more.
func TestWalksOverEvictedEvents(t *testing.T) {
	r := startRig(t, batpak.Options{})
	ctx := t.Context()
	var ids []event.ID
	last := event.ID{}
	for range 8 { // 1 to 8
		last = r.linked(t, streamA, last, last).ID
		ids = append(ids, last)
	}
	d := r.draft(streamA, 0)
	fork, err := r.fork(ids[3], d) // 9, from 4
	if err != nil {
		t.Fatal(err)
	}
	d = r.draft(streamA, 0)
	d.Lane = fork.Lane
	tip := r.mustAppend(t, d) // 10
	evict(t, r, 3, 4, 6)
	mustTell(t, "causes", story(walked(r.st.Causes(ctx, ids[7]))), "8@0 7@1 0@2(unknown).missing")
	mustTell(t, "effects", story(walked(r.st.Effects(ctx, ids[5]))), "0@0(unknown) 7@1 8@2")
	mustTell(t, "correlated", story(walked(r.st.Correlated(ctx, ids[6]))), "0@1(unknown) 7@0")
	all, err := walked(r.st.Ancestors(ctx, ids[7]))
	mustTell(t, "ancestors", story(all, err), "8@0 7@1 0@2(evicted) 5@3 0@4(evicted) 2@6 1@7.genesis")
	for i, want := range []bool{true, false, false, false, false, true, true} {
		if all[i].Verified != want {
			t.Errorf("step %d is verified: %v", i, all[i].Verified)
		}
	}
	if gap := all[4]; gap.Clock != 4 || gap.From != ids[4] || !gap.ID.IsZero() {
		t.Errorf("the gap is %+v", gap)
	}
	for most, want := range []string{
		1: "8@0 7@1.limit", 2: "8@0 7@1 0@2(evicted).limit", 3: "8@0 7@1 0@2(evicted) 5@3.limit", 5: "8@0 7@1 0@2(evicted) 5@3 0@4(evicted).limit",
	} {
		if want != "" {
			mustTell(t, "distance", story(walked(r.st.Ancestors(ctx, ids[7], batpak.MaxDistance(most)))), want)
		}
	}
	mustTell(t, "fork", story(walked(r.st.Ancestors(ctx, tip.ID))), "10@0 9@1 0@2(evicted).missing")
	evict(t, r, 1, 2, 3, 4, 6)
	mustTell(t, "no genesis", story(walked(r.st.Ancestors(ctx, ids[7]))), "8@0 7@1 0@2(evicted) 5@3 0@4(evicted).missing")
}

// A cause that does not come first is an error that names both, whichever way a walk meets it: no walk goes in circles.
func TestCausesThatDoNotComeFirst(t *testing.T) {
	for _, tt := range []struct {
		name     string
		seq      uint64 // of the event that names another one
		names    int    // index of that one
		walk     string
		of       int
		gets     string
		want     batpak.CauseError // without IDs
		inGroups bool
	}{
		{"itself", 2, 1, "causes", 1, "2@0 error", batpak.CauseError{Seq: 2, CauseSeq: 2}, false},
		{"itself", 2, 1, "effects", 1, "2@0 error", batpak.CauseError{Seq: 2, CauseSeq: 2}, false},
		{"its effect", 2, 2, "causes", 2, "3@0 2@1 error", batpak.CauseError{Seq: 2, CauseSeq: 3}, false},
		{"its effect", 2, 2, "effects", 1, "2@0 3@1 error", batpak.CauseError{Seq: 2, CauseSeq: 3}, false},
		{"a later group", 2, 2, "correlated", 1, "3@1 error", batpak.CauseError{Seq: 2, CauseSeq: 3, Group: true}, true},
	} {
		t.Run(tt.name+", "+tt.walk, func(t *testing.T) {
			r := startRig(t, batpak.Options{})
			made := event.NewID(testEpoch<<16, 1)
			ids := []event.ID{r.linked(t, streamA, event.ID{}, event.ID{}).ID}
			cause, group := made, event.ID{}
			if tt.inGroups {
				cause, group = group, cause
			}
			ids = append(ids, r.linked(t, streamA, cause, group).ID)
			ids = append(ids, r.linked(t, streamB, ids[1], event.ID{}).ID)
			forge(t, r, func(body []byte, raw *event.Raw) {
				if raw.Seq == tt.seq {
					copy(body[bytes.Index(body, made[:]):], ids[tt.names][:])
					made = ids[tt.names] // where it stands now
				}
			}, nil)
			walk := r.st.Causes
			switch tt.walk {
			case "effects":
				walk = r.st.Effects
			case "correlated":
				walk = r.st.Correlated
			}
			all, err := walked(walk(t.Context(), ids[tt.of]))
			mustTell(t, tt.walk, story(all, err), tt.gets)
			tt.want.Event, tt.want.Cause = ids[tt.want.Seq-1], ids[tt.want.CauseSeq-1]
			var wrong *batpak.CauseError
			if !errors.As(err, &wrong) || *wrong != tt.want || !errors.Is(err, batpak.ErrHistory) {
				t.Errorf("%v", err)
			}
		})
	}
}

// What does not follow from the event before is told with both hashes, and is not yielded, hidden or not.
func TestAncestorsMismatch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		hidden bool
		change func(body []byte)
		gets   string
		before uint64
		hashes bool
	}{
		{"payload", false, func(b []byte) { b[len(b)-1] ^= 1 }, "4@0 error", 2, true},
		{"payload, hidden", true, func(b []byte) { b[len(b)-1] ^= 1 }, "4@0 error", 2, true},
		{"meta", false, func(b []byte) { b[bytes.IndexByte(b, 'e')] ^= 4 }, "4@0 error", 2, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := startRig(t, batpak.Options{})
			var rcpts []batpak.Receipt
			for i := range 4 {
				write := r.st.Append
				if i == 2 && tt.hidden {
					f := openFence(t, r.st)
					write = f.Append
					defer f.Cancel(t.Context())
				}
				rcpts = append(rcpts, mustDo(t)(write(t.Context(), r.draft(coordinate.MustNew("account:a", "eeee"), 0))))
			}
			changed := false
			forge(t, r, func(body []byte, raw *event.Raw) {
				if raw.Seq == 3 && !changed {
					tt.change(body)
					changed = true
				}
			}, nil)
			all, err := walked(r.st.Ancestors(t.Context(), rcpts[3].ID))
			mustTell(t, "ancestors", story(all, err), tt.gets)
			var wrong *batpak.ChainError
			if !errors.As(err, &wrong) || !errors.Is(err, batpak.ErrHistory) {
				t.Fatal(err)
			}
			if wrong.Event != rcpts[2].ID || wrong.Seq != 3 || wrong.Clock != 3 || wrong.Before != tt.before || wrong.Entity != "account:a" {
				t.Errorf("%+v", wrong)
			}
			if wrong.Have != rcpts[2].Hash || wrong.Want.IsZero() == tt.hashes || wrong.Want == wrong.Have {
				t.Errorf("%+v", wrong)
			}
		})
	}
}

// A lane that branches from an event of another entity, or from none that came before, was not made by an append.
func TestAncestorsAcrossAForgedFork(t *testing.T) {
	r := startRig(t, batpak.Options{SegmentSize: 1 << 20})
	a := r.mustAppend(t, r.draft(streamA, 0))
	b := r.mustAppend(t, r.draft(streamB, 0))
	fork, err := r.fork(a.ID, r.draft(streamA, 0))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	mustTell(t, "sound", story(walked(r.st.Ancestors(ctx, fork.ID))), "3@0 1@1.genesis")
	// The hash covers the fork, so it is made anew.
	rewrite(t, r, altered(3, func(f *segment.Frame) {
		f.Body = bytes.ReplaceAll(f.Body, a.ID[:], b.ID[:])
		var raw event.Raw
		if err := raw.Decode(f.Body); err != nil {
			t.Error(err)
			return
		}
		content := raw.Content()
		hash := new(event.Linker).Link(new(event.Hash), &content, raw.Meta)
		copy(f.Body[len(raw.Meta):], hash[:])
	}), 0)
	all, err := walked(r.st.Ancestors(ctx, fork.ID))
	mustTell(t, "forged", story(all, err), "3@0 error")
	var wrong *batpak.ForkError
	if !errors.As(err, &wrong) || wrong.Event != b.ID || wrong.Lane != fork.Lane || !errors.Is(err, batpak.ErrInvalid) {
		t.Errorf("%v", err)
	}
}

// A walk sees what was visible when it began, ends with its context and its store, and may be left at any point.
func TestWalksSeeOneState(t *testing.T) {
	r := startRig(t, batpak.Options{})
	root := r.linked(t, streamA, event.ID{}, event.ID{})
	last := root
	for range 3 * 64 {
		last = r.linked(t, streamA, last.ID, root.ID)
	}
	model := walkModel{visible: last.Seq}
	for _, w := range walkings(r.st, &model) {
		from := root.ID
		if w.chain {
			from = last.ID
		}
		was, err := walked(w.walk(t.Context(), from))
		if err != nil || len(was) < 3*64 {
			t.Fatalf("%s: %d steps, %v", w.name, len(was), err)
		}
		n := 0
		for _, err := range w.walk(t.Context(), from) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 1 {
				r.linked(t, streamB, root.ID, root.ID) // an effect and a member
			}
		}
		if n != len(was) {
			t.Errorf("%s: %d steps", w.name, n)
		}
		for range w.walk(t.Context(), from) {
			break
		}
		ctx, cancel := context.WithCancel(t.Context())
		n = 0
		for _, err = range w.walk(ctx, from) {
			n++
			cancel()
		}
		cancel()
		if !errors.Is(err, batpak.ErrCanceled) || n > 2*64 {
			t.Errorf("%s with a context that ends: %d steps, %v", w.name, n, err)
		}
		if _, err := walked(w.walk(t.Context(), event.ID{})); !errors.Is(err, batpak.ErrInvalid) {
			t.Errorf("%s of zero: %v", w.name, err)
		}
		for _, o := range []batpak.WalkOption{batpak.MaxDistance(-1), batpak.MaxSteps(-1)} {
			if _, err := walked(w.walk(t.Context(), from, o)); !errors.Is(err, batpak.ErrInvalid) {
				t.Errorf("%s below zero: %v", w.name, err)
			}
		}
	}
	for _, w := range walkings(r.st, &model)[:1] {
		var err error
		for _, err = range w.walk(t.Context(), last.ID) {
			if r.st != nil {
				if err := r.close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if !errors.Is(err, batpak.ErrClosed) {
			t.Errorf("closed while it walked: %v", err)
		}
	}
}

// TestWalksOverDamage flips bits in a store of several segments: a walk yields what it yields without the damage, or
// says what is damaged, and never something else. Footers heal.
func TestWalksOverDamage(t *testing.T) {
	t.Parallel()
	r := startRig(t, batpak.Options{})
	root := r.linked(t, streamA, event.ID{}, event.ID{})
	last := root
	for i := range 90 {
		group := event.ID{}
		if i%3 == 0 {
			group = root.ID
		}
		last = r.linked(t, [...]coordinate.Coordinate{streamA, streamB}[i%2], last.ID, group)
		r.settle()
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	files, model := r.mem.Files(), walkModel{}
	tell := func(st *batpak.Store) (all []string, failed []error) {
		for _, w := range walkings(st, &model) {
			from := root.ID
			if w.chain {
				from = last.ID
			}
			got, err := walked(w.walk(context.Background(), from))
			all, failed = append(all, story(got, nil)), append(failed, err)
		}
		return all, failed
	}
	name := segment.Name(2)
	var want []string
	tried, healed, found := 0, 0, 0
	for at := -1; at < len(files[name]); at += thinned(17, 11, 1) {
		m := vfs.NewMemFrom(files)
		if at >= 0 {
			bad := bytes.Clone(files[name])
			bad[at] ^= 0x10
			m.Rot(name, bad)
		}
		o := r.opts
		o.SetFS(m)
		o.ReadOnly = true
		st, err := batpak.Open(vfs.MemDir, &o)
		if err != nil {
			continue // which is another test's business
		}
		got, failed := tell(st)
		if at < 0 {
			want = got
		}
		tried++
		healed += len(st.Stats().Healed)
		for i := range got {
			switch {
			case failed[i] != nil:
				found++
				if !strings.HasPrefix(want[i], got[i]) {
					t.Errorf("byte %d: %s, want the start of %s", at, got[i], want[i])
				}
			case got[i] != want[i]:
				t.Errorf("byte %d: %s, want %s", at, got[i], want[i])
			}
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d bytes, %d footers healed, %d walks ended in an error", tried, healed, found)
	if healed == 0 || found == 0 {
		t.Errorf("%d footers healed, %d walks ended in an error", healed, found)
	}
}
