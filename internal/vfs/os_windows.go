package vfs

import (
	"io/fs"
	"os"
)

// safeFlags is empty: Windows has no such flags, and the checks around the open remain.
const safeFlags = 0

// links returns 1: the count is not in the file information that Windows gives here.
func links(fs.FileInfo) uint64 { return 1 }

// openDirFile opens the directory at path.
func openDirFile(path string) (*os.File, error) { return os.Open(path) }

// syncDir does nothing but fail on a closed directory: Windows cannot sync one.
func syncDir(f *os.File) error {
	_, err := f.Stat()
	return err
}
