package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// openFloor opens, sizes and maps every file at path, and touches its first and last page.
func openFloor(_ context.Context, path, _ string) (session, error) { return floorSession(path, false) }

// openFloorRandom is openFloor that asks the kernel to read the pages that are touched and no more.
func openFloorRandom(_ context.Context, path, _ string) (session, error) {
	return floorSession(path, true)
}

func floorSession(path string, random bool) (s session, err error) {
	names, err := filesBelow(path)
	if err != nil {
		return s, err
	}
	began := time.Now()
	maps := make([][]byte, 0, len(names))
	var sum byte
	for _, name := range names {
		m, err := mapFile(name)
		if err != nil {
			return s, err
		}
		if random && len(m) > 0 {
			if err := unix.Madvise(m, unix.MADV_RANDOM); err != nil {
				return s, err
			}
		}
		if len(m) > 0 {
			sum += m[0] + m[len(m)-1]
			maps = append(maps, m)
		}
	}
	s.open = time.Since(began)
	s.first, s.last = s.open, uint64(sum)
	s.close = func() (err error) {
		for _, m := range maps {
			err = errors.Join(err, unix.Munmap(m))
		}
		return err
	}
	return s, nil
}

// mapFile maps a whole file; an empty one gives nil.
func mapFile(name string) ([]byte, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Size == 0 {
		return nil, err
	}
	return unix.Mmap(fd, 0, int(st.Size), unix.PROT_READ, unix.MAP_SHARED)
}

// dropCache makes the kernel forget the files at path: all that it holds when that is allowed, or these files.
func dropCache(path string) (how string, err error) {
	syncAll()
	if f, err := os.OpenFile("/proc/sys/vm/drop_caches", os.O_WRONLY, 0); err == nil {
		_, err = f.WriteString("3\n")
		f.Close()
		if err == nil {
			return "drop_caches", nil
		}
	}
	names, err := filesBelow(path)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return "", err
		}
		err = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
		f.Close()
		if err != nil {
			return "", &os.PathError{Op: "fadvise", Path: filepath.Clean(name), Err: err}
		}
	}
	return "fadvise", nil
}

// syncAll sends everything that is dirty to the disk.
func syncAll() { unix.Sync() }

// usage returns how many page faults of this process waited for the disk, and the bytes that it read from there.
func usage() (faults, disk int64) {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0, 0
	}
	return int64(u.Majflt), int64(u.Inblock) * 512
}

// syncData makes the bytes of f durable, and of its inode only what they need.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
