package idemp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"batpak/internal/vfs"
)

// mustBe ends the test unless err is a *FileError with the condition want, and with no other.
func mustBe(t *testing.T, what string, err, want error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) || fe.File != FileName || fe.Err != want {
		t.Fatalf("%s: %v, want a *FileError with %v", what, err, want)
	}
	for _, other := range []error{ErrAbsent, ErrDamaged, ErrForeign, ErrFuture} {
		if other != want && errors.Is(err, other) {
			t.Fatalf("%s: %v is %v, too", what, err, other)
		}
	}
}

// sealAll sets every checksum, so that what stands under them is looked at.
func sealAll(b []byte, store [16]byte) []byte {
	if len(b) < pageLen {
		return b
	}
	h := header{store: store, generation: binary.LittleEndian.Uint64(b[offStore+16:])}
	for page := uint64(0); pageAt(page+1) <= int64(len(b)); page++ {
		p := b[pageAt(page):][:pageLen]
		binary.LittleEndian.PutUint32(p[pageLen-4:], pageSum(h.seed(), page, p))
	}
	binary.LittleEndian.PutUint32(b[offSum:], headerSum(b[:pageLen]))
	return b
}

// use opens the file and looks at all of it.
func use(dir vfs.Dir, store [16]byte) (int, error) {
	tab, err := Open(dir, store)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, err := range tab.All() {
		if err != nil {
			return n, errors.Join(err, tab.Close())
		}
		n++
	}
	return n, tab.Close()
}

func TestOpen(t *testing.T) {
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	number := func(at int, v uint64) func([]byte) []byte {
		return put(at, binary.LittleEndian.AppendUint64(nil, v)...)
	}
	const first, second = pageLen, 2 * pageLen
	for _, tt := range []struct {
		name   string
		change func([]byte) []byte
		want   error
	}{
		{"intact", func(b []byte) []byte { return b }, nil},
		{"another generation", number(offStore+16, 77), nil},
		{"empty", func([]byte) []byte { return []byte{} }, ErrDamaged},
		{"header only", func(b []byte) []byte { return b[:pageLen] }, ErrDamaged},
		{"magic", put(0, 'X'), ErrDamaged},
		{"page length", put(8, 1), ErrDamaged},
		{"version 0", put(offVersion, 0), ErrDamaged},
		{"version 2", put(offVersion, 2), ErrFuture},
		{"flag", put(offVersion+2, 1), ErrFuture},
		{"version 2 of another length", func(b []byte) []byte { return append(put(offVersion, 2)(b), 5) }, ErrFuture},
		{"entry length", put(offVersion+4, 1), ErrDamaged},
		{"other store", put(offStore, 7), ErrForeign},
		{"generation 0", number(offStore+16, 0), ErrDamaged},
		{"count too high", number(offStore+24, 1000), ErrDamaged},
		{"count far too high", number(offStore+24, 1<<63), ErrDamaged},
		{"count too low", number(offStore+24, 1), ErrDamaged},
		{"count one too low", number(offStore+24, perPage+6), ErrDamaged},
		{"window 0", number(offStore+32, 0), ErrDamaged},
		{"window above an entry", number(offStore+32, 9), ErrDamaged},
		{"rest of the header", put(headerLen+9, 1), ErrDamaged},
		{"a page more", func(b []byte) []byte { return append(b, make([]byte, pageLen)...) }, ErrDamaged},
		{"a page less", func(b []byte) []byte { return b[:second] }, ErrDamaged},
		{"key zero", put(first, make([]byte, keyLen)...), ErrDamaged},
		{"sequence zero", number(first+144, 0), ErrDamaged},
		{"clock zero", number(first+160, 0), ErrDamaged},
		{"end of an entry", put(first+190, 1), ErrDamaged},
		{"end of a page", put(first+pageLen-9, 1), ErrDamaged},
		{"end of the last page", put(second+8*entryLen, 1), ErrDamaged},
		{"keys not sorted", put(first+entryLen, 0, 0), ErrDamaged},
		{"key twice", func(b []byte) []byte { copy(b[first+entryLen:], b[first:][:keyLen]); return b }, ErrDamaged},
		{"pages not sorted", put(second, 0, 0), ErrDamaged},
		{"pages swapped", func(b []byte) []byte {
			half := bytes.Clone(b[first : first+4*entryLen])
			copy(b[first:], b[second:second+4*entryLen])
			copy(b[second:], half)
			return b
		}, ErrDamaged},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := vfs.NewMem()
			table(t, open(t, m), Update{Fresh: entries(perPage + 7), From: 1})
			m.SetFile(FileName, sealAll(tt.change(m.Files()[FileName]), storeA))
			n, err := use(open(t, m), storeA)
			if tt.want != nil {
				mustBe(t, tt.name, err, tt.want)
			} else if err != nil || n != perPage+7 {
				t.Errorf("%d entries, %v, want %d", n, err, perPage+7)
			}
		})
	}
}

