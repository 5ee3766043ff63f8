package coldstart

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"batpak/index"
	"batpak/internal/vfs"
	"batpak/segment"
)

// A catalogs is what a State knows of its catalogs beside those in its Set. Its owner holds State.cataloging.
type catalogs struct {
	obsolete []string        // files that are not needed any more, and not removed yet
	damaged  map[uint64]bool // segments whose footer does not hold: no catalog is made over them
}

// OpenCatalogs lists the directory and uses the catalogs in it, as useCatalogs does.
func (s *State) OpenCatalogs() error {
	l, err := list(s.Dir)
	if err != nil {
		return err
	}
	s.useCatalogs(l.catalogs)
	return nil
}

// useCatalogs gives the Set the catalogs with the given names. It reads none of them: a catalog is mapped when it is
// first asked, and one that does not hold is passed over then.
func (s *State) useCatalogs(names []string) {
	if all := s.newCatalogs(names); len(all) > 0 {
		s.Set.SetCatalogs(all)
	}
}

func (s *State) newCatalogs(names []string) (all []*index.Catalog) {
	for _, name := range names {
		if c, ok := index.NewCatalog(s.Dir, s.StoreID, name); ok {
			all = append(all, c)
		}
	}
	return all
}

// UpdateCatalogs makes catalogs of the sealed segments that have none, and merges those that are too many; see
// planMerge. It removes the files of catalogs that a wider one stands for, that are stale, foreign or damaged. To be
// called in the background after a Seal; beside it everything else may go on. It does nothing in a read-only store.
//
// What a crash leaves of it is a catalog that does not hold, or two that say the same: the next call sees to it. A
// failure costs time at the first touch of a stream, and nothing else.
//
// Errors: *[FutureError] for a catalog that only a newer version can read: it is left alone, and nothing is made;
// *[segment.FooterError], after everything else was done, the first time that a footer turns out damaged; the
// context's; I/O errors.
func (s *State) UpdateCatalogs(ctx context.Context) error {
	if s.cfg.ReadOnly {
		return nil
	}
	s.cataloging.Lock()
	defer s.cataloging.Unlock()
	var damage error
	for {
		more, err := s.stepCatalogs(ctx)
		s.removeCatalogs()
		var footer *segment.FooterError
		if errors.As(err, &footer) && stepsDown(err) && !s.catalogs.damaged[footer.Segment] {
			if s.catalogs.damaged == nil {
				s.catalogs.damaged = make(map[uint64]bool)
			}
			s.catalogs.damaged[footer.Segment] = true
			more, damage, err = true, errors.Join(damage, err), nil
		}
		if err != nil {
			return fmt.Errorf("update catalogs: %w", errors.Join(err, damage))
		}
		if !more {
			return damage
		}
	}
}

// stepCatalogs drops what does not hold and makes one catalog, if one is to be made; more says that it did.
func (s *State) stepCatalogs(ctx context.Context) (more bool, err error) {
	v := s.Set.Acquire()
	if v == nil {
		return false, nil
	}
	defer v.Release()
	b, err := s.readPieces(v)
	if err != nil {
		return false, err
	}
	if b.dropped {
		s.Set.SetCatalogs(b.keep)
	}
	for _, chain := range b.chains {
		sizes := make([]int, len(chain))
		for i := range chain {
			sizes[i] = len(chain[i].sealed)
		}
		lo, hi, ok := planMerge(sizes)
		if !ok {
			continue
		}
		made, err := s.makeCatalog(ctx, &b, chain[lo:hi])
		var bad *index.CatalogError
		if errors.As(err, &bad) {
			return true, nil // dropped by the next step
		}
		if err != nil {
			return false, err
		}
		s.replaceCatalogs(&b, chain[lo:hi], made)
		return true, nil
	}
	return false, nil
}

// A piece is a catalog and the segments that it covers, or one segment that none covers.
type piece struct {
	catalog *index.Catalog // nil: none
	sealed  []*index.Sealed
	fixed   bool // not to be merged now
}

// A board is the pieces that a store has now.
type board struct {
	segments []boardSegment   // ascending by number
	chains   [][]piece        // neighbours that may be merged, from the oldest
	keep     []*index.Catalog // that hold
	dropped  bool             // there were others
	key      [16]byte         // of the catalogs' hash; zero when there is none
}

type boardSegment struct {
	id     uint64
	sealed *index.Sealed // nil: in memory
	piece  int           // that covers it, plus one; 0 for none
}

// readPieces looks at every catalog, the widest first, and keeps those that cover what is there and nothing that
// another one covers.
//
// Errors: *[FutureError].
func (s *State) readPieces(v *index.View) (b board, err error) {
	v.EachSegment(func(id uint64, sealed *index.Sealed) {
		b.segments = append(b.segments, boardSegment{id: id, sealed: sealed})
	})
	all := v.Catalogs()
	slices.SortStableFunc(all, func(x, y *index.Catalog) int { return cmp.Compare(width(y), width(x)) })
	var pieces []piece
	for _, c := range all {
		p, err := s.pieceOf(&b, c)
		if err != nil {
			return b, err
		}
		b.dropped = b.dropped || p.catalog != c
		if p.catalog == nil {
			s.catalogs.obsolete = append(s.catalogs.obsolete, c.Name())
			continue
		}
		b.keep, pieces = append(b.keep, p.catalog), append(pieces, p)
		for i := range b.within(c) {
			b.within(c)[i].piece = len(pieces)
		}
	}
	b.chain(pieces, s.catalogs.damaged)
	return b, nil
}

func width(c *index.Catalog) uint64 {
	first, last := c.Range()
	return last - first
}

