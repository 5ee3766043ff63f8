package coldstart

import (
	"bytes"
	"testing"

	"batpak/hidden"
	"batpak/idemp"
	"batpak/internal/vfs"
)

// TestVerifySideFiles: sound ones are no finding, each flipped byte is one, and it names the file.
func TestVerifySideFiles(t *testing.T) {
	m := vfs.NewMem()
	o, keys := idempStore(t, m, vfs.MemDir)
	f := sampleHidden()
	ranges := hidden.AppendFile(nil, o.meta.Store, &f)
	verify := func() []Finding {
		t.Helper()
		report, err := Verify(t.Context(), VerifyConfig{FS: m, Dir: vfs.MemDir})
		if err != nil {
			t.Fatal(err)
		}
		return report.Findings
	}
	m.SetFile(hidden.FileName, ranges)
	if found := verify(); len(found) > 0 {
		t.Errorf("findings in a sound store: %v", found)
	}
	for name, whole := range map[string][]byte{hidden.FileName: ranges, idemp.FileName: keys} {
		for at := 0; at < len(whole); at += 1 + at/64 {
			b := bytes.Clone(whole)
			b[at] ^= 0x10
			m.SetFile(name, b)
			if found := verify(); len(found) != 1 || found[0].File != name {
				t.Errorf("%s, byte %d: findings %v", name, at, found)
			}
		}
		m.SetFile(name, whole)
	}
}