// TestFileGolden fixes the bytes: an old file must be read for ever.
func TestFileGolden(t *testing.T) {
	m := vfs.NewMem()
	table(t, open(t, m), Update{Fresh: entries(perPage + 1), From: 1})
	sum := sha256.Sum256(m.Files()[FileName])
	if got, want := hex.EncodeToString(sum[:]), "c2200e3317a3273151cbbc54b4b539606ead9b24b24f616f126117c90e715461"; got != want {
		t.Errorf("SHA-256 of the file = %s, want %s", got, want)
	}
}

// TestEveryBitAndLength: a file that differs by one bit, ends early or goes on is never taken for one, and no key gets
// a wrong answer from it.
func TestEveryBitAndLength(t *testing.T) {
	all := entries(perPage + 3)
	want := modelOf(all)
	m := vfs.NewMem()
	dir := open(t, m)
	table(t, dir, Update{Fresh: all, From: 1})
	whole := m.Files()[FileName]
	refuse := func(what string, b []byte) {
		t.Helper()
		m.SetFile(FileName, b)
		_, err := use(dir, storeA)
		mustBe(t, what, err, ErrDamaged)
	}
	for bit := range 8 * len(whole) {
		if testing.Short() && bit%29 != 0 {
			continue
		}
		b := bytes.Clone(whole)
		b[bit/8] ^= 1 << (bit % 8)
		refuse(fmt.Sprint("flip of bit ", bit), b)
		if bit%61 != 0 {
			continue
		}
		tab, err := Open(dir, storeA)
		if err != nil {
			continue
		}
		for key, e := range want {
			if got, ok, err := tab.Find(key); err == nil && (!ok || got != e) {
				t.Fatalf("bit %d: Find(%x) = %+v, %v", bit, key, got, ok)
			}
		}
		tab.Close()
	}
	for n := range whole {
		if n < 200 || n%37 == 0 || n%pageLen < 3 {
			refuse(fmt.Sprint("cut to ", n), whole[:n])
		}
	}
	for n := 1; n <= pageLen; n += n/4 + 1 {
		refuse("zeroes behind", append(bytes.Clone(whole), make([]byte, n)...))
		refuse("own end behind", append(bytes.Clone(whole), whole[len(whole)-n:]...))
	}
}

// TestPagesOfOtherFilesDoNotHold: the same page of another generation, of another store, or of another place.
func TestPagesOfOtherFilesDoNotHold(t *testing.T) {
	all := entries(3 * perPage)
	m := vfs.NewMem()
	dir := open(t, m)
	old := table(t, dir, Update{Fresh: all, From: 1})
	first := m.Files()[FileName]
	table(t, dir, Update{Old: old, From: 1})
	second := m.Files()[FileName]
	if err := Write(dir, Update{Store: storeB, Fresh: all, From: 1}); err != nil {
		t.Fatal(err)
	}
	third := m.Files()[FileName]
	page := func(b []byte, n int) []byte { return b[n*pageLen:][:pageLen] }
	for name, other := range map[string][]byte{
		"generation": page(first, 2), "store": page(third, 2), "place": page(second, 1),
	} {
		b := bytes.Clone(second)
		copy(page(b, 2), other)
		m.SetFile(FileName, b)
		_, err := use(dir, storeA)
		mustBe(t, name, err, ErrDamaged)
	}
}

func TestAbsentAndForeign(t *testing.T) {
	dir := open(t, vfs.NewMem())
	_, err := Open(dir, storeA)
	mustBe(t, "no file", err, ErrAbsent)
	tab := table(t, dir, Update{Fresh: entries(3), From: 1})
	_, err = Open(dir, storeB)
	mustBe(t, "other store", err, ErrForeign)
	mustBe(t, "table of another store", Write(dir, Update{Store: storeB, Old: tab}), ErrForeign)
}

// TestDamagedOldTable: nothing is forgotten silently.
func TestDamagedOldTable(t *testing.T) {
	m := vfs.NewMem()
	dir := open(t, m)
	table(t, dir, Update{Fresh: entries(2 * perPage), From: 1})
	b := m.Files()[FileName]
	b[2*pageLen+5] ^= 1
	m.SetFile(FileName, b)
	old, err := Open(dir, storeA)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	mustBe(t, "Write", Write(dir, Update{Store: storeA, Old: old, Fresh: entries(1), From: 1}), ErrDamaged)
	if !bytes.Equal(m.Files()[FileName], b) {
		t.Error("a failed Write has replaced the file")
	}
}
