package main

import (
	"fmt"
	"io"
	"time"

	"batpak"
)

// A tally counts what ingest did.
type tally struct {
	console     *console
	start, last time.Time // last: when the progress line was written

	stored, replayed, refused int64
	bytes                     int64 // payloads stored
	firstSeq, lastSeq         uint64
}

// progressEvery is the time between progress lines.
const progressEvery = 200 * time.Millisecond

func newTally(c *console) *tally {
	now := time.Now()
	return &tally{console: c, start: now, last: now}
}

// took counts committed lines.
func (t *tally) took(lines []line, receipts []batpak.Receipt) {
	for i := range receipts {
		if receipts[i].Replayed {
			t.replayed++
			continue
		}
		t.stored++
		t.bytes += int64(len(lines[i].draft.Payload))
		if t.firstSeq == 0 {
			t.firstSeq = receipts[i].Seq
		}
		t.lastSeq = receipts[i].Seq
	}
}

// progress writes over the progress line, if the error stream is a terminal and it is time.
func (t *tally) progress() {
	now := time.Now()
	if !t.console.progress || now.Sub(t.last) < progressEvery {
		return
	}
	t.last = now
	took := now.Sub(t.start)
	fmt.Fprintf(t.console.err, "\r\x1b[K%s events, %s/s, %s", count(t.stored), rate(t.stored, took), byteCount(t.bytes))
}

// clearProgress makes room for a line of its own.
func (t *tally) clearProgress() {
	if t.console.progress {
		fmt.Fprint(t.console.err, "\r\x1b[K")
	}
}

// summary prints what was done.
func (t *tally) summary(w io.Writer) {
	t.clearProgress()
	took := time.Since(t.start)
	var out table
	out.row("stored", plural(t.stored, "event"))
	out.row("replayed by key", count(t.replayed))
	out.row("refused", plural(t.refused, "line"))
	out.row("payload", byteCount(t.bytes))
	if t.stored > 0 {
		out.row("sequences", fmt.Sprintf("%d to %d", t.firstSeq, t.lastSeq))
	}
	out.row("time", short(took))
	out.row("rate", rate(t.stored, took)+" events/s, "+byteCount(int64(float64(t.bytes)/max(took.Seconds(), 1e-9)))+"/s")
	out.print(w)
}
