package index

import (
	"math/rand/v2"
	"testing"
)

// TestNoneBehindIsSure asks random logs, some of whose events are not published yet, whether anything of an entity stands
// behind a sequence: where the answer is none, a scan finds none.
func TestNoneBehindIsSure(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 5))
		l := newTestLog(t, memDir(t), 500+seed, everything)
		memory := r.IntN(2) == 0
		for range r.IntN(4) {
			l.add(r.IntN(60))
			l.turn(!memory)
		}
		l.add(r.IntN(60))
		l.show()
		l.add(r.IntN(5)) // not published
		v, sure := l.set.AcquireAll(), 0
		for range 200 {
			q := Query{Entity: testEntity(r.IntN(35)), After: r.Uint64N(l.seq + 2), System: true}
			if len(l.events) > 0 && r.IntN(4) > 0 {
				q.Entity = l.events[r.IntN(len(l.events))].Coordinate.Entity()
			}
			q = q.Normal()
			cur := v.Scan(q, true)
			some := cur.Next()
			if err := cur.Err(); err != nil {
				t.Fatal(err)
			}
			cur.Close()
			if none := v.NoneBehind(&q); none && some {
				t.Fatalf("seed %d: NoneBehind(%q, %d), and a scan finds one", seed, q.Entity, q.After)
			} else if none {
				sure++
			}
		}
		if memory && sure < 20 {
			t.Errorf("seed %d: NoneBehind is sure %d times of 200", seed, sure)
		}
		all := Query{After: 1}.Normal()
		if v.NoneBehind(&all) {
			t.Errorf("seed %d: NoneBehind says of a query without an entity that nothing is there", seed)
		}
		absent := Query{Entity: "nobody"}.Normal()
		if memory && !v.NoneBehind(&absent) {
			t.Errorf("seed %d: NoneBehind does not know that an entity is not in memory", seed)
		}
		v.Release()
		l.set.Close()
	}
}
