package statefile

import (
	"bytes"
	"errors"
	"io/fs"
	"testing"

	"batpak/internal/vfs"
)

// TestCheck: what Check says of a file that holds, and of each that does not.
func TestCheck(t *testing.T) {
	m := vfs.NewMem()
	d, err := m.OpenDir(vfs.MemDir+"/"+DirName, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	s, k := sample(), sampleKey()
	f := Found{File: FileName(k.Name, k.Version, s.At), Version: k.Version, At: s.At}
	check := func(b []byte) error {
		m.SetFile(DirName+"/"+f.File, b)
		return Check(d, k.Store, f)
	}
	sound := Append(nil, k, &s)
	large := s
	large.Data = bytes.Repeat([]byte("state"), 200_000) // of several blocks
	other := *k
	other.Store[0]++
	renamed := *k
	renamed.Name = "odders"
	forged := func(at int) []byte {
		b := bytes.Clone(sound)
		b[at]++
		return seal(b)
	}
	for name, b := range map[string][]byte{"sound": sound, "large": Append(nil, k, &large)} {
		if err := check(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"another store", Append(nil, &other, &s), ErrForeign},
		{"another name", Append(nil, &renamed, &s), ErrDamaged},
		{"another sequence", forged(offAt), ErrDamaged},
		{"version 2", forged(offVersion), ErrFuture},
		{"a flag", forged(offVersion + 2), ErrFuture},
		{"length", forged(offLength), ErrDamaged},
		{"fields", forged(offSeq + 7), ErrDamaged},
		{"large, a bit in the last block", func() []byte {
			b := Append(nil, k, &large)
			b[len(b)-1] ^= 4
			return b
		}(), ErrDamaged},
		{"nothing", nil, ErrDamaged},
	} {
		mustBe(t, tt.name, check(tt.b), tt.want)
	}
	for bit := range 8 * len(sound) {
		b := bytes.Clone(sound)
		b[bit/8] ^= 1 << (bit % 8)
		mustBe(t, "a flipped bit", check(b), ErrDamaged)
	}
	for n := range sound {
		mustBe(t, "a cut", check(sound[:n]), ErrDamaged)
	}
	m.SetSpecial(DirName+"/"+f.File, fs.ModeSymlink)
	if err := Check(d, k.Store, f); !errors.Is(err, vfs.ErrUnsafePath) {
		t.Errorf("link: %v", err)
	}
	m.SetFile(DirName+"/notes.txt", nil)
	if all, err := All(d); err != nil || len(all) != 1 || all[0] != f {
		t.Errorf("All = %v, %v, want %v", all, err, f)
	}
}
