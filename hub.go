package batpak

import (
	"slices"
	"sync"
	"sync/atomic"

	"batpak/event"
	"batpak/index"
)

// A hub wakes followers, and only those that an event concerns. Each follower that waits, or has waited, stands in it
// under something that its query asks for: an entity, a tag, a scope. The committer looks there for every event it
// indexes, and what it finds it checks against the whole query, so that a follower sleeps until there is something for
// it. Where nobody follows this is one atomic load for each write group; where nobody is concerned, one hash and one bit
// for each event and sort of key.
//
// No event is missed between a look and a wait: whoever stands in the hub is told the last event that may concern it,
// awake or not, and does not go to sleep before it has looked further than that. Safe for concurrent use.
type hub struct {
	filter atomic.Pointer[hubFilter] // who might be concerned; nil while nobody follows
	done   chan struct{}             // closed when nothing will become visible any more

	mu       sync.Mutex
	standing map[hubKey][]*sleeper
	count    int  // places taken
	gone     int  // places left since the filter was made, whose bits it has still
	ended    bool // done is closed

	woken atomic.Uint64 // waits that have ended with something to look at
}

// A sleeper is what the hub knows of one follower. The hub's mu guards it.
type sleeper struct {
	q      *index.Query
	places []hubPlace // an event that q selects has the key of one of them
	last   uint64     // sequence of the last event that may concern the follower
	asleep bool       // it waits for wake
	wake   chan struct{}
}

// mostGone is how many places may have been left before a filter is made anew for that.
const mostGone = 1024

// concerns reports whether r is what s waits for: something that its query selects, or the end of that.
func (s *sleeper) concerns(r *event.Raw) bool {
	return s.q.Matches(r) || s.q.ToHLC != 0 && r.HLC >= s.q.ToHLC
}

// init prepares a hub.
func (h *hub) init() { h.done = make(chan struct{}) }

// join adds a follower that asks for q, which is normal and does not change. Events that have had their sequence before
// may concern it, too: accepted is the last of them.
func (h *hub) join(q *index.Query, accepted *atomic.Uint64) *sleeper {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &sleeper{q: q, places: h.leastCrowded(q), wake: make(chan struct{}, 1)}
	if h.standing == nil {
		h.standing = make(map[hubKey][]*sleeper)
	}
	for _, p := range s.places {
		h.standing[p.key] = append(h.standing[p.key], s)
	}
	h.count += len(s.places)
	if f := h.filter.Load(); f != nil && f.covers(s.places) {
		f.add(s.places)
	} else {
		h.filter.Store(newHubFilter(h.standing))
	}
	// The committer moves accepted before it loads the filter: what it has not looked for here is accepted by now.
	s.last = accepted.Load()
	return s
}

// leastCrowded returns where a follower that asks for q had best stand: where the fewest others do, so that an event
// that concerns none of them is checked against few.
func (h *hub) leastCrowded(q *index.Query) (best []hubPlace) {
	least := -1
	for _, places := range hubChoices(q) {
		crowd := 0
		for _, p := range places {
			crowd += len(h.standing[p.key])
		}
		if least < 0 || crowd < least {
			least, best = crowd, places
		}
	}
	return best
}

// leave takes a follower out. A nil s has not joined.
func (h *hub) leave(s *sleeper) {
	if s == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range s.places {
		left := slices.DeleteFunc(h.standing[p.key], func(o *sleeper) bool { return o == s })
		if h.standing[p.key] = left; len(left) == 0 {
			delete(h.standing, p.key)
		}
	}
	h.count, h.gone = h.count-len(s.places), h.gone+len(s.places)
	switch {
	case h.count == 0:
		h.standing, h.gone = nil, 0
		h.filter.Store(nil)
	case h.gone > h.count+mostGone:
		h.gone = 0
		h.filter.Store(newHubFilter(h.standing))
	}
}

// sleep reports whether s, who has looked at everything up to at, may wait for its wake.
func (h *hub) sleep(s *sleeper, at uint64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.asleep = s.last <= at
	return s.asleep
}

// touch notes the followers whom r, which has these keys, may concern. It adds those that sleep to noted: they are to be
// woken when the group is published.
func (h *hub) touch(noted []*sleeper, keys []hubKey, r *event.Raw) []*sleeper {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keys {
		for _, s := range h.standing[k] {
			if s.asleep && !s.concerns(r) {
				continue
			}
			s.last = r.Seq // whoever is awake will look itself
			if s.asleep {
				s.asleep = false
				noted = append(noted, s)
			}
		}
	}
	return noted
}

// wake wakes those whom [hub.touch] has noted.
func (h *hub) wake(noted []*sleeper) {
	for _, s := range noted {
		wake(s.wake)
	}
}

// over reports whether nothing will become visible any more.
func (h *hub) over() bool {
	select {
	case <-h.done:
		return true
	default:
		return false
	}
}

// end wakes everybody for good.
func (h *hub) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.ended = true
		close(h.done)
	}
}
