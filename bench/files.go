package main

import (
	"context"
	"errors"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"batpak/segment"
)

// filesBelow returns the regular files at path, which is one of them or a directory.
func filesBelow(path string) (names []string, err error) {
	err = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// copyDir copies the files of a directory, and makes the copy durable, so that opening it pays for nothing else.
func copyDir(ctx context.Context, from, to string) error {
	if err := os.Mkdir(to, 0o700); err != nil {
		return err
	}
	names, err := filesBelow(from)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := errors.Join(ctx.Err(), copyFile(name, filepath.Join(to, filepath.Base(name)))); err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Sync(), out.Close())
}

// hide moves the files of dir that match a pattern aside, and returns what brings them back.
func hide(dir string, patterns ...string) (restore func() error, err error) {
	aside := dir + ".aside"
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return nil, err
	}
	var names []string
	for _, pattern := range patterns {
		matches, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range matches {
			if err := os.Rename(name, filepath.Join(aside, filepath.Base(name))); err != nil {
				return nil, err
			}
			names = append(names, name)
		}
	}
	return func() (err error) {
		for _, name := range names {
			err = errors.Join(err, os.Rename(filepath.Join(aside, filepath.Base(name)), name))
		}
		return err
	}, nil
}

// A sealedFile is a segment that is not the newest.
type sealedFile struct {
	name      string
	end, size int64 // of its frames, of the file
}

// sealedFiles returns the segments of dir but the newest. Where the frames of one end, the next one's header says.
func sealedFiles(dir string) (sealed []sealedFile, active string, err error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+segment.Suffix))
	if err != nil {
		return nil, "", err
	}
	slices.Sort(names)
	for i, name := range names {
		if i == 0 {
			continue
		}
		id, _ := segment.ParseName(filepath.Base(name))
		h, err := readHeader(name, id)
		if err != nil {
			return nil, "", err
		}
		info, err := os.Stat(names[i-1])
		if err != nil {
			return nil, "", err
		}
		sealed = append(sealed, sealedFile{names[i-1], h.End, info.Size()})
	}
	return sealed, names[len(names)-1], nil
}

func readHeader(name string, id uint64) (segment.Header, error) {
	f, err := os.Open(name)
	if err != nil {
		return segment.Header{}, err
	}
	defer f.Close()
	b := make([]byte, segment.MaxHeaderLen)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return segment.Header{}, err
	}
	return segment.DecodeHeader(b[:n], id)
}

// stripFooters cuts every sealed segment to its frames, and returns what puts the footers back.
func stripFooters(dir string) (restore func() error, err error) {
	sealed, _, err := sealedFiles(dir)
	if err != nil {
		return nil, err
	}
	aside := dir + ".footers"
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return nil, err
	}
	for _, s := range sealed {
		kept := filepath.Join(aside, filepath.Base(s.name))
		if err := copyRange(s.name, s.end, s.size, kept, 0); err != nil {
			return nil, err
		}
		if err := os.Truncate(s.name, s.end); err != nil {
			return nil, err
		}
	}
	return func() (err error) {
		for _, s := range sealed {
			err = errors.Join(err, copyRange(filepath.Join(aside, filepath.Base(s.name)), 0, s.size-s.end, s.name, s.end))
		}
		return errors.Join(err, os.RemoveAll(aside))
	}, nil
}

// copyRange copies the bytes [from, to) of one file to another, at offset at.
func copyRange(src string, from, to int64, dst string, at int64) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(in, from, to-from))
	return errors.Join(err, out.Close())
}

// A span is part of a file.
type span struct {
	name     string
	from, to int64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum reads the spans and takes their CRC-32C, with as many goroutines as there are processors. It is the floor
// of everything that has to look at each byte.
func checksum(ctx context.Context, spans []span) (took time.Duration, err error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, s := range spans {
		group.Go(func() error { return checksumSpan(ctx, s) })
	}
	err = group.Wait()
	return time.Since(began), err
}

func checksumSpan(ctx context.Context, s span) error {
	f, err := os.Open(s.name)
	if err != nil {
		return err
	}
	defer f.Close()
	r := io.NewSectionReader(f, s.from, s.to-s.from)
	b := make([]byte, 256<<10)
	var sum uint32
	for ctx.Err() == nil {
		n, err := r.Read(b)
		sum = crc32.Update(sum, castagnoli, b[:n])
		if err == io.EOF {
			runtime.KeepAlive(sum)
			return nil
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}
