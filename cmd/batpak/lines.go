package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxLine is the longest line in bytes: the largest payload that a store takes by default as base64, and what else may
// stand beside it.
const maxLine = 16<<20/3*4 + 1<<20

// readLines parses what r holds into q, up to its end or until q is stopped. Blank lines are passed over, and counted.
//
// Errors: what r returned.
func readLines(r io.Reader, q *lineQueue) error {
	br := bufio.NewReaderSize(r, 256<<10)
	for number := 1; ; number++ {
		text, err := readLine(br)
		if err != nil && !errors.Is(err, errTooLong) && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		l := line{number: number, err: err}
		if !errors.Is(err, errTooLong) {
			if len(bytes.TrimLeft(text, blanks)) == 0 {
				if err != nil {
					return nil
				}
				continue
			}
			l = parseLine(number, text)
		}
		if !q.put(l) || errors.Is(err, io.EOF) {
			return nil
		}
	}
}

// readLine returns the next line in memory of its own. A line longer than [maxLine] is read to its end and dropped.
//
// Errors: [errTooLong]; [io.EOF] with the last line, which may be empty; what r returned.
func readLine(r *bufio.Reader) (text []byte, err error) {
	tooLong := false
	for {
		part, err := r.ReadSlice('\n')
		tooLong = tooLong || len(text)+len(part) > maxLine
		if !tooLong {
			text = append(text, part...)
		} else {
			text = nil
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
		case tooLong && (err == nil || errors.Is(err, io.EOF)):
			return nil, fmt.Errorf("%w: over %d bytes", errTooLong, maxLine)
		default:
			return text, err
		}
	}
}

// A lineQueue hands lines from the reader to the writer: while the writer is busy lines gather, up to a number and a
// size, and when it comes back it takes all of them. So memory is bounded, a slow disk gets large batches, and a line
// that comes alone never waits.
type lineQueue struct {
	maxLines, maxBytes int

	mu      sync.Mutex
	changed sync.Cond // on any change below
	lines   []line
	bytes   int
	ended   bool // nothing comes any more
	stopped bool // nobody takes any more
}

func newLineQueue(maxLines, maxBytes int) *lineQueue {
	q := &lineQueue{maxLines: maxLines, maxBytes: maxBytes}
	q.changed.L = &q.mu
	return q
}

// put adds l once there is room, and reports whether anybody will take it.
func (q *lineQueue) put(l line) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stopped && len(q.lines) > 0 && (len(q.lines) >= q.maxLines || q.bytes+l.size > q.maxBytes) {
		q.changed.Wait()
	}
	q.lines, q.bytes = append(q.lines, l), q.bytes+l.size
	q.changed.Broadcast()
	return !q.stopped
}

// take waits for lines and returns all that are there; none means that there are no more.
func (q *lineQueue) take() []line {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 && !q.ended && !q.stopped {
		q.changed.Wait()
	}
	if q.stopped {
		return nil
	}
	lines := q.lines
	q.lines, q.bytes = nil, 0
	q.changed.Broadcast()
	return lines
}

// end says that nothing comes any more.
func (q *lineQueue) end() { q.set(&q.ended) }

// stop says that nobody takes any more.
func (q *lineQueue) stop() { q.set(&q.stopped) }

func (q *lineQueue) set(flag *bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	*flag = true
	q.changed.Broadcast()
}
