package cursors

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"batpak/event"
	"batpak/internal/vfs"
	"batpak/internal/wire"
)

var (
	testStore  = [16]byte{1, 2, 3, 15: 0xff}
	otherStore = [16]byte{9}
)

func testFile() File {
	f := File{Name: "größe/of:orders", Position: Position{Generation: 3, Seq: 1<<40 + 7}, Written: 1_700_000_000_123}
	for i := range f.Position.Hash {
		f.Position.Hash[i], f.Query[i] = byte(i), byte(255-i)
	}
	return f
}

var newGolden = flag.Bool("new-golden", false, "make the golden file if it is missing")

// The golden file is what format 1 looks like, for good.
func TestGoldenFile(t *testing.T) {
	name := filepath.Join("testdata", "v1.cursor")
	f := testFile()
	want := AppendFile(nil, testStore, &f)
	golden, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) && *newGolden {
		if err := os.WriteFile(name, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if err != nil || !bytes.Equal(golden, want) {
		t.Errorf("AppendFile = %x\nwant %x, %v", want, golden, err)
	}
	if got, err := DecodeFile(golden, testStore); err != nil || got != f {
		t.Errorf("DecodeFile = %+v, %v, want %+v", got, err, f)
	}
}

// TestEveryBitFlipAndCutIsDetected: none of them is taken for a position.
func TestEveryBitFlipAndCutIsDetected(t *testing.T) {
	f := testFile()
	sound := AppendFile(nil, testStore, &f)
	for bit := range 8 * len(sound) {
		b := slices.Clone(sound)
		b[bit/8] ^= 1 << (bit % 8)
		if got, err := DecodeFile(b, testStore); !errors.Is(err, ErrDamaged) {
			t.Fatalf("bit %d flipped: %+v, %v", bit, got, err)
		}
	}
	for n := range sound {
		if got, err := DecodeFile(sound[:n], testStore); !errors.Is(err, ErrDamaged) {
			t.Fatalf("cut to %d bytes: %+v, %v", n, got, err)
		}
	}
	if got, err := DecodeFile(append(slices.Clone(sound), 0), testStore); !errors.Is(err, ErrDamaged) {
		t.Fatalf("with a byte behind: %+v, %v", got, err)
	}
}

// forge returns the encoding of f after change, with a checksum that holds.
func forge(f File, change func([]byte)) []byte {
	b := AppendFile(nil, testStore, &f)
	change(b)
	wire.SealSmall(b)
	return b
}

// TestFindings: each thing that can be wrong with a file whose checksum holds.
func TestFindings(t *testing.T) {
	f := testFile()
	unbound := f
	unbound.Position = Position{Generation: 1}
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"sound", AppendFile(nil, testStore, &f), nil},
		{"at the beginning", AppendFile(nil, testStore, &unbound), nil},
		{"other store", AppendFile(nil, otherStore, &f), ErrForeign},
		{"version 2", forge(f, func(b []byte) { b[wire.SmallVersion] = 2 }), ErrFuture},
		{"version 2 of another store", forge(f, func(b []byte) { b[wire.SmallVersion], b[wire.SmallStore] = 2, 77 }), ErrFuture},
		{"version 0", forge(f, func(b []byte) { b[wire.SmallVersion] = 0 }), ErrDamaged},
		{"unknown flag", forge(f, func(b []byte) { b[wire.SmallVersion+2] = 1 }), ErrFuture},
		{"reserved bytes", forge(f, func(b []byte) { b[wire.SmallVersion+5] = 1 }), ErrDamaged},
		{"length", forge(f, func(b []byte) { b[wire.SmallLength]++ }), ErrDamaged},
		{"no generation", forge(f, func(b []byte) { clear(b[offGen : offGen+8]) }), ErrDamaged},
		{"hash of no event", forge(f, func(b []byte) { clear(b[offSeq : offSeq+8]) }), ErrDamaged},
		{"name length", forge(f, func(b []byte) { b[offName]-- }), ErrDamaged},
		{"huge name", forge(f, func(b []byte) { b[offName+3] = 0x80 }), ErrDamaged},
		{"name that is none", forge(f, func(b []byte) { b[headerLen] = '\n' }), ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeFile(tt.b, testStore)
			if !errors.Is(err, tt.want) || err != nil && got != (File{}) {
				t.Errorf("DecodeFile = %+v, %v, want %v", got, err, tt.want)
			}
		})
	}
}

