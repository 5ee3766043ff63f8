package batpak

import (
	"runtime"
	"sync/atomic"
)

// shareFrom is the number of drafts from which a batch is encoded, hashed and linked on two cores: below, nothing is left
// to do when a core that slept has woken up.
const shareFrom = 256

// A shared is work in numbered tasks for the goroutine that has it and a helper, who take the tasks in order.
type shared struct {
	tasks int
	work  func(worker, task int) bool // worker is 0, or 1 for the helper; false ends the work

	next  atomic.Int64
	state atomic.Uint32 // one of the below
	done  chan struct{} // closed when the helper has ended
}

const (
	sharedOpen   = iota // the helper has not begun
	sharedHelped        // the helper works, or has worked
	sharedOver          // all is done without the helper; it must not begin
)

// share does tasks [0, n) on two cores where there are two. What was done has happened before it returns. Nobody waits
// for a helper that has not begun: the other core may be busy.
func share(n int, work func(worker, task int) bool) {
	s := &shared{tasks: n, work: work}
	if n < 2 || runtime.GOMAXPROCS(0) < 2 {
		s.run(0)
		return
	}
	s.done = make(chan struct{})
	go s.help()
	s.run(0)
	if !s.state.CompareAndSwap(sharedOpen, sharedOver) {
		<-s.done
	}
}

func (s *shared) help() {
	if s.state.CompareAndSwap(sharedOpen, sharedHelped) {
		s.run(1)
		close(s.done)
	}
}

// run does tasks as long as there are some.
func (s *shared) run(worker int) {
	for {
		task := int(s.next.Add(1)) - 1
		if task >= s.tasks {
			return
		}
		if !s.work(worker, task) {
			s.next.Store(int64(s.tasks))
			return
		}
	}
}
