package coldstart

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"batpak/event"
	"batpak/internal/merkle"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A damage is a directory that fits one row of the verdict table, and what must come of it.
type damage struct {
	row  string
	name string
	// make returns the directory, and every event that must be there if it opens.
	make func(t testing.TB) (*vfs.Mem, model)

	err error // what a refusal matches; nil when it opens

	// Of an open that succeeds; nil: nothing more to check.
	report func(r *Report) bool
}

var damages = []damage{
	{row: "clean end", name: "clean close", make: base(nil)},
	{row: "clean end", name: "crash behind a sync", make: unclean(nil)},
	{row: "clean end", name: "both slots of the anchor rotten", make: base(func(d *dirEdit) {
		d.flip(anchorName, 20, 1)
		d.flip(anchorName, anchorStride+20, 1)
	}), report: func(r *Report) bool { return len(r.Skipped) > 0 && errors.Is(r.Skipped[0].Err, ErrDamaged) }},
	{row: "preallocated", name: "zeroes ahead", make: unclean(func(d *dirEdit) { d.append(segment.Name(3), make([]byte, 9000)) })},
	{row: "preallocated", name: "zeroes fewer than a frame header", make: unclean(func(d *dirEdit) { d.append(segment.Name(3), make([]byte, 3)) })},
	{row: "doubtful end", name: "unsynced group", make: doing(func(s *testStore) { s.write(s.group(3, false, 16)) }, nil),
		report: func(r *Report) bool { return r.Moved == 3 }},
	{row: "doubtful end", name: "unsynced batch in front of zeroes", make: doing(func(s *testStore) { s.write(s.group(3, true, 16)) },
		func(d *dirEdit) { d.append(segment.Name(3), make([]byte, 500)) }), report: func(r *Report) bool { return r.Moved == 4 }},
	{row: "unused segment", name: "rotated, nothing written", make: doing(func(s *testStore) { s.rotate() }, func(d *dirEdit) { d.remove(lockName) })},
	{row: "unused segment", name: "moved frames, no evidence", make: doing(func(s *testStore) { s.write(s.group(2, true, 16)) }, func(d *dirEdit) {
		if _, report, err := reopen(d.m, false); err != nil || report.Moved != 3 {
			panic(fmt.Sprint(report, err))
		}
		d.remove(lockName, anchorName)
	})},
	{row: "torn end", name: "garbage", make: unclean(func(d *dirEdit) { d.append(segment.Name(3), []byte("garbage")) }),
		report: func(r *Report) bool { return r.TornBytes == 7 && r.Moved == 0 }},
	{row: "torn end", name: "frame cut off", make: unacked(func(s *testStore) { s.write(s.group(1, false, 99)) },
		func(d *dirEdit) { d.cut(segment.Name(3), 40) }), report: func(r *Report) bool { return r.TornBytes > 0 && r.Moved == 0 }},
	{row: "torn end", name: "doubt in front of garbage", make: doing(func(s *testStore) { s.write(s.group(2, false, 16)) },
		func(d *dirEdit) { d.append(segment.Name(3), []byte("garbage\x00\x00")) }),
		report: func(r *Report) bool { return r.TornBytes == 7 && r.Moved == 2 }},
	{row: "torn end", name: "length flipped in the last group", make: unacked(func(s *testStore) { s.write(s.group(1, false, 16)) },
		func(d *dirEdit) { d.flip(segment.Name(3), d.lastFrame(3), 0x40) })},
	{row: "hole in the last group", name: "first of two unsynced frames is rotten",
		make: unacked(func(s *testStore) { s.write(s.group(3, false, 16)) }, func(d *dirEdit) {
			at := d.lastFrame(3)
			d.flip(segment.Name(3), at-30, 1)
		}), report: func(r *Report) bool { return r.LostFrames == 1 && r.Moved == 1 }},
	{row: "half batch", name: "batch cut off", make: unacked(func(s *testStore) { s.write(s.group(4, true, 50)) },
		func(d *dirEdit) { d.cut(segment.Name(3), 60) }), report: func(r *Report) bool { return r.Batches == 1 && r.BatchEvents == 3 }},
	{row: "half batch", name: "batch frame only", make: unacked(func(s *testStore) { s.write(s.group(1, true, 50)) },
		func(d *dirEdit) { d.cut(segment.Name(3), len(d.file(3))-d.lastFrame(3)) }),
		report: func(r *Report) bool { return r.Batches == 1 && r.BatchEvents == 0 }},
	{row: "half batch", name: "hole inside the batch", make: unacked(func(s *testStore) { s.write(s.group(4, true, 50)) },
		func(d *dirEdit) { d.flip(segment.Name(3), d.lastFrame(3)-9, 1) })},
	{row: "rot under a mark", name: "flip in a synced group, no other evidence", err: ErrCorrupt, make: unclean(func(d *dirEdit) {
		d.remove(lockName, anchorName)
		d.flip(segment.Name(3), d.firstFrame(3)+30, 1)
	})},
	{row: "rot under a mark", name: "length flipped to 2 GiB", err: ErrCorrupt, make: unclean(func(d *dirEdit) {
		d.remove(lockName, anchorName)
		d.flip(segment.Name(3), d.firstFrame(3)+3, 0x7f)
	})},
	{row: "rot under the anchor", name: "last group, after a clean close", err: ErrCorrupt, make: base(func(d *dirEdit) {
		d.remove(lockName)
		d.flip(segment.Name(3), d.lastFrame(3)+30, 1)
	})},
	{row: "rot under the anchor", name: "last group, under the beacon", err: ErrCorrupt, make: unclean(func(d *dirEdit) {
		d.remove(anchorName)
		d.flip(segment.Name(3), d.lastFrame(3)+30, 1)
	})},
	{row: "rotten batch", name: "synced batch cut off", err: ErrCorrupt, make: doing(func(s *testStore) { s.write(s.group(3, true, 50)); s.sync() },
		func(d *dirEdit) { d.cut(segment.Name(3), 20) })},
	{row: "tail missing", name: "cut behind the anchor", err: ErrTailMissing, make: base(func(d *dirEdit) {
		d.remove(lockName)
		d.cut(segment.Name(3), len(d.file(3))-d.lastFrame(3))
	})},
	{row: "tail missing", name: "cut behind the beacon, zeroes instead", err: ErrTailMissing, make: unclean(func(d *dirEdit) {
		n := len(d.file(3)) - d.lastFrame(3)
		d.cut(segment.Name(3), n)
		d.append(segment.Name(3), make([]byte, n))
	})},
	{row: "tail missing", name: "newest segment gone, anchor there", err: ErrTailMissing, make: base(func(d *dirEdit) {
		d.remove(segment.Name(3), lockName)
	})},
	{row: "tail missing", name: "all segments gone", err: ErrTailMissing, make: base(func(d *dirEdit) {
		d.remove(segment.Name(1), segment.Name(2), segment.Name(3))
	})},
	{row: "sealed without a successor", name: "newest segment gone, no evidence", err: ErrTailMissing, make: base(func(d *dirEdit) {
		d.remove(segment.Name(3), lockName, anchorName)
	})},
	{row: "crash in rotation", name: "empty file", make: unclean(func(d *dirEdit) { d.set(segment.Name(4), nil) }), report: quarantined},
	{row: "crash in rotation", name: "half a header", make: unclean(func(d *dirEdit) { d.set(segment.Name(4), d.file(3)[:100]) }), report: quarantined},
	{row: "crash in rotation", name: "zeroes", make: unclean(func(d *dirEdit) { d.set(segment.Name(4), make([]byte, 5000)) }), report: quarantined},
	{row: "crash in rotation", name: "first segment", make: func(testing.TB) (*vfs.Mem, model) {
		m := vfs.NewMem()
		s := openTest(fatal{}, testConfig(m))
		s.crash()
		m.SetFile(segment.Name(1), nil)
		m.DeleteFile(lockName)
		return m, model{}
	}, report: quarantined},
	{row: "crash in rotation", name: "a newer segment was made since", make: func(testing.TB) (*vfs.Mem, model) {
		m := vfs.NewMem()
		s, _ := threeSegments(fatal{}, m)
		s.st.highest = 4
		s.rotate()
		s.append(1)
		s.crash()
		m.SetFile(segment.Name(4), []byte("BATPAKSG"))
		return m, s.events
	}, report: quarantined},
	{row: "rotten header", name: "newest, with frames", err: ErrCorrupt, make: unclean(func(d *dirEdit) {
		d.remove(lockName, anchorName)
		d.flip(segment.Name(3), 70, 1)
	})},
	{row: "rotten header", name: "salt of the newest", err: ErrCorrupt, make: unclean(func(d *dirEdit) {
		d.remove(lockName, anchorName)
		d.flip(segment.Name(3), segment.SaltOffset, 1)
	})},
	{row: "rotten header of a segment in use", name: "nothing behind it", err: ErrCorrupt, make: func(t testing.TB) (*vfs.Mem, model) {
		m := vfs.NewMem()
		s, want := threeSegments(fatal{}, m)
		s.rotate()
		s.close()
		d := dirEdit{m}
		d.flip(segment.Name(4), 70, 1)
		return m, want
	}},
	{row: "predecessor does not fit", name: "middle segment gone", err: ErrCorrupt, make: base(func(d *dirEdit) { d.remove(segment.Name(2)) })},
	{row: "predecessor does not fit", name: "first segment gone", err: ErrCorrupt, make: base(func(d *dirEdit) { d.remove(segment.Name(1)) })},
	{row: "footer holds", name: "all of them", make: base(nil), report: func(r *Report) bool { return r.Footers == 2 }},
	{row: "footer missing, frames good", name: "footer cut off", make: base(func(d *dirEdit) { d.cut(segment.Name(1), 600) }),
		report: func(r *Report) bool { return r.Footers == 1 && r.Scanned == 1 }},
	{row: "footer missing, frames good", name: "footer zeroed", make: base(func(d *dirEdit) {
		d.cut(segment.Name(2), 600)
		d.append(segment.Name(2), make([]byte, 600))
	}), report: func(r *Report) bool { return r.Footers == 1 && r.Scanned == 1 }},
	{row: "footer missing, frames good", name: "sound footer of another segment", make: base(func(d *dirEdit) {
		d.append(segment.Name(2), d.file(1)[d.end(1):])
	}), report: func(r *Report) bool { return r.Footers == 1 && r.Scanned == 1 }},
	{row: "footer missing, frames good", name: "sound footer of fewer events", make: base(func(d *dirEdit) { d.shortFooter(1) }),
		report: func(r *Report) bool { return r.Footers == 1 && r.Scanned == 1 }},
	{row: "damage in an older segment", name: "frame and footer", err: ErrCorrupt, make: base(func(d *dirEdit) {
		d.flip(segment.Name(1), d.firstFrame(1)+30, 1)
		d.cut(segment.Name(1), 1)
	})},
	{row: "rotten header of an older segment", name: "flip", err: ErrCorrupt, make: base(func(d *dirEdit) { d.flip(segment.Name(2), 90, 1) })},
	{row: "break between segments", name: "cut into the frames", err: ErrCorrupt, make: base(func(d *dirEdit) {
		d.cut(segment.Name(1), len(d.file(1))-d.firstFrame(1)-10)
	})},
	{row: "segment outside the chain", name: "a number that nobody names", err: ErrCorrupt, make: func(testing.TB) (*vfs.Mem, model) {
		m := vfs.NewMem()
		s, want := threeSegments(fatal{}, m)
		s.st.highest = 4 // as if 4 had been lost to a crash in rotation
		s.rotate()
		s.close()
		other := dirEdit{m}
		var h segment.Header
		h, _ = segment.DecodeHeader(other.file(3), 3)
		h.Segment = 4
		other.set(segment.Name(4), segment.AppendHeader(nil, &h))
		return m, want
	}},
	{row: "foreign segment", name: "under another name", err: ErrForeign, make: base(func(d *dirEdit) { d.set(segment.Name(4), d.file(2)) })},
	{row: "foreign segment", name: "two swapped", err: ErrForeign, make: base(func(d *dirEdit) {
		one, two := d.file(1), d.file(2)
		d.set(segment.Name(1), two)
		d.set(segment.Name(2), one)
	})},
	{row: "foreign segment", name: "of another store", err: ErrForeign, make: base(func(d *dirEdit) {
		m := vfs.NewMem()
		cfg := testConfig(m)
		cfg.Random(make([]byte, 99))
		s := openTest(fatal{}, cfg)
		s.append(2)
		s.seal(s.rotate())
		s.close()
		d.set(segment.Name(2), m.Files()[segment.Name(2)])
	})},
	{row: "left-over of a replacement", name: "anchor", make: unclean(func(d *dirEdit) { d.set("anchor.tmp", []byte("x")) }),
		report: func(r *Report) bool { return len(r.Removed) == 1 }},
	{row: "unknown name", name: "note", make: unclean(func(d *dirEdit) { d.set("note", []byte("x")) }),
		report: func(r *Report) bool { return len(r.Unknown) == 1 }},

	// Not rows of the table: the identity, and versions to come.
	{name: "meta missing", err: ErrAbsent, make: base(func(d *dirEdit) { d.remove(metaName) })},
	{name: "meta rotten", err: ErrDamaged, make: base(func(d *dirEdit) { d.flip(metaName, 30, 1) })},
	{name: "meta empty", err: ErrDamaged, make: base(func(d *dirEdit) { d.set(metaName, nil) })},
	{name: "meta of a newer version", err: ErrFuture, make: base(func(d *dirEdit) { d.version(metaName, 0, 16, metaLen) })},
	{name: "anchor of a newer version", err: ErrFuture, make: base(func(d *dirEdit) { d.version(anchorName, 0, 8, anchorLen) })},
	{name: "frame of a newer version", err: ErrFuture, make: doing(func(s *testStore) {
		w := s.st.Writer
		if err := w.Write(w.Seal().AppendFrame(nil, w.End(), 9, 0, uint32(w.Durable()), []byte("?"))); err != nil {
			panic(err)
		}
	}, nil)},
	{name: "sound frames with a gap", err: ErrCorrupt, make: doing(func(s *testStore) {
		s.seq += 3
		s.write(s.group(1, false, 16))
		s.sync()
	}, nil)},
	{name: "sound batch with another digest", err: ErrCorrupt, make: doing(func(s *testStore) {
		w := s.st.Writer
		group := s.group(2, true, 16)
		body := group[segment.FrameHeaderLen:segment.BatchLen]
		body[len(body)-1] ^= 1
		s.write(append(w.Seal().AppendFrame(nil, w.End(), segment.TypeBatch, 0, 0, body), group[segment.BatchLen:]...))
		s.sync()
	}, nil)},
	{name: "sound member without a batch", err: ErrCorrupt, make: doing(func(s *testStore) {
		frame, _ := s.frame(nil, s.st.Writer.End(), 0, segment.FlagMember, make([]byte, 9))
		s.write(frame)
		s.sync()
	}, nil)},
	{name: "segment of a newer version", err: ErrFuture, make: base(func(d *dirEdit) {
		b := d.file(2)
		b[18] = 9 // algorithm
		h := int(b[8]) | int(b[9])<<8
		sum := artifactSum(b[:h])
		b[12], b[13], b[14], b[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
		d.set(segment.Name(2), b)
	})},
}

func quarantined(r *Report) bool { return len(r.Quarantined) == 1 }

// try opens the directory that d makes, for reading and for writing, and says what is wrong, or "".
func (d *damage) try(t testing.TB) string {
	m, want := d.make(t)
	before := m.Files()
	for _, readOnly := range []bool{true, false} {
		got, report, err := reopen(m, readOnly)
		if d.err != nil {
			if !errors.Is(err, d.err) {
				return fmt.Sprintf("read-only %v: Open = %v, want %v", readOnly, err, d.err)
			}
			if c := (*CorruptError)(nil); d.row != "" && errors.As(err, &c) && c.Reason != d.row {
				return fmt.Sprintf("verdict %q, want %q", c.Reason, d.row)
			}
			if after := m.Files(); !sameFiles(withoutLock(before), withoutLock(after)) {
				return "a refusal changed the directory"
			}
			continue
		}
		if err != nil {
			return fmt.Sprintf("read-only %v: Open = %v", readOnly, err)
		}
		if why := got.prefixOf(want); why != "" {
			return why
		}
		if readOnly {
			continue
		}
		if !maps.Equal(got, want) {
			return fmt.Sprintf("%d events, want %d", len(got), len(want))
		}
		if isEnd(d.row) && report.Verdict != d.row {
			return fmt.Sprintf("verdict %q, want %q", report.Verdict, d.row)
		}
		if d.report != nil && !d.report(&report) {
			return fmt.Sprintf("report\n%v", report)
		}
		if again, _, err := reopen(m, false); err != nil || !maps.Equal(got, again) {
			return fmt.Sprintf("opened again: %d events, %v", len(again), err)
		}
	}
	return ""
}

// isEnd reports whether a row is one about the end of the log.
func isEnd(row string) bool {
	for i := range verdicts {
		if v := &verdicts[i]; v.label == row {
			return v.when.subject == of(newest) && (v.do == actResume || v.do == actMove)
		}
	}
	return false
}

// withoutLock leaves out the file that every writable open touches before it reads.
func withoutLock(files map[string][]byte) map[string][]byte {
	delete(files, lockName)
	return files
}

func TestEveryVerdict(t *testing.T) {
	reached := map[string]bool{}
	for _, d := range damages {
		reached[d.row] = true
		t.Run(d.row+"/"+d.name, func(t *testing.T) {
			if why := d.try(t); why != "" {
				t.Error(why)
			}
		})
	}
	for i := range verdicts {
		if !reached[verdicts[i].label] {
			t.Errorf("no directory for row %q", verdicts[i].label)
		}
	}
}

// base returns a maker of a store of three segments that was closed cleanly, and then changed.
func base(edit func(*dirEdit)) func(testing.TB) (*vfs.Mem, model) {
	return func(testing.TB) (*vfs.Mem, model) {
		m := vfs.NewMem()
		s, want := threeSegments(fatal{}, m)
		s.close()
		if edit != nil {
			edit(&dirEdit{m})
		}
		return m, want
	}
}

// unclean is base for a store that was not closed; everything in it is durable.
func unclean(edit func(*dirEdit)) func(testing.TB) (*vfs.Mem, model) { return doing(nil, edit) }

// doing is unclean with more done to the store; all of it must be there if it opens.
func doing(more func(*testStore), edit func(*dirEdit)) func(testing.TB) (*vfs.Mem, model) {
	return grown(more, edit, func(s *testStore) model { return s.events })
}

// unacked is doing where what was done is to be lost but for whole events in front of the damage.
func unacked(more func(*testStore), edit func(*dirEdit)) func(testing.TB) (*vfs.Mem, model) {
	return func(t testing.TB) (*vfs.Mem, model) {
		m, all := doing(more, edit)(t)
		got, _, err := reopen(m.Clone(), false)
		_, durable := unclean(nil)(t)
		if err != nil || got.contains(durable) != "" || got.prefixOf(all) != "" || len(got) == len(all) {
			return m, nil // try says what is wrong
		}
		return m, got
	}
}

func grown(more func(*testStore), edit func(*dirEdit), want func(*testStore) model) func(testing.TB) (*vfs.Mem, model) {
	return func(testing.TB) (*vfs.Mem, model) {
		m := vfs.NewMem()
		s, _ := threeSegments(fatal{}, m)
		if more != nil {
			more(s)
		}
		s.crash()
		if edit != nil {
			edit(&dirEdit{m})
		}
		return m, maps.Clone(want(s))
	}
}

// fatal stands in for a test where stores are made: making them does not fail.
type fatal struct{ testing.TB }

func (fatal) Helper()                   {}
func (fatal) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

// A dirEdit damages files.
type dirEdit struct{ m *vfs.Mem }

func (d *dirEdit) file(id uint64) []byte { return d.m.Files()[segment.Name(id)] }

func (d *dirEdit) set(name string, b []byte) { d.m.SetFile(name, b) }

func (d *dirEdit) remove(files ...string) {
	for _, name := range files {
		d.m.DeleteFile(name)
	}
}

func (d *dirEdit) append(name string, b []byte) { d.set(name, append(d.m.Files()[name], b...)) }

func (d *dirEdit) cut(name string, n int) {
	b := d.m.Files()[name]
	d.set(name, b[:len(b)-n])
}

func (d *dirEdit) flip(name string, at int, mask byte) {
	b := d.m.Files()[name]
	b[at] ^= mask
	d.set(name, b)
}

// version raises the version at offset at of an artifact of n bytes that begins at start.
func (d *dirEdit) version(name string, start, at, n int) {
	b := d.m.Files()[name]
	if b[start] == 0 {
		start += anchorStride
	}
	a := b[start : start+n]
	a[at]++
	sum := artifactSum(a)
	a[12], a[13], a[14], a[15] = byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24)
	d.set(name, b)
}

