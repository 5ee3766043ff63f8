package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"time"

	"batpak"
	"batpak/event"
)

// queryFlags adds a flag to fs for every field of q that selects, and returns what sets the rest once they are parsed.
func queryFlags(fs *flag.FlagSet, q *batpak.Query) (parsed func()) {
	var number lane
	fs.Var((*textList)(&q.Entities), "entity", "events of the stream `NAME`; may be given many times")
	fs.Var((*textList)(&q.EntityPrefixes), "prefix", "events of streams whose names begin with `P`; may be given many times")
	fs.StringVar(&q.Scope, "scope", "", "events of the scope `S`")
	fs.Var((*kindList)(&q.Kinds), "kind", "events of kind `K`, such as 1:7; may be given many times")
	fs.Var((*categoryList)(&q.Categories), "category", "events of kinds of category `C`, one hexadecimal digit; may be given many times")
	fs.Var((*textList)(&q.Tags), "tag", "events that carry the tag `T`; may be given many times")
	fs.Var(&number, "lane", "events of lane `N` (default all)")
	fs.TextVar(&q.Correlation, "correlation", event.ID{}, "events of the group `ID`")
	fs.TextVar(&q.Causation, "causation", event.ID{}, "events that the event `ID` has directly caused")
	fs.Var((*moment)(&q.FromHLC), "from", "events from `TIME` on: 2026-01-31T09:00:00Z, or 16 digits of the field hlc")
	fs.Var((*moment)(&q.ToHLC), "to", "events before `TIME`")
	fs.BoolVar(&q.System, "system", false, "the store's own events, too")
	fs.Uint64Var(&q.After, "after", 0, "events behind sequence `SEQ`, exclusive")
	fs.Uint64Var(&q.Before, "before", 0, "events before sequence `SEQ`, exclusive; 0 means no bound")
	fs.IntVar(&q.Limit, "limit", 0, "at most `N` events; 0 means all")
	fs.BoolVar(&q.Reverse, "reverse", false, "newest first")
	return func() { q.Lane = number.number }
}

// A categoryList is a flag that can be given many times.
type categoryList []int

func (l *categoryList) String() string { return fmt.Sprint([]int(*l)) }

// Set implements [flag.Value].
func (l *categoryList) Set(s string) error {
	c, err := strconv.ParseUint(s, 16, 4)
	if err != nil {
		return fmt.Errorf("want one hexadecimal digit, such as 1 or f")
	}
	*l = append(*l, int(c))
	return nil
}

// A moment is a flag that takes a time of RFC 3339, or what read prints as hlc.
type moment event.HLC

func (m *moment) String() string {
	if *m == 0 {
		return ""
	}
	return fmt.Sprintf("%016x", uint64(*m))
}

// Set implements [flag.Value].
func (m *moment) Set(s string) error {
	if n, err := strconv.ParseUint(s, 16, 64); err == nil && len(s) == 16 {
		*m = moment(n)
		return nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return fmt.Errorf("want a time such as 2026-01-31T09:00:00Z, or 16 hexadecimal digits")
	}
	*m = moment(event.HLCAt(t))
	return nil
}

// printCount prints how many events q selects.
func printCount(ctx context.Context, c *console, st *batpak.Store, q batpak.Query) error {
	n, err := st.Count(ctx, q)
	if err == nil {
		_, err = fmt.Fprintln(c.out, n)
	}
	return err
}

// printExists prints whether q selects an event.
//
// Errors: [errRefused] when it does not.
func printExists(ctx context.Context, c *console, st *batpak.Store, q batpak.Query) error {
	ok, err := st.Exists(ctx, q)
	if err == nil {
		_, err = fmt.Fprintln(c.out, ok)
	}
	if err == nil && !ok {
		err = errRefused
	}
	return err
}
