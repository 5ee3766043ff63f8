//go:build !linux

package vfs

// A window maps nothing: only Linux promises that a sync of a file finds what was stored into a map of it.
type window struct{}

func (*window) close() {}
