//go:build !linux

package vfs

// BootID returns a number for the running system since it was started, 0 when there is none: here there is none.
func BootID() uint64 { return 0 }
