package batpak_test

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"

	"batpak"
	"batpak/event"
	"batpak/hidden"
)

// What lanes mean, the slow way: from the list of everything that was committed, hidden or not.

// deepen gives the events of a whole history the depths that the store maintains, and returns it.
func deepen(h []told) []told {
	heads, of := map[streamName]uint32{}, map[event.ID]uint32{}
	for i := range h {
		t := &h[i]
		k := streamName{t.Coordinate.Entity(), t.Lane}
		if t.Lane != 0 && t.draft.Kind != 0 && t.draft.Depth == 0 {
			t.Depth = heads[k]
			if !t.Fork.IsZero() {
				t.Depth = of[t.Fork] + 1
			}
		}
		heads[k], of[t.ID] = t.Depth, t.Depth
	}
	return h
}

// branchOf returns what [batpak.Store.Branch] yields.
func branchOf(h []told, gone hidden.Set, k streamName) []event.Event {
	on := func(t *told, lane uint32) bool { return t.Coordinate.Entity() == k.entity && t.Lane == lane }
	if !slices.ContainsFunc(h, func(t told) bool { return on(&t, k.lane) && !gone.Contains(t.Seq) }) {
		return nil
	}
	var upTo func(lane uint32, last uint64) []event.Event
	upTo = func(lane uint32, last uint64) (all []event.Event) {
		first := true
		for i := range h {
			t := &h[i]
			if !on(t, lane) || t.Seq > last {
				continue
			}
			if first && !t.Fork.IsZero() {
				from := h[slices.IndexFunc(h, func(t2 told) bool { return t2.ID == t.Fork })]
				all = upTo(from.Lane, from.Seq)
			}
			if first = false; !gone.Contains(t.Seq) {
				all = append(all, t.Event)
			}
		}
		return all
	}
	return upTo(k.lane, math.MaxUint64)
}

// lanesOf returns what [batpak.Store.Lanes] returns.
func lanesOf(h []told, entity string) []batpak.Head {
	last := map[uint32]batpak.Head{}
	for i := range h {
		if t := &h[i]; t.Coordinate.Entity() == entity {
			last[t.Lane] = batpak.Head{Seq: t.Seq, ID: t.ID, Clock: t.Clock, Lane: t.Lane, Hash: t.Hash}
		}
	}
	heads := []batpak.Head{}
	for _, lane := range slices.Sorted(maps.Keys(last)) {
		heads = append(heads, last[lane])
	}
	return heads
}

// branches compares the branch of one lane.
func branches(st *batpak.Store, k streamName, want []event.Event) error {
	n := 0
	for ev, err := range st.Branch(context.Background(), k.entity, k.lane) {
		if err != nil {
			return fmt.Errorf("branch of %v: %w", k, err)
		}
		if n == len(want) {
			return fmt.Errorf("branch of %v: event %d is one too many", k, ev.Seq)
		}
		if err := sameEvent(&ev, &want[n]); err != nil {
			return fmt.Errorf("branch of %v: %w", k, err)
		}
		n++
	}
	if n < len(want) {
		return fmt.Errorf("branch of %v: %d events, want %d", k, n, len(want))
	}
	return nil
}

// tellsLanes compares the lanes of every entity, and every branch, with the generation.
func (g *generation) tellsLanes(st *batpak.Store) error {
	entities := map[string]bool{"nobody": true}
	streams := map[streamName]bool{{"nobody", 1}: true, {streamA.Entity(), 77}: true}
	for i := range g.told {
		t := &g.told[i]
		entities[t.Coordinate.Entity()] = true
		streams[streamName{t.Coordinate.Entity(), t.Lane}] = true
	}
	for entity := range entities {
		want := lanesOf(g.told, entity)
		if got, err := st.Lanes(context.Background(), entity); err != nil || !slices.Equal(got, want) {
			return fmt.Errorf("Lanes(%q) = %+v, %v, want %+v", entity, got, err, want)
		}
	}
	for k := range streams {
		if err := branches(st, k, branchOf(g.told, g.hidden, k)); err != nil {
			return err
		}
	}
	return nil
}
