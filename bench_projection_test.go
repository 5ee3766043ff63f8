package batpak_test

import (
	"testing"

	"batpak"
	"batpak/event"
)

// kindCounts is a state that a trivial fold counts in.
type kindCounts struct {
	PerKind map[event.Kind]int
	Bytes   int
}

func countKinds(state *kindCounts, ev event.Event) error {
	state.PerKind[ev.Kind]++
	state.Bytes += len(ev.Payload)
	return nil
}

func countingDef(name string) batpak.ProjectionDef[kindCounts] {
	return batpak.ProjectionDef[kindCounts]{
		Name: name, Version: 1, NoSnapshots: true, Fold: countKinds, Query: batpak.Query{Before: readEvents + 1},
		Init: func() kindCounts { return kindCounts{PerKind: map[event.Kind]int{}} },
	}
}

// BenchmarkProjection folds all events of a warm store. The floor walks the same mapped frames and checksums every body;
// read is Store.Read with the same work in its loop. entities counts per entity, whose names it keeps; group folds both
// in one pass.
func BenchmarkProjection(b *testing.B) {
	st := newReadStore(b)
	b.Run("floor", st.scanFloor)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			state := countingDef("").Init()
			for ev, err := range st.Read(b.Context(), batpak.Query{Borrow: true, Limit: readEvents}) {
				if err != nil {
					b.Fatal(err)
				}
				countKinds(&state, ev)
			}
		}
		perSecond(b, readEvents)
	})
	b.Run("kinds", func(b *testing.B) { benchCatchUp(b, st, countingDef("kinds")) })
	b.Run("entities", func(b *testing.B) { benchCatchUp(b, st, entitiesDef("entities")) })
	b.Run("group", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			kinds, entities := project(b, st.Store, countingDef("kinds")), project(b, st.Store, entitiesDef("entities"))
			g, err := batpak.GroupOf(kinds, entities)
			if err == nil {
				err = g.CatchUp(b.Context())
			}
			if err != nil {
				b.Fatal(err)
			}
			kinds.Close()
			entities.Close()
		}
		perSecond(b, readEvents)
	})
}

func entitiesDef(name string) batpak.ProjectionDef[map[string]int] {
	return batpak.ProjectionDef[map[string]int]{
		Name: name, Version: 1, NoSnapshots: true, Query: batpak.Query{Before: readEvents + 1},
		Init: func() map[string]int { return make(map[string]int) },
		Fold: func(state *map[string]int, ev event.Event) error {
			(*state)[ev.Coordinate.Entity()]++
			return nil
		},
	}
}

// project opens a projection.
func project[S any](tb testing.TB, st *batpak.Store, def batpak.ProjectionDef[S]) *batpak.Projection[S] {
	tb.Helper()
	p, err := batpak.NewProjection(st, def)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func benchCatchUp[S any](b *testing.B, st *readStore, def batpak.ProjectionDef[S]) {
	b.ReportAllocs()
	for b.Loop() {
		p := project(b, st.Store, def)
		if err := p.CatchUp(b.Context()); err != nil {
			b.Fatal(err)
		}
		if s := p.Status(); s.Applied != readEvents {
			b.Fatalf("%d events applied", s.Applied)
		}
		p.Close()
	}
	perSecond(b, readEvents)
}
