package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"batpak/internal/paged"
	"batpak/internal/vfs"
)

// A Catalog is one catalog file: it says which of a range of sealed segments holds a stream or an idempotency key
// last. It is a cache of their footers. It costs a few hundred bytes of heap and nothing else until it is first asked:
// then the file is mapped. What does not hold once is not asked again. Safe for concurrent use. It is closed by the
// [Set] that holds it.
type Catalog struct {
	dir         vfs.Dir
	store       [16]byte
	name        string
	first, last uint64 // segments

	refs atomic.Int32 // epochs that hold it

	opened  atomic.Pointer[openCatalog]
	opening sync.Mutex // held while mapping
	failed  atomic.Pointer[CatalogError]
	told    atomic.Bool               // its finding was given to a Set
	covered atomic.Pointer[[]*Sealed] // what Covers approved of last: most epochs ask for the same
}

// An openCatalog is a catalog file in use.
type openCatalog struct {
	m    *vfs.Map
	head catalogHead
	body paged.Body
	hash catalogHash
	name string
}

// NewCatalog returns the catalog of that name in dir, without touching the file; ok is false when name is not one of a
// catalog.
func NewCatalog(dir vfs.Dir, store [16]byte, name string) (c *Catalog, ok bool) {
	first, last, ok := ParseCatalogName(name)
	return &Catalog{dir: dir, store: store, name: name, first: first, last: last}, ok
}

// OpenCatalog is [NewCatalog], and reads the trailer and the page sums.
//
// Errors: *[CatalogError] with [ErrCatalogAbsent], [ErrCatalogDamaged], [ErrCatalogForeign], [ErrCatalogFuture], or
// the error of the directory.
func OpenCatalog(dir vfs.Dir, store [16]byte, name string) (*Catalog, error) {
	c, ok := NewCatalog(dir, store, name)
	if !ok {
		return nil, &CatalogError{File: name, Reason: "name", Err: ErrCatalogForeign}
	}
	if _, err := c.open(); err != nil {
		return nil, err
	}
	return c, nil
}

// CatalogIsNewer reports whether the file of that name in dir is a catalog that only a newer version can read. Of others
// it reads a few bytes; a file that is gone, or is no catalog, is not newer.
//
// Errors: those of the directory and of reading.
func CatalogIsNewer(dir vfs.Dir, name string) (bool, error) {
	f, err := dir.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open %s: %w", name, err)
	}
	defer f.Close()
	size, err := vfs.OpenSize(f)
	if err == nil && size >= catalogTailLen {
		tail := make([]byte, catalogTailLen)
		if _, err = f.ReadAt(tail, size-catalogTailLen); err == nil && looksNewer(tail) {
			_, _, err = readCatalogHead(f, size)
		}
	}
	switch {
	case errors.Is(err, ErrCatalogFuture):
		return true, nil
	case err == nil, errors.Is(err, ErrCatalogDamaged), errors.Is(err, io.EOF):
		return false, nil
	}
	return false, fmt.Errorf("read %s: %w", name, err)
}

// Name returns the file's name.
func (c *Catalog) Name() string { return c.name }

// Range returns the first and last segment that it is about, as its name says.
func (c *Catalog) Range() (first, last uint64) { return c.first, c.last }

// Err returns why the catalog is not asked any more, nil as long as it is. It touches no file.
func (c *Catalog) Err() error {
	if failed := c.failed.Load(); failed != nil {
		return failed
	}
	return nil
}

// HashKey returns the key of the catalog's hash: catalogs are merged that share it.
//
// Errors: *[CatalogError].
func (c *Catalog) HashKey() (key [16]byte, err error) {
	o, err := c.open()
	if err != nil {
		return key, err
	}
	return o.head.key, nil
}

// Stream returns the newest segment of the range that may hold (entity, lane): no newer one of the range does, and
// nearly always this one does. When ok is false none does.
//
// Errors: *[CatalogError].
func (c *Catalog) Stream(entity string, lane uint32) (segment uint64, ok bool, err error) {
	return c.find(&sought{entity: entity, lane: lane})
}

// Key is [Catalog.Stream] for an idempotency key.
func (c *Catalog) Key(hash [16]byte) (segment uint64, ok bool, err error) {
	return c.find(&sought{key: &hash})
}

