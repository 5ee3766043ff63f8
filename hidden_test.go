package batpak_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"batpak"
	"batpak/coldstart"
	"batpak/event"
	"batpak/hidden"
)

// someHidden are ranges over sealed segments, their ends and the active one.
var someHidden = hidden.Of(hidden.Range{From: 1, To: 2}, hidden.Range{From: 4, To: 9}, hidden.Range{From: 13, To: 14}, hidden.Range{From: 15, To: 16})

// hide writes the file of hidden ranges by hand. The store is closed.
func (r *rig) hide(set hidden.Set) {
	r.mem.SetFile(hidden.FileName, hidden.AppendFile(nil, r.told[0].receipt.Store, &hidden.File{Set: set, Covers: 15}))
}

// hiddenRig returns a rig with fifteen events in several segments, of which someHidden are hidden, and what remains to
// be seen.
func hiddenRig(t *testing.T) (r *rig, all []told, seen []event.Event) {
	t.Helper()
	r = startRig(t, batpak.Options{})
	if err := rotations(r); err != nil {
		t.Fatal(err)
	}
	if all = r.history(); len(all) != 15 {
		t.Fatalf("%d events, want 15", len(all))
	}
	r.hide(someHidden)
	for i := range all {
		if !someHidden.Contains(all[i].Seq) {
			seen = append(seen, all[i].Event)
		}
	}
	if err := r.open(); err != nil {
		t.Fatal(err)
	}
	if rep := r.st.OpenReport(); rep.Segments < 3 {
		t.Fatalf("%d footers, %d segments: the test needs several", rep.Footers, rep.Segments)
	}
	return r, all, seen
}

// showsOnly says how reads of st show other events than seen, in any direction, page by page, by every selection.
func showsOnly(st *batpak.Store, all []told, seen []event.Event) error {
	lane := uint32(3)
	for name, q := range map[string]batpak.Query{
		"all": {}, "entity": {Entity: streamA.Entity()}, "prefix": {EntityPrefix: "account:"}, "scope": {Scope: "us"},
		"kind": {Kinds: []event.Kind{kindOne}}, "tag": {Tags: []string{"urgent"}}, "lane": {Lane: &lane},
		"after": {After: 3}, "before": {Before: 9}, "inside": {After: 4, Before: 8}, "borrowed": {Borrow: true, Entity: streamB.Entity()},
	} {
		var want []event.Event
		for _, ev := range seen {
			if selects(&q, &ev) {
				want = append(want, ev)
			}
		}
		for _, q.Reverse = range []bool{false, true} {
			for limit := range len(want) + 2 {
				q.Limit = limit
				page := want
				if limit > 0 {
					page = want[:min(limit, len(want))]
				}
				if err := reads(st, q, page); err != nil {
					return fmt.Errorf("%s, limit %d, reverse %v: %w", name, limit, q.Reverse, err)
				}
			}
			slices.Reverse(want)
		}
	}
	return findsOnly(st, all)
}

// selects reports whether q asks for ev, hidden or not.
func selects(q *batpak.Query, ev *event.Event) bool {
	return matches(q, ev) && ev.Seq > q.After && (q.Before == 0 || ev.Seq < q.Before)
}

// reads compares what a read yields, each event at its step, with want.
func reads(st *batpak.Store, q batpak.Query, want []event.Event) error {
	n := 0
	for ev, err := range st.Read(context.Background(), q) {
		if err != nil {
			return err
		}
		if n == len(want) {
			return fmt.Errorf("event %d is one too many", ev.Seq)
		}
		if err := sameEvent(&ev, &want[n]); err != nil {
			return err
		}
		n++
	}
	if n < len(want) {
		return fmt.Errorf("%d events, want %d", n, len(want))
	}
	return nil
}

