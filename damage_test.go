package batpak_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"batpak"
	"batpak/event"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A specimen is a small store that is damaged in every way: several segments, and every kind of field.
type specimen struct {
	name  string
	files map[string][]byte
	told  []told
	opts  batpak.Options

	// unproven is how many events at the end nothing but their own bytes vouches for: damage there looks like the torn
	// write that it may be, is cut, and counted. unanchored is how many events nothing in another file vouches for:
	// cutting them off looks like a crash before they were written.
	unproven, unanchored int
}

// newSpecimen writes one. A crashed one has no clean end, and a blind one has no beacon either.
func newSpecimen(name string, crashed, blind bool) (*specimen, error) {
	r := newRig(batpak.Options{})
	if err := r.open(); err != nil {
		return nil, err
	}
	s := &specimen{name: name, opts: r.opts}
	for i := range 4 {
		if i > 0 {
			if err := stepReopen(r); err != nil {
				return nil, err
			}
		}
		if err := errors.Join(
			second(r.append(r.draft(streamA, 40))), stepCauses(r), second(r.append(r.full(streamB))),
			second(r.append(r.draft(streamB, 500+100*i))), second(r.append(r.draft(streamA, 1))),
		); err != nil {
			return nil, err
		}
		r.settle()
	}
	if crashed {
		r.kill()
	} else if err := r.close(); err != nil {
		return nil, err
	}
	s.told, s.files = r.history(), r.mem.Files()
	if blind {
		delete(s.files, ".lock")
		s.unproven, s.unanchored = 1, 7 // one append is one sync group; the last round is not in the anchor
	}
	return s, chained(s.told)
}

// names returns the files of the specimen in order.
func (s *specimen) names() []string { return slices.Sorted(maps.Keys(s.files)) }

// A result is what came of opening a damaged store and reading all of it.
type result uint8

const (
	unharmed result = iota // everything is there
	refused                // Open says why not
	partly                 // some reads say why not
	shorter                // events at the end that nothing vouches for are gone
	results
)

func (r result) String() string {
	return [results]string{"unharmed", "refused", "partly read", "cut"}[r]
}

// try opens the store with one file replaced (nil removes it), and reads everything in every way. Up to spare events at
// the end may be missing.
func (s *specimen) try(base *vfs.Mem, name string, b []byte, readOnly bool, spare int) (res result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	m := base.Clone()
	if b == nil {
		m.DeleteFile(name)
	} else if name != "" {
		m.SetFile(name, b)
	}
	return s.look(m, readOnly, spare)
}

// look opens what is in m and reads everything in every way. The error says what is wrong with the answers.
func (s *specimen) look(m *vfs.Mem, readOnly bool, spare int) (result, error) {
	start := m.OpCount()
	o := s.opts
	o.SetFS(m)
	o.ReadOnly = readOnly
	st, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		if !typedRefusal(err) {
			return refused, fmt.Errorf("refused without a type: %w", err)
		}
		return refused, unchanged(m, start, readOnly)
	}
	defer st.Close()
	if readOnly {
		if err := unchanged(m, start, readOnly); err != nil {
			return unharmed, err
		}
	}
	return s.readable(st, spare)
}

// unchanged checks that nothing was written since the trace was start long. A writer leaves its hint in the lock file.
func unchanged(m *vfs.Mem, start int, readOnly bool) error {
	for _, op := range m.Ops()[start:] {
		if readOnly || op.Name != ".lock" || op.Kind != vfs.OpCreate && (op.Kind != vfs.OpWrite || op.Off != 0) {
			return fmt.Errorf("the directory was changed: %v", op)
		}
	}
	return nil
}

