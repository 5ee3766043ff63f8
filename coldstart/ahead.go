package coldstart

import (
	"errors"
	"runtime"
	"sync/atomic"

	"batpak/event"
)

// A tail is read by two goroutines: one reads, checks and decodes frames ahead, the other indexes what it is handed.

const (
	aheadLeast   = 2 << 20 // bytes of frames for which another goroutine is worth waking
	aheadBatches = 6       // of events
	aheadEvents  = 512     // in a batch: handing on a few would wake the other goroutine each time
	aheadBlocks  = 6       // of the scanner
)

// An aheadBatch is decoded events on their way to the index. They alias blocks that the scanner does not touch before
// the batch is done.
type aheadBatch struct {
	raws   [aheadEvents]event.Raw
	places [aheadEvents]struct{ offset, length uint32 }
	n      int
	block  []byte // that nobody needs any more when the batch is done; nil for none
}

// An ahead takes the events of a scan to another goroutine.
type ahead struct {
	scan    *scan
	take    func(r *event.Raw, offset, length uint32) error
	current *aheadBatch

	filled, free chan *aheadBatch
	blocks       chan []byte // for the scanner to read into
	done         chan struct{}
	stop         atomic.Bool // take has failed
	err          error       // of take; to be read when done is closed
}

// errAhead ends a scan whose events are not wanted any more.
var errAhead = errors.New("coldstart: the index has failed")

// decodeAhead makes the events of s go to take on another goroutine. The caller ends it by wait, however the scan ends.
// It returns nil where that is not worth it.
func decodeAhead(s *scan, bytes int64, take func(r *event.Raw, offset, length uint32) error) *ahead {
	if bytes < aheadLeast || runtime.GOMAXPROCS(0) == 1 {
		return nil
	}
	a := &ahead{
		scan: s, take: take, filled: make(chan *aheadBatch, aheadBatches), free: make(chan *aheadBatch, aheadBatches),
		blocks: make(chan []byte, aheadBlocks), done: make(chan struct{}),
	}
	for range aheadBatches - 1 {
		a.free <- new(aheadBatch)
	}
	for range aheadBlocks - 1 { // and the one that it begins with
		a.blocks <- nil
	}
	a.begin(new(aheadBatch))
	s.each, s.lasting = a.put, true
	s.frames.Swap(a.swap)
	go a.index()
	return a
}

// begin makes b the batch that is being filled.
func (a *ahead) begin(b *aheadBatch) {
	b.n, b.block = 0, nil
	a.current, a.scan.raw = b, &b.raws[0]
}

// put takes an event that the scan has decoded into its place.
func (a *ahead) put(_ *event.Raw, offset, length uint32) error {
	if a.stop.Load() {
		return errAhead
	}
	b := a.current
	b.places[b.n] = struct{ offset, length uint32 }{offset, length}
	if b.n++; b.n < aheadEvents {
		a.scan.raw = &b.raws[b.n]
		return nil
	}
	a.hand(nil)
	return nil
}

// hand hands the batch on, and a block that is not read any more after it.
func (a *ahead) hand(block []byte) {
	a.current.block = block
	a.filled <- a.current
	a.begin(<-a.free)
}

// swap gives the scanner a block for the one that it has read.
func (a *ahead) swap(block []byte) []byte {
	if block == nil {
		return nil // it begins
	}
	a.hand(block)
	return <-a.blocks
}

// index takes batches until there are no more.
func (a *ahead) index() {
	defer close(a.done)
	for b := range a.filled {
		for i := 0; i < b.n && a.err == nil; i++ {
			if a.err = a.take(&b.raws[i], b.places[i].offset, b.places[i].length); a.err != nil {
				a.stop.Store(true)
			}
		}
		if b.block != nil {
			a.blocks <- b.block
		}
		a.free <- b
	}
}

// wait hands on what there is and waits until all of it is taken. It returns the error of take, which is about an
// earlier event than scanned, the error of the scan.
func (a *ahead) wait(scanned error) error {
	a.filled <- a.current
	close(a.filled)
	<-a.done
	a.scan.frames.Swap(nil)
	a.scan.raw, a.scan.each, a.scan.lasting = new(event.Raw), a.take, false
	if a.err != nil {
		return a.err
	}
	return scanned
}
