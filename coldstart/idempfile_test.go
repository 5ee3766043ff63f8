package coldstart

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"batpak/event"
	"batpak/idemp"
	"batpak/internal/vfs"
)

// sampleKeys are what two events that are gone have left.
func sampleKeys() []idemp.Entry {
	return []idemp.Entry{
		{Key: event.Key{Hash: [16]byte{1, 1}, Fingerprint: [16]byte{2}}, Seq: 5, Clock: 1, Hash: event.Hash{5}},
		{Key: event.Key{Hash: [16]byte{3, 1}, Fingerprint: [16]byte{4}}, Seq: 6, Clock: 2, Hash: event.Hash{6}},
	}
}

// idempStore returns a store with a file of evicted keys, and that file.
func idempStore(t *testing.T, fsys vfs.FS, path string) (*opener, []byte) {
	t.Helper()
	cfg := testConfig(fsys)
	cfg.Dir = path
	openTest(t, cfg).close()
	o := lookAt(t, fsys, path)
	if table, err := o.readIdemp(); err != nil || table != nil || len(o.report.Skipped) > 0 {
		t.Fatalf("readIdemp without a file = %v, %v, %v", table, err, o.report.Skipped)
	}
	if err := idemp.Write(o.dir, idemp.Update{Store: o.meta.Store, Fresh: sampleKeys()}); err != nil {
		t.Fatal(err)
	}
	f, err := o.dir.OpenRead(idemp.FileName)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return o, b
}

// idempOutcome reads the table and all that is in it.
func idempOutcome(o *opener) error {
	table, err := o.readIdemp()
	if err != nil || table == nil {
		return err
	}
	defer table.Close()
	for _, want := range sampleKeys() {
		got, ok, err := table.Find(want.Key.Hash)
		if err != nil {
			return err
		}
		if !ok || got != want {
			return fmt.Errorf("Find(%x) = %+v, %v", want.Key.Hash, got, ok)
		}
	}
	for _, err := range table.All() {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestReadIdemp: absent, damaged, foreign and future are told apart, in memory and on disk; who agrees goes on without.
func TestReadIdemp(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"memory": vfs.NewMem(), "disk": vfs.OS} {
		path := vfs.MemDir
		if name == "disk" {
			path = t.TempDir()
		}
		o, whole := idempStore(t, fsys, path)
		const header = 4096 // checksum at 12 covers this much
		newer := bytes.Clone(whole)
		newer[16] = 2
		copy(newer, resum(newer[:header:header]))
		foreign := bytes.Clone(whole)
		foreign[24] ^= 1
		copy(foreign, resum(foreign[:header:header]))
		for _, tt := range []struct {
			name   string
			file   []byte
			want   error
			future bool
		}{
			{"intact", whole, nil, false},
			{"empty", []byte{}, ErrDamaged, false},
			{"cut", whole[:len(whole)-1], ErrDamaged, false},
			{"flipped", append([]byte{whole[0] ^ 1}, whole[1:]...), ErrDamaged, false},
			{"of another store", foreign, ErrForeign, false},
			{"of a newer version", newer, ErrFuture, true},
		} {
			t.Run(name+"/"+tt.name, func(t *testing.T) {
				if err := vfs.WriteFileAtomic(o.dir, idemp.FileName, tt.file); err != nil {
					t.Fatal(err)
				}
				o.cfg.ContinueWithoutIdemp, o.report.Skipped = false, nil
				err := idempOutcome(o)
				if tt.want == nil {
					if err != nil {
						t.Error(err)
					}
					return
				}
				mustRefuseIdemp(t, tt.name, err, tt.want, tt.future)
				o.cfg.ContinueWithoutIdemp = true
				table, err := o.readIdemp()
				if tt.future {
					mustRefuseIdemp(t, tt.name+", going on", err, tt.want, true)
					return
				}
				if err != nil || table != nil || len(o.report.Skipped) != 1 || !errors.Is(o.report.Skipped[0].Err, tt.want) {
					t.Errorf("going on: %v, %v, skipped %v", table, err, o.report.Skipped)
				}
			})
		}
	}
}

// mustRefuseIdemp ends the test unless err is the typed refusal for want, and names the file.
func mustRefuseIdemp(t *testing.T, what string, err, want error, future bool) {
	t.Helper()
	var refusal *IdempError
	var newer *FutureError
	if !errors.Is(err, want) || errors.As(err, &refusal) == future || errors.As(err, &newer) != future ||
		!strings.Contains(err.Error(), idemp.FileName) || !future && !strings.Contains(err.Error(), "batpak repair") {
		t.Fatalf("%s: %v, want a refusal with %v", what, err, want)
	}
	for _, other := range []error{ErrAbsent, ErrStale, ErrDamaged, ErrForeign, ErrFuture} {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%s: %v is %v, too", what, err, other)
		}
	}
}

// TestReadIdempEveryDamage flips every bit and cuts at every length: the open refuses, or the page does when it is used.
func TestReadIdempEveryDamage(t *testing.T) {
	m := vfs.NewMem()
	o, whole := idempStore(t, m, vfs.MemDir)
	detected := func(what string, b []byte) {
		t.Helper()
		m.SetFile(idemp.FileName, b)
		err := idempOutcome(o)
		if !errors.Is(err, ErrDamaged) && !errors.Is(err, idemp.ErrDamaged) {
			t.Fatalf("%s: %v, want damage", what, err)
		}
	}
	for bit := 0; bit < 8*len(whole); bit += sample(3) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		detected(fmt.Sprint("bit ", bit), b)
	}
	for n := 0; n < len(whole); n += sample(7) {
		detected(fmt.Sprint("cut to ", n), whole[:n])
	}
}
