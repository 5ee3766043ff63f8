package batpak_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"batpak"
	"batpak/coldstart"
	"batpak/hidden"
	"batpak/idemp"
	"batpak/internal/vfs"
	"batpak/internal/wire"
	"batpak/segment"
)

// A ward damages the artifacts of generations in every way. Caches never make an open fail nor an answer wrong; the file
// of hidden ranges and that of evicted keys are never guessed.
type ward struct {
	opts    batpak.Options
	tried   atomic.Int64
	refused atomic.Int64
	healed  atomic.Int64
	partly  atomic.Int64 // stores of which not everything could be read, and the reads said so
	down    atomic.Int64 // opens that had to go by a lower rung than the undamaged directory
	climbs
}

// treat opens g with the file name replaced by b; nil takes it away.
func (w *ward) treat(g *generation, name, what string, b []byte) {
	n := w.tried.Add(1)
	w.try(fmt.Sprintf("%s: %s %s", g.name, name, what), func() error {
		m := vfs.NewMemFrom(g.files)
		m.DeleteFile(name)
		if b != nil {
			m.SetFile(name, b)
		}
		return w.look(g, m, name, n%4 == 0)
	})
}

// look opens what is in m, of which the file name is damaged.
func (w *ward) look(g *generation, m *vfs.Mem, name string, readOnly bool) error {
	o := w.opts
	o.ReadOnly = readOnly
	l := &life{opts: o, mem: m}
	start := m.OpCount()
	st, err := l.open()
	switch {
	case err != nil && isCache(name):
		return fmt.Errorf("a cache refuses: %w", err)
	case err != nil && !typedRefusal(err):
		return fmt.Errorf("refused without a type: %w", err)
	case err != nil:
		w.refused.Add(1)
		return unchanged(m, start, readOnly)
	}
	defer st.Close()
	if st.OpenReport().Rung > g.rungOf(coldstart.RungSnapshot) {
		w.down.Add(1)
	}
	err = g.tells(st)
	for _, h := range st.Stats().Healed {
		w.healed.Add(1)
		if h.Err != nil || h.Found == nil || segment.BlockName(h.Segment) != name {
			err = errors.Join(err, fmt.Errorf("healed: %+v", h))
		}
	}
	if err != nil || readOnly {
		return err
	}
	err = g.answers(st)
	var flaw *idemp.FileError
	if name == idemp.FileName && errors.As(err, &flaw) {
		w.refused.Add(1)
		err = g.tells(st) // nothing was written
	}
	return err
}

