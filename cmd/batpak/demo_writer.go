package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
)

// The demo's writer is a process of its own, so that it can be killed. It gets changes as JSON values on standard
// input and answers each with an [ack] on standard output once it is durable.
var demoWriterCommand = command{
	name:     "demo-writer",
	synopsis: "[-scope NAME] DIR",
	summary:  "stores the changes that demo sends it, and acknowledges each when it is durable",
	minArgs:  1, maxArgs: 1,
	hidden: true,
	setup:  setupDemoWriter,
}

// Kinds of the demo's events.
var (
	kindCommit = event.MustKind(0x1, 1)
	kindChange = event.MustKind(0x1, 2) // of a file, by a commit
	kindFound  = event.MustKind(0x1, 3) // a file of a tree
)

// demoBatch is the most events of one batch: a commit that touches more files than that takes several.
const demoBatch = 5_000

// An ack says that a change is durable.
type ack struct {
	Key      string
	First    mark
	Last     mark
	Events   int
	Replayed bool          // it was there already
	Bytes    int64         // payloads written
	Took     time.Duration // inside AppendBatch
}

// A mark is what an ack keeps of a receipt.
type mark struct {
	ID   event.ID
	Seq  uint64
	Hash []byte
}

func markOf(r *batpak.Receipt) mark { return mark{r.ID, r.Seq, r.Hash[:]} }

func setupDemoWriter(fs *flag.FlagSet) runner {
	scope := fs.String("scope", "demo", "scope of all events")
	return func(ctx context.Context, c *console, args []string) error {
		st, err := batpak.OpenContext(ctx, args[0], nil)
		if err != nil {
			return err
		}
		w := demoWriter{store: st, scope: *scope, known: make(map[string]event.ID)}
		err = w.serve(ctx, bufio.NewReaderSize(c.in, 64<<10), c.out)
		return errors.Join(err, st.Close())
	}
}

// A demoWriter turns changes into events.
type demoWriter struct {
	store *batpak.Store
	scope string
	known map[string]event.ID // commit hash → its event
}

// serve stores changes until in ends. Every ack goes out in one write, before the next change is looked at.
func (w *demoWriter) serve(ctx context.Context, in io.Reader, out io.Writer) error {
	changes, acks := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var ch change
		if err := changes.Decode(&ch); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read change: %w", err)
		}
		a, err := w.commit(ctx, &ch)
		if err != nil {
			return fmt.Errorf("store %s: %w", ch.Key, err)
		}
		if err := acks.Encode(a); err != nil {
			return fmt.Errorf("write ack: %w", err)
		}
	}
}

// commit stores one change and returns its ack.
func (w *demoWriter) commit(ctx context.Context, ch *change) (*ack, error) {
	drafts, err := w.drafts(ctx, ch)
	if err != nil {
		return nil, err
	}
	a := &ack{Key: ch.Key}
	for len(drafts) > 0 {
		n := min(len(drafts), demoBatch)
		start := time.Now()
		receipts, err := w.store.AppendBatch(ctx, drafts[:n])
		if err != nil {
			return nil, err
		}
		a.count(drafts[:n], receipts, time.Since(start))
		for i := range drafts[n:] { // the commit is no draft of their batch
			drafts[n+i].Causation, drafts[n+i].CausedByDraft = a.First.ID, batpak.DraftRef(0)
		}
		drafts = drafts[n:]
	}
	if ch.Commit != nil {
		w.known[ch.Commit.Hash] = a.First.ID
	}
	return a, nil
}

// count adds one batch to the ack.
func (a *ack) count(drafts []batpak.Draft, receipts []batpak.Receipt, took time.Duration) {
	if a.Events == 0 {
		a.First, a.Replayed = markOf(&receipts[0]), receipts[0].Replayed
	}
	last := &receipts[len(receipts)-1]
	a.Last = markOf(last)
	a.Events += len(receipts)
	if last.Replayed {
		return
	}
	a.Took += took
	for i := range drafts {
		a.Bytes += int64(len(drafts[i].Payload))
	}
}

// drafts returns the events of a change. A commit is caused by its first parent's event; the events of its other
// parents stand in an extension. Files are caused by their commit's event. All of them carry the same correlation,
// which is made from the commit's hash: the event's own ID is not known before it is committed.
func (w *demoWriter) drafts(ctx context.Context, ch *change) ([]batpak.Draft, error) {
	var (
		drafts []batpak.Draft
		group  event.ID
		ref    batpak.DraftRef
		kind   = kindFound
	)
	if ch.Commit != nil {
		kind, ref = kindChange, batpak.DraftAt(0)
		group = groupID(ch.Commit.Hash)
		d, err := w.draft(ch, 0, "commit:"+ch.Commit.Hash, kindCommit, ch.Commit)
		if err != nil {
			return nil, err
		}
		if err := w.link(ctx, &d, ch.Commit.Parents); err != nil {
			return nil, err
		}
		d.Correlation = group
		drafts = append(drafts, d)
	}
	for i := range ch.Files {
		d, err := w.draft(ch, i+1, entityName("file:", ch.Files[i].Path), kind, &ch.Files[i])
		if err != nil {
			return nil, err
		}
		d.Correlation, d.CausedByDraft = group, ref
		drafts = append(drafts, d)
	}
	return drafts, nil
}

// draft returns the draft of the event with the given place in its change.
func (w *demoWriter) draft(ch *change, place int, entity string, kind event.Kind, payload any) (batpak.Draft, error) {
	at, err := coordinate.New(entity, w.scope)
	if err != nil {
		return batpak.Draft{}, err
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return batpak.Draft{}, err
	}
	return batpak.Draft{
		Coordinate: at, Kind: kind, Payload: text, PayloadVersion: 1,
		IdempotencyKey: []byte(ch.Key + "\n" + strconv.Itoa(place)),
	}, nil
}

// link sets the causes of a commit's draft. Parents that the history does not hold are left out.
func (w *demoWriter) link(ctx context.Context, d *batpak.Draft, parents []string) error {
	var others []string
	for i, hash := range parents {
		id, ok := w.known[hash]
		if !ok {
			head, err := w.store.Head(ctx, "commit:"+hash, 0)
			if errors.Is(err, batpak.ErrNotFound) {
				continue
			} else if err != nil {
				return err
			}
			id = head.ID
		}
		if i == 0 {
			d.Causation = id
		} else {
			others = append(others, id.String())
		}
	}
	if len(others) > 0 {
		d.Extensions = map[string][]byte{"other-parents": []byte(strings.Join(others, " "))}
	}
	return nil
}

// groupID returns the ID that the events of one commit share as their correlation.
func groupID(hash string) (id event.ID) {
	_, _ = hex.Decode(id[:], []byte(hash[:min(len(hash), 2*event.IDLen)]))
	return id
}
