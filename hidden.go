package batpak

import (
	"sync/atomic"

	"batpak/hidden"
	"batpak/index"
	"batpak/internal/planted"
)

// hiddenRanges are the events that are in the log and that no read shows (I8). Such an event keeps its sequence, its
// clock and its place in the chain: [Store.Head] may name it, and what follows it links to it.
//
// A set is replaced and never changed. Whoever hides events does so before the visible end passes them, and a read
// takes its view before its filter: so it never sees an event that was hidden when its view began. Safe for concurrent
// use; the zero value hides nothing.
type hiddenRanges struct {
	set atomic.Pointer[hidden.Set] // nil: nothing is hidden
}

// use makes set what is hidden from now on.
func (h *hiddenRanges) use(set hidden.Set) {
	if set.IsEmpty() {
		h.set.Store(nil)
		return
	}
	h.set.Store(&set)
}

// contains reports whether the event with this sequence is hidden now.
func (h *hiddenRanges) contains(seq uint64) bool {
	set := h.set.Load()
	return set != nil && set.Contains(seq)
}

// filter returns what index.Query.Hidden asks for, as things are now; nil when nothing is hidden, so that a read costs
// what it would without.
func (h *hiddenRanges) filter() func(seq uint64) bool {
	set := h.set.Load()
	if set == nil {
		return nil
	}
	return set.Contains
}

// hide makes q leave out what is hidden now.
func (h *hiddenRanges) hide(q *index.Query) {
	set := h.set.Load()
	if set == nil {
		q.Hidden, q.NextHidden = nil, nil
		return
	}
	q.Hidden, q.NextHidden = set.Contains, set.Next
}

// keyFilter is filter for the look-up of idempotency keys.
func (h *hiddenRanges) keyFilter() func(seq uint64) bool {
	if planted.On(planted.CancelledKeyKnown) {
		return nil
	}
	return h.filter()
}
