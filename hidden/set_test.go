package hidden

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// A model is a set as a list of what is in it.
type model map[uint64]bool

func (m model) add(from, to uint64) {
	for seq := max(from, 1); seq < to; seq++ {
		m[seq] = true
	}
}

// most is the highest sequence that the property tests look at.
const most = 60

// differs says how s is not the set of m, or "".
func (m model) differs(s Set) string {
	for seq := range uint64(most + 10) {
		if s.Contains(seq) != m[seq] {
			return fmt.Sprintf("Contains(%d) = %v, want %v in %v", seq, s.Contains(seq), m[seq], s.flat())
		}
	}
	for seq := range uint64(most + 12) {
		from, to := s.Next(seq)
		next := seq
		for ; next < most+12 && !m[next]; next++ {
		}
		switch {
		case from >= to && from != math.MaxUint64, to <= seq, from <= seq != m[seq]:
			return fmt.Sprintf("Next(%d) = %d, %d of %v", seq, from, to, s.flat())
		case !m[seq] && from != next && (next < most+12 || from != math.MaxUint64):
			return fmt.Sprintf("Next(%d) begins at %d and not %d", seq, from, next)
		}
	}
	end := uint64(0)
	for r := range s.Ranges() {
		if r.From <= end || r.To <= r.From {
			return fmt.Sprintf("ranges %v overlap, touch, or are empty", s.flat())
		}
		end = r.To
	}
	if s.Count() != uint64(len(m)) || s.IsEmpty() != (len(m) == 0) || s.Len() != len(slices.Collect(s.Ranges())) {
		return fmt.Sprintf("Count %d, IsEmpty %v, Len %d of %v", s.Count(), s.IsEmpty(), s.Len(), s.flat())
	}
	return ""
}

func anyRange(t *rapid.T) Range {
	from := rapid.Uint64Range(0, most).Draw(t, "from")
	return Range{from, from + rapid.Uint64Range(0, 9).Draw(t, "length")}
}

// TestSetIsItsModel builds sets in every way there is, and asks them everything.
func TestSetIsItsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ranges := rapid.SliceOfN(rapid.Custom(anyRange), 0, 12).Draw(t, "ranges")
		var added Set
		whole, first := model{}, model{}
		cut := len(ranges) / 2
		for i, r := range ranges {
			before := added.flat()
			next := added.Add(r.From, r.To)
			if !slices.Equal(added.flat(), before) {
				t.Fatalf("Add(%d, %d) changes its set: %v, was %v", r.From, r.To, added.flat(), before)
			}
			added = next
			if whole.add(r.From, r.To); i < cut {
				first.add(r.From, r.To)
			}
		}
		a, b := Of(ranges[:cut]...), Of(ranges[cut:]...)
		for _, s := range []struct {
			name string
			set  Set
			want model
		}{
			{"Add", added, whole}, {"Of", Of(ranges...), whole}, {"Of half", a, first}, {"Union", a.Union(b), whole},
			{"Union turned", b.Union(a), whole},
		} {
			if why := s.want.differs(s.set); why != "" {
				t.Fatalf("%s of %v: %s", s.name, ranges, why)
			}
		}
		if !added.Equal(Of(ranges...)) {
			t.Fatalf("%v and %v are not equal", added, Of(ranges...))
		}
		end := rapid.Uint64Range(0, most+9).Draw(t, "end")
		for seq := range whole {
			if seq >= end {
				delete(whole, seq)
			}
		}
		if why := whole.differs(added.Below(end)); why != "" {
			t.Fatalf("Below(%d) of %v: %s", end, added, why)
		}
	})
}

