package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"batpak"
	"batpak/event"
)

// showInput says where the events come from.
func (d *demo) showInput(context.Context) error {
	for _, note := range d.src.notes {
		d.sayf("%s", note)
	}
	changes := d.src.changes
	var t table
	t.row("from", d.src.scope)
	t.row(d.src.noun()+"s", count(len(changes)))
	t.row("events", count(d.src.events()))
	if first, last := changes[0].Commit, changes[len(changes)-1].Commit; first != nil {
		t.row("oldest", first.line())
		t.row("newest", last.line())
	}
	d.show(&t)
	return nil
}

// line returns a commit in one line.
func (c *commit) line() string {
	return fmt.Sprintf("%.10s  %.10s  %s", c.Hash, c.Time, clip(c.Subject, 60))
}

// clip cuts s to n characters.
func clip(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

// writeAndKill lets a process write, and kills it when half of the changes are acknowledged.
func (d *demo) writeAndKill(ctx context.Context) error {
	n := len(d.src.changes)
	d.sayf("A process of its own writes; its store syncs before each acknowledgement (SyncAlways).")
	run, err := runWriter(ctx, d.dir, d.src, max(1, n/2))
	if err != nil {
		return err
	}
	d.first = run
	d.sayf("It acknowledged %s of %s and was killed: %s", count(len(run.acks)), plural(n, d.src.noun()), run.exit)
	return nil
}

// recover opens the store as the killed process left it, and looks for what that had acknowledged.
func (d *demo) recover(ctx context.Context) error {
	start := time.Now()
	st, err := batpak.OpenContext(ctx, d.dir, nil)
	if err != nil {
		return err
	}
	d.recovery = time.Since(start)
	for line := range strings.Lines(st.OpenReport().String()) {
		d.sayf("%s", strings.TrimSuffix(line, "\n"))
	}
	fmt.Fprintln(d.console.out)
	events := 0
	var lost []string
	for i := range d.first.acks {
		a := &d.first.acks[i]
		events += a.Events
		if err := holds(ctx, st, a); err != nil {
			lost = append(lost, fmt.Sprintf("%.12s: %v", a.Key, err))
		}
	}
	d.check(len(lost) == 0, "%s acknowledged, %s of them found unchanged, with %s",
		plural(len(d.first.acks), d.src.noun()), count(len(d.first.acks)-len(lost)), plural(events, "event"))
	for _, text := range lost {
		d.sayf("     %s", text)
	}
	if more := int(st.Stats().Events) - events; more > 0 {
		d.sayf("     and %s more, committed but not yet acknowledged when the process died", plural(more, "event"))
	}
	return st.Close()
}

// holds checks that a change is in the store as it was acknowledged: its first and its last event, with all between.
func holds(ctx context.Context, st *batpak.Store, a *ack) error {
	ev, err := st.Event(ctx, a.First.ID)
	if err != nil {
		return err
	}
	if ev.Seq != a.First.Seq || !bytes.Equal(ev.Hash[:], a.First.Hash) {
		return fmt.Errorf("event %d has another sequence or hash", ev.Seq)
	}
	events := 0
	for ev, err = range st.Read(ctx, batpak.Query{After: a.First.Seq - 1, Before: a.Last.Seq + 1}) {
		if err != nil {
			return err
		}
		events++
	}
	if events != a.Events || ev.ID != a.Last.ID || !bytes.Equal(ev.Hash[:], a.Last.Hash) {
		return fmt.Errorf("%d of %s, or another last one", events, plural(a.Events, "event"))
	}
	return nil
}

// writeAgain sends all changes to a second process.
func (d *demo) writeAgain(ctx context.Context) error {
	run, err := runWriter(ctx, d.dir, d.src, 0)
	if err != nil {
		return err
	}
	d.second = run
	n, replayed := len(d.src.changes), 0
	same := true
	for i := range run.acks {
		if run.acks[i].Replayed {
			replayed++
		}
		if i < len(d.first.acks) {
			same = same && bytes.Equal(run.acks[i].Last.Hash, d.first.acks[i].Last.Hash)
		}
	}
	d.check(same && replayed >= min(len(d.first.acks), len(run.acks)),
		"%s of %s recognized and not written again, with the same hashes; %s new",
		count(replayed), plural(len(run.acks), d.src.noun()), count(len(run.acks)-replayed))
	if left := n - len(run.acks); left > 0 {
		d.sayf("     %s left out: the demo writes for %v at most", plural(left, d.src.noun()), writeTime)
	}
	return nil
}

// readBack shows what can be asked of the events.
func (d *demo) readBack(ctx context.Context) error {
	start := time.Now()
	st, err := batpak.OpenContext(ctx, d.dir, &batpak.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	d.reopening = time.Since(start)
	want := 0
	for i := range d.second.acks {
		want += d.second.acks[i].Events
	}
	d.stats = st.Stats()
	d.check(int(d.stats.Events) >= want, "%s in the store", plural(d.stats.Events, "event"))
	err = d.showStream(ctx, st)
	if err == nil {
		err = d.showCauses(ctx, st)
	}
	return errors.Join(err, st.Close())
}

// shownEvents is how many events of a stream, and how many causes, are shown.
const shownEvents = 5

// showStream prints the end of the stream of the file that changed most.
func (d *demo) showStream(ctx context.Context, st *batpak.Store) error {
	path, times := d.src.mostChanged()
	if times == 0 {
		d.sayf("\n   No commit touched a file.")
		return nil
	}
	entity := entityName("file:", path)
	fmt.Fprintf(d.console.out, "\n   %s: changed %s, the last ones:\n\n", clip(entity, 80), plural(times, "time"))
	var t table
	t.numbers(0, 1, 3, 4)
	t.row("seq", "clock", "status", "added", "deleted", "caused by")
	for ev, err := range st.Read(ctx, batpak.Query{Entity: entity, Reverse: true, Limit: shownEvents}) {
		if err != nil {
			return err
		}
		var f file
		if err := json.Unmarshal(ev.Payload, &f); err != nil {
			return err
		}
		cause, err := describe(ctx, st, ev.Causation)
		if err != nil {
			return err
		}
		t.row(fmt.Sprint(ev.Seq), fmt.Sprint(ev.Clock), f.Status, lineText(f.Added), lineText(f.Deleted), cause)
	}
	d.show(&t)
	return nil
}

func lineText(n *int) string {
	if n == nil {
		return "-"
	}
	return count(*n)
}

// describe returns a commit's event in one line.
func describe(ctx context.Context, st *batpak.Store, id event.ID) (string, error) {
	if id.IsZero() {
		return "-", nil
	}
	ev, err := st.Event(ctx, id)
	if err != nil {
		return "", err
	}
	var c commit
	if err := json.Unmarshal(ev.Payload, &c); err != nil {
		return "", err
	}
	return c.line(), nil
}

// showCauses prints the way from the newest commit to its causes.
func (d *demo) showCauses(ctx context.Context, st *batpak.Store) error {
	if len(d.second.acks) == 0 || d.src.changes[0].Commit == nil {
		return nil
	}
	fmt.Fprintf(d.console.out, "\n   The newest commit and what caused it:\n\n")
	var t table
	t.numbers(0)
	id := d.second.acks[len(d.second.acks)-1].First.ID
	for step := 0; step <= shownEvents && !id.IsZero(); step++ {
		ev, err := st.Event(ctx, id)
		if err != nil {
			return err
		}
		text, err := describe(ctx, st, id)
		if err != nil {
			return err
		}
		t.row(fmt.Sprint(ev.Seq), strings.Repeat("  ", step)+text)
		id = ev.Causation
	}
	d.show(&t)
	return nil
}

// verify checks the directory as it is.
func (d *demo) verify(ctx context.Context) error {
	report, err := batpak.Verify(ctx, d.dir, nil)
	if err != nil {
		return err
	}
	for line := range strings.Lines(report.String()) {
		d.sayf("%s", strings.TrimSuffix(line, "\n"))
	}
	d.check(len(report.Findings) == 0, "%s", plural(len(report.Findings), "finding"))
	return nil
}

// summary ends the demo.
func (d *demo) summary(context.Context) error {
	var events, payload int64
	var took time.Duration
	batches := int64(0)
	for _, run := range []*writerRun{d.first, d.second} {
		for i := range run.acks {
			if a := &run.acks[i]; !a.Replayed {
				events, payload, took, batches = events+int64(a.Events), payload+a.Bytes, took+a.Took, batches+1
			}
		}
	}
	files, err := listFiles(d.dir)
	if err != nil {
		return err
	}
	var t table
	t.row(d.src.noun()+"s", count(len(d.second.acks)))
	t.row("events", count(d.stats.Events))
	t.row("payload", byteCount(payload))
	t.row("durable", fmt.Sprintf("%s events/s, %s syncs/s, one %s after the other",
		rate(events, took), rate(batches, took), d.src.noun()))
	t.row("reopened", fmt.Sprintf("in %s after kill -9, in %s after a clean close (read-only)",
		short(d.recovery), short(d.reopening)))
	t.row("on disk", byteCount(d.stats.Bytes))
	d.show(&t)
	fmt.Fprintln(d.console.out)
	d.show(fileTable(files))
	return nil
}
