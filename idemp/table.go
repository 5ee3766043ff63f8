package idemp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"math/bits"
	"sync"
	"sync/atomic"

	"batpak/internal/vfs"
)

// A Table answers from the file of a store, mapped and used in place. It holds the header and one bit per page; no
// method allocates unless it says so. Nothing that the file holds makes it panic.
//
// A Table is safe for concurrent use, but for Close, which ends all of it. The file may be replaced meanwhile, where
// the system lets a mapped file be replaced.
type Table struct {
	header
	m       *vfs.Map
	sums    uint32          // seed of the page sums
	checked []atomic.Uint32 // one bit per page that was found sound
}

// Open opens the file of a store in dir. It reads the header page; the others are checked when they are first used.
//
// Errors: *[FileError]; I/O errors.
func Open(dir vfs.Dir, store [16]byte) (*Table, error) {
	m, err := dir.Map(FileName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, flaw(0, "no such file", ErrAbsent)
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", FileName, err)
	}
	t := &Table{m: m}
	if err := m.Guarded(func() error { return t.readHeader(store) }); err != nil {
		m.Close()
		return nil, err
	}
	t.sums = t.seed()
	t.checked = make([]atomic.Uint32, (t.pages()+31)/32)
	return t, nil
}

func (t *Table) readHeader(store [16]byte) error {
	size := t.m.Len()
	if size < pageLen {
		return flaw(0, "length of the file", ErrDamaged)
	}
	page := pages.Get().(*[pageLen]byte)
	defer pages.Put(page)
	if _, err := t.m.ReadAt(page[:], 0); err != nil {
		return fmt.Errorf("read %s: %w", FileName, err)
	}
	var err error
	t.header, err = decodeHeader(page[:], store, uint64(size))
	return err
}

// pages holds buffers for whole pages.
var pages = sync.Pool{New: func() any { return new([pageLen]byte) }}

// Close unmaps the file.
func (t *Table) Close() error {
	if err := t.m.Close(); err != nil {
		return fmt.Errorf("close %s: %w", FileName, err)
	}
	return nil
}

// Len returns the number of keys.
func (t *Table) Len() uint64 { return t.count }

// From returns the start of the window that the table was written for: keys of events below it may be gone.
func (t *Table) From() uint64 { return t.from }

// Generation returns how often the file was written.
func (t *Table) Generation() uint64 { return t.generation }

// Find returns the entry of a key.
//
// Errors: *[FileError] with [ErrDamaged]; I/O errors.
func (t *Table) Find(key [keyLen]byte) (e Entry, ok bool, err error) {
	err = t.m.Guarded(func() error {
		page, err := t.pageOf(&key)
		if err == nil && page < t.pages() {
			ok, err = t.findIn(page, &key, &e)
		}
		return err
	})
	if err != nil || !ok {
		return Entry{}, false, err
	}
	return e, true, nil
}

// pageOf returns the page that holds key if any does: the last one that does not begin above it. Keys are hashes and
// lie evenly, so the place of a key between two others is where it divides them. Every other step halves what is left,
// so that the search is short whatever the keys are.
func (t *Table) pageOf(key *[keyLen]byte) (uint64, error) {
	want := binary.BigEndian.Uint64(key[:])
	lo, hi := uint64(0), t.pages()
	low, high := uint64(0), uint64(math.MaxUint64) // how the keys at lo and hi begin
	for halve := false; hi-lo > 1; halve = !halve {
		mid := lo + (hi-lo)/2
		if !halve && high > low {
			mid = lo + divide(hi-lo, want-low, high-low)
			mid = min(max(mid, lo+1), hi-1)
		}
		var first [keyLen]byte
		if err := t.read(mid, 0, first[:]); err != nil {
			return 0, err
		}
		if bytes.Compare(first[:], key[:]) <= 0 {
			lo, low = mid, binary.BigEndian.Uint64(first[:])
		} else {
			hi, high = mid, binary.BigEndian.Uint64(first[:])
		}
	}
	return lo, nil
}

