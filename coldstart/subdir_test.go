package coldstart

import (
	"errors"
	"io/fs"
	"testing"

	"batpak/event"
	"batpak/internal/statefile"
	"batpak/internal/vfs"
)

// TestVerifyStates: a state of a projection that does not hold is a note, with its name and place.
func TestVerifyStates(t *testing.T) {
	m := vfs.NewMem()
	s := openTest(t, testConfig(m))
	id := s.st.StoreID
	s.close()
	k := statefile.Key{Store: id, Name: "orders", Version: 1}
	state := statefile.State{At: 4, Seq: 4, Hash: event.Hash{1}, Events: 4, Applied: 2, Data: []byte("{}")}
	sound := statefile.Append(nil, &k, &state)
	name := projectionsName + "/" + statefile.FileName(k.Name, k.Version, state.At)
	flipped := statefile.Append(nil, &k, &state)
	flipped[len(flipped)-1] ^= 1
	k.Store[0]++
	foreign := statefile.Append(nil, &k, &state)
	check := func(what string, want error) {
		t.Helper()
		r := mustVerify(t, m)
		if len(r.Findings) > 0 || len(r.Notes) != 1 || r.Notes[0].File != name || !errors.Is(r.Notes[0].Err, want) {
			t.Errorf("%s: findings %v, notes %v, want one note about %s: %v", what, r.Findings, r.Notes, name, want)
		}
	}
	m.SetFile(name, sound)
	if r := mustVerify(t, m); len(r.Findings)+len(r.Notes) > 0 {
		t.Errorf("sound: findings %v, notes %v", r.Findings, r.Notes)
	}
	m.SetFile(name, flipped)
	check("a flipped bit", statefile.ErrDamaged)
	m.SetFile(name, foreign)
	check("of another store", statefile.ErrForeign)
	m.SetSpecial(name, fs.ModeSymlink)
	check("a link", vfs.ErrUnsafePath)
}
