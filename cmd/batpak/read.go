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
  batpak read -entity order:1 -entity order:2 -category 1 -from 2026-01-31T00:00:00Z store
  batpak read -count -scope eu -tag urgent store
  batpak read -exists -causation 018bcfe5-6800-0000-0000-000000000001 store && echo handled
  batpak read old | batpak ingest -relink new                a copy

Flags that are given must agree. -entity, -prefix, -kind or -category given twice means either of the two, -kind and
-category together mean either, too; -tag given twice means both tags. The store's own events are left out unless -system,
or their kind or category, asks for them.
`,
	minArgs: 1, maxArgs: 1,
	setup: setupRead,
}

func setupRead(fs *flag.FlagSet) runner {
	q := batpak.Query{Borrow: true}
	parsed := queryFlags(fs, &q)
	follow := fs.Bool("f", false, "go on with the events that come, until an interrupt or what -limit or -before says")
	count := fs.Bool("count", false, "print how many events there are, and none of them")
	exists := fs.Bool("exists", false, "print whether there is one, true or false, and end with 0 or 1")
	return func(ctx context.Context, c *console, args []string) error {
		parsed()
		switch {
		case *follow && q.Reverse:
			return usagef("-f and -reverse: what comes, comes in commit order")
		case *follow && (*count || *exists), *count && *exists:
			return usagef("-f, -count and -exists: one of them")
		}
		return withReader(ctx, args[0], func(st *batpak.Store) error {
			switch {
			case *follow:
				return followEvents(ctx, c, st, q)
			case *count:
				return printCount(ctx, c, st, q)
			case *exists:
				return printExists(ctx, c, st, q)
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
