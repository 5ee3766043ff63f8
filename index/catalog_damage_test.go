package index

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"batpak/internal/paged"
	"batpak/internal/vfs"
	"batpak/internal/wire"
)

func sumOf(b []byte) uint32 { return wire.Sum(0, b) }

// I5: a flipped bit or a cut of a catalog never gives a wrong answer, and is found or changes none.
func TestI5_EveryByteOfACatalog(t *testing.T) {
	mem := vfs.NewMem()
	dir, err := mem.OpenDir(vfs.MemDir, vfs.DirOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	l := catalogLog(t, dir, 80, 3, 12)
	c := l.catalog(0, l.singles(1, 3)...)
	c.Close()
	good := mem.Files()[c.Name()]
	var events []testEvent
	for i := 0; i < len(l.events); i += 5 {
		events = append(events, l.events[i])
	}
	v := l.set.Acquire()
	defer v.Release()
	ask := func(b []byte) (wrong bool, errs int) {
		mem.SetFile(c.Name(), b)
		bad, _ := NewCatalog(dir, l.store, c.Name())
		defer bad.Close()
		for i := range events {
			h, _, err := v.Head(events[i].Coordinate.Entity(), events[i].Lane)
			if err != nil {
				t.Fatal(err)
			}
			id, ok, err := bad.Stream(events[i].Coordinate.Entity(), events[i].Lane)
			var ce *CatalogError
			switch {
			case err != nil && !errors.As(err, &ce):
				t.Fatalf("%v, want *CatalogError", err)
			case err != nil:
				errs++
			case h.Seq >= l.frames[3].header.FirstSeq: // in the active segment: the sealed ones need not hold it
			case !ok || h.Seq < l.frames[id-1].header.FirstSeq || h.Seq >= l.frames[id].header.FirstSeq:
				wrong = true
			}
		}
		return wrong, errs
	}
	if wrong, errs := ask(good); wrong || errs > 0 {
		t.Fatalf("whole: wrong %v, %d errors", wrong, errs)
	}
	for i := range good {
		for bit := range 8 {
			b := slices.Clone(good)
			b[i] ^= 1 << bit
			if wrong, errs := ask(b); wrong || errs == 0 {
				t.Fatalf("byte %d of %d, bit %d: wrong %v, %d errors", i, len(good), bit, wrong, errs)
			}
		}
	}
	for n := range good {
		if wrong, errs := ask(good[:n]); wrong || errs == 0 {
			t.Fatalf("cut to %d of %d bytes: wrong %v, %d errors", n, len(good), wrong, errs)
		}
	}
}

// Damage that is found in use is a finding, once, and everything is answered from the footers.
func TestDamagedCatalogIsAFinding(t *testing.T) {
	l := catalogLog(t, memDir(t), 81, 8, 30)
	c := l.catalog(0, l.singles(1, 8)...)
	c.Close()
	f, err := l.dir.OpenWrite(c.Name())
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte{0xaa}, int64(8*memberLen+100))
	f.Close()
	bad, _ := NewCatalog(l.dir, l.store, c.Name())
	l.set.SetCatalogs([]*Catalog{bad})
	if why := l.answers().check(l.set); why != "" {
		t.Error(why)
	}
	found := l.set.CatalogFindings()
	var ce *CatalogError
	if len(found) != 1 || !errors.As(found[0], &ce) || !errors.Is(found[0], ErrCatalogDamaged) || ce.Reason != "checksum" {
		t.Errorf("findings %v, want one checksum", found)
	}
	if bad.Err() == nil {
		t.Error("a damaged catalog is still asked")
	}
}

