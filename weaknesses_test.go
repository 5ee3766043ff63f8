package batpak_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/hidden"
	"batpak/internal/vfs"
	"batpak/segment"
)

// The system that ours descends from has weaknesses that are known and numbered. Those that concern an open have a test
// here, by number, that its design would fail.

// survives opens what is in m, goes on, closes, opens and compares: all of the rig's events are there.
func (r *rig) survives(m *vfs.Mem) error {
	h := r.history()
	l := &life{opts: r.opts, mem: m, compare: true}
	_, err := l.live(claim{want: h, least: len(h), most: len(h)})
	return err
}

// report opens what is in m and returns what Open says.
func (r *rig) report(m *vfs.Mem) (coldstart.Report, error) {
	l := &life{opts: r.opts, mem: m}
	st, err := l.open()
	if err != nil {
		return coldstart.Report{}, err
	}
	return st.OpenReport(), st.Close()
}

// mustWrite returns a rig that do has written to.
func mustWrite(t *testing.T, o batpak.Options, kill bool, do func(*rig) error) *rig {
	t.Helper()
	r, err := writtenRig(o, kill, do)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// severalSegments fills several segments.
func severalSegments(r *rig) error {
	for i := range 12 {
		d := r.full(streamB)
		d.Payload = append(d.Payload, make([]byte, 300)...)
		if err := errors.Join(second(r.append(d)), second(r.append(r.draft(streamA, 400*(i%2)))), stepCauses(r)); err != nil {
			return err
		}
		r.settle()
	}
	return nil
}

// everywhere opens g by every rung, and goes on.
func (r *rig) everywhere(t *testing.T, g *generation) {
	t.Helper()
	started, c := time.Now(), new(climbs)
	c.g.SetLimit(runtime.GOMAXPROCS(0))
	(&lifetime{rig: r}).climb(c, g)
	c.report(t, started)
}

// 1: extensions were lost by two of the ways to open, and the next close made that final.
func TestWeakness01_ExtensionsOnEveryRung(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		r := mustWrite(t, batpak.Options{IndexEvery: 512}, kill, severalSegments)
		h := r.history()
		if n := len(h); len(h[n-3].Extensions) != 2 || len(h[0].Extensions) != 2 {
			t.Fatal("the test needs extensions in the first segment and in the last")
		}
		r.everywhere(t, &generation{name: fmt.Sprintf("killed %v", kill), files: r.mem.Files(), told: h})
	}
}

// 2: sequences were counted anew where they had gaps, and what hid events then hid other ones.
func TestWeakness02_SequencesStableOverGaps(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{Sync: batpak.SyncNever, IndexEvery: 512}, false, func(r *rig) error {
		for range 3 {
			if err := errors.Join(severalSegments(r), stepKill(r)); err != nil {
				return err
			}
		}
		return severalSegments(r)
	})
	h := r.history()
	gaps := 0
	for i := 1; i < len(h); i++ {
		if h[i].Seq != h[i-1].Seq+1 {
			gaps++
		}
	}
	if gaps != 3 {
		t.Fatalf("%d gaps, want 3", gaps)
	}
	last := h[len(h)-1].Seq
	set := hidden.Of(hidden.Range{From: h[70].Seq, To: h[72].Seq}, hidden.Range{From: last - 3, To: last})
	r.mem.SetFile(hidden.FileName, hidden.AppendFile(nil, h[0].receipt.Store, &hidden.File{Set: set, Covers: last}))
	r.everywhere(t, &generation{name: "gaps", files: r.mem.Files(), told: h, hidden: set})
}

// 3: a torn tail was never repaired, and only the newest file was allowed one: the second crash was the end.
func TestWeakness03_TwoCrashesInARow(t *testing.T) {
	t.Parallel()
	r := startRig(t, batpak.Options{IndexEvery: 256})
	for crash := range 4 {
		if err := errors.Join(second(r.append(r.draft(streamA, 100))), stepCauses(r)); err != nil {
			t.Fatal(err)
		}
		r.kill()
		for again := range 2 {
			name := newestOf(r.mem)
			r.mem.SetFile(name, append(r.mem.Files()[name], bytes.Repeat([]byte{0xA5, 0x5A, 3}, 70)...))
			if err := r.survives(r.mem.Clone()); err != nil {
				t.Fatalf("crash %d.%d: %v", crash, again, err)
			}
			if err := r.open(); err != nil {
				t.Fatalf("crash %d.%d: %v", crash, again, err)
			}
			if rep := r.st.OpenReport(); rep.TornBytes == 0 {
				t.Errorf("crash %d.%d: the report says nothing of a torn tail:\n%v", crash, again, rep)
			}
			if again == 0 {
				r.kill()
			}
		}
	}
}

// newestOf returns the name of the newest segment in m.
func newestOf(m *vfs.Mem) string { return slices.Max((&generation{files: m.Files()}).segments()) }