// frames returns the offsets of the frames of a segment, and where they end.
func (d *dirEdit) frames(id uint64) (offsets []int, end int) {
	b := d.file(id)
	h, err := segment.DecodeHeader(b, id)
	if err != nil {
		panic(err)
	}
	seal, at := segment.NewSeal(h.Salt), h.Len()
	for {
		f, err := seal.DecodeFrame(b[at:], id, at)
		if err != nil {
			return offsets, int(at)
		}
		offsets = append(offsets, int(at))
		at = f.End()
	}
}

func (d *dirEdit) firstFrame(id uint64) int { o, _ := d.frames(id); return o[0] }
func (d *dirEdit) lastFrame(id uint64) int  { o, _ := d.frames(id); return o[len(o)-1] }
func (d *dirEdit) end(id uint64) int        { _, end := d.frames(id); return end }

// shortFooter gives a segment a footer that holds, and leaves out the last event.
func (d *dirEdit) shortFooter(id uint64) {
	b := d.file(id)
	h, _ := segment.DecodeHeader(b, id)
	builder := segment.NewFooterBuilder(&h)
	tree, _ := merkle.NewRange(h.TreeSize, h.Range)
	offsets, end := d.frames(id)
	for _, at := range offsets[:len(offsets)-1] {
		f, _ := segment.NewSeal(h.Salt).DecodeFrame(b[at:], id, int64(at))
		if f.Type != segment.TypeEvent {
			continue
		}
		raw, _ := event.DecodeBody(f.Body)
		if err := builder.Add(&raw, uint32(at), uint32(f.Len())); err != nil {
			panic(err)
		}
		tree.Append(&raw.Hash)
	}
	footer, err := builder.Finish(nil, segment.FooterEnd{
		Frames: uint64(len(offsets)), End: int64(end), TreeSize: tree.Size(), Root: tree.Root(), Range: tree.Hashes(),
	})
	if err != nil {
		panic(err)
	}
	d.set(segment.Name(id), append(b[:end], footer...))
}