// A sought is what catalogs are asked for: a stream, or, when key is set, an idempotency key.
type sought struct {
	entity string
	lane   uint32
	key    *[16]byte
	from   uint64 // sequence; nothing is sought in runs that lie below

	by   catalogHash // that hash is of; the zero one when there is none yet
	hash uint64

	filtered bool   // filter is set
	filter   uint64 // hash of key that filters go by
	touched  int    // what touch has read: nothing depends on it
}

// hashBy returns the hash of what is sought; catalogs of one store share their key, so it is mostly the same.
func (s *sought) hashBy(c catalogHash) uint64 {
	if s.by != c {
		s.by = c
		if s.key != nil {
			s.hash = c.key(s.key)
		} else {
			s.hash = hashStream(c, s.entity, s.lane)
		}
	}
	return s.hash
}

// find returns the newest segment that may hold s.
func (c *Catalog) find(s *sought) (segment uint64, ok bool, err error) {
	o, err := c.open()
	if err != nil {
		return 0, false, err
	}
	h := s.hashBy(o.hash)
	err = o.m.Guarded(func() error {
		segment, ok, err = o.find(h)
		return err
	})
	if err != nil {
		return 0, false, c.fail(o.located(err))
	}
	return segment, ok, nil
}

// slotBlock is how many slots are read at once: one cache line.
const slotBlock = 8

// find searches the table for hash h.
func (o *openCatalog) find(h uint64) (segment uint64, ok bool, err error) {
	var b [slotBlock * slotLen]byte
	mask := o.head.mask()
	prefix := h &^ mask
	for at := o.head.home(prefix); at < o.head.slots; {
		// The first block ends where a cache line of the table does.
		n := min(slotBlock-at%slotBlock, o.head.slots-at)
		if err := o.read(o.head.tableAt()+at*slotLen, b[:n*slotLen]); err != nil {
			return 0, false, err
		}
		for i := range n {
			slot := binary.LittleEndian.Uint64(b[i*slotLen:])
			switch {
			case slot == 0 || slot&^mask > prefix:
				return 0, false, nil
			case slot&^mask == prefix:
				segment, err = o.segmentOf(slot & mask)
				return segment, err == nil, err
			}
		}
		at += n
	}
	return 0, false, nil
}

// segmentOf returns the segment of the member that a slot names.
func (o *openCatalog) segmentOf(number uint64) (uint64, error) {
	if number == 0 || number > o.head.members {
		return 0, o.flaw(o.head.tableAt(), "member out of range")
	}
	var b [8]byte
	at := (number - 1) * memberLen
	if err := o.read(at, b[:]); err != nil {
		return 0, err
	}
	id := binary.LittleEndian.Uint64(b[:])
	if id < o.head.first || id > o.head.last {
		return 0, o.flaw(at, "segment out of range")
	}
	return id, nil
}

// read fills p from offset at of the body, every page of it checked.
func (o *openCatalog) read(at uint64, p []byte) error {
	if size := o.head.bodyLen(); at > size || uint64(len(p)) > size-at {
		return o.flaw(at, "out of range")
	}
	if page, err := o.body.Check(at, len(p)); err != nil {
		return o.pageError(page, err)
	}
	if _, err := o.m.ReadAt(p, int64(at)); err != nil {
		return &CatalogError{File: o.name, Offset: int64(at), Reason: "read", Err: err}
	}
	return nil
}

func (o *openCatalog) pageError(page uint64, err error) error {
	e := &CatalogError{File: o.name, Offset: int64(page * paged.PageLen), Reason: "read", Err: err}
	if errors.Is(err, paged.ErrSum) {
		e.Reason, e.Err = "checksum", ErrCatalogDamaged
	}
	return e
}

// flaw returns the error of a page that holds and cannot be.
func (o *openCatalog) flaw(at uint64, reason string) error {
	return &CatalogError{File: o.name, Offset: int64(at), Reason: reason, Err: ErrCatalogDamaged}
}

// located makes a fault of the map a *CatalogError.
func (o *openCatalog) located(err error) *CatalogError {
	var e *CatalogError
	if !errors.As(err, &e) {
		e = &CatalogError{File: o.name, Reason: "read", Err: err}
	}
	return e
}

// fail makes the catalog useless from now on. It returns the error that did so first.
func (c *Catalog) fail(err *CatalogError) error {
	c.failed.CompareAndSwap(nil, err)
	return c.failed.Load()
}

