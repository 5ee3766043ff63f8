package statefile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
)

func sampleKey() *Key {
	return &Key{Store: [16]byte{1, 2, 3}, Name: "orders", Version: 2, Selects: Fingerprint("kind", "7")}
}

func sample() State {
	return State{At: 400, Seq: 399, Hash: event.Hash{9, 8, 7}, Events: 390, Applied: 12, Saved: 1_700_000_000_000, Data: []byte(`{"n":12}`)}
}

const most = 1 << 20

// seal sets the checksum, so that what stands under it is looked at.
func seal(b []byte) []byte {
	if len(b) >= offVersion {
		binary.LittleEndian.PutUint32(b[offSum:], sum(b))
	}
	return b
}

// mustBe ends the test unless err is a *FileError with the condition want, and with no other.
func mustBe(t *testing.T, what string, err, want error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) || fe.Err != want || !errors.Is(err, want) {
		t.Fatalf("%s: %v, want a *FileError with %v", what, err, want)
	}
	for _, other := range []error{ErrDamaged, ErrForeign, ErrStale, ErrFuture, ErrLimit} {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%s: %v is %v, too", what, err, other)
		}
	}
}

// TestGolden fixes the bytes: an old file must be read for ever.
func TestGolden(t *testing.T) {
	s := sample()
	got := Append(nil, sampleKey(), &s)
	b, err := os.ReadFile(filepath.Join("testdata", "v1.hex"))
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(string(bytes.TrimSpace(b)))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("Append = %x, want %x (%v)", got, want, err)
	}
	back, err := Decode(want, sampleKey())
	if err != nil || !equal(back, s) {
		t.Errorf("Decode = %+v, %v, want %+v", back, err, s)
	}
	if got, want := FileName("orders", 2, 400), "f7f30f06f79200f1cce6e3023a6a10d0-00000002-0000000000000190.fbps"; got != want {
		t.Errorf("FileName = %s, want %s", got, want)
	}
}

func equal(a, b State) bool {
	data := bytes.Equal(a.Data, b.Data)
	a.Data, b.Data = nil, nil
	return data && fmt.Sprint(a) == fmt.Sprint(b)
}

func TestDecode(t *testing.T) {
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	word := func(at int, v uint64) func([]byte) []byte {
		return put(at, binary.LittleEndian.AppendUint64(nil, v)...)
	}
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"intact", func(b []byte) []byte { return b }, nil},
		{"empty state", func(b []byte) []byte {
			b = b[:headerLen+len("orders")]
			binary.LittleEndian.PutUint64(b[offLength:], uint64(len(b)))
			return b
		}, nil},
		{"empty", func([]byte) []byte { return nil }, ErrDamaged},
		{"magic", put(0, 'X'), ErrDamaged},
		{"length", put(offLength, 1), ErrDamaged},
		{"longer than it says", func(b []byte) []byte { return append(b, 0) }, ErrDamaged},
		{"version 0", put(offVersion, 0), ErrDamaged},
		{"version 2", put(offVersion, 2), ErrFuture},
		{"flag", put(offVersion+2, 1), ErrFuture},
		{"version 2 of another length", func(b []byte) []byte { return append(put(offVersion, 2)(b), 1, 2, 3) }, ErrFuture},
		{"other store", put(offStore, 7), ErrForeign},
		{"other name", put(headerLen, 'O'), ErrForeign},
		{"schema 0", put(offSchema, 0), ErrDamaged},
		{"schema 3", put(offSchema, 3), ErrStale},
		{"no name", put(offSchema+4, 0), ErrDamaged},
		{"name behind the end", put(offSchema+4, 200), ErrDamaged},
		{"name too long", put(offSchema+4, 1, 4), ErrDamaged},
		{"other query", put(offSelects, 0), ErrStale},
		{"sequence behind at", word(offSeq, 401), ErrDamaged},
		{"no sequence", word(offSeq, 0), ErrDamaged},
		{"no hash", put(offSeq+8, make([]byte, event.HashLen)...), ErrDamaged},
		{"more events than sequences", word(offSeq+8+event.HashLen, 400), ErrDamaged},
		{"more applied than events", word(offSeq+8+event.HashLen+8, 391), ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := sample()
			got, err := Decode(seal(tt.change(Append(nil, sampleKey(), &s))), sampleKey())
			if tt.want != nil {
				mustBe(t, tt.name, err, tt.want)
				return
			}
			if err != nil || got.At != s.At {
				t.Fatalf("Decode = %+v, %v", got, err)
			}
		})
	}
}

