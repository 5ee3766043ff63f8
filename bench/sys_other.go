//go:build !linux

package main

import (
	"context"
	"errors"
	"os"
	"time"
)

// openFloor opens and sizes every file at path and reads its first and last byte; it maps nothing here.
func openFloor(_ context.Context, path, _ string) (s session, err error) {
	names, err := filesBelow(path)
	if err != nil {
		return s, err
	}
	began := time.Now()
	var files []*os.File
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return s, err
		}
		files = append(files, f)
		if info, err := f.Stat(); err == nil && info.Size() > 0 {
			var b [1]byte
			f.ReadAt(b[:], 0)
			f.ReadAt(b[:], info.Size()-1)
		}
	}
	s.open = time.Since(began)
	s.first = s.open
	s.close = func() (err error) {
		for _, f := range files {
			err = errors.Join(err, f.Close())
		}
		return err
	}
	return s, nil
}

func openFloorRandom(ctx context.Context, path, entity string) (session, error) {
	return openFloor(ctx, path, entity)
}

func syncAll() {}

func dropCache(string) (how string, err error) {
	return "", errors.New("the page cache can be dropped on Linux only")
}

func usage() (faults, disk int64) { return 0, 0 }

func syncData(f *os.File) error { return f.Sync() }