// 3: so was a footer that a crash left half written.
func TestWeakness03_PartialFooter(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{IndexEvery: 512}, true, severalSegments)
	files := r.mem.Files()
	tried := 0
	for id := uint64(1); files[segment.Name(id+1)] != nil; id++ {
		name := segment.Name(id)
		next, err := segment.DecodeHeader(files[segment.Name(id+1)], id+1)
		if err != nil {
			t.Fatal(err)
		}
		for size := int(next.End); size < len(files[name]); size += thinned(59, 29, 1) {
			tried++
			for _, rest := range [][]byte{nil, make([]byte, len(files[name])-size), bytes.Repeat([]byte{0xA5}, 300)} {
				m := r.mem.Clone()
				m.SetFile(name, append(bytes.Clone(files[name][:size]), rest...))
				if err := r.survives(m); err != nil {
					t.Fatalf("footer of %s cut to %d bytes, and %d behind: %v", name, size-int(next.End), len(rest), err)
				}
			}
		}
	}
	t.Logf("%d partial footers", tried)
}

// 3: and so was an empty newest file.
func TestWeakness03_EmptyNewestFile(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		r := mustWrite(t, batpak.Options{IndexEvery: 512}, kill, severalSegments)
		id, _ := segment.ParseName(newestOf(r.mem))
		for _, content := range [][]byte{{}, make([]byte, 100), make([]byte, 9000)} {
			m := r.mem.Clone()
			m.SetFile(segment.Name(id+1), content)
			if err := r.survives(m); err != nil {
				t.Errorf("killed %v, a newest file of %d zeroes: %v", kill, len(content), err)
			}
		}
	}
}

// 4: one segment without a footer made the open read the frames of all of them, at every open from then on.
func TestWeakness04_MissingFooterCostsThatSegmentOnly(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{}, true, severalSegments)
	for _, snapshots := range []bool{true, false} {
		r.opts.NoSnapshot, r.opts.NoCheckpoint = !snapshots, !snapshots
		m := r.mem.Clone()
		files := m.Files()
		next, err := segment.DecodeHeader(files[segment.Name(3)], 3)
		if err != nil {
			t.Fatal(err)
		}
		m.SetFile(segment.Name(2), files[segment.Name(2)][:next.End])
		for _, want := range []int{1, 0} { // it has a footer again
			rep, err := r.report(m)
			if err != nil {
				t.Fatal(err)
			}
			if rep.Scanned != want || rep.Segments < 6 || rep.Rung > coldstart.RungFooters || rep.Bytes > int64(1+want)*smallSegment {
				t.Errorf("snapshots %v: %d of %d segments scanned, want %d:\n%v", snapshots, rep.Scanned, rep.Segments, want, rep)
			}
		}
	}
}

// 5: an unfinished batch at the end of a segment swallowed the committed events of the next one.
func TestWeakness05_UnfinishedBatchAtSegmentsEnd(t *testing.T) {
	t.Parallel()
	for _, indexEvery := range []int64{1, 1 << 20} {
		r := mustWrite(t, batpak.Options{IndexEvery: indexEvery}, true, func(r *rig) error {
			if err := appends(3)(r); err != nil {
				return err
			}
			r.settle()
			return stepCauses(r)
		})
		h := r.history()
		name := newestOf(r.mem)
		whole := r.mem.Files()[name]
		at := (&specimen{files: map[string][]byte{name: whole}}).frames()
		rolledBack := 0
		begin := at[len(at)-4] // the batch frame; its three members follow
		for size := int(begin.at); size < len(whole); size += thinned(5, 3, 1) {
			m := vfs.NewMemFrom(r.mem.Files())
			m.DeleteFile(".lock") // else somebody knows that the batch was durable
			for file := range m.Files() {
				if isBlock(file) && size > int(begin.at) {
					m.DeleteFile(file) // and so does a block
				}
			}
			m.SetFile(name, whole[:size])
			l := &life{opts: r.opts, mem: m}
			n, err := l.live(claim{want: h, least: len(h) - 3, most: len(h) - 3})
			if err != nil {
				t.Fatalf("cut to %d of %d bytes: %d events: %v", size, len(whole), n, err)
			}
			g := generation{name: "after", files: m.Files(), told: l.told}
			cutFooters(m)
			if err := g.opens(m, r.opts, func(coldstart.Rung) bool { return true }); err != nil {
				t.Fatalf("cut to %d of %d bytes, then opened by frames: %v", size, len(whole), err)
			}
			rolledBack++
		}
		t.Logf("%d unfinished batches", rolledBack)
	}
}

// 6: the length of a frame was not covered by its checksum: damage in the middle looked like the end of the log.
func TestWeakness06_FlippedLengthByte(t *testing.T) {
	t.Parallel()
	tried := 0
	for _, crashed := range []bool{false, true} {
		s, err := newSpecimen("lengths", crashed, false)
		if err != nil {
			t.Fatal(err)
		}
		base := vfs.NewMemFrom(s.files)
		for _, f := range s.frames() {
			for bit := tried % thinned(3, 1, 1); bit < 8*segment.FrameHeaderLen; bit += thinned(3, 1, 1) {
				b := bytes.Clone(s.files[f.file])
				b[int(f.at)+bit/8] ^= 1 << (bit % 8)
				tried++
				if res, err := s.try(base, f.file, b, tried%2 == 0, 0); err != nil || res == unharmed || res == shorter {
					t.Fatalf("%v, bit %d of the frame's header: %v, %v", f, bit, res, err)
				}
			}
		}
	}
	t.Logf("%d bits of frame headers", tried)
}

