package coldstart

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"

	"batpak/index"
	"batpak/internal/planted"
	"batpak/internal/vfs"
	"batpak/segment"
)

// fromSnapshot serves the segments that index.fbati lists without touching them. The rest is read by footers.
func (o *opener) fromSnapshot(ctx context.Context) ([]olderRun, error) {
	if o.cfg.NoSnapshot {
		return nil, errOff
	}
	if !o.listing.has(snapshotName) {
		return nil, ErrAbsent
	}
	return o.fromImage(ctx, snapshotName, func() (*image, error) {
		m, err := o.dir.Map(snapshotName)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrAbsent
		}
		if err != nil {
			return nil, err
		}
		defer m.Close()
		var img *image
		err = m.Guarded(func() error {
			b, err := readMap(m, o.listing.mostImage())
			if err == nil {
				img, err = decodeImage(b, o.meta.Store)
			}
			return err
		})
		return img, err
	})
}

// fromCheckpoint does the same with index.ckpt.
func (o *opener) fromCheckpoint(ctx context.Context) ([]olderRun, error) {
	if o.cfg.NoCheckpoint {
		return nil, errOff
	}
	if !o.listing.has(checkpointName) {
		return nil, ErrAbsent
	}
	return o.fromImage(ctx, checkpointName, func() (*image, error) {
		most := o.listing.mostImage()
		b, err := readArtifact(o.dir, checkpointName, int64(most)+checkpointSlack)
		if err != nil {
			return nil, err
		}
		if b, err = unpackCheckpoint(b, o.meta.Store, most); err != nil {
			return nil, err
		}
		return decodeImage(b, o.meta.Store)
	})
}

// errOff is the reason of a rung that the caller has switched off.
var errOff = fmt.Errorf("%w: switched off", ErrAbsent)

// maxReserved is how many reserved kinds there are: two categories.
const maxReserved = 2 << 12

// fromImage is a rung that rests on an image, which read reads.
func (o *opener) fromImage(ctx context.Context, name string, read func() (*image, error)) ([]olderRun, error) {
	img, err := read()
	switch {
	case errors.Is(err, ErrFuture):
		return nil, &FutureError{File: name, Err: err}
	case errors.Is(err, vfs.ErrMapFault), errors.Is(err, io.EOF), errors.Is(err, syscall.EIO):
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err) // cut meanwhile, or the disk has lost it: one can do without
	case err != nil:
		return nil, err
	case len(o.distrusted) > 0:
		return nil, fmt.Errorf("%w: a footer that it relies on", ErrDamaged)
	}
	if err := o.chainBehind(ctx, img); err != nil {
		return nil, err
	}
	runs := o.olderRuns()
	sealed := index.NewSealeds(o.dir, min(len(img.entries), len(runs)), func(i int) *segment.Summary { return &img.entries[i].sum })
	for i := range sealed {
		runs[i].sealed = &sealed[i]
	}
	o.steps.leap(len(img.entries), img.watermark.seq)
	rest := runs[len(img.entries):]
	if err := o.restoreRest(ctx, rest); err != nil {
		closeRuns(runs)
		o.chain = nil
		return nil, err
	}
	o.image = img
	return runs, nil
}

// chainBehind joins the segments behind an image to the ones that it lists, and checks that it is of this log.
//
// Errors: [ErrStale], [ErrDamaged] when it is not; *[FutureError]; I/O errors.
func (o *opener) chainBehind(ctx context.Context, img *image) error {
	files, n := o.listing.segments, len(img.entries)
	if n >= len(files) && len(files) > 0 && planted.On(planted.SnapshotAheadTrusted) {
		n = len(files) - 1
		img.entries = img.entries[:n]
	}
	if len(files) <= n {
		return fmt.Errorf("%w: it lists %d segments and the next one, %d are there", ErrStale, n, len(files))
	}
	if err := img.isOf(files); err != nil {
		return err
	}
	links := img.links()
	chain, err := readChain(ctx, o.dir, o.meta.Store, links, files[n:], &o.kept)
	var corrupt *CorruptError
	switch {
	case errors.As(err, &corrupt):
		// The log, or the image? The rungs below know without the image.
		return fmt.Errorf("%w: %s offset %d does not continue it: %s", ErrStale, corrupt.File, corrupt.Offset, corrupt.Reason)
	case err != nil:
		return err
	case len(chain.links) <= n:
		return fmt.Errorf("%w: nothing continues it", ErrStale)
	}
	unchecked := planted.On(planted.SnapshotPlaceUnchecked) || planted.On(planted.SnapshotAheadTrusted)
	if reason := img.watermark.fits(&chain.links[n].header); reason != "" && !unchecked {
		return fmt.Errorf("%w: %s", ErrStale, reason)
	}
	o.chain = chain
	return nil
}

// isOf checks that files begin with those that the image lists. Errors: [ErrStale].
func (m *image) isOf(files []segmentFile) error {
	for i := range m.entries {
		switch want := m.entries[i].file; {
		case files[i].id != want.id || files[i].size != want.size:
			return fmt.Errorf("%w: it lists segment %06d of %d bytes, segment %06d of %d is there", ErrStale,
				want.id, want.size, files[i].id, files[i].size)
		case files[i].stamp != want.stamp:
			return fmt.Errorf("%w: segment %06d was touched since", ErrStale, want.id)
		}
	}
	return nil
}

// restoreRest makes the segments behind an image readable: by footers, and by frames where they do not hold.
func (o *opener) restoreRest(ctx context.Context, rest []olderRun) error {
	if len(rest) == 0 {
		return nil
	}
	reasons := make([]error, len(rest))
	err := each(ctx, len(rest), func(i int) error {
		reasons[i] = o.useFooter(&rest[i])
		if stepsDown(reasons[i]) {
			return nil
		}
		return reasons[i]
	})
	if err != nil {
		return err
	}
	o.noteSkips(rest, reasons)
	return o.scanUnsealed(ctx, rest)
}

// mostImage bounds what is read of an image: one that lists so many more segments than are there is of no use.
func (l *listing) mostImage() int { return imageLen(len(l.segments)+4096, maxReserved) }

// readMap returns a copy of what is mapped. Errors: [ErrDamaged] when that is more than most.
func readMap(m *vfs.Map, most int) ([]byte, error) {
	if m.Len() > most {
		return nil, fmt.Errorf("%w: %d bytes", ErrDamaged, m.Len())
	}
	b := make([]byte, m.Len())
	_, err := m.ReadAt(b, 0)
	return b, err
}
