package vfs

import (
	"io"
	"io/fs"
	"sync/atomic"
)

// A memView is what a Map of an in-memory file reads: its content as it was.
type memView struct {
	content
	left *atomic.Int64 // bytes that are still there; nil: all of them
}

func (v *memView) readAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fs.ErrInvalid
	}
	if off >= v.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if v.left != nil && off+min(int64(len(p)), v.size-off) > v.left.Load() {
		return 0, ErrMapFault
	}
	return v.content.readAt(p, off)
}
