package batpak

import (
	"container/heap"
	"context"
	"math"
	"sync"
	"sync/atomic"
)

// A watermark is a sequence that only grows, and those who wait until it has come to theirs. Moving it on costs two
// atomic operations while nobody waits that may go; it wakes only those who may. Safe for concurrent use; the zero
// watermark is at 0.
type watermark struct {
	at   atomic.Uint64
	next atomic.Uint64 // lowest sequence that is waited for, complemented: 0 when nobody waits

	mu      sync.Mutex
	waiting waiterHeap
	ended   bool // nobody may wait any more
}

// A waiter waits for a sequence.
type waiter struct {
	seq   uint64
	wake  chan struct{} // closed when the watermark is there, or has ended
	place int           // in the heap; -1 when it is out
}

// Load returns where the watermark is.
func (w *watermark) Load() uint64 { return w.at.Load() }

// Store moves the watermark to seq, if that is further on, and wakes whoever waited for it.
func (w *watermark) Store(seq uint64) {
	for {
		at := w.at.Load()
		if seq <= at {
			return
		}
		if w.at.CompareAndSwap(at, seq) {
			break
		}
	}
	// Whoever began to wait before this load is woken here; whoever does so later sees the new value.
	if seq >= ^w.next.Load() {
		w.wakeTo(seq)
	}
}

// wakeTo wakes everybody who waits for seq or less.
func (w *watermark) wakeTo(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) > 0 && w.waiting[0].seq <= seq {
		close(heap.Pop(&w.waiting).(*waiter).wake)
	}
	w.note()
}

// note publishes what is waited for. The caller holds mu.
func (w *watermark) note() {
	next := uint64(math.MaxUint64)
	if len(w.waiting) > 0 {
		next = w.waiting[0].seq
	}
	w.next.Store(^next)
}

// wanted reports whether somebody waits for a sequence up to seq.
func (w *watermark) wanted(seq uint64) bool { return seq >= ^w.next.Load() }

// end wakes everybody and lets nobody wait any more.
func (w *watermark) end() {
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.wakeTo(math.MaxUint64)
}

// wait returns when the watermark has come to seq, when it has ended, or when ctx has. reached says which: after an end
// it may be false with a nil error. entered, unless it is nil, is called once the waiter is known: whoever moves things on
// from then on sees it, and what was moved before, entered sees.
//
// Errors: the cause of ctx.
func (w *watermark) wait(ctx context.Context, seq uint64, entered func()) (reached bool, err error) {
	if w.at.Load() >= seq {
		return true, nil
	}
	waits := w.enter(seq)
	if waits == nil {
		return w.at.Load() >= seq, nil
	}
	if entered != nil {
		entered()
	}
	select {
	case <-waits.wake:
		return w.at.Load() >= seq, nil
	case <-ctx.Done():
	}
	w.leave(waits)
	return false, context.Cause(ctx)
}

// leave takes a waiter out, unless it was woken.
func (w *watermark) leave(waits *waiter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waits.place >= 0 {
		heap.Remove(&w.waiting, waits.place)
		w.note()
	}
}

// enter adds a waiter for seq; nil when there is nothing to wait for.
func (w *watermark) enter(seq uint64) *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return nil
	}
	waits := &waiter{seq: seq, wake: make(chan struct{})}
	heap.Push(&w.waiting, waits)
	w.note()
	if w.at.Load() >= seq { // it came between the caller's look and the note
		heap.Remove(&w.waiting, waits.place)
		w.note()
		return nil
	}
	return waits
}

// A waiterHeap is a heap by sequence; see [heap.Interface].
type waiterHeap []*waiter

func (h waiterHeap) Len() int           { return len(h) }
func (h waiterHeap) Less(i, j int) bool { return h[i].seq < h[j].seq }
func (h waiterHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

// Push implements [heap.Interface].
func (h *waiterHeap) Push(x any) {
	w := x.(*waiter)
	w.place = len(*h)
	*h = append(*h, w)
}

// Pop implements [heap.Interface].
func (h *waiterHeap) Pop() any {
	last := len(*h) - 1
	w := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	w.place = -1
	return w
}
