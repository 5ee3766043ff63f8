//go:build unix && !linux

package vfs

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// safeFlags keep an open from following a link and from waiting for the other end of a FIFO.
const safeFlags = unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC

// links returns how many names a file has.
func links(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 1
	}
	return uint64(st.Nlink)
}

// openDirFile opens the directory at path. A FIFO in its place does not block.
func openDirFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

// syncDir makes the entries of the directory durable. File systems that have no such call say EINVAL or
// ENOTSUP; there is nothing to be done there.
func syncDir(f *os.File) error {
	err := retry(f.Sync)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	return err
}
