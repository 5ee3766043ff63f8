package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"testing"
)

// A segmentFile is a segment in memory, as tests build it.
type segmentFile struct {
	header Header
	seal   Seal
	bytes  []byte
	starts []int64 // of the frames
}

func newSegmentFile() *segmentFile {
	h := sampleHeader(0)
	return &segmentFile{header: h, seal: NewSeal(h.Salt), bytes: AppendHeader(nil, &h)}
}

// add appends a frame of size body bytes.
func (s *segmentFile) add(size int, through uint32) {
	s.starts = append(s.starts, int64(len(s.bytes)))
	body := bytes.Repeat([]byte{byte(len(s.starts))}, size)
	s.bytes = s.seal.AppendFrame(s.bytes, int64(len(s.bytes)), TypeEvent, FlagGroup, through, body)
}

func (s *segmentFile) scanner() *Scanner {
	return NewScanner(bytes.NewReader(s.bytes), &s.header, s.header.Len(), int64(len(s.bytes)))
}

// scanAll returns where the frames start that a scan finds.
func scanAll(sc *Scanner) (starts []int64) {
	for sc.Next() {
		starts = append(starts, sc.Frame().Offset)
	}
	return starts
}

// Frames of every size around the read block come out whole and in order.
func TestScannerReadsEverything(t *testing.T) {
	s := newSegmentFile()
	for _, size := range []int{1, 100, scanBlock - 300, scanBlock, 1, scanBlock + 1, 3*scanBlock + 7, 5, scanBlock - FrameHeaderLen, 2} {
		s.add(size, 0)
	}
	for range 3000 {
		s.add(250, 0)
	}
	sc := s.scanner()
	for i := 0; sc.Next(); i++ {
		f := sc.Frame()
		whole := s.bytes[f.Offset+FrameHeaderLen : f.End()]
		if f.Offset != s.starts[i] || !bytes.Equal(f.Body, whole) {
			t.Fatalf("frame %d: offset %d, want %d; body equal %v", i, f.Offset, s.starts[i], bytes.Equal(f.Body, whole))
		}
	}
	if sc.Err() != nil || sc.Fault() != nil || sc.Offset() != int64(len(s.bytes)) {
		t.Errorf("scan ends at %d of %d: %v, %v", sc.Offset(), len(s.bytes), sc.Err(), sc.Fault())
	}
}

// Bodies of frames that are held stay as they are, wherever the blocks end.
func TestScannerHold(t *testing.T) {
	s := newSegmentFile()
	for i := range 4000 {
		s.add(200+i%100, 0)
	}
	s.add(holdMost, 0)
	for _, group := range []int{1, 7, 1000, 2500} {
		sc := s.scanner()
		for at := 0; at+group < len(s.starts)-1; at += group {
			n := s.starts[at+group] - s.starts[at]
			if !sc.Hold(n) {
				t.Fatalf("Hold(%d) at frame %d = false", n, at)
			}
			var bodies [][]byte
			for range group {
				if !sc.Next() {
					t.Fatalf("scan of held frames ends at %d: %v, %v", sc.Offset(), sc.Err(), sc.Fault())
				}
				bodies = append(bodies, sc.Frame().Body)
			}
			for i, body := range bodies {
				from, to := s.starts[at+i]+FrameHeaderLen, s.starts[at+i+1]
				if !bytes.Equal(body, s.bytes[from:to]) {
					t.Fatalf("body %d of %d that are held has changed", i, group)
				}
			}
		}
	}
	sc := s.scanner()
	if rest := int64(len(s.bytes)) - sc.Offset(); sc.Hold(holdMost+1) || sc.Hold(rest+1) {
		t.Error("Hold of too much = true")
	}
	if sc = NewScanner(bytes.NewReader(s.bytes[:5000]), &s.header, s.header.Len(), 9000); sc.Hold(8000) {
		t.Error("Hold of what the file does not have = true")
	}
	if !sc.Next() {
		t.Errorf("Next behind a Hold that failed: %v, %v", sc.Err(), sc.Fault())
	}
}