func openDir(t *testing.T, m *vfs.Mem) vfs.Dir {
	t.Helper()
	d, err := m.OpenDir(vfs.MemDir+"/"+DirName, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestReadAndWrite(t *testing.T) {
	m := vfs.NewMem()
	d := openDir(t, m)
	f := testFile()
	if _, err := Read(d, testStore, f.Name); !errors.Is(err, ErrAbsent) {
		t.Errorf("Read of nothing: %v", err)
	}
	for range 2 { // the second one replaces the first
		f.Position.Seq++
		if err := Write(d, testStore, &f); err != nil {
			t.Fatal(err)
		}
		if got, err := Read(d, testStore, f.Name); err != nil || got != f {
			t.Errorf("Read = %+v, %v, want %+v", got, err, f)
		}
	}
	other := File{Name: "..", Position: Position{Generation: 1}}
	if err := Write(d, testStore, &other); err != nil {
		t.Fatalf("a consumer called %q: %v", other.Name, err)
	}
	m.SetFile(DirName+"/"+FileName("third"), AppendFile(nil, testStore, &f))
	var file *FileError
	if _, err := Read(d, testStore, "third"); !errors.As(err, &file) || !errors.Is(err, ErrDamaged) || file.File != DirName+"/"+FileName("third") {
		t.Errorf("file of another consumer: %v", err)
	}
	m.SetFile(DirName+"/"+FileName("long"), make([]byte, maxFile+1))
	if _, err := Read(d, testStore, "long"); !errors.Is(err, ErrDamaged) {
		t.Errorf("huge file: %v", err)
	}
	m.SetSpecial(DirName+"/"+FileName("link"), fs.ModeSymlink)
	if _, err := Read(d, testStore, "link"); !errors.Is(err, vfs.ErrUnsafePath) {
		t.Errorf("link: %v", err)
	}
	m.SetFile(DirName+"/notes.txt", []byte("of people"))
	m.SetFile(DirName+"/"+FileName("x")+".tmp", []byte("left over"))
	m.SetFile(DirName+"/draft.tmp", []byte("of people"))
	sound, wrong := 0, 0
	for _, err := range All(d, testStore) {
		if err == nil {
			sound++
		} else {
			wrong++
		}
	}
	if sound != 2 || wrong != 3 {
		t.Errorf("All: %d sound, %d not, want 2 and 3", sound, wrong)
	}
	before := len(m.Files())
	if err := Sweep(d); err != nil || len(m.Files()) != before-1 {
		t.Errorf("Sweep left %d files of %d, %v", len(m.Files()), before, err)
	}
}

// TestNamesLeadNowhere: whatever a consumer is called, its file is a plain one of one spelling.
func TestNamesLeadNowhere(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range []string{"a", "A", "../store.meta", "/etc/passwd", ".", "..", "con", `a\b`, "größe", strings.Repeat("x", MaxName)} {
		file := FileName(name)
		if err := vfs.CheckName(file + ".tmp"); err != nil || !isFileName(file) || seen[strings.ToLower(file)] {
			t.Errorf("%q: file %q, %v", name, file, err)
		}
		seen[strings.ToLower(file)] = true
	}
	for _, file := range []string{"x.cursor", strings.ToUpper(FileName("a")), FileName("a") + ".tmp", strings.Repeat("g", 32) + suffix} {
		if isFileName(file) {
			t.Errorf("%q is taken for one of ours", file)
		}
	}
}

func TestBefore(t *testing.T) {
	a, b, c := Position{1, 7, event.Hash{}}, Position{1, 9, event.Hash{}}, Position{2, 0, event.Hash{}}
	for i, p := range []Position{a, b, c} {
		for j, q := range []Position{a, b, c} {
			if p.Before(q) != (i < j) {
				t.Errorf("%+v before %+v: %v", p, q, p.Before(q))
			}
		}
	}
}

// FuzzDecodeFile: no bytes make it panic, and whatever decodes has one encoding.
func FuzzDecodeFile(f *testing.F) {
	file := testFile()
	f.Add(AppendFile(nil, testStore, &file))
	f.Add(forge(file, func(b []byte) { b[offName] = 3 }))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = slices.Clone(b)
		if len(b) >= headerLen { // let the fuzzer past the checksum
			wire.SealSmall(b)
		}
		got, err := DecodeFile(b, testStore)
		if err != nil {
			return
		}
		if again := AppendFile(nil, testStore, &got); !bytes.Equal(again, b) {
			t.Errorf("%x decodes to %+v, which encodes to %x", b, got, again)
		}
	})
}
