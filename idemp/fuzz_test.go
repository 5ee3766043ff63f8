package idemp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"batpak/internal/vfs"
)

// FuzzOpen gives bytes as they are, and once more with checksums that hold, so that what stands under them is reached.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 2, perPage + 1} {
		m := vfs.NewMem()
		table(f, open(f, m), Update{Fresh: entries(n), From: 1})
		f.Add(m.Files()[FileName])
	}
	known := entries(perPage + 1)
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			m := vfs.NewMemFrom(map[string][]byte{FileName: b})
			dir := open(t, m)
			tab, err := Open(dir, storeA)
			if err != nil {
				mustBeTyped(t, err)
				return
			}
			defer tab.Close()
			for i := range known {
				if _, _, err := tab.Find(known[i].Key.Hash); err != nil {
					mustBeTyped(t, err)
				}
			}
			for e, err := range tab.All() {
				if err != nil {
					mustBeTyped(t, err)
					return
				}
				if got, ok, err := tab.Find(e.Key.Hash); err != nil || !ok || got != e {
					// Only a table whose pages are out of order may lose a key, and All says so.
					if _, err := use(dir, storeA); err == nil {
						t.Fatalf("Find(%x) = %+v, %v, want %+v", e.Key.Hash, got, ok, e)
					}
				}
			}
			if _, err := use(dir, storeA); err != nil {
				return
			}
			// What holds is written again as it was, but for the generation.
			if tab.Generation() == 1<<64-1 {
				return
			}
			if err := Write(dir, Update{Store: storeA, Old: tab, From: tab.From()}); err != nil {
				t.Fatal(err)
			}
			again := m.Files()[FileName]
			want := bytes.Clone(b)
			binary.LittleEndian.PutUint64(want[offStore+16:], tab.Generation()+1)
			if want = sealAll(want, storeA); !bytes.Equal(again, want) {
				t.Fatalf("written again: %d bytes, want the same %d", len(again), len(want))
			}
		}
		check(b)
		b = bytes.Clone(b)
		copy(b, magic)
		if len(b) >= pageLen {
			copy(b[offStore:], storeA[:])
		}
		check(sealAll(b, storeA))
	})
}

func mustBeTyped(t *testing.T, err error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) {
		t.Fatalf("%v is not a *FileError", err)
	}
}
