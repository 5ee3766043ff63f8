package segment

import (
	"math/rand/v2"
	"slices"
	"testing"

	"batpak/event"
)

// Children are found of every event, however many it has and however unevenly their hashes lie.
func TestChildrenOfEveryEvent(t *testing.T) {
	for name, shape := range map[string]sidxShape{
		"families":       {events: 10_000, entities: 1, scopes: 1, kinds: 1, families: true},
		"two families":   {events: 700, entities: 1, scopes: 1, kinds: 1, families: true},
		"a few":          {events: 25, entities: 1, scopes: 1, kinds: 1, sparse: true},
		"anybody":        {events: 3000, entities: 1, scopes: 1, kinds: 1, sparse: true},
		"of nobody":      {events: 100, entities: 1, scopes: 1, kinds: 1},
		"without events": {entities: 1, scopes: 1, kinds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			m := newSidxModel(t, 11, shape)
			f, r := m.open(t), rand.New(rand.NewPCG(11, 2))
			children := map[event.ID][]uint32{}
			ids := []event.ID{{}, event.NewID(1, r.Uint64())}
			for i := range m.events {
				if cause := m.events[i].Causation; !cause.IsZero() {
					children[cause] = append(children[cause], uint32(i))
				}
				ids = append(ids, m.events[i].ID, event.NewID(m.events[i].HLC, r.Uint64()))
			}
			for _, id := range ids {
				l, err := f.Children(ByCausation, id)
				got := make([]uint32, l.Len())
				if err == nil {
					err = f.ReadList(l, 0, got)
				}
				if err != nil || !slices.Equal(got, children[id]) {
					t.Fatalf("Children of %v = %v, %v, want %v (seed 11)", id, got, err, children[id])
				}
			}
		})
	}
}

// BenchmarkChildren looks for the children of events of which few have any; one op is one event.
func BenchmarkChildren(b *testing.B) {
	for name, shape := range map[string]sidxShape{
		"families of 1 to 256": {events: 50_000, entities: 1, scopes: 1, kinds: 1, families: true},
		"of anybody":           {events: 50_000, entities: 1, scopes: 1, kinds: 1, sparse: true},
	} {
		b.Run(name, func(b *testing.B) {
			m := newSidxModel(b, 1, shape)
			f := m.open(b)
			for i := 0; b.Loop(); i++ {
				if _, err := f.Children(ByCausation, m.events[i*7919%len(m.events)].ID); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
