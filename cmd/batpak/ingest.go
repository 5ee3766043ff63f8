package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"batpak"
)

var ingestCommand = command{
	name:     "ingest",
	synopsis: "[flags] DIR [FILE|-]",
	summary:  "stores JSON lines from FILE or standard input in DIR, which is made if need be",
	examples: `  echo '{"entity":"order:1","scope":"eu","kind":"1:7","payload":{"total":42}}' | batpak ingest store
  batpak ingest -sync interval -batch 5000 store events.jsonl
  batpak ingest -skip-bad store mixed.jsonl        store what can be stored, count the rest
  batpak read old | batpak ingest -relink new      copy a store, causes included

A line is an object with "entity", "scope", "kind" ("category:number", such as "1:7") and "payload" (any JSON, stored
as exactly those bytes) or "payload_base64". It may have "key" (idempotency), "correlation", "causation" (event IDs),
"tags", "lane", "depth", "fork", "payload_version", "extensions". What else read prints is ignored; any other field is an
error. Lines that came in together are one atomic batch, at most -batch of them; see "go doc ./cmd/batpak".
At the first bad line ingest stops, with everything before it stored.
`,
	minArgs: 1, maxArgs: 2,
	setup: setupIngest,
}

const (
	defaultBatch = 1000
	maxBatch     = 10_000
	batchBytes   = 1 << 20 // of lines, from which a batch is full
)

func setupIngest(fs *flag.FlagSet) runner {
	var (
		size byteSize
		mode syncMode
	)
	fs.Var(&size, "segment-size", "seal a segment at `N` bytes, such as 16MiB (default 64MiB)")
	fs.Var(&mode, "sync", "`MODE` of acknowledgement: always, interval or never; see batpak.SyncMode")
	batch := fs.Int("batch", defaultBatch, "at most `N` lines in one atomic write")
	skipBad := fs.Bool("skip-bad", false, "go on behind lines that are refused")
	relink := fs.Bool("relink", false, "let causation, correlation and fork that name the id of an earlier line name its copy")
	return func(ctx context.Context, c *console, args []string) error {
		if *batch < 1 || *batch > maxBatch {
			return usagef("-batch %d: want 1 to %d", *batch, maxBatch)
		}
		in, err := openInput(c, args[1:])
		if err != nil {
			return err
		}
		defer in.Close()
		st, err := batpak.OpenContext(ctx, args[0], &batpak.Options{SegmentSize: int64(size), Sync: batpak.SyncMode(mode)})
		if err != nil {
			return err
		}
		g := &ingester{console: c, store: st, skipBad: *skipBad, tally: newTally(c)}
		if *relink {
			g.links = newLinks()
		}
		limit := batchBytes
		if size > 0 {
			limit = min(limit, int(size/4))
		}
		err = g.copyLines(ctx, in, newLineQueue(*batch, limit))
		if closeErr := st.Close(); closeErr != nil {
			err = closeErr // the failure that made the store refuse writes, if one did
		}
		g.tally.summary(c.out)
		return err
	}
}

// openInput opens the file that args name; none, or "-", is standard input.
func openInput(c *console, args []string) (io.ReadCloser, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(c.in), nil
	}
	return os.Open(args[0])
}

// An ingester stores lines.
type ingester struct {
	console *console
	store   *batpak.Store
	skipBad bool
	links   *links // nil without -relink
	tally   *tally
}

// copyLines stores every line of in, reading ahead through q.
//
// Errors: [errRefused] after the first line that is refused, unless they are skipped, or at the end if any was;
// what in or the store returned.
func (g *ingester) copyLines(ctx context.Context, in io.Reader, q *lineQueue) error {
	read := make(chan error, 1)
	go func() {
		read <- readLines(in, q)
		q.end()
	}()
	defer q.stop()
	defer context.AfterFunc(ctx, q.stop)()
	for lines := q.take(); len(lines) > 0; lines = q.take() {
		if err := g.storeLines(ctx, lines); err != nil {
			return err
		}
		g.tally.progress()
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err := <-read; err != nil {
		return err
	}
	if g.tally.refused > 0 {
		return errRefused
	}
	return nil
}

// storeLines stores lines up to the first one that ends the work.
func (g *ingester) storeLines(ctx context.Context, lines []line) error {
	for len(lines) > 0 {
		n := g.batchAt(lines)
		var err error
		if n == 0 {
			n, err = 1, g.refuse(&lines[0], lines[0].err)
		} else {
			err = g.commit(ctx, lines[:n])
		}
		if err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// batchAt returns how many lines can be committed together: up to a bad one (0 when it comes first), a key that comes
// again, or a line that names an earlier one whose new ID it must know.
func (g *ingester) batchAt(lines []line) int {
	keys := make(map[string]bool)
	g.links.begin()
	for i := range lines {
		l := &lines[i]
		key := string(l.draft.IdempotencyKey)
		if l.err != nil || key != "" && keys[key] || g.links.mustWait(l) {
			return i
		}
		if key != "" {
			keys[key] = true
		}
		g.links.join(l, i)
	}
	return len(lines)
}

// commit stores lines as one batch, or as several where the store will not have it as one, and refuses those that it
// will not have at all.
func (g *ingester) commit(ctx context.Context, lines []line) error {
	for len(lines) > 0 {
		receipts, err := g.append(ctx, lines)
		var (
			partial *batpak.PartialReplayError
			one     *batpak.BatchError
		)
		n := len(lines)
		switch {
		case err == nil:
			g.tally.took(lines, receipts)
			g.links.took(lines, receipts)
			return nil
		case errors.As(err, &partial):
			n = firstRun(partial.Known, n)
			err = g.commit(ctx, lines[:n])
		case errors.As(err, &one) && refusal(one.Err):
			n = one.Index + 1
			if err = g.commit(ctx, lines[:one.Index]); err == nil {
				err = g.refuse(&lines[one.Index], one.Err)
			}
		case refusal(err) && n == 1:
			err = g.refuse(&lines[0], err)
		case refusal(err): // the batch is too large, though none of its lines may be
			n /= 2
			err = g.commit(ctx, lines[:n])
		}
		if err != nil {
			return err
		}
		lines = lines[n:]
	}
	return nil
}

// firstRun returns how many of n drafts at the beginning have keys that are all known, or all new.
func firstRun(known []int, n int) int {
	if known[0] > 0 {
		return known[0]
	}
	for i, k := range known {
		if i != k {
			return i
		}
	}
	return min(len(known), n)
}

// append hands lines to the store.
func (g *ingester) append(ctx context.Context, lines []line) ([]batpak.Receipt, error) {
	if len(lines) == 1 {
		r, err := g.store.Append(ctx, g.links.draft(&lines[0], -1))
		return []batpak.Receipt{r}, err
	}
	g.links.begin()
	drafts := make([]batpak.Draft, len(lines))
	for i := range lines {
		drafts[i] = g.links.draft(&lines[i], i)
		g.links.join(&lines[i], i)
	}
	return g.store.AppendBatch(ctx, drafts)
}

// refusal reports whether err is about the draft, so that the store would take another one.
func refusal(err error) bool {
	for _, target := range []error{batpak.ErrInvalid, batpak.ErrLimit, batpak.ErrConflict, batpak.ErrIdempotency, batpak.ErrFork} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// refuse says why a line was not stored, and ends the work unless bad lines are skipped.
func (g *ingester) refuse(l *line, err error) error {
	g.tally.clearProgress()
	fmt.Fprintf(g.console.err, "line %d: %v\n", l.number, err)
	g.tally.refused++
	if g.skipBad {
		return nil
	}
	return errRefused
}