// divide returns n × part / whole, for part ≤ whole.
func divide(n, part, whole uint64) uint64 {
	hi, lo := bits.Mul64(n, part)
	if hi >= whole {
		return n
	}
	q, _ := bits.Div64(hi, lo, whole)
	return q
}

// findIn looks for key in one page.
func (t *Table) findIn(page uint64, key *[keyLen]byte, e *Entry) (bool, error) {
	lo, hi := 0, t.inPage(page)
	for lo < hi {
		mid := (lo + hi) / 2
		var have [keyLen]byte
		if err := t.read(page, mid*entryLen, have[:]); err != nil {
			return false, err
		}
		switch c := bytes.Compare(have[:], key[:]); {
		case c < 0:
			lo = mid + 1
		case c > 0:
			hi = mid
		default:
			var b [entryLen]byte
			err := t.read(page, mid*entryLen, b[:])
			return err == nil && decodeEntry(b[:], e), err
		}
	}
	return false, nil
}

// pageAt returns the offset of a page.
func pageAt(page uint64) int64 { return int64(1+page) * pageLen }

// read fills p from offset off of a page, which is checked when it is used for the first time.
func (t *Table) read(page uint64, off int, p []byte) error {
	if t.checked[page/32].Load()&(1<<(page%32)) == 0 {
		if err := t.check(page); err != nil {
			return err
		}
	}
	if _, err := t.m.ReadAt(p, pageAt(page)+int64(off)); err != nil {
		return fmt.Errorf("read %s: %w", FileName, err)
	}
	return nil
}

// check checks a page and remembers that it holds.
func (t *Table) check(page uint64) error {
	b := pages.Get().(*[pageLen]byte)
	defer pages.Put(b)
	if err := t.load(page, b); err != nil {
		return err
	}
	t.checked[page/32].Or(1 << (page % 32))
	return nil
}

// load reads a page into b and checks it.
func (t *Table) load(page uint64, b *[pageLen]byte) error {
	if _, err := t.m.ReadAt(b[:], pageAt(page)); err != nil {
		return fmt.Errorf("read %s: %w", FileName, err)
	}
	return t.checkPage(t.sums, page, b)
}

// checkPage checks page number n of a file with header h: its sum, every entry, their order, and that nothing else is
// there.
func (h *header) checkPage(sums uint32, n uint64, b *[pageLen]byte) error {
	if binary.LittleEndian.Uint32(b[pageLen-4:]) != pageSum(sums, n, b[:]) {
		return flaw(pageAt(n), "checksum of a page", ErrDamaged)
	}
	var last [keyLen]byte // no key is zero
	var e Entry
	end := h.inPage(n) * entryLen
	for at := 0; at < end; at += entryLen {
		switch {
		case !decodeEntry(b[at:], &e) || e.Seq < h.from:
			return flaw(pageAt(n)+int64(at), "fields of an entry", ErrDamaged)
		case bytes.Compare(last[:], e.Key.Hash[:]) >= 0:
			return flaw(pageAt(n)+int64(at), "order of keys", ErrDamaged)
		}
		last = e.Key.Hash
	}
	if !allZero(b[end : pageLen-4]) {
		return flaw(pageAt(n)+int64(end), "end of a page", ErrDamaged)
	}
	return nil
}

// All yields every entry, ascending by key, and checks every page, used before or not. It ends after an error. It
// allocates one page.
//
// Errors: as [Table.Find].
func (t *Table) All() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := t.reader()
		for {
			ok, err := r.next()
			if err != nil {
				yield(Entry{}, err)
				return
			}
			if !ok || !yield(r.entry, nil) {
				return
			}
		}
	}
}

// reader returns a reader of every entry.
func (t *Table) reader() *pageReader {
	return &pageReader{head: &t.header, load: func(page uint64, b *[pageLen]byte) error {
		return t.m.Guarded(func() error { return t.load(page, b) })
	}}
}
