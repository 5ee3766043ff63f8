package idemp

import (
	"bytes"
	"encoding/binary"

	"batpak/internal/vfs"
)

// An Update says what the next file is to hold.
type Update struct {
	Store [16]byte
	Old   *Table  // what is known already; nil when there is none
	Fresh []Entry // what is about to leave the log, in any order
	From  uint64  // keys of events below this sequence are left out
}

// Write replaces the file of a store in dir, or makes it: the entries of u.Old and u.Fresh, without those that the
// window has left behind. Where a key comes more than once the last event that carried it counts.
//
// When the error is nil the file is durable; after a crash or an error the old one is there or the new one. u.Old stays
// open and goes on answering as before. It is read page by page: beside u.Fresh, which stays as it is, Write takes four
// bytes per fresh entry and a quarter of a MiB.
//
// Errors: *[FileError] with [ErrDamaged] for u.Old, or [ErrForeign] when that is of another store; I/O errors.
func Write(dir vfs.Dir, u Update) error {
	return write(dir, &u, []source{newFreshSource(u.Fresh)})
}

// write makes a file of u.Old and the sources.
func write(dir vfs.Dir, u *Update, sources []source) error {
	if u.Old != nil {
		if u.Old.store != u.Store {
			return flaw(offStore, "identity", ErrForeign)
		}
		sources = append(sources, u.Old.reader())
	}
	return vfs.ReplaceFile(dir, FileName, func(f vfs.File) error {
		w := newWriter(f, u)
		if err := merge(sources, w.put); err != nil {
			return err
		}
		return w.finish()
	})
}

// DefaultWindow is how many sequences a key is kept for when nobody says otherwise.
const DefaultWindow = 16 << 20

// WindowStart returns the first sequence of a window of so many sequences up to last.
func WindowStart(last, window uint64) uint64 {
	if last < window {
		return 1
	}
	return last - window + 1
}

func compareKeys(a, b *Entry) int { return bytes.Compare(a.Key.Hash[:], b.Key.Hash[:]) }

// writeBlock is how much is written at once.
const writeBlock = 64 * pageLen

// A writer writes a file front to back, and its header last.
type writer struct {
	dst  vfs.File
	base int64 // where the file begins in dst
	head header
	sums uint32 // seed of the page sums

	next Entry  // not in buf yet: another entry of its key may follow; no sequence: there is none
	buf  []byte // not written yet: whole pages, and one that is being filled
	at   int64  // offset of buf
	in   int    // entries in the page that is being filled
	page uint64 // its number
}

func newWriter(dst vfs.File, u *Update) *writer {
	w := &writer{dst: dst, head: header{store: u.Store, generation: 1, from: max(u.From, 1)}, at: pageLen}
	if u.Old != nil {
		w.head.generation = u.Old.generation + 1
	}
	w.sums = w.head.seed()
	w.buf = make([]byte, 0, writeBlock)
	return w
}

// put takes the next entry.
func (w *writer) put(e *Entry) error {
	if e.Key.Hash == [keyLen]byte{} || e.Seq == 0 || e.Clock == 0 {
		panic("idemp: an entry without a key, a sequence or a clock")
	}
	switch {
	case e.Seq < w.head.from:
		return nil
	case w.next.Seq > 0 && compareKeys(&w.next, e) == 0:
		if e.Seq > w.next.Seq {
			w.next = *e
		}
		return nil
	}
	err := w.settle()
	w.next = *e
	return err
}

// settle puts the entry that was held back into its page.
func (w *writer) settle() error {
	if w.next.Seq == 0 {
		return nil
	}
	w.buf = appendEntry(w.buf, &w.next)
	w.head.count++
	if w.in++; w.in < perPage {
		return nil
	}
	return w.endPage()
}

// endPage fills the page up and writes the block that it completes.
func (w *writer) endPage() error {
	used := w.in * entryLen
	w.buf = append(w.buf, make([]byte, pageLen-4-used)...)
	start := len(w.buf) + 4 - pageLen
	w.buf = append(w.buf, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(w.buf[start+pageLen-4:], pageSum(w.sums, w.page, w.buf[start:]))
	w.in, w.page = 0, w.page+1
	if len(w.buf) < writeBlock {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.dst.WriteAt(w.buf, w.at)
	w.at += int64(len(w.buf))
	w.buf = w.buf[:0]
	return err
}

// finish writes what is left, and the header.
func (w *writer) finish() error {
	if err := w.settle(); err != nil {
		return err
	}
	if w.in > 0 {
		if err := w.endPage(); err != nil {
			return err
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	_, err := w.dst.WriteAt(appendHeader(nil, &w.head), w.base)
	return err
}