// readable reads everything in every way: what comes is right, and what does not come has an error.
func (s *specimen) readable(st *batpak.Store, spare int) (result, error) {
	n, failed := 0, 0
	for visible := st.Stats().Visible; n < len(s.told) && s.told[n].Seq <= visible; n++ {
	}
	if n < len(s.told)-spare || n > 0 && !s.told[n-1].last {
		return shorter, fmt.Errorf("%d of %d events, and no error", n, len(s.told))
	}
	for _, check := range []func(*batpak.Store, int) (int, error){s.readAll, s.readStreams, s.readOne} {
		f, err := check(st, n)
		if err != nil {
			return partly, err
		}
		failed += f
	}
	switch {
	case failed > 0:
		return partly, nil
	case n < len(s.told):
		return shorter, nil
	}
	return unharmed, nil
}

// readAll reads forward and newest first, when n events are visible; failed counts reads that say why not.
func (s *specimen) readAll(st *batpak.Store, n int) (failed int, err error) {
	want := make([]event.Event, n)
	for i := range want {
		want[i] = s.told[i].Event
	}
	forward, err := s.readQuery(st, batpak.Query{}, want)
	if err != nil {
		return 0, err
	}
	slices.Reverse(want)
	back, err := s.readQuery(st, batpak.Query{Reverse: true}, want)
	return forward + back, err
}

// readQuery checks one query against what it must find.
func (s *specimen) readQuery(st *batpak.Store, q batpak.Query, want []event.Event) (failed int, err error) {
	got, err := collect(st, q)
	if err != nil {
		if !typedReadError(err) {
			return 0, fmt.Errorf("read fails without a type: %w", err)
		}
		failed = 1
		want = want[:min(len(got), len(want))]
	}
	if err := sameEvents(got, want); err != nil {
		return failed, fmt.Errorf("read %+v: %w", q, err)
	}
	return failed, nil
}

// readStreams reads by entity and lane, by scope, by kind and by tag, and the heads.
func (s *specimen) readStreams(st *batpak.Store, n int) (failed int, err error) {
	lane := uint32(3)
	for _, q := range []struct {
		q     batpak.Query
		takes func(*event.Event) bool
	}{
		{batpak.Query{Entity: streamA.Entity()}, func(e *event.Event) bool { return e.Coordinate == streamA }},
		{batpak.Query{Entity: streamB.Entity(), Lane: &lane}, func(e *event.Event) bool { return e.Coordinate == streamB && e.Lane == lane }},
		{batpak.Query{Scope: streamB.Scope()}, func(e *event.Event) bool { return e.Coordinate == streamB }},
		{batpak.Query{Kinds: []event.Kind{kindTwo}}, func(e *event.Event) bool { return e.Kind == kindTwo }},
		{batpak.Query{Tags: []string{"größe"}}, func(e *event.Event) bool { return slices.Contains(e.Tags, "größe") }},
	} {
		var want []event.Event
		for i := range n {
			if q.takes(&s.told[i].Event) {
				want = append(want, s.told[i].Event)
			}
		}
		f, err := s.readQuery(st, q.q, want)
		if err != nil {
			return failed, err
		}
		failed += f
	}
	return failed, nil
}

// readOne looks every event up by sequence and by ID, and the heads of the streams.
func (s *specimen) readOne(st *batpak.Store, n int) (failed int, err error) {
	ctx := context.Background()
	heads := map[streamName]*told{}
	for i := range n {
		t := &s.told[i]
		heads[streamName{t.Coordinate.Entity(), t.Lane}] = t
		bySeq, err1 := st.EventAt(ctx, t.Seq)
		byID, err2 := st.Event(ctx, t.ID)
		for _, found := range []struct {
			ev  event.Event
			err error
		}{{bySeq, err1}, {byID, err2}} {
			switch {
			case found.err != nil && !typedReadError(found.err):
				return failed, fmt.Errorf("event %d: %w", t.Seq, found.err)
			case found.err != nil:
				failed++
			default:
				if err := sameEvent(&found.ev, &t.Event); err != nil {
					return failed, err
				}
			}
		}
	}
	for k, t := range heads {
		head, err := st.Head(ctx, k.entity, k.lane)
		switch {
		case err != nil && !typedReadError(err):
			return failed, fmt.Errorf("head of %v: %w", k, err)
		case err != nil:
			failed++
		case head.Seq != t.Seq || head.ID != t.ID || head.Hash != t.Hash || head.Clock != t.Clock:
			return failed, fmt.Errorf("head of %v = %+v, want event %d", k, head, t.Seq)
		}
	}
	return failed, nil
}

