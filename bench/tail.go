package main

import (
	"context"
	"os"
	"path/filepath"
	"time"
)

// tailTable answers: how fast are the frames of the active segment read when no index block helps?
func (b *bench) tailTable(ctx context.Context) error {
	t := &table{
		title:   "7. tail replay without index blocks, snapshot and checkpoint, one sealed segment before it; fresh process",
		floor:   "reading and checksumming (CRC-32C) the active segment, one goroutine",
		columns: []string{"tail", "rung", "replayed", "open", "GB/s", "M events/s", "floor", "floor GB/s", "÷ floor", "heap"},
	}
	for _, active := range []int64{b.segmentSize / 4, b.segmentSize * 15 / 16} {
		if err := b.tailRow(ctx, t, active); err != nil {
			return err
		}
	}
	b.publish(t)
	return nil
}

func (b *bench) tailRow(ctx context.Context, t *table, active int64) error {
	dir := filepath.Join(b.dir, "tail")
	defer os.RemoveAll(dir + ".aside")
	defer os.RemoveAll(dir)
	f := fill{Entities: b.entities, Segments: 2, Active: active, SegmentSize: b.segmentSize}
	if err := build(ctx, "batpak", dir, f); err != nil {
		return err
	}
	p, floor, size := &probe{}, sample(nil), int64(0)
	for began := time.Now(); b.again(len(floor), began); {
		if _, err := hide(dir, "index.fbati", "index.ckpt", "*.fbix"); err != nil { // written again by each close
			return err
		}
		spans, err := frameSpans(dir)
		if err != nil {
			return err
		}
		spans = spans[len(spans)-1:]
		took, err := checksum(ctx, spans)
		if err != nil {
			return err
		}
		r, err := measureFresh(ctx, job{Do: "open", Kind: "batpak-bare", Path: dir, Entity: entityOf(0, b.entities)})
		if err != nil {
			return err
		}
		size, floor = spans[0].to, append(floor, took)
		p.add(r)
	}
	speed := func(s sample) cell { return float("%.2f", rate(float64(size), s.median())/1e9) }
	t.row(mib(size), heldCell("footers", p.last), number(p.last.Replayed), p.open.cell(), speed(p.open),
		float("%.1f", rate(float64(p.last.Replayed), p.open.median())/1e6), floor.cell(), speed(floor),
		ratio(p.open.median(), floor.median()), mib(p.heap))
	return nil
}
