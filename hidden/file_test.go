package hidden

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io/fs"
	"math"
	"testing"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

var (
	storeA = [16]byte{1, 2, 3}
	storeB = [16]byte{9}
)

func sample() File {
	return File{Set: Of(Range{5, 8}, Range{11, 12}, Range{300, 401}), Covers: 400, LastFence: 17}
}

// seal sets the checksum, so that what stands under it is looked at.
func seal(b []byte) []byte {
	if len(b) >= wire.SmallVersion {
		wire.SealSmall(b)
	}
	return b
}

// conditions are all that a decoder may say.
var conditions = []error{ErrDamaged, ErrForeign, ErrFuture}

// mustBe ends the test unless err is a *FileError with the condition want, and with no other.
func mustBe(t *testing.T, what string, err, want error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) || fe.File != FileName || fe.Err != want || !errors.Is(err, want) {
		t.Fatalf("%s: %v, want a *FileError with %v", what, err, want)
	}
	for _, other := range append(conditions, ErrAbsent) {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%s: %v is %v, too", what, err, other)
		}
	}
}

// TestFileGolden fixes the bytes: an old file must be read for ever.
func TestFileGolden(t *testing.T) {
	f := File{Set: Of(Range{5, 8}), Covers: 9, LastFence: 2}
	want := "42415450414b5652" + "48000000" + "6544f0ef" + "0100" + "0000" + "00000000" +
		"01020300000000000000000000000000" + "0900000000000000" + "0200000000000000" +
		"0500000000000000" + "0800000000000000"
	if got := hex.EncodeToString(AppendFile(nil, storeA, &f)); got != want {
		t.Errorf("AppendFile = %s, want %s", got, want)
	}
}

func TestDecodeFile(t *testing.T) {
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	word := func(at int, v uint64) func([]byte) []byte {
		return put(at, binary.LittleEndian.AppendUint64(nil, v)...)
	}
	first, second := headerLen, headerLen+rangeLen
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"intact", func(b []byte) []byte { return b }, nil},
		{"no fence known", word(offCovers+8, 0), nil},
		{"covers more", word(offCovers, math.MaxUint64), nil},
		{"empty", func([]byte) []byte { return nil }, ErrDamaged},
		{"magic", put(0, 'X'), ErrDamaged},
		{"length", put(wire.SmallLength, 1), ErrDamaged},
		{"longer than it says", func(b []byte) []byte { return append(b, make([]byte, rangeLen)...) }, ErrDamaged},
		{"half a range", func(b []byte) []byte {
			binary.LittleEndian.PutUint32(b[wire.SmallLength:], uint32(len(b)-8))
			return b[:len(b)-8]
		}, ErrDamaged},
		{"version 0", put(wire.SmallVersion, 0), ErrDamaged},
		{"version 2", put(wire.SmallVersion, 2), ErrFuture},
		{"flag", put(wire.SmallVersion+2, 1), ErrFuture},
		{"version 2 of another length", func(b []byte) []byte { return append(put(wire.SmallVersion, 2)(b), 1, 2, 3) }, ErrFuture},
		{"zero field", put(wire.SmallVersion+4, 1), ErrDamaged},
		{"other store", put(24, 7), ErrForeign},
		{"sequence 0", word(first, 0), ErrDamaged},
		{"empty range", word(first+8, 5), ErrDamaged},
		{"range backwards", word(first+8, 2), ErrDamaged},
		{"ranges overlap", word(second, 7), ErrDamaged},
		{"ranges touch", word(second, 8), ErrDamaged},
		{"ranges not sorted", word(second, 1), ErrDamaged},
		{"range behind what is covered", word(offCovers, 399), ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := sample()
			b := seal(tt.change(AppendFile(nil, storeA, &f)))
			got, err := DecodeFile(b, storeA)
			if tt.want != nil {
				mustBe(t, tt.name, err, tt.want)
				return
			}
			if err != nil || !got.Set.Equal(f.Set) {
				t.Fatalf("DecodeFile = %+v, %v, want %+v", got, err, f)
			}
		})
	}
}

