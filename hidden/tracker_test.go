package hidden

import (
	"testing"

	"pgregory.net/rapid"
)

func TestTracker(t *testing.T) {
	var none Tracker
	for _, tt := range []struct {
		name      string
		log       func(*Tracker)
		end, live Set
		covers    uint64 // of what is settled
	}{
		{"nothing", func(*Tracker) {}, Set{}, Set{}, 0},
		{"no fence", func(k *Tracker) { k.Event(1, 0); k.Event(2, 0) }, Set{}, Set{}, 2},
		{"committed", func(k *Tracker) { k.Begin(1); k.Event(1, 1); k.Event(2, 0); k.Event(3, 1); k.Commit(1) }, Set{}, Set{}, 3},
		{"cancelled", func(k *Tracker) { k.Begin(1); k.Event(1, 1); k.Event(2, 0); k.Event(3, 1); k.Cancel(1) },
			Of(Range{1, 2}, Range{3, 4}), Of(Range{1, 2}, Range{3, 4}), 3},
		{"undecided", func(k *Tracker) { k.Event(1, 0); k.Begin(1); k.Event(2, 1); k.Event(3, 1); k.Event(4, 0) },
			Of(Range{2, 4}), Set{}, 1},
		{"two at once", func(k *Tracker) {
			k.Begin(1)
			k.Begin(2)
			k.Event(1, 2)
			k.Event(2, 1)
			k.Event(3, 2)
			k.Event(4, 1)
			k.Cancel(2)
		}, Of(Range{1, 5}), Of(Range{1, 2}), 1},
		{"committed around an undecided one", func(k *Tracker) {
			k.Event(1, 0)
			k.Event(2, 1)
			k.Event(3, 2)
			k.Event(4, 1)
			k.Commit(1)
		}, Of(Range{3, 4}), Set{}, 1},
		{"committed around one that parts another", func(k *Tracker) {
			k.Event(1, 3)
			k.Event(2, 1)
			k.Event(3, 3)
			k.Event(4, 2)
			k.Event(5, 1)
			k.Commit(1)
			k.Commit(3)
		}, Of(Range{4, 5}), Set{}, 0},
		{"committed around one that is over", func(k *Tracker) {
			k.Event(1, 1)
			k.Event(2, 2)
			k.Event(3, 1)
			k.Commit(1)
			k.Settled()
			k.Cancel(2)
		}, Of(Range{2, 3}), Of(Range{2, 3}), 3},
		{"no begin", func(k *Tracker) { k.Event(1, 4); k.Commit(4); k.Event(2, 5) }, Of(Range{2, 3}), Set{}, 1},
		{"staged behind its commit", func(k *Tracker) { k.Event(1, 1); k.Commit(1); k.Event(2, 1) }, Of(Range{2, 3}), Set{}, 1},
		{"committed behind its cancel", func(k *Tracker) { k.Event(1, 1); k.Cancel(1); k.Commit(1) },
			Of(Range{1, 2}), Of(Range{1, 2}), 1},
		{"cancelled behind its commit", func(k *Tracker) { k.Event(1, 1); k.Commit(1); k.Cancel(1) }, Set{}, Set{}, 1},
		{"frames of fences that are not there", func(k *Tracker) { k.Commit(7); k.Cancel(8); k.Event(1, 0) }, Set{}, Set{}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := new(Tracker)
			tt.log(k)
			if got := k.End(); !got.Set.Equal(tt.end) {
				t.Errorf("End = %+v, want %+v", got, tt.end)
			}
			if got := k.Settled(); !got.Set.Equal(tt.live) || got.Covers != tt.covers {
				t.Errorf("Settled = %+v, want %+v, covers %d", got, tt.live, tt.covers)
			}
		})
	}
	if got := none.End(); !got.Set.IsEmpty() || got.Covers != 0 || got.LastFence != 0 {
		t.Errorf("End of an empty log = %+v", got)
	}
}

func TestTrackerKnowsTheLastFence(t *testing.T) {
	k := NewTracker(File{Covers: 2, LastFence: 3})
	for _, step := range []struct {
		do   func()
		want uint64
	}{
		{func() {}, 3}, {func() { k.Event(2, 9) }, 3}, {func() { k.Event(3, 4) }, 4}, {func() { k.Begin(6) }, 6},
		{func() { k.Commit(7) }, 7}, {func() { k.Cancel(8) }, 8}, {func() { k.Begin(1) }, 8},
	} {
		if step.do(); k.End().LastFence != step.want || k.Settled().LastFence != step.want {
			t.Errorf("LastFence = %d, %d, want %d", k.End().LastFence, k.Settled().LastFence, step.want)
		}
	}
}

