package batpak_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"batpak"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A place is where a frame stands.
type place struct {
	file string
	at   int64
	size int64
}

// frames returns the places of all frames of a store.
func (s *specimen) frames() []place {
	var all []place
	for _, file := range s.names() {
		id, ok := segment.ParseName(file)
		if !ok {
			continue
		}
		b := s.files[file]
		h, err := segment.DecodeHeader(b, id)
		if err != nil {
			continue
		}
		sc := segment.NewScanner(bytes.NewReader(b), &h, h.Len(), int64(len(b)))
		for sc.Next() {
			all = append(all, place{file, sc.Frame().Offset, sc.Frame().Len()})
		}
	}
	return all
}

// TestFrameCopies puts a copy of every frame into the place of every other one: a disk that misdirects a write, or
// hands out an old block, must not make an event appear twice, or elsewhere.
func TestFrameCopies(t *testing.T) {
	t.Parallel()
	for _, s := range specimens(t) {
		t.Run(s.name, func(t *testing.T) {
			started, all := time.Now(), s.frames()
			h := &hospital{s: s}
			h.admit(func(yield func(damage) bool) {
				n := 0
				for _, from := range all {
					frame := s.files[from.file][from.at:][:from.size]
					for _, to := range all {
						if n++; from == to || n%thinned(3, 1, 1) != 0 {
							continue
						}
						d := damage{file: to.file, name: fmt.Sprintf("%v copied to %d", from, to.at), change: func(b []byte) []byte {
							copy(b[to.at:], frame)
							return b
						}}
						if !yield(d) {
							return
						}
					}
				}
			})
			h.report(t, started)
		})
	}
}

// TestGenerations mixes the files of a store with its own earlier ones, one or two at a time: what opens holds a prefix
// of the newest history, or Open says why not.
func TestGenerations(t *testing.T) {
	t.Parallel()
	r := startRig(t, batpak.Options{})
	var generations []map[string][]byte
	for i := range 4 {
		if err := second(r.append(r.draft(streamA, 60))); err != nil {
			t.Fatal(err)
		}
		if err := stepCauses(r); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 {
			if err := stepRotate(r); err != nil {
				t.Fatal(err)
			}
		}
		r.settle()
		generations = append(generations, r.mem.Files()) // as a copy of a live store would be
		if err := stepReopen(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	newest := r.mem.Files()
	s := &specimen{name: "mixed", files: newest, told: r.history(), opts: r.opts}
	names := slices.Sorted(maps.Keys(newest))
	counts, tried := map[result]int{}, 0
	for g, old := range generations {
		for i, first := range names {
			for _, other := range names[i:] {
				m := vfs.NewMemFrom(newest)
				for _, name := range []string{first, other} {
					m.DeleteFile(name)
					if b, ok := old[name]; ok {
						m.SetFile(name, b)
					}
				}
				tried++
				res, err := s.look(m, tried%4 == 0, len(s.told))
				if err != nil {
					t.Errorf("%s and %s of generation %d: %v", first, other, g, err)
				}
				counts[res]++
			}
		}
	}
	t.Logf("%d mixes: %v", tried, counts)
}
