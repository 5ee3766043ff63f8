package paged

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"batpak/internal/vfs"
)

// written returns a body of n random bytes with its sums, behind head other bytes.
func written(t *testing.T, head, n int) (file []byte, sumsCRC uint32) {
	t.Helper()
	r := rand.New(rand.NewPCG(uint64(n), 1))
	body := make([]byte, n)
	for i := range body {
		body[i] = byte(r.Uint32())
	}
	out := bytes.NewBuffer(make([]byte, head))
	w := NewWriter(out, 7)
	for rest := body; len(rest) > 0; {
		k := min(len(rest), 1+r.IntN(3*PageLen))
		if k >= 8 && r.IntN(2) == 0 {
			k = 8
			v := uint64(0)
			for i, c := range rest[:8] {
				v |= uint64(c) << (8 * i)
			}
			w.Uint64(v)
		} else {
			w.Append(rest[:k])
		}
		rest = rest[k:]
	}
	size, sumsCRC, err := w.Finish()
	if err != nil || size != uint64(n) {
		t.Fatalf("Finish = %d, %v, want %d", size, err, n)
	}
	if want := head + n + int(SumsLen(size)); out.Len() != want || !bytes.Equal(out.Bytes()[head:head+n], body) {
		t.Fatalf("%d bytes were written, want %d, the body first", out.Len(), want)
	}
	return out.Bytes(), sumsCRC
}

func mapped(t *testing.T, b []byte) *vfs.Map {
	t.Helper()
	dir, err := vfs.NewMemFrom(map[string][]byte{"f": b}).OpenDir(vfs.MemDir, vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := dir.Map("f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func TestBodyHoldsWhatWasWritten(t *testing.T) {
	for _, n := range []int{0, 1, PageLen - 1, PageLen, PageLen + 1, writeLen, writeLen + 5, 40 * PageLen} {
		file, crc := written(t, 8, n)
		b, err := Open(mapped(t, file), 8, uint64(n), 7, crc)
		if err != nil {
			t.Fatalf("%d bytes: Open = %v", n, err)
		}
		if n > 0 {
			if page, err := b.Check(0, n); err != nil {
				t.Errorf("%d bytes: page %d: %v", n, page, err)
			}
		}
	}
}

func TestFlippedBitsAreFound(t *testing.T) {
	const head, n = 16, 2*PageLen + 100
	file, crc := written(t, head, n)
	for i := range file {
		bad := slices.Clone(file)
		bad[i] ^= 0x10
		b, err := Open(mapped(t, bad), head, n, 7, crc)
		switch {
		case i < head:
			if err != nil {
				t.Fatalf("byte %d, before the body: %v", i, err)
			}
		case i >= head+n:
			if !errors.Is(err, ErrSum) {
				t.Fatalf("byte %d, in the sums: Open = %v, want ErrSum", i, err)
			}
		default:
			if page, err := b.Check(0, n); !errors.Is(err, ErrSum) || page != uint64(i-head)/PageLen {
				t.Fatalf("byte %d: Check = page %d, %v, want ErrSum", i, page, err)
			}
		}
	}
	if _, err := Open(mapped(t, file), head, n, 8, crc); !errors.Is(err, ErrSum) {
		t.Errorf("Open with another seed = %v, want ErrSum", err)
	}
	if _, err := Open(mapped(t, file[:len(file)-1]), head, n, 7, crc); err == nil || errors.Is(err, ErrSum) {
		t.Errorf("Open of a cut file = %v, want the error of the map", err)
	}
}

func TestPageIsCheckedOnce(t *testing.T) {
	const n = 3 * PageLen
	file, crc := written(t, 0, n)
	dir, err := vfs.OS.OpenDir(t.TempDir(), vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	f, err := dir.Create("f")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.WriteAt(file, 0)
	m, err := dir.Map("f")
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := Open(m, 0, n, 7, crc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Check(PageLen, 10); err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{^file[PageLen]}, PageLen)
	if _, err := b.Check(PageLen, 10); err != nil {
		t.Errorf("a page that was found sound is checked again: %v", err)
	}
	if err := b.CheckPage(1); !errors.Is(err, ErrSum) {
		t.Errorf("CheckPage = %v, want ErrSum", err)
	}
	if testing.AllocsPerRun(100, func() { b.CheckPage(0) }) != 0 {
		t.Error("CheckPage allocates")
	}
}

type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, fmt.Errorf("full")
	}
	return len(p), nil
}

func TestWriterKeepsTheFirstError(t *testing.T) {
	w := NewWriter(&failing{left: 1}, 7)
	for range 3 * writeLen / 8 {
		w.Uint64(1)
	}
	if w.Err() == nil {
		t.Error("Err = nil behind a failed write")
	}
	if _, _, err := w.Finish(); err == nil {
		t.Error("Finish = nil behind a failed write")
	}
}