// An op is one frame of a random log.
type op struct {
	do    int // 0, 1: event; 2: commit; 3: cancel; 4: begin
	fence uint64
}

// play gives ops to k and returns what must be hidden when the log ends.
func play(k *Tracker, ops []op) model {
	const visible, cancelled = 1 << 40, 1<<40 + 1 // no fence has such a number
	fate := map[uint64]uint64{}                   // of each event: the fence that it waits for, or one of the above
	decide := func(fence, what uint64) {
		for seq, waits := range fate {
			if waits == fence {
				fate[seq] = what
			}
		}
	}
	seq := uint64(0)
	for _, o := range ops {
		switch o.do {
		case 2:
			k.Commit(o.fence)
			decide(o.fence, visible)
		case 3:
			k.Cancel(o.fence)
			decide(o.fence, cancelled)
		case 4:
			k.Begin(o.fence)
		default:
			seq++
			k.Event(seq, o.fence)
			if fate[seq] = o.fence; o.fence == 0 {
				fate[seq] = visible
			}
		}
	}
	m := model{}
	for seq, f := range fate {
		if f != visible {
			m[seq] = true
		}
	}
	return m
}

// TestTrackerGoesOnFromAnyFile: whatever was settled at any place of a log, going on from there comes to the same end
// as reading all of it, and nothing that was settled is taken back.
func TestTrackerGoesOnFromAnyFile(t *testing.T) {
	anyOp := rapid.Custom(func(t *rapid.T) op {
		o := op{rapid.IntRange(0, 4).Draw(t, "op"), rapid.Uint64Range(0, 3).Draw(t, "fence")}
		if o.do > 1 && o.fence == 0 {
			o.fence = 1
		}
		return o
	})
	rapid.Check(t, func(t *rapid.T) {
		ops := rapid.SliceOfN(anyOp, 0, 50).Draw(t, "ops")
		var whole Tracker
		want := play(&whole, ops)
		if why := want.differs(whole.End().Set); why != "" {
			t.Fatalf("End: %s", why)
		}
		var part Tracker
		play(&part, ops[:rapid.IntRange(0, len(ops)).Draw(t, "cut")])
		settled := part.Settled()
		again := NewTracker(settled)
		play(again, ops)
		if got := again.End(); !got.Set.Equal(whole.End().Set) || got.Covers != whole.End().Covers {
			t.Fatalf("from %+v: %+v, want %+v", settled, got, whole.End())
		}
		if !whole.End().Set.Below(settled.Covers + 1).Equal(settled.Set) {
			t.Fatalf("settled %+v, and then %+v", settled, whole.End())
		}
	})
}

// TestFrontNeverGoesBack: nor does it come to stand between two events of a committed fence.
func TestFrontNeverGoesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var k Tracker
		staged := map[uint64][]uint64{} // of fences that are open; each number is used once
		var committed [][]uint64
		last, before, next := uint64(0), uint64(0), uint64(1)
		for range rapid.IntRange(0, 60).Draw(t, "ops") {
			fence := rapid.Uint64Range(0, 4).Draw(t, "fence") + next
			switch rapid.IntRange(0, 4).Draw(t, "op") {
			case 0:
				k.Commit(fence)
				committed, next = append(committed, staged[fence]), next+1
				delete(staged, fence)
			case 1:
				k.Cancel(fence)
				delete(staged, fence)
				next++
			case 2:
				last++
				k.Event(last, 0)
			default:
				last++
				k.Event(last, fence)
				staged[fence] = append(staged[fence], last)
			}
			front, ok := k.Front()
			if !ok {
				front = last + 1
			}
			if front < before {
				t.Fatalf("front at %d, and before at %d", front, before)
			}
			before = front
			for _, seqs := range staged {
				if len(seqs) > 0 && seqs[0] < front {
					t.Fatalf("front at %d, behind event %d, which is undecided", front, seqs[0])
				}
			}
			for _, seqs := range committed {
				if n := len(seqs); n > 0 && seqs[0] < front && seqs[n-1] >= front {
					t.Fatalf("front at %d, between events %v of a committed fence", front, seqs)
				}
			}
		}
	})
}
