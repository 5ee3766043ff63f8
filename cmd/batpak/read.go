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
	return func(ctx context.Context, c *console, args []string) error {
		q.Lane = number.number
		return withReader(ctx, args[0], func(st *batpak.Store) error { return printEvents(ctx, c, st, q) })
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

// printEvents prints what q selects, one line each.
func printEvents(ctx context.Context, c *console, st *batpak.Store, q batpak.Query) error {
	out := bufio.NewWriterSize(c.out, 256<<10)
	var text []byte
	for ev, err := range st.Read(ctx, q) {
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		text = appendEvent(text[:0], &ev)
		if _, err := out.Write(text); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return out.Flush()
}