// TestEveryBitAndLength: no file that differs by one bit, or ends early, or goes on, is taken for one.
func TestEveryBitAndLength(t *testing.T) {
	f := sample()
	whole := AppendFile(nil, storeA, &f)
	m := vfs.NewMem()
	refuse := func(what string, b []byte) {
		t.Helper()
		_, err := DecodeFile(b, storeA)
		mustBe(t, what, err, ErrDamaged)
		m.SetFile(FileName, b)
		_, err = Read(open(t, m), storeA)
		mustBe(t, what+", read", err, ErrDamaged)
	}
	for bit := range 8 * len(whole) {
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		refuse("flip", b)
	}
	for n := range whole {
		refuse("cut", whole[:n])
	}
	for n := 1; n <= 64; n++ {
		refuse("zeroes behind", append(bytes.Clone(whole), make([]byte, n)...))
		refuse("own end behind", append(bytes.Clone(whole), whole[len(whole)-min(n, len(whole)):]...))
	}
}

func open(t testing.TB, fsys vfs.FS) vfs.Dir {
	t.Helper()
	dir, err := fsys.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadWrite(t *testing.T) {
	disk, err := vfs.OS.OpenDir(t.TempDir(), vfs.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for name, dir := range map[string]vfs.Dir{"memory": open(t, vfs.NewMem()), "disk": disk} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(dir, storeA)
			mustBe(t, "before the first write", err, ErrAbsent)
			if errors.Is(err, fs.ErrExist) {
				t.Error("absent is something else, too")
			}
			for _, want := range []File{sample(), {}, {Covers: 3}, {Set: Of(Range{1, 2}), Covers: 1}} {
				if err := Write(dir, storeA, &want); err != nil {
					t.Fatal(err)
				}
				got, err := Read(dir, storeA)
				if err != nil || !got.Set.Equal(want.Set) || got.Covers != want.Covers || got.LastFence != want.LastFence {
					t.Errorf("Read = %+v, %v, want %+v", got, err, want)
				}
				_, err = Read(dir, storeB)
				mustBe(t, "of another store", err, ErrForeign)
			}
		})
	}
}

// TestCrashInWrite: whatever a power failure leaves of a replacement, the old file is there or the new one.
func TestCrashInWrite(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	before, after := File{Set: Of(Range{1, 3}), Covers: 5}, sample()
	if err := Write(dir, storeA, &before); err != nil {
		t.Fatal(err)
	}
	start := m.OpCount()
	if err := Write(dir, storeA, &after); err != nil {
		t.Fatal(err)
	}
	states := 0
	for ops := start; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, vfs.StateOptions{Workload: t.Name()}) {
			states++
			got, err := Read(open(t, state.FS()), storeA)
			isNew := got.Set.Equal(after.Set)
			if err != nil || !isNew && !got.Set.Equal(before.Set) || ops == m.OpCount() && !isNew {
				t.Errorf("%s: %+v, %v", state.Name, got, err)
			}
		}
	}
	t.Logf("%d states", states)
}

func TestWriteRefusesWhatCannotBeRead(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Write takes a range behind what the file covers")
		}
	}()
	_ = Write(open(t, vfs.NewMem()), storeA, &File{Set: Of(Range{5, 9}), Covers: 7})
}

// FuzzDecodeFile gives bytes as they are, and once more with a checksum that holds, so that the fields are reached.
func FuzzDecodeFile(f *testing.F) {
	for _, file := range []File{{}, sample(), {Covers: 9}} {
		f.Add(AppendFile(nil, storeA, &file))
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			file, err := DecodeFile(b, storeA)
			if err == nil {
				if again := AppendFile(nil, storeA, &file); !bytes.Equal(again, b) {
					t.Fatalf("AppendFile = %x, want %x", again, b)
				}
				return
			}
			var fe *FileError
			if !errors.As(err, &fe) || fe.Offset < 0 || fe.Offset > int64(len(b)) {
				t.Fatalf("DecodeFile = %v, want a *FileError inside %d bytes", err, len(b))
			}
		}
		check(b)
		b = bytes.Clone(b)
		copy(b, magic)
		if len(b) >= headerLen {
			binary.LittleEndian.PutUint32(b[wire.SmallLength:], uint32(len(b)))
			copy(b[24:], storeA[:])
		}
		check(seal(b))
	})
}