// A merge over a damaged catalog fails, and says which one.
func TestMergeOfADamagedCatalog(t *testing.T) {
	dir := memDir(t)
	l := catalogLog(t, dir, 82, 8, 30)
	left, right := l.catalog(0, l.singles(1, 4)...), l.catalog(0, l.singles(5, 8)...)
	right.Close()
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		_, good := l.catalogBytes(0, 0, l.singles(5, 8)...)
		good[r.IntN(len(good))] ^= 8
		if err := vfs.WriteFileAtomic(dir, right.Name(), good); err != nil {
			t.Fatal(err)
		}
		bad, _ := NewCatalog(dir, l.store, right.Name())
		_, _, err := WriteCatalog(t.Context(), nowhere{}, l.store, testCatalogKey, 0, []CatalogPart{{Catalog: left}, {Catalog: bad}})
		var ce *CatalogError
		if !errors.As(err, &ce) || ce.File != right.Name() || bad.Err() == nil || left.Err() != nil {
			t.Fatalf("WriteCatalog = %v, want a *CatalogError of %s", err, right.Name())
		}
		bad.Close()
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

// forgeCatalog puts sound checksums over whatever b says, if it has the length of what it says.
func forgeCatalog(b []byte, store [16]byte, first, last uint64) {
	if len(b) < catalogTrailer {
		return
	}
	le := binary.LittleEndian
	t := b[len(b)-catalogTrailer:]
	copy(t, store[:])
	le.PutUint64(t[16:], first)
	le.PutUint64(t[24:], last)
	le.PutUint32(t[84:], catalogTrailer)
	le.PutUint16(t[88:], catalogVersion)
	le.PutUint16(t[90:], 0)
	copy(t[92:], catalogMagic)
	h := catalogHead{store: store, first: first, last: last, members: uint64(le.Uint32(t[48:])), slots: le.Uint64(t[72:])}
	copy(h.key[:], t[32:])
	size := h.bodyLen()
	if size < 1<<40 && int(size+paged.SumsLen(size)) == len(b)-catalogTrailer {
		for page := uint64(0); page*paged.PageLen < size; page++ {
			le.PutUint32(b[size+page*4:], paged.Sum(h.seed(), page, b[page*paged.PageLen:min(size, (page+1)*paged.PageLen)]))
		}
		le.PutUint32(t[80:], wire.Sum(h.seed(), b[size:len(b)-catalogTrailer]))
	}
	resumTrailer(b)
}

// FuzzCatalog: no bytes make the reader panic or run for ever, whatever their checksums; what it opens, it can merge
// or refuse.
func FuzzCatalog(f *testing.F) {
	l := catalogLog(f, memDir(f), 83, 4, 12)
	_, good := l.catalogBytes(0, 0, l.singles(1, 4)...)
	f.Add(good, false)
	f.Add(good, true)
	f.Add([]byte(catalogMagic), false)
	name := CatalogName(1, 4)
	f.Fuzz(func(t *testing.T, b []byte, forged bool) {
		b = slices.Clone(b)
		if forged {
			forgeCatalog(b, l.store, 1, 4)
		}
		dir, err := vfs.NewMemFrom(map[string][]byte{name: b}).OpenDir(vfs.MemDir, vfs.DirOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var ce *CatalogError
		c, err := OpenCatalog(dir, l.store, name)
		if err != nil {
			if !errors.As(err, &ce) {
				t.Fatalf("%v, want *CatalogError", err)
			}
			return
		}
		defer c.Close()
		for e := range 5 {
			id, ok, err := c.Stream(testEntity(e), uint32(e))
			if err != nil && !errors.As(err, &ce) || ok && (id < 1 || id > 4) {
				t.Fatalf("Stream = %d, %v, %v", id, ok, err)
			}
		}
		c.Key([16]byte{1})
		if err := c.Covers([]*Sealed{l.sealed(1), l.sealed(4)}); err != nil && !errors.As(err, &ce) {
			t.Fatalf("Covers = %v", err)
		}
		if key, err := c.HashKey(); err == nil {
			_, _, err := WriteCatalog(t.Context(), nowhere{}, l.store, key, 0, []CatalogPart{{Catalog: c}})
			if err != nil && !errors.As(err, &ce) {
				t.Fatalf("WriteCatalog = %v", err)
			}
		}
	})
}

// Forged tables, with sound checksums, in numbers that a unit test can do.
func TestForgedCatalogs(t *testing.T) {
	l := catalogLog(t, memDir(t), 84, 4, 12)
	_, good := l.catalogBytes(0, 0, l.singles(1, 4)...)
	r := rand.New(rand.NewPCG(84, 1))
	for range 3000 {
		b := slices.Clone(good)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(b))
			b[at] = []byte{0, 0xff, byte(r.Uint32()), b[at] + 1}[r.IntN(4)]
		}
		forgeCatalog(b, l.store, 1, 4)
		dir, err := vfs.NewMemFrom(map[string][]byte{CatalogName(1, 4): b}).OpenDir(vfs.MemDir, vfs.DirOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c, err := OpenCatalog(dir, l.store, CatalogName(1, 4))
		if err != nil {
			continue
		}
		for e := range 5 {
			c.Stream(testEntity(e), 0)
		}
		if key, err := c.HashKey(); err == nil {
			WriteCatalog(t.Context(), nowhere{}, l.store, key, 0, []CatalogPart{{Catalog: c}})
		}
		c.Close()
	}
}

// Readers ask while catalogs come and go; a map never goes away under one.
func TestReadersWhileCatalogsAreReplaced(t *testing.T) {
	l := catalogLog(t, osDir(t), 85, 16, 20)
	want := l.answers()
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for !done.Load() {
				if why := want.check(l.set); why != "" {
					t.Error(why)
					return
				}
			}
		})
	}
	var names []string
	for _, span := range [][2]uint64{{1, 4}, {5, 8}, {9, 12}, {1, 16}, {13, 16}} {
		c := l.catalog(0, l.singles(span[0], span[1])...)
		names = append(names, c.Name())
		c.Close()
	}
	r := rand.New(rand.NewPCG(85, 1))
	for range 300 {
		var catalogs []*Catalog
		for _, name := range names {
			if r.IntN(3) > 0 {
				c, _ := NewCatalog(l.dir, l.store, name)
				catalogs = append(catalogs, c)
			}
		}
		l.set.SetCatalogs(catalogs)
	}
	done.Store(true)
	readers.Wait()
	if found := l.set.CatalogFindings(); len(found) > 0 {
		t.Errorf("findings %v", found)
	}
	if err := l.set.Close(); err != nil {
		t.Error(err)
	}
	late, _ := NewCatalog(l.dir, l.store, names[0])
	if _, _, err := late.Stream("x", 0); err != nil {
		t.Error(err)
	}
	l.set.SetCatalogs([]*Catalog{late}) // after Close: given up at once
	if late.opened.Load() != nil {
		t.Error("a closed set keeps a map")
	}
}
