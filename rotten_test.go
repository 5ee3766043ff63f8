package batpak_test

import (
	"bytes"
	"testing"

	"batpak"
	"batpak/internal/vfs"
	"batpak/segment"
)

// TestRottenFooterDoesNotRefuse: recovery looks for the head of a stream whose event is in doubt, and finds a footer
// whose pages do not hold. A footer is a cache: the segment is served by its frames, and gets a new one.
func TestRottenFooterDoesNotRefuse(t *testing.T) {
	t.Parallel()
	r, err := writtenRig(batpak.Options{}, true, func(r *rig) error {
		if _, err := r.append(r.draft(streamA, 0)); err != nil {
			return err
		}
		for range 3 {
			if _, err := r.append(r.draft(streamB, 1700)); err != nil {
				return err
			}
		}
		r.settle()
		return second(r.append(r.draft(streamA, 0))) // nothing but its own bytes says that it is durable
	})
	if err != nil {
		t.Fatal(err)
	}
	files := r.mem.Files()
	delete(files, ".lock")
	first := segment.Name(1)
	next, err := segment.DecodeHeader(files[segment.Name(2)], 2)
	if err != nil {
		t.Fatal(err)
	}
	h, tried, rebuilt := r.history(), 0, 0
	for at := int(next.End); at < len(files[first]); at += thinned(3, 1, 1) {
		m := vfs.NewMemFrom(files)
		bad := bytes.Clone(files[first])
		bad[at] ^= 0x10
		m.SetFile(first, bad)
		tried++
		l := &life{opts: r.opts, mem: m}
		st, err := l.open()
		if err != nil {
			t.Fatalf("byte %d of a footer: %v", at, err)
		}
		if st.OpenReport().Scanned > 0 {
			rebuilt++
			c := claim{want: h, least: len(h), most: len(h)}
			if _, _, err := c.holds(st); err != nil {
				t.Errorf("byte %d of a footer: %v", at, err)
			}
		}
		st.WaitIdle()
		if err := st.Close(); err != nil {
			t.Error(err)
		}
		if st.OpenReport().Scanned > 0 && !bytes.Equal(m.Files()[first], files[first]) {
			t.Errorf("byte %d of a footer: the new footer is not the old one", at)
		}
	}
	t.Logf("%d bytes of a footer, rebuilt by this open for %d of them", tried, rebuilt)
}
