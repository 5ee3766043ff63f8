package batpak

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"
)

// The queue is how goroutines share write groups without a goroutine of its own: whoever arrives while nobody commits
// leads a group at once, alone; whoever arrives meanwhile waits, and the first of those leads the next group with
// everyone who has come by then. One caller alone never waits for another.
type queue struct {
	mu      sync.Mutex
	waiting []*request // in order of arrival
	spare   []*request // the other buffer of waiting
	led     bool       // somebody leads
	crowd   int        // who may be part of the next group: those who wait, and those who were just answered
	misses  int        // gatherings in a row that the crowd did not come to
	skip    int        // gatherings to leave out
	closed  bool       // nobody may enter
	idle    sync.Cond  // signalled when the last leader leaves; L is mu
}

// enter puts r into the queue and reports whether its caller is to lead.
func (q *queue) enter(r *request) (lead bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false, ErrClosed
	}
	if !q.led {
		q.led = true
		r.state = requestTaken
		return true, nil
	}
	r.wake = make(chan bool, 1)
	q.waiting = append(q.waiting, r)
	return false, nil
}

// submit puts r, which has a ticket, into the queue; where nobody leads, a goroutine of its own does.
func (s *Store) submit(r *request) error {
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	q.waiting = append(q.waiting, r)
	if !q.led {
		q.led = true
		r.state = requestLeads
		go s.lead(nil)
	}
	return nil
}

// wait returns when the outcome of r is there, leading a group on the way if it is r's turn. When ctx ends first, it
// takes r back if no leader has taken it yet; abandoned then says that a leader still holds r.
func (s *Store) wait(ctx context.Context, r *request) (abandoned bool, err error) {
	q := &s.queue
	select {
	case lead := <-r.wake:
		if lead {
			s.lead(nil)
		}
		return false, r.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	state := r.state
	if state == requestQueued {
		q.remove(r)
	}
	q.mu.Unlock()
	switch state {
	case requestQueued:
		return false, &CanceledError{Err: context.Cause(ctx)}
	case requestLeads:
		// The others wait for this goroutine: lead, which commits r too.
		<-r.wake
		s.lead(nil)
		return false, r.err
	}
	select {
	case <-r.wake: // the outcome came in the meantime
		return false, r.err
	default:
		return true, &CanceledError{MayLand: true, Err: context.Cause(ctx)}
	}
}

// remove takes r out of the waiting ones. The caller holds mu.
func (q *queue) remove(r *request) {
	for i, w := range q.waiting {
		if w == r {
			q.waiting = append(q.waiting[:i], q.waiting[i+1:]...)
			return
		}
	}
}

// gatherIdle is how long a leader waits for the next of those who were just answered: when none has come for so long, the
// others have something else to do.
const gatherIdle = 20 * time.Microsecond

// gatherMost bounds how long it waits for all of them; it is about what one sync takes, and to miss a group costs one.
const gatherMost = 150 * time.Microsecond

// gatherLooks bounds how often it looks meanwhile: several times as often as there is time for.
const gatherLooks = 2000

// maxMisses bounds how many gatherings are left out when nobody came: 2^6.
const maxMisses = 6

// gather gives those who were just answered time to append again, and stages them behind the group as they come, until that
// is limit bytes long: a group of twice the size costs the same sync, and without it one of many callers leads a group of
// its own while all others miss it. Where they do not come it is tried less and less often.
//
// The leader stages while the other cores still encode: all of this is time in which the disk has nothing to do.
func (s *Store) gather(limit int64) {
	q, c := &s.queue, &s.commit
	begin, crowd := len(c.group), q.expected()
	if begin >= crowd {
		return
	}
	last := time.Now()
	most := last.Add(gatherMost)
	// Where time stands still, as in a bubble of testing/synctest, the number of looks ends it.
	for look := 0; look < gatherLooks && len(c.group) < crowd-crowd/32; look++ {
		runtime.Gosched()
		from, full := len(c.group), false
		c.group, full = q.join(c.group, limit-int64(len(c.buf)))
		if len(c.group) > from {
			c.wall = s.opts.Clock() // no event is older than its append
			s.stageAll(c.group[from:])
			last = time.Now()
		}
		now := time.Now()
		if full || now.Sub(last) > gatherIdle || now.After(most) {
			break
		}
	}
	if 4*(len(c.group)-begin) >= crowd-begin {
		q.misses = 0
		return
	}
	q.misses = min(q.misses+1, maxMisses)
	q.skip = 1 << q.misses
}

// expected returns how many may be part of the next group; 0 where it is not worth while to wait for them.
func (q *queue) expected() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.skip > 0 {
		q.skip--
		return 0
	}
	return q.crowd
}

// join moves those who wait to the end of group, which take has returned, in order, while what they take in a segment is at
// most room together; full says that somebody is left.
func (q *queue) join(group []*request, room int64) (grown []*request, full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, r := range q.waiting {
		if room -= r.size(); room < 0 {
			break
		}
		r.state = requestTaken
		n++
	}
	if n > 0 {
		group = append(group, q.waiting[:n]...)
		q.waiting = slices.Delete(q.waiting, 0, n)
		q.spare = group
	}
	return group, len(q.waiting) > 0
}

// take returns everyone who waits; first, if there is one, goes before them. The slice is
// valid until leave.
func (q *queue) take(first *request) []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	group := q.waiting
	q.waiting = q.spare[:0]
	if first != nil {
		group = append(group, nil)
		copy(group[1:], group)
		group[0] = first
	}
	q.spare = group
	for _, r := range group {
		r.state = requestTaken
	}
	return group
}

// leave hands the lead to the first who waits, or to nobody. answered is how many were in the group that ends.
func (s *Store) leave(answered int) {
	q := &s.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	q.crowd = len(q.waiting) + answered
	if len(q.waiting) > 0 {
		next := q.waiting[0]
		next.state = requestLeads
		if next.ticket != nil {
			go s.lead(nil) // nobody waits for it who could
		} else {
			next.wake <- true
		}
		return
	}
	q.led = false
	q.idle.Broadcast()
}

// close lets nobody in any more and waits until everyone inside has left.
func (q *queue) close() (already bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	already = q.closed
	q.closed = true
	for q.led {
		q.idle.Wait()
	}
	return already
}
