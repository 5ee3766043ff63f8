package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"batpak"
)

var consumersCommand = command{
	name:     "consumers",
	synopsis: "[-json] [-parked NAME | -reset NAME | -seek NAME -at SEQ | -forget NAME [-at SEQ]] DIR",
	summary:  "prints the consumers of the store in DIR and what each has in front of it, or puts one elsewhere",
	examples: `  batpak consumers store
  batpak consumers -parked mail store           what the consumer "mail" could not handle
  batpak consumers -forget mail -at 1042 store  take event 1042 off that list
  batpak consumers -reset mail store            hand everything over again, from where it began
  batpak consumers -seek mail -at 5000 store    go on behind event 5000

Listing works beside a writer, and shows the positions that were written. -reset, -seek and -forget change the store:
nobody else may write meanwhile.
`,
	minArgs: 1, maxArgs: 1,
	setup: setupConsumers,
}

// A consumersTask is what the flags ask for.
type consumersTask struct {
	parked, reset, seek, forget string
	at                          sequence
	asJSON                      bool
}

func setupConsumers(fs *flag.FlagSet) runner {
	t := new(consumersTask)
	fs.BoolVar(&t.asJSON, "json", false, "print JSON")
	fs.StringVar(&t.parked, "parked", "", "print the events that `NAME` has parked")
	fs.StringVar(&t.reset, "reset", "", "put `NAME` back to where it began")
	fs.StringVar(&t.seek, "seek", "", "put `NAME` behind the event that -at names")
	fs.StringVar(&t.forget, "forget", "", "take the event that -at names, or all, off the list of those that `NAME` has parked")
	fs.Var(&t.at, "at", "sequence `SEQ` of an event; for -seek, 0 is the beginning")
	return func(ctx context.Context, c *console, args []string) error {
		change, err := t.change()
		switch {
		case err != nil:
			return err
		case change != nil:
			return withWriter(ctx, args[0], func(st *batpak.Store) error { return change(ctx, st) })
		}
		return withReader(ctx, args[0], func(st *batpak.Store) error {
			if t.parked != "" {
				return t.printParked(ctx, c.out, st)
			}
			return t.printAll(ctx, c.out, st)
		})
	}
}

// change returns what is to be done to the store; nil when it is only looked at.
func (t *consumersTask) change() (func(context.Context, *batpak.Store) error, error) {
	given := 0
	for _, name := range []string{t.parked, t.reset, t.seek, t.forget} {
		if name != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return nil, usagef("-parked, -reset, -seek and -forget exclude each other")
	case t.seek != "" && !t.at.set:
		return nil, usagef("-seek needs -at")
	case t.at.set && t.seek == "" && t.forget == "":
		return nil, usagef("-at is for -seek and -forget")
	}
	to := func(name string, do func(*batpak.Consumer, context.Context) error) func(context.Context, *batpak.Store) error {
		return func(ctx context.Context, st *batpak.Store) error {
			c, err := st.KnownConsumer(ctx, name)
			if err != nil {
				return err
			}
			return do(c, ctx)
		}
	}
	switch {
	case t.reset != "":
		return to(t.reset, (*batpak.Consumer).Reset), nil
	case t.seek != "":
		return to(t.seek, func(c *batpak.Consumer, ctx context.Context) error { return c.Seek(ctx, t.at.number) }), nil
	case t.forget != "":
		return to(t.forget, func(c *batpak.Consumer, ctx context.Context) error { return c.Forget(ctx, t.at.given()...) }), nil
	}
	return nil, nil
}

// withWriter opens the store in dir, which is there, for work that changes it.
func withWriter(ctx context.Context, dir string, work func(*batpak.Store) error) error {
	if err := withReader(ctx, dir, func(*batpak.Store) error { return nil }); err != nil {
		return err // a writable open would make a store
	}
	st, err := batpak.OpenContext(ctx, dir, nil)
	if err != nil {
		return err
	}
	return errors.Join(work(st), st.Close())
}

// A consumerLine is what is printed of one consumer.
type consumerLine struct {
	Name       string `json:"name"`
	Query      string `json:"query"`
	Generation uint64 `json:"generation"`
	Seq        uint64 `json:"seq"`
	Events     uint64 `json:"lag_events"`
	Bytes      int64  `json:"lag_bytes"`
	Age        int64  `json:"lag_ms"`
	Parked     int    `json:"parked"`
	Problem    string `json:"problem,omitempty"`
}

// printAll prints every consumer. Positions that do not hold are findings.
func (t *consumersTask) printAll(ctx context.Context, out io.Writer, st *batpak.Store) error {
	infos, err := st.Consumers(ctx)
	if err != nil {
		return err
	}
	lines := make([]consumerLine, len(infos))
	var found error
	for i, info := range infos {
		lines[i] = consumerLine{
			Name: info.Name, Query: info.Query, Generation: info.Position.Generation, Seq: info.Position.Seq,
			Events: info.Lag.Events, Bytes: info.Lag.Bytes, Age: info.Lag.Age.Milliseconds(), Parked: info.Parked,
		}
		if info.Err != nil {
			lines[i].Problem, found = info.Err.Error(), errRefused
		}
	}
	if t.asJSON {
		return errors.Join(found, printJSON(out, lines))
	}
	if len(lines) == 0 {
		fmt.Fprintln(out, "no consumers")
		return nil
	}
	tbl := table{}
	tbl.numbers(1, 2, 3, 4, 5)
	tbl.row("consumer", "position", "behind", "bytes", "for", "parked", "selects")
	for _, l := range lines {
		tbl.row(l.Name, count(l.Seq), plural(l.Events, "event"), byteCount(l.Bytes),
			short(time.Duration(l.Age)*time.Millisecond), count(l.Parked), l.Query)
	}
	tbl.print(out)
	for _, l := range lines {
		if l.Problem != "" {
			fmt.Fprintln(out, l.Problem)
		}
	}
	return found
}

// A parkedLine is what is printed of one parked event.
type parkedLine struct {
	Seq      uint64 `json:"seq"`
	ID       string `json:"id"`
	Attempts int    `json:"attempts"`
	Time     string `json:"time"`
	Panic    bool   `json:"panic,omitempty"`
	Error    string `json:"error"`
}

// printParked prints what a consumer has parked.
func (t *consumersTask) printParked(ctx context.Context, out io.Writer, st *batpak.Store) error {
	parked, err := st.Parked(ctx, t.parked)
	if err != nil {
		return err
	}
	lines := make([]parkedLine, len(parked))
	for i, p := range parked {
		lines[i] = parkedLine{p.Seq, p.ID.String(), p.Attempts, p.Time.Format(time.RFC3339), p.Panic, p.Error}
	}
	if t.asJSON {
		return printJSON(out, lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(out, "nothing is parked")
		return nil
	}
	tbl := table{}
	tbl.numbers(0, 2)
	tbl.row("event", "id", "attempts", "parked at", "error")
	for _, l := range lines {
		first, _, _ := strings.Cut(l.Error, "\n")
		tbl.row(count(l.Seq), l.ID, count(l.Attempts), l.Time, first)
	}
	tbl.print(out)
	return nil
}