func TestScannerStops(t *testing.T) {
	for _, tt := range []struct {
		name   string
		edit   func(s *segmentFile)
		frames int
		want   error // nil: frames fill all of it
		reason flaw
	}{
		{"at the end", func(*segmentFile) {}, 3, nil, ""},
		{"at zeroes", func(s *segmentFile) { s.bytes = append(s.bytes, make([]byte, 5000)...) }, 3, ErrTorn, flawZero},
		{"at a few zeroes", func(s *segmentFile) { s.bytes = append(s.bytes, 0, 0) }, 3, ErrTorn, flawShort},
		{"at a cut header", func(s *segmentFile) { s.bytes = s.bytes[:s.starts[2]+7] }, 2, ErrTorn, flawShort},
		{"at a cut body", func(s *segmentFile) { s.bytes = s.bytes[:len(s.bytes)-1] }, 2, ErrTorn, flawShort},
		{"at a flipped header", func(s *segmentFile) { s.bytes[s.starts[1]] ^= 1 }, 1, ErrCorrupt, flawHeaderSum},
		{"at a flipped body", func(s *segmentFile) { s.bytes[s.starts[1]+FrameHeaderLen+9] ^= 1 }, 1, ErrCorrupt, flawBodySum},
		{"at once", func(s *segmentFile) { clear(s.bytes[s.starts[0]:]) }, 0, ErrTorn, flawZero},
		{"at a future frame", func(s *segmentFile) {
			s.bytes = s.seal.AppendFrame(s.bytes, int64(len(s.bytes)), lastType+1, 0, 0, []byte("x"))
		}, 3, ErrFuture, flawFutureType},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSegmentFile()
			for range 3 {
				s.add(100, 0)
			}
			tt.edit(s)
			sc := s.scanner()
			if got := scanAll(sc); !slices.Equal(got, s.starts[:tt.frames]) {
				t.Errorf("frames at %v, want %v", got, s.starts[:tt.frames])
			}
			fault := sc.Fault()
			if tt.want == nil {
				if fault != nil {
					t.Errorf("Fault = %v, want nil", fault)
				}
				return
			}
			if fault == nil || !errors.Is(fault, tt.want) || fault.Reason != string(tt.reason) || fault.Offset != sc.Offset() {
				t.Errorf("Fault = %v at %d, want %v %q", fault, sc.Offset(), tt.want, tt.reason)
			}
			if sc.Next() {
				t.Error("Next goes on behind a fault")
			}
		})
	}
}

// The limit ends the log even where whole frames stand behind it.
func TestScannerLimit(t *testing.T) {
	s := newSegmentFile()
	for range 3 {
		s.add(100, 0)
	}
	for limit := s.header.Len(); limit <= int64(len(s.bytes)); limit++ {
		sc := NewScanner(bytes.NewReader(s.bytes), &s.header, s.header.Len(), limit)
		frames := len(scanAll(sc))
		if want := int(limit-s.header.Len()) / 120; frames != want {
			t.Fatalf("limit %d: %d frames, want %d", limit, frames, want)
		}
		if exact := (limit-s.header.Len())%120 == 0; exact != (sc.Fault() == nil) {
			t.Fatalf("limit %d: Fault = %v", limit, sc.Fault())
		}
	}
}

// A file that is shorter than it was when it was measured is torn, not a panic and not an endless loop.
func TestScannerOfAShrunkFile(t *testing.T) {
	s := newSegmentFile()
	s.add(100, 0)
	s.add(1000, 0)
	for n := range len(s.bytes) {
		sc := NewScanner(bytes.NewReader(s.bytes[:n]), &s.header, s.header.Len(), int64(len(s.bytes)))
		scanAll(sc)
		if fault := sc.Fault(); sc.Err() != nil || fault == nil || !errors.Is(fault, ErrTorn) {
			t.Fatalf("%d of %d bytes: Fault = %v, Err = %v, want %v", n, len(s.bytes), fault, sc.Err(), ErrTorn)
		}
	}
}

// brokenReader fails from an offset on.
type brokenReader struct {
	io.ReaderAt
	from int64
}

var errBroken = errors.New("broken disk")

func (r brokenReader) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > r.from {
		return 0, errBroken
	}
	return r.ReaderAt.ReadAt(p, off)
}

func TestScannerReturnsIOErrors(t *testing.T) {
	s := newSegmentFile()
	for range 10 {
		s.add(scanBlock, 0)
	}
	src := brokenReader{bytes.NewReader(s.bytes), 3 * scanBlock}
	sc := NewScanner(src, &s.header, s.header.Len(), int64(len(s.bytes)))
	n := len(scanAll(sc))
	if !errors.Is(sc.Err(), errBroken) || sc.Fault() != nil || n == 0 || n >= 10 {
		t.Errorf("%d frames, Err = %v, Fault = %v, want %v and no fault", n, sc.Err(), sc.Fault(), errBroken)
	}
	if err := sc.Resync(func(*Frame) bool { return true }); !errors.Is(err, errBroken) {
		t.Errorf("Resync = %v, want %v", err, errBroken)
	}
	if _, err := sc.Zeroes(sc.Offset()); !errors.Is(err, errBroken) {
		t.Errorf("Zeroes = %v, want %v", err, errBroken)
	}
}

func TestZeroes(t *testing.T) {
	s := newSegmentFile()
	s.add(100, 0)
	end := int64(len(s.bytes))
	s.bytes = append(s.bytes, make([]byte, 2*scanBlock+9)...)
	for _, at := range []int64{end, end + 1, end + scanBlock - 1, end + scanBlock, int64(len(s.bytes)) - 1, -1} {
		b := bytes.Clone(s.bytes)
		if at >= 0 {
			b[at] = 1
		}
		sc := NewScanner(bytes.NewReader(b), &s.header, s.header.Len(), int64(len(b)))
		scanAll(sc)
		if got, err := sc.Zeroes(sc.Offset()); err != nil || got != (at < 0) {
			t.Errorf("byte at %d: Zeroes = %v, %v, want %v", at, got, err, at < 0)
		}
	}
	cut := NewScanner(bytes.NewReader(s.bytes[:end+10]), &s.header, s.header.Len(), int64(len(s.bytes)))
	if got, err := cut.Zeroes(end); err != nil || !got {
		t.Errorf("Zeroes of a file that ends early = %v, %v, want true", got, err)
	}
}

