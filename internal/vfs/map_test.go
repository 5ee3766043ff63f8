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