// TestEveryBitAndLength: no file that differs by one bit, or ends early, or goes on, is taken for one.
func TestEveryBitAndLength(t *testing.T) {
	s := sample()
	whole := Append(nil, sampleKey(), &s)
	m := vfs.NewMem()
	dir := open(t, m)
	f := Found{File: FileName("orders", 2, 400), Version: 2, At: 400}
	refuse := func(what string, b []byte) {
		t.Helper()
		_, err := Decode(b, sampleKey())
		mustBe(t, what, err, ErrDamaged)
		m.SetFile(f.File, b)
		_, err = Read(dir, f, sampleKey(), most)
		mustBe(t, what+", read", err, ErrDamaged)
		if err := Future(dir, f); err != nil {
			t.Fatalf("%s: Future = %v, want nil", what, err)
		}
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

func TestWriteReadList(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	k := sampleKey()
	for _, at := range []uint64{400, 1000, 70_000} {
		s := sample()
		s.At = at
		f, err := Write(dir, k, &s, most)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir, f, k, most)
		if err != nil || !equal(got, s) {
			t.Errorf("Read = %+v, %v, want %+v", got, err, s)
		}
		if _, err := Read(dir, f, k, int64(len(s.Data))-1); !errors.Is(err, ErrLimit) {
			t.Errorf("Read of more than allowed = %v, want ErrLimit", err)
		}
	}
	s := sample()
	if _, err := Write(dir, k, &s, 3); !errors.Is(err, ErrLimit) {
		t.Errorf("Write of more than allowed = %v, want ErrLimit", err)
	}
	other := *k
	other.Name = "others"
	if _, err := Write(dir, &other, &s, most); err != nil {
		t.Fatal(err)
	}
	found, err := List(dir, "orders")
	if err != nil || len(found) != 3 || found[0].At != 400 || found[2].At != 70_000 {
		t.Errorf("List = %v, %v", found, err)
	}
	// A file under the name of another sequence is not what its name says.
	m.SetFile(FileName("orders", 2, 5), Append(nil, k, &s))
	_, err = Read(dir, Found{File: FileName("orders", 2, 5), Version: 2, At: 5}, k, most)
	mustBe(t, "renamed", err, ErrDamaged)
	if err := Remove(dir, append(found, found[0])); err != nil {
		t.Fatal(err)
	}
	if found, err = List(dir, "orders"); err != nil || len(found) != 1 {
		t.Errorf("List afterwards = %v, %v", found, err)
	}
	m.SetSpecial(FileName("orders", 2, 6), fs.ModeSymlink)
	if _, err = List(dir, "orders"); !errors.As(err, new(*vfs.UnsafePathError)) {
		t.Errorf("List with a link = %v, want *vfs.UnsafePathError", err)
	}
}

func TestFuture(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	s := sample()
	s.Data = bytes.Repeat([]byte("x"), 600<<10) // several blocks
	b := Append(nil, sampleKey(), &s)
	b[offVersion] = 2
	f := Found{File: FileName("orders", 2, 400)}
	m.SetFile(f.File, seal(b))
	mustBe(t, "version 2", Future(dir, f), ErrFuture)
	b[len(b)-1] ^= 1
	m.SetFile(f.File, b)
	if err := Future(dir, f); err != nil {
		t.Errorf("version 2 that does not hold: %v, want nil", err)
	}
}

// TestCrashInWrite: whatever a power failure leaves, the file is there as a whole or not at all, and Sweep removes the
// rest.
func TestCrashInWrite(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	start := m.OpCount()
	s := sample()
	f, err := Write(dir, sampleKey(), &s, most)
	if err != nil {
		t.Fatal(err)
	}
	states := 0
	for ops := start; ops <= m.OpCount(); ops++ {
		for state := range m.CrashStates(ops, vfs.StateOptions{Workload: t.Name()}) {
			states++
			d := open(t, state.FS())
			got, err := Read(d, f, sampleKey(), most)
			if absent := errors.Is(err, fs.ErrNotExist); err != nil && !absent || absent && ops == m.OpCount() || err == nil && !equal(got, s) {
				t.Errorf("%s: %+v, %v", state.Name, got, err)
			}
			if err := Sweep(d); err != nil {
				t.Fatal(err)
			}
			left, _ := d.Names(nil)
			for _, e := range left {
				if e.Name != f.File {
					t.Errorf("%s: %s is left", state.Name, e.Name)
				}
			}
		}
	}
	if states < 5 {
		t.Errorf("%d states", states)
	}
}

func TestSweepLeavesStrangers(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	m.SetFile("notes.tmp", []byte("mine"))
	m.SetFile(FileName("x", 1, 1)+".tmp", []byte("left"))
	if err := Sweep(dir); err != nil {
		t.Fatal(err)
	}
	if left, _ := dir.Names(nil); len(left) != 1 || left[0].Name != "notes.tmp" {
		t.Errorf("left: %v", left)
	}
}

// TestThin: whatever is written, the newest stays, as many as asked for stay, and none of the older sequences is far, for
// its age, from one that is kept.
func TestThin(t *testing.T) {
	for _, keep := range []int{1, 2, 4, 8} {
		var kept []Found
		for at := uint64(1); at <= 2000; at++ {
			kept = append(kept, Found{At: at})
			for _, gone := range Thin(slices.Clone(kept), keep) {
				kept = slices.DeleteFunc(kept, func(f Found) bool { return f == gone })
			}
			if kept[len(kept)-1].At != at || len(kept) > keep || len(kept) < min(keep, int(at)) {
				t.Fatalf("keep %d of %d: %v", keep, at, kept)
			}
		}
		worst := 0.0
		for _, seq := range []uint64{100, 500, 1000, 1500, 1900, 1999} {
			at := uint64(0)
			for _, f := range kept {
				if f.At <= seq {
					at = f.At
				}
			}
			worst = math.Max(worst, float64(seq-at)/float64(2000))
		}
		if keep == 8 && worst > 0.5 {
			t.Errorf("keep 8: %v leave a gap of %.2f of the log", kept, worst)
		}
	}
}

func TestFingerprint(t *testing.T) {
	seen := map[[32]byte][]string{}
	for _, parts := range [][]string{nil, {""}, {"", ""}, {"a"}, {"a", ""}, {"", "a"}, {"ab"}, {"a", "b"}, {"b", "a"}} {
		sum := Fingerprint(parts...)
		if other, ok := seen[sum]; ok {
			t.Errorf("%q and %q have one fingerprint", parts, other)
		}
		seen[sum] = parts
	}
}

// FuzzDecode gives bytes as they are, and once more with a checksum and a length that hold, so that the fields are reached.
func FuzzDecode(f *testing.F) {
	s := sample()
	f.Add(Append(nil, sampleKey(), &s))
	f.Add(Append(nil, sampleKey(), &State{}))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(b []byte) {
			s, err := Decode(b, sampleKey())
			if err == nil {
				if again := Append(nil, sampleKey(), &s); !bytes.Equal(again, b) {
					t.Fatalf("Append = %x, want %x", again, b)
				}
				return
			}
			var fe *FileError
			if !errors.As(err, &fe) || fe.Offset < 0 || fe.Offset > int64(len(b)) {
				t.Fatalf("Decode = %v, want a *FileError inside %d bytes", err, len(b))
			}
		}
		check(b)
		b = bytes.Clone(b)
		copy(b, magic)
		if len(b) >= headerLen {
			binary.LittleEndian.PutUint64(b[offLength:], uint64(len(b)))
			k := sampleKey()
			copy(b[offStore:], k.Store[:])
			copy(b[offSelects:], k.Selects[:])
		}
		check(seal(b))
	})
}
