//go:build !linux

package vfs

import "os"

// syncFile makes the bytes and the size of f durable; on Darwin package os asks for F_FULLFSYNC.
func syncFile(f *os.File) error { return retry(f.Sync) }
