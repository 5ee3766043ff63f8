package segment

import (
	"bytes"
	"errors"
	"io/fs"
	"sync"
	"testing"

	"batpak/internal/vfs"
)

// onEveryFS runs a test on the in-memory file system and on the operating system's.
func onEveryFS(t *testing.T, test func(t *testing.T, dir vfs.Dir)) {
	for _, tt := range []struct {
		name string
		open func(t *testing.T) (vfs.Dir, error)
	}{
		{"Mem", func(*testing.T) (vfs.Dir, error) {
			return vfs.NewMem().OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
		}},
		{"OS", func(t *testing.T) (vfs.Dir, error) { return vfs.OS.OpenDir(t.TempDir(), vfs.DirOptions{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, err := tt.open(t)
			if err != nil {
				t.Fatal(err)
			}
			test(t, dir)
			if err := dir.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// contents returns the bytes of a segment's file.
func contents(t *testing.T, dir vfs.Dir, id uint64) []byte {
	t.Helper()
	f, err := dir.OpenRead(Name(id))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatalf("read %d of %d bytes: %v", n, len(b), err)
	}
	return b
}

// mustScan returns the number of frames at the start of a file, and requires nothing but zeroes behind them.
func mustScan(t *testing.T, h *Header, b []byte) (frames int, end int64) {
	t.Helper()
	sc := NewScanner(bytes.NewReader(b), h, h.Len(), int64(len(b)))
	for sc.Next() {
		frames++
	}
	if zero, err := sc.Zeroes(sc.Offset()); err != nil || !zero {
		t.Errorf("behind %d frames, offset %d: not zeroes, %v (%v)", frames, sc.Offset(), err, sc.Fault())
	}
	return frames, sc.Offset()
}

// frameFor returns a frame of body for the writer's end.
func frameFor(w *Writer, body []byte) []byte {
	return w.Seal().AppendFrame(nil, w.End(), TypeEvent, FlagGroup, uint32(w.Durable()), body)
}

func mustWriter(t *testing.T, dir vfs.Dir, size, ahead int64) *Writer {
	t.Helper()
	h := sampleHeader(3)
	w, err := Create(dir, &h, size, ahead)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestWriterLife(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		w := mustWriter(t, dir, 1<<20, 64<<10)
		h := *w.Header()
		if w.End() != h.Len() || w.Durable() != h.Len() || w.Room() != 1<<20-h.Len() || w.Err() != nil {
			t.Errorf("new writer: end %d, durable %d, room %d, err %v", w.End(), w.Durable(), w.Room(), w.Err())
		}
		for i := range 50 {
			if err := w.Write(frameFor(w, bytes.Repeat([]byte{byte(i)}, 100+i))); err != nil {
				t.Fatal(err)
			}
			if i%10 == 9 {
				if err := errors.Join(w.Sync(), w.Fill()); err != nil {
					t.Fatal(err)
				}
				if w.Durable() != w.End() {
					t.Errorf("durable %d behind Sync, want %d", w.Durable(), w.End())
				}
			}
		}
		if frames, end := mustScan(t, &h, contents(t, dir, 42)); frames != 50 || end != w.End() {
			t.Errorf("file holds %d frames to %d, want 50 to %d", frames, end, w.End())
		}
		if err := errors.Join(w.Sync(), w.Trim()); err != nil {
			t.Fatal(err)
		}
		if got := int64(len(contents(t, dir, 42))); got != w.End() {
			t.Errorf("file of %d bytes behind Trim, want %d", got, w.End())
		}
		end := w.End()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		resumed(t, dir, &h, end)
	})
}

// resumed goes on writing at end, and seals.
func resumed(t *testing.T, dir vfs.Dir, h *Header, end int64) {
	t.Helper()
	w, err := Resume(dir, h, end, 1<<20, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(frameFor(w, []byte("one more"))), w.Sync(), w.Close()); err != nil {
		t.Fatal(err)
	}
	footer := []byte("footer")
	if err := WriteFooter(dir, h.Segment, w.End(), footer); err != nil {
		t.Fatal(err)
	}
	b := contents(t, dir, h.Segment)
	if int64(len(b)) != w.End()+int64(len(footer)) || !bytes.HasSuffix(b, footer) {
		t.Errorf("sealed file of %d bytes, want %d and the footer at its end", len(b), w.End()+6)
	}
	if frames, _ := mustScan(t, h, b[:w.End()]); frames != 51 {
		t.Errorf("sealed file holds %d frames, want 51", frames)
	}
}

func TestWriterIsFull(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		w := mustWriter(t, dir, 4096, 1<<20)
		defer w.Close()
		if err := w.Fill(); err != nil {
			t.Fatal(err)
		}
		if n := len(contents(t, dir, 42)); n != 4096 {
			t.Errorf("Fill made a file of %d bytes, want the segment's 4096", n)
		}
		exact := make([]byte, w.Room()-FrameHeaderLen)
		if err := w.Write(frameFor(w, append(exact, 0))); !errors.Is(err, ErrFull) || w.Err() != nil {
			t.Errorf("a group one byte too long: %v, poison %v, want %v", err, w.Err(), ErrFull)
		}
		if err := w.Write(frameFor(w, exact)); err != nil || w.Room() != 0 {
			t.Errorf("a group that fits exactly: %v, room %d", err, w.Room())
		}
		if err := w.Write([]byte{1}); !errors.Is(err, ErrFull) {
			t.Errorf("one byte more = %v, want %v", err, ErrFull)
		}
	})
}

func TestCreateRefusesAnExistingFile(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		w := mustWriter(t, dir, 1<<20, 0)
		defer w.Close()
		before := contents(t, dir, 42)
		h := sampleHeader(0)
		if _, err := Create(dir, &h, 1<<20, 0); !errors.Is(err, fs.ErrExist) {
			t.Errorf("Create over a segment = %v, want %v", err, fs.ErrExist)
		}
		if !bytes.Equal(contents(t, dir, 42), before) {
			t.Error("a refused Create changed the file")
		}
		if _, err := Resume(dir, &Header{Segment: 7}, 160, 1<<20, 0); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Resume of nothing = %v, want %v", err, fs.ErrNotExist)
		}
	})
}

