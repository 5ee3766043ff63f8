package vfs

import (
	"io/fs"
	"syscall"
)

// stampOf returns inode and ctime: nobody can set the latter.
func stampOf(info fs.FileInfo) Stamp {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return Stamp{Changed: info.ModTime().UnixNano()}
	}
	return Stamp{ID: st.Ino, Changed: st.Ctim.Nano()}
}