// Resync finds every whole frame behind the damage, wherever blocks of the search begin and end.
func TestResync(t *testing.T) {
	for _, size := range []int{1, 19, 333, scanBlock - FrameHeaderLen - 1, scanBlock, scanBlock + 30} {
		for _, hole := range []int{1, 20, 4096, scanBlock - 1, scanBlock + 1} {
			t.Run(fmt.Sprintf("frames of %d behind %d bytes", size, hole), func(t *testing.T) {
				s := newSegmentFile()
				s.add(50, 0)
				s.bytes = append(s.bytes, bytes.Repeat([]byte{0xaa}, hole)...)
				for range 5 {
					s.add(size, 7)
					s.bytes = append(s.bytes, 1, 0, 0) // frames need not touch
				}
				sc := s.scanner()
				if got := scanAll(sc); len(got) != 1 {
					t.Fatalf("%d frames before the hole, want 1", len(got))
				}
				var got []int64
				err := sc.Resync(func(f *Frame) bool {
					if f.Through != 7 || len(f.Body) != size {
						t.Errorf("frame at %d: through %d, %d bytes", f.Offset, f.Through, len(f.Body))
					}
					got = append(got, f.Offset)
					return true
				})
				if err != nil || !slices.Equal(got, s.starts[1:]) {
					t.Errorf("Resync finds %v, %v, want %v", got, err, s.starts[1:])
				}
			})
		}
	}
}

func TestResyncStopsWhenTold(t *testing.T) {
	s := newSegmentFile()
	s.bytes = append(s.bytes, 0xaa)
	for range 4 {
		s.add(10, 0)
	}
	sc := s.scanner()
	scanAll(sc)
	calls := 0
	if err := sc.Resync(func(*Frame) bool { calls++; return calls < 2 }); err != nil || calls != 2 {
		t.Errorf("Resync: %d calls, %v, want 2", calls, err)
	}
}

// Frames of another salt, or at another offset, are not found.
func TestResyncFindsNoStrangers(t *testing.T) {
	s := newSegmentFile()
	other := NewSeal(saltB)
	s.bytes = append(s.bytes, 0xaa)
	s.bytes = other.AppendFrame(s.bytes, int64(len(s.bytes)), TypeEvent, 0, 0, []byte("stranger"))
	s.bytes = s.seal.AppendFrame(s.bytes, int64(len(s.bytes))+1, TypeEvent, 0, 0, []byte("misplaced"))
	sc := s.scanner()
	scanAll(sc)
	err := sc.Resync(func(f *Frame) bool { t.Errorf("found %q at %d", f.Body, f.Offset); return true })
	if err != nil {
		t.Error(err)
	}
}

// A length that a header claims is not believed beyond the file: memory stays bounded by it.
func TestScannerMemoryIsBounded(t *testing.T) {
	s := newSegmentFile()
	var head [FrameHeaderLen]byte
	head[0], head[1], head[2], head[3] = 0xff, 0xff, 0xff, 0x3f // MaxBody
	head[offType] = byte(TypeEvent)
	s.bytes = append(s.bytes, forge(s.seal, int64(len(s.bytes)), head, []byte("short"))...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	sc := s.scanner()
	scanAll(sc)
	if err := sc.Resync(func(*Frame) bool { return true }); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 1<<20 {
		t.Errorf("a forged length cost %d bytes", used)
	}
	if fault := sc.Fault(); fault == nil || fault.Reason != string(flawShort) {
		t.Errorf("Fault = %v, want %q", fault, flawShort)
	}
}

// Headers that were forged to overlap, each with a length to the end of the file, do not make Resync read the file once
// for each of them.
func TestResyncIsBounded(t *testing.T) {
	s := newSegmentFile()
	start, size := int64(len(s.bytes)), int64(1<<20)
	s.bytes = append(s.bytes, make([]byte, size)...)
	for off := start; off+2*FrameHeaderLen < start+size; off += FrameHeaderLen {
		var head [FrameHeaderLen]byte
		binary.LittleEndian.PutUint32(head[:], uint32(start+size-off-FrameHeaderLen))
		head[offType] = byte(TypeEvent)
		copy(s.bytes[off:], forge(s.seal, off, head, nil))
	}
	src := &countingReader{src: bytes.NewReader(s.bytes)}
	sc := NewScanner(src, &s.header, start, int64(len(s.bytes)))
	scanAll(sc)
	err := sc.Resync(func(*Frame) bool { return true })
	var fe *FrameError
	if !errors.As(err, &fe) || !errors.Is(err, ErrCorrupt) {
		t.Errorf("Resync = %v, want %v", err, ErrCorrupt)
	}
	if src.bytes > 10*size {
		t.Errorf("Resync read %d bytes of a file of %d", src.bytes, size)
	}
}

type countingReader struct {
	src   io.ReaderAt
	bytes int64
}

func (r *countingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.src.ReadAt(p, off)
	r.bytes += int64(n)
	return n, err
}