// One goroutine writes and syncs, another fills: nothing that was written is ever overwritten. Run with -race.
func TestFillBesideTheWriter(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		const size = 8 << 20
		w := mustWriter(t, dir, size, 1<<20)
		h := *w.Header()
		var wg sync.WaitGroup
		stop := make(chan struct{})
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if err := w.Fill(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		frames := 0
		for ; w.Room() > 70_000; frames++ {
			body := bytes.Repeat([]byte{byte(frames | 1)}, 1+frames*7919%60_000)
			if err := w.Write(frameFor(w, body)); err != nil {
				t.Fatal(err)
			}
			if frames%16 == 0 {
				if err := w.Sync(); err != nil {
					t.Fatal(err)
				}
			}
		}
		close(stop)
		wg.Wait()
		if got, end := mustScan(t, &h, contents(t, dir, 42)); got != frames || end != w.End() {
			t.Errorf("file holds %d frames to %d, want %d to %d", got, end, frames, w.End())
		}
		if err := errors.Join(w.Sync(), w.Trim(), w.Close()); err != nil {
			t.Error(err)
		}
	})
}

// SyncFile may run beside Write, and MarkDurable never claims more than was written when it began.
func TestSyncFileBesideTheWriter(t *testing.T) {
	onEveryFS(t, func(t *testing.T, dir vfs.Dir) {
		w := mustWriter(t, dir, 1<<20, 0)
		defer w.Close()
		ends, done := make(chan int64), make(chan int64)
		var wg sync.WaitGroup
		wg.Go(func() {
			for end := range ends {
				if err := w.SyncFile(); err != nil {
					t.Error(err)
				}
				done <- end
			}
		})
		for range 50 {
			if err := w.Write(frameFor(w, []byte("before"))); err != nil {
				t.Fatal(err)
			}
			began := w.End()
			ends <- began
			if err := w.Write(frameFor(w, []byte("beside"))); err != nil {
				t.Fatal(err)
			}
			w.MarkDurable(<-done)
			if w.Durable() != began || w.Durable() >= w.End() {
				t.Fatalf("durable %d, want %d", w.Durable(), began)
			}
		}
		close(ends)
		wg.Wait()
		if w.MarkDurable(1 << 40); w.Durable() != w.End() {
			t.Errorf("durable %d, want no more than the end %d", w.Durable(), w.End())
		}
		if w.MarkDurable(0); w.Durable() != w.End() {
			t.Errorf("durable went back to %d", w.Durable())
		}
	})
}
