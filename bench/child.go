package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"

	"batpak/coldstart"
)

// A job is what a fresh process is asked to do: this program starts itself with -child and the job.
type job struct {
	Do     string // "open" or "append"
	Kind   string // of opener, or of writer
	Path   string
	Entity string

	// A cold open opens the store at WarmPath first, so that neither the program's own pages nor its runtime are
	// part of what the dropped page cache costs.
	Cold                 bool
	WarmPath, WarmEntity string

	Fill    fill // of an append
	Singles int  // acknowledged appends behind it
}

// A reading is one measured open.
type reading struct {
	Open, First time.Duration
	Heap        int64 // bytes that the open store holds on to
	Faults      int64 // major page faults
	Disk        int64 // bytes read from the disk
	Dropped     string

	Rung     string
	Restored uint64
	Replayed uint64
	Bytes    int64  // of segments
	Moved    uint64 // frames to a new file
	Longest  string // phase
	Last     uint64
}

// measure opens j's store once, in this process.
func measure(ctx context.Context, j job) (r reading, err error) {
	if j.Cold {
		warm, err := openers[j.Kind](ctx, j.WarmPath, j.WarmEntity)
		if err == nil {
			err = warm.close()
		}
		if err != nil {
			return r, fmt.Errorf("warm up: %w", err)
		}
	}
	before := heap()
	if j.Cold {
		if r.Dropped, err = dropCache(j.Path); err != nil {
			return r, err
		}
	}
	faults, disk := usage()
	s, err := openers[j.Kind](ctx, j.Path, j.Entity)
	if err != nil {
		return r, err
	}
	r.Faults, r.Disk = usage()
	r.Faults, r.Disk = r.Faults-faults, r.Disk-disk
	r.Open, r.First, r.Last = s.open, s.first, s.last
	r.Heap = heap() - before
	if s.report.Rung > 0 {
		r.Rung, r.Restored, r.Replayed, r.Bytes = s.report.Rung.String(), s.report.Restored, s.report.Replayed, s.report.Bytes
		r.Moved, r.Longest = s.report.Moved, longest(s.report.Phases)
	}
	return r, s.close()
}

// longest names the phase that took longest, and how long that was.
func longest(phases []coldstart.Phase) string {
	if len(phases) == 0 {
		return "-"
	}
	p := slices.MaxFunc(phases, func(a, b coldstart.Phase) int { return cmp.Compare(a.Took, b.Took) })
	return p.Name + " " + short(p.Took)
}

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// measureFresh opens j's store once, in a process of its own.
func measureFresh(ctx context.Context, j job) (r reading, err error) {
	cmd, err := command(ctx, j)
	if err != nil {
		return r, err
	}
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("child that opens %s %s: %w", j.Kind, j.Path, err)
	}
	return r, json.Unmarshal(out, &r)
}

// command returns this program with a job. What it has to say about failures goes to standard error.
func command(ctx context.Context, j job) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	arg, err := json.Marshal(j)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-child", string(arg))
	cmd.Stderr = os.Stderr
	return cmd, nil
}

// isChild reports whether this process was started by command.
func isChild() bool { return len(os.Args) == 3 && os.Args[1] == "-child" }

// child does the job that the process was started for.
func child(ctx context.Context) error {
	var j job
	if err := json.Unmarshal([]byte(os.Args[2]), &j); err != nil {
		return err
	}
	switch j.Do {
	case "open":
		r, err := measure(ctx, j)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(r)
	case "append":
		return appendForEver(ctx, j, bufio.NewWriter(os.Stdout))
	}
	return errors.New("no such job")
}
