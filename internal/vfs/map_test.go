package vfs_test

import (
	"errors"
	"testing"

	"batpak/internal/vfs"
)

func TestMapReadAtAllocatesNothing(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "0123456789abcdef")
		m, err := d.Map("f")
		must(t, err)
		defer m.Close()
		sum := 0
		allocs := testing.AllocsPerRun(100, func() {
			var p [8]byte
			n, _ := m.ReadAt(p[:], 4)
			sum += n + int(p[0])
		})
		if allocs > 0 {
			t.Errorf("ReadAt allocates %v times, want 0", allocs)
		}
	})
}

func TestGuardedPassesThrough(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "x")
		m, err := d.Map("f")
		must(t, err)
		defer m.Close()
		own := errors.New("own")
		wantErr(t, "Guarded", m.Guarded(func() error { return own }), own)
		must(t, m.Guarded(func() error { return m.Guarded(func() error { return nil }) }))
		defer func() {
			if got := recover(); got != "bug" {
				t.Errorf("recover() = %v, want the panic to pass", got)
			}
		}()
		_ = m.Guarded(func() error { panic("bug") })
	})
}

func BenchmarkMapReadAt(b *testing.B) {
	d, err := vfs.OS.OpenDir(b.TempDir(), vfs.DirOptions{})
	must(b, err)
	writeFile(b, d, "f", string(make([]byte, 1<<20)))
	m, err := d.Map("f")
	must(b, err)
	defer m.Close()
	b.Run("plain", func(b *testing.B) {
		b.ReportAllocs()
		var off int64
		for b.Loop() {
			var p [8]byte
			_, _ = m.ReadAt(p[:], off)
			off = (off + 4104) & (1<<20 - 1)
		}
	})
	b.Run("guarded", func(b *testing.B) {
		b.ReportAllocs()
		var off int64
		for b.Loop() {
			var p [8]byte
			_ = m.Guarded(func() error { _, err := m.ReadAt(p[:], off); return err })
			off = (off + 4104) & (1<<20 - 1)
		}
	})
}

// TestStreamLeavesTheBytes asks for whole files again and again: it is advice, before and behind the end of the map, too.
func TestStreamLeavesTheBytes(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		for _, content := range []string{"", "x", string(make([]byte, 3<<12)) + "end"} {
			writeFile(t, d, "f", content)
			m, err := d.Map("f")
			must(t, err)
			for range 2 {
				m.Stream()
				got := make([]byte, len(content))
				if n, err := m.ReadAt(got, 0); n != len(content) || err != nil || string(got) != content {
					t.Fatalf("ReadAt behind Stream = %d bytes, %v, want the %d of the file", n, err, len(content))
				}
			}
			must(t, m.Close())
			m.Stream()
			must(t, d.Remove("f"))
		}
	})
}

func TestOpenSizeIsTheSizeWhenOpened(t *testing.T) {
	onEach(t, func(t *testing.T, d vfs.Dir) {
		writeFile(t, d, "f", "0123456789")
		f, err := d.OpenWrite("f")
		must(t, err)
		defer f.Close()
		if n, err := vfs.OpenSize(f); n != 10 || err != nil {
			t.Fatalf("OpenSize = %d, %v, want 10", n, err)
		}
		must(t, f.Truncate(3))
		if n, err := f.Size(); n != 3 || err != nil {
			t.Errorf("Size = %d, %v, want 3", n, err)
		}
	})
}
