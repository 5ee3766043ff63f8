package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// lockOffsetHigh is the upper half of where the locked byte lies: far behind the content, because a lock on
// Windows keeps others from reading what it covers.
const lockOffsetHigh = 0x7fffffff

// lockFile takes the exclusive lock on f without waiting. Errors: errWouldBlock.
func lockFile(f *os.File) error {
	err := withHandle(f, func(h windows.Handle, at *windows.Overlapped) error {
		const how = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
		return windows.LockFileEx(h, how, 0, 1, 0, at)
	})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return errWouldBlock
	}
	return err
}

// unlockFile gives up the lock on f.
func unlockFile(f *os.File) error {
	return withHandle(f, func(h windows.Handle, at *windows.Overlapped) error {
		return windows.UnlockFileEx(h, 0, 1, 0, at)
	})
}

func withHandle(f *os.File, fn func(windows.Handle, *windows.Overlapped) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var fnErr error
	err = conn.Control(func(fd uintptr) {
		fnErr = fn(windows.Handle(fd), &windows.Overlapped{OffsetHigh: lockOffsetHigh})
	})
	if err != nil {
		return err
	}
	return fnErr
}