// findsOnly looks every event up by ID and by sequence.
func findsOnly(st *batpak.Store, all []told) error {
	ctx := context.Background()
	for i := range all {
		t := &all[i]
		byID, err1 := st.Event(ctx, t.ID)
		bySeq, err2 := st.EventAt(ctx, t.Seq)
		if someHidden.Contains(t.Seq) {
			if !errors.Is(err1, batpak.ErrNotFound) || !errors.Is(err2, batpak.ErrNotFound) {
				return fmt.Errorf("hidden event %d: %v, %v, want %v", t.Seq, err1, err2, batpak.ErrNotFound)
			}
			continue
		}
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("event %d: %w", t.Seq, err)
		}
		if err := errors.Join(sameEvent(&byID, &t.Event), sameEvent(&bySeq, &t.Event)); err != nil {
			return err
		}
	}
	return nil
}

// TestI8_HiddenRangesStayHidden: exactly the hidden events are not shown, after a close, a crash, without footers, to a
// reader beside the writer, and when the log has gone on.
func TestI8_HiddenRangesStayHidden(t *testing.T) {
	r, all, seen := hiddenRig(t)
	check := func(when string, st *batpak.Store) {
		t.Helper()
		if err := showsOnly(st, all, seen); err != nil {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("hidden", r.st)
	l := &life{opts: r.opts, mem: r.mem}
	l.opts.ReadOnly = true
	reader, err := l.open()
	if err != nil {
		t.Fatal(err)
	}
	check("to a reader", reader)
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func(*rig) error
	}{
		{"reopened", stepReopen}, {"killed", stepKill},
		{"from frames", func(r *rig) error { r.kill(); cutFooters(r.mem); return r.open() }},
	} {
		if err := step.do(r); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		check(step.name, r.st)
		// The log goes on; sequences behind the ranges are shown.
		r.mustAppend(t, r.full(streamA))
		all = r.history()
		seen = append(seen, all[len(all)-1].Event)
		check(step.name+" and gone on", r.st)
	}
}

// TestHiddenEventsKeepTheirPlace: the head, clocks and conditions count them; the next event links to them.
func TestHiddenEventsKeepTheirPlace(t *testing.T) {
	r, all, _ := hiddenRig(t)
	last := all[len(all)-1]
	if !someHidden.Contains(last.Seq) {
		t.Fatalf("event %d, the last one, is not hidden", last.Seq)
	}
	head, err := r.st.Head(context.Background(), last.Coordinate.Entity(), last.Lane)
	if err != nil || head.Seq != last.Seq || head.Hash != last.Hash {
		t.Errorf("Head = %+v, %v, want the hidden event %d", head, err, last.Seq)
	}
	d := r.draft(last.Coordinate, 0)
	d.Lane, d.Expect = last.Lane, batpak.Clock(last.Clock)
	next := r.mustAppend(t, d)
	if next.Clock != last.Clock+1 || next.Parent != last.Hash || next.Seq != last.Seq+1 {
		t.Errorf("receipt %+v does not follow the hidden event %+v", next, last.Event)
	}
}

// TestDamagedHiddenFile: nothing is shown that may be hidden.
func TestDamagedHiddenFile(t *testing.T) {
	r, _, _ := hiddenRig(t)
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	whole := r.mem.Files()[hidden.FileName]
	for _, readOnly := range []bool{false, true} {
		l := &life{opts: r.opts, mem: r.mem}
		l.opts.ReadOnly = readOnly
		for at := range whole {
			b := slices.Clone(whole)
			b[at] ^= 1 << (at % 8)
			r.mem.SetFile(hidden.FileName, b)
			var refusal *coldstart.HiddenError
			if _, err := l.open(); !errors.As(err, &refusal) || refusal.File != hidden.FileName || !errors.Is(err, coldstart.ErrDamaged) {
				t.Fatalf("byte %d, read-only %v: Open = %v, want a *coldstart.HiddenError", at, readOnly, err)
			}
		}
		r.mem.SetFile(hidden.FileName, whole)
		if st, err := l.open(); err != nil || st.Close() != nil {
			t.Fatalf("Open of the undamaged store: %v", err)
		}
	}
}