// 6: and a tail of zeroes, as file systems leave it, was refused.
func TestWeakness06_ZeroTail(t *testing.T) {
	t.Parallel()
	for _, kill := range []bool{false, true} {
		r := mustWrite(t, batpak.Options{IndexEvery: 512}, kill, severalSegments)
		name := newestOf(r.mem)
		for _, n := range []int{1, 7, 8, 511, 4096, 70_000} {
			m := r.mem.Clone()
			m.SetFile(name, append(m.Files()[name], make([]byte, n)...))
			rep, err := r.report(m.Clone())
			if err != nil || rep.TornBytes > 0 || rep.LostFrames > 0 {
				t.Errorf("killed %v, %d zeroes: %v\n%v", kill, n, err, rep)
			}
			if err := r.survives(m); err != nil {
				t.Errorf("killed %v, %d zeroes: %v", kill, n, err)
			}
		}
	}
}

// 8: a damaged frame was noticed by one way to open, and then forgotten.
func TestWeakness08_DamageIsNotForgotten(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{}, false, severalSegments)
	h := r.history()
	s := &specimen{files: r.mem.Files(), told: h, opts: r.opts}
	at := s.frames()[1]
	bad := bytes.Clone(s.files[at.file])
	bad[at.at+at.size/2] ^= 8
	for _, rotten := range []bool{true, false} {
		m := r.mem.Clone()
		if rotten {
			m.Rot(at.file, bad)
		} else {
			m.SetFile(at.file, bad)
		}
		for again := range 3 { // opens and closes do not make it good
			if res, err := s.look(m, again == 2, 0); err != nil || res != partly {
				t.Errorf("rotten %v, open %d: %v, %v, want %v", rotten, again, res, err, partly)
			}
		}
		o := r.opts
		o.SetFS(m)
		rep, err := batpak.Verify(t.Context(), vfs.MemDir, &o)
		if err != nil || rep.Clean() {
			t.Errorf("rotten %v: Verify = %v, %v", rotten, rep, err)
		}
		cutFooters(m)
		for _, name := range []string{snapshotFile, checkpointFile} {
			m.DeleteFile(name)
		}
		var corrupt *coldstart.CorruptError
		if _, err := r.report(m); !errors.As(err, &corrupt) || corrupt.File != at.file || corrupt.Offset > at.at {
			t.Errorf("rotten %v, by frames: %v, want a *coldstart.CorruptError", rotten, err)
		}
	}
}

// 18, 19: only a clean close left something to start from, and footers were trusted by reading every frame.
func TestWeakness18_CrashAfterALongRun(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{IndexEvery: 256}, true, severalSegments)
	for _, rung := range []coldstart.Rung{coldstart.RungSnapshot, coldstart.RungCheckpoint, coldstart.RungFooters} {
		r.opts.NoSnapshot, r.opts.NoCheckpoint = rung > coldstart.RungSnapshot, rung > coldstart.RungCheckpoint
		rep, err := r.report(r.mem.Clone())
		if err != nil || rep.Rung != rung || rep.Bytes > 1024 || rep.Replayed > 5 || rep.Restored < uint64(len(r.told)-5) {
			t.Errorf("%v: %v\n%v", rung, err, rep)
		}
	}
}

// 25: a read-only open wrote to the directory.
func TestWeakness25_ReaderWritesNothing(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{IndexEvery: 256}, true, severalSegments)
	g := generation{name: "reader", files: r.mem.Files(), told: r.history()}
	r.opts.ReadOnly = true
	if err := g.opens(r.mem, r.opts, func(rung coldstart.Rung) bool { return rung == coldstart.RungSnapshot }); err != nil {
		t.Error(err)
	}
}

// 29: nothing outside a segment said how long it is: one cut between two frames was a shorter log.
func TestWeakness29_OlderSegmentCutAtAFrame(t *testing.T) {
	t.Parallel()
	r := mustWrite(t, batpak.Options{IndexEvery: 512}, true, severalSegments)
	cutFooters(r.mem)
	s := &specimen{files: r.mem.Files()}
	newest, tried := newestOf(r.mem), 0
	for _, f := range s.frames() {
		if f.file == newest {
			continue
		}
		m := r.mem.Clone()
		m.SetFile(f.file, s.files[f.file][:f.at])
		tried++
		var corrupt *coldstart.CorruptError
		if _, err := r.report(m); !errors.As(err, &corrupt) || corrupt.File != f.file {
			t.Errorf("%s cut to %d bytes: %v, want a *coldstart.CorruptError", f.file, f.at, err)
		}
	}
	t.Logf("%d cuts", tried)
}
