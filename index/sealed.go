package index

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"batpak/internal/vfs"
	"batpak/segment"
)

// A Sealed is one sealed segment, or one index block of a segment that is not. It costs a few hundred bytes of heap until
// it is first read: then the file is mapped and its footer opened. Safe for concurrent use. It is closed by the [Set] that holds it.
type Sealed struct {
	dir vfs.Dir
	sum *segment.Summary // nobody changes it

	refs atomic.Int32 // epochs that hold it
	gone func()       // called when the last one is gone; set before a Set has it

	filter atomic.Pointer[keyFilter] // nil: none
	asked  atomic.Int32              // how often for a key, without a filter

	mapped  atomic.Pointer[mapped]
	opening sync.Mutex // held while mapping
}

// A mapped is the file of a sealed segment in use.
type mapped struct {
	m    *vfs.Map // of what foot lies in
	foot *segment.Footer
	seal segment.Seal

	blocks *Blocks // that foot is one of; nil for a footer
}

// OpenSealed maps the file of segment id in store and opens its footer.
//
// Errors: *[segment.FooterError], with [segment.ErrAbsent] when the segment is not sealed; the error of the directory.
func OpenSealed(dir vfs.Dir, store [16]byte, id uint64) (*Sealed, error) {
	s := &Sealed{dir: dir, sum: &segment.Summary{Store: store, Segment: id}}
	mp, err := s.mapFile()
	if err != nil {
		return nil, err
	}
	*s.sum = *mp.foot.Summary()
	s.mapped.Store(mp)
	return s, nil
}

// NewSealed returns the sealed segment that sum describes without touching its file: the file is mapped when a read
// first needs it, and must then say what sum says. It keeps sum, which must not be changed any more.
func NewSealed(dir vfs.Dir, sum *segment.Summary) *Sealed {
	return &NewSealeds(dir, 1, func(int) *segment.Summary { return sum })[0]
}

// NewSealeds is [NewSealed] for n segments at once. They share their memory: it is kept as long as any of them.
func NewSealeds(dir vfs.Dir, n int, sum func(i int) *segment.Summary) []Sealed {
	all := make([]Sealed, n)
	for i := range all {
		all[i].dir, all[i].sum = dir, sum(i)
	}
	return all
}

// Summary returns what is known of the segment as a whole. It must not be changed.
func (s *Sealed) Summary() *segment.Summary { return s.sum }

// OnGone sets a function that is called once no [View] can reach the segment any more and its file is unmapped, for
// removing the file. It must be set before the segment is taken out of its [Set]'s view, and may be called on the
// goroutine of any reader.
func (s *Sealed) OnGone(fn func()) { s.gone = fn }

// open returns the mapped file, mapping it first if need be. A failure is not kept: the next call tries again, and
// damage is found again.
func (s *Sealed) open() (*mapped, error) {
	if mp := s.mapped.Load(); mp != nil {
		return mp, nil
	}
	s.opening.Lock()
	defer s.opening.Unlock()
	if mp := s.mapped.Load(); mp != nil {
		return mp, nil
	}
	mp, err := s.mapFile()
	if err != nil {
		return nil, err
	}
	if got := mp.foot.Summary(); *got != *s.sum {
		err := &segment.FooterError{
			Segment: s.sum.Segment, Section: "trailer", Offset: got.End,
			Reason: "not the footer that was recorded", Err: segment.ErrDamaged,
		}
		return nil, errors.Join(err, mp.m.Close())
	}
	s.mapped.Store(mp)
	return mp, nil
}

// mapFile maps the file and opens its footer.
func (s *Sealed) mapFile() (*mapped, error) {
	m, err := s.dir.Map(segment.Name(s.sum.Segment))
	if err != nil {
		return nil, fmt.Errorf("map segment %06d: %w", s.sum.Segment, err)
	}
	mp := &mapped{m: m}
	err = m.Guarded(func() (err error) {
		mp.foot, err = segment.OpenFooter(m, s.sum.Store, s.sum.Segment)
		return err
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open segment %06d: %w", s.sum.Segment, err), m.Close())
	}
	mp.seal = segment.NewSeal(mp.foot.Summary().Salt)
	return mp, nil
}

// Footer returns the footer, mapping the file first if need be. It is valid as long as a [View] holds the segment;
// callers guard their use of it with Guarded.
func (s *Sealed) Footer() (*segment.Footer, error) {
	mp, err := s.open()
	if err != nil {
		return nil, err
	}
	return mp.foot, nil
}

// Guarded calls fn so that a file that shrank under its map is an error and not a fault; see [vfs.Map.Guarded].
func (s *Sealed) Guarded(fn func() error) error {
	mp, err := s.open()
	if err != nil {
		return err
	}
	return mp.m.Guarded(fn)
}

// release gives up an epoch's hold; the last one unmaps the file.
func (s *Sealed) release() error {
	if s.refs.Add(-1) > 0 {
		return nil
	}
	return s.close()
}

// Close unmaps a segment that no Set has taken.
func (s *Sealed) Close() error { return s.close() }

func (s *Sealed) close() error {
	s.dropFilter()
	var err error
	if mp := s.mapped.Swap(nil); mp != nil {
		if mp.blocks != nil {
			return mp.blocks.Release()
		}
		if err = mp.m.Close(); err != nil {
			err = fmt.Errorf("unmap segment %06d: %w", s.sum.Segment, err)
		}
	}
	if s.gone != nil {
		s.gone()
	}
	return err
}
