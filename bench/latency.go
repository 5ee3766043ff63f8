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
	small := max(b.segmentSize/16, 64<<10)
	arms := []*arm{
		{name: "floor", round: b.floorRound},
		{name: "batpak, no artifacts", round: b.appendRound(&batpak.Options{NoSnapshot: true, NoCheckpoint: true})},
		{name: "batpak, seals and artifacts", round: b.appendRound(&batpak.Options{SegmentSize: small})},
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
	t.note("seals every %d KiB here, against the %d MiB segment without; medians of the rounds", small>>10, 64)
	for _, a := range arms {
		t.row(text(a.name), number(a.sealed), a.p50.cell(), ratio(a.p50.median(), arms[0].p50.median()), a.p99.cell(),
			ratio(a.p99.median(), arms[0].p99.median()), ratio(a.p99.median(), arms[1].p99.median()), a.max.cell())
	}
	b.publish(t)
	return nil
}

// appendRound appends one by one to a new store.
func (b *bench) appendRound(o *batpak.Options) func(context.Context, string) (sample, int, error) {
	return func(ctx context.Context, dir string) (latencies sample, sealed int, err error) {
		st, err := batpak.Open(dir, o)
		if err != nil {
			return nil, 0, err
		}
		s := newSource(b.entities)
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