// artifactsOf returns the files of g that are no segments and no evidence, in order.
func (g *generation) artifactsOf() (names []string) {
	for name := range g.files {
		if isCache(name) || name == hidden.FileName || name == idemp.FileName {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// sick returns the generations that are damaged: one with hidden events, an older segment without footer and every kind of
// artifact.
func sick(t *testing.T) (*lifetime, []*generation) {
	t.Helper()
	l, err := liveLong()
	if err != nil {
		t.Fatal(err)
	}
	var all []*generation
	for i := range l.generations {
		if g := &l.generations[i]; g.name == "round 9" || g.name == "closed" {
			all = append(all, g)
		}
	}
	kinds := map[string]bool{}
	for _, g := range all {
		for _, name := range g.artifactsOf() {
			kinds[name[len(name)-5:]] = true
			t.Logf("%s: %s, %d bytes", g.name, name, len(g.files[name]))
		}
	}
	if len(kinds) != 6 {
		t.Fatalf("%d kinds of artifacts, want 6: %v", len(kinds), kinds)
	}
	return l, all
}

// TestArtifactFlips flips every bit of every artifact; at a desk an even choice of them.
func TestArtifactFlips(t *testing.T) {
	t.Parallel()
	started := time.Now()
	l, all := sick(t)
	w := newWard(l)
	for _, g := range all {
		for _, name := range g.artifactsOf() {
			whole := g.files[name]
			stride := 1 + 8*len(whole)/unlessRacing(sized(100, 300, 1<<30))
			for bit := 0; bit < 8*len(whole); bit += stride {
				b := bytes.Clone(whole)
				b[bit/8] ^= 1 << (bit % 8)
				w.treat(g, name, fmt.Sprintf("bit %d", bit), b)
			}
		}
	}
	w.report(t, started)
}

// TestArtifactCuts cuts every artifact at every length, makes it longer, and puts something else in its place.
func TestArtifactCuts(t *testing.T) {
	t.Parallel()
	started := time.Now()
	l, all := sick(t)
	w := newWard(l)
	garbage := bytes.Repeat([]byte{0xA5, 0x5A, 0xC3}, 3000)
	for _, g := range all {
		for _, name := range g.artifactsOf() {
			whole := g.files[name]
			stride := 1 + len(whole)/unlessRacing(sized(40, 120, 1<<30))
			for n := 0; n < len(whole); n += stride {
				w.treat(g, name, fmt.Sprintf("cut to %d", n), whole[:n])
			}
			for _, n := range []int{1, 7, 8, 100, 4096, 9000} {
				w.treat(g, name, fmt.Sprintf("longer by %d zeroes", n), append(bytes.Clone(whole), make([]byte, n)...))
				w.treat(g, name, fmt.Sprintf("longer by %d of garbage", n), append(bytes.Clone(whole), garbage[:n]...))
				w.treat(g, name, fmt.Sprintf("%d zeroes", n), make([]byte, n))
				w.treat(g, name, fmt.Sprintf("%d of garbage", n), garbage[:n])
			}
			w.treat(g, name, "twice", slices.Concat(whole, whole))
			w.treat(g, name, "zeroed", make([]byte, len(whole)))
			w.treat(g, name, "empty", []byte{})
			for _, other := range g.artifactsOf() {
				w.treat(g, name, "is "+other, g.files[other])
			}
			if isCache(name) {
				w.treat(g, name, "gone", nil)
			}
		}
	}
	w.report(t, started)
}

func newWard(l *lifetime) *ward {
	w := &ward{opts: l.opts}
	w.g.SetLimit(4)
	return w
}

func (w *ward) report(t *testing.T, started time.Time) {
	t.Helper()
	_ = w.g.Wait()
	w.wrong.report(t)
	t.Logf("%d tried: %d typed refusals, %d by a lower rung, %d healed, %d read in part, in %v",
		w.tried.Load(), w.refused.Load(), w.down.Load(), w.healed.Load(), w.partly.Load(), time.Since(started).Round(time.Millisecond))
}

// newer returns what a later version would write in the place of an artifact: its version, and checksums that hold.
func newer(t *testing.T, name string, b []byte, store [16]byte) []byte {
	t.Helper()
	b = bytes.Clone(b)
	le := binary.LittleEndian
	resum := func(seed uint32, at int, b []byte) { le.PutUint32(b[at:], wire.Sum(wire.Sum(seed, b[:at]), b[at+4:])) }
	switch {
	case isImage(name):
		le.PutUint16(b[8:], 2)
		resum(0, 12, b)
	case name == hidden.FileName:
		le.PutUint16(b[16:], 2)
		resum(0, 12, b)
	case name == idemp.FileName:
		le.PutUint16(b[16:], 2)
		resum(0, 12, b[:4096])
	case isBlock(name):
		var id uint64
		if _, err := fmt.Sscanf(name, "%d", &id); err != nil {
			t.Fatal(err)
		}
		le.PutUint16(b[8:], 2)
		resum(wire.SumUint64(wire.Sum(0, store[:]), id), 12, b[:segment.BlockHeaderLen])
	case isCatalog(name):
		tail := b[len(b)-100:]
		le.PutUint16(tail[88:], 2)
		le.PutUint32(tail[96:], wire.Sum(0, tail[:96]))
	}
	return b
}

// TestArtifactsOfLaterVersions: an artifact that only a later version can read is refused and named, whether the open
// needs it or not, and left as it is.
func TestArtifactsOfLaterVersions(t *testing.T) {
	t.Parallel()
	l, all := sick(t)
	for _, g := range all {
		for _, name := range g.artifactsOf() {
			for _, readOnly := range []bool{false, true} {
				m := vfs.NewMemFrom(g.files)
				b := newer(t, name, g.files[name], g.told[0].receipt.Store)
				m.SetFile(name, b)
				if err := l.meetsNewer(g, m, name, readOnly); err != nil {
					t.Errorf("%s, %s, read-only %v: %v", g.name, name, readOnly, err)
				}
				if !bytes.Equal(m.Files()[name], b) {
					t.Errorf("%s, %s, read-only %v: it was touched", g.name, name, readOnly)
				}
			}
		}
	}
}

func (l *lifetime) meetsNewer(g *generation, m *vfs.Mem, name string, readOnly bool) error {
	lf, start := &life{opts: l.opts, mem: m}, m.OpCount()
	lf.opts.ReadOnly = readOnly
	st, err := lf.open()
	if err == nil {
		return errors.Join(errors.New("it opens"), st.Close())
	}
	var future *coldstart.FutureError
	if !errors.As(err, &future) || future.File != name || !errors.Is(err, coldstart.ErrFuture) {
		return fmt.Errorf("Open = %v, want a *coldstart.FutureError", err)
	}
	return unchanged(m, start, readOnly)
}

// A rot changes bytes of a sealed segment under an unchanged stamp: the snapshot holds, and the damage is met in use.
type rot struct {
	segment  string
	footer   bool // no frame is hit
	frames   bool // a frame is hit
	name     string
	contents []byte
}

// rots yields flips of one bit of each sealed segment, blocks of zeroes, and pairs of flips, one of a frame and one of the
// footer.
func (s *specimen) rots(stride int) func(yield func(rot) bool) {
	return func(yield func(rot) bool) {
		for _, name := range s.names() {
			id, ok := segment.ParseName(name)
			next, isSealed := s.files[segment.Name(id+1)]
			if !ok || !isSealed {
				continue
			}
			h, err := segment.DecodeHeader(next, id+1)
			if err != nil {
				continue
			}
			whole, end := s.files[name], int(h.End)
			for bit := int(id) % stride; bit < 8*len(whole); bit += stride {
				at := bit / 8
				one := bytes.Clone(whole)
				one[at] ^= 1 << (bit % 8)
				zeroed := bytes.Clone(whole)
				clear(zeroed[at:min(at+64, len(whole))])
				two := bytes.Clone(one)
				two[(at+len(whole)/2)%len(whole)] ^= 4
				other := (at + len(whole)/2) % len(whole)
				for _, r := range []rot{
					{name, at >= end, at < end, fmt.Sprintf("bit %d", bit), one},
					{name, at >= end, at < end, fmt.Sprintf("zeroes at %d", at), zeroed},
					{name, at >= end && other >= end, at < end || other < end, fmt.Sprintf("bits at %d and %d", at, other), two},
				} {
					if !yield(r) {
						return
					}
				}
			}
		}
	}
}

// TestRottenSegments: a damaged footer is healed from the frames, with the finding in Stats and the right answers; a
// damaged frame is an error of those reads that need it.
func TestRottenSegments(t *testing.T) {
	t.Parallel()
	for _, s := range specimens(t) {
		t.Run(s.name, func(t *testing.T) {
			started, w := time.Now(), newWard(&lifetime{rig: newRig(s.opts)})
			base := vfs.NewMemFrom(s.files)
			for r := range s.rots(envInt(t, "BATPAK_STRIDE", thinned(197, 97, 1))) {
				readOnly := w.tried.Add(1)%3 == 0
				w.try(fmt.Sprintf("%s: %s %s", s.name, r.segment, r.name), func() error { return w.rot(s, base.Clone(), &r, readOnly) })
			}
			w.report(t, started)
			if w.healed.Load() == 0 || w.partly.Load() == 0 {
				t.Error("nothing was healed, or nothing was lost")
			}
		})
	}
}

// rot lets r happen to s and reads everything.
func (w *ward) rot(s *specimen, m *vfs.Mem, r *rot, readOnly bool) error {
	m.Rot(r.segment, r.contents)
	l := &life{opts: s.opts, mem: m}
	l.opts.ReadOnly = readOnly
	st, err := l.open()
	if err != nil {
		return err // the snapshot lists it, and nothing else is known
	}
	defer st.Close()
	if rep := st.OpenReport(); rep.Rung != coldstart.RungSnapshot {
		return fmt.Errorf("opened by %v:\n%v", rep.Rung, rep)
	}
	res, err := s.readable(st, s.spare(r.segment, r.contents, readOnly))
	switch {
	case err != nil:
		return err
	case r.footer && res == partly:
		return errors.New("reads fail for a damaged footer")
	case res == partly:
		w.partly.Add(1)
	}
	return errors.Join(r.healing(st, &w.healed), st.Close())
}

// healing checks what Stats say of a store with a rotten segment.
func (r *rot) healing(st *batpak.Store, healed *atomic.Int64) error {
	for _, h := range st.Stats().Healed {
		if h.Err == nil {
			healed.Add(1)
		}
		if segment.Name(h.Segment) != r.segment || h.Found == nil || h.Err != nil && (!r.frames || !errors.Is(h.Err, coldstart.ErrCorrupt)) {
			return fmt.Errorf("healed: %+v", h)
		}
	}
	return nil
}

// TestRottenFooters rots footers of a store that has everything, catalogs among it: every answer is right, and no append
// is misled.
func TestRottenFooters(t *testing.T) {
	t.Parallel()
	started := time.Now()
	l, all := sick(t)
	w := newWard(l)
	for _, g := range all {
		s := &specimen{name: g.name, files: g.files}
		for r := range s.rots(envInt(t, "BATPAK_STRIDE", thinned(797, 211, 7))) {
			if !r.footer {
				continue
			}
			n := w.tried.Add(1)
			w.try(fmt.Sprintf("%s: %s %s", g.name, r.segment, r.name), func() error { return w.rotFooter(g, &r, n) })
		}
	}
	w.report(t, started)
}

// rotFooter lets r happen to g and looks at everything: retries first, or reads.
func (w *ward) rotFooter(g *generation, r *rot, n int64) error {
	m := vfs.NewMemFrom(g.files)
	m.Rot(r.segment, r.contents)
	l := &life{opts: w.opts, mem: m}
	l.opts.ReadOnly = n%4 == 0
	st, err := l.open()
	if err != nil {
		return err
	}
	defer st.Close()
	if n%4 == 2 {
		err = g.answers(st)
	}
	if err = errors.Join(err, g.tells(st)); err != nil || l.opts.ReadOnly {
		return err
	}
	after, err := g.goOn(st)
	if err != nil {
		return err
	}
	return errors.Join(after.tells(st), after.answers(st), r.healing(st, &w.healed), st.Close())
}

// TestHealBesideSeal: a read meets a damaged index block of a segment that is being sealed. When the segment has got its
// footer while its frames were read, the footer stays: the blocks covered less.
func TestHealBesideSeal(t *testing.T) {
	t.Parallel()
	l, all := sick(t)
	g := all[0]
	blocks := slices.DeleteFunc(g.artifactsOf(), func(name string) bool { return !isBlock(name) })
	id, err := strconv.ParseUint(strings.TrimSuffix(blocks[0], blockSuffix), 10, 64)
	if err != nil || len(blocks) < 2 {
		t.Fatalf("blocks %v, %v: the test needs those of an older segment", blocks, err)
	}
	raced := 0
	for at := 40; at < len(g.files[blocks[0]]); at += 97 {
		m := vfs.NewMemFrom(g.files)
		b := bytes.Clone(g.files[blocks[0]])
		b[at] ^= 0x20
		m.SetFile(blocks[0], b)
		met, err := healBesideSeal(l.opts, g, m, segment.Name(id))
		if err != nil {
			t.Errorf("byte %d of %s: %v", at, blocks[0], err)
		}
		if met {
			raced++
		}
	}
	if raced == 0 {
		t.Error("no read has met the damage")
	}
	t.Logf("%d segments sealed while they were healed", raced)
}

// healBesideSeal opens m, holds up the seal of a segment until a read has begun to heal it, and the read until the seal is
// done. met says that it came to that.
func healBesideSeal(o batpak.Options, g *generation, m *vfs.Mem, name string) (met bool, err error) {
	var st atomic.Pointer[batpak.Store]
	healing, sealing := make(chan struct{}), make(chan struct{})
	var once, first sync.Once
	o.SetFS(vfs.Inject(m, func(c vfs.Call) vfs.Decision {
		switch {
		case c.Name != name:
		case c.Kind == vfs.OpOpenWrite:
			first.Do(func() { close(sealing) })
			<-healing
		case c.Kind == vfs.OpOpenRead && st.Load() != nil:
			once.Do(func() { met = true; close(healing); st.Load().WaitSealed() })
		}
		return vfs.Decision{}
	}))
	s, err := batpak.Open(vfs.MemDir, &o)
	if err != nil {
		return false, err
	}
	defer s.Close()
	select {
	case <-sealing: // from here on it is the reader who opens the segment
	case <-time.After(time.Second):
		once.Do(func() { close(healing) })
		return false, nil // the damage was found by the open: nothing is left to heal
	}
	st.Store(s)
	defer once.Do(func() { close(healing) })
	return met, g.tells(s)
}
