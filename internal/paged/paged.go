// Package paged checks a body of bytes in a mapped file page by page, each page when it is first used.
//
//	body: pages of 4,096 bytes, the last one short | page sums, padded to 8 bytes |
//
// A page sum is the CRC-32C of the page, seeded with the seed of the file and the page's number: a page of another
// file, or of another place, never holds. The sums have a checksum of their own, which the file's trailer carries.
package paged

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"batpak/internal/vfs"
	"batpak/internal/wire"
)

const (
	// PageLen is the size of a page.
	PageLen = 4096

	sumLen = 4
	align  = 8
)

// ErrSum: a page, or the page sums, are not what was written.
var ErrSum = errors.New("paged: checksum")

// SumsLen returns the size of the page sums of a body of size bytes, padding included.
func SumsLen(size uint64) uint64 {
	pages := (size + PageLen - 1) / PageLen
	return (pages*sumLen + align - 1) &^ (align - 1)
}

// Sum returns the checksum of page number n.
func Sum(seed uint32, n uint64, page []byte) uint32 { return wire.Sum(wire.SumUint64(seed, n), page) }

// A Body is a body in a map. It keeps one bit per page. Safe for concurrent use until the map is closed; callers guard
// their use of it with [vfs.Map.Guarded].
type Body struct {
	m       *vfs.Map
	base    int64 // of the body, bytes from start of file
	size    uint64
	seed    uint32
	checked []atomic.Uint32 // one bit per page that was found sound
}

// Open returns the body of size bytes at base of m, the page sums behind it. It checks the sums against sumsCRC, and
// no page.
//
// Errors: [ErrSum]; the error of the map.
func Open(m *vfs.Map, base int64, size uint64, seed, sumsCRC uint32) (Body, error) {
	b := Body{m: m, base: base, size: size, seed: seed}
	if err := b.checkSums(sumsCRC); err != nil {
		return Body{}, err
	}
	pages := (size + PageLen - 1) / PageLen
	b.checked = make([]atomic.Uint32, (pages+31)/32)
	return b, nil
}

// buffers are for checksums: the checksum is called through a variable, so that a buffer on the stack would not stay
// there.
var buffers = sync.Pool{New: func() any { return new([PageLen]byte) }}

// checkSums checks the page sums themselves, which later checks rely on.
func (b *Body) checkSums(want uint32) error {
	buf := buffers.Get().(*[PageLen]byte)
	defer buffers.Put(buf)
	sum, at := b.seed, b.base+int64(b.size)
	for left := SumsLen(b.size); left > 0; {
		n := min(left, PageLen)
		if _, err := b.m.ReadAt(buf[:n], at); err != nil {
			return err
		}
		sum, at, left = wire.Sum(sum, buf[:n]), at+int64(n), left-n
	}
	if sum != want {
		return ErrSum
	}
	return nil
}

// Check checks every page of the n bytes at at that was not found sound before; n is at least 1, and the bytes lie in
// the body. page is the one that does not hold.
//
// Errors: [ErrSum]; the error of the map.
func (b *Body) Check(at uint64, n int) (page uint64, err error) {
	for page := at / PageLen; page <= (at+uint64(n)-1)/PageLen; page++ {
		if !b.holds(page) {
			if err := b.CheckPage(page); err != nil {
				return page, err
			}
		}
	}
	return 0, nil
}

// holds reports whether page was found sound.
func (b *Body) holds(page uint64) bool { return b.checked[page/32].Load()&(1<<(page%32)) != 0 }

// CheckPage checks one page, whether or not it was found sound before, and remembers that it holds.
func (b *Body) CheckPage(page uint64) error {
	buf := buffers.Get().(*[PageLen]byte)
	defer buffers.Put(buf)
	var want [sumLen]byte
	start := page * PageLen
	n := min(PageLen, b.size-start)
	if page%32 == 0 && page > 0 && b.checked[page/32-1].Load() == 1<<32-1 {
		b.m.Stream() // 32 pages in front of this one were needed: more will be
	}
	if _, err := b.m.ReadAt(buf[:n], b.base+int64(start)); err != nil {
		return err
	}
	if _, err := b.m.ReadAt(want[:], b.base+int64(b.size+page*sumLen)); err != nil {
		return err
	}
	if Sum(b.seed, page, buf[:n]) != binary.LittleEndian.Uint32(want[:]) {
		return ErrSum
	}
	b.checked[page/32].Or(1 << (page % 32))
	return nil
}
