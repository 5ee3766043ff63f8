package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// A rungSpec says how to make a store open by one rung: what is taken away before, and by whom it is opened so that
// it stays away.
type rungSpec struct {
	name   string
	opener string
	hidden []string
	strip  bool                                       // footers
	bytes  func(dir string) (spans []span, err error) // that the rung reads, or may read
}

// ladder is every rung from the top, each without the artifacts of those above it.
var ladder = []rungSpec{
	{"snapshot", "batpak", nil, false, artifact("index.fbati")},
	{"checkpoint", "batpak-nosnapshot", []string{"index.fbati"}, false, artifact("index.ckpt")},
	{"footers", "batpak-bare", []string{"index.fbati", "index.ckpt"}, false, footerSpans},
	{"frames", "batpak-readonly", []string{"index.fbati", "index.ckpt", "*.fbix"}, true, frameSpans},
}

// artifact returns the whole of one file, and nothing where there is none.
func artifact(name string) func(dir string) ([]span, error) {
	return func(dir string) ([]span, error) {
		info, err := os.Stat(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		return []span{{filepath.Join(dir, name), 0, info.Size()}}, nil
	}
}

func footerSpans(dir string) (spans []span, err error) {
	sealed, _, err := sealedFiles(dir)
	for _, s := range sealed {
		spans = append(spans, span{s.name, s.end, s.size})
	}
	return spans, err
}

func frameSpans(dir string) (spans []span, err error) {
	sealed, active, err := sealedFiles(dir)
	if err != nil {
		return nil, err
	}
	for _, s := range sealed {
		spans = append(spans, span{s.name, 0, s.end})
	}
	info, err := os.Stat(active)
	if err != nil {
		return nil, err
	}
	return append(spans, span{active, 0, info.Size()}), nil
}

// rungTable answers: what does each rung cost?
func (b *bench) rungTable(ctx context.Context) error {
	t := &table{
		title:   "4. open by each rung, fresh process",
		floor:   "reading and checksumming (CRC-32C) the bytes that the rung reads, files in parallel: the artifact, the footers, the frames",
		columns: []string{"events", "streams", "wanted", "held", "cache", "open", "floor", "÷ floor", "M events/s", "ns/stream", "bytes", "heap"},
	}
	t.note("the active segment's tail is replayed on every rung but not in the floor of the upper three")
	t.note("frames are opened read-only, so that no footer is written again between the runs")
	for _, s := range b.stores {
		for _, spec := range ladder {
			if !slices.Contains(b.rungs, spec.name) {
				continue
			}
			if err := b.rungRows(ctx, t, s, spec); err != nil {
				return err
			}
		}
	}
	b.publish(t)
	return nil
}

// rungRows takes away what is above the rung, measures, and brings it back.
func (b *bench) rungRows(ctx context.Context, t *table, s *store, spec rungSpec) (err error) {
	dir := s.paths["batpak"]
	restore, err := hide(dir, spec.hidden...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	if spec.strip {
		restore, err := stripFooters(dir)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, restore()) }()
	}
	syncAll()
	if err := b.rungRow(ctx, t, s, spec, false); err != nil {
		return err
	}
	if b.cold && spec.name == "frames" {
		return b.rungRow(ctx, t, s, spec, true)
	}
	return nil
}

func (b *bench) rungRow(ctx context.Context, t *table, s *store, spec rungSpec, cold bool) error {
	dir, cache := s.paths["batpak"], "warm"
	spans, err := spec.bytes(dir)
	if err != nil {
		return err
	}
	j := job{Do: "open", Kind: spec.opener, Path: dir, Entity: entityOf(0, s.entities), Cold: cold,
		WarmPath: b.stores[0].paths["batpak"], WarmEntity: entityOf(0, b.entities)}
	if cold {
		cache = "cold"
	}
	p, floor := &probe{}, sample(nil)
	for began := time.Now(); b.again(len(floor), began); {
		if cold {
			if _, err := dropCache(dir); err != nil {
				return err
			}
		}
		took, err := checksum(ctx, spans)
		if err != nil {
			return err
		}
		r, err := measureFresh(ctx, j)
		if err != nil {
			return err
		}
		floor = append(floor, took)
		p.add(r)
	}
	t.row(rungCells(s, spec, cache, p, floor, spans)...)
	return nil
}

// again reports whether something that was measured done times is measured once more: slow things at least 3 times.
func (b *bench) again(done int, began time.Time) bool {
	return done < b.runs && (done < 3 || time.Since(began) < 10*time.Second)
}

func rungCells(s *store, spec rungSpec, cache string, p *probe, floor sample, spans []span) []cell {
	total := int64(0)
	for _, s := range spans {
		total += s.to - s.from
	}
	perStream, beside, against := text("-"), floor.cell(), ratio(p.open.median(), floor.median())
	if spec.name == "checkpoint" {
		perStream = float("%.0f", float64(p.open.median())/float64(min(s.entities, s.events)))
	}
	if len(spans) == 0 {
		beside, against = text("-"), text("-")
	}
	return []cell{
		number(s.events), number(s.entities), text(spec.name), heldCell(spec.name, p.last), text(cache), p.open.cell(),
		beside, against, float("%.1f", rate(float64(s.events), p.open.median())/1e6), perStream, mib(total), mib(p.heap),
	}
}
