package hidden

import (
	"slices"

	"batpak/internal/planted"
)

// A Tracker follows the fences of a log in commit order and says what they hide:
//
//	event that names a fence    undecided
//	commit of that fence        what it has staged until here is visible
//	cancel of that fence        what it has staged until here is hidden
//	end of the log              what is undecided is hidden: nobody is left who could commit it
//
// An undecided event is never visible, so that a lost frame hides, and does not show. Events that a tracker was told
// the fate of by a [File] are passed over. Memory: the ranges of undecided and of cancelled fences.
// The zero Tracker begins at the start of a log. Not safe for concurrent use.
type Tracker struct {
	covers    uint64             // what became of the events up to here was known before
	known     Set                // what is hidden for good, cancelled left out
	cancelled []Range            // of fences that were cancelled since; in any order
	undecided map[uint64][]Range // by fence, ascending
	parted    []Range            // first to last event of committed fences that an undecided event may stand between
	last      uint64             // sequence of the last event; 0 for none
	lastFence uint64             // highest number met
}

// NewTracker returns a tracker that goes on from f.
func NewTracker(f File) *Tracker {
	return &Tracker{covers: f.Covers, known: f.Set, last: f.Covers, lastFence: f.LastFence}
}

// Event takes the next event of the log; fence is the number of the one that staged it, 0 for none.
func (t *Tracker) Event(seq, fence uint64) {
	if seq <= t.covers {
		return
	}
	t.last = seq
	if fence == 0 {
		return
	}
	t.lastFence = max(t.lastFence, fence)
	if t.undecided == nil {
		t.undecided = make(map[uint64][]Range)
	}
	staged := t.undecided[fence]
	if n := len(staged); n > 0 && staged[n-1].To == seq {
		staged[n-1].To++
		return
	}
	t.undecided[fence] = append(staged, Range{seq, seq + 1})
}

// Begin takes a frame that begins a fence. A fence whose frame was not met counts all the same.
func (t *Tracker) Begin(fence uint64) { t.lastFence = max(t.lastFence, fence) }

// Commit takes a frame that commits a fence.
func (t *Tracker) Commit(fence uint64) {
	t.Begin(fence)
	if staged := t.undecided[fence]; len(staged) > 0 {
		t.parted = append(t.parted, Range{staged[0].From, staged[len(staged)-1].To})
	}
	delete(t.undecided, fence)
}

// Cancel takes a frame that cancels a fence.
func (t *Tracker) Cancel(fence uint64) {
	t.Begin(fence)
	t.cancelled = append(t.cancelled, t.undecided[fence]...)
	delete(t.undecided, fence)
}

// Front returns the event that readers of commit order stop in front of while fences can still be committed: the first
// that is undecided, or, where a committed fence has staged events on both sides of that one, the first of those: what a
// fence has staged is seen at once. It never goes back; ok is false when there is nothing to stop in front of.
func (t *Tracker) Front() (seq uint64, ok bool) {
	for _, staged := range t.undecided {
		if !ok || staged[0].From < seq {
			seq, ok = staged[0].From, true
		}
	}
	if !ok {
		t.parted = t.parted[:0]
		return 0, false
	}
	for moved := !planted.On(planted.FenceVisibleInParts); moved; {
		moved = false
		for _, r := range t.parted {
			if r.From < seq && seq < r.To {
				seq, moved = r.From, true
			}
		}
	}
	t.parted = slices.DeleteFunc(t.parted, func(r Range) bool { return r.To <= seq })
	return seq, true
}

// Open returns how many fences have staged events and are undecided.
func (t *Tracker) Open() int { return len(t.undecided) }

// Cancelled returns what is hidden for good, wherever it stands: what was known, and what cancelled fences have staged.
// After each cancel it costs little more than what that has added, see [Set].
func (t *Tracker) Cancelled() Set {
	if len(t.cancelled) > chunkLen { // a log that is read
		t.known, t.cancelled = t.known.Union(Of(t.cancelled...)), nil
	}
	for _, r := range t.cancelled {
		t.known = t.known.Add(r.From, r.To)
	}
	t.cancelled = t.cancelled[:0]
	return t.known
}

// End returns what is hidden when the log ends here and its writer is gone.
func (t *Tracker) End() File {
	var ranges []Range
	for _, staged := range t.undecided {
		ranges = append(ranges, staged...)
	}
	return File{Set: t.Cancelled().Union(Of(ranges...)), Covers: t.last, LastFence: t.lastFence}
}

// Settled returns what is hidden for good while the log goes on: it covers the log up to [Tracker.Front].
func (t *Tracker) Settled() File {
	f := File{Set: t.Cancelled(), Covers: t.last, LastFence: t.lastFence}
	if first, ok := t.Front(); ok && !planted.On(planted.RangesAheadOfFences) {
		f.Covers = first - 1
		f.Set = f.Set.Below(first)
	}
	return f
}
