package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// syncFile makes the bytes and the size of f durable. It spares the time stamps, which fsync would not.
func syncFile(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var syncErr error
	err = conn.Control(func(fd uintptr) {
		syncErr = retry(func() error { return unix.Fdatasync(int(fd)) })
	})
	if err != nil {
		return fs.ErrClosed // the one reason for which Control does not call its function
	}
	return syncErr
}