// orders are ways to come by the same n ranges, which do not touch.
var orders = []struct {
	name string
	at   func(n int, rng *rand.Rand) []int
}{
	{"ascending", func(n int, _ *rand.Rand) []int { return upTo(n) }},
	{"descending", func(n int, _ *rand.Rand) []int { at := upTo(n); slices.Reverse(at); return at }},
	{"any", func(n int, rng *rand.Rand) []int { return rng.Perm(n) }},
	{"descending in front of what is there", func(n int, _ *rand.Rand) []int {
		at := upTo(n)
		slices.Reverse(at[n/4 : n/2])
		return slices.Concat(at[:n/4], at[n/2:], at[n/4:n/2])
	}},
	{"ascending in front of what is there", func(n int, _ *rand.Rand) []int {
		at := upTo(n)
		return slices.Concat(at[:n/4], at[n/2:], at[n/4:n/2])
	}},
}

func upTo(n int) []int {
	at := make([]int, n)
	for i := range at {
		at[i] = i
	}
	return at
}

// TestLargeSet: whatever the order, the set is the same, no chunk of it is nearly empty, and adding to it costs as much as
// a chunk and the list of chunks; what closes the gaps makes one range of all.
func TestLargeSet(t *testing.T) {
	const n = 6_000
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	ranges := make([]Range, n)
	for i := range ranges {
		ranges[i] = Range{10*uint64(i) + 1, 10*uint64(i) + 4}
	}
	want := Of(ranges...)
	for _, o := range orders {
		t.Run(o.name, func(t *testing.T) {
			var s Set
			at := o.at(n, rng)
			before := allocated()
			for _, i := range at {
				s = s.Add(ranges[i].From, ranges[i].To)
			}
			if each := (allocated() - before) / n; each > 24<<10 {
				t.Errorf("each of %d ranges took %d bytes", n, each)
			}
			if !s.Equal(want) || s.Len() != n || s.End() != ranges[n-1].To || len(s.chunks) > 2*n/chunkLen+2 {
				t.Fatalf("%d ranges in %d chunks, end %d", s.Len(), len(s.chunks), s.End())
			}
			for _, i := range rng.Perm(n) {
				if s = s.Add(ranges[i].To, ranges[i].To+7); slices.ContainsFunc(s.chunks, func(c chunk) bool { return len(c.ranges) == 0 }) {
					t.Fatal("an empty chunk")
				}
			}
			if s.Len() != 1 || s.Count() != 10*n {
				t.Errorf("closed: %d ranges of %d sequences", s.Len(), s.Count())
			}
		})
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

func TestEmptySet(t *testing.T) {
	var s Set
	for _, empty := range []Set{s, Of(), s.Add(5, 5), s.Add(7, 3), s.Add(0, 1), s.Union(Of()), s.Below(9), Of(Range{3, 4}).Below(3)} {
		if !empty.IsEmpty() || empty.Contains(0) || empty.Contains(5) || !empty.Equal(s) {
			t.Errorf("%v is not empty", empty)
		}
	}
}

func TestContainsAllocatesNothing(t *testing.T) {
	var s Set
	for i := range uint64(1000) {
		s = s.Add(10*i+1, 10*i+4)
	}
	if n := testing.AllocsPerRun(100, func() { s.Contains(5003) }); n != 0 {
		t.Errorf("Contains allocates %v times, want 0", n)
	}
}

func BenchmarkContains(b *testing.B) {
	for _, n := range []uint64{0, 1, 1000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			ranges := make([]Range, n)
			for i := range ranges {
				ranges[i] = Range{10*uint64(i) + 1, 10*uint64(i) + 4}
			}
			s, seq := Of(ranges...), uint64(0)
			b.ReportAllocs()
			for b.Loop() {
				s.Contains(seq % (10*n + 1))
				seq += 7919
			}
		})
	}
}

// BenchmarkAdd adds one range to a set of n.
func BenchmarkAdd(b *testing.B) {
	for _, n := range []uint64{1, 1000, 100_000, 1_000_000} {
		ranges := make([]Range, n)
		for i := range ranges {
			ranges[i] = Range{10*uint64(i) + 1, 10*uint64(i) + 4}
		}
		s := Of(ranges...)
		for name, from := range map[string]uint64{"behind": 10*n + 1, "amid": 5*n/10*10 + 6} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Add(from, from+2)
				}
			})
		}
	}
}
