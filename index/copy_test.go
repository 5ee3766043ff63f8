package index

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"batpak/event"
	"batpak/segment"
)

// footerBytes finishes b as the footer of n events that end at end.
func footerBytes(t *testing.T, b *segment.FooterBuilder, n uint64, end int64) []byte {
	t.Helper()
	got, err := b.FinishBlock(nil, 100, segment.FooterEnd{Frames: n, End: end, TreeSize: n})
	if err != nil {
		t.Fatalf("FinishBlock = %v", err)
	}
	return got
}

// TestCopyIsTheFramesFooter makes footers of random stretches from memory and from the frames: they are the same bytes.
func TestCopyIsTheFramesFooter(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	plain := testShape{entities: 40, scopes: 1, kinds: 2, lanes: 1, payload: 400}
	mixed := everything
	mixed.gaps = false
	for name, shape := range map[string]testShape{"plain": plain, "keyed": plain, "everything": mixed} {
		t.Run(name, func(t *testing.T) {
			l := newTestLog(t, memDir(t), seed, shape)
			seal := segment.NewSeal(l.header.Salt)
			for range 40 {
				l.add(1 + l.r.IntN(60))
				for range 20 {
					if name == "keyed" {
						l.addKeyed(l.r.Uint64N(300))
					}
				}
				l.buf = seal.AppendMark(l.buf, l.end, 0) // between events
				l.end += int64(len(l.buf))
				l.flush()
			}
			l.show()
			places := l.frames[0].events
			var c Copier
			b := segment.NewFooterBuilder(&l.header)
			for range 60 {
				lo := l.r.IntN(len(places))
				hi := lo + 1 + l.r.IntN(len(places)-lo)
				want := segment.NewFooterBuilder(&l.header)
				for _, p := range places[lo:hi] {
					raw, _ := event.DecodeBody(p.body)
					if err := want.Add(&raw, p.offset, p.length); err != nil {
						t.Fatal(err)
					}
				}
				s, ok := l.active.Stretch(uint64(lo)+1, uint64(hi))
				end, _ := s.End()
				if !ok || end != int64(places[hi-1].offset+places[hi-1].length) {
					t.Fatalf("Stretch(%d, %d) = %v, ends at %d", lo+1, hi, ok, end)
				}
				b.Reset(&l.header)
				bytesBetween := int64(0)
				err := c.Copy(b, s, int64(places[lo].offset), func(from, to int64) error { bytesBetween += to - from; return nil })
				if err != nil {
					t.Fatalf("Copy(%d, %d) = %v", lo+1, hi, err)
				}
				if got, n := footerBytes(t, b, uint64(hi-lo), end), uint64(hi-lo); !bytes.Equal(got, footerBytes(t, want, n, end)) {
					t.Fatalf("Copy of events %d to %d is not the footer of their frames", lo+1, hi)
				}
				between := end - int64(places[lo].offset)
				for _, p := range places[lo:hi] {
					between -= int64(p.length)
				}
				if bytesBetween != between {
					t.Errorf("Copy(%d, %d) saw %d bytes between events, want %d", lo+1, hi, bytesBetween, between)
				}
			}
		})
	}
}

// TestStretchIsWholeOrNot asks for events that are not all there.
func TestStretchIsWholeOrNot(t *testing.T) {
	l := newTestLog(t, memDir(t), 3, testShape{entities: 3, scopes: 1, kinds: 1, lanes: 1, payload: 9})
	l.seq = 10
	l.rotate() // sequence 11 is the first
	l.add(20)
	l.show()
	l.add(5) // not published
	for _, tt := range []struct {
		name        string
		first, last uint64
		want        bool
	}{
		{"all", 11, 30, true}, {"one", 30, 30, true}, {"before the first", 10, 12, false}, {"not published", 11, 31, false},
		{"behind the end", 36, 40, false}, {"none", 12, 11, false}, {"far too many", 11, 1 << 40, false},
	} {
		if _, ok := l.active.Stretch(tt.first, tt.last); ok != tt.want {
			t.Errorf("%s: Stretch(%d, %d) = %v, want %v", tt.name, tt.first, tt.last, ok, tt.want)
		}
	}
}

// TestCopyOfDamage changes a byte of a frame that Copy needs: the stream's last one.
func TestCopyOfDamage(t *testing.T) {
	l := newTestLog(t, memDir(t), 4, testShape{entities: 1, scopes: 1, kinds: 1, lanes: 1, payload: 9})
	l.add(20)
	l.show()
	last := l.frames[0].events[19]
	if _, err := l.file.WriteAt([]byte{0xff}, int64(last.offset)+30); err != nil {
		t.Fatal(err)
	}
	s, _ := l.active.Stretch(1, 20)
	var c Copier
	err := c.Copy(segment.NewFooterBuilder(&l.header), s, l.header.Len(), func(int64, int64) error { return nil })
	if e, ok := errors.AsType[*segment.FrameError](err); !ok || e.Offset != int64(last.offset) || !errors.Is(err, segment.ErrCorrupt) {
		t.Errorf("Copy of a damaged frame = %v, want ErrCorrupt at offset %d", err, last.offset)
	}
}