// A damage is one change to one file.
type damage struct {
	file   string
	name   string
	change func(b []byte) []byte // of a copy; nil result removes the file
	benign bool                  // a crash may leave it: nothing may be refused or missing
}

// spare returns how many events at the end may go unseen when a file becomes b.
func (s *specimen) spare(file string, b []byte, readOnly bool) int {
	switch {
	case file == ".lock" && readOnly:
		return 1 // a reader shows what is proven to be durable, and its witness is gone
	case len(b) < len(s.files[file]):
		return s.unanchored
	case s.unproven > 0 && readOnly:
		return s.unproven + 1 // what a reader shows must be proven by a later frame
	}
	return s.unproven
}

// A hospital tries damages on all cores and counts what comes of them.
type hospital struct {
	s      *specimen
	tried  atomic.Int64
	counts [results]atomic.Int64
	wrong  findings
}

// admit tries all damages that todo yields.
func (h *hospital) admit(todo func(yield func(damage) bool)) {
	base := vfs.NewMemFrom(h.s.files)
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	const block = 64
	var batch []damage
	flush := func() {
		work := batch
		batch = nil
		g.Go(func() error {
			for _, d := range work {
				h.treat(base, d)
			}
			return nil
		})
	}
	for d := range todo {
		if batch = append(batch, d); len(batch) == block {
			flush()
		}
	}
	flush()
	_ = g.Wait()
}

func (h *hospital) treat(base *vfs.Mem, d damage) {
	n := h.tried.Add(1)
	readOnly := n%16 == 0
	b := d.change(bytes.Clone(h.s.files[d.file]))
	res, err := h.s.try(base, d.file, b, readOnly, h.s.spare(d.file, b, readOnly))
	if err != nil {
		h.wrong.add(fmt.Errorf("%s: %s %s: %w", h.s.name, d.file, d.name, err))
		return
	}
	if d.benign && res != unharmed && (!readOnly || res != shorter) {
		h.wrong.add(fmt.Errorf("%s: %s %s: %v", h.s.name, d.file, d.name, res))
	}
	h.counts[res].Add(1)
}

func (h *hospital) report(t *testing.T, started time.Time) {
	t.Helper()
	h.wrong.report(t)
	line := ""
	for r := range results {
		line += fmt.Sprintf(", %d %v", h.counts[r].Load(), r)
	}
	t.Logf("%s: %d tried%s, in %v", h.s.name, h.tried.Load(), line, time.Since(started).Round(time.Millisecond))
}

// specimens returns the stores that are damaged, and checks that they are sound before.
func specimens(t *testing.T) []*specimen {
	t.Helper()
	var all []*specimen
	for _, k := range []struct {
		name           string
		crashed, blind bool
	}{{"closed", false, false}, {"crashed", true, false}, {"blind", true, true}, {"fenced", false, false}, {"fenced, crashed", true, false}} {
		s, err := newSpecimen(k.name, k.crashed, k.blind)
		if strings.HasPrefix(k.name, "fenced") {
			s, err = newFencedSpecimen(k.name, k.crashed)
		}
		if err != nil {
			t.Fatal(err)
		}
		size := 0
		for name, b := range s.files {
			size += len(b)
			t.Logf("%s: %s %d bytes", k.name, name, len(b))
		}
		if res, err := s.try(vfs.NewMemFrom(s.files), "", []byte{}, false, 0); err != nil || res != unharmed {
			t.Fatalf("%s, undamaged: %v, %v", k.name, res, err)
		}
		t.Logf("%s: %d events in %d files of %d bytes", k.name, len(s.told), len(s.files), size)
		all = append(all, s)
	}
	return all
}

