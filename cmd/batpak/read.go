package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"batpak"
)

var readCommand = command{
	name:     "read",
	synopsis: "[flags] DIR",
	summary:  "prints the events of the store in DIR as JSON lines, in commit order; works beside a writer",
	examples: `  batpak read store
  batpak read -entity order:1042 -reverse -limit 5 store     the last five of a stream
  batpak read -prefix order: -kind 1:7 -kind 1:8 -after 1000 store
  batpak read -f -kind 1:7 store                             what there is, then what comes, until an interrupt
  batpak read old | batpak ingest -relink new                a copy

Every flag that is given must agree; -kind given twice means either kind, -tag given twice means both tags. Without
-kind the store's own events are left out.
`,
	minArgs: 1, maxArgs: 1,
	setup: setupRead,
}

func setupRead(fs *flag.FlagSet) runner {
	q := batpak.Query{Borrow: true}
	var number lane
	fs.StringVar(&q.Entity, "entity", "", "events of the stream `NAME`")
	fs.StringVar(&q.EntityPrefix, "prefix", "", "events of streams whose names begin with `P`")
	fs.StringVar(&q.Scope, "scope", "", "events of the scope `S`")
	fs.Var((*kindList)(&q.Kinds), "kind", "events of kind `K`, such as 1:7; may be given many times")
	fs.Var((*textList)(&q.Tags), "tag", "events that carry the tag `T`; may be given many times")
	fs.Var(&number, "lane", "events of lane `N` (default all)")
	fs.Uint64Var(&q.After, "after", 0, "events behind sequence `SEQ`, exclusive")
	fs.Uint64Var(&q.Before, "before", 0, "events before sequence `SEQ`, exclusive; 0 means no bound")
	fs.IntVar(&q.Limit, "limit", 0, "at most `N` events; 0 means all")
	fs.BoolVar(&q.Reverse, "reverse", false, "newest first")
	follow := fs.Bool("f", false, "go on with the events that come, until an interrupt or what -limit or -before says")
	return func(ctx context.Context, c *console, args []string) error {
		q.Lane = number.number
		if *follow && q.Reverse {
			return usagef("-f and -reverse: what comes, comes in commit order")
		}
		return withReader(ctx, args[0], func(st *batpak.Store) error {
			if *follow {
				return followEvents(ctx, c, st, q)
			}
			_, err := printEvents(ctx, c, st, q)
			return err
		})
	}
}

// withReader opens the store in dir read-only for work.
func withReader(ctx context.Context, dir string, work func(*batpak.Store) error) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	st, err := batpak.OpenContext(ctx, dir, &batpak.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	err = work(st)
	if closeErr := st.Close(); err == nil {
		err = closeErr
	}
	return err
}

// printEvents prints what q selects, one line each, and returns how many.
func printEvents(ctx context.Context, c *console, st *batpak.Store, q batpak.Query) (n int, err error) {
	out := bufio.NewWriterSize(c.out, 256<<10)
	var text []byte
	for ev, err := range st.Read(ctx, q) {
		if err != nil {
			return n, errors.Join(out.Flush(), err)
		}
		text = appendEvent(text[:0], &ev)
		if _, err := out.Write(text); err != nil {
			return n, fmt.Errorf("write: %w", err)
		}
		n++
	}
	return n, out.Flush()
}

// followEvents prints what q selects, and each event that comes as it comes, until ctx ends: that is no error.
func followEvents(ctx context.Context, c *console, st *batpak.Store, q batpak.Query) error {
	there := q
	if end := st.Visible() + 1; q.Before == 0 || q.Before > end {
		there.Before = end
	}
	n, err := printEvents(ctx, c, st, there)
	if err != nil || q.Limit > 0 && n == q.Limit {
		return unlessCanceled(err)
	}
	q.After = max(q.After, there.Before-1)
	if q.Limit > 0 {
		q.Limit -= n
	}
	var text []byte
	for ev, err := range st.Follow(ctx, q) {
		if err != nil {
			return unlessCanceled(err)
		}
		text = appendEvent(text[:0], &ev)
		if _, err := c.out.Write(text); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// unlessCanceled returns err, unless it says that somebody asked for the end.
func unlessCanceled(err error) error {
	if errors.Is(err, batpak.ErrCanceled) {
		return nil
	}
	return err
}
