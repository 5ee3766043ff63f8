package batpak_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"batpak"
	"batpak/coordinate"
	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// The benchmarks of queries run over readEvents sealed events of 10,000 entities: every tenth carries a tag, and every
// fiftieth is of one of twenty streams of 1,000 events each.

// queryDraft is event number i of the store.
func queryDraft(i int, payload []byte) batpak.Draft {
	d := batpak.Draft{
		Coordinate: coordinate.MustNew(fmt.Sprintf("order:%04d", (i*7919)%10_000), fmt.Sprintf("scope-%d", i%10)),
		Kind:       event.MustKind(1+i%3, i/3%10), Payload: payload,
	}
	if i%50 == 25 {
		d.Coordinate = coordinate.MustNew(hotStream(i/50), "scope-0")
	}
	switch {
	case i%1000 == 7:
		d.Tags = []string{"rare"}
	case i%10 == 3:
		d.Tags = []string{"often"}
	}
	return d
}

// hotStream is one of the streams of 1,000 events.
func hotStream(i int) string { return fmt.Sprintf("hot:%02d", i%20) }

// newQueryStore returns an open store of readEvents sealed events, and its directory.
func newQueryStore(b *testing.B) (*batpak.Store, string) {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "store")
	st, err := batpak.Open(dir, &batpak.Options{Sync: batpak.SyncNever})
	if err != nil {
		b.Fatal(err)
	}
	payload, _ := json.Marshal(map[string]string{"order": "0000", "note": strings.Repeat("x", 300-28)})
	drafts := make([]batpak.Draft, 1000)
	for i := 0; i < readEvents; i += len(drafts) {
		for k := range drafts {
			drafts[k] = queryDraft(i+k, payload)
		}
		if _, err := st.AppendBatch(b.Context(), drafts); err != nil {
			b.Fatal(err)
		}
	}
	return sealAll(b, st, dir), dir
}

// hotFrames maps the segments of the store and returns the places of the frames of those streams, by stream.
func hotFrames(b *testing.B, dir string) (maps []*vfs.Map, at [20][]framePlace) {
	b.Helper()
	maps = mapFrames(b, dir, func(f *segment.Frame, p framePlace) bool {
		raw, err := event.DecodeBody(f.Body)
		var stream int
		if n, _ := fmt.Sscanf(string(raw.Entity), "hot:%02d", &stream); n == 1 && err == nil {
			at[stream] = append(at[stream], p)
		}
		return len(at[19]) < readEvents/1000 // the last of them comes last
	})
	return maps, at
}

// BenchmarkQueryStream reads the 1,000 events of one entity among all. The floor knows where each frame stands: it copies
// it out of the map and checksums it.
func BenchmarkQueryStream(b *testing.B) {
	st, dir := newQueryStore(b)
	b.Run("floor", func(b *testing.B) {
		maps, at := hotFrames(b, dir)
		buf := make([]byte, 64<<10)
		var sum uint32
		for i := 0; b.Loop(); i++ {
			for _, p := range at[i%20] {
				maps[p.file].ReadAt(buf[:p.len], p.offset)
				sum += wire.Sum(0, buf[:p.len])
			}
		}
		runtime.KeepAlive(sum)
		perSecond(b, len(at[0]))
	})
	for _, q := range []batpak.Query{
		{Entity: "hot:", Borrow: true}, {Entity: "hot:"}, {Entity: "hot:", Borrow: true, Reverse: true},
		{Tags: []string{"rare"}, Borrow: true}, {Kinds: []event.Kind{event.MustKind(1, 0)}, Borrow: true},
		{Categories: []int{1}, Borrow: true}, {Scope: "scope-4", Borrow: true}, {EntityPrefix: "order:1", Borrow: true},
	} {
		b.Run(fmt.Sprintf("%s/borrow=%v", queryName(&q), q.Borrow), func(b *testing.B) {
			b.ReportAllocs()
			n := 0
			for i := 0; b.Loop(); i++ {
				if q.Entity != "" {
					q.Entity = hotStream(i)
				}
				n = countRead(b, st, q)
			}
			perSecond(b, n)
		})
	}
}

// queryName says what is special about a query.
func queryName(q *batpak.Query) string {
	var parts []string
	add := func(name string, value any, set bool) {
		if set {
			parts = append(parts, fmt.Sprintf("%s=%v", name, value))
		}
	}
	add("entity", q.Entity, q.Entity != "")
	add("entities", len(q.Entities), len(q.Entities) > 0)
	add("prefix", q.EntityPrefix, q.EntityPrefix != "")
	add("prefixes", len(q.EntityPrefixes), len(q.EntityPrefixes) > 0)
	add("scope", q.Scope, q.Scope != "")
	add("kinds", len(q.Kinds), len(q.Kinds) > 0)
	add("categories", q.Categories, len(q.Categories) > 0)
	add("tags", q.Tags, len(q.Tags) > 0)
	add("reverse", true, q.Reverse)
	if len(parts) == 0 {
		return "all"
	}
	return strings.Join(parts, ",")
}

func countRead(b *testing.B, st *batpak.Store, q batpak.Query) (n int) {
	for ev, err := range st.Read(b.Context(), q) {
		if err != nil {
			b.Fatal(err)
		}
		n += min(len(ev.Payload), 1)
	}
	return n
}

// BenchmarkQueryPage reads pages of 100 events, each at several depths of the store; the metric is the slowest of them
// over the first one.
func BenchmarkQueryPage(b *testing.B) {
	st, _ := newQueryStore(b)
	names := func(n, from int) (out []string) {
		for i := range n {
			out = append(out, fmt.Sprintf("order:%04d", from+i*10_000/n))
		}
		return out
	}
	for _, q := range []batpak.Query{
		{}, {Entity: "hot:07"}, {EntityPrefix: "hot:07"}, {EntityPrefix: "order:"}, {EntityPrefix: "order:1"}, {EntityPrefix: "order:12"},
		{EntityPrefix: "order:123"}, {Scope: "scope-4"}, {Kinds: []event.Kind{event.MustKind(1, 0)}}, {Categories: []int{2}},
		{Tags: []string{"often"}}, {Tags: []string{"rare"}}, {Tags: []string{"often"}, Kinds: []event.Kind{event.MustKind(2, 4)}},
		{Entities: names(20, 1)}, {Entities: names(100, 1)}, {Entities: names(1000, 1)},
		{EntityPrefixes: []string{"order:11", "order:33", "hot:07"}}, {Entity: "hot:07", Reverse: true}, {EntityPrefix: "order:12", Reverse: true},
	} {
		q.Limit, q.Borrow = 100, true
		b.Run(queryName(&q), func(b *testing.B) {
			depths := []uint64{0, readEvents / 4, readEvents / 2, readEvents * 3 / 4, readEvents * 85 / 100}
			took := make([]time.Duration, len(depths))
			for b.Loop() {
				for i, at := range depths {
					switch {
					case q.Reverse:
						q.Before = readEvents - at
					default:
						q.After = at
					}
					begin := time.Now()
					if n := countRead(b, st, q); n != 100 {
						b.Fatalf("%d events behind %d", n, at)
					}
					took[i] += time.Since(begin)
				}
			}
			slowest := took[0]
			for i, d := range took {
				slowest = max(slowest, d)
				b.ReportMetric(float64(d.Nanoseconds())/float64(b.N)/1000, fmt.Sprintf("µs/at%d%%", depths[i]*100/readEvents))
			}
			b.ReportMetric(float64(slowest)/float64(took[0]), "slowest/first")
		})
	}
}
