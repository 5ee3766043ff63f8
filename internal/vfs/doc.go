// Package vfs is the store's only door to the file system.
//
// A [Dir] is one open directory. Every file in it is named by a plain file name, never by a path, so no
// name, wherever it came from, can lead out of the directory. Nothing but regular files with exactly one
// link is ever opened, renamed or removed: a symbolic link, FIFO, device, directory or hard link in the
// place of a data file is an [*UnsafePathError].
//
// What makes bytes and names durable is the same in every implementation:
//
//	call             makes durable
//	File.WriteAt     nothing
//	File.Truncate    nothing
//	File.Close       nothing
//	File.Sync        the bytes and the size of that file, not its name
//	Dir.Create       nothing
//	Dir.Rename       nothing; after a crash the file has its old name or its new one
//	Dir.Remove       nothing
//	Dir.Sync         every earlier Create, Rename and Remove in that directory
//	FS.OpenDir       the directory itself, when it made it; an empty one that was there, with its first Create or Lock
//
// A Sync that failed leaves the file in doubt for good: the cached bytes stay readable, the disk may never
// get them, a second Sync may succeed without them, and on some file systems even writing them again does
// not help. Only a copy in a new file is safe.
//
// There are two implementations: [OS] is the operating system's, and [Mem] is an in-memory file system
// that records each mutation and yields every disk state which a crash may leave. [Inject] wraps either
// and makes chosen calls fail.
package vfs
