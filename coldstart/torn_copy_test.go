package coldstart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"batpak/internal/vfs"
	"batpak/segment"
)

// tornCopies say what of a write group is there when the process dies while it copies it: any bytes, in no order. Each
// zeroes what is not.
var tornCopies = []struct {
	name string
	tear func(b []byte)
}{
	{"nothing", func(b []byte) { clear(b) }},
	{"the first byte", func(b []byte) { clear(b[1:]) }},
	{"the first half", func(b []byte) { clear(b[len(b)/2:]) }},
	{"all but the last frame's payload", func(b []byte) { clear(b[len(b)-300:]) }},
	{"the second half", func(b []byte) { clear(b[:len(b)/2]) }},
	{"the last byte", func(b []byte) { clear(b[:len(b)-1]) }},
	{"all but the first header", func(b []byte) { clear(b[:segment.FrameHeaderLen]) }},
	{"the middle", func(b []byte) { clear(b[:len(b)/3]); clear(b[len(b)/3*2:]) }},
	{"all but the middle", func(b []byte) { clear(b[len(b)/3 : len(b)/3*2]) }},
	{"every other word", func(b []byte) {
		for i := 0; i+8 <= len(b); i += 16 {
			clear(b[i : i+8])
		}
	}},
	{"all", func([]byte) {}},
}

// TestTornCopies opens, by readers and by the next writer, what a relaxed writer leaves that dies while it copies a group
// into zeroes: everything before is there, a batch is there as a whole or not at all, and nothing needs a hand. It does so
// on the system that has seen the process die, where recovery does not look behind the first zeroes.
func TestTornCopies(t *testing.T) {
	for _, batch := range []bool{false, true} {
		cfg := testConfig(vfs.OS)
		cfg.Dir, cfg.Relaxed, cfg.FillAhead, cfg.SegmentSize = filepath.Join(t.TempDir(), "store"), true, 256<<10, 1<<20
		s := openTest(t, cfg)
		s.append(3)
		s.st.Writer.Relax()
		if err := s.st.Writer.Fill(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			s.write(s.group(2, false, 300)) // acknowledged, and not synced
		}
		want, at := maps.Clone(s.events), s.st.Writer.End()
		s.write(s.group(3, batch, 300))
		all, end := maps.Clone(s.events), s.st.Writer.End()
		for _, torn := range tornCopies {
			t.Run(fmt.Sprintf("batch %v/%s", batch, torn.name), func(t *testing.T) {
				again := cfg
				again.Dir = t.TempDir()
				if err := os.CopyFS(again.Dir, os.DirFS(cfg.Dir)); err != nil {
					t.Fatal(err)
				}
				whole, err := tearFile(filepath.Join(again.Dir, segment.Name(1)), at, end, torn.tear)
				if err != nil {
					t.Fatal(err)
				}
				var first model
				for i, readOnly := range []bool{true, false, true, false} {
					again.ReadOnly = readOnly
					got, err := readStore(again)
					if err != nil {
						t.Fatalf("open %d: %v", i, err)
					}
					if i == 0 {
						first = got
					}
					if why := got.contains(want) + all.contains(got); why != "" || !maps.Equal(got, first) {
						t.Errorf("open %d: %d events, the first one %d, %d acknowledged: %s", i, len(got), len(first), len(want), why)
					}
					if n := len(got) - len(want); batch && n != 0 && n != len(all)-len(want) {
						t.Errorf("open %d: %d events of the batch are there", i, n)
					}
				}
				if whole != (len(first) == len(all)) {
					t.Errorf("%d of %d events are there; the group is whole: %v", len(first), len(all), whole)
				}
			})
		}
		s.crash()
	}
}

// tearFile applies tear to the bytes [from, to) of a file, and reports whether they are what they were.
func tearFile(path string, from, to int64, tear func(b []byte)) (whole bool, err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return false, err
	}
	b := make([]byte, to-from)
	if _, err = f.ReadAt(b, from); err == nil {
		was := bytes.Clone(b)
		tear(b)
		whole = bytes.Equal(b, was)
		_, err = f.WriteAt(b, from)
	}
	return whole, errors.Join(err, f.Close())
}

// readStore opens a store, reads everything and closes it without a clean end.
func readStore(cfg Config) (model, error) {
	st, err := Open(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	m, err := readAll(st)
	return m, errors.Join(err, st.Close())
}
