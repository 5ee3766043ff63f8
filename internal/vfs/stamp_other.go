//go:build !linux && !darwin

package vfs

import "io/fs"

// stampOf returns the time of the last write: what the file information has on every system.
func stampOf(info fs.FileInfo) Stamp { return Stamp{Changed: info.ModTime().UnixNano()} }
