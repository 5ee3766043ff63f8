package idemp

import (
	"bytes"
	"cmp"
	"slices"
)

// A source gives entries one by one, ascending by key.
type source interface {
	// next takes the next entry; ok is false at the end.
	next() (ok bool, err error)
	// at is the entry that was taken last, valid until the next one is.
	at() *Entry
}

// A freshSource gives entries that are in memory, in the order of their keys; of one key, in that of their sequences.
type freshSource struct {
	entries []Entry
	order   []uint32 // places of those that are left; of the one taken last, too
	started bool
}

func newFreshSource(entries []Entry) *freshSource {
	order := make([]uint32, len(entries))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(i, j uint32) int {
		a, b := &entries[i], &entries[j]
		return cmp.Or(compareKeys(a, b), cmp.Compare(a.Seq, b.Seq))
	})
	return &freshSource{entries: entries, order: order}
}

func (s *freshSource) next() (bool, error) {
	if s.started {
		s.order = s.order[1:]
	}
	s.started = true
	return len(s.order) > 0, nil
}

func (s *freshSource) at() *Entry { return &s.entries[s.order[0]] }

// A pageReader gives the entries of pages that were written before, and checks each page.
type pageReader struct {
	head *header
	load func(page uint64, b *[pageLen]byte) error // reads a page and checks it

	page  uint64 // to be loaded next
	left  []byte // of b
	entry Entry
	b     [pageLen]byte
}

func (r *pageReader) at() *Entry { return &r.entry }

func (r *pageReader) next() (bool, error) {
	if len(r.left) > 0 {
		decodeEntry(r.left, &r.entry)
		r.left = r.left[entryLen:]
		return true, nil
	}
	if r.page == r.head.pages() {
		return false, nil
	}
	if err := r.load(r.page, &r.b); err != nil {
		return false, err
	}
	if bytes.Compare(r.entry.Key.Hash[:], r.b[:keyLen]) >= 0 {
		return false, flaw(pageAt(r.page), "order of pages", ErrDamaged)
	}
	r.left = r.b[:r.head.inPage(r.page)*entryLen]
	r.page++
	return r.next()
}

// merge calls put with every entry of all sources, ascending by key; entries of one key follow one another. It takes
// the logarithm of the number of sources per entry.
func merge(sources []source, put func(*Entry) error) error {
	h := make(sourceHeap, 0, len(sources))
	for _, s := range sources {
		ok, err := s.next()
		if err != nil {
			return err
		}
		if ok {
			h = append(h, s)
		}
	}
	for i := len(h)/2 - 1; i >= 0; i-- {
		h.down(i)
	}
	for len(h) > 0 {
		if err := put(h[0].at()); err != nil {
			return err
		}
		ok, err := h[0].next()
		if err != nil {
			return err
		}
		if !ok {
			h[0] = h[len(h)-1]
			h = h[:len(h)-1]
		}
		h.down(0)
	}
	return nil
}

// A sourceHeap has the source with the least key in front.
type sourceHeap []source

// down moves the source at i to its place among those below it.
func (h sourceHeap) down(i int) {
	for {
		least := 2*i + 1
		if least >= len(h) {
			return
		}
		if right := least + 1; right < len(h) && compareKeys(h[right].at(), h[least].at()) < 0 {
			least = right
		}
		if compareKeys(h[least].at(), h[i].at()) >= 0 {
			return
		}
		h[i], h[least] = h[least], h[i]
		i = least
	}
}
