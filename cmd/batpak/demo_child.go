package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// writeTime bounds each of the two runs of the writer, so that the demo ends on a slow disk, too.
const writeTime = 3 * time.Second

// A writerRun is one run of the writer process.
type writerRun struct {
	acks   []ack
	killed bool
	exit   string // how the process ended, in the operating system's words
}

// runWriter feeds changes to a writer process on the store in dir. It kills the process as soon as it has killAfter
// acks, or some and no time left; with killAfter 0 it lets it finish what it was sent.
func runWriter(ctx context.Context, dir string, src *source, killAfter int) (*writerRun, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, demoWriterCommand.name, "-scope", src.scope, dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	r := &writerRun{}
	left := time.Now().Add(writeTime)
	f := feeder{in: in, window: make(chan struct{}, windowFor(len(src.changes), killAfter)), gone: make(chan struct{})}
	go f.feed(src.changes, left)
	readErr := r.collect(out, &f, func(n int) {
		if !r.killed && killAfter > 0 && (n >= killAfter || time.Now().After(left)) {
			r.killed = cmd.Process.Kill() == nil
		}
	})
	err = cmd.Wait()
	r.exit = cmd.ProcessState.String()
	switch {
	case r.killed:
		return r, nil
	case err != nil:
		return r, fmt.Errorf("writer: %w: %s", err, firstLine(stderr.String()))
	}
	return r, readErr
}

// windowFor returns how many changes may be on their way without an ack: few enough that a run that is to be killed
// cannot be done before.
func windowFor(changes, killAfter int) int {
	if killAfter == 0 {
		return 256
	}
	return max(1, min(64, (changes-killAfter)/2))
}

// A feeder sends changes to a writer process.
type feeder struct {
	in     io.WriteCloser
	window chan struct{} // one element for each change that is on its way without an ack
	gone   chan struct{} // closed when the process is
}

// feed sends changes, each when there is room in the window, until the time is over or the process is gone.
func (f *feeder) feed(changes []change, end time.Time) {
	defer f.in.Close()
	enc := json.NewEncoder(f.in)
	for i := range changes {
		if time.Now().After(end) {
			return
		}
		select {
		case f.window <- struct{}{}:
		case <-f.gone:
			return
		}
		if enc.Encode(&changes[i]) != nil {
			return
		}
	}
}

// collect reads acks to the end of out; seen is told their number after each.
func (r *writerRun) collect(out io.Reader, f *feeder, seen func(int)) error {
	defer close(f.gone)
	dec := json.NewDecoder(out)
	for {
		var a ack
		if err := dec.Decode(&a); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read ack: %w", err)
		}
		r.acks = append(r.acks, a)
		seen(len(r.acks))
		<-f.window
	}
}