// TestBitFlips flips single bits, and sets whole bytes, of every file: the answers are right, or an error has a type.
// The start of every file is tried bit by bit in every lane.
func TestBitFlips(t *testing.T) {
	t.Parallel()
	for _, s := range specimens(t) {
		t.Run(s.name, func(t *testing.T) {
			started := time.Now()
			h := &hospital{s: s}
			full := 0 // bytes at the start of each file that are tried bit by bit
			if !racing && (s.name == "closed" || submit() || night()) {
				full = sized(60, 400, 400)
			}
			h.admit(s.flips(full, envInt(t, "BATPAK_STRIDE", thinned(97, 29, 1))))
			h.report(t, started)
		})
	}
}

// flips yields every flip of one bit, and every byte set to 00 and FF, of every file; behind the first full bytes of large
// ones one of stride.
func (s *specimen) flips(full, stride int) func(yield func(damage) bool) {
	return func(yield func(damage) bool) {
		n := 0
		for _, file := range s.names() {
			for at, old := range s.files[file] {
				masks := []byte{1, 2, 4, 8, 16, 32, 64, 128, old, ^old}
				for i, mask := range masks {
					if n++; mask == 0 || at >= full && (full == 0 || len(s.files[file]) > 1024) && n%stride != 0 {
						continue
					}
					d := damage{file: file, name: fmt.Sprintf("byte %d ^ %02x", at, mask), change: func(b []byte) []byte {
						b[at] ^= masks[i]
						return b
					}}
					if !yield(d) {
						return
					}
				}
			}
		}
	}
}

// TestTruncations cuts every file at every length, and makes it longer by zeroes, garbage, its own end, and frames of
// another segment.
func TestTruncations(t *testing.T) {
	t.Parallel()
	for _, s := range specimens(t) {
		t.Run(s.name, func(t *testing.T) {
			started := time.Now()
			h := &hospital{s: s}
			h.admit(s.cuts(envInt(t, "BATPAK_STRIDE", thinned(17, 7, 1))))
			h.report(t, started)
		})
	}
}

func (s *specimen) cuts(stride int) func(yield func(damage) bool) {
	return func(yield func(damage) bool) {
		second := s.files[segment.Name(2)]
		h, _ := segment.DecodeHeader(second, 2)
		frames := bytes.Clone(second[h.Len():][:1500])
		garbage := bytes.Repeat([]byte{0xA5, 0x5A, 0xC3}, 3000)
		for _, file := range s.names() {
			size := len(s.files[file])
			if !yield(damage{file: file, name: "removed", change: func([]byte) []byte { return nil }}) {
				return
			}
			for n := 0; n < size; n++ {
				if (racing || n > 200 && n < size-50) && n%stride != 0 {
					continue
				}
				cut := func(b []byte) []byte { return b[:n] }
				if !yield(damage{file: file, name: fmt.Sprintf("cut to %d", n), change: cut}) {
					return
				}
			}
			for n := 1; n <= 8192; n += 1 + n/max(2, 64/stride) {
				for _, more := range []struct {
					name string
					b    []byte
				}{
					{"zeroes", make([]byte, n)}, {"garbage", garbage[:n]}, {"frames", frames[:min(n, len(frames))]},
					{"own end", s.files[file][max(0, size-n):]},
				} {
					d := damage{
						file: file, name: fmt.Sprintf("longer by %d %s", n, more.name),
						change: func(b []byte) []byte { return append(b, more.b...) }, benign: strings.HasSuffix(file, segment.Suffix),
					}
					if !yield(d) {
						return
					}
				}
			}
		}
	}
}
