package cursors

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

var testAttempt = Attempt{Generation: 3, Seq: 1<<40 + 7, Times: 5}

// The golden file of an attempt is what format 1 looks like, for good.
func TestGoldenAttempt(t *testing.T) {
	name := filepath.Join("testdata", "v1.attempt")
	want := AppendAttempt(nil, testStore, &testAttempt)
	golden, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && *newGolden {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil || !bytes.Equal(golden, want) {
		t.Errorf("AppendAttempt = %x\nwant %x, %v", want, golden, err)
	}
	if got, err := DecodeAttempt(golden, testStore); err != nil || got != testAttempt {
		t.Errorf("DecodeAttempt = %+v, %v, want %+v", got, err, testAttempt)
	}
}

// TestDamagedAttempt: no flipped bit, cut or forged field is taken for an attempt.
func TestDamagedAttempt(t *testing.T) {
	sound := AppendAttempt(nil, testStore, &testAttempt)
	for bit := range 8 * len(sound) {
		b := slices.Clone(sound)
		b[bit/8] ^= 1 << (bit % 8)
		if got, err := DecodeAttempt(b, testStore); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d flipped: %+v, %v", bit, got, err)
		}
	}
	for n := range sound {
		if got, err := DecodeAttempt(sound[:n], testStore); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %+v, %v", n, got, err)
		}
	}
	forged := func(change func([]byte)) []byte {
		b := slices.Clone(sound)
		change(b)
		wire.SealSmall(b)
		return b
	}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"sound", sound, nil},
		{"none", AppendAttempt(nil, testStore, &Attempt{Generation: 1}), nil},
		{"other store", AppendAttempt(nil, otherStore, &testAttempt), ErrForeign},
		{"version 2", forged(func(b []byte) { b[wire.SmallVersion] = 2 }), ErrFuture},
		{"no event, some times", forged(func(b []byte) { clear(b[48:56]) }), ErrDamaged},
		{"an event, no times", forged(func(b []byte) { clear(b[56:60]) }), ErrDamaged},
		{"reserved bytes", forged(func(b []byte) { b[63] = 1 }), ErrDamaged},
		{"longer", func() []byte {
			b := append(slices.Clone(sound), 0)
			b[wire.SmallLength]++
			wire.SealSmall(b)
			return b
		}(), ErrDamaged},
	} {
		if got, err := DecodeAttempt(tt.b, testStore); !errors.Is(err, tt.want) || err != nil && got != (Attempt{}) {
			t.Errorf("%s: %+v, %v, want %v", tt.name, got, err, tt.want)
		}
	}
}

func TestOpenAttempt(t *testing.T) {
	m := vfs.NewMem()
	d := openDir(t, m)
	open := func() (bool, Attempt, error) {
		t.Helper()
		f, left, a, err := OpenAttempt(d, testStore, "c")
		if err == nil {
			_, werr := f.WriteAt(AppendAttempt(nil, testStore, &testAttempt), 0)
			err = errors.Join(werr, f.Close())
		}
		return left, a, err
	}
	if left, a, err := open(); left || a != (Attempt{}) || err != nil {
		t.Errorf("the first one: %v, %+v, %v", left, a, err)
	}
	if left, a, err := open(); !left || a != testAttempt || err != nil {
		t.Errorf("the second one: %v, %+v, %v", left, a, err)
	}
	m.SetFile(DirName+"/"+AttemptName("c"), []byte("what is this"))
	if left, a, err := open(); !left || a != (Attempt{}) || err != nil {
		t.Errorf("over what does not hold: %v, %+v, %v", left, a, err)
	}
	m.SetSpecial(DirName+"/"+AttemptName("c"), fs.ModeSymlink)
	if _, _, err := open(); !errors.Is(err, vfs.ErrUnsafePath) {
		t.Errorf("link: %v", err)
	}
	for _, err := range All(d, testStore) {
		t.Errorf("an attempt is taken for a position: %v", err)
	}
}

// FuzzDecodeAttempt: no bytes make it panic, and whatever decodes has one encoding.
func FuzzDecodeAttempt(f *testing.F) {
	f.Add(AppendAttempt(nil, testStore, &testAttempt))
	f.Add([]byte(attemptMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b)
		if len(b) >= wire.SmallHeader { // let the fuzzer past the checksum
			wire.SealSmall(b)
		}
		got, err := DecodeAttempt(b, testStore)
		if err != nil {
			return
		}
		if again := AppendAttempt(nil, testStore, &got); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, got, again)
		}
	})
}
