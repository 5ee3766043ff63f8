package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// fillLevels are how full the active segment is when its writer is killed, in percent.
var fillLevels = []int64{5, 50, 95}

// killTable answers: what does it cost to open a store whose writer was killed while it appended in the default mode?
func (b *bench) killTable(ctx context.Context) error {
	t := &table{
		title:   "3. open after kill -9 while appending in the default mode, page cache warm, fresh process",
		floor:   "bare open, fstat and mmap of every file, first and last page touched; SQLite: WAL, synchronous=FULL, as many events",
		columns: []string{"active full", "events", "what", "open", "to first event", "÷ floor", "rung", "replayed", "moved", "segment bytes read", "longest phase"},
	}
	t.note("a killed store has a sealed segment and an active one; each run opens a durable copy of it")
	for _, percent := range fillLevels {
		if err := b.killRows(ctx, t, percent); err != nil {
			return err
		}
	}
	b.publish(t)
	return nil
}

// A killedStore is a directory whose writer was killed.
type killedStore struct {
	kind, dir, file string // of opener; file is the path in dir
	acked           int    // events that must be there
}

// killRows makes one state in both stores and times the opens of copies of it.
func (b *bench) killRows(ctx context.Context, t *table, percent int64) error {
	dir := filepath.Join(b.dir, fmt.Sprintf("killed-%d", percent))
	defer os.RemoveAll(dir)
	bat, lite, err := b.killBoth(ctx, dir, percent)
	if err != nil {
		return err
	}
	b.say("killed at %d %%: %d and %d events acknowledged", percent, bat.acked, lite.acked)
	floor := sample(nil)
	for _, state := range []killedStore{{kind: "floor", dir: bat.dir}, bat, lite} {
		p := &probe{kind: state.kind}
		for range max(3, b.runs/3) {
			r, err := openCopy(ctx, state.dir, job{Do: "open", Kind: state.kind, Path: state.file, Entity: entityOf(0, b.entities)})
			if err != nil {
				return err
			}
			if state.kind == "batpak" && r.Last < uint64(state.acked) {
				return fmt.Errorf("%s: event %d was acknowledged, the last one is %d", state.dir, state.acked, r.Last)
			}
			p.add(r)
		}
		if state.kind == "floor" {
			floor = p.first
		}
		t.row(killCells(percent, bat.acked, p, floor)...)
	}
	return nil
}

// killBoth fills both stores with as many events, and kills their writers.
func (b *bench) killBoth(ctx context.Context, dir string, percent int64) (bat, lite killedStore, err error) {
	bat = killedStore{kind: "batpak", dir: filepath.Join(dir, "batpak")}
	lite = killedStore{kind: "sqlite", dir: filepath.Join(dir, "sqlite"), file: "db"}
	if err := os.MkdirAll(lite.dir, 0o700); err != nil {
		return bat, lite, err
	}
	j := job{Do: "append", Kind: "batpak-durable", Path: bat.dir, Singles: b.acked,
		Fill: fill{Entities: b.entities, Segments: 2, Active: b.segmentSize * percent / 100, SegmentSize: b.segmentSize}}
	if j.Fill.Events, bat.acked, err = killed(ctx, j); err != nil {
		return bat, lite, err
	}
	j.Kind, j.Path = "sqlite-durable", filepath.Join(lite.dir, lite.file)
	_, lite.acked, err = killed(ctx, j)
	return bat, lite, err
}

func killCells(percent int64, events int, p *probe, floor sample) []cell {
	rung, replayed, moved, bytes := text("-"), text("-"), text("-"), text("-")
	if p.last.Rung != "" {
		rung, replayed = heldCell("snapshot", p.last), number(p.last.Replayed)
		moved, bytes = number(p.last.Moved), mib(p.last.Bytes)
	}
	return []cell{
		{fmt.Sprintf("%d %%", percent), percent}, number(events), text(p.kind), p.open.cell(), p.first.cell(),
		ratio(p.first.median(), floor.median()), rung, replayed, moved, bytes, text(p.last.Longest),
	}
}

// openCopy opens a copy of a directory in a fresh process, because the first open of a crashed store changes it.
// j.Path is the path in the copy.
func openCopy(ctx context.Context, dir string, j job) (r reading, err error) {
	fresh := dir + "-copy"
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }()
	if err := copyDir(ctx, dir, fresh); err != nil {
		return r, err
	}
	j.Path = filepath.Join(fresh, j.Path)
	return measureFresh(ctx, j)
}

// killed starts a process that fills a store and appends, and kills it when enough is acknowledged. It returns how many
// events the store was filled with, and how many were acknowledged in all.
func killed(ctx context.Context, j job) (filled, acked int, err error) {
	cmd, err := command(ctx, j)
	if err != nil {
		return 0, 0, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	lines := bufio.NewScanner(out)
	for n := 0; lines.Scan(); n++ { // what was written before the kill is read to its end
		if acked, err = strconv.Atoi(lines.Text()); err != nil {
			break
		}
		switch n {
		case 0:
			filled = acked
		case j.Singles:
			time.AfterFunc(time.Duration(acked%1000)*time.Microsecond, func() { cmd.Process.Kill() }) // anywhere in an append
		}
	}
	err = errors.Join(err, lines.Err())
	if err != nil {
		cmd.Process.Kill()
	}
	if wait := cmd.Wait(); cmd.ProcessState.ExitCode() >= 0 {
		err = errors.Join(err, fmt.Errorf("child that appends to %s ended by itself: %w", j.Path, wait))
	}
	return filled, acked, errors.Join(err, ctx.Err())
}
