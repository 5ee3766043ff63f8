// Bench answers how fast stores open, on this machine and beside their floors and peers. It builds stores in a
// temporary directory, removes them at its end, and prints one table per question.
//
//	cd bench && go run . -cold
//	cd bench && go run . -events 10000,1000000 -tables 1,4 -json out.json
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A config is what the flags say, and sizes that only tests make smaller.
type config struct {
	events   []int
	entities int
	wide     int // entities of one more store of the largest size; 0 means none
	peersMax int
	runs     int
	dir      string
	keep     bool
	cold     bool
	rungs    []string
	tables   []int
	json     string

	segmentSize int64
	closeEvents int
	appends     int // of the latency table, in each round
	acked       int // appends before a kill
}

func defaults() config {
	return config{segmentSize: 64 << 20, closeEvents: 1_000_000, appends: 20_000, acked: 100}
}

func parse(args []string, c *config) error {
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	events := fs.String("events", "10000,1000000,10000000", "sizes of the stores, in events")
	fs.IntVar(&c.entities, "entities", 10_000, "streams of each store")
	fs.IntVar(&c.wide, "wide", 0, "streams of one more store of the largest size; 0 builds none")
	fs.IntVar(&c.peersMax, "peers-max", 1_000_000, "largest size at which SQLite and bbolt are built")
	fs.IntVar(&c.runs, "runs", 15, "measurements of each figure; slow ones are repeated less often, at least 3 times")
	fs.IntVar(&c.appends, "appends", c.appends, "appends of each round of table 6")
	fs.StringVar(&c.dir, "dir", os.TempDir(), "where the temporary directory is made: a real disk")
	fs.BoolVar(&c.keep, "keep", false, "keep the temporary directory")
	fs.BoolVar(&c.cold, "cold", false, "measure with the page cache dropped, too")
	rungs := fs.String("rungs", "all", "rungs of table 4: snapshot,checkpoint,footers,frames")
	tables := fs.String("tables", "all", "questions to answer: 1 open warm, 2 cold, 3 after kill -9, 4 rungs, 5 close, 6 latency, 7 tail")
	fs.StringVar(&c.json, "json", "", "also write the tables to this file")
	if err := fs.Parse(args); err != nil {
		return err
	}
	var err error
	if c.events, err = numbers(*events); err != nil {
		return fmt.Errorf("-events: %w", err)
	}
	slices.Sort(c.events)
	if c.tables = []int{1, 2, 3, 4, 5, 6, 7}; *tables != "all" {
		if c.tables, err = numbers(*tables); err != nil {
			return fmt.Errorf("-tables: %w", err)
		}
		c.cold = c.cold || slices.Contains(c.tables, 2)
	}
	for _, r := range ladder {
		if *rungs == "all" || slices.Contains(strings.Split(*rungs, ","), r.name) {
			c.rungs = append(c.rungs, r.name)
		}
	}
	if len(c.rungs) == 0 || c.entities < 1 || c.runs < 1 || c.appends < 1 || c.wide < 0 || fs.NArg() > 0 {
		return errors.New("see -h")
	}
	return nil
}

// numbers parses positive numbers with commas between them.
func numbers(list string) (out []int, err error) {
	for part := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is not a positive number", part)
		}
		out = append(out, n)
	}
	return out, nil
}

// A bench is one run of the program.
type bench struct {
	config
	dir    string
	out    io.Writer // tables
	log    io.Writer // progress
	stores []*store
	tables []*table
}

// A store is one set of events, in several kinds of store.
type store struct {
	events, entities int
	paths            map[string]string // by kind
}

// say prints a line of progress.
func (b *bench) say(format string, args ...any) { fmt.Fprintf(b.log, "# "+format+"\n", args...) }

// publish prints a finished table.
func (b *bench) publish(t *table) {
	b.tables = append(b.tables, t)
	t.print(b.out)
}

// run does everything that c asks for, and cleans up however it ends.
func run(ctx context.Context, c config, out, log io.Writer) (err error) {
	dir, err := os.MkdirTemp(c.dir, "batpak-bench-")
	if err != nil {
		return err
	}
	b := &bench{config: c, dir: dir, out: out, log: log}
	defer func() {
		if c.keep {
			b.say("kept %s", dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Fprintf(out, "batpak bench: %s, %s/%s, %d processors, payloads of %d bytes, %d streams\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), payloadLen, c.entities)
	fmt.Fprintf(out, "figures are medians (smallest–largest); load average at the start: %s\n", loadAverage())
	if err := b.answer(ctx); err != nil {
		return errors.Join(ctx.Err(), err)
	}
	if c.json != "" {
		return writeJSON(c.json, b.tables)
	}
	return nil
}

// loadAverage says how busy the machine is with other things: figures of a busy one are to be read as ratios.
func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if fields := strings.Fields(string(b)); err == nil && len(fields) > 0 {
		return fields[0]
	}
	return "not known"
}

// answer builds what the tables need and makes them in order.
func (b *bench) answer(ctx context.Context) error {
	wants := func(n int) bool { return slices.Contains(b.config.tables, n) }
	if wants(1) || wants(2) || wants(4) {
		if err := b.build(ctx); err != nil {
			return err
		}
	}
	for i, question := range []func(context.Context) error{
		func(ctx context.Context) error { return b.openTable(ctx, false) },
		func(ctx context.Context) error { return b.openTable(ctx, true) },
		b.killTable, b.rungTable, b.closeTable, b.latencyTable, b.tailTable,
	} {
		if !wants(i+1) || i+1 == 2 && !b.cold {
			continue
		}
		b.say("table %d", i+1)
		if err := question(ctx); err != nil {
			return fmt.Errorf("table %d: %w", i+1, err)
		}
	}
	return nil
}

// build makes the stores of all sizes.
func (b *bench) build(ctx context.Context) error {
	for _, n := range b.events {
		b.stores = append(b.stores, &store{events: n, entities: b.entities})
	}
	if b.wide > 0 {
		b.stores = append(b.stores, &store{events: b.events[len(b.events)-1], entities: b.wide})
	}
	for _, s := range b.stores {
		dir := filepath.Join(b.dir, fmt.Sprintf("%d-%d", s.events, s.entities))
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		s.paths = map[string]string{"floor": filepath.Join(dir, "batpak"), "floor-random": filepath.Join(dir, "batpak")}
		for _, kind := range []string{"batpak", "sqlite", "bbolt"} {
			if kind != "batpak" && s.events > b.peersMax {
				continue
			}
			began := time.Now()
			s.paths[kind] = filepath.Join(dir, kind)
			f := fill{Entities: s.entities, Events: s.events, SegmentSize: b.segmentSize}
			if kind != "batpak" {
				f.Batch = 100 * batchLen // they rewrite a page of an index for almost every event of a small batch
			}
			if err := build(ctx, kind, s.paths[kind], f); err != nil {
				return err
			}
			b.say("built %s with %s events of %s streams in %s", kind, grouped(int64(s.events)), grouped(int64(s.entities)), short(time.Since(began)))
		}
	}
	syncAll() // so that nothing is still on its way to the disk when something is measured
	return nil
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	if isChild() {
		if err := child(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "bench child:", err)
			os.Exit(1)
		}
		return
	}
	c := defaults()
	switch err := parse(os.Args[1:], &c); {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := run(ctx, c, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
