package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"
)

// A probe is one kind of open of one store, measured again and again.
type probe struct {
	store       *store
	kind        string
	fresh       bool
	open, first sample
	heap        int64 // largest
	faults      int64 // largest
	disk        int64 // largest
	last        reading
}

// add notes one measurement.
func (p *probe) add(r reading) {
	p.open, p.first, p.last = append(p.open, r.Open), append(p.first, r.First), r
	p.heap, p.faults, p.disk = max(p.heap, r.Heap), max(p.faults, r.Faults), max(p.disk, r.Disk)
}

// process names where the open happens.
func (p *probe) process() string {
	if p.fresh {
		return "fresh"
	}
	return "same"
}

// openTable answers: what does it cost to open a store that was closed, up to the first event read of a random stream?
func (b *bench) openTable(ctx context.Context, cold bool) error {
	probes := b.openProbes(cold)
	for i := range b.runs {
		for _, p := range probes { // in turns, so that what disturbs the machine disturbs all of them
			j := b.openJob(p, uint64(i), cold)
			measure := measure
			if p.fresh {
				measure = measureFresh
			}
			r, err := measure(ctx, j)
			if err != nil {
				return err
			}
			p.add(r)
		}
	}
	t := &table{
		title: "1. open after a clean close, page cache warm",
		floor: "bare open, fstat and mmap of every file of the batpak store, first and last page touched",
		columns: []string{
			"events", "streams", "what", "process", "open", "to first event", "÷ floor", "rung", "replayed", "heap"},
	}
	if cold {
		t.title = "2. the same, page cache dropped"
		t.columns = append(t.columns, "major faults", "read from disk")
		t.note("floor-random is the floor with the kernel's readahead switched off (madvise)")
		t.note("page cache dropped by %s; each process had opened a small store before that", probes[0].last.Dropped)
	}
	for _, p := range probes {
		t.row(p.cells(b.floorOf(probes, p), cold)...)
	}
	b.noteGrowth(t, probes)
	b.publish(t)
	return nil
}

// openProbes returns what is opened, the floor of each size first. Cold opens need a fresh process.
func (b *bench) openProbes(cold bool) (probes []*probe) {
	for _, s := range b.stores {
		for _, kind := range []string{"floor", "floor-random", "batpak", "sqlite", "bbolt"} {
			if s.paths[kind] == "" || kind == "floor-random" && !cold {
				continue
			}
			probes = append(probes, &probe{store: s, kind: kind, fresh: true})
			if !cold {
				probes = append(probes, &probe{store: s, kind: kind})
			}
		}
	}
	return probes
}

// openJob is the run-th open of p: of another stream each time, the same one in every kind of store.
func (b *bench) openJob(p *probe, run uint64, cold bool) job {
	s, small := p.store, b.stores[0]
	pick := rand.New(rand.NewPCG(run, uint64(s.events)))
	return job{
		Do: "open", Kind: p.kind, Path: s.paths[p.kind], Entity: entityOf(pick.IntN(s.events), s.entities),
		Cold: cold, WarmPath: small.paths[p.kind], WarmEntity: entityOf(0, small.entities),
	}
}

// floorOf returns the floor's probe that belongs to p.
func (b *bench) floorOf(probes []*probe, p *probe) *probe {
	for _, f := range probes {
		if f.kind == "floor" && f.store == p.store && f.fresh == p.fresh {
			return f
		}
	}
	return p
}

func (p *probe) cells(floor *probe, cold bool) []cell {
	rung, replayed, heap := text("-"), text("-"), text("-")
	if p.last.Rung != "" {
		rung, replayed, heap = heldCell("snapshot", p.last), number(p.last.Replayed), mib(p.heap)
	}
	cells := []cell{
		number(p.store.events), number(p.store.entities), text(p.kind), text(p.process()),
		p.open.cell(), p.first.cell(), ratio(p.first.median(), floor.first.median()), rung, replayed, heap,
	}
	if cold {
		cells = append(cells, number(p.faults), cell{fmt.Sprintf("%d KiB", p.disk>>10), p.disk})
	}
	return cells
}

// heldCell names the rung that held, and says so when it is not the one that was wanted.
func heldCell(wanted string, r reading) cell {
	if r.Rung == wanted {
		return text(r.Rung)
	}
	return text(r.Rung + ", NOT " + wanted)
}

// noteGrowth says how much longer the largest store takes than the smallest.
func (b *bench) noteGrowth(t *table, probes []*probe) {
	median := func(events int, kind string, fresh bool) time.Duration {
		for _, p := range probes {
			if p.store.events == events && p.kind == kind && p.fresh == fresh {
				return p.first.median()
			}
		}
		return 0
	}
	small := b.events[0]
	for _, kind := range []string{"batpak", "floor", "sqlite", "bbolt"} {
		for _, fresh := range []bool{true, false} {
			for i := len(b.events) - 1; i > 0; i-- {
				large := b.events[i]
				over := median(large, kind, fresh)
				if over == 0 {
					continue // not built at this size, or not measured in this way
				}
				t.note("%s, %s process: %s events take %s the time of %s", kind, (&probe{fresh: fresh}).process(),
					grouped(int64(large)), ratio(over, median(small, kind, fresh)).text, grouped(int64(small)))
				break
			}
		}
	}
}