// open returns the file in use, mapping it first if need be.
func (c *Catalog) open() (*openCatalog, error) {
	if failed := c.failed.Load(); failed != nil {
		return nil, failed
	}
	if o := c.opened.Load(); o != nil {
		return o, nil
	}
	c.opening.Lock()
	defer c.opening.Unlock()
	if o := c.opened.Load(); o != nil {
		return o, nil
	}
	if failed := c.failed.Load(); failed != nil {
		return nil, failed
	}
	m, err := c.dir.Map(c.name)
	if err != nil {
		reason := &CatalogError{File: c.name, Reason: "map", Err: err}
		if errors.Is(err, fs.ErrNotExist) {
			reason.Err = ErrCatalogAbsent
		}
		return nil, c.fail(reason)
	}
	o := &openCatalog{m: m, name: c.name}
	if err := m.Guarded(func() error { return o.start(c) }); err != nil {
		m.Close()
		return nil, c.fail(o.located(err))
	}
	c.opened.Store(o)
	return o, nil
}

// start reads the trailer and the page sums.
func (o *openCatalog) start(c *Catalog) error {
	head, reason, err := readCatalogHead(o.m, int64(o.m.Len()))
	if err != nil {
		return &CatalogError{File: o.name, Offset: int64(o.m.Len()), Reason: reason, Err: err}
	}
	if head.store != c.store || head.first != c.first || head.last != c.last {
		return &CatalogError{File: o.name, Offset: int64(o.m.Len()), Reason: "identity", Err: ErrCatalogForeign}
	}
	o.head, o.hash = head, newCatalogHash(head.key)
	o.body, err = paged.Open(o.m, 0, head.bodyLen(), head.seed(), head.sumsCRC)
	if err != nil {
		return o.pageError(head.bodyLen()/paged.PageLen, err)
	}
	return nil
}

// release gives up an epoch's hold; the last one unmaps the file.
func (c *Catalog) release() error {
	if c.refs.Add(-1) > 0 {
		return nil
	}
	return c.Close()
}

// Close unmaps a catalog that no Set has taken.
func (c *Catalog) Close() error {
	if o := c.opened.Swap(nil); o != nil {
		if err := o.m.Close(); err != nil {
			return fmt.Errorf("unmap %s: %w", c.name, err)
		}
	}
	return nil
}

// Verify checks every page of the file.
//
// Errors: *[CatalogError].
func (c *Catalog) Verify() error {
	o, err := c.open()
	if err != nil {
		return err
	}
	err = o.m.Guarded(func() error {
		for page := uint64(0); page*paged.PageLen < o.head.bodyLen(); page++ {
			if err := o.body.CheckPage(page); err != nil {
				return o.pageError(page, err)
			}
		}
		return nil
	})
	if err != nil {
		return c.fail(o.located(err))
	}
	return nil
}

// membersPerRead is how many members are looked at together.
const membersPerRead = 64

// Covers reports by a nil error that the catalog was made over all of the segments, which ascend by number, and that
// each is what it was: then what it says of them holds. It keeps sealed, which must not be changed.
//
// Errors: *[CatalogError], with [ErrCatalogStale] when a segment is not among the members, or is another one.
func (c *Catalog) Covers(sealed []*Sealed) error {
	o, err := c.open()
	if err != nil {
		return err
	}
	if last := c.covered.Load(); last != nil && slices.Equal(*last, sealed) {
		return nil
	}
	var stale bool
	err = o.m.Guarded(func() error {
		stale, err = o.misses(sealed)
		return err
	})
	switch {
	case err != nil:
		return c.fail(o.located(err))
	case stale:
		return &CatalogError{File: c.name, Reason: "another segment", Err: ErrCatalogStale}
	}
	c.covered.Store(&sealed)
	return nil
}

// misses reports whether one of the segments is not a member.
func (o *openCatalog) misses(sealed []*Sealed) (bool, error) {
	var b [membersPerRead * memberLen]byte
	var last uint64
	for at := uint64(0); at < o.head.members && len(sealed) > 0; at += membersPerRead {
		n := min(membersPerRead, o.head.members-at)
		if err := o.read(at*memberLen, b[:n*memberLen]); err != nil {
			return false, err
		}
		for i := uint64(0); i < n && len(sealed) > 0; i++ {
			m := decodeMember(b[i*memberLen:])
			if m.segment <= last || m.segment < o.head.first || m.segment > o.head.last {
				return false, o.flaw((at+i)*memberLen, "members do not ascend")
			}
			last = m.segment
			switch sum := sealed[0].sum; {
			case m.segment < sum.Segment: // gone since
			case m != memberOf(sum):
				return true, nil
			default:
				sealed = sealed[1:]
			}
		}
	}
	return len(sealed) > 0, nil
}
