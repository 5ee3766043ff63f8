package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"batpak"
)

// latencyRounds is how often each arm of the latency table has its turn.
const latencyRounds = 3

// An arm is one way to append, and what its rounds gave.
type arm struct {
	name          string
	round         func(ctx context.Context, dir string) (latencies sample, sealed int, err error)
	p50, p99, max sample
	sealed        int
}

// latencyTable answers: does a durable append wait for the artifacts that are written in the background?
func (b *bench) latencyTable(ctx context.Context) error {
	small, frame := max(b.segmentSize/32, 64<<10), int64(payloadLen+102+15)
	nearlyFull := b.segmentSize - min(b.segmentSize/2, int64(b.appends)*frame/4) // sealed a quarter into the round
	none := &batpak.Options{SegmentSize: 8 * b.segmentSize, NoSnapshot: true, NoCheckpoint: true}
	arms := []*arm{
		{name: "floor", round: b.floorRound},
		{name: "batpak, no artifacts", round: b.appendRound(none, nearlyFull)},
		{name: "batpak, one full segment sealed", round: b.appendRound(&batpak.Options{SegmentSize: b.segmentSize}, nearlyFull)},
		{name: "batpak, small segments sealed", round: b.appendRound(&batpak.Options{SegmentSize: small}, 0)},
	}
	dir := filepath.Join(b.dir, "latency")
	for range latencyRounds {
		for _, a := range arms { // in turns
			latencies, sealed, err := a.round(ctx, dir)
			if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
				return err
			}
			a.sealed += sealed
			a.p50, a.p99 = append(a.p50, latencies.percentile(50)), append(a.p99, latencies.percentile(99))
			a.max = append(a.max, latencies.percentile(100))
		}
	}
	t := &table{
		title:   fmt.Sprintf("6. latency of one durable writer, %d × %s appends", latencyRounds, grouped(int64(b.appends))),
		floor:   "bare write and fdatasync of as many bytes into a zero-filled file",
		columns: []string{"what", "segments sealed", "p50", "÷ floor", "p99", "÷ floor's", "÷ without artifacts", "longest"},
	}
	t.note("percentiles are medians of the rounds; small segments are of %d KiB, full ones of %d KiB", small>>10, b.segmentSize>>10)
	for _, a := range arms {
		t.row(text(a.name), number(a.sealed), a.p50.cell(), ratio(a.p50.median(), arms[0].p50.median()), a.p99.cell(),
			ratio(a.p99.median(), arms[0].p99.median()), ratio(a.p99.median(), arms[1].p99.median()), a.max.cell())
	}
	b.publish(t)
	return nil
}

// appendRound appends one by one to a new store that holds as many bytes in its active segment.
func (b *bench) appendRound(o *batpak.Options, active int64) func(context.Context, string) (sample, int, error) {
	return func(ctx context.Context, dir string) (latencies sample, sealed int, err error) {
		st, err := batpak.Open(dir, o)
		if err != nil {
			return nil, 0, err
		}
		s := newSource(b.entities)
		f := fill{Entities: b.entities, Segments: 1, Active: active, SegmentSize: b.segmentSize}
		if err := fillUp(ctx, batpakWriter{st}, s, f); err != nil {
			return nil, 0, errors.Join(err, st.Close())
		}
		for range b.appends {
			d := s.batch(1)[0]
			began := time.Now()
			if _, err := st.Append(ctx, d); err != nil {
				return nil, 0, errors.Join(err, st.Close())
			}
			latencies = append(latencies, time.Since(began))
		}
		sealed = st.Stats().Segments - 1
		return latencies, sealed, st.Close()
	}
}

// floorRound writes frames of the same size to a file that was filled with zeroes before.
func (b *bench) floorRound(ctx context.Context, name string) (latencies sample, sealed int, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	frame := make([]byte, payloadLen+102+len("order:0000000eu"))
	if _, err := f.Write(make([]byte, b.appends*len(frame))); err != nil {
		return nil, 0, err
	}
	if err := f.Sync(); err != nil {
		return nil, 0, err
	}
	for i := range frame {
		frame[i] = byte(i)
	}
	for i := range b.appends {
		began := time.Now()
		_, err := f.WriteAt(frame, int64(i*len(frame)))
		if err = errors.Join(err, syncData(f), ctx.Err()); err != nil {
			return nil, 0, err
		}
		latencies = append(latencies, time.Since(began))
	}
	return latencies, 0, nil
}