// within returns the segments in the range of c.
func (b *board) within(c *index.Catalog) []boardSegment {
	first, last := c.Range()
	at := func(id uint64) int {
		i, _ := slices.BinarySearchFunc(b.segments, id, func(s boardSegment, id uint64) int { return cmp.Compare(s.id, id) })
		return i
	}
	return b.segments[at(first):at(last+1)]
}

// pieceOf returns the piece that c is; one without a catalog when it is of no use.
func (s *State) pieceOf(b *board, c *index.Catalog) (piece, error) {
	key, err := c.HashKey()
	if errors.Is(err, index.ErrCatalogFuture) {
		return piece{}, &FutureError{File: c.Name(), Err: err}
	}
	p := piece{catalog: c}
	for _, in := range b.within(c) {
		switch {
		case in.piece > 0:
			return piece{}, nil
		case in.sealed == nil:
			p.fixed = true // until it is sealed, if ever; the others are served
		default:
			p.sealed = append(p.sealed, in.sealed)
		}
	}
	if len(p.sealed) == 0 {
		return piece{}, nil
	}
	if err == nil {
		err = c.Covers(p.sealed)
	}
	switch {
	case err != nil && !ignored(err): // too many open files, say: the next call tries again
		p.catalog, _ = index.NewCatalog(s.Dir, s.StoreID, c.Name())
		p.fixed = true
	case err != nil || b.key != [16]byte{} && b.key != key:
		return piece{}, nil
	default:
		b.key = key
	}
	return p, nil
}

// ignored reports whether err says that a catalog is of no use, and not that it could not be read.
func ignored(err error) bool {
	for _, reason := range []error{
		index.ErrCatalogAbsent, index.ErrCatalogStale, index.ErrCatalogDamaged, index.ErrCatalogForeign, vfs.ErrMapFault,
	} {
		if errors.Is(err, reason) {
			return true
		}
	}
	return false
}

// chain puts the pieces and the segments that none covers into order. What is not to be merged lies between two chains.
func (b *board) chain(pieces []piece, damaged map[uint64]bool) {
	var now []piece
	last := 0 // piece whose segments are being passed
	for _, in := range b.segments {
		switch {
		case in.piece > 0 && in.piece == last:
		case in.piece > 0 && !pieces[in.piece-1].fixed:
			now = append(now, pieces[in.piece-1])
		case in.piece > 0 || in.sealed == nil || damaged[in.id]:
			b.chains, now = append(b.chains, now), nil
		default:
			now = append(now, piece{sealed: []*index.Sealed{in.sealed}})
		}
		last = in.piece
	}
	b.chains = append(b.chains, now)
}

// makeCatalog writes the catalog over pieces and returns it.
func (s *State) makeCatalog(ctx context.Context, b *board, pieces []piece) (*index.Catalog, error) {
	oldest := pieces[0].sealed[0].Summary()
	if b.key == [16]byte{} {
		b.key = oldest.Salt // random, and nobody's choice
	}
	var parts []index.CatalogPart
	merged := false
	for _, p := range pieces {
		if p.catalog != nil {
			parts, merged = append(parts, index.CatalogPart{Catalog: p.catalog}), true
			continue
		}
		parts = append(parts, index.CatalogPart{Sealed: p.sealed[0]})
	}
	name, err := s.writeCatalog(ctx, b.key, oldest.Segment, parts, merged)
	if err != nil {
		return nil, err
	}
	c, _ := index.NewCatalog(s.Dir, s.StoreID, name)
	return c, nil
}

// catalogTemp is the file in which a catalog is written; its name comes with it.
func catalogTemp(parts []index.CatalogPart) string {
	first, _ := parts[0].Range()
	_, last := parts[len(parts)-1].Range()
	return index.CatalogName(first, last) + tempSuffix
}

// writeCatalog writes one file, aside. It is synced when it stands for others that are removed: a crash is then rarely
// the end of all of them. The directory is not: a catalog that is lost is made again.
func (s *State) writeCatalog(ctx context.Context, key [16]byte, oldest uint64, parts []index.CatalogPart, sync bool) (name string, err error) {
	temp := catalogTemp(parts)
	if err := s.Dir.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	f, err := s.Dir.Create(temp)
	if err != nil {
		return "", err
	}
	name, _, err = index.WriteCatalog(ctx, &appender{f: f}, s.StoreID, key, oldest, parts)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = s.Dir.Rename(temp, name)
	}
	if err != nil {
		return "", errors.Join(err, s.Dir.Remove(temp))
	}
	return name, nil
}

// An appender writes a file from its start.
type appender struct {
	f  vfs.File
	at int64
}

// Write implements [io.Writer].
func (a *appender) Write(p []byte) (int, error) {
	n, err := a.f.WriteAt(p, a.at)
	a.at += int64(n)
	return n, err
}

// replaceCatalogs puts made in the place of the catalogs of pieces. Their files are removed when no view holds them.
func (s *State) replaceCatalogs(b *board, pieces []piece, made *index.Catalog) {
	keep := []*index.Catalog{made}
	for _, c := range b.keep {
		if slices.ContainsFunc(pieces, func(p piece) bool { return p.catalog == c }) {
			s.catalogs.obsolete = append(s.catalogs.obsolete, c.Name())
			continue
		}
		keep = append(keep, c)
	}
	s.catalogs.obsolete = slices.DeleteFunc(s.catalogs.obsolete, func(name string) bool { return name == made.Name() })
	s.Set.SetCatalogs(keep)
}

// removeCatalogs removes the files that are not needed any more. Where a file that is mapped cannot be removed it is
// tried again next time.
func (s *State) removeCatalogs() {
	s.catalogs.obsolete = slices.DeleteFunc(s.catalogs.obsolete, func(name string) bool {
		err := s.Dir.Remove(name)
		return err == nil || errors.Is(err, fs.ErrNotExist)
	})
}
